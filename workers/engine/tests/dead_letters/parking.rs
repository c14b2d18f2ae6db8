//! Successors of a dead letter with the same key.

use crate::support::scripted::Scripted;
use crate::support::{Bed, RawRecord, event, key_in};
use sqlx::Row;
use uuid::Uuid;

fn worker() -> Scripted {
    Scripted::new().on("bad", "SELECT 1 / length('')")
}

/// The parked records of the partition, as they are kept.
async fn parked(bed: &Bed) -> Vec<RawRecord> {
    let rows = sqlx::query(
        "SELECT key, value, header_names, header_values FROM engine.parked_events
         WHERE state = 'parked' ORDER BY partition, record_offset",
    )
    .fetch_all(&bed.pool)
    .await
    .unwrap();
    rows.iter()
        .map(|row| {
            let names: Vec<String> = row.get("header_names");
            let values: Vec<Vec<u8>> = row.get("header_values");
            RawRecord {
                key: Some(row.get("key")),
                value: row.get("value"),
                headers: names.into_iter().zip(values).collect(),
            }
        })
        .collect()
}

fn assert_same(kept: &[RawRecord], sent: &[&RawRecord]) {
    let content = |r: &RawRecord| (r.key.clone(), r.value.clone(), r.headers.clone());
    let kept: Vec<_> = kept.iter().map(content).collect();
    let sent: Vec<_> = sent.iter().map(|r| content(r)).collect();
    assert_eq!(kept, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_order_matters_successors_of_a_dead_letter_are_parked_with_their_bytes() {
    let bed = Bed::start().await;
    let (key, other) = (key_in(0), key_in(0));
    let numbered = |key: Uuid, from: i64, words: &[&str]| -> Vec<RawRecord> {
        (from..)
            .zip(words)
            .map(|(n, word)| event(key, n, word))
            .collect()
    };
    // In the same batch.
    let first = numbered(key, 1, &["", "bad", "", ""]);
    let others = numbered(other, 1, &["", "", ""]);
    for (record, between) in first.iter().zip(others.iter().map(Some).chain([None])) {
        bed.send(record.clone()).await;
        bed.send_all(between.cloned()).await;
    }
    let running = bed.run(worker());
    bed.until_caught_up().await;
    let applied = || first[..1].iter().chain(&others).map(RawRecord::id);
    bed.assert_applied(applied()).await;
    assert_same(&parked(&bed).await, &[&first[2], &first[3]]);

    // In a later batch.
    let later = event(key, 5, "");
    bed.send(later.clone()).await;
    bed.until_caught_up().await;
    assert_same(&parked(&bed).await, &[&first[2], &first[3], &later]);
    let counts = running.board().snapshot().events;
    assert_eq!(
        (counts.applied, counts.dead_lettered, counts.parked),
        (4, 1, 3)
    );
    running.stop().await.unwrap();

    // After a restart, and bad ones too: their predecessor is not applied yet.
    let running = bed.run(worker());
    let (after, bad, last) = (event(key, 6, ""), event(key, 7, "bad"), event(other, 4, ""));
    bed.send_all([after.clone(), bad.clone(), last.clone()])
        .await;
    bed.until_caught_up().await;
    bed.assert_applied(applied().chain([last.id()])).await;
    assert_same(
        &parked(&bed).await,
        &[&first[2], &first[3], &later, &after, &bad],
    );
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        1
    );
    let parked_key = format!(
        "SELECT count(*) FROM engine.parked_keys WHERE convert_from(key, 'UTF8') = '{key}' AND dead_letter_offset = 2"
    );
    assert_eq!(bed.count(&parked_key).await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_order_does_not_matter_nothing_is_parked() {
    let bed = Bed::start().await;
    let key = key_in(0);
    let records: Vec<RawRecord> = (1..)
        .zip(["", "bad", "", "bad", ""])
        .map(|(n, word)| event(key, n, word))
        .collect();
    bed.send_all(records.clone()).await;
    let running = bed.run(Scripted::in_any_order().on("bad", "SELECT 1 / length('')"));
    bed.until_caught_up().await;
    bed.assert_applied([0, 2, 4].map(|good: usize| records[good].id()))
        .await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        2
    );
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.parked_keys").await,
        0
    );
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.parked_events").await,
        0
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_parks_nobody() {
    let bed = Bed::start().await;
    let giant = RawRecord {
        key: Some(vec![b'x'; 5000]),
        ..event(key_in(0), 1, "")
    };
    let missing = RawRecord {
        key: None,
        ..event(key_in(0), 1, "")
    };
    let good = event(key_in(0), 1, "");
    for record in [giant.clone(), giant, missing.clone(), missing, good.clone()] {
        bed.send_raw(0, record).await;
    }
    let running = bed.run(worker());
    bed.until_caught_up().await;
    bed.assert_applied([good.id()]).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        4
    );
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.parked_events").await,
        0
    );
    running.stop().await.unwrap();
}
