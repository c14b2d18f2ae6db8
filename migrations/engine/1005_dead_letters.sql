-- What could not be applied, and what waits for it.
--
-- Rows are identified by where the record came from (consumer group, topic id, partition, offset):
-- the dead letter topic is at-least-once, so its offsets cannot be an identity. Every row is
-- written in the transaction of the batch that set the record aside. `replay` and `discard` only
-- write a request here; the lane that owns the partition executes it under its fence, so that a
-- key has one writer.

CREATE TABLE engine.dead_letters (
  id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  consumer_group text NOT NULL,
  topic_id uuid NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  record_offset bigint NOT NULL CHECK (record_offset >= 0),
  event_id uuid,
  event_type text,
  key bytea,
  event_time timestamptz,
  kind text NOT NULL,
  reason text NOT NULL,
  dlq_topic text,
  dlq_partition integer,
  dlq_offset bigint,
  state text NOT NULL DEFAULT 'dead'
    CHECK (state IN ('dead', 'replay_requested', 'replayed', 'discard_requested', 'discarded')),
  attempts integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  requested_by text,
  requested_at timestamptz,
  request_reason text,
  PRIMARY KEY (consumer_group, topic_id, partition, record_offset)
);
COMMENT ON TABLE engine.dead_letters IS
  'Records that were isolated as bad data. The row holds the state, the dead letter topic the bytes. Outages never end up here.';
COMMENT ON COLUMN engine.dead_letters.id IS 'Short number for people: what the command line shows and takes.';
COMMENT ON COLUMN engine.dead_letters.consumer_group IS 'Consumer group that could not apply the record.';
COMMENT ON COLUMN engine.dead_letters.topic_id IS 'Kafka''s id of the topic the record came from.';
COMMENT ON COLUMN engine.dead_letters.topic IS 'Topic the record came from.';
COMMENT ON COLUMN engine.dead_letters.partition IS 'Partition the record came from.';
COMMENT ON COLUMN engine.dead_letters.record_offset IS 'Offset of the record in that partition.';
COMMENT ON COLUMN engine.dead_letters.event_id IS 'Header ce_id; NULL when missing or not a UUID.';
COMMENT ON COLUMN engine.dead_letters.event_type IS 'Header ce_type; NULL when missing.';
COMMENT ON COLUMN engine.dead_letters.key IS 'The record''s key, raw bytes; NULL when it had none.';
COMMENT ON COLUMN engine.dead_letters.event_time IS 'Header ce_time (UTC); NULL when missing or unreadable.';
COMMENT ON COLUMN engine.dead_letters.kind IS 'Class of the failure, a short fixed word, e.g. undecodable, contract, rejected, database.';
COMMENT ON COLUMN engine.dead_letters.reason IS 'The failure as a person reads it.';
COMMENT ON COLUMN engine.dead_letters.dlq_topic IS 'Dead letter topic that holds the original bytes; NULL until it has acknowledged them.';
COMMENT ON COLUMN engine.dead_letters.dlq_partition IS 'Partition in the dead letter topic.';
COMMENT ON COLUMN engine.dead_letters.dlq_offset IS 'Offset in the dead letter topic (of the latest entry, if there are repeats).';
COMMENT ON COLUMN engine.dead_letters.state IS
  'dead = set aside; replay_requested, discard_requested = an operator asked, the owning lane will act; replayed = applied since; discarded = given up by decision.';
COMMENT ON COLUMN engine.dead_letters.attempts IS 'How often applying it failed, replays included.';
COMMENT ON COLUMN engine.dead_letters.created_at IS 'When it was set aside (UTC).';
COMMENT ON COLUMN engine.dead_letters.updated_at IS 'When the row last changed (UTC).';
COMMENT ON COLUMN engine.dead_letters.requested_by IS 'Who asked for the replay or discard.';
COMMENT ON COLUMN engine.dead_letters.requested_at IS 'When it was asked (UTC).';
COMMENT ON COLUMN engine.dead_letters.request_reason IS 'Why, in the operator''s words.';
CREATE INDEX dead_letters_requested ON engine.dead_letters (consumer_group, topic, partition, record_offset)
  WHERE state IN ('replay_requested', 'discard_requested');
