-- Adds a batch whose positions follow the locked head, and moves the head.
WITH added AS (
    INSERT INTO strata.events (position, stream_kind, stream_id, version, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash)
    SELECT position, stream_kind, stream_id, version, recorded_at, actor::json, request_id, caused_by, type, schema_version, body::json, hash
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::text[], $7::text[], $8::bigint[], $9::text[],
                $10::smallint[], $11::text[], $12::bytea[])
      AS e (position, stream_kind, stream_id, version, recorded_at, actor, request_id, caused_by, type, schema_version, body, hash)
)
UPDATE strata.log_head SET position = $13, hash = $14
