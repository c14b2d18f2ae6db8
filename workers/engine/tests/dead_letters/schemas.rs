//! A schema id that the registry does not know: perhaps not yet.

use crate::support::scripted::Scripted;
use crate::support::{Bed, event, key_in, until_nothing_waits, until_waiting};
use events::wire::SchemaId;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_schema_is_waited_for_while_other_partitions_go_on_and_then_dead_lettered() {
    let bed = Bed::start().await;
    let unknown = event(key_in(0), 1, "").with_schema_id(SchemaId(9999));
    let (before, behind) = (event(key_in(0), 1, ""), event(key_in(0), 1, ""));
    let mut settings = bed.settings();
    settings.unknown_schema_wait = Duration::from_secs(6);
    bed.send_all([before.clone(), unknown.clone(), behind.clone()])
        .await;
    let running = engine::start(Scripted::new(), settings).unwrap();

    let words = "does not know schema 9999 yet";
    let waiting = until_waiting(&running, "schema", words).await;
    // Partition 2 is in the same lane, partition 1 in another.
    let others = [event(key_in(1), 1, ""), event(key_in(2), 1, "")];
    bed.send_all(others.clone()).await;
    bed.until_applied(3).await;
    assert_eq!(
        bed.position(0).await,
        1,
        "what came before it is applied, what comes after it waits"
    );
    // It is tried every two seconds; all the while it is the same wait.
    bed.until(
        "SELECT (max(epoch) >= 3)::int::bigint FROM engine.partition_fence WHERE partition = 0",
        1,
    )
    .await;
    let again = until_waiting(&running, "schema", words).await;
    assert_eq!(again.since, waiting.since);
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );

    bed.until_caught_up().await;
    let others = others.iter().map(|record| record.id());
    bed.assert_applied([before.id(), behind.id()].into_iter().chain(others))
        .await;
    let entries = bed.dead_letters(1).await;
    let entry = &entries[&(0, 1)];
    assert_eq!((&entry.key, &entry.value), (&unknown.key, &unknown.value));
    assert_eq!(entry.header("dlq_kind"), Some("unknown_schema"));
    assert!(
        entry
            .header("dlq_reason")
            .unwrap()
            .contains("does not know schema 9999, asked for 6 s")
    );
    until_nothing_waits(&running).await;
    running.stop().await.unwrap();
}
