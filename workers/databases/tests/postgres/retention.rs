//! What is forgotten after its retention, and what is kept.

use std::collections::BTreeSet;

use databases::{Error, set_retention};
use uuid::Uuid;

use crate::fixture::{DAY_MS, execute, midnight_ms, refusal, v4_like, v7, value};
use crate::partitions::{LOG, analytics, assert_adjoining, drop_before, insert, maintain, place};

#[tokio::test]
async fn dropping_days_keeps_rows_whose_id_has_no_time() {
    let (_fixture, mut worker, mut owner) = analytics().await;
    set_retention(&mut owner, LOG, Some(3)).await.unwrap();
    let today = midnight_ms(&mut owner).await;
    let old = v7(today - 5 * DAY_MS, 1);
    let old_without_time = v4_like(today - 5 * DAY_MS, 2);
    let older_than_any_day = v7(today - 30 * DAY_MS, 3);
    let random = Uuid::new_v4();
    let kept = v7(today - 3 * DAY_MS, 4);
    for id in [old, old_without_time, older_than_any_day, random, kept] {
        insert(&mut worker, id).await;
    }
    assert_eq!(place(&mut worker, old_without_time).await, "-5");

    let done = drop_before(&mut worker, 3).await;

    assert_eq!(done[0], format!("public.{LOG}_below rows deleted 1"));
    assert_eq!(
        done.iter()
            .filter(|step| step.contains(" dropped "))
            .count(),
        4,
        "{done:?}"
    );
    let left: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM raw_events_log")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert_eq!(
        left.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([old_without_time, random, kept])
    );
    assert_eq!(place(&mut worker, old_without_time).await, "below");
    assert_eq!(place(&mut worker, kept).await, "-3");
    assert_adjoining(&mut worker).await;
    assert_eq!(drop_before(&mut worker, 3).await, Vec::<String>::new());
}

#[tokio::test]
async fn dropped_days_leave_a_floor_and_do_not_come_back() {
    let (_fixture, mut worker, mut owner) = analytics().await;
    set_retention(&mut owner, LOG, Some(3)).await.unwrap();
    drop_before(&mut worker, 3).await;

    assert_eq!(maintain(&mut worker, 7, 14).await, Vec::<String>::new());
    let floor: i32 = value(
        &mut worker,
        format!(
            "SELECT (now() AT TIME ZONE 'UTC')::date - floor_day FROM engine.day_partitioned_tables
             WHERE parent = '{LOG}'::regclass"
        ),
    )
    .await;
    assert_eq!(floor, 3);
}

#[tokio::test]
async fn all_days_can_go_and_come_again() {
    let (_fixture, mut worker, mut owner) = analytics().await;
    set_retention(&mut owner, LOG, Some(1)).await.unwrap();
    // A database that was left alone for a month: its last day is long past.
    execute(
        &mut owner,
        "CREATE TABLE left_alone (id uuid PRIMARY KEY, at timestamptz) PARTITION BY RANGE (id);
         SELECT engine.register_day_partitions('left_alone', 'at', 1);
         ALTER TABLE left_alone DETACH PARTITION left_alone_below;
         ALTER TABLE left_alone DETACH PARTITION left_alone_above",
    )
    .await;
    execute(
        &mut owner,
        "DO $$ DECLARE bound uuid := engine.uuid_v7_floor((now() AT TIME ZONE 'UTC')::date - 40); BEGIN
           EXECUTE format('ALTER TABLE left_alone ATTACH PARTITION left_alone_below FOR VALUES FROM (MINVALUE) TO (%L)', bound);
           EXECUTE format('ALTER TABLE left_alone ATTACH PARTITION left_alone_above FOR VALUES FROM (%L) TO (MAXVALUE)', bound);
         END $$;
         SELECT engine.maintain_day_partitions('left_alone', (now() AT TIME ZONE 'UTC')::date - 40, (now() AT TIME ZONE 'UTC')::date - 30)",
    )
    .await;
    let today = midnight_ms(&mut owner).await;
    // One in a day, one of a day that never got its partition and lies in the upper catch-all.
    for days in [35, 20] {
        execute(
            &mut owner,
            format!(
                "INSERT INTO left_alone VALUES ('{}')",
                v7(today - days * DAY_MS, 1)
            ),
        )
        .await;
    }

    let count = "SELECT count(*) FROM left_alone";
    execute(
        &mut worker,
        "SELECT engine.drop_day_partitions('left_alone', (now() AT TIME ZONE 'UTC')::date - 1)",
    )
    .await;
    assert_eq!(value::<i64>(&mut owner, count).await, 0);
    let span = "SELECT (end_day - first_day) FROM engine.day_partition_span('left_alone')";
    assert_eq!(value::<i32>(&mut owner, span).await, 0);

    execute(
        &mut worker,
        "SELECT engine.maintain_day_partitions('left_alone', (now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date)",
    )
    .await;
    assert_eq!(value::<i32>(&mut owner, span).await, 30);
}

#[tokio::test]
async fn retention_is_the_owner_s_and_binds_the_worker() {
    let (_fixture, mut worker, mut owner) = analytics().await;
    let drop_all = format!("SELECT engine.drop_day_partitions('{LOG}', '9999-01-01')");
    let purge_all = format!("SELECT engine.purge_catch_all('{LOG}', 'infinity')");

    assert_eq!(refusal(&mut worker, drop_all.as_str()).await, "55000");
    assert_eq!(refusal(&mut worker, purge_all.as_str()).await, "55000");
    set_retention(&mut owner, LOG, Some(3)).await.unwrap();
    assert_eq!(refusal(&mut worker, drop_all).await, "22023");
    assert_eq!(refusal(&mut worker, purge_all).await, "22023");
    assert_eq!(
        refusal(
            &mut worker,
            format!("SELECT engine.drop_day_partitions('{LOG}', NULL)")
        )
        .await,
        "22023"
    );

    let denied = set_retention(&mut worker, LOG, None).await.unwrap_err();
    assert!(matches!(denied, Error::Sql { .. }), "{denied}");
    let unknown = set_retention(&mut owner, "outbox_events", Some(3))
        .await
        .unwrap_err();
    assert!(
        unknown
            .to_string()
            .starts_with("outbox_events is not partitioned by day")
    );
}

#[tokio::test]
async fn the_catch_alls_are_purged_by_first_receipt() {
    let (_fixture, mut worker, mut owner) = analytics().await;
    set_retention(&mut owner, LOG, Some(3)).await.unwrap();
    let today = midnight_ms(&mut owner).await;
    let (low, high) = (v4_like(1, 1), v4_like(today + 400 * DAY_MS, 2));
    let far_future = v7(today + 400 * DAY_MS, 3);
    let fresh = Uuid::new_v4();
    for id in [low, high, far_future, fresh] {
        insert(&mut worker, id).await;
    }
    execute(
        &mut owner,
        format!("UPDATE {LOG} SET processed_at = now() - interval '10 days' WHERE id <> '{fresh}'"),
    )
    .await;

    let purged: i64 = value(
        &mut worker,
        format!("SELECT engine.purge_catch_all('{LOG}', now() - interval '5 days')"),
    )
    .await;

    assert_eq!(purged, 2);
    let left: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM raw_events_log")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert_eq!(
        left.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([far_future, fresh])
    );
}
