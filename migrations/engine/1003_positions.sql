-- Who owns a partition, and how far it has been applied.
--
-- Two tables on purpose. A batch holds FOR SHARE on its fence row until it commits, so that a
-- claim (which updates the row) waits for it, and a batch of a former owner finds another epoch.
-- FOR SHARE conflicts with every update of the same row, so the position, which each batch
-- updates, must live in a row of its own: measured, 44 ms with two tables against the whole
-- transaction of the other lane with one.

CREATE TABLE engine.partition_fence (
  consumer_group text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  epoch bigint NOT NULL CHECK (epoch > 0),
  claimed_by text NOT NULL,
  claimed_at timestamptz NOT NULL,
  PRIMARY KEY (consumer_group, topic, partition)
);
COMMENT ON TABLE engine.partition_fence IS
  'Current owner of each topic partition. A claim raises the epoch; every batch locks the row FOR SHARE under its own epoch and applies nothing when the epoch has moved on. FOR SHARE needs the UPDATE privilege.';
COMMENT ON COLUMN engine.partition_fence.consumer_group IS 'Kafka consumer group, e.g. learnexpert.analytics.';
COMMENT ON COLUMN engine.partition_fence.topic IS 'Kafka topic.';
COMMENT ON COLUMN engine.partition_fence.partition IS 'Kafka partition number.';
COMMENT ON COLUMN engine.partition_fence.epoch IS 'Number of the claim, from 1, raised by one at each claim; larger = later owner.';
COMMENT ON COLUMN engine.partition_fence.claimed_by IS 'The claiming worker instance: its stable group.instance.id or host name.';
COMMENT ON COLUMN engine.partition_fence.claimed_at IS 'When the partition was claimed (UTC).';

CREATE TABLE engine.partition_position (
  consumer_group text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  topic_id uuid NOT NULL,
  next_offset bigint NOT NULL CHECK (next_offset >= 0),
  epoch bigint NOT NULL CHECK (epoch > 0),
  hold_below bigint NOT NULL DEFAULT 0 CHECK (hold_below >= 0),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (consumer_group, topic, partition)
);
COMMENT ON TABLE engine.partition_position IS
  'How far each topic partition has been applied: the truth, of which Kafka''s committed offset is a hint. Written in the same transaction as the effects, so restoring the database rewinds both.';
COMMENT ON COLUMN engine.partition_position.consumer_group IS 'Kafka consumer group.';
COMMENT ON COLUMN engine.partition_position.topic IS 'Kafka topic.';
COMMENT ON COLUMN engine.partition_position.partition IS 'Kafka partition number.';
COMMENT ON COLUMN engine.partition_position.topic_id IS
  'Kafka''s id of the topic when the position was written; another id means that the topic was re-created and the offset is meaningless.';
COMMENT ON COLUMN engine.partition_position.next_offset IS 'Offset of the first record that is not finished; all below are.';
COMMENT ON COLUMN engine.partition_position.epoch IS 'Epoch of the claim under which the position was written.';
COMMENT ON COLUMN engine.partition_position.hold_below IS
  'Sends caused by records below this offset are held, not repeated: Kafka''s hint was ahead of the database, so they may have happened before a restore. 0 = nothing held.';
COMMENT ON COLUMN engine.partition_position.updated_at IS 'When the position last moved (UTC).';

INSERT INTO engine.table_privileges VALUES
  ('engine.partition_fence', '{SELECT,INSERT,UPDATE}'),
  ('engine.partition_position', '{SELECT,INSERT,UPDATE}'),
  -- The worker reads the retention and the floor of its inbox here; only the owner sets them.
  ('engine.day_partitioned_tables', '{SELECT}');
