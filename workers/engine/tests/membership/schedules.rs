//! Members join, leave and are killed while events flow.

use crate::fleet::{Traffic, assert_settled, bed, member, stop_all, until_shared};
use crate::support::until_reading;
use engine::Running;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_leave_and_are_killed_share_the_work_without_loss() {
    let bed = bed(1).await;
    let traffic = Traffic::start(&bed);
    let first = member(&bed);
    until_reading(&first, 4).await;
    let second = member(&bed);
    until_shared(&[&first, &second], 2).await;
    let (third, fourth) = (member(&bed), member(&bed));
    until_shared(&[&first, &second, &third, &fourth], 1).await;
    second.stop().await.unwrap();
    // Without a word to anybody, in the middle of whatever it does.
    drop(fourth);
    until_shared(&[&first, &third], 2).await;
    first.stop().await.unwrap();
    until_reading(&third, 4).await;
    assert_settled(&bed, &[&third], traffic.stop().await).await;
    third.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_thirty_joins_and_leaves_costs_no_event() {
    let bed = bed(1).await;
    let traffic = Traffic::start(&bed);
    // The schedule is random, but the same in every run.
    let mut random = StdRng::seed_from_u64(30);
    let mut members: Vec<Running> = vec![member(&bed)];
    let mut leaving = Vec::new();
    for _ in 0..30 {
        let joins = members.len() < 2 || (members.len() < 4 && random.random_bool(0.5));
        if joins {
            members.push(member(&bed));
        } else {
            let leaver = members.swap_remove(random.random_range(0..members.len()));
            match random.random_bool(0.5) {
                true => leaving.push(tokio::spawn(leaver.stop())),
                false => drop(leaver),
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..2500))).await;
    }
    for left in leaving {
        left.await.unwrap().unwrap();
    }
    let sent = traffic.stop().await;
    assert_settled(&bed, &members.iter().collect::<Vec<_>>(), sent).await;
    stop_all(members).await;
}
