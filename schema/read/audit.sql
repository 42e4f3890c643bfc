-- Gathers what callers did between two positions, a record per request. What followed from it by itself (caused_by) is not
-- the caller's doing. A request may span two runs: then the record grows.
INSERT INTO read.audit AS a (request_id, at, user_id, project_id, source, types, stream, events, first_position, last_position)
SELECT request_id,
       min(recorded_at),
       (array_agg(actor -> 'user' ->> 'user' ORDER BY position))[1],
       (array_agg(actor -> 'user' ->> 'project' ORDER BY position))[1],
       (array_agg(actor -> 'user' ->> 'from' ORDER BY position))[1],
       array_agg(DISTINCT type),
       (array_agg(stream_kind || '/' || stream_id ORDER BY position))[1],
       count(*),
       min(position),
       max(position)
FROM strata.events
WHERE position > $1 AND position <= $2 AND caused_by IS NULL AND actor -> 'user' IS NOT NULL
GROUP BY request_id
ON CONFLICT (request_id) DO UPDATE SET
    types = ARRAY(SELECT DISTINCT unnest(a.types || excluded.types)),
    events = a.events + excluded.events,
    last_position = excluded.last_position
WHERE a.last_position < excluded.first_position
