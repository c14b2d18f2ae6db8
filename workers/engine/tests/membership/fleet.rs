//! Several members of one group, and traffic for them.

use crate::support::scripted::Scripted;
use crate::support::{Bed, Broker, PARTITIONS, event, eventually, server, waits};
use engine::status::Phase;
use engine::{Running, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::MockKafka;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A cluster of several brokers.
pub async fn bed(brokers: u16) -> Arc<Bed> {
    let kafka = MockKafka::start(brokers).unwrap();
    Arc::new(Bed::on(server::shared().await, Broker::Mock(kafka), "").await)
}

/// A rebalance of the mock cluster takes a second less than a session may be silent; the first one
/// of a group takes three.
pub fn quick(bed: &Bed) -> Settings {
    let mut settings = bed.settings();
    settings.session_timeout = Duration::from_secs(4);
    settings
}

pub fn member(bed: &Bed) -> Running {
    // One event in sixty makes its member slow.
    engine::start(
        Scripted::new().on("slow", "SELECT pg_sleep(0.2)"),
        quick(bed),
    )
    .unwrap()
}

/// Sends numbered events of thirty keys until it is told to stop.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sending: JoinHandle<Vec<Uuid>>,
}

impl Traffic {
    pub fn start(bed: &Arc<Bed>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (bed, stopped) = (Arc::clone(bed), Arc::clone(&stop));
        let sending = tokio::spawn(async move {
            let keys: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
            let mut sent = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let number = sent.len();
                let word = if number % 60 == 59 { "slow" } else { "" };
                let record = event(keys[number % 30], i64::try_from(number).unwrap(), word);
                sent.push(record.id());
                bed.send(record).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            sent
        });
        Self { stop, sending }
    }

    /// Ends the traffic; says which events were sent.
    pub async fn stop(self) -> Vec<Uuid> {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.await.unwrap()
    }
}

/// How many partitions a member reads.
pub fn reads(member: &Running) -> usize {
    let snapshot = member.board().snapshot();
    snapshot
        .partitions
        .values()
        .filter(|partition| partition.phase == Phase::Running)
        .count()
}

/// Waits until the members share the partitions: each reads so many.
pub async fn until_shared(members: &[&Running], partitions: usize) {
    eventually(
        &format!("each member reads {partitions} partitions"),
        || members.iter().all(|member| reads(member) == partitions),
    )
    .await;
}

/// Everything that was sent is applied, once and in order; every partition is read by one member
/// and nothing waits.
pub async fn assert_settled(bed: &Bed, members: &[&Running], sent: Vec<Uuid>) {
    bed.until_caught_up().await;
    bed.assert_applied(sent).await;
    bed.assert_order_within_keys().await;
    assert_eq!(
        bed.count("SELECT count(*) FROM engine.dead_letters").await,
        0
    );
    eventually("all partitions are read and nothing waits", || {
        let read: usize = members.iter().map(|member| reads(member)).sum();
        let waiting = members
            .iter()
            .any(|member| !waits(&member.board().snapshot()).is_empty());
        read == usize::from(PARTITIONS) && !waiting
    })
    .await;
    for member in members {
        member.board().ready().unwrap();
        member.board().live(Duration::from_secs(5)).unwrap();
        assert_eq!(
            member.held(),
            (0, 0),
            "memory of finished events is given back"
        );
    }
}

pub async fn stop_all(members: Vec<Running>) {
    for member in members {
        member.stop().await.unwrap();
    }
}
