-- Analytics, the platform document's schema. A data mart: every row follows from events and can be
-- rebuilt from raw_events_log.
--
-- Deviations from the document, each at its place below:
--   * raw_events_log is partitioned by day of its id; its primary key stays the id alone;
--   * raw_events_log.id has no default: it is the triggering event's id. A forgotten id must fail,
--     because a random one would count the event twice;
--   * uuid_generate_v4() is not used, so the extension "uuid-ossp" is not needed;
--   * the document gives analytics_service read access to the other services' databases, which
--     contradicts its own rule that nothing crosses between them. Not given: events suffice;
--   * its ALTER DATABASE … SET shared_buffers, shared_preload_libraries and
--     checkpoint_completion_target cannot be set per database; they belong to the configuration of
--     the server. work_mem can, and is left to whoever sizes the server;
--   * its GRANT … ON ALL TABLES works only inside the database one is connected to; privileges
--     are given in each database by engine.apply_worker_privileges;
--   * its monitoring query reads pg_stat_statements.total_time, which is total_exec_time since
--     PostgreSQL 13.

CREATE TABLE course_engagement_summary (
  course_id UUID NOT NULL,
  summary_date DATE NOT NULL,
  total_enrollments_on_day INT NOT NULL DEFAULT 0,
  total_completions_on_day INT NOT NULL DEFAULT 0,
  total_learning_time_seconds_on_day BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (course_id, summary_date)
);
COMMENT ON TABLE course_engagement_summary IS
  'One row per course and day: how much the course was used. Days without any event have no row. Late events are added to the day on which they happened.';
COMMENT ON COLUMN course_engagement_summary.course_id IS 'The course (courses.id in the catalogue), over all its versions.';
COMMENT ON COLUMN course_engagement_summary.summary_date IS 'The day, midnight to midnight UTC, by the time at which the events happened.';
COMMENT ON COLUMN course_engagement_summary.total_enrollments_on_day IS 'Number of COURSE_ENROLLED events. Enrolments undone later are not subtracted.';
COMMENT ON COLUMN course_engagement_summary.total_completions_on_day IS 'Number of COURSE_COMPLETED events.';
COMMENT ON COLUMN course_engagement_summary.total_learning_time_seconds_on_day IS
  'Learning time in seconds, summed from the progress events'' learning_seconds.';

CREATE TABLE company_learning_summary (
  company_id UUID NOT NULL,
  summary_date DATE NOT NULL,
  active_learners_count INT NOT NULL DEFAULT 0,
  total_certificates_earned_on_day INT NOT NULL DEFAULT 0,
  PRIMARY KEY (company_id, summary_date)
);
COMMENT ON TABLE company_learning_summary IS
  'One row per company and day: how much its people learned. Days without any event have no row. Late events are added to the day on which they happened.';
COMMENT ON COLUMN company_learning_summary.company_id IS 'The company.';
COMMENT ON COLUMN company_learning_summary.summary_date IS 'The day, midnight to midnight UTC, by the time at which the events happened.';
COMMENT ON COLUMN company_learning_summary.active_learners_count IS
  'Distinct people of the company with at least one LESSON_STARTED, LESSON_COMPLETED, QUIZ_ATTEMPTED or COURSE_COMPLETED on the day; exact. Not additive over days: for a week or month count the distinct user_id in company_active_learners.';
COMMENT ON COLUMN company_learning_summary.total_certificates_earned_on_day IS 'Number of CERTIFICATE_ISSUED events (a completion alone is no certificate).';

-- Partitioned by range of the id (the document has a plain table): old days go by dropping a
-- partition, and the id stays unique over the whole table. See the engine's day partitions.
CREATE TABLE raw_events_log (
  id UUID PRIMARY KEY, -- the document: DEFAULT uuid_generate_v4(); see above
  event_timestamp TIMESTAMPTZ NOT NULL,
  event_source_service VARCHAR(100) NOT NULL,
  event_type VARCHAR(100) NOT NULL,
  user_id UUID,
  company_id UUID,
  entity_id UUID,
  payload JSONB,
  processed_at TIMESTAMPTZ -- Mark when this event was used to update summary tables
) PARTITION BY RANGE (id);
COMMENT ON TABLE raw_events_log IS
  'Every event that was consumed, once, as it was. The source from which all summaries can be recomputed. Append-only. Restrict queries by id range or event_timestamp; the table is large.';
COMMENT ON COLUMN raw_events_log.id IS
  'Id of the triggering event. Version 7 by recommendation: the first 48 bits are milliseconds since 1970-01-01 UTC.';
COMMENT ON COLUMN raw_events_log.event_timestamp IS 'When the event happened, by its producer''s clock (UTC).';
COMMENT ON COLUMN raw_events_log.event_source_service IS 'Service that emitted it, e.g. progress-service.';
COMMENT ON COLUMN raw_events_log.event_type IS 'The event''s name, e.g. COURSE_ENROLLED.';
COMMENT ON COLUMN raw_events_log.user_id IS 'The person it concerns, where the event names one.';
COMMENT ON COLUMN raw_events_log.company_id IS 'That person''s company at the time, where the event names one.';
COMMENT ON COLUMN raw_events_log.entity_id IS 'What it is about: the aggregate''s id (event subject), such as a course or a booking; NULL when that is not a UUID.';
COMMENT ON COLUMN raw_events_log.payload IS 'The event''s content as JSON, field names of its Avro schema.';
COMMENT ON COLUMN raw_events_log.processed_at IS
  'When it was used to update the summary tables (UTC): written with the row, in the same transaction as the summaries. Also the time of first receipt.';

CREATE INDEX idx_raw_events_log_timestamp ON raw_events_log(event_timestamp);
CREATE INDEX idx_raw_events_log_type ON raw_events_log(event_type);
