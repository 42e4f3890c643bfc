-- Adds a batch and moves the head, if the head still is where the batch begins; else it changes nothing and counts no row.
-- The CTE locks the head; when another transaction moves it meanwhile, its row is looked at again and no longer fits.
WITH head AS MATERIALIZED (
    SELECT 1 FROM strata.log_head WHERE position = $15 AND hash = $16 FOR UPDATE
), added AS (
    INSERT INTO strata.events (position, stream_kind, stream_id, version, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash)
    SELECT position, stream_kind, stream_id, version, recorded_at, actor::json, request_id, caused_by, type, schema_version, body::json, hash
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $9::text[],
                $10::smallint[], $11::text[], $12::bytea[])
      AS e (position, stream_kind, stream_id, version, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash)
    WHERE EXISTS (SELECT FROM head)
)
UPDATE strata.log_head SET position = $13, hash = $14 WHERE EXISTS (SELECT FROM head)
