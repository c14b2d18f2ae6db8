//! What other sessions do: locks, deadlocks, serialization, cancellation, and the race for one id.

use crate::outage::visible;
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, key_in, until_nothing_waits, until_reading, until_waiting};
use engine::Running;
use sqlx::Executor;
use sqlx::postgres::PgConnection;
use std::time::Duration;

const COUNTERS: &str = "
    CREATE TABLE counters (id integer PRIMARY KEY, n bigint NOT NULL);
    INSERT INTO counters VALUES (1, 0), (2, 0);
    CREATE TABLE naps (seconds float NOT NULL);
    INSERT INTO naps VALUES (0);
    CREATE FUNCTION count_twice() RETURNS void LANGUAGE plpgsql AS $$BEGIN
      UPDATE counters SET n = n + 1 WHERE id = 1;
      UPDATE counters SET n = n + 1 WHERE id = 2;
    END$$;
    CREATE FUNCTION count_soon() RETURNS void LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$BEGIN
      UPDATE counters SET n = n + 1 WHERE id = 1;
    END$$;
    CREATE FUNCTION give_away() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN
      GRANT SELECT ON counters TO pg_monitor;
    END$$;";

fn worker() -> Scripted {
    Scripted::new()
        .on("count", "UPDATE counters SET n = n + 1 WHERE id = 1")
        .on("count twice", "SELECT count_twice()")
        .on("count soon", "SELECT count_soon()")
        .on("give away", "SELECT give_away()")
        .on("nap", "SELECT pg_sleep(seconds) FROM naps")
}

async fn bed() -> Bed {
    Bed::with(COUNTERS).await
}

async fn run(bed: &Bed) -> Running {
    let running = engine::start(worker(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;
    running
}

/// Waits until a session of the worker waits for this kind of thing.
async fn until_worker_waits_for(bed: &Bed, wait_event_type: &str) {
    let role = &bed.database.role;
    bed.until(
        &format!(
            "SELECT least(count(*), 1) FROM pg_stat_activity
             WHERE usename = '{role}' AND wait_event_type = '{wait_event_type}' AND state = 'active'"
        ),
        1,
    )
    .await;
}

async fn is_waited_out(bed: &Bed, running: &Running, sqlstate: &str, applied: i64) {
    until_waiting(running, "postgres", &format!("(SQLSTATE {sqlstate})")).await;
    bed.until_applied(applied).await;
    until_nothing_waits(running).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_another_session_holds_is_waited_for() {
    let bed = bed().await;
    let running = run(&bed).await;
    let mut other: PgConnection = bed.session().await;
    other
        .execute("BEGIN; UPDATE counters SET n = n + 10 WHERE id = 1")
        .await
        .unwrap();
    bed.send(event(key_in(0), 1, "count soon")).await;
    until_waiting(&running, "postgres", "(SQLSTATE 55P03)").await;
    other.execute("COMMIT").await.unwrap();
    is_waited_out_after(&bed, &running, 1).await;
    assert_eq!(bed.count("SELECT n FROM counters WHERE id = 1").await, 11);
    running.stop().await.unwrap();
}

async fn is_waited_out_after(bed: &Bed, running: &Running, applied: i64) {
    bed.until_applied(applied).await;
    until_nothing_waits(running).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_cannot_be_serialized_is_run_again() {
    let bed = bed().await;
    let role = &bed.database.role;
    bed.sql(&format!(
        "ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'"
    ))
    .await;
    let running = run(&bed).await;
    let mut other = bed.session().await;
    other
        .execute("BEGIN; UPDATE counters SET n = n + 10 WHERE id = 1")
        .await
        .unwrap();
    bed.send(event(key_in(0), 1, "count")).await;
    until_worker_waits_for(&bed, "Lock").await;
    other.execute("COMMIT").await.unwrap();
    is_waited_out(&bed, &running, "40001", 1).await;
    assert_eq!(bed.count("SELECT n FROM counters WHERE id = 1").await, 11);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_is_run_again() {
    let bed = bed().await;
    let running = run(&bed).await;
    let mut other = bed.session().await;
    // The other session looks for deadlocks too late to be the victim.
    other
        .execute(
            "SET deadlock_timeout = '1min'; BEGIN; UPDATE counters SET n = n + 10 WHERE id = 2",
        )
        .await
        .unwrap();
    bed.send(event(key_in(0), 1, "count twice")).await;
    until_worker_waits_for(&bed, "Lock").await;
    let crossing = other.execute("UPDATE counters SET n = n + 10 WHERE id = 1");
    let seen = until_waiting(&running, "postgres", "(SQLSTATE 40P01)");
    let (crossed, _) = tokio::join!(crossing, seen);
    crossed.unwrap();
    other.execute("COMMIT").await.unwrap();
    is_waited_out_after(&bed, &running, 1).await;
    assert_eq!(bed.count("SELECT sum(n)::bigint FROM counters").await, 22);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_error_of_the_server_is_waited_out() {
    let bed = bed().await;
    let running = run(&bed).await;
    let mut other = bed.session().await;
    // PostgreSQL says "tuple concurrently updated" (XX000) to the second of two GRANTs.
    other
        .execute("BEGIN; GRANT SELECT ON counters TO pg_read_all_stats")
        .await
        .unwrap();
    bed.send(event(key_in(0), 1, "give away")).await;
    until_worker_waits_for(&bed, "Lock").await;
    other.execute("COMMIT").await.unwrap();
    is_waited_out(&bed, &running, "XX000", 1).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_was_cancelled_or_whose_backend_was_ended_is_run_again() {
    let bed = bed().await;
    let running = run(&bed).await;
    let faults = [
        ("pg_cancel_backend", "57014"),
        ("pg_terminate_backend", "57P01"),
    ];
    for (applied, (fault, sqlstate)) in (1..).zip(faults) {
        bed.sql("UPDATE naps SET seconds = 600").await;
        bed.send(event(key_in(0), 1, "nap")).await;
        until_worker_waits_for(&bed, "Timeout").await;
        bed.sql("UPDATE naps SET seconds = 0").await;
        bed.sql(&format!("SELECT {fault}(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = '{}'", bed.database.role)).await;
        is_waited_out(&bed, &running, sqlstate, applied).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_waited_out() {
    let bed = bed().await;
    let mut settings = visible(bed.settings());
    settings.timeouts.statement = Duration::from_millis(500);
    let running = engine::start(worker(), settings).unwrap();
    until_reading(&running, 4).await;
    bed.sql("UPDATE naps SET seconds = 600").await;
    bed.send(event(key_in(0), 1, "nap")).await;
    until_waiting(&running, "postgres", "(SQLSTATE 57014)").await;
    bed.sql("UPDATE naps SET seconds = 0").await;
    is_waited_out_after(&bed, &running, 1).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_on_two_partitions_at_once_is_applied_once() {
    let bed = bed().await;
    let running = run(&bed).await;
    bed.sql("UPDATE naps SET seconds = 1").await;
    // Partitions 0 and 1 belong to different lanes; whichever comes second finds the id taken by a
    // transaction that has not ended.
    let record = event(key_in(0), 1, "nap");
    bed.send_raw(0, record.clone()).await;
    bed.send_raw(1, record).await;
    until_worker_waits_for(&bed, "Lock").await;
    bed.until_caught_up().await;
    assert_eq!(bed.count("SELECT count(*) FROM applied").await, 1);
    let counts = running.board().snapshot().events;
    assert_eq!(
        (counts.applied, counts.duplicates, counts.dead_lettered),
        (1, 1, 0)
    );
    running.stop().await.unwrap();
}
