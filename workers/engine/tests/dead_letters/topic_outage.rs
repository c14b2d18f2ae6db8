//! The dead letter topic does not take what it should: the lane waits, and skips nothing.

use crate::support::scripted::Scripted;
use crate::support::{Bed, DEAD_LETTERS, event, key_in, until_nothing_waits, until_waiting};
use engine::Running;
use testkit::{ApiKey, ResponseError};

/// A bad event and a good one behind it.
async fn bed_with_a_bad_event() -> Bed {
    let bed = Bed::start().await;
    let bad = event(key_in(0), 1, "plan rejects");
    bed.send_all([bad, event(key_in(0), 1, "")]).await;
    bed
}

/// The lane waits on Kafka with these words; nothing is skipped.
async fn waits(bed: &Bed, running: &Running, words: &str) {
    let waiting = until_waiting(running, "kafka", words).await;
    assert!(
        waiting.message.contains(DEAD_LETTERS),
        "{}",
        waiting.message
    );
    assert_eq!(bed.position(0).await, 0);
    assert_eq!(bed.count("SELECT count(*) FROM applied").await, 0);
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
}

async fn goes_on(bed: &Bed, running: &Running) {
    bed.until_caught_up().await;
    assert_eq!(bed.dead_letters(1).await.len(), 1);
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        1
    );
    assert_eq!(bed.count("SELECT count(*) FROM applied").await, 1);
    until_nothing_waits(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_dead_letter_topic_is_waited_for_and_the_command_that_creates_it_is_named() {
    let bed = bed_with_a_bad_event().await;
    let missing = ResponseError::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    bed.kafka().topic_error(DEAD_LETTERS, missing).unwrap();
    let running = bed.run(Scripted::new());
    waits(&bed, &running, "").await;
    let said = until_waiting(&running, "kafka", "").await.message;
    assert!(
        said.contains("create it with: fleet topics apply"),
        "{said}"
    );
    bed.kafka()
        .topic_error(DEAD_LETTERS, ResponseError::RD_KAFKA_RESP_ERR_NO_ERROR)
        .unwrap();
    goes_on(&bed, &running).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_a_dead_letter_is_asked_until_it_takes_it() {
    let bed = bed_with_a_bad_event().await;
    let refused = ResponseError::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    bed.kafka()
        .request_errors(ApiKey::Produce, &[refused; 1000])
        .unwrap();
    let running = bed.run(Scripted::new());
    waits(&bed, &running, "").await;
    bed.kafka().clear_request_errors(ApiKey::Produce).unwrap();
    goes_on(&bed, &running).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_was_forbidden_to_begin_begins_when_it_is_allowed_to() {
    let bed = bed_with_a_bad_event().await;
    let refused = ResponseError::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    bed.kafka()
        .request_errors(ApiKey::InitProducerId, &[refused; 3])
        .unwrap();
    bed.kafka()
        .request_errors(ApiKey::Produce, &[refused; 3])
        .unwrap();
    let running = bed.run(Scripted::new());
    goes_on(&bed, &running).await;
    running.stop().await.unwrap();
}
