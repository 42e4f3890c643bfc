-- The roles, once per cluster, and the schema of this database. Run by the owner before the migrations.
--   strata_service  what the services act as: may append and read, never change or remove an event
--   strata_read     for Grafana and for people who ask in SQL: reads the schema "read" only
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['strata_service', 'strata_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I LOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this cluster was quicker
            END;
        END IF;
    END LOOP;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT pg_has_role(current_user, 'strata_service', 'MEMBER') THEN
        EXECUTE format('GRANT strata_service TO %I', current_user);
    END IF;
    -- the projector makes, drops and remakes the schema "read" itself
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO strata_service', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO strata_read', current_database());
END
$$;
CREATE SCHEMA IF NOT EXISTS strata;
CREATE TABLE IF NOT EXISTS strata.migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
