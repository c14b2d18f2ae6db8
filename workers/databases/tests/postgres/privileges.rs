//! What each role may do, and that everything explains itself.

use databases::{Role, Service};
use uuid::Uuid;

use crate::fixture::{Fixture, assert_forbidden, connect, execute, texts, value};

const INSERT_RAW_EVENT: &str = "INSERT INTO raw_events_log
    (id, event_timestamp, event_source_service, event_type, content_hash, processed_at)
    VALUES (engine.uuid_v7(), now(), 'progress-service', 'COURSE_ENROLLED', 1, now())";

#[tokio::test]
async fn the_raw_log_is_append_only_for_its_worker() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;

    execute(&mut worker, INSERT_RAW_EVENT).await;
    let rows: i64 = value(&mut worker, "SELECT count(*) FROM raw_events_log").await;

    assert_eq!(rows, 1);
    assert_forbidden(
        &mut worker,
        &[
            "UPDATE raw_events_log SET payload = '{}'",
            "DELETE FROM raw_events_log",
            "DELETE FROM engine.inbox",
            "UPDATE outbox_events SET published_at = now()",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_partition_is_no_way_around_its_table() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;

    // Made after the schema's default privileges were set, unlike the catch-alls.
    let today = "SELECT 'raw_events_log_d' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')";
    let today: String = value(&mut worker, today).await;

    assert_forbidden(
        &mut worker,
        &[
            &format!("DELETE FROM {today}"),
            "DELETE FROM raw_events_log_above",
            "SELECT FROM raw_events_log_below",
            "INSERT INTO engine.inbox_above VALUES (gen_random_uuid(), 1, 'X')",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_worker_changes_rows_and_nothing_else() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;

    assert_forbidden(
        &mut worker,
        &[
            "CREATE TABLE mine (id int)",
            "CREATE TABLE engine.mine (id int)",
            "CREATE SCHEMA mine",
            "TRUNCATE course_engagement_summary",
            "TRUNCATE raw_events_log",
            "DROP TABLE course_engagement_summary",
            "ALTER TABLE course_engagement_summary ADD COLUMN x int",
            "CREATE INDEX ON course_engagement_summary (summary_date)",
            "UPDATE engine.day_partitioned_tables SET retention_days = 1",
            "SELECT FROM engine.table_privileges",
            "SELECT engine.register_day_partitions('outbox_events', 'created_at', 1)",
            "SELECT engine.create_inbox('mine')",
            "SELECT engine.apply_worker_privileges('analytics_service')",
            "SELECT engine.create_partition('raw_events_log', 'x', 'DEFAULT')",
            "DELETE FROM _sqlx_migrations",
            "CREATE ROLE mine",
        ],
    )
    .await;
    execute(
        &mut worker,
        "INSERT INTO course_engagement_summary VALUES (gen_random_uuid(), now())",
    )
    .await;
    execute(
        &mut worker,
        "UPDATE course_engagement_summary SET total_enrollments_on_day = 1",
    )
    .await;
    execute(&mut worker, "DELETE FROM course_engagement_summary").await;
}

#[tokio::test]
async fn a_worker_can_do_all_that_the_engine_does() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    let origin = "'g', gen_random_uuid(), 't', 0, 1";

    for statement in [
        "INSERT INTO engine.partition_fence VALUES ('g', 't', 0, 1, 'me', now())
           ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET epoch = partition_fence.epoch + 1",
        "SELECT FROM engine.partition_fence FOR SHARE",
        "INSERT INTO engine.partition_position VALUES ('g', 't', 0, gen_random_uuid(), 0, 1, 0, now())",
        "UPDATE engine.partition_position SET next_offset = 1",
        "INSERT INTO engine.inbox VALUES (engine.uuid_v7(), 1, 'X') ON CONFLICT DO NOTHING",
        &format!(
            "INSERT INTO engine.dead_letters (consumer_group, topic_id, topic, partition, record_offset, kind, reason)
             VALUES ({origin}, 'contract', 'no id')"
        ),
        "UPDATE engine.dead_letters SET state = 'replayed'",
        &format!(
            "INSERT INTO engine.parked_events (consumer_group, topic_id, topic, partition, record_offset, key,
               header_names, header_values) VALUES ({origin}, 'k', '{{}}', '{{}}')"
        ),
        "UPDATE engine.parked_events SET state = 'released'",
        &format!(
            "INSERT INTO engine.quarantined_events (consumer_group, topic_id, topic, partition, record_offset,
               event_id, event_type, kind, reason, header_names, header_values)
             VALUES ({origin}, gen_random_uuid(), 'X', 'conflict', 'r', '{{}}', '{{}}')"
        ),
        "UPDATE engine.quarantined_events SET state = 'released'",
        "INSERT INTO engine.parked_keys VALUES ('g', 't', 0, 'k', 1)",
        "DELETE FROM engine.parked_keys",
        "INSERT INTO engine.writer_schemas VALUES ('r', 1, '{}') ON CONFLICT DO NOTHING",
        "INSERT INTO outbox_events (type, key, subject, payload) VALUES ('X', 'k', 's', '{}')",
        "SELECT retention_days, floor_day FROM engine.day_partitioned_tables",
        "SELECT * FROM engine.maintain_day_partitions('raw_events_log', current_date, current_date + 20)",
        "COPY raw_events_log (id, event_timestamp, event_source_service, event_type, content_hash) FROM STDIN",
    ] {
        if statement.starts_with("COPY") {
            worker.copy_in_raw(statement).await.unwrap().finish().await.unwrap();
        } else {
            execute(&mut worker, statement).await;
        }
    }
}

