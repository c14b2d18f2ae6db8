//! Brokers that go away, answer with errors, or answer slowly.

use crate::fleet::{Traffic, assert_settled, bed, member, quick, reads, stop_all, until_shared};
use crate::support::scripted::Scripted;
use crate::support::{Bed, event, eventually, key_in, until_reading};
use engine::RunError;
use std::time::{Duration, Instant};
use testkit::{ApiKey, MockCoordinator, ResponseError};

const GROUP: &str = "learnexpert.scripted";

/// Two members work; something happens to the cluster, and after it they still work.
async fn survives(brokers: u16, fault: impl AsyncFnOnce(&Bed)) {
    let bed = bed(brokers).await;
    let traffic = Traffic::start(&bed);
    let (first, second) = (member(&bed), member(&bed));
    until_shared(&[&first, &second], 2).await;
    fault(&bed).await;
    // What was sent after the fault has come through, too.
    let position = bed
        .count("SELECT sum(next_offset)::bigint FROM engine.partition_position")
        .await;
    let further = format!(
        "SELECT (sum(next_offset) > {position} + 50)::int::bigint FROM engine.partition_position"
    );
    bed.until(&further, 1).await;
    assert_settled(&bed, &[&first, &second], traffic.stop().await).await;
    stop_all(vec![first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_away_and_come_back_cost_no_event() {
    survives(3, async |bed| {
        for broker in [Some(1), Some(2), None] {
            bed.kafka().broker_down(broker).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            bed.kafka().broker_up(broker).unwrap();
        }
        // Longer than a session: everybody is put out of the group.
        bed.kafka().broker_down(None).unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        bed.kafka().broker_up(None).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_answered_with_errors_are_repeated() {
    use ResponseError as Error;
    survives(1, async |bed| {
        for (requests, errors) in [
            (
                ApiKey::Fetch,
                [
                    Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (ApiKey::Fetch, [Error::RD_KAFKA_RESP_ERR__TRANSPORT; 2]),
            (
                ApiKey::OffsetCommit,
                [
                    Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (
                ApiKey::Heartbeat,
                [
                    Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                ],
            ),
            (
                ApiKey::JoinGroup,
                [
                    Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                ],
            ),
            (
                ApiKey::SyncGroup,
                [
                    Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                    Error::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                ],
            ),
            (
                ApiKey::OffsetFetch,
                [
                    Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (
                ApiKey::ListOffsets,
                [
                    Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                    Error::RD_KAFKA_RESP_ERR_UNKNOWN,
                ],
            ),
            (
                ApiKey::FindCoordinator,
                [
                    Error::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                    Error::RD_KAFKA_RESP_ERR__TRANSPORT,
                ],
            ),
        ] {
            bed.kafka().request_errors(requests, &errors).unwrap();
        }
        // A third member makes the group ask everything once more.
        let third = member(bed);
        eventually("the third member reads something", || reads(&third) > 0).await;
        third.stop().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_take_a_while_are_waited_for() {
    survives(1, async |bed| {
        bed.kafka()
            .round_trip_time(None, Duration::from_millis(200))
            .unwrap();
        let third = member(bed);
        eventually("the third member reads something", || reads(&third) > 0).await;
        third.stop().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_is_followed() {
    survives(3, async |bed| {
        for broker in [2, 3, 1] {
            bed.kafka()
                .coordinator(MockCoordinator::Group(GROUP.to_owned()), broker)
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_time_though_the_brokers_are_away() {
    let bed = bed(1).await;
    let running = member(&bed);
    until_reading(&running, 4).await;
    bed.send(event(key_in(0), 1, "")).await;
    bed.until_applied(1).await;
    bed.kafka().broker_down(None).unwrap();
    let began = Instant::now();
    running.stop().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_identity_another_one_has_taken_fails_so_that_it_is_restarted() {
    let bed = bed(1).await;
    let mut settings = quick(&bed);
    settings.instance_id = Some("scripted-0".to_owned());
    let mut running = engine::start(Scripted::new(), settings).unwrap();
    until_reading(&running, 4).await;
    let fenced = ResponseError::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
    bed.kafka()
        .request_errors(ApiKey::Heartbeat, &[fenced; 3])
        .unwrap();
    let failed = tokio::time::timeout(Duration::from_secs(30), running.failed())
        .await
        .unwrap();
    assert!(matches!(failed, RunError::Consumer(_)), "{failed}");
    running.stop().await.unwrap_err();
}
