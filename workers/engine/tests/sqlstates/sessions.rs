//! Faults that meet a session when it begins: login, limits, modes.

use crate::outage::{Outage, visible};
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, key_in, until_nothing_waits, until_reading, until_waiting};
use futures::future::join_all;

/// Statements for this test's own role and database; the sessions that exist are ended, as in a
/// failover.
fn faults(bed: &Bed) -> [(&'static str, String, String); 4] {
    let (role, database) = (&bed.database.role, &bed.database.name);
    [
        (
            "28000",
            format!("ALTER ROLE {role} NOLOGIN"),
            format!("ALTER ROLE {role} LOGIN"),
        ),
        (
            "53300",
            format!("ALTER ROLE {role} CONNECTION LIMIT 0"),
            format!("ALTER ROLE {role} CONNECTION LIMIT -1"),
        ),
        (
            "42501",
            format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, {role}"),
            format!("GRANT CONNECT ON DATABASE {database} TO {role}"),
        ),
        (
            "25006",
            format!("ALTER DATABASE {database} SET default_transaction_read_only = on"),
            format!("ALTER DATABASE {database} RESET default_transaction_read_only"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_waits_until_it_may_connect_and_write_again() {
    let bed = Bed::start().await;
    let running = engine::start(Scripted::new(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;
    let role = &bed.database.role;
    for (sqlstate, begin, end) in faults(&bed) {
        let begin = format!(
            "{begin}; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        );
        let outage = Outage {
            sqlstate,
            word: "",
            begin: &begin,
            end: &end,
        };
        outage.is_waited_out(&bed, &running).await;
    }
    bed.until_caught_up().await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_until_it_may_connect_and_write() {
    // A bed for each fault, at the same time: joining a group takes seconds.
    let beds = join_all((0..4).map(|_| Bed::start())).await;
    join_all(beds.iter().enumerate().map(|(index, bed)| async move {
        let (sqlstate, begin, end) = &faults(bed)[index];
        bed.send(event(key_in(0), 1, "")).await;
        bed.sql(begin).await;
        let running = engine::start(Scripted::new(), visible(bed.settings())).unwrap();
        until_waiting(&running, "postgres", &format!("(SQLSTATE {sqlstate})")).await;
        bed.sql(end).await;
        until_reading(&running, 4).await;
        bed.until_applied(1).await;
        until_nothing_waits(&running).await;
        running.stop().await.unwrap();
    }))
    .await;
}
