-- Day partitions by event id.
--
-- Invariant: the partitions of a registered table are <table>_below (MINVALUE to the midnight of
-- the first day), one <table>_dYYYYMMDD per UTC day without gap, and <table>_above (midnight after
-- the last day to MAXVALUE). They adjoin always, so every id has exactly one place and the key on
-- the id alone is unique over the whole table, whatever any header says about time.
--
-- Ids that are not version 7 fall mostly into the two catch-alls. Old days are dropped whole; rows
-- in them whose id is not version 7 carry no time in the id, so they are moved and kept.
--
-- The worker role cannot create or drop tables; the functions it may call run with the owner's
-- rights (SECURITY DEFINER) and accept only tables that a migration registered here.

CREATE TABLE engine.day_partitioned_tables (
  parent regclass PRIMARY KEY,
  time_column name NOT NULL,
  retention_days integer CHECK (retention_days > 0),
  floor_day date
);
COMMENT ON TABLE engine.day_partitioned_tables IS
  'The tables partitioned by day through their event id. Filled by migrations; nothing else may be partitioned or dropped by the partition functions.';
COMMENT ON COLUMN engine.day_partitioned_tables.parent IS 'The partitioned table.';
COMMENT ON COLUMN engine.day_partitioned_tables.time_column IS
  'Column with the time of first receipt, by which rows without a time in their id are purged.';
COMMENT ON COLUMN engine.day_partitioned_tables.retention_days IS
  'Whole days that must be kept before today (UTC). NULL = for ever: dropping is refused. The owner of the database sets it.';
COMMENT ON COLUMN engine.day_partitioned_tables.floor_day IS
  'Version-7 ids older than this UTC midnight have been forgotten: an unseen one may be a repeat. NULL = nothing was ever dropped.';

CREATE FUNCTION engine.day_partition_span(parent regclass, OUT first_day date, OUT end_day date)
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  -- Read from the catch-alls' bounds, which are the truth; names and a stored span could lie.
  SELECT max(engine.uuid_v7_day(b.until)), max(engine.uuid_v7_day(b.since))
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  CROSS JOIN LATERAL (
    SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(MINVALUE\) TO \(''([0-9a-f-]{36})''\)')::uuid AS until,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9a-f-]{36})''\) TO \(MAXVALUE\)')::uuid AS since
  ) b
  WHERE i.inhparent = parent
$$;
COMMENT ON FUNCTION engine.day_partition_span(regclass) IS
  'The days that have a partition of their own: from first_day up to, not including, end_day (equal when there is none yet).';

-- The statements that build and move partitions; callers hold the registry row.

CREATE FUNCTION engine.partition_name(parent regclass, suffix text, OUT relation text)
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.%I', n.nspname, c.relname || '_' || suffix)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = parent
$$;
COMMENT ON FUNCTION engine.partition_name(regclass, text) IS
  'Qualified and quoted name of a partition: <table>_<suffix> in the schema of its table.';

CREATE FUNCTION engine.partition_key(parent regclass) RETURNS name
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname
  FROM pg_partitioned_table p
  JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
  WHERE p.partrelid = parent AND p.partstrat = 'r' AND p.partnatts = 1 AND a.atttypid = 'uuid'::regtype
$$;
COMMENT ON FUNCTION engine.partition_key(regclass) IS
  'The uuid column by whose range the table is partitioned; NULL when it is partitioned otherwise or not at all.';

CREATE FUNCTION engine.stored_columns(parent regclass) RETURNS text
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
  FROM pg_attribute
  WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;
COMMENT ON FUNCTION engine.stored_columns(regclass) IS
  'Column list for moving rows between partitions; generated columns compute themselves.';

