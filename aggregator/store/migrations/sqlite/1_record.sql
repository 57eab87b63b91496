-- The record: one table a noun. Times are Unix milliseconds, ids are 16 bytes, flags are 0 or 1.
-- The PostgreSQL folder holds the same tables; the conformance suite runs on both.

CREATE TABLE cluster (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    fingerprint TEXT,
    server_version TEXT,
    agent_version TEXT,
    controls TEXT NOT NULL,
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
    claim TEXT NOT NULL PRIMARY KEY,
    cluster BLOB NOT NULL
);

CREATE TABLE credential (
    cluster BLOB NOT NULL,
    serial TEXT NOT NULL,
    certificate BLOB NOT NULL,
    key_hash BLOB NOT NULL,
    issued_at BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    first_used_at BIGINT,
    revoked_at BIGINT,
    PRIMARY KEY (cluster, serial)
);

CREATE TABLE join_token (
    id BLOB NOT NULL PRIMARY KEY,
    cluster BLOB NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    used BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX join_token_cluster ON join_token (cluster);

CREATE TABLE enrolment (
    token BLOB NOT NULL,
    key_hash BLOB NOT NULL,
    cluster BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (token, key_hash)
);

CREATE TABLE api_token (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE finding (
    cluster BLOB NOT NULL,
    id BLOB NOT NULL,
    pattern BLOB NOT NULL,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    control TEXT NOT NULL,
    status TEXT NOT NULL,
    severity BIGINT NOT NULL,
    owner TEXT,
    unverified BIGINT NOT NULL,
    reach TEXT,
    retest BLOB,
    changed_at BIGINT NOT NULL,
    body TEXT NOT NULL,
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
    cluster BLOB NOT NULL,
    finding BLOB NOT NULL,
    source TEXT NOT NULL,
    statement BLOB,
    body TEXT NOT NULL,
    PRIMARY KEY (cluster, finding, source)
) WITHOUT ROWID;

CREATE INDEX detection_kernel ON detection (cluster, finding) WHERE source = 'kernel';

CREATE TABLE finding_count (
    cluster BLOB NOT NULL,
    severity BIGINT NOT NULL,
    status TEXT NOT NULL,
    reach TEXT NOT NULL,
    findings BIGINT NOT NULL,
    PRIMARY KEY (cluster, severity, status, reach)
);

CREATE TABLE event (
    cluster BLOB NOT NULL,
    id BLOB NOT NULL,
    at BIGINT NOT NULL,
    finding BLOB,
    event TEXT NOT NULL,
    body TEXT,
    leaf BLOB NOT NULL,
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
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE log_head (
    size BIGINT NOT NULL PRIMARY KEY,
    root BLOB NOT NULL,
    at BIGINT NOT NULL,
    signed TEXT NOT NULL,
    signature BLOB NOT NULL,
    certificate BLOB NOT NULL
);

CREATE TABLE retest (
    cluster BLOB NOT NULL,
    id BLOB NOT NULL,
    finding BLOB NOT NULL,
    cause TEXT NOT NULL,
    methods TEXT NOT NULL,
    state TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    nonce BLOB,
    observed BIGINT NOT NULL,
    sent_at BIGINT,
    answered_at BIGINT,
    verdict TEXT,
    reason TEXT,
    reach TEXT,
    PRIMARY KEY (cluster, id)
);
CREATE INDEX retest_finding ON retest (cluster, finding, requested_at);
CREATE INDEX retest_due ON retest (cluster, due_at) WHERE state IN ('waiting', 'sent');

CREATE TABLE receipt (
    cluster BLOB NOT NULL,
    retest BLOB NOT NULL,
    finding BLOB NOT NULL,
    attestation TEXT NOT NULL,
    agent_signature BLOB NOT NULL,
    agent_certificate BLOB NOT NULL,
    recorded_at BIGINT NOT NULL,
    event BLOB NOT NULL,
    receipt TEXT,
    PRIMARY KEY (cluster, retest)
);
CREATE INDEX receipt_unsigned ON receipt (recorded_at) WHERE receipt IS NULL;

CREATE TABLE pattern (
    id BLOB NOT NULL PRIMARY KEY,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    control TEXT NOT NULL,
    active BIGINT NOT NULL,
    band TEXT NOT NULL,
    band_since BIGINT,
    state TEXT,
    changed BIGINT NOT NULL
);
CREATE INDEX pattern_active ON pattern (active, id);
CREATE INDEX pattern_changed ON pattern (id) WHERE changed <> 0;
CREATE INDEX pattern_spread ON pattern (id) WHERE active > 1 OR band <> 'isolated';
CREATE INDEX pattern_control ON pattern (control, active, id);

CREATE TABLE coverage (
    cluster BLOB NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    -- The session in which it was last reported.
    epoch BIGINT NOT NULL,
    PRIMARY KEY (cluster, subject)
);

CREATE TABLE scope_exclusion (
    cluster BLOB NOT NULL,
    namespace TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace)
);

CREATE TABLE scope_proposal (
    cluster BLOB NOT NULL,
    namespace TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace, label)
);

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    set_at BIGINT NOT NULL
);

-- The last detection batch of each run that was taken.
CREATE TABLE detection_batch (
    cluster BLOB NOT NULL,
    source TEXT NOT NULL,
    run TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, source, run)
);
