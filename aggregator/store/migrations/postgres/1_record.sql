-- The record: one table a noun. Times are Unix milliseconds, ids are 16 bytes, flags are 0 or 1.
-- The SQLite folder holds the same tables; the conformance suite runs on both.

CREATE TABLE cluster (
    id BYTEA NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C",
    server_version TEXT COLLATE "C",
    agent_version TEXT COLLATE "C",
    controls TEXT COLLATE "C" NOT NULL,
    clock_offset BIGINT,
    added_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    revoked_at BIGINT,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL
);
CREATE INDEX cluster_name ON cluster (name);
CREATE INDEX cluster_fingerprint ON cluster (fingerprint);

-- What only one cluster may have: `name/<name>`, and `fingerprint/<fingerprint>` while it is not revoked.
CREATE TABLE cluster_claim (
    claim TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    cluster BYTEA NOT NULL
);

CREATE TABLE credential (
    cluster BYTEA NOT NULL,
    serial TEXT COLLATE "C" NOT NULL,
    certificate BYTEA NOT NULL,
    key_hash BYTEA NOT NULL,
    issued_at BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    first_used_at BIGINT,
    revoked_at BIGINT,
    PRIMARY KEY (cluster, serial)
);

CREATE TABLE join_token (
    id BYTEA NOT NULL PRIMARY KEY,
    cluster BYTEA NOT NULL,
    secret_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    used BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX join_token_cluster ON join_token (cluster);

CREATE TABLE enrolment (
    token BYTEA NOT NULL,
    key_hash BYTEA NOT NULL,
    cluster BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, key_hash)
);

CREATE TABLE api_token (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    secret_hash BYTEA NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE finding (
    cluster BYTEA NOT NULL,
    id BYTEA NOT NULL,
    pattern BYTEA NOT NULL,
    api_group TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    control TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    severity BIGINT NOT NULL,
    owner TEXT COLLATE "C",
    unverified BIGINT NOT NULL,
    reach TEXT COLLATE "C",
    retest BYTEA,
    changed_at BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (cluster, id)
);
-- No index by id alone or by pattern: both would put every new row on a page of its own. A finding is looked for in each
-- cluster by the primary key, and the ids of a pattern's findings follow from its resource, its control and the cluster.
-- Ties of the lists go by time, so that what is new comes to the ends of few runs of each index.
CREATE INDEX finding_severity ON finding (severity, changed_at, id);
CREATE INDEX finding_changed ON finding (changed_at, id);
CREATE INDEX finding_cluster ON finding (cluster, severity, changed_at, id);
CREATE INDEX finding_namespace ON finding (namespace, severity, changed_at, id);
CREATE INDEX finding_control ON finding (control, severity, changed_at, id);
CREATE INDEX finding_owner ON finding (owner, severity, changed_at, id) WHERE owner IS NOT NULL;
CREATE INDEX finding_past ON finding (status, severity, changed_at, id) WHERE status <> 'open';
CREATE INDEX finding_unverified ON finding (severity, changed_at, id) WHERE unverified = 1;
CREATE INDEX finding_verified ON finding (changed_at, id) WHERE status = 'verified' AND retest IS NULL;
CREATE INDEX finding_short_proof ON finding (changed_at, id)
    WHERE status = 'verified' AND retest IS NULL AND reach <> 'running';

-- The evidence of findings, one row a (finding, source). `statement` is the posture's alone: what the agent's ledger holds.
CREATE TABLE detection (
    cluster BYTEA NOT NULL,
    finding BYTEA NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    statement BYTEA,
    body TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (cluster, finding, source)
);

CREATE INDEX detection_kernel ON detection (cluster, finding) WHERE source = 'kernel';

CREATE TABLE finding_count (
    cluster BYTEA NOT NULL,
    severity BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    reach TEXT COLLATE "C" NOT NULL,
    findings BIGINT NOT NULL,
    PRIMARY KEY (cluster, severity, status, reach)
);

CREATE TABLE event (
    cluster BYTEA NOT NULL,
    id BYTEA NOT NULL,
    at BIGINT NOT NULL,
    finding BYTEA,
    event TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C",
    leaf BYTEA NOT NULL,
    log_index BIGINT,
    PRIMARY KEY (cluster, id)
);
CREATE INDEX event_id ON event (id);
CREATE INDEX event_kind ON event (event, id);
CREATE INDEX event_finding ON event (cluster, finding, id) WHERE finding IS NOT NULL;
CREATE INDEX event_unsequenced ON event (id) WHERE log_index IS NULL;
CREATE INDEX event_log_index ON event (log_index) WHERE log_index IS NOT NULL;

-- The number of entries that have a place in the log: a sequencer moves it on only from the size that it has read.
CREATE TABLE log_size (
    id BIGINT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL
);
INSERT INTO log_size (id, size) VALUES (0, 0);

CREATE TABLE log_tile (
    level BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE log_head (
    size BIGINT NOT NULL PRIMARY KEY,
    root BYTEA NOT NULL,
    at BIGINT NOT NULL,
    signed TEXT COLLATE "C" NOT NULL,
    signature BYTEA NOT NULL,
    certificate BYTEA NOT NULL
);

CREATE TABLE retest (
    cluster BYTEA NOT NULL,
    id BYTEA NOT NULL,
    finding BYTEA NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    methods TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    requested_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    nonce BYTEA,
    observed BIGINT NOT NULL,
    sent_at BIGINT,
    answered_at BIGINT,
    verdict TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    reach TEXT COLLATE "C",
    PRIMARY KEY (cluster, id)
);
CREATE INDEX retest_finding ON retest (cluster, finding, requested_at);
CREATE INDEX retest_due ON retest (cluster, due_at) WHERE state IN ('waiting', 'sent');

CREATE TABLE receipt (
    cluster BYTEA NOT NULL,
    retest BYTEA NOT NULL,
    finding BYTEA NOT NULL,
    attestation TEXT COLLATE "C" NOT NULL,
    agent_signature BYTEA NOT NULL,
    agent_certificate BYTEA NOT NULL,
    recorded_at BIGINT NOT NULL,
    event BYTEA NOT NULL,
    receipt TEXT COLLATE "C",
    PRIMARY KEY (cluster, retest)
);
CREATE INDEX receipt_unsigned ON receipt (recorded_at) WHERE receipt IS NULL;

CREATE TABLE pattern (
    id BYTEA NOT NULL PRIMARY KEY,
    api_group TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    control TEXT COLLATE "C" NOT NULL,
    active BIGINT NOT NULL,
    band TEXT COLLATE "C" NOT NULL,
    band_since BIGINT,
    state TEXT COLLATE "C",
    changed BIGINT NOT NULL
);
CREATE INDEX pattern_active ON pattern (active, id);
CREATE INDEX pattern_changed ON pattern (id) WHERE changed <> 0;
CREATE INDEX pattern_spread ON pattern (id) WHERE active > 1 OR band <> 'isolated';
CREATE INDEX pattern_control ON pattern (control, active, id);

CREATE TABLE coverage (
    cluster BYTEA NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    -- The session in which it was last reported.
    epoch BIGINT NOT NULL,
    PRIMARY KEY (cluster, subject)
);

CREATE TABLE scope_exclusion (
    cluster BYTEA NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    set_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace)
);

CREATE TABLE scope_proposal (
    cluster BYTEA NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace, label)
);

CREATE TABLE setting (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL,
    set_at BIGINT NOT NULL
);

-- The last detection batch of each run that was taken.
CREATE TABLE detection_batch (
    cluster BYTEA NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, source, run)
);