#[tokio::test]
async fn nobody_is_let_into_another_service_s_database() {
    let fixture = Fixture::migrated(&[Service::Analytics, Service::Iam]).await;

    let address = fixture.url_as(Service::Analytics.role().name(), Service::Iam);
    let refused = connect(&address).await.unwrap_err();

    assert_eq!(
        refused.as_database_error().unwrap().code().unwrap(),
        "42501"
    );
}

#[tokio::test]
async fn the_relay_reads_and_marks_the_outbox_of_every_service_and_nothing_else() {
    let services = Service::migratable();
    let fixture = Fixture::migrated(&services).await;
    for service in services {
        let mut owner = fixture.owner(service).await;
        execute(
            &mut owner,
            "INSERT INTO outbox_events (type, key, subject, payload) VALUES ('X', 'k', 's', '{}')",
        )
        .await;
        let mut relay = fixture.role(Role::Relay, service).await;

        execute(&mut relay, "BEGIN").await;
        let row: Uuid = value(
            &mut relay,
            "SELECT id FROM outbox_events WHERE published_at IS NULL ORDER BY position
             FOR UPDATE SKIP LOCKED LIMIT 1",
        )
        .await;
        execute(
            &mut relay,
            format!("UPDATE outbox_events SET published_at = now() WHERE id = '{row}'"),
        )
        .await;
        execute(&mut relay, "COMMIT").await;

        assert_forbidden(
            &mut relay,
            &[
                "UPDATE outbox_events SET payload = '{}'",
                "INSERT INTO outbox_events (type, key, subject, payload) VALUES ('X', 'k', 's', '{}')",
                "DELETE FROM outbox_events",
                "SELECT FROM engine.inbox",
                "SELECT FROM _sqlx_migrations",
                "CREATE TABLE mine (id int)",
            ],
        )
        .await;
        let readable = texts(
            &mut owner,
            "SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace IN ('public'::regnamespace, 'engine'::regnamespace)
               AND has_table_privilege('relay_service', c.oid, 'SELECT')",
        );
        assert_eq!(readable.await, ["outbox_events"], "{service}");
    }
}

#[tokio::test]
async fn a_table_made_later_is_covered_at_once() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut owner = fixture.owner(Service::Analytics).await;
    execute(
        &mut owner,
        "CREATE TABLE later (id bigserial PRIMARY KEY, x int)",
    )
    .await;

    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    execute(&mut worker, "INSERT INTO later (x) VALUES (1)").await;
    execute(&mut worker, "UPDATE later SET x = 2").await;
    assert_forbidden(&mut worker, &["TRUNCATE later", "DROP TABLE later"]).await;
}

#[tokio::test]
async fn privileges_that_were_changed_by_hand_are_put_right_by_the_next_run() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut owner = fixture.owner(Service::Analytics).await;
    execute(
        &mut owner,
        "GRANT ALL ON raw_events_log, raw_events_log_above TO analytics_service",
    )
    .await;
    execute(
        &mut owner,
        "REVOKE SELECT ON company_active_learners FROM analytics_service",
    )
    .await;

    fixture.migrate(&[Service::Analytics]).await.unwrap();

    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    assert_forbidden(
        &mut worker,
        &[
            "DELETE FROM raw_events_log",
            "TRUNCATE raw_events_log_above",
        ],
    )
    .await;
    execute(&mut worker, "SELECT FROM company_active_learners").await;
}

#[tokio::test]
async fn every_table_column_and_function_says_what_it_is() {
    let services = Service::migratable();
    let fixture = Fixture::migrated(&services).await;
    for service in services {
        let mut owner = fixture.owner(service).await;
        let silent = texts(
            &mut owner,
            "SELECT c.oid::regclass || coalesce('.' || a.attname, '')
             FROM pg_class c
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             CROSS JOIN LATERAL (VALUES (0), (a.attnum)) AS part(number)
             WHERE c.relnamespace IN ('public'::regnamespace, 'engine'::regnamespace)
               AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
               AND c.relname <> '_sqlx_migrations'
               AND (CASE part.number WHEN 0 THEN obj_description(c.oid, 'pg_class')
                                     ELSE col_description(c.oid, part.number) END) IS NULL
             UNION ALL
             SELECT p.oid::regprocedure::text FROM pg_proc p
             WHERE p.pronamespace IN ('public'::regnamespace, 'engine'::regnamespace)
               AND obj_description(p.oid, 'pg_proc') IS NULL
             ORDER BY 1",
        );
        assert_eq!(silent.await, Vec::<String>::new(), "{service}");
    }
}

#[tokio::test]
async fn every_engine_table_declares_who_may_do_what_with_it() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut owner = fixture.owner(Service::Analytics).await;

    let undeclared = texts(
        &mut owner,
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'engine'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
           AND oid NOT IN (SELECT relation FROM engine.table_privileges) ORDER BY 1",
    );

    assert_eq!(undeclared.await, ["table_privileges"]);
}

#[tokio::test]
async fn functions_with_the_owner_s_rights_fix_their_search_path_and_are_closed_to_the_public() {
    let services = Service::migratable();
    let fixture = Fixture::migrated(&services).await;
    for service in services {
        let mut owner = fixture.owner(service).await;
        let open = texts(
            &mut owner,
            "SELECT p.oid::regprocedure::text FROM pg_proc p
             WHERE p.pronamespace IN ('public'::regnamespace, 'engine'::regnamespace) AND p.prosecdef
               AND (NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
                    OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                               WHERE a.grantee = 0))",
        );
        assert_eq!(open.await, Vec::<String>::new(), "{service}");
    }
}