CREATE FUNCTION engine.create_partition(parent regclass, suffix text, bounds text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  partition text := engine.partition_name(parent, suffix);
  grantee text;
BEGIN
  EXECUTE format('CREATE TABLE %s PARTITION OF %s FOR VALUES %s', partition, parent, bounds);
  -- Default privileges of the schema would open the partition to statements that the table itself
  -- refuses (DELETE on an append-only log). Access goes through the table only.
  FOR grantee IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.oid = partition::regclass AND a.grantee <> c.relowner
  LOOP
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', partition, grantee);
  END LOOP;
END
$$;
COMMENT ON FUNCTION engine.create_partition(regclass, text, text) IS
  'Creates one partition, reachable through its table only.';

-- Locks the registry row: maintainers of one table run one after the other, and a table that no
-- migration registered is refused before anything is touched.
CREATE FUNCTION engine.lock_day_partitioned(parent regclass) RETURNS engine.day_partitioned_tables
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  registered engine.day_partitioned_tables;
BEGIN
  SELECT * INTO registered
  FROM engine.day_partitioned_tables t
  WHERE t.parent = lock_day_partitioned.parent
  FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'table % is not registered for day partitions', coalesce(parent::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Only tables in engine.day_partitioned_tables are maintained. A migration registers one with engine.register_day_partitions.';
  END IF;
  RETURN registered;
END
$$;
COMMENT ON FUNCTION engine.lock_day_partitioned(regclass) IS
  'The registry row of a table, locked until the end of the transaction; an error when there is none.';

CREATE FUNCTION engine.register_day_partitions(
  parent regclass, time_column name, retention_days integer DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- No day yet: both catch-alls meet at today's midnight, and maintenance opens days between them.
  midnight uuid := engine.uuid_v7_floor((now() AT TIME ZONE 'UTC')::date);
BEGIN
  IF engine.partition_key(parent) IS NULL THEN
    RAISE EXCEPTION 'table % is not partitioned by range of one uuid column', parent
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Create it with PARTITION BY RANGE (id), id uuid being the event id.';
  END IF;
  IF length((SELECT relname FROM pg_class WHERE oid = parent)) > 53 THEN
    RAISE EXCEPTION 'the name of table % leaves no room for _dYYYYMMDD', parent
      USING ERRCODE = 'name_too_long', HINT = 'Use at most 53 characters.';
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = parent AND attname = time_column AND atttypid = 'timestamptz'::regtype AND NOT attisdropped
  ) THEN
    RAISE EXCEPTION 'table % has no timestamptz column %', parent, quote_ident(time_column)
      USING ERRCODE = 'undefined_column', HINT = 'Name the column that holds the time of first receipt.';
  END IF;
  INSERT INTO engine.day_partitioned_tables (parent, time_column, retention_days)
  VALUES (parent, time_column, retention_days);
  PERFORM engine.create_partition(parent, 'below', format('FROM (MINVALUE) TO (%L)', midnight));
  PERFORM engine.create_partition(parent, 'above', format('FROM (%L) TO (MAXVALUE)', midnight));
END
$$;
COMMENT ON FUNCTION engine.register_day_partitions(regclass, name, integer) IS
  'For migrations: registers an empty table PARTITION BY RANGE (uuid) and creates its two catch-alls.';

-- Opens the days from..until-1 between a catch-all and the rest: detach the catch-all, create the
-- days, move the rows that belong to them, attach the catch-all with its new bound. The table is
-- locked exclusively from the first statement on, so a concurrent insert waits and then finds the
-- new partitions; none is lost and none is refused.
CREATE FUNCTION engine.open_days(
  parent regclass, from_day date, until_day date, catch_all text, catch_all_bounds text
) RETURNS TABLE (partition_name text, action text, rows_moved bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  catch_all_table text := engine.partition_name(parent, catch_all);
  columns text := engine.stored_columns(parent);
  key name := engine.partition_key(parent);
  day date;
BEGIN
  EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, catch_all_table);
  FOR day IN SELECT d::date FROM generate_series(from_day::timestamp, until_day::timestamp - interval '1 day', interval '1 day') d LOOP
    PERFORM engine.create_partition(parent, 'd' || to_char(day, 'YYYYMMDD'),
      format('FROM (%L) TO (%L)', engine.uuid_v7_floor(day), engine.uuid_v7_floor(day + 1)));
    EXECUTE format(
      'WITH moved AS (DELETE FROM %1$s WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING %5$s)
       INSERT INTO %6$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM moved',
      catch_all_table, key, engine.uuid_v7_floor(day), engine.uuid_v7_floor(day + 1), columns, parent);
    GET DIAGNOSTICS rows_moved = ROW_COUNT;
    partition_name := engine.partition_name(parent, 'd' || to_char(day, 'YYYYMMDD'));
    action := 'created';
    RETURN NEXT;
  END LOOP;
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s', parent, catch_all_table, catch_all_bounds);
  partition_name := catch_all_table;
  action := 'bound moved';
  rows_moved := 0;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION engine.open_days(regclass, date, date, text, text) IS
  'Creates a run of day partitions next to a catch-all and moves the catch-all''s bound and rows accordingly.';

CREATE FUNCTION engine.maintain_day_partitions(parent regclass, first_day date, last_day date)
RETURNS TABLE (partition_name text, action text, rows_moved bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- A long-running reader holds this function up, and everyone else queues behind this function:
-- give up soon (55P03) and let the caller try again.
SET lock_timeout = '3s'
AS $$
DECLARE
  registered engine.day_partitioned_tables := engine.lock_day_partitioned(parent);
  present record;
  wanted_first date := greatest(first_day, registered.floor_day);
BEGIN
  IF first_day IS NULL OR last_day IS NULL OR first_day > last_day
     OR first_day < date '1970-01-01' OR last_day > date '9999-12-30' THEN
    RAISE EXCEPTION 'invalid span of days % .. %', coalesce(first_day::text, 'NULL'), coalesce(last_day::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'first_day must not be after last_day; both lie between 1970-01-01 and 9999-12-30.';
  END IF;
  SELECT * INTO present FROM engine.day_partition_span(parent);
  IF present.first_day - wanted_first > 1000 OR last_day - present.end_day > 1000 THEN
    RAISE EXCEPTION 'the span % .. % lies more than 1000 days beyond the existing one (% .. %)',
        first_day, last_day, present.first_day, present.end_day - 1
      USING ERRCODE = 'program_limit_exceeded',
            HINT = 'Days are contiguous, so all days between are created too. Check the dates, or extend in steps.';
  END IF;
  IF wanted_first >= present.first_day AND last_day < present.end_day THEN
    RETURN;
  END IF;

  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', parent);
  IF wanted_first < present.first_day THEN
    RETURN QUERY SELECT * FROM engine.open_days(parent, wanted_first, present.first_day, 'below',
      format('FROM (MINVALUE) TO (%L)', engine.uuid_v7_floor(wanted_first)));
  END IF;
  IF last_day >= present.end_day THEN
    RETURN QUERY SELECT * FROM engine.open_days(parent, present.end_day, last_day + 1, 'above',
      format('FROM (%L) TO (MAXVALUE)', engine.uuid_v7_floor(last_day + 1)));
  END IF;
END
$$;
COMMENT ON FUNCTION engine.maintain_day_partitions(regclass, date, date) IS
  'Makes sure that every UTC day from first_day to last_day (inclusive) has its partition, contiguous with those that exist; days below floor_day are not created again. Returns what it did, nothing when all was there. Call it for one table per transaction. Fails with 55P03 after 3 s behind a long-running statement: try again.';

-- Refuses to forget anything that the retention promises to keep.
CREATE FUNCTION engine.check_retention(registered engine.day_partitioned_tables, forget_before timestamptz) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  keep_from timestamptz := ((now() AT TIME ZONE 'UTC')::date - registered.retention_days)::timestamp AT TIME ZONE 'UTC';
BEGIN
  IF keep_from IS NULL THEN
    RAISE EXCEPTION 'table % is kept for ever', registered.parent
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'To let old days go, the owner of the database sets retention_days in engine.day_partitioned_tables.';
  END IF;
  IF forget_before IS NULL OR forget_before > keep_from THEN
    RAISE EXCEPTION 'table % keeps % days, so nothing from % (UTC) on may go; asked for everything before %',
        registered.parent, registered.retention_days, (keep_from AT TIME ZONE 'UTC')::date,
        coalesce((forget_before AT TIME ZONE 'UTC')::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use an earlier time, or shorten retention_days in engine.day_partitioned_tables.';
  END IF;
END
$$;
COMMENT ON FUNCTION engine.check_retention(engine.day_partitioned_tables, timestamptz) IS
  'Raises unless everything before the given time is older than the table''s retention.';

CREATE FUNCTION engine.drop_day_partitions(parent regclass, before date)
RETURNS TABLE (partition_name text, action text, rows_moved bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '3s'
AS $$
DECLARE
  registered engine.day_partitioned_tables := engine.lock_day_partitioned(parent);
  below text := engine.partition_name(parent, 'below');
  columns text := engine.stored_columns(parent);
  key name := engine.partition_key(parent);
  present record;
  doomed date[];
  kept uuid[];
  catch_all text;
  day date;
BEGIN
  PERFORM engine.check_retention(registered, before::timestamp AT TIME ZONE 'UTC');
  UPDATE engine.day_partitioned_tables t
  SET floor_day = greatest(t.floor_day, before)
  WHERE t.parent = drop_day_partitions.parent;

  -- Version-7 rows of forgotten days that never got a partition of their own.
  FOREACH catch_all IN ARRAY ARRAY['below', 'above'] LOOP
    partition_name := engine.partition_name(parent, catch_all);
    EXECUTE format('DELETE FROM %s WHERE %I < %L AND engine.is_uuid_v7(%2$I)',
                   partition_name, key, engine.uuid_v7_floor(before));
    GET DIAGNOSTICS rows_moved = ROW_COUNT;
    IF rows_moved > 0 THEN
      action := 'rows deleted';
      RETURN NEXT;
    END IF;
  END LOOP;

  SELECT * INTO present FROM engine.day_partition_span(parent);
  SELECT array_agg(d::date ORDER BY d) INTO doomed
  FROM generate_series(present.first_day::timestamp, least(before, present.end_day)::timestamp - interval '1 day', interval '1 day') d;
  IF doomed IS NULL THEN
    RETURN;
  END IF;

  -- The scan for rows to keep is the long part. It runs under a lock that stops only writers into
  -- these old days; the table itself is locked afterwards, for the moves alone.
  FOREACH day IN ARRAY doomed LOOP
    EXECUTE format('LOCK TABLE %s IN SHARE MODE', engine.partition_name(parent, 'd' || to_char(day, 'YYYYMMDD')));
    EXECUTE format('SELECT coalesce($1, ''{}'') || coalesce(array_agg(%I), ''{}'') FROM %s WHERE NOT engine.is_uuid_v7(%1$I)',
                   key, engine.partition_name(parent, 'd' || to_char(day, 'YYYYMMDD')))
      INTO kept USING kept;
  END LOOP;

  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', parent);
  EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, below);
  FOREACH day IN ARRAY doomed LOOP
    partition_name := engine.partition_name(parent, 'd' || to_char(day, 'YYYYMMDD'));
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s WHERE %I = ANY ($1)',
                   below, columns, partition_name, key) USING kept;
    GET DIAGNOSTICS rows_moved = ROW_COUNT;
    EXECUTE format('DROP TABLE %s', partition_name);
    action := 'dropped';
    RETURN NEXT;
  END LOOP;
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)',
                 parent, below, engine.uuid_v7_floor(day + 1));
  partition_name := below;
  action := 'bound moved';
  rows_moved := 0;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION engine.drop_day_partitions(regclass, date) IS
  'Forgets the days before the given UTC day (exclusive): drops their partitions, keeps rows whose id is not version 7 (moved to <table>_below), records floor_day. Refuses what retention_days protects. Returns what it did.';

CREATE FUNCTION engine.purge_catch_all(parent regclass, received_before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  registered engine.day_partitioned_tables := engine.lock_day_partitioned(parent);
  key name := engine.partition_key(parent);
  catch_all text;
  deleted bigint;
  total bigint := 0;
BEGIN
  PERFORM engine.check_retention(registered, received_before);
  FOREACH catch_all IN ARRAY ARRAY['below', 'above'] LOOP
    EXECUTE format('DELETE FROM %s WHERE %I < $1 AND NOT engine.is_uuid_v7(%I)',
                   engine.partition_name(parent, catch_all), registered.time_column, key)
      USING received_before;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
  END LOOP;
  RETURN total;
END
$$;
COMMENT ON FUNCTION engine.purge_catch_all(regclass, timestamptz) IS
  'Deletes rows whose id is not version 7 and that were first received before the given time, by the table''s registered time column. Refuses what retention_days protects. Returns the number of rows.';
