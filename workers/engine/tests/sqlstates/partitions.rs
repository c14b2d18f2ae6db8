//! 23514 without a constraint: a row that no partition takes, which no event is to blame for.

use crate::outage::{Outage, visible};
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, key_in, until_reading};

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_whose_partitions_were_taken_away_is_waited_for() {
    let bed = Bed::start().await;
    let running = engine::start(Scripted::new(), visible(bed.settings())).unwrap();
    until_reading(&running, 4).await;
    let today = chrono::Utc::now()
        .format("engine.inbox_d%Y%m%d")
        .to_string();
    let bounds = "FOR VALUES FROM (engine.uuid_v7_floor(current_date)) \
                  TO (engine.uuid_v7_floor(current_date + 1))";
    let outage = Outage {
        sqlstate: "23514",
        word: "",
        begin: &format!("ALTER TABLE engine.inbox DETACH PARTITION {today}"),
        end: &format!("ALTER TABLE engine.inbox ATTACH PARTITION {today} {bounds}"),
    };
    outage.is_waited_out(&bed, &running).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_a_trigger_makes_is_a_check_of_the_data() {
    let bed = Bed::with(
        "CREATE TABLE checked (id integer);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END$$;
         CREATE TRIGGER refuse BEFORE INSERT ON checked FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .await;
    let running = bed.run(Scripted::new().on("refused", "INSERT INTO checked VALUES (1)"));
    bed.send(event(key_in(0), 1, "")).await;
    bed.send(event(key_in(0), 1, "refused")).await;
    bed.send(event(key_in(0), 1, "")).await;
    bed.until_caught_up().await;
    bed.until_applied(2).await;
    let reason = "SELECT count(*) FROM engine.dead_letters WHERE reason LIKE '%not this one%(SQLSTATE 23514)%'";
    assert_eq!(bed.count(reason).await, 1);
    running.stop().await.unwrap();
}
