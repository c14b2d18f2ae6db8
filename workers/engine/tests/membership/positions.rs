//! Positions that do not fit the log, and hints that are ahead of the database.

use crate::fleet::quick;
use crate::support::scripted::Scripted;
use crate::support::{Bed, PATIENCE, RawRecord, TOPIC, event, eventually, key_in, until_reading};
use engine::Running;
use engine::scheduling::offsets::{NextOffset, TopicPartition};
use engine::status::Phase;
use engine::store::claim::set_position;
use uuid::Uuid;

const GROUP: &str = "learnexpert.scripted";

/// The id of the topic, as the mock cluster's stand-in has it.
fn topic_id() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, TOPIC.as_bytes())
}

/// Statements after which partition 0 is where it was when these of its events had been applied.
fn rewind(applied: &[RawRecord]) -> String {
    let kept: Vec<String> = applied
        .iter()
        .map(|record| format!("'{}'", record.id()))
        .collect();
    let (kept, position) = (kept.join(", "), applied.len());
    format!(
        "DELETE FROM applied WHERE event_id NOT IN ({kept});
         DELETE FROM engine.inbox WHERE event_id NOT IN ({kept});
         UPDATE engine.partition_position SET next_offset = {position} WHERE partition = 0"
    )
}

async fn store_position(bed: &Bed, partition: i32, topic_id: Uuid, position: i64) {
    bed.sql(&format!(
        "INSERT INTO engine.partition_position
           (consumer_group, topic, partition, topic_id, next_offset, epoch, updated_at)
         VALUES ('{GROUP}', '{TOPIC}', {partition}, '{topic_id}', {position}, 1, now())"
    ))
    .await;
}

fn phase(running: &Running, partition: i32) -> Option<Phase> {
    let snapshot = running.board().snapshot();
    Some(
        snapshot
            .partitions
            .get(&format!("{TOPIC}[{partition}]"))?
            .phase
            .clone(),
    )
}

