//! A claim takes a partition from its former owner, whatever that one is doing.

use crate::fleet::{member, quick, until_shared};
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, eventually, key_in, until_nothing_waits, until_reading, waits};
use engine::{Running, Settings};
use std::time::{Duration, Instant};
use uuid::Uuid;

const NAPS: &str = "CREATE TABLE naps (seconds float NOT NULL); INSERT INTO naps VALUES (600);";

fn napping(settings: Settings) -> Running {
    engine::start(
        Scripted::new().on("nap", "SELECT pg_sleep(seconds) FROM naps"),
        settings,
    )
    .unwrap()
}

/// All partitions' events are in a transaction that sleeps.
async fn frozen(bed: &Bed) -> (Running, Vec<Uuid>) {
    let records: Vec<_> = (0..4)
        .map(|partition| event(key_in(partition), 1, "nap"))
        .collect();
    bed.send_all(records.clone()).await;
    let mut settings = quick(bed);
    // One batch for each lane's two partitions.
    settings.linger = Duration::from_millis(500);
    settings.timeouts.statement = Duration::from_secs(300);
    let running = napping(settings);
    bed.until(&sleepers(bed), 2).await;
    // Whoever comes next sleeps no more.
    bed.sql("UPDATE naps SET seconds = 0").await;
    (running, records.iter().map(|record| record.id()).collect())
}

fn sleepers(bed: &Bed) -> String {
    let role = &bed.database.role;
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND wait_event = 'PgSleep'"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_that_is_frozen_in_its_transaction_is_ended_by_the_claim() {
    let bed = Bed::with(NAPS).await;
    let (former, ids) = frozen(&bed).await;
    let claimant = napping(quick(&bed));
    let board = claimant.board();
    eventually("partitions are given to the claimant", || {
        !board.snapshot().partitions.is_empty()
    })
    .await;
    let began = Instant::now();
    until_reading(&claimant, 2).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "the claim took {took:?}");
    bed.until_caught_up().await;
    bed.assert_applied(ids).await;
    assert_eq!(bed.count(&sleepers(&bed)).await, 0);
    until_shared(&[&former, &claimant], 2).await;
    until_nothing_waits(&former).await;
    former.stop().await.unwrap();
    claimant.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_left_running_commits_nothing() {
    let bed = Bed::with(NAPS).await;
    let (killed, ids) = frozen(&bed).await;
    drop(killed);
    let next = napping(quick(&bed));
    until_reading(&next, 4).await;
    bed.until_caught_up().await;
    bed.assert_applied(ids).await;
    assert_eq!(
        bed.count(&sleepers(&bed)).await,
        0,
        "its statements were ended"
    );
    next.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_loses_its_partitions_while_it_waits_waits_no_more() {
    let bed = Bed::with("CREATE TABLE effects (note text);").await;
    let insert = || Scripted::new().on("insert", "INSERT INTO effects VALUES ('an effect')");
    bed.sql(&format!(
        "REVOKE INSERT ON effects FROM {}",
        bed.database.role
    ))
    .await;
    let mut settings = quick(&bed);
    settings.lanes = 4;
    let first = engine::start(insert(), settings.clone()).unwrap();
    until_reading(&first, 4).await;
    for partition in 0..4 {
        bed.send(event(key_in(partition), 1, "insert")).await;
    }
    let board = first.board();
    eventually("all lanes wait", || waits(&board.snapshot()).len() == 4).await;
    let second = engine::start(insert(), settings).unwrap();
    until_shared(&[&first, &second], 2).await;
    // Two lanes of each have nothing to wait for.
    for member in [&first, &second] {
        eventually("two lanes wait", || {
            waits(&member.board().snapshot()).len() == 2
        })
        .await;
    }
    bed.sql(&format!("GRANT INSERT ON effects TO {}", bed.database.role))
        .await;
    bed.until_applied(4).await;
    for member in [first, second] {
        until_nothing_waits(&member).await;
        member.board().ready().unwrap();
        member.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_thousands_goes_through_in_large_batches() {
    let bed = Bed::start().await;
    let keys: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let records: Vec<_> = (0..6000_usize)
        .map(|number| event(keys[number % 40], i64::try_from(number).unwrap(), ""))
        .collect();
    for chunk in records.chunks(500) {
        futures::future::join_all(keys.iter().map(|key| {
            let of_key = chunk
                .iter()
                .filter(|r| r.key.as_deref() == Some(key.to_string().as_bytes()));
            bed.send_all(of_key.cloned().collect::<Vec<_>>())
        }))
        .await;
    }
    let mut settings = quick(&bed);
    // From 2,000 new events on, inbox rows go by COPY.
    (settings.batch_events, settings.linger) = (5000, Duration::from_secs(1));
    let running = engine::start(Scripted::new(), settings).unwrap();
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().map(|record| record.id()))
        .await;
    bed.assert_order_within_keys().await;
    let largest =
        "SELECT max(n) FROM (SELECT count(*) AS n FROM engine.inbox GROUP BY received_at) batches";
    assert!(
        bed.count(largest).await >= 2000,
        "a batch was large enough for COPY"
    );
    running.stop().await.unwrap();
    let again = member(&bed);
    until_reading(&again, 4).await;
    assert_eq!(again.board().snapshot().events.applied, 0);
    again.stop().await.unwrap();
}
