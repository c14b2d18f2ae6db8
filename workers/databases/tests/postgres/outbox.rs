//! The outbox.

use std::time::Duration;

use databases::{Role, Service};
use sqlx::postgres::PgListener;

use crate::fixture::{Fixture, execute, texts, value};

const ROW: &str = "INSERT INTO outbox_events (type, key, subject, payload) VALUES";

#[tokio::test]
async fn a_committed_row_wakes_the_relay() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let address = fixture.url_as(Role::Relay.name(), Service::Analytics);
    let mut relay = PgListener::connect(&address).await.unwrap();
    relay.listen("outbox_events").await.unwrap();

    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    execute(
        &mut worker,
        format!("{ROW} ('A', 'k', 's', '{{}}'), ('B', 'k', 's', '{{}}')"),
    )
    .await;

    let woken = tokio::time::timeout(Duration::from_secs(10), relay.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(woken.channel(), "outbox_events");
}

#[tokio::test]
async fn rows_are_ordered_by_when_they_were_written_not_by_when_their_transaction_began() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut early = fixture.owner(Service::Analytics).await;
    let mut late = fixture.owner(Service::Analytics).await;

    execute(&mut early, "BEGIN; SELECT FROM outbox_events").await;
    execute(&mut late, format!("{ROW} ('FIRST', 'k', 's', '{{}}')")).await;
    execute(
        &mut early,
        format!("{ROW} ('SECOND', 'k', 's', '{{}}'); COMMIT"),
    )
    .await;

    let order = texts(
        &mut late,
        "SELECT type FROM outbox_events ORDER BY position",
    )
    .await;
    let by_time = texts(
        &mut late,
        "SELECT type FROM outbox_events ORDER BY created_at",
    )
    .await;
    assert_eq!(order, ["FIRST", "SECOND"]);
    assert_eq!(by_time, ["SECOND", "FIRST"]);
}

#[tokio::test]
async fn ids_made_by_the_database_are_version_7_of_now() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut owner = fixture.owner(Service::Analytics).await;

    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT engine.uuid_v7() FROM generate_series(1, 1000)")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    let now: i64 = value(
        &mut owner,
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    )
    .await;

    for id in &ids {
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let age = now - i64::try_from(seconds * 1000 + u64::from(nanos) / 1_000_000).unwrap();
        assert_eq!(
            (id.get_version_num(), id.get_variant()),
            (7, uuid::Variant::RFC4122)
        );
        assert!((-1..10_000).contains(&age), "{id}: {age} ms");
    }
}
