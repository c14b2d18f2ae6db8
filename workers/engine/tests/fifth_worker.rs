//! The worker of the documentation's example, run.
#![allow(clippy::unwrap_used)]

#[path = "../examples/fifth_worker.rs"]
#[allow(dead_code)]
mod fifth_worker;
mod support;

use fifth_worker::Followers;
use support::records::followed;
use support::{Bed, PARTITIONS, RawRecord};
use uuid::Uuid;

const TABLES: &str =
    "CREATE TABLE follower_counts (followed_id uuid PRIMARY KEY, followers bigint NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn the_example_counts_each_event_once_however_often_it_is_sent() {
    let bed = Bed::with(TABLES).await;
    let course = Uuid::now_v7();
    let records: Vec<RawRecord> = (0..200)
        .map(|_| RawRecord::of(&followed(Uuid::now_v7(), course)))
        .collect();
    bed.send_all(records.clone()).await;
    let running = bed.run(Followers);
    bed.until(
        "SELECT coalesce(sum(followers), 0)::bigint FROM follower_counts",
        200,
    )
    .await;
    // Each once more, to whatever partition.
    for (partition, record) in (0..i32::from(PARTITIONS)).cycle().zip(records) {
        bed.send_raw(partition, record).await;
    }
    bed.until_caught_up().await;
    let one_course =
        format!("SELECT followers FROM follower_counts WHERE followed_id = '{course}'");
    assert_eq!(bed.count(&one_course).await, 200);
    assert_eq!(bed.count("SELECT count(*) FROM engine.inbox").await, 200);
    let counts = running.board().snapshot().events;
    assert_eq!((counts.applied, counts.duplicates), (200, 200));
    running.stop().await.unwrap();
}
