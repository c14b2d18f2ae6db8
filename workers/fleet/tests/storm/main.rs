//! The storm: real Kafka, real registry, real PostgreSQL, worker processes that are killed at any
//! moment, members that join and leave, and a stream with everything that streams have. Afterwards
//! every event is where it belongs, exactly once, content for content.
//!
//! `STORM_SEED=N cargo test -p fleet --test storm` repeats a run's schedule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod load;
mod servers;
mod workers;

use demo::check;
use demo::fold::Expected;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use servers::Servers;
use std::collections::BTreeMap;
use std::time::Duration;
use workers::Fleet;

const KILLS: u32 = 24;
const KILLS_IN_TRANSACTION: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_in_a_storm() {
    let seed =
        std::env::var("STORM_SEED").map_or(7, |seed| seed.parse().expect("STORM_SEED is a number"));
    println!("storm seed {seed}");
    let servers = Servers::start().await;
    let mut random = StdRng::seed_from_u64(seed);

    let mut fleet = Fleet::start(&servers, 2).await;
    let sending = tokio::spawn(load::send(servers.endpoints(), seed));
    let mut in_transaction = 0;
    for kill in 0..KILLS {
        let victim = random.random_range(0..2);
        if kill < KILLS_IN_TRANSACTION {
            in_transaction += u32::from(fleet.kill_in_transaction(&servers, victim).await);
        } else {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..2500))).await;
            fleet.kill(victim).await;
        }
        fleet.start_again(&servers, victim).await;
        match kill % 6 {
            2 => fleet.join_third(&servers).await,
            4 => fleet.leave_third().await,
            _ => {}
        }
    }
    fleet.leave_third().await;
    assert!(
        in_transaction >= 5,
        "only {in_transaction} kills met an open transaction"
    );

    let sent = sending.await.expect("the load was sent");
    servers.until_everything_is_read(&fleet).await;
    println!(
        "storm: {KILLS} kills, {in_transaction} of them inside a transaction, {} records",
        sent.records()
    );

    let expected = Expected::of(sent.ledger.clone());
    let mut connection = servers.administrator().await;
    let verdict = check::analytics(&mut connection, &expected).await.unwrap();
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(verdict.dead_lettered, expected.garbage, "{verdict:#?}");
    assert_eq!(verdict.duplicates, expected.repeats);

    // Each broken record is in the dead letter topic with its own bytes.
    let dead_letters = servers.dead_letters().await;
    let by_origin: BTreeMap<_, _> = dead_letters.into_iter().collect();
    for (origin, value) in &sent.garbage {
        assert_eq!(by_origin.get(origin), Some(value), "{origin:?}");
    }
    assert_eq!(by_origin.len(), sent.garbage.len(), "and nothing else is");
    fleet.stop().await;

    // Reading everything once more from the start changes nothing.
    let before = servers.contents().await;
    servers.forget_positions().await;
    let fleet = Fleet::start(&servers, 1).await;
    servers.until_everything_is_read(&fleet).await;
    assert_eq!(servers.contents().await, before);
    fleet.stop().await;
}
