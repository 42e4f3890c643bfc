-- The schema for people, dashboards and Grafana. The projector makes it, fills it from the state and the log, and makes it
-- again when it is missing or of another version: nothing here is the truth, and all of it may be dropped at any time.
DROP SCHEMA IF EXISTS read CASCADE;
CREATE SCHEMA read;
COMMENT ON SCHEMA read IS 'What is live, and who did what. Kept by the projector; may be dropped, and comes back.';

CREATE TABLE read.checkpoint (
    projection text        PRIMARY KEY,
    position   bigint      NOT NULL,
    version    text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE read.checkpoint IS 'How far each projection is; written in the transaction that writes its rows.';

CREATE TABLE read.resources (
    kind     text   NOT NULL,
    id       text   NOT NULL,
    project  text,
    name     text,
    status   text,
    document jsonb  NOT NULL,
    position bigint NOT NULL,
    digest   bigint NOT NULL,
    PRIMARY KEY (kind, id)
);
COMMENT ON TABLE read.resources IS 'A row per live resource. position: the log position with which the row was written last.';
CREATE INDEX resources_by_project ON read.resources (project, kind);

CREATE TABLE read.audit (
    request_id     text        PRIMARY KEY,
    at             timestamptz NOT NULL,
    user_id        text        NOT NULL,
    project_id     text,
    source         text        NOT NULL,
    types          text[]      NOT NULL,
    stream         text        NOT NULL,
    events         integer     NOT NULL,
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL
);
COMMENT ON TABLE read.audit IS 'One record per mutating call that was carried out, from the events that it led to.';
CREATE INDEX audit_at ON read.audit (at);
