-- The last detection_batch of each run that was taken, and in which session a coverage state was last said.
CREATE TABLE detection_batch (
    cluster BYTEA NOT NULL,
    source TEXT NOT NULL,
    run TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (cluster, source, run)
);

ALTER TABLE coverage ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
