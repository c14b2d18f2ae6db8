//! The worker of the documentation's example, run.
#![allow(clippy::unwrap_used)]

#[path = "../examples/fifth_worker.rs"]
#[allow(dead_code)]
mod fifth_worker;
mod support;

use fifth_worker::Followers;
use support::{Bed, RawRecord, followed};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_counts_each_event_once_however_often_it_is_sent() {
    let bed = Bed::start().await;
    let course = Uuid::now_v7();
    let mut records = Vec::new();
    for _ in 0..200 {
        records.push(RawRecord::of(&followed(Uuid::now_v7(), course)));
    }
    for record in &records {
        bed.send(record.clone()).await;
    }
    let running = bed.run(Followers);
    bed.until("SELECT coalesce(sum(followers), 0)::bigint FROM follower_counts", 200).await;
    // Each once more, to whatever partition.
    for (index, record) in records.iter().enumerate() {
        bed.send_raw(Some(i32::try_from(index % 4).unwrap()), record.clone()).await;
    }
    bed.until("SELECT coalesce(sum(next_offset), 0)::bigint FROM engine.partition_position", 400).await;
    assert_eq!(bed.followers(course).await, 200);
    assert_eq!(bed.count("SELECT count(*) FROM engine.inbox").await, 200);
    let counts = running.board().snapshot().events;
    assert_eq!((counts.applied, counts.duplicates), (200, 200));
    running.stop().await.unwrap();
}
