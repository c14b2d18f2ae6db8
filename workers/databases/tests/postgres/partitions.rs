//! Day partitions by event id.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use databases::{Error, Service, maintain_partitions, set_retention};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::fixture::{
    DAY_MS, Fixture, assert_forbidden, execute, midnight_ms, refusal, texts, v4_like, v7, value,
};

pub const LOG: &str = "raw_events_log";

pub async fn analytics() -> (Fixture, PgConnection, PgConnection) {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    let owner = fixture.owner(Service::Analytics).await;
    (fixture, worker, owner)
}

fn insert_of(id: Uuid) -> String {
    format!(
        "INSERT INTO {LOG} (id, event_timestamp, event_source_service, event_type, content_hash, processed_at)
         VALUES ('{id}', now(), 's', 'X', 1, now())"
    )
}

pub async fn insert(connection: &mut PgConnection, id: Uuid) {
    execute(connection, insert_of(id)).await;
}

/// Calls maintenance for the days around today; returns what it did.
pub async fn maintain(connection: &mut PgConnection, back: i32, ahead: i32) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', partition_name, action, rows_moved)
         FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) c,
              engine.maintain_day_partitions('{LOG}', today - ({back}), today + ({ahead}))"
    );
    texts(connection, sql).await
}

pub async fn drop_before(connection: &mut PgConnection, days_ago: i32) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', partition_name, action, rows_moved)
         FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) c,
              engine.drop_day_partitions('{LOG}', today - {days_ago})"
    );
    texts(connection, sql).await
}

/// The partition that holds an id, by the part of its name after the table's; the day's distance
/// from today for a day.
pub async fn place(connection: &mut PgConnection, id: Uuid) -> String {
    value(
        connection,
        format!(
            "SELECT CASE WHEN name ~ '_d[0-9]+$'
                         THEN (to_date(right(name, 8), 'YYYYMMDD') - (now() AT TIME ZONE 'UTC')::date)::text
                         ELSE substr(name, length('{LOG}') + 2) END
             FROM (SELECT tableoid::regclass::text AS name FROM {LOG} WHERE id = '{id}') found"
        ),
    )
    .await
}

/// The days' partitions and the two catch-alls adjoin, and each holds only what belongs to it.
pub async fn assert_adjoining(connection: &mut PgConnection) {
    let bounds = texts(
        connection,
        format!(
            "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = '{LOG}'::regclass"
        ),
    )
    .await;
    let mut ends = BTreeSet::new();
    let mut starts = BTreeSet::new();
    for bound in &bounds {
        let range = bound
            .strip_prefix("FOR VALUES FROM (")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (start, end) = range.split_once(") TO (").unwrap();
        starts.insert(start.to_owned());
        ends.insert(end.to_owned());
    }
    assert!(starts.remove("MINVALUE") && ends.remove("MAXVALUE"));
    assert_eq!(
        (starts.len(), ends.len()),
        (bounds.len() - 1, bounds.len() - 1),
        "{bounds:?}"
    );
    assert_eq!(starts, ends);
}

#[tokio::test]
async fn rows_on_both_sides_of_midnight_fall_into_their_own_days() {
    let (_fixture, mut worker, _) = analytics().await;
    let today = midnight_ms(&mut worker).await;

    for (day, place_of) in [(-7, "-7"), (0, "0"), (14, "14")] {
        let midnight = today + day * DAY_MS;
        let (first, last) = (v7(midnight, 0), v7(midnight + DAY_MS - 1, 1));
        insert(&mut worker, first).await;
        insert(&mut worker, last).await;
        assert_eq!(place(&mut worker, first).await, place_of);
        assert_eq!(place(&mut worker, last).await, place_of);
    }
    let (before, after) = (v7(today - 7 * DAY_MS - 1, 2), v7(today + 15 * DAY_MS, 3));
    insert(&mut worker, before).await;
    insert(&mut worker, after).await;
    assert_eq!(place(&mut worker, before).await, "below");
    assert_eq!(place(&mut worker, after).await, "above");
    assert_adjoining(&mut worker).await;
}

