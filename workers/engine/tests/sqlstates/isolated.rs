//! Classes 22 and 23: the event's own data is at fault.

use crate::support::scripted::Scripted;
use crate::support::{Bed, RawRecord, event, key_in};
use std::collections::BTreeMap;
use uuid::Uuid;

const CONSTRAINED: &str = "
    CREATE TABLE strict (
      three varchar(3), small smallint, day date, id uuid, data jsonb,
      positive integer NOT NULL CHECK (positive > 0)
    );
    CREATE TABLE parents (id integer PRIMARY KEY);
    CREATE TABLE children (parent integer REFERENCES parents);
    CREATE TABLE late_children (parent integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE names (name text PRIMARY KEY);
    INSERT INTO names VALUES ('taken');
    CREATE TABLE bookings (during int4range, EXCLUDE USING gist (during WITH &&));
    INSERT INTO bookings VALUES ('[1,10]');";

/// What is wrong, the SQLSTATE that PostgreSQL gives it, and the statement.
const BAD_DATA: [(&str, &str, &str); 13] = [
    (
        "too long",
        "22001",
        "INSERT INTO strict (positive, three) VALUES (1, 'four')",
    ),
    (
        "out of range",
        "22003",
        "INSERT INTO strict (positive, small) VALUES (1, 40000)",
    ),
    (
        "no such day",
        "22008",
        "INSERT INTO strict (positive, day) VALUES (1, '2026-02-30')",
    ),
    (
        "divided by zero",
        "22012",
        "UPDATE names SET name = (1 / length('')) :: text",
    ),
    (
        "no uuid",
        "22P02",
        "INSERT INTO strict (positive, id) VALUES (1, 'abc')",
    ),
    (
        "NUL in JSON",
        "22P05",
        r#"INSERT INTO strict (positive, data) VALUES (1, '{"a": "\u0000"}')"#,
    ),
    (
        "nothing",
        "23502",
        "INSERT INTO strict (positive) VALUES (NULL)",
    ),
    ("no parent", "23503", "INSERT INTO children VALUES (99)"),
    (
        "no parent at the commit",
        "23503",
        "INSERT INTO late_children VALUES (99)",
    ),
    ("name taken", "23505", "INSERT INTO names VALUES ('taken')"),
    (
        "negative",
        "23514",
        "INSERT INTO strict (positive) VALUES (-1)",
    ),
    ("overlap", "23P01", "INSERT INTO bookings VALUES ('[5,6]')"),
    // The word itself, which every event writes to a text column.
    ("NUL \0 in text", "22021", "SELECT"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_an_events_data_causes_is_dead_lettered_and_the_rest_of_the_batch_applies() {
    let bed = Bed::with(CONSTRAINED).await;
    let mut good = Vec::new();
    let mut bad: BTreeMap<(i32, i64), (RawRecord, &str)> = BTreeMap::new();
    for number in 0..390 {
        let record = event(key_in(number % 4), 1, "");
        good.push(record.id());
        bed.send(record).await;
        // Good events on either side of each bad one.
        if number % 30 == 15 {
            let (word, sqlstate, _) = BAD_DATA[usize::try_from(number / 30).unwrap()];
            let record = event(key_in(number % 4), 1, word);
            bad.insert(bed.send(record.clone()).await, (record, sqlstate));
        }
    }
    let worker = BAD_DATA
        .into_iter()
        .fold(Scripted::new(), |worker, (word, _, sql)| {
            worker.on(word, sql)
        });
    let running = bed.run(worker);
    bed.until_caught_up().await;

    bed.assert_applied(good).await;
    let entries = bed.dead_letters(bad.len()).await;
    for (origin, (sent, sqlstate)) in &bad {
        assert_entry(&entries[origin], sent, *origin, sqlstate);
        assert_row(&bed, *origin, sqlstate).await;
    }
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        13
    );
    let counts = running.board().snapshot().events;
    assert_eq!((counts.applied, counts.dead_lettered), (390, 13));
    running.stop().await.unwrap();
}

/// The dead letter topic has the original bytes, and says where they came from and why.
fn assert_entry(
    entry: &RawRecord,
    sent: &RawRecord,
    (partition, offset): (i32, i64),
    sqlstate: &str,
) {
    assert_eq!((&entry.key, &entry.value), (&sent.key, &sent.value));
    assert_eq!(entry.headers[..sent.headers.len()], sent.headers);
    let header = |name: &str| entry.header(name).unwrap().to_owned();
    assert_eq!(header("dlq_group"), "learnexpert.scripted");
    assert_eq!(header("dlq_topic"), "progress.learning");
    assert_eq!(header("dlq_partition"), partition.to_string());
    assert_eq!(header("dlq_offset"), offset.to_string());
    assert_eq!(header("dlq_kind"), "sql_data");
    assert!(
        header("dlq_reason").contains(&format!("(SQLSTATE {sqlstate})")),
        "{}",
        header("dlq_reason")
    );
    assert!(header("dlq_timestamp_ms").parse::<i64>().unwrap() > 0);
    Uuid::try_parse(&header("dlq_topic_id")).unwrap();
}

async fn assert_row(bed: &Bed, (partition, offset): (i32, i64), sqlstate: &str) {
    let row = format!(
        "SELECT count(*) FROM engine.dead_letters
         WHERE partition = {partition} AND record_offset = {offset} AND state = 'dead' AND kind = 'sql_data'
           AND reason LIKE '%(SQLSTATE {sqlstate})%' AND event_type = 'COURSE_FOLLOWED' AND event_id IS NOT NULL
           AND dlq_topic = 'learnexpert.scripted.dlq' AND dlq_offset IS NOT NULL AND attempts = 1"
    );
    assert_eq!(
        bed.count(&row).await,
        1,
        "no such row: {sqlstate} at {partition}:{offset}"
    );
}
