-- The outbox: how a service publishes an event in the same transaction as its own write. The relay
-- reads unpublished rows in the order of `position`, encodes and sends them, and marks them.
--
-- `position` exists because created_at is no order: it is the start of the transaction, and of two
-- transactions on one aggregate the one that began first may write last. The sequence is drawn at
-- the insert, so whoever holds the aggregate's row lock while inserting is in the right place.

CREATE TABLE public.outbox_events (
  id uuid PRIMARY KEY DEFAULT engine.uuid_v7(),
  type text NOT NULL,
  key text NOT NULL,
  subject text NOT NULL,
  aggregate_version bigint,
  payload jsonb NOT NULL,
  headers jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(headers) = 'object'),
  created_at timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz,
  position bigint GENERATED ALWAYS AS IDENTITY
);
COMMENT ON TABLE public.outbox_events IS
  'Events that this service publishes. Insert a row in the transaction that makes the event true; the relay does the rest. Insert while holding the aggregate''s row lock, and order is kept.';
COMMENT ON COLUMN public.outbox_events.id IS
  'The event''s id (ce_id), version 7. Workers derive it from the causing event, so that a repeated cause emits the same id.';
COMMENT ON COLUMN public.outbox_events.type IS 'The event''s name (ce_type), e.g. USER_REGISTERED. It decides the topic.';
COMMENT ON COLUMN public.outbox_events.key IS 'The record''s key, lowercase UUID text: events with the same key stay in order.';
COMMENT ON COLUMN public.outbox_events.subject IS 'Id of the aggregate that the event is about (ce_subject).';
COMMENT ON COLUMN public.outbox_events.aggregate_version IS
  'Version of the aggregate after the event (ce_aggregateversion), rising; required for events that carry state.';
COMMENT ON COLUMN public.outbox_events.payload IS 'The event as plain JSON in the shape of its Avro schema (avro/).';
COMMENT ON COLUMN public.outbox_events.headers IS
  'Further headers, name to text: ce_correlationid, ce_causationid, traceparent, ce_time when it is not created_at.';
COMMENT ON COLUMN public.outbox_events.created_at IS 'When the event happened: start of the inserting transaction (UTC). No order; see position.';
COMMENT ON COLUMN public.outbox_events.published_at IS 'When Kafka acknowledged it (UTC); NULL = not yet.';
COMMENT ON COLUMN public.outbox_events.position IS 'Publishing order, drawn at the insert. May have gaps.';
CREATE INDEX outbox_events_unpublished ON public.outbox_events (position) WHERE published_at IS NULL;

CREATE FUNCTION engine.notify_outbox() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- No payload: equal notifications of one transaction are merged into one.
  PERFORM pg_notify('outbox_events', '');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION engine.notify_outbox() IS
  'Wakes the relay (LISTEN outbox_events) when rows were committed. A hint: the relay polls too.';
CREATE TRIGGER outbox_events_notify AFTER INSERT ON public.outbox_events
  FOR EACH STATEMENT EXECUTE FUNCTION engine.notify_outbox();
COMMENT ON TRIGGER outbox_events_notify ON public.outbox_events IS 'Wakes the relay once per statement.';

-- Workers emit; only the relay marks, and it may change nothing but the mark.
INSERT INTO engine.table_privileges VALUES ('public.outbox_events', '{SELECT,INSERT}');
