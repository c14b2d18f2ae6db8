//! The guard against dead-lettering a bad deploy's whole topic.

use crate::support::scripted::Scripted;
use crate::support::{Bed, event, eventually, key_in};
use engine::status::Phase;
use engine::{FloodLimits, Running, Settings};
use uuid::Uuid;

const LIMITS: FloodLimits = FloodLimits {
    consecutive: 5,
    ratio: 0.5,
    window: 20,
};

fn guarded(bed: &Bed) -> Settings {
    let mut settings = bed.settings();
    settings.flood = LIMITS;
    settings
}

fn faulty() -> Scripted {
    Scripted::new().on("new", "SELECT 1 / length('')")
}

async fn until_halted(running: &Running, partition: i32) -> String {
    let board = running.board();
    let name = format!("progress.learning[{partition}]");
    let halted = || match &board.snapshot().partitions.get(&name)?.phase {
        Phase::Halted { message, .. } => Some(message.clone()),
        _ => None,
    };
    eventually("the flood guard halts the partition", || halted().is_some()).await;
    halted().unwrap()
}

/// Sends events of keys of their own; says which ids they have.
async fn send(
    bed: &Bed,
    partition: i32,
    words: impl IntoIterator<Item = &'static str>,
) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for word in words {
        let record = event(key_in(partition), 1, word);
        ids.push(record.id());
        bed.send(record).await;
    }
    ids
}

/// Every event is applied or dead-lettered, none both, none twice.
async fn assert_nothing_is_lost(bed: &Bed, sent: &[Uuid]) {
    let mut found = bed.applied().await;
    let dead: Vec<Uuid> = sqlx::query_scalar("SELECT event_id FROM engine.dead_letters")
        .fetch_all(&bed.pool)
        .await
        .unwrap();
    found.extend(dead);
    found.sort();
    let mut sent = sent.to_vec();
    sent.sort();
    assert!(found == sent, "{} found, {} sent", found.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_halts_its_partition_alone_and_a_mended_worker_loses_nothing() {
    let bed = Bed::start().await;
    // A worker that cannot handle a new kind of event, of which partition 0 is full.
    let mut sent = send(
        &bed,
        0,
        ["", "", "new", ""]
            .into_iter()
            .chain(["new"; 30])
            .chain(["", ""]),
    )
    .await;
    sent.extend(send(&bed, 2, ["", "new", ""]).await);
    let running = engine::start(faulty(), guarded(&bed)).unwrap();
    let message = until_halted(&running, 0).await;
    assert!(
        message.contains("halted by the flood guard: more than 5 events in a row are bad"),
        "{message}"
    );
    assert!(
        message.contains("SQLSTATE 22012") && message.contains("then restart"),
        "{message}"
    );
    // Its neighbour in the lane, and others, go on.
    sent.extend(send(&bed, 2, ["", ""]).await);
    sent.extend(send(&bed, 1, [""]).await);
    bed.until(
        "SELECT sum(next_offset)::bigint FROM engine.partition_position WHERE partition IN (1, 2)",
        6,
    )
    .await;
    let dead = bed
        .count("SELECT count(*) FROM engine.dead_letters WHERE partition = 0")
        .await;
    assert!(dead <= 6, "{dead} dead letters");
    running.board().ready().unwrap();
    running.stop().await.unwrap();

    let running = engine::start(Scripted::new(), guarded(&bed)).unwrap();
    bed.until_caught_up().await;
    assert_nothing_is_lost(&bed, &sent).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_is_thinned_by_good_events_halts_too() {
    let bed = Bed::start().await;
    let sent = send(&bed, 0, ["new", "new", ""].into_iter().cycle().take(90)).await;
    let running = engine::start(faulty(), guarded(&bed)).unwrap();
    let message = until_halted(&running, 0).await;
    assert!(
        message.contains("of the last 20 events are bad"),
        "{message}"
    );
    assert!(bed.position(0).await < 90);
    running.stop().await.unwrap();
    let running = engine::start(Scripted::new(), guarded(&bed)).unwrap();
    bed.until_caught_up().await;
    assert_nothing_is_lost(&bed, &sent).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_read_count_as_a_flood_as_well() {
    let bed = Bed::start().await;
    for _ in 0..10 {
        bed.send(event(key_in(3), 1, "").without_header("ce_source"))
            .await;
    }
    let running = engine::start(Scripted::new(), guarded(&bed)).unwrap();
    let message = until_halted(&running, 3).await;
    assert!(message.contains("ce_source is missing"), "{message}");
    assert_eq!(bed.position(3).await, 0);
    running.stop().await.unwrap();
}
