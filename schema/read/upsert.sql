INSERT INTO read.resources (kind, id, project, name, status, document, position, digest)
SELECT kind, id, project, name, status, document::jsonb, $8, digest
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
  AS r (kind, id, project, name, status, document, digest)
ON CONFLICT (kind, id) DO UPDATE SET
    project = excluded.project, name = excluded.name, status = excluded.status, document = excluded.document,
    position = excluded.position, digest = excluded.digest
