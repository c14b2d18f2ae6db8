-- What the analytics worker needs beyond the platform document.

-- The log serves as the worker's inbox (its key is the event's id), so it carries what an inbox
-- row carries: a hash that tells a repeat from another event under the same id.
ALTER TABLE raw_events_log ADD COLUMN content_hash BIGINT NOT NULL;
COMMENT ON COLUMN raw_events_log.content_hash IS
  'Hash of the event''s content (64 bits, signed), without time and trace; tells a repeated event from a conflicting one. Of no use for analysis.';

-- Also the time of first receipt, by which rows whose id has no time are purged: never unknown.
ALTER TABLE raw_events_log ALTER COLUMN processed_at SET DEFAULT now();

-- Kept for ever until the owner sets a retention: the summaries of a day whose events are gone
-- cannot be recomputed.
SELECT engine.register_day_partitions('raw_events_log', 'processed_at', NULL);

-- Append-only: history is not rewritten.
INSERT INTO engine.table_privileges VALUES ('raw_events_log', '{SELECT,INSERT}');

CREATE TABLE company_active_learners (
  company_id UUID NOT NULL,
  summary_date DATE NOT NULL,
  user_id UUID NOT NULL,
  PRIMARY KEY (company_id, summary_date, user_id)
);
COMMENT ON TABLE company_active_learners IS
  'Who was active on which day, one row per company, day and person. Makes company_learning_summary.active_learners_count exact, and answers distinct counts over weeks or months.';
COMMENT ON COLUMN company_active_learners.company_id IS 'The company.';
COMMENT ON COLUMN company_active_learners.summary_date IS 'The day, midnight to midnight UTC.';
COMMENT ON COLUMN company_active_learners.user_id IS
  'A person of the company with at least one LESSON_STARTED, LESSON_COMPLETED, QUIZ_ATTEMPTED or COURSE_COMPLETED on that day.';
