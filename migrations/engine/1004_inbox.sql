-- The inbox: which events have been applied.
--
-- Its rows are inserted in the batch's transaction; effects apply only to the ids that the insert
-- returned as new. Partitioned by the id (1002), never by a time: neither processing time nor a
-- header's time is the same on every delivery, the id is.
--
-- Bound every probe by id: `event_id = ANY ($1)` alone visits every partition,
-- `AND event_id BETWEEN $2 AND $3` only those of the batch's days.

CREATE TABLE engine.inbox (
  event_id uuid PRIMARY KEY,
  content_hash bigint NOT NULL,
  event_type text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE engine.inbox IS
  'Ids of the events that this consumer group has applied, one row each, append-only. A second row is impossible, so a second effect is.';
COMMENT ON COLUMN engine.inbox.event_id IS 'The event''s id (header ce_id), version 7 recommended.';
COMMENT ON COLUMN engine.inbox.content_hash IS
  'Hash of the event''s content (64 bits, signed), without time and trace. The same id with another hash is a conflict and goes to engine.quarantined_events.';
COMMENT ON COLUMN engine.inbox.event_type IS 'The event''s name, e.g. USER_REGISTERED.';
COMMENT ON COLUMN engine.inbox.received_at IS 'When it was first received: start of the transaction that applied it (UTC).';

-- Kept for ever until the owner sets a retention, which must outlive every redelivery: topic
-- retention + dead-letter retention + margin.
SELECT engine.register_day_partitions('engine.inbox', 'received_at', NULL);
INSERT INTO engine.table_privileges VALUES ('engine.inbox', '{SELECT,INSERT}');

-- Runs with the caller's rights: a migration calls it as the owner.
CREATE FUNCTION engine.create_inbox(name name) RETURNS regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  inbox regclass := to_regclass(format('engine.%I', name));
  days record;
  worker text;
BEGIN
  IF EXISTS (SELECT FROM engine.day_partitioned_tables t WHERE t.parent = inbox) THEN
    RETURN inbox;
  END IF;
  EXECUTE format('CREATE TABLE engine.%I (LIKE engine.inbox INCLUDING ALL) PARTITION BY RANGE (event_id)', name);
  EXECUTE format('COMMENT ON TABLE engine.%I IS %L', name,
    'Ids of the events that a second consumer group of this database has applied; same shape and rules as engine.inbox.');
  inbox := format('engine.%I', name)::regclass;
  PERFORM engine.register_day_partitions(inbox, 'received_at', t.retention_days)
  FROM engine.day_partitioned_tables t WHERE t.parent = 'engine.inbox'::regclass;
  INSERT INTO engine.table_privileges VALUES (inbox, '{SELECT,INSERT}');

  SELECT * INTO days FROM engine.day_partition_span('engine.inbox');
  IF days.first_day < days.end_day THEN
    PERFORM engine.maintain_day_partitions(inbox, days.first_day, days.end_day - 1);
  END IF;
  -- Whoever may insert into the first inbox may use this one at once, without a migration run.
  FOR worker IN
    SELECT DISTINCT pg_get_userbyid(a.grantee)
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.oid = 'engine.inbox'::regclass AND a.privilege_type = 'INSERT' AND a.grantee NOT IN (0, c.relowner)
  LOOP
    EXECUTE format('GRANT SELECT, INSERT ON TABLE %s TO %I', inbox, worker);
  END LOOP;
  RETURN inbox;
END
$$;
COMMENT ON FUNCTION engine.create_inbox(name) IS
  'For migrations: creates engine.<name>, an inbox for a further consumer group in the same database, with the days, retention and privileges of engine.inbox. Does nothing when it exists.';
