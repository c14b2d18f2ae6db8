//! Bad events are found, and the others applied.

use crate::support::records::{raw_with_header, schema_id};
use crate::support::scripted::Scripted;
use crate::support::{Bed, RawRecord, event, key_in};
use events::EventType;
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is done to a good record, the kind of dead letter that it becomes, and what the reason says.
type Case = (fn(RawRecord) -> RawRecord, &'static str, &'static str);

const CASES: [Case; 13] = [
    (
        |r| with_value(r, |value| value.truncate(20)),
        "undecodable",
        "does not fit its writer's schema",
    ),
    (
        |r| with_value(r, |value| value.push(0)),
        "undecodable",
        "1 bytes are left",
    ),
    (
        |r| with_value(r, |value| value[0] = 1),
        "undecodable",
        "magic",
    ),
    (
        |r| with_value(r, |value| value.truncate(3)),
        "undecodable",
        "",
    ),
    (|r| with_value(r, Vec::clear), "undecodable", ""),
    (|r| RawRecord { value: None, ..r }, "undecodable", ""),
    (
        |r| r.without_header("ce_id"),
        "contract_violation",
        "ce_id is missing",
    ),
    (
        |r| r.without_header("ce_type"),
        "contract_violation",
        "ce_type is missing",
    ),
    (
        |r| r.set_header("ce_time", "yesterday"),
        "contract_violation",
        "ce_time is \"yesterday\"",
    ),
    (
        |r| RawRecord {
            key: Some(b"user 7".to_vec()),
            ..r
        },
        "contract_violation",
        "the record's key is \"user 7\"",
    ),
    (
        |r| RawRecord { key: None, ..r },
        "contract_violation",
        "the record's key is \"missing\"",
    ),
    (
        |r| r.with_schema_id(schema_id(EventType::UserRegistered)),
        "contract_violation",
        "written with the schema of com.learnexpert.iam.UserRegistered",
    ),
    (
        |r| r.with_schema_id(schema_id(EventType::CourseUnfollowed)),
        "contract_violation",
        "written with the schema of com.learnexpert.progress.CourseUnfollowed",
    ),
];

fn with_value(mut record: RawRecord, change: fn(&mut Vec<u8>)) -> RawRecord {
    change(record.value.as_mut().unwrap());
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_breaks_the_contract_is_dead_lettered_with_its_bytes() {
    let bed = Bed::start().await;
    let mut good = Vec::new();
    let mut bad: BTreeMap<(i32, i64), (RawRecord, Case)> = BTreeMap::new();
    for (partition, case) in (0..4).cycle().zip(CASES) {
        let before = event(key_in(partition), 1, "");
        let broken = case.0(event(key_in(partition), 1, ""));
        let after = event(key_in(partition), 1, "");
        good.extend([before.id(), after.id()]);
        bed.send_raw(partition, before).await;
        bad.insert(
            bed.send_raw(partition, broken.clone()).await,
            (broken, case),
        );
        bed.send_raw(partition, after).await;
    }
    let running = bed.run(Scripted::new());
    bed.until_caught_up().await;
    bed.assert_applied(good).await;
    let entries = bed.dead_letters(bad.len()).await;
    for ((partition, offset), (sent, (_, kind, reason))) in bad {
        let entry = &entries[&(partition, offset)];
        assert_eq!((&entry.key, &entry.value), (&sent.key, &sent.value));
        assert_eq!(entry.headers[..sent.headers.len()], sent.headers);
        assert_eq!(entry.header("dlq_kind"), Some(kind));
        let said = entry.header("dlq_reason").unwrap();
        assert!(said.contains(reason), "{said:?} does not say {reason:?}");
        let row = format!(
            "SELECT count(*) FROM engine.dead_letters
             WHERE partition = {partition} AND record_offset = {offset} AND kind = '{kind}' AND state = 'dead'"
        );
        assert_eq!(bed.count(&row).await, 1, "{said}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_worker_rejects_or_panics_over_is_dead_lettered() {
    let bed = Bed::start().await;
    let cases = [
        ("plan rejects", "nobody can follow this"),
        ("plan panics", "the worker panicked while planning"),
        ("apply rejects", "it contradicts what is there"),
    ];
    let mut good = Vec::new();
    for (word, _) in cases {
        for word in ["", word, ""] {
            let record = event(key_in(0), 1, word);
            good.extend(word.is_empty().then(|| record.id()));
            bed.send(record).await;
        }
    }
    let running = bed.run(Scripted::new());
    bed.until_caught_up().await;
    bed.assert_applied(good).await;
    for (_, reason) in cases {
        let row = format!(
            "SELECT count(*) FROM engine.dead_letters WHERE kind = 'rejected' AND reason = '{reason}'"
        );
        assert_eq!(bed.count(&row).await, 1, "{reason}");
    }
    bed.dead_letters(3).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_bad_events_in_a_batch_of_hundreds_are_found_and_exactly_the_rest_is_applied() {
    let bed = Bed::start().await;
    let keys: Vec<Uuid> = (0..20).map(|_| key_in(2)).collect();
    let mut good = Vec::new();
    for number in 0..450_usize {
        let word = if [0, 77, 78, 200, 311, 448, 449].contains(&number) {
            "bad"
        } else {
            ""
        };
        let record = event(keys[number % 20], i64::try_from(number).unwrap(), word);
        good.extend(word.is_empty().then(|| record.id()));
        bed.send(record).await;
    }
    let running = bed.run(Scripted::in_any_order().on("bad", "SELECT 1 / length('')"));
    bed.until_caught_up().await;
    assert_eq!(bed.applied().await, good, "one partition is one order");
    bed.assert_order_within_keys().await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        7
    );
    assert_eq!(bed.count("SELECT count(*) FROM engine.inbox").await, 443);
    assert_eq!(bed.dead_letters(7).await.len(), 7);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_not_text_harms_nobody() {
    let bed = Bed::start().await;
    let running = bed.run(Scripted::new());
    let (before, odd, after) = (
        event(key_in(0), 1, ""),
        event(key_in(0), 2, ""),
        event(key_in(0), 3, ""),
    );
    let ids = [before.id(), odd.id(), after.id()];
    bed.send(before).await;
    raw_with_header(bed.kafka().bootstrap(), 0, &odd, c"\xff\xfe");
    bed.send(after).await;
    bed.until_caught_up().await;
    bed.assert_applied(ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_repeated_type_header_the_last_one_counts() {
    let bed = Bed::start().await;
    let mut record = event(key_in(0), 1, "");
    record
        .headers
        .insert(0, ("ce_type".to_owned(), b"COURSE_COMPLETED".to_vec()));
    let mut skipped = event(key_in(0), 2, "");
    skipped
        .headers
        .push(("ce_type".to_owned(), b"COURSE_COMPLETED".to_vec()));
    let id = record.id();
    bed.send_all([record, skipped]).await;
    let running = bed.run(Scripted::new());
    bed.until_caught_up().await;
    bed.assert_applied([id]).await;
    let counts = running.board().snapshot().events;
    assert_eq!(
        (counts.applied, counts.skipped, counts.dead_lettered),
        (1, 1, 0)
    );
    running.stop().await.unwrap();
}