async fn halted(running: &Running, partition: i32) -> String {
    let message = || match phase(running, partition) {
        Some(Phase::Halted { message, .. }) => Some(message),
        _ => None,
    };
    eventually(&format!("partition {partition} halts"), || {
        message().is_some()
    })
    .await;
    message().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_does_not_fit_the_log_halts_its_partition_until_a_person_decides() {
    let bed = Bed::start().await;
    // The mock cluster keeps 5 MiB of each partition; the first records of partition 1 expire.
    let large = "x".repeat(400_000);
    for _ in 0..20 {
        bed.send(event(key_in(1), 1, "").set_header("padding", &large))
            .await;
    }
    for partition in [0, 2, 3] {
        bed.send(event(key_in(partition), 1, "")).await;
    }
    store_position(&bed, 0, topic_id(), 999).await;
    store_position(&bed, 1, topic_id(), 0).await;
    store_position(&bed, 2, Uuid::from_u128(7), 0).await;
    let running = engine::start(Scripted::new(), quick(&bed)).unwrap();
    for (partition, words) in [
        (0, "position 999 lies past the log's end 1"),
        (1, "records expired unread"),
        (2, "the topic was recreated"),
    ] {
        let message = halted(&running, partition).await;
        let command =
            format!("fleet position set --group {GROUP} --partition '{TOPIC}[{partition}]'");
        assert!(
            message.contains(words) && message.contains(&command),
            "{message}"
        );
    }
    bed.until_applied(1).await;
    assert_eq!(phase(&running, 3), Some(Phase::Running), "the others go on");
    running.board().ready().unwrap();

    let low = bed.log_start(1).await;
    assert!(low > 0, "the log begins at {low}");
    let mut owner = bed.session().await;
    for (partition, position, before) in [(0, 0, 999), (1, low, 0), (2, 0, 0)] {
        let partition = TopicPartition {
            topic: TOPIC.into(),
            partition,
        };
        let set = set_position(
            &mut owner,
            GROUP,
            &partition,
            topic_id(),
            NextOffset(position),
            "a person",
        )
        .await;
        assert_eq!(set.unwrap(), Some(NextOffset(before)));
    }
    until_reading(&running, 4).await;
    bed.until_caught_up().await;
    bed.until_applied(3 + (20 - low)).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_events_are_applied_again_and_marked_as_held() {
    let bed = Bed::start().await;
    let key = key_in(0);
    let records: Vec<_> = (0..10).map(|number| event(key, number, "")).collect();
    bed.send_all(records.clone()).await;
    let running = engine::start(Scripted::new(), quick(&bed)).unwrap();
    bed.until_caught_up().await;
    running.stop().await.unwrap();
    assert_eq!(bed.hint(0).await, Some(10));
    assert_eq!(
        bed.count("SELECT count(*) FROM applied WHERE held").await,
        0
    );

    // The database is as it was when four events had been applied.
    bed.sql(&rewind(&records[..4])).await;
    let later = event(key, 10, "");
    bed.send(later.clone()).await;
    let running = engine::start(Scripted::new(), quick(&bed)).unwrap();
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().chain([&later]).map(|record| record.id()))
        .await;
    let held = "SELECT count(*) FROM applied WHERE held AND sequence BETWEEN 4 AND 9";
    assert_eq!(bed.count(held).await, 6);
    assert_eq!(
        bed.count("SELECT count(*) FROM applied WHERE held").await,
        6
    );
    let hold_below = "SELECT hold_below FROM engine.partition_position WHERE partition = 0";
    assert_eq!(bed.count(hold_below).await, 10);
    assert_eq!(bed.count("SELECT count(*) FROM rewinds").await, 1);
    running.stop().await.unwrap();
    assert_eq!(bed.hint(0).await, Some(11));

    let running = engine::start(Scripted::new(), quick(&bed)).unwrap();
    until_reading(&running, 4).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM rewinds").await,
        1,
        "no second time"
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_back_in_time_under_a_running_worker_is_followed() {
    let bed = Bed::start().await;
    let key = key_in(0);
    let records: Vec<_> = (0..10).map(|number| event(key, number, "")).collect();
    bed.send_all(records.clone()).await;
    let running = engine::start(Scripted::new(), quick(&bed)).unwrap();
    bed.until_caught_up().await;
    let hint = async || while bed.hint(0).await != Some(10) {};
    tokio::time::timeout(PATIENCE, hint()).await.unwrap();
    // A standby took over that had not received the last commits.
    bed.sql(&rewind(&records[..4])).await;
    let later = event(key, 10, "");
    bed.send(later.clone()).await;
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().chain([&later]).map(|record| record.id()))
        .await;
    bed.assert_order_within_keys().await;
    assert_eq!(
        bed.count("SELECT count(*) FROM applied WHERE held").await,
        6
    );
    assert_eq!(bed.count("SELECT count(*) FROM rewinds").await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_hint_is_never_moved_backwards() {
    let bed = Bed::with("CREATE TABLE gate (open integer); INSERT INTO gate VALUES (1);").await;
    let worker = || {
        Scripted::new().on(
            "closed",
            "SELECT 1 / open FROM (SELECT pg_sleep(600 * (1 - open)), open FROM gate) g",
        )
    };
    let key = key_in(0);
    bed.send_all((0..10).map(|number| event(key, number, if number == 7 { "closed" } else { "" })))
        .await;
    let running = engine::start(worker(), quick(&bed)).unwrap();
    bed.until_caught_up().await;
    running.stop().await.unwrap();
    bed.sql(
        "TRUNCATE applied; DELETE FROM engine.inbox; UPDATE gate SET open = 0;
         UPDATE engine.partition_position SET next_offset = 0 WHERE partition = 0",
    )
    .await;
    let mut settings = quick(&bed);
    settings.batch_events = 1;
    let running = engine::start(worker(), settings).unwrap();
    // It stands at seven, which it has told nobody.
    bed.until(
        "SELECT next_offset FROM engine.partition_position WHERE partition = 0",
        7,
    )
    .await;
    bed.until("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()", 1).await;
    assert_eq!(bed.hint(0).await, Some(10));
    drop(running);
    bed.sql("UPDATE gate SET open = 1").await;
    let running = engine::start(worker(), quick(&bed)).unwrap();
    bed.until_caught_up().await;
    bed.until_applied(10).await;
    running.stop().await.unwrap();
    assert_eq!(bed.hint(0).await, Some(10));
}
