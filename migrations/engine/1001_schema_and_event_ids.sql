-- The engine's own schema, and what it knows about event ids.
--
-- These migrations are applied to EVERY service database, before the service's own: a service's
-- tables may rely on the engine's, never the other way round. Versions 1001 and up are the
-- engine's, versions below belong to the service.
--
-- Event ids are UUIDs, version 7 recommended: their first 48 bits are milliseconds since
-- 1970-01-01 UTC, so a range of ids is a range of time and new ids land in one hot index page.

CREATE SCHEMA engine;
COMMENT ON SCHEMA engine IS
  'Bookkeeping of the event workers: positions, inboxes, dead letters. Same in every service database; holds no business data.';

-- The platform document defaults ids to uuid_generate_v4(), which needs the extension "uuid-ossp".
-- gen_random_uuid() is built in since PostgreSQL 13 and gives the same version 4, so no extension
-- is needed; an id that names an event is version 7 (below), because random ids cost the inbox
-- index most of its speed.
CREATE FUNCTION engine.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
              FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid
$$;
COMMENT ON FUNCTION engine.uuid_v7() IS
  'A new event id: UUID version 7, time part from the wall clock in milliseconds.';

CREATE FUNCTION engine.is_uuid_v7(id uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT get_byte(uuid_send(id), 6) >> 4 = 7 AND get_byte(uuid_send(id), 8) >> 6 = 2
$$;
COMMENT ON FUNCTION engine.is_uuid_v7(uuid) IS
  'True when the id is UUID version 7 of the standard variant, that is, when its first 48 bits are a time.';

CREATE FUNCTION engine.uuid_v7_floor(day date) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  -- Clamped to what 48 bits hold: beyond them the text would be cut and name some other time.
  SELECT (lpad(to_hex(least(greatest((day - date '1970-01-01')::bigint * 86400000, 0), 281474976710655)), 12, '0')
          || repeat('0', 20))::uuid
$$;
COMMENT ON FUNCTION engine.uuid_v7_floor(date) IS
  'The smallest id that an event of this UTC day can have: milliseconds of the day''s midnight, then zeros. Bounds of day partitions are such ids.';

CREATE FUNCTION engine.uuid_v7_day(id uuid) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT date '1970-01-01'
       + (('x' || substr(encode(uuid_send(id), 'hex'), 1, 12))::bit(48)::bigint / 86400000)::integer
$$;
COMMENT ON FUNCTION engine.uuid_v7_day(uuid) IS
  'The UTC day in the time part of a version-7 id. Meaningless for other versions.';

-- Which privileges the service's worker role holds is data, declared beside each table, so that a
-- migration needs no role name (the same engine tables serve eleven roles).
CREATE TABLE engine.table_privileges (
  relation regclass PRIMARY KEY,
  privileges text[] NOT NULL
    CHECK (privileges <@ ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])
);
COMMENT ON TABLE engine.table_privileges IS
  'Tables on which the worker role holds other privileges than the default. Default: SELECT, INSERT, UPDATE, DELETE in schema public, nothing in schema engine. Append-only tables are those without UPDATE and DELETE. Applied by engine.apply_worker_privileges at every migration run.';
COMMENT ON COLUMN engine.table_privileges.relation IS 'The table or view.';
COMMENT ON COLUMN engine.table_privileges.privileges IS
  'What the worker role may do with it, and nothing else; empty = nothing. TRUNCATE, REFERENCES, TRIGGER and DDL are never given.';