#[tokio::test]
async fn new_days_take_their_rows_out_of_the_catch_all_upward_and_downward() {
    let (_fixture, mut worker, _) = analytics().await;
    let today = midnight_ms(&mut worker).await;
    let ids: Vec<Uuid> = (-9..=17)
        .map(|day| v7(today + day * DAY_MS + 5, 1))
        .collect();
    let random: Vec<Uuid> = (0..50).map(|_| Uuid::new_v4()).collect();
    for id in ids.iter().chain(&random) {
        insert(&mut worker, *id).await;
    }

    let done = maintain(&mut worker, 9, 16).await;

    let created = done
        .iter()
        .filter(|step| step.ends_with("created 1"))
        .count();
    assert_eq!((created, done.len()), (4, 6), "{done:?}");
    assert_adjoining(&mut worker).await;
    for (day, id) in (-9..=17).zip(&ids) {
        let expected = if day == 17 {
            "above".to_owned()
        } else {
            day.to_string()
        };
        assert_eq!(place(&mut worker, *id).await, expected);
    }
    let rows: i64 = value(&mut worker, format!("SELECT count(DISTINCT id) FROM {LOG}")).await;
    assert_eq!(rows, 27 + 50);
}

#[tokio::test]
async fn maintenance_that_finds_all_days_does_nothing_and_waits_for_nobody() {
    let (_fixture, mut worker, mut reader) = analytics().await;
    execute(&mut reader, format!("BEGIN; SELECT FROM {LOG}")).await;

    assert_eq!(maintain(&mut worker, 7, 14).await, Vec::<String>::new());
    assert_eq!(maintain(&mut worker, -3, 3).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_gap_since_the_last_run_is_closed_with_all_days_between() {
    let (_fixture, mut worker, _) = analytics().await;

    let done = maintain(&mut worker, -40, 42).await;

    assert_eq!(
        done.iter()
            .filter(|step| step.contains(" created "))
            .count(),
        28,
        "{done:?}"
    );
    assert_adjoining(&mut worker).await;
}

#[tokio::test]
async fn the_days_do_not_depend_on_the_session_s_time_zone() {
    let (_fixture, mut worker, _) = analytics().await;
    for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        execute(&mut worker, format!("SET TIME ZONE '{zone}'")).await;
        let changes = maintain_partitions(&mut worker, 7, 14).await.unwrap();
        assert!(
            changes.iter().all(|(_, changes)| changes.is_empty()),
            "{zone}: {changes:?}"
        );
    }
}

#[tokio::test]
async fn a_row_inserted_before_maintenance_and_committed_during_it_finds_its_day() {
    let (fixture, mut worker, mut owner) = analytics().await;
    let id = v7(midnight_ms(&mut owner).await + 15 * DAY_MS, 1);
    let mut writer = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    execute(&mut writer, format!("BEGIN; {}", insert_of(id))).await;

    let maintenance = tokio::spawn(async move { maintain(&mut worker, 7, 15).await });
    until_someone_waits(&mut owner).await;
    execute(&mut writer, "COMMIT").await;

    let done = maintenance.await.unwrap();
    assert!(done[0].ends_with("created 1"), "{done:?}");
    assert_eq!(place(&mut owner, id).await, "15");
}

#[tokio::test]
async fn a_row_inserted_during_maintenance_waits_and_finds_its_day() {
    let (fixture, mut worker, mut owner) = analytics().await;
    let id = v7(midnight_ms(&mut owner).await + 15 * DAY_MS, 1);
    let mut writer = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    // Prepared while the day had no partition yet.
    execute(&mut writer, format!("PREPARE later AS {}", insert_of(id))).await;
    execute(&mut worker, "BEGIN").await;
    maintain(&mut worker, 7, 15).await;

    let writing = tokio::spawn(async move { execute(&mut writer, "EXECUTE later").await });
    until_someone_waits(&mut owner).await;
    execute(&mut worker, "COMMIT").await;

    writing.await.unwrap();
    assert_eq!(place(&mut owner, id).await, "15");
}

async fn until_someone_waits(observer: &mut PgConnection) {
    let observer = tokio::sync::Mutex::new(observer);
    testkit::eventually(
        Duration::from_secs(10),
        "a session waits for a lock",
        async || {
            let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE NOT l.granted AND d.datname = current_database()";
            let waiting: i64 = value(*observer.lock().await, sql).await;
            Ok::<_, Error>((waiting > 0).then_some(()))
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn writers_lose_nothing_and_see_no_error_while_days_come_and_go() {
    let (fixture, mut worker, mut owner) = analytics().await;
    set_retention(&mut owner, LOG, Some(1)).await.unwrap();
    let today = midnight_ms(&mut owner).await;
    let finished = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..2_u128 {
        let mut connection = fixture
            .role(Service::Analytics.role(), Service::Analytics)
            .await;
        let finished = finished.clone();
        writers.push(tokio::spawn(async move {
            let mut written = Vec::new();
            for number in 0..u128::MAX {
                if finished.load(Ordering::Relaxed) {
                    break;
                }
                // From now on, so that dropping old days takes none of them.
                let day = i64::try_from(number % 40).unwrap();
                let id = match number % 3 {
                    0 => Uuid::new_v4(),
                    1 => v4_like(today + day * DAY_MS, number * 2 + writer),
                    _ => v7(today + day * DAY_MS, number * 2 + writer),
                };
                insert(&mut connection, id).await;
                written.push(id);
            }
            written
        }));
    }

    for step in 1..=15 {
        maintain(&mut worker, 7 + step, 14 + step).await;
        drop_before(&mut worker, 16 - step).await;
    }
    finished.store(true, Ordering::Relaxed);

    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    let found: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM raw_events_log")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert!(written.len() > 100, "{} rows are no load", written.len());
    assert_eq!(found.len(), written.len());
    assert_eq!(
        found.into_iter().collect::<BTreeSet<_>>(),
        written.into_iter().collect()
    );
    assert_adjoining(&mut owner).await;
}

#[tokio::test]
async fn only_registered_tables_are_touched() {
    let (_fixture, mut worker, _) = analytics().await;
    for table in ["outbox_events", "pg_catalog.pg_class", "engine.inbox_above"] {
        for call in [
            format!("SELECT engine.maintain_day_partitions('{table}', '2026-01-01', '2026-01-02')"),
            format!("SELECT engine.drop_day_partitions('{table}', '2026-01-01')"),
            format!("SELECT engine.purge_catch_all('{table}', '2026-01-01')"),
        ] {
            assert_eq!(refusal(&mut worker, call.as_str()).await, "22023", "{call}");
        }
    }
    assert_forbidden(
        &mut worker,
        &["SELECT engine.open_days('raw_events_log', '2026-01-01', '2026-01-02', 'above', '')"],
    )
    .await;
}

#[tokio::test]
async fn senseless_spans_are_refused() {
    let (_fixture, mut worker, _) = analytics().await;
    for (span, code) in [
        ("'2026-02-01', '2026-01-01'", "22023"),
        ("NULL, '2026-01-01'", "22023"),
        ("'1969-12-31', '2026-01-01'", "22023"),
        ("'1970-01-01', '2026-01-01'", "54000"),
        ("'2026-01-01', '9000-01-01'", "54000"),
        ("'-infinity', 'infinity'", "22023"),
    ] {
        let call = format!("SELECT engine.maintain_day_partitions('{LOG}', {span})");
        assert_eq!(refusal(&mut worker, call.as_str()).await, code, "{call}");
    }
}

#[tokio::test]
async fn maintenance_gives_up_soon_behind_a_long_reader_and_succeeds_after_it() {
    let (_fixture, mut worker, mut reader) = analytics().await;
    execute(&mut reader, format!("BEGIN; SELECT FROM {LOG}")).await;
    let call = "SELECT engine.maintain_day_partitions('raw_events_log', (now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 15)";
    assert_eq!(refusal(&mut worker, call).await, "55P03");

    let maintenance = tokio::spawn(async move { maintain_partitions(&mut worker, 7, 15).await });
    execute(&mut reader, "COMMIT").await;

    let changes = maintenance.await.unwrap().unwrap();
    let created = changes
        .iter()
        .flat_map(|(_, changes)| changes)
        .filter(|change| change.created());
    assert_eq!(created.count(), 2);
}
