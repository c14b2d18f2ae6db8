//! Events that only a person can judge: kept with their bytes, neither applied nor dropped.

use crate::support::scripted::Scripted;
use crate::support::{Bed, RawRecord, event, key_in};
use sqlx::Row;
use uuid::Uuid;

async fn assert_quarantined(bed: &Bed, kind: &str, reason: &str, sent: &RawRecord) {
    let row = sqlx::query(
        "SELECT kind, reason, event_id, event_type, state, key, value, header_names, header_values
         FROM engine.quarantined_events",
    )
    .fetch_one(&bed.pool)
    .await
    .unwrap();
    assert_eq!(row.get::<String, _>("kind"), kind);
    let said: String = row.get("reason");
    assert!(said.contains(reason), "{said}");
    assert_eq!(row.get::<Uuid, _>("event_id"), sent.id());
    assert_eq!(row.get::<String, _>("event_type"), "COURSE_FOLLOWED");
    assert_eq!(row.get::<String, _>("state"), "quarantined");
    assert_eq!(
        (
            row.get::<Option<Vec<u8>>, _>("key"),
            row.get::<Option<Vec<u8>>, _>("value")
        ),
        (sent.key.clone(), sent.value.clone())
    );
    let names: Vec<String> = row.get("header_names");
    let values: Vec<Vec<u8>> = row.get("header_values");
    assert_eq!(
        names.into_iter().zip(values).collect::<Vec<_>>(),
        sent.headers
    );
}

/// An id of a time that many days ago.
fn id_from(days_ago: i64) -> Uuid {
    let millis = (chrono::Utc::now() - chrono::Duration::days(days_ago)).timestamp_millis();
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap(), &[7; 10]).into_uuid()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_other_content_is_a_conflict_and_is_kept() {
    let bed = Bed::start().await;
    let key = key_in(0);
    let original = event(key, 1, "");
    // Time and trace are no content; another key, and so another user, is.
    let repeated = original
        .clone()
        .set_header("ce_time", "2026-01-01T00:00:00Z")
        .set_header("traceparent", "00-1-1-00");
    let conflicting = event(key_in(0), 1, "").set_header("ce_id", &original.id().to_string());
    bed.send_all([original.clone(), repeated]).await;
    let running = bed.run(Scripted::new());
    bed.until_caught_up().await;
    let after = event(key_in(0), 1, "");
    bed.send_all([conflicting.clone(), after.clone()]).await;
    bed.until_caught_up().await;
    bed.assert_applied([original.id(), after.id()]).await;
    assert_quarantined(
        &bed,
        "conflict",
        "was applied before with other content",
        &conflicting,
    )
    .await;
    let counts = running.board().snapshot().events;
    assert_eq!(
        (counts.applied, counts.duplicates, counts.quarantined),
        (2, 1, 1)
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_within_one_batch_is_found_too() {
    let bed = Bed::start().await;
    let original = event(key_in(0), 1, "");
    let conflicting = event(key_in(0), 1, "").set_header("ce_id", &original.id().to_string());
    bed.send_all([original.clone(), original.clone(), conflicting.clone()])
        .await;
    let running = bed.run(Scripted::new());
    bed.until_caught_up().await;
    bed.assert_applied([original.id()]).await;
    assert_quarantined(
        &bed,
        "conflict",
        "was applied before with other content",
        &conflicting,
    )
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unseen_id_from_before_the_inbox_remembers_is_kept_and_not_applied() {
    let bed = Bed::start().await;
    let with_id = |id: Uuid| event(key_in(0), 1, "").set_header("ce_id", &id.to_string());
    let (seen, expired) = (with_id(id_from(11)), with_id(id_from(10)));
    let (young, without_time) = (with_id(id_from(4)), with_id(Uuid::new_v4()));
    let running = bed.run(Scripted::new());
    bed.send(seen.clone()).await;
    bed.until_caught_up().await;
    bed.sql(
        "UPDATE engine.day_partitioned_tables SET floor_day = current_date - 5
         WHERE parent = 'engine.inbox'::regclass",
    )
    .await;
    bed.send_all([
        expired.clone(),
        seen.clone(),
        young.clone(),
        without_time.clone(),
    ])
    .await;
    bed.until_caught_up().await;
    bed.assert_applied([seen.id(), young.id(), without_time.id()])
        .await;
    assert_quarantined(
        &bed,
        "expired",
        "is older than the inbox remembers",
        &expired,
    )
    .await;
    running.stop().await.unwrap();
}
