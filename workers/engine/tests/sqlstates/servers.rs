//! Faults of a whole server, each test with a server of its own.

use crate::outage::{Outage, visible};
use crate::support::scripted::Scripted;
use crate::support::{
    Bed, Broker, RawRecord, event, key_in, server, until_nothing_waits, until_reading,
    until_waiting,
};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use testkit::{PostgresBuilder, StopMode};

async fn bed_on(builder: PostgresBuilder, tables: &str) -> Bed {
    Bed::on(
        Arc::new(server::migrated(builder).await),
        Broker::mock(),
        tables,
    )
    .await
}

fn data(bed: &Bed) -> PathBuf {
    bed.server.socket_dir().join("data")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_no_longer_holds_and_slots_that_are_taken_are_waited_out() {
    let bed = bed_on(server::builder().setting("max_connections", "24"), "").await;
    let rules = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(data(&bed).join("pg_hba.conf"), rules).unwrap();
    bed.sql("SELECT pg_reload_conf()").await;
    let running = engine::start(Scripted::new(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;

    let role = &bed.database.role;
    let begin = format!(
        "ALTER ROLE {role} PASSWORD 'changed';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    );
    let end = format!("ALTER ROLE {role} PASSWORD '{}'", bed.database.password);
    Outage {
        sqlstate: "28P01",
        word: "",
        begin: &begin,
        end: &end,
    }
    .is_waited_out(&bed, &running)
    .await;

    bed.end_sessions().await;
    let others = take_all_slots(&bed).await;
    let met = Outage {
        sqlstate: "53300",
        word: "",
        begin: "",
        end: "",
    };
    let began = chrono::Utc::now();
    bed.send(event(key_in(0), 2, "")).await;
    met.is_met(&bed, &running, began, 1).await;
    drop(others);
    bed.until_applied(2).await;
    running.stop().await.unwrap();
}

/// Connects until the server has no slot left for ordinary roles.
async fn take_all_slots(bed: &Bed) -> Vec<PgConnection> {
    let options: PgConnectOptions = bed.url().parse().unwrap();
    let mut connections = Vec::new();
    loop {
        match options.connect().await {
            Ok(connection) => connections.push(connection),
            Err(error) => {
                assert_eq!(error.as_database_error().unwrap().code().unwrap(), "53300");
                return connections;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_is_slow_to_come_back_costs_no_event() {
    let mut bed = bed_on(server::builder(), "").await;
    let running = engine::start(Scripted::new(), visible(bed.settings())).unwrap();
    let keys = [0, 1, 2, 3].map(key_in);
    let records: Vec<RawRecord> = (0..400)
        .map(|number| event(keys[number % 4], i64::try_from(number).unwrap(), ""))
        .collect();
    let ids: Vec<_> = records.iter().map(RawRecord::id).collect();
    let (before, after) = records.split_at(200);
    bed.send_all(before.to_vec()).await;
    bed.until("SELECT least(count(*), 1) FROM applied", 1).await;

    bed.own_server().stop(StopMode::Immediate).await.unwrap();
    bed.send_all(after.to_vec()).await;
    until_waiting(&running, "postgres", "refused").await;
    // A standby without queries lets nobody in (57P03) until it is promoted.
    let data = data(&bed);
    std::fs::write(data.join("standby.signal"), "").unwrap();
    std::fs::write(data.join("postgresql.auto.conf"), "hot_standby = off\n").unwrap();
    let promoted = async {
        let waiting = until_waiting(&running, "postgres", "(SQLSTATE 57P03)").await;
        promote(&data);
        waiting
    };
    let (started, _) = tokio::join!(bed.own_server().start_again(), promoted);
    started.unwrap();

    bed.until_caught_up().await;
    bed.assert_applied(ids).await;
    bed.assert_order_within_keys().await;
    until_nothing_waits(&running).await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
    running.stop().await.unwrap();
}

fn promote(data: &std::path::Path) {
    std::fs::write(data.join("promote"), "").unwrap();
    let postmaster = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = postmaster.lines().next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-USR1", pid])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_waited_out() {
    let mut bed = bed_on(
        server::builder(),
        "CREATE TABLE pages (n integer); INSERT INTO pages VALUES (1);",
    )
    .await;
    let file: String = sqlx::query_scalar("SELECT pg_relation_filepath('pages')")
        .fetch_one(&bed.pool)
        .await
        .unwrap();
    let file = data(&bed).join(file);
    bed.own_server().stop(StopMode::Fast).await.unwrap();
    let intact = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0xff; intact.len()]).unwrap();
    bed.own_server().start_again().await.unwrap();

    let running = engine::start(
        Scripted::new().on("read", "SELECT * FROM pages"),
        visible(bed.settings()),
    )
    .unwrap();
    let began = chrono::Utc::now();
    bed.send(event(key_in(0), 1, "read")).await;
    let outage = Outage {
        sqlstate: "XX001",
        word: "read",
        begin: "",
        end: "",
    };
    outage.is_met(&bed, &running, began, 0).await;
    bed.own_server().stop(StopMode::Fast).await.unwrap();
    std::fs::write(&file, intact).unwrap();
    bed.own_server().start_again().await.unwrap();
    bed.until_applied(1).await;
    running.stop().await.unwrap();
}
