//! The inbox.

use databases::Service;

use crate::fixture::{Fixture, execute, midnight_ms, refusal, texts, v7, value};

#[tokio::test]
async fn an_id_is_taken_once_whatever_partition_it_falls_into() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    let now = midnight_ms(&mut worker).await;
    let ids = [v7(now, 1), v7(0, 2), v7(now * 2, 3), uuid::Uuid::new_v4()];

    for id in ids {
        let insert = format!(
            "WITH new AS (INSERT INTO engine.inbox (event_id, content_hash, event_type) VALUES ('{id}', 1, 'X')
                          ON CONFLICT DO NOTHING RETURNING event_id)
             SELECT count(*) FROM new"
        );
        assert_eq!(value::<i64>(&mut worker, insert.clone()).await, 1, "{id}");
        assert_eq!(value::<i64>(&mut worker, insert).await, 0, "{id}");
        let again = format!("INSERT INTO engine.inbox VALUES ('{id}', 1, 'X')");
        assert_eq!(refusal(&mut worker, again).await, "23505");
    }
}

#[tokio::test]
async fn a_bounded_probe_visits_only_the_days_it_names() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;
    let now = midnight_ms(&mut worker).await;
    let (first, last) = (v7(now, 1), v7(now, 9));

    let plan = texts(
        &mut worker,
        format!(
            "EXPLAIN SELECT event_id FROM engine.inbox
             WHERE event_id = ANY ('{{{first},{last}}}') AND event_id BETWEEN '{first}' AND '{last}'"
        ),
    )
    .await
    .join("\n");

    assert_eq!(plan.matches(" on inbox_").count(), 1, "{plan}");
}

#[tokio::test]
async fn a_second_group_has_an_inbox_of_the_same_shape_days_and_privileges() {
    let fixture = Fixture::migrated(&[Service::Analytics]).await;
    let mut owner = fixture.owner(Service::Analytics).await;
    let mut worker = fixture
        .role(Service::Analytics.role(), Service::Analytics)
        .await;

    execute(&mut owner, "SELECT engine.create_inbox('inbox_of_rebuild')").await;
    execute(&mut owner, "SELECT engine.create_inbox('inbox_of_rebuild')").await;

    execute(
        &mut worker,
        "INSERT INTO engine.inbox_of_rebuild VALUES (engine.uuid_v7(), 1, 'X')",
    )
    .await;
    assert_eq!(
        refusal(&mut worker, "DELETE FROM engine.inbox_of_rebuild").await,
        "42501"
    );
    assert_eq!(
        refusal(&mut worker, "DELETE FROM engine.inbox_of_rebuild_above").await,
        "42501"
    );
    let columns = |table: &str| {
        format!(
            "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                              col_description(attrelid, attnum))
             FROM pg_attribute WHERE attrelid = 'engine.{table}'::regclass AND attnum > 0 ORDER BY attnum"
        )
    };
    let same = [
        texts(&mut owner, columns("inbox")).await,
        texts(&mut owner, columns("inbox_of_rebuild")).await,
    ];
    assert_eq!(same[0], same[1]);
    let spans = texts(
        &mut owner,
        "SELECT DISTINCT engine.day_partition_span(parent)::text FROM engine.day_partitioned_tables",
    )
    .await;
    assert_eq!(spans.len(), 1, "{spans:?}");
}
