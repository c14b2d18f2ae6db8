//! A database that does not answer: nothing later runs in a forgotten transaction, nothing is
//! applied twice, memory stays bounded, and a shutdown does not wait for it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use engine::{Limits, Running, Settings};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::scripted::Scripted;
use support::{
    Bed, Broker, RawRecord, event, eventually, key_in, server, until_nothing_waits, until_reading,
    until_waiting,
};
use testkit::StopMode;
use uuid::Uuid;

const NAPS: &str = "CREATE TABLE naps (seconds float NOT NULL); INSERT INTO naps VALUES (0);";

/// The server may take one second for a statement, so the engine waits six for an answer.
fn impatient(bed: &Bed) -> Settings {
    let mut settings = bed.settings();
    settings.timeouts.statement = Duration::from_secs(1);
    settings.timeouts.lock = Duration::from_millis(500);
    settings
}

fn napping(settings: Settings) -> Running {
    engine::start(
        Scripted::new().on("nap", "SELECT pg_sleep(seconds) FROM naps"),
        settings,
    )
    .unwrap()
}

/// A backend of the server that the operating system does not let run.
struct Stopped(i32);

impl Stopped {
    /// The backend that sleeps inside the worker's transaction.
    async fn sleeper(bed: &Bed) -> Self {
        let role = &bed.database.role;
        let sleepers =
            format!("FROM pg_stat_activity WHERE usename = '{role}' AND wait_event = 'PgSleep'");
        bed.until(&format!("SELECT count(*) {sleepers}"), 1).await;
        let pid = bed.count(&format!("SELECT pid::bigint {sleepers}")).await;
        let stopped = Self(i32::try_from(pid).unwrap());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        Command::new("kill")
            .args([signal, &self.0.to_string()])
            .status()
            .unwrap();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// What the worker's sessions other than this one do: statements inside a transaction.
async fn in_transactions(bed: &Bed, stopped: &Stopped) -> i64 {
    let role = &bed.database.role;
    let pid = stopped.0;
    bed.count(&format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE usename = '{role}' AND pid <> {pid} AND state LIKE 'idle in transaction%'"
    ))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_without_an_answer_takes_its_connection_with_it() {
    let bed = Bed::with(NAPS).await;
    let running = napping(impatient(&bed));
    until_reading(&running, 4).await;
    bed.sql("UPDATE naps SET seconds = 600").await;
    let records: Vec<RawRecord> = (1..=3)
        .map(|n| event(key_in(0), n, if n == 1 { "nap" } else { "" }))
        .collect();
    bed.send(records[0].clone()).await;
    let stopped = Stopped::sleeper(&bed).await;
    bed.sql("UPDATE naps SET seconds = 0").await;
    bed.send_all(records[1..].to_vec()).await;
    until_waiting(&running, "postgres", "no answer within 6 s").await;
    // The abandoned transaction still holds the event's id; the next attempt runs in another one.
    until_waiting(&running, "postgres", "(SQLSTATE 55P03)").await;
    assert_eq!(in_transactions(&bed, &stopped).await, 0);
    assert_eq!(bed.count("SELECT count(*) FROM applied").await, 0);
    // The other lane goes on all the while.
    let other = event(key_in(1), 1, "");
    bed.send(other.clone()).await;
    bed.until_applied(1).await;

    drop(stopped);
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().chain([&other]).map(RawRecord::id))
        .await;
    until_nothing_waits(&running).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_an_answer_that_does_not_come() {
    let bed = Bed::with(NAPS).await;
    let mut settings = impatient(&bed);
    settings.timeouts.statement = Duration::from_secs(60);
    settings.drain_deadline = Duration::from_secs(1);
    let running = napping(settings);
    until_reading(&running, 4).await;
    bed.sql("UPDATE naps SET seconds = 600").await;
    let record = event(key_in(0), 1, "nap");
    bed.send(record.clone()).await;
    let stopped = Stopped::sleeper(&bed).await;
    bed.sql("UPDATE naps SET seconds = 0").await;
    let began = Instant::now();
    running.stop().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    drop(stopped);

    // Its successor ends the transaction that was left behind, however impatient with locks it is.
    let next = napping(impatient(&bed));
    let board = next.board();
    eventually("partitions are assigned", || {
        !board.snapshot().partitions.is_empty()
    })
    .await;
    let assigned = Instant::now();
    until_reading(&next, 4).await;
    assert!(
        assigned.elapsed() < Duration::from_secs(8),
        "{:?}",
        assigned.elapsed()
    );
    bed.until_caught_up().await;
    bed.assert_applied([record.id()]).await;
    next.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_much_for_one_transaction_is_halved() {
    let bed = Bed::with(NAPS).await;
    bed.sql("UPDATE naps SET seconds = 0.9").await;
    // Each statement is quick enough; the seven seconds of all are not.
    let records: Vec<RawRecord> = (0..8).map(|_| event(key_in(0), 1, "nap")).collect();
    bed.send_all(records.clone()).await;
    let mut settings = impatient(&bed);
    settings.linger = Duration::from_millis(500);
    let running = napping(settings);
    until_waiting(&running, "postgres", "no answer within 6 s").await;
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().map(RawRecord::id)).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_much_for_one_statement_is_halved() {
    let bed = Bed::start().await;
    let keys: Vec<Uuid> = (0..20).map(|_| key_in(0)).collect();
    bed.send_all(keys.iter().map(|key| event(*key, 1, "sum")))
        .await;
    let mut settings = impatient(&bed);
    settings.linger = Duration::from_millis(500);
    // As slow as the events of the transaction are many.
    let worker = Scripted::new().on(
        "sum",
        "SELECT pg_sleep(0.1 * count(*)) FROM applied WHERE xmin::text = pg_current_xact_id()::xid::text",
    );
    let running = engine::start(worker, settings).unwrap();
    until_waiting(&running, "postgres", "(SQLSTATE 57014)").await;
    bed.until_caught_up().await;
    bed.until_applied(20).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
    running.stop().await.unwrap();
}

/// One poll's worth of records may come on top of the budget.
const CHUNK: usize = 512;

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_and_the_member_alive_while_the_database_is_away() {
    let server = Arc::new(server::migrated(server::builder()).await);
    let mut bed = Bed::on(server, Broker::mock(), "").await;
    let keys = [0, 1, 2, 3].map(key_in);
    let records: Vec<RawRecord> = (0..4000)
        .map(|number| event(keys[number % 4], i64::try_from(number).unwrap(), ""))
        .collect();
    bed.send_all(records[..40].to_vec()).await;
    let mut settings = bed.settings();
    settings.session_timeout = Duration::from_secs(4);
    settings.batch_events = 100;
    settings.budget = Limits {
        events: 300,
        bytes: 64 << 20,
    };
    let running = engine::start(Scripted::new(), settings.clone()).unwrap();
    bed.until_applied(40).await;
    bed.own_server().stop(StopMode::Immediate).await.unwrap();
    bed.send_all(records[40..].to_vec()).await;

    let board = running.board();
    eventually("memory is full", || running.held().0 >= 300).await;
    // For longer than polling pauses for, and through a rebalance, which only a member that polls
    // takes part in.
    let second = engine::start(Scripted::new(), settings).unwrap();
    eventually("the members share the partitions", || {
        for member in [&running, &second] {
            assert!(member.held().0 <= 300 + CHUNK, "{:?}", member.held());
            member.board().live(Duration::from_secs(3)).unwrap();
        }
        second.board().snapshot().partitions.len() == 2 && board.snapshot().partitions.len() == 2
    })
    .await;
    let held_since = Instant::now();
    while held_since.elapsed() < Duration::from_secs(3) {
        assert!(running.held().0 <= 300 + CHUNK, "{:?}", running.held());
        board.live(Duration::from_secs(3)).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    bed.own_server().start_again().await.unwrap();
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().map(RawRecord::id)).await;
    bed.assert_order_within_keys().await;
    for member in [&running, &second] {
        until_nothing_waits(member).await;
        eventually("memory is given back", || member.held() == (0, 0)).await;
    }

    // Partitions that were given away while fetching was paused are read when they come back.
    second.stop().await.unwrap();
    until_reading(&running, 4).await;
    let further: Vec<RawRecord> = keys.iter().map(|key| event(*key, 5000, "")).collect();
    bed.send_all(further.clone()).await;
    bed.until_caught_up().await;
    bed.assert_applied(records.iter().chain(&further).map(RawRecord::id))
        .await;
    running.stop().await.unwrap();
}
