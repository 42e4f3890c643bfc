-- The log. Append-only is enforced here: the services' role may add and read events, nothing else.

CREATE TABLE strata.log_head (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL CHECK (position >= 0),
    hash     bytea  NOT NULL CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 10);
COMMENT ON TABLE strata.log_head IS 'Whoever appends locks this one row: positions are gapless and in commit order.';
INSERT INTO strata.log_head (position, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE strata.events (
    position       bigint      PRIMARY KEY CHECK (position > 0),
    stream_kind    text        NOT NULL,
    stream_id      text        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    recorded_at    timestamptz NOT NULL,
    actor          json        NOT NULL,
    request_id     text        NOT NULL,
    caused_by      bigint,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    body           json        NOT NULL CHECK (octet_length(body::text) <= 65536),
    hash           bytea       NOT NULL,
    UNIQUE (stream_kind, stream_id, version)
);
COMMENT ON TABLE strata.events IS 'Every fact, in commit order. json keeps the text as it was written, which the hash chain covers.';

CREATE TABLE strata.snapshots (
    position bigint      PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now(),
    format   text        NOT NULL,
    hash     bytea       NOT NULL,
    digest   bytea       NOT NULL,
    chunks   integer     NOT NULL
);
COMMENT ON TABLE strata.snapshots IS 'The folded state at a position: a shortcut for starting, never the truth. May be emptied at any time.';
CREATE TABLE strata.snapshot_chunks (
    position bigint  NOT NULL REFERENCES strata.snapshots ON DELETE CASCADE,
    chunk    integer NOT NULL,
    bytes    bytea   NOT NULL,
    PRIMARY KEY (position, chunk)
);

CREATE TABLE strata.secrets (
    id         uuid        PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    ciphertext bytea       NOT NULL
);
COMMENT ON TABLE strata.secrets IS 'What is secret or large and stands in the log only by reference.';

CREATE TABLE strata.keys (
    repository text        NOT NULL,
    number     integer     NOT NULL CHECK (number >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    key        bytea       NOT NULL,
    PRIMARY KEY (repository, number)
);
COMMENT ON TABLE strata.keys IS 'Key repositories as Keystone has them: the highest number signs, 0 is staged, all of them verify.';

CREATE TABLE strata.audit_refusals (
    id         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    request_id text        NOT NULL,
    user_id    text,
    project_id text,
    source     text        NOT NULL,
    action     text        NOT NULL,
    outcome    integer     NOT NULL,
    reason     text        NOT NULL
);
COMMENT ON TABLE strata.audit_refusals IS 'Mutating calls that were refused: no event tells of them.';
CREATE INDEX audit_refusals_at ON strata.audit_refusals (at);

CREATE TABLE strata.replicas (
    name       text        PRIMARY KEY,
    services   text[]      NOT NULL,
    version    text        NOT NULL,
    applied    bigint      NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,
    details    json        NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE strata.replicas IS 'Who serves, and how far behind the log.';

GRANT USAGE ON SCHEMA strata TO strata_service;
GRANT SELECT, INSERT ON strata.events TO strata_service;
GRANT SELECT, UPDATE (position, hash) ON strata.log_head TO strata_service;
GRANT SELECT, INSERT, DELETE ON strata.snapshots, strata.snapshot_chunks TO strata_service;
GRANT SELECT, INSERT, DELETE ON strata.secrets TO strata_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON strata.keys TO strata_service;
GRANT SELECT, INSERT ON strata.audit_refusals TO strata_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON strata.replicas TO strata_service;
GRANT SELECT ON strata.migrations TO strata_service;
