SELECT position, stream_kind, stream_id, version, recorded_at, actor::text, request_id, caused_by, type, schema_version, body::text, hash
FROM strata.events WHERE stream_kind = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1