CREATE INDEX dead_letters_by_state ON engine.dead_letters (consumer_group, state, created_at);
CREATE INDEX dead_letters_by_event ON engine.dead_letters (event_id) WHERE event_id IS NOT NULL;

CREATE TABLE engine.quarantined_events (
  consumer_group text NOT NULL,
  topic_id uuid NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  record_offset bigint NOT NULL CHECK (record_offset >= 0),
  event_id uuid NOT NULL,
  event_type text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('conflict', 'expired')),
  reason text NOT NULL,
  key bytea,
  value bytea,
  header_names text[] NOT NULL,
  header_values bytea[] NOT NULL,
  record_timestamp timestamptz,
  state text NOT NULL DEFAULT 'quarantined' CHECK (state IN ('quarantined', 'released', 'discarded')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer_group, topic_id, partition, record_offset),
  CHECK (cardinality(header_names) = cardinality(header_values))
);
COMMENT ON TABLE engine.quarantined_events IS
  'Readable events that were not applied because nobody can tell whether they are repeats. Bytes kept here, for a person to release or discard.';
COMMENT ON COLUMN engine.quarantined_events.consumer_group IS 'Consumer group that set the event aside.';
COMMENT ON COLUMN engine.quarantined_events.topic_id IS 'Kafka''s id of the topic the event came from.';
COMMENT ON COLUMN engine.quarantined_events.topic IS 'Topic the event came from.';
COMMENT ON COLUMN engine.quarantined_events.partition IS 'Partition the event came from.';
COMMENT ON COLUMN engine.quarantined_events.record_offset IS 'Offset in that partition.';
COMMENT ON COLUMN engine.quarantined_events.event_id IS 'The event''s id.';
COMMENT ON COLUMN engine.quarantined_events.event_type IS 'The event''s name.';
COMMENT ON COLUMN engine.quarantined_events.kind IS
  'conflict = its id was applied before with other content; expired = unseen version-7 id older than the inbox remembers.';
COMMENT ON COLUMN engine.quarantined_events.reason IS 'The finding as a person reads it.';
COMMENT ON COLUMN engine.quarantined_events.key IS 'The record''s key, raw bytes; NULL when it had none.';
COMMENT ON COLUMN engine.quarantined_events.value IS 'The record''s value, raw bytes; NULL for a tombstone.';
COMMENT ON COLUMN engine.quarantined_events.header_names IS 'Names of the record''s headers, in order, repeats kept.';
COMMENT ON COLUMN engine.quarantined_events.header_values IS 'Values of the headers, raw bytes, one for each name; an element is NULL when the header had no value.';
COMMENT ON COLUMN engine.quarantined_events.record_timestamp IS 'The record''s Kafka timestamp (UTC); NULL when it had none.';
COMMENT ON COLUMN engine.quarantined_events.state IS 'quarantined = undecided; released = applied by decision; discarded = given up by decision.';
COMMENT ON COLUMN engine.quarantined_events.created_at IS 'When it was set aside (UTC).';
CREATE INDEX quarantined_events_by_state ON engine.quarantined_events (consumer_group, state, created_at);

CREATE TABLE engine.parked_events (
  consumer_group text NOT NULL,
  topic_id uuid NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  record_offset bigint NOT NULL CHECK (record_offset >= 0),
  key bytea NOT NULL,
  event_id uuid,
  event_type text,
  value bytea,
  header_names text[] NOT NULL,
  header_values bytea[] NOT NULL,
  record_timestamp timestamptz,
  parked_at timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'released', 'discarded')),
  PRIMARY KEY (consumer_group, topic_id, partition, record_offset),
  CHECK (cardinality(header_names) = cardinality(header_values))
);
COMMENT ON TABLE engine.parked_events IS
  'Successors of a dead-lettered event with the same key, where order matters: kept, bytes and all, until the dead letter is replayed or discarded.';
