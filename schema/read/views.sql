-- A view for each kind: the columns that people ask for. The rest is in `document`. Times in documents are microseconds.
CREATE FUNCTION read.moment(micros jsonb) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    RETURN to_timestamp(nullif(micros, 'null'::jsonb)::text::numeric / 1000000);

CREATE VIEW read.instance AS
SELECT id, project, name, status,
       document ->> 'host' AS host,
       document ->> 'task' AS task,
       document ->> 'power' AS power,
       document -> 'spec' -> 'size' ->> 'name' AS flavor,
       (document -> 'spec' -> 'size' ->> 'vcpus')::bigint AS vcpus,
       (document -> 'spec' -> 'size' ->> 'ram')::bigint AS memory_mib,
       (document -> 'spec' -> 'size' ->> 'disk')::bigint AS disk_gib,
       document -> 'spec' ->> 'image' AS image,
       document ->> 'user' AS user_id,
       document -> 'fault' ->> 'message' AS fault,
       (document ->> 'generation')::bigint AS generation,
       read.moment(document -> 'created_at') AS created_at,
       read.moment(document -> 'updated_at') AS updated_at,
       read.moment(document -> 'launched_at') AS launched_at,
       document, position
FROM read.resources WHERE kind = 'instance';

CREATE VIEW read.flavor AS
SELECT id, name, status,
       (document ->> 'vcpus')::bigint AS vcpus,
       (document ->> 'ram')::bigint AS memory_mib,
       (document ->> 'disk')::bigint AS disk_gib,
       document, position
FROM read.resources WHERE kind = 'flavor';

CREATE VIEW read.keypair AS
SELECT id, name, document ->> 'user' AS user_id, document ->> 'fingerprint' AS fingerprint, document, position
FROM read.resources WHERE kind = 'keypair';

CREATE VIEW read.server_group AS
SELECT id, project, name, document ->> 'policy' AS policy, document, position
FROM read.resources WHERE kind = 'server_group';

CREATE VIEW read.host AS
SELECT id, name, status,
       document ->> 'zone' AS zone,
       (document ->> 'enabled')::boolean AS enabled,
       (document -> 'used' ->> 'instances')::bigint AS instances,
       (document -> 'used' ->> 'vcpus')::bigint AS vcpus_used,
       (document -> 'inventory' ->> 'vcpus')::bigint AS vcpus,
       (document -> 'used' ->> 'memory')::bigint AS memory_mib_used,
       (document -> 'inventory' ->> 'memory')::bigint AS memory_mib,
       (document -> 'used' ->> 'disk')::bigint AS disk_gib_used,
       (document -> 'inventory' ->> 'disk')::bigint AS disk_gib,
       read.moment(document -> 'joined_at') AS joined_at,
       document, position
FROM read.resources WHERE kind = 'host';

CREATE VIEW read.image AS
SELECT id, project, name, status,
       document -> 'attributes' ->> 'visibility' AS visibility,
       document -> 'attributes' ->> 'disk_format' AS disk_format,
       (document -> 'data' ->> 'size')::bigint AS size_bytes,
       document -> 'data' ->> 'checksum' AS checksum,
       read.moment(document -> 'created_at') AS created_at,
       document, position
FROM read.resources WHERE kind = 'image';

CREATE VIEW read.network AS
SELECT id, project, name, status,
       (document -> 'attributes' ->> 'shared')::boolean AS shared,
       (document -> 'attributes' ->> 'external')::boolean AS external,
       (document -> 'attributes' ->> 'mtu')::bigint AS mtu,
       document -> 'segment' AS segment,
       read.moment(document -> 'created_at') AS created_at,
       document, position
FROM read.resources WHERE kind = 'network';

CREATE VIEW read.subnet AS
SELECT id, project, name, document ->> 'network' AS network, document ->> 'cidr' AS cidr,
       document -> 'attributes' ->> 'gateway_ip' AS gateway_ip,
       read.moment(document -> 'created_at') AS created_at,
       document, position
FROM read.resources WHERE kind = 'subnet';

