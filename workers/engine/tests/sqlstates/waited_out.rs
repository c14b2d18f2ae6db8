//! Faults of the database's own: what is missing, forbidden, full, too complex or broken.

use crate::outage::{Outage, visible};
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, key_in, until_nothing_waits, until_reading, until_waiting};

const EFFECTS: &str = "
    CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, note text DEFAULT '');
    CREATE TABLE lookup (id integer);
    INSERT INTO lookup VALUES (1);
    CREATE FUNCTION effect() RETURNS void LANGUAGE sql AS '';";
/// The faulty function is mended.
const MENDED: &str = "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE sql AS '';";

fn worker() -> Scripted {
    Scripted::new()
        .on("insert", "INSERT INTO effects (note) VALUES ('an effect')")
        .on("call", "SELECT effect()")
        .on("look up", "SELECT * FROM lookup")
}

async fn bed() -> Bed {
    Bed::with(EFFECTS).await
}

async fn waits_out(outages: &[Outage<'_>]) {
    let bed = bed().await;
    let running = engine::start(worker(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;
    for outage in outages {
        outage.is_waited_out(&bed, &running).await;
    }
    bed.until_caught_up().await;
    running.stop().await.unwrap();
}

/// The event calls a function that fails until it is mended.
fn faulty<'o>(sqlstate: &'o str, function: &'o str) -> Outage<'o> {
    Outage {
        sqlstate,
        word: "call",
        begin: function,
        end: MENDED,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_forbidden_is_waited_for() {
    let bed = bed().await;
    let role = &bed.database.role;
    let (revoke, grant) = (
        format!("REVOKE INSERT ON effects FROM {role}"),
        format!("GRANT INSERT ON effects TO {role}"),
    );
    let running = engine::start(worker(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;
    let insert = |sqlstate, begin, end| Outage {
        sqlstate,
        word: "insert",
        begin,
        end,
    };
    for outage in [
        insert(
            "42P01",
            "DROP TABLE effects",
            "CREATE TABLE effects (note text)",
        ),
        insert(
            "42703",
            "ALTER TABLE effects DROP note",
            "ALTER TABLE effects ADD note text",
        ),
        insert("42501", &revoke, &grant),
        Outage {
            sqlstate: "42883",
            word: "call",
            begin: "DROP FUNCTION effect()",
            end: MENDED,
        },
    ] {
        outage.is_waited_out(&bed, &running).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_reached_is_waited_out() {
    waits_out(&[
        // A write that the file system has no room for.
        faulty(
            "53100",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
             $$BEGIN COPY (SELECT repeat('x', 10000)) TO '/dev/full'; END$$",
        ),
        faulty(
            "53400",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             SET temp_file_limit = '64kB' SET work_mem = '64kB' AS
             $$BEGIN PERFORM count(*) FROM (SELECT n FROM generate_series(1, 100000) n ORDER BY n DESC OFFSET 1) many; END$$",
        ),
        Outage {
            sqlstate: "54000",
            word: "call",
            begin: "CREATE INDEX wide ON effects (note);
                    CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE sql AS
                    $$INSERT INTO effects (note) SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n$$",
            end: "DROP INDEX wide",
        },
        faulty(
            "54001",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM effect(); END$$",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_use_and_files_that_cannot_be_read_are_waited_out() {
    waits_out(&[
        faulty(
            "55006",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
             $$DECLARE found record; BEGIN
               FOR found IN SELECT * FROM lookup LOOP ALTER TABLE lookup ADD more text; END LOOP;
             END$$",
        ),
        faulty(
            "58P01",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
             $$BEGIN COPY effects (note) FROM '/nowhere/effects'; END$$",
        ),
        // Reading the own address space at zero is an input/output error.
        faulty(
            "58030",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
             $$BEGIN COPY effects (note) FROM '/proc/self/mem'; END$$",
        ),
        faulty(
            "P0001",
            "CREATE OR REPLACE FUNCTION effect() RETURNS void LANGUAGE plpgsql AS
             $$BEGIN RAISE EXCEPTION 'not on Mondays'; END$$",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_says_since_when_an_outage_is_waited_out() {
    let bed = bed().await;
    let running = engine::start(worker(), visible(bed.settings())).unwrap();
    bed.sql("DROP TABLE effects").await;
    bed.send(event(key_in(0), 1, "insert")).await;
    let first = until_waiting(&running, "postgres", "42P01").await;
    // The message follows the attempts, the time does not.
    bed.sql("CREATE TABLE effects (id integer)").await;
    let later = until_waiting(&running, "postgres", "42703").await;
    assert_eq!(later.since, first.since);
    bed.sql("ALTER TABLE effects ADD note text").await;
    bed.until_applied(1).await;
    until_nothing_waits(&running).await;
    running.board().ready().unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_was_prepared_before_its_table_changed_is_prepared_anew() {
    let bed = bed().await;
    let running = engine::start(worker(), visible(bed.settings())).unwrap();
    bed.send(event(key_in(0), 1, "look up")).await;
    bed.until_applied(1).await;
    // To the server the prepared statement is now an error (0A000), for as long as the session
    // lives.
    bed.sql("ALTER TABLE lookup ADD COLUMN name text").await;
    bed.send(event(key_in(0), 1, "look up")).await;
    bed.until_applied(2).await;
    running.stop().await.unwrap();
}