COMMENT ON COLUMN engine.parked_events.consumer_group IS 'Consumer group that parked the event.';
COMMENT ON COLUMN engine.parked_events.topic_id IS 'Kafka''s id of the topic the event came from.';
COMMENT ON COLUMN engine.parked_events.topic IS 'Topic the event came from.';
COMMENT ON COLUMN engine.parked_events.partition IS 'Partition the event came from.';
COMMENT ON COLUMN engine.parked_events.record_offset IS 'Offset in that partition; the order in which parked events are released.';
COMMENT ON COLUMN engine.parked_events.key IS 'The record''s key, raw bytes.';
COMMENT ON COLUMN engine.parked_events.event_id IS 'Header ce_id; NULL when missing or not a UUID.';
COMMENT ON COLUMN engine.parked_events.event_type IS 'Header ce_type; NULL when missing.';
COMMENT ON COLUMN engine.parked_events.value IS 'The record''s value, raw bytes; NULL for a tombstone.';
COMMENT ON COLUMN engine.parked_events.header_names IS 'Names of the record''s headers, in order, repeats kept.';
COMMENT ON COLUMN engine.parked_events.header_values IS 'Values of the headers, raw bytes, one for each name; an element is NULL when the header had no value.';
COMMENT ON COLUMN engine.parked_events.record_timestamp IS 'The record''s Kafka timestamp (UTC); NULL when it had none.';
COMMENT ON COLUMN engine.parked_events.parked_at IS 'When it was parked (UTC).';
COMMENT ON COLUMN engine.parked_events.state IS 'parked = waiting; released = handed to the worker since; discarded = given up by decision.';
-- Without the key: an index entry has a size limit, a record's key has none.
CREATE INDEX parked_events_waiting ON engine.parked_events (consumer_group, topic, partition, record_offset)
  WHERE state = 'parked';

CREATE TABLE engine.parked_keys (
  consumer_group text NOT NULL,
  topic text NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  -- Valid keys are UUID text of 36 bytes. Without the limit a giant key would fail on the size of
  -- its index entry (54000), which reads as an outage and would hold its partition for ever.
  key bytea NOT NULL CONSTRAINT parked_keys_key_length CHECK (octet_length(key) <= 1024),
  dead_letter_offset bigint NOT NULL CHECK (dead_letter_offset >= 0),
  parked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer_group, topic, key)
);
COMMENT ON TABLE engine.parked_keys IS
  'Keys whose successors are parked at present; a row goes when its dead letter is resolved and its parked events are released.';
COMMENT ON COLUMN engine.parked_keys.consumer_group IS 'Consumer group that parks.';
COMMENT ON COLUMN engine.parked_keys.topic IS 'Topic of the dead-lettered event.';
COMMENT ON COLUMN engine.parked_keys.partition IS 'Its partition.';
COMMENT ON COLUMN engine.parked_keys.key IS 'The key, raw bytes, at most 1024; records with longer keys are dead-lettered without parking their successors.';
COMMENT ON COLUMN engine.parked_keys.dead_letter_offset IS 'Offset of the dead-lettered event that the key waits for (the latest, if there are several).';
COMMENT ON COLUMN engine.parked_keys.parked_at IS 'When the key was parked (UTC).';
CREATE INDEX parked_keys_by_partition ON engine.parked_keys (consumer_group, topic, partition);

INSERT INTO engine.table_privileges VALUES
  ('engine.dead_letters', '{SELECT,INSERT,UPDATE}'),
  ('engine.quarantined_events', '{SELECT,INSERT,UPDATE}'),
  ('engine.parked_events', '{SELECT,INSERT,UPDATE}'),
  ('engine.parked_keys', '{SELECT,INSERT,UPDATE,DELETE}');
