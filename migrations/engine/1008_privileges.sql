-- Least privilege, applied from engine.table_privileges at every migration run and safe to repeat:
-- tables whose privileges are right are left alone.

CREATE FUNCTION engine.apply_worker_privileges(worker name)
RETURNS TABLE (relation text, privileges text[])
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target record;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA public, engine TO %I', worker);
  -- Tables made later, outside a migration run. Schema engine needs none: its tables are all
  -- declared, and partitions are reached through their table.
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', worker);
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO %I', worker);
  EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO %I', worker);
  EXECUTE format('GRANT EXECUTE ON FUNCTION
      engine.uuid_v7(), engine.is_uuid_v7(uuid), engine.uuid_v7_floor(date), engine.uuid_v7_day(uuid),
      engine.day_partition_span(regclass), engine.maintain_day_partitions(regclass, date, date),
      engine.drop_day_partitions(regclass, date), engine.purge_catch_all(regclass, timestamptz)
    TO %I', worker);

  FOR target IN
    SELECT format('%I.%I', n.nspname, c.relname) AS name, wanted.privileges
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN engine.table_privileges declared ON declared.relation = c.oid
    CROSS JOIN LATERAL (
      SELECT coalesce(declared.privileges, CASE
        WHEN n.nspname = 'engine' OR c.relispartition THEN '{}'
        WHEN c.relkind IN ('v', 'm') THEN '{SELECT}'
        ELSE '{SELECT,INSERT,UPDATE,DELETE}'
      END::text[]) AS privileges
    ) wanted
    CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(a.privilege_type), '{}') AS privileges
      FROM aclexplode(c.relacl) a WHERE a.grantee = quote_ident(worker)::regrole
    ) held
    WHERE n.nspname IN ('public', 'engine') AND c.relkind IN ('r', 'p', 'v', 'm')
      -- Not what an extension brought along.
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND NOT (wanted.privileges <@ held.privileges AND held.privileges <@ wanted.privileges)
    ORDER BY 1
  LOOP
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', target.name, worker);
    IF cardinality(target.privileges) > 0 THEN
      EXECUTE format('GRANT %s ON TABLE %s TO %I', array_to_string(target.privileges, ', '), target.name, worker);
    END IF;
    relation := target.name;
    privileges := target.privileges;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION engine.apply_worker_privileges(name) IS
  'Gives the service''s worker role exactly its privileges on every table of schemas public and engine. Returns the tables where they changed.';

CREATE FUNCTION engine.apply_relay_privileges(relay name) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', relay);
  -- UPDATE on one column is also what SELECT … FOR UPDATE SKIP LOCKED needs.
  EXECUTE format('GRANT SELECT, UPDATE (published_at) ON TABLE public.outbox_events TO %I', relay);
END
$$;
COMMENT ON FUNCTION engine.apply_relay_privileges(name) IS
  'Lets the relay''s role read the outbox and mark rows as published, and nothing else.';

-- PostgreSQL gives everyone EXECUTE on a new function.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA engine FROM PUBLIC;

-- The migration runner's own table: a worker may read it, to see that it fits the database.
DO $$
BEGIN
  IF to_regclass('public._sqlx_migrations') IS NOT NULL THEN
    INSERT INTO engine.table_privileges VALUES ('public._sqlx_migrations', '{SELECT}');
  END IF;
END
$$;
