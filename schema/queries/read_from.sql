SELECT position, stream_kind, stream_id, version, recorded_at, actor::text, request_id, caused_by, type, schema_version, body::text, hash
FROM strata.events WHERE position >= $1 AND position < $1 + $2 ORDER BY position
