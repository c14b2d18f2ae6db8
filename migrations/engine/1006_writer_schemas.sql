-- Schemas with which producers wrote, kept so that a worker can decode after a restart while the
-- schema registry is away. An id never changes its meaning within one registry, so rows are only
-- ever added.

CREATE TABLE engine.writer_schemas (
  registry text NOT NULL,
  schema_id integer NOT NULL,
  schema text NOT NULL,
  fetched_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (registry, schema_id)
);
COMMENT ON TABLE engine.writer_schemas IS
  'Avro schemas fetched from the schema registry, a durable copy: known schemas decode even while the registry is down.';
COMMENT ON COLUMN engine.writer_schemas.registry IS 'Base address of the registry; ids are unique within one registry only.';
COMMENT ON COLUMN engine.writer_schemas.schema_id IS 'The id in the record''s value (Confluent wire format, bytes 1 to 4).';
COMMENT ON COLUMN engine.writer_schemas.schema IS 'The Avro schema as JSON text, as the registry gave it.';
COMMENT ON COLUMN engine.writer_schemas.fetched_at IS 'When it was fetched (UTC).';

INSERT INTO engine.table_privileges VALUES ('engine.writer_schemas', '{SELECT,INSERT}');