CREATE VIEW read.port AS
SELECT id, project, name, status,
       document ->> 'network' AS network,
       document ->> 'mac' AS mac,
       document -> 'attributes' -> 'fixed_ips' AS fixed_ips,
       document -> 'attributes' ->> 'device_id' AS device_id,
       document -> 'attributes' ->> 'device_owner' AS device_owner,
       document -> 'binding' ->> 'host' AS host,
       read.moment(document -> 'created_at') AS created_at,
       document, position
FROM read.resources WHERE kind = 'port';

CREATE VIEW read.security_group AS
SELECT id, project, name, jsonb_array_length(document -> 'rules') AS rules, document, position
FROM read.resources WHERE kind = 'security_group';

CREATE VIEW read.quota AS
SELECT id AS project, l.key AS resource, l.value::text::bigint AS "limit", position
FROM read.resources, jsonb_each(document) l WHERE kind = 'quota';

CREATE VIEW read.domain AS SELECT id, name, status, document, position FROM read.resources WHERE kind = 'domain';
CREATE VIEW read.project AS
SELECT id, name, status, document ->> 'domain' AS domain, document ->> 'parent' AS parent, document, position
FROM read.resources WHERE kind = 'project';
CREATE VIEW read."user" AS
SELECT id, name, status, document ->> 'domain' AS domain, document ->> 'default_project' AS default_project, document, position
FROM read.resources WHERE kind = 'user';
CREATE VIEW read."group" AS SELECT id, name, document ->> 'domain' AS domain, document, position FROM read.resources WHERE kind = 'group';
CREATE VIEW read.role AS SELECT id, name, document ->> 'domain' AS domain, document, position FROM read.resources WHERE kind = 'role';
CREATE VIEW read.assignment AS
SELECT id, document ->> 'role' AS role, document ->> 'user' AS user_id, document ->> 'group' AS group_id, project,
       document ->> 'domain' AS domain, (document ->> 'system')::boolean AS system, (document ->> 'inherited')::boolean AS inherited, position
FROM read.resources WHERE kind = 'assignment';
CREATE VIEW read.application_credential AS
SELECT id, project, name, document ->> 'user' AS user_id, read.moment(document -> 'expires_at') AS expires_at, document, position
FROM read.resources WHERE kind = 'application_credential';
CREATE VIEW read.access_rule AS SELECT id, name, document ->> 'user' AS user_id, document, position FROM read.resources WHERE kind = 'access_rule';
CREATE VIEW read.trust AS
SELECT id, project, document ->> 'trustor' AS trustor_id, document ->> 'trustee' AS trustee_id,
       read.moment(document -> 'expires_at') AS expires_at, document, position
FROM read.resources WHERE kind = 'trust';
CREATE VIEW read.credential AS
SELECT id, project, document ->> 'kind' AS type, document ->> 'user' AS user_id, document, position
FROM read.resources WHERE kind = 'credential';
CREATE VIEW read.policy AS SELECT id, document ->> 'kind' AS type, document, position FROM read.resources WHERE kind = 'policy';
CREATE VIEW read.region AS SELECT id, document ->> 'parent' AS parent, document, position FROM read.resources WHERE kind = 'region';
CREATE VIEW read.service AS
SELECT id, name, status, document ->> 'kind' AS type, document, position FROM read.resources WHERE kind = 'service';
CREATE VIEW read.endpoint AS
SELECT id, name AS url, status, document ->> 'service' AS service, document ->> 'interface' AS interface, document ->> 'region' AS region,
       document, position
FROM read.resources WHERE kind = 'endpoint';

CREATE VIEW read.audit_trail AS
SELECT a.at, a.request_id, a.user_id, a.project_id, a.source, array_to_string(a.types, ', ') AS action, a.stream,
       coalesce(c.outcome::text, 'accepted') AS outcome, c.reason
FROM read.audit a LEFT JOIN strata.audit_calls c USING (request_id)
UNION ALL
SELECT at, request_id, user_id, project_id, source, action, NULL, outcome::text, reason
FROM strata.audit_calls c WHERE NOT EXISTS (SELECT FROM read.audit a WHERE a.request_id = c.request_id);
COMMENT ON VIEW read.audit_trail IS 'Every mutating call, once, the refused ones included: who, what, when, from where, outcome.';

GRANT USAGE ON SCHEMA read TO strata_read;
GRANT SELECT ON ALL TABLES IN SCHEMA read TO strata_read;
