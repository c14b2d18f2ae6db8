//! The consumer thread: the only owner of the Kafka consumer.
//!
//! Invariants: it never stops polling for longer than `LONGEST_SILENCE`, whatever the database
//! does; it never blocks on a lane; every record that it hands on carries the assignment epoch
//! under which it was fetched.

use super::rebalance::{Change, Rebalancer};
use crate::lane::Claim;
use crate::record::{Parts, Record};
use crate::scheduling::budget::Budget;
use crate::scheduling::offsets::{AssignmentEpoch, NextOffset, Offset, TopicPartition};
use crate::settings::Shutdown;
use crate::status::Board;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// While memory is full, polling may pause for this long at a time; then fetching is paused
/// instead and polling goes on. Short, because a rebalance waits for the poll.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// Records handed to the lanes at a time.
const CHUNK: usize = 512;
/// How long a leaving member polls until the coordinator has let it go.
const LEAVE: Duration = Duration::from_secs(5);

/// One period in which this process holds a partition.
#[derive(Debug)]
pub struct Assignment {
    /// The period.
    pub epoch: AssignmentEpoch,
    /// The partition.
    pub partition: TopicPartition,
    ended: AtomicBool,
}

impl Assignment {
    /// Whether the partition was taken away, or is being claimed anew.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// What others ask of the thread.
#[derive(Debug)]
pub enum Command {
    /// Claimed: fetch from this position on. Kafka's own hint, where it has one, is the floor below
    /// which no hint is committed.
    Fetch(Arc<Assignment>, NextOffset, Option<NextOffset>),
    /// Give the partition up for now and claim it again after a while.
    ClaimAgain(Arc<Assignment>, Duration),
    /// Stop working on the partition until the process is restarted or the group rebalances.
    GiveUp(Arc<Assignment>),
    /// Committed in the database up to here; tell Kafka some time.
    Hint(TopicPartition, NextOffset),
    /// Take in nothing more and, once all lanes are done, close.
    Stop(Shutdown),
}

/// What a lane is told. One channel for all of it: a claim is announced before the fetch that it
/// permits, so its records can only come after it.
#[derive(Debug)]
pub enum Delivery {
    /// A partition was claimed; its records will come.
    Opened(Arc<Claim>),
    /// Records came.
    Records(Vec<(AssignmentEpoch, Record)>),
    /// The period is over.
    Ended(AssignmentEpoch),
    /// Nothing more will come; finish what is in progress.
    Drain,
}

/// A request to claim a partition, not before a given time.
#[derive(Debug)]
pub struct ClaimRequest {
    /// For which period.
    pub assignment: Arc<Assignment>,
    /// Not before.
    pub not_before: Instant,
}

/// The consumer could not go on; the process has to be restarted.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The client library gave up.
    #[error("kafka consumer: {0}")]
    Fatal(#[from] KafkaError),
}

/// Everything that the thread works with.
pub struct ConsumerThread {
    /// Created by [`ConsumerThread::consumer`].
    pub consumer: BaseConsumer<Rebalancer>,
    /// Bounds what is held in memory.
    pub budget: Arc<Budget>,
    /// Commands from claims, lanes and the runtime.
    pub commands: Receiver<Command>,
    /// Partitions to claim.
    pub claims: UnboundedSender<ClaimRequest>,
    /// One sender per lane.
    pub lanes: Vec<UnboundedSender<Delivery>>,
    /// What ops see.
    pub board: Arc<Board>,
}

#[derive(Default)]
struct Assignments {
    by_topic: HashMap<Arc<str>, HashMap<i32, Arc<Assignment>>>,
    last_epoch: u64,
}

impl Assignments {
    fn begin(&mut self, partition: TopicPartition) -> Arc<Assignment> {
        self.last_epoch += 1;
        let assignment = Arc::new(Assignment {
            epoch: AssignmentEpoch(self.last_epoch),
            partition: partition.clone(),
            ended: AtomicBool::new(false),
        });
        let of_topic = self.by_topic.entry(partition.topic).or_default();
        of_topic.insert(partition.partition, Arc::clone(&assignment));
        assignment
    }

    fn end(&mut self, partition: &TopicPartition) -> Option<Arc<Assignment>> {
        let assignment = self
            .by_topic
            .get_mut(&partition.topic)?
            .remove(&partition.partition)?;
        assignment.ended.store(true, Ordering::Release);
        Some(assignment)
    }

    fn get(&self, topic: &str, partition: i32) -> Option<&Arc<Assignment>> {
        self.by_topic.get(topic)?.get(&partition)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Assignment>> {
        self.by_topic.values().flat_map(HashMap::values)
    }

    fn is_current(&self, assignment: &Assignment) -> bool {
        let partition = &assignment.partition;
        self.get(&partition.topic, partition.partition)
            .is_some_and(|a| a.epoch == assignment.epoch)
    }
}

impl ConsumerThread {
    /// A consumer that joins the group once the thread polls.
    ///
    /// # Errors
    /// The configuration is not one that the client library takes.
    pub fn consumer(
        config: &ClientConfig,
        topics: &[&str],
    ) -> Result<BaseConsumer<Rebalancer>, KafkaError> {
        let consumer: BaseConsumer<Rebalancer> =
            config.create_with_context(Rebalancer::default())?;
        consumer.subscribe(topics)?;
        Ok(consumer)
    }

    /// Runs until stopped. Meant for a thread of its own.
    ///
    /// # Errors
    /// [`ConsumerError`] if the client library gave up; the process should exit and be restarted.
    pub fn run(self) -> Result<(), ConsumerError> {
        let mut thread = Running {
            assignments: Assignments::default(),
            hints: HashMap::new(),
            paused: false,
            full_since: None,
            it: self,
        };
        let shutdown = thread.serve()?;
        thread.drain()?;
        thread.close(shutdown);
        Ok(())
    }
}

struct Running {
    it: ConsumerThread,
    assignments: Assignments,
    /// The highest hint given per partition: it is never moved backwards.
    hints: HashMap<TopicPartition, NextOffset>,
    paused: bool,
    full_since: Option<Instant>,
}

impl Running {
    fn serve(&mut self) -> Result<Shutdown, ConsumerError> {
        loop {
            self.it.board.consumer_is_alive();
            loop {
                match self.it.commands.try_recv() {
                    Ok(Command::Stop(shutdown)) => return Ok(shutdown),
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(Shutdown::Stay),
                }
            }
            if self.has_room() || self.paused {
                self.poll(POLL, true)?;
            }
            self.follow_rebalance();
        }
    }

    /// Lanes finish what they have begun; what still comes is read again after the next claim.
    fn drain(&mut self) -> Result<(), ConsumerError> {
        for lane in &self.it.lanes {
            let _ = lane.send(Delivery::Drain);
        }
        loop {
            self.it.board.consumer_is_alive();
            match self.it.commands.recv_timeout(POLL) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                // Lanes and claims are gone: everything that can be finished is.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.poll(Duration::ZERO, false)?;
            self.follow_rebalance();
        }
    }

    fn close(self, shutdown: Shutdown) {
        let consumer = self.it.consumer;
        if let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
            tracing::debug!(%error, "last offset hints not committed");
        }
        if shutdown == Shutdown::Leave {
            consumer.unsubscribe();
            let deadline = Instant::now() + LEAVE;
            let given_up = |change: &Change| matches!(change, Change::Revoked(_));
            let mut left = self.assignments.all().next().is_none();
            while Instant::now() < deadline && !left {
                let _ = consumer.poll(POLL);
                left = consumer.context().take_changes().iter().any(given_up);
            }
            // The request to leave is sent after the last revocation was answered.
            let _ = consumer.poll(Duration::from_millis(200));
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Fetch(assignment, position, hint) => self.fetch(&assignment, position, hint),
            Command::ClaimAgain(assignment, after) => self.claim_again(&assignment, after),
            Command::GiveUp(assignment) if self.assignments.is_current(&assignment) => {
                self.stop_fetching(&assignment.partition);
                self.end(&assignment.partition);
            }
            Command::GiveUp(_) => {}
            Command::Hint(partition, next) => self.hint(partition, next),
            Command::Stop(_) => {}
        }
    }

    fn fetch(&mut self, assignment: &Assignment, position: NextOffset, hint: Option<NextOffset>) {
        if !self.assignments.is_current(assignment) {
            return;
        }
        let partition = &assignment.partition;
        if let Some(hint) = hint {
            self.hints.insert(partition.clone(), hint);
        }
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(
            &partition.topic,
            partition.partition,
            KafkaOffset::Offset(position.0),
        );
        match added.and_then(|()| self.it.consumer.incremental_assign(&list)) {
            Ok(()) => {
                self.it.consumer.context().started(partition.clone());
                // The client library remembers a pause beyond the assignment that it was made in.
                let _ = match self.paused {
                    true => self.it.consumer.pause(&list),
                    false => self.it.consumer.resume(&list),
                };
            }
            Err(error) => tracing::warn!(%partition, %error, "fetching could not be started"),
        }
    }

    fn claim_again(&mut self, assignment: &Assignment, after: Duration) {
        if !self.assignments.is_current(assignment) {
            return;
        }
        let partition = assignment.partition.clone();
        self.stop_fetching(&partition);
        self.end(&partition);
        self.claim(partition, after);
    }

    fn claim(&mut self, partition: TopicPartition, after: Duration) {
        let assignment = self.assignments.begin(partition);
        let not_before = Instant::now() + after;
        let _ = self.it.claims.send(ClaimRequest {
            assignment,
            not_before,
        });
    }

    fn stop_fetching(&self, partition: &TopicPartition) {
        if self.it.consumer.context().stopped(partition) {
            let mut list = TopicPartitionList::new();
            list.add_partition(&partition.topic, partition.partition);
            if let Err(error) = self.it.consumer.incremental_unassign(&list) {
                tracing::warn!(%partition, %error, "fetching could not be stopped");
            }
        }
    }

    fn end(&mut self, partition: &TopicPartition) {
        if let Some(ended) = self.assignments.end(partition) {
            let _ = self.lane_of(partition).send(Delivery::Ended(ended.epoch));
        }
    }

    fn lane_of(&self, partition: &TopicPartition) -> &UnboundedSender<Delivery> {
        &self.it.lanes[lane_index(partition, self.it.lanes.len())]
    }

    fn hint(&mut self, partition: TopicPartition, next: NextOffset) {
        if self
            .hints
            .get(&partition)
            .is_some_and(|known| *known >= next)
        {
            return;
        }
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(
                &partition.topic,
                partition.partition,
                KafkaOffset::Offset(next.0),
            )
            .and_then(|()| self.it.consumer.store_offsets(&list));
        if stored.is_ok() {
            self.hints.insert(partition, next);
        }
    }

    /// Whether to receive: while memory is full, waits a little, and in a long outage pauses the
    /// fetching (which throws away what was fetched ahead) so that polling can go on.
    fn has_room(&mut self) -> bool {
        let budget = &self.it.budget;
        if self.paused {
            if budget.is_half_free() {
                self.set_paused(false);
            }
            return !self.paused;
        }
        if budget.has_room() || budget.wait_for_room(POLL) {
            self.full_since = None;
            return true;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > LONGEST_SILENCE {
            self.set_paused(true);
        }
        false
    }

    fn set_paused(&mut self, pause: bool) {
        let Ok(list) = self.it.consumer.assignment() else {
            return;
        };
        let done = if pause {
            self.it.consumer.pause(&list)
        } else {
            self.it.consumer.resume(&list)
        };
        match done {
            Ok(()) => {
                self.paused = pause;
                self.full_since = None;
                tracing::info!(paused = pause, "fetching");
            }
            Err(error) => tracing::warn!(%error, pause, "fetching could not be paused or resumed"),
        }
    }

    fn poll(&mut self, wait: Duration, keep: bool) -> Result<(), ConsumerError> {
        let mut chunks: Vec<Vec<(AssignmentEpoch, Record)>> =
            self.it.lanes.iter().map(|_| Vec::new()).collect();
        let mut wait = wait;
        let mut trouble = None;
        for _ in 0..CHUNK {
            match self.it.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) if keep => {
                    self.sort(&message, &mut chunks);
                    if !self.it.budget.has_room() {
                        break;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    trouble = Some(error);
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        for (lane, chunk) in self.it.lanes.iter().zip(chunks) {
            if !chunk.is_empty() {
                let _ = lane.send(Delivery::Records(chunk));
            }
        }
        trouble.map_or(Ok(()), |error| self.trouble(error))
    }

    fn sort(&self, message: &BorrowedMessage<'_>, chunks: &mut [Vec<(AssignmentEpoch, Record)>]) {
        let Some(assignment) = self.assignments.get(message.topic(), message.partition()) else {
            return;
        };
        let parts = Parts {
            key: message.key(),
            value: message.payload(),
            headers: message.headers().map(readable).unwrap_or_default(),
        };
        let charge = self.it.budget.charge(parts.bytes());
        let record = Record::new(
            Offset(message.offset()),
            message.timestamp().to_millis(),
            &parts,
            charge,
        );
        chunks[lane_index(&assignment.partition, chunks.len())].push((assignment.epoch, record));
    }

    /// Errors of single partitions do not say which one; claiming all anew finds out, because a
    /// claim checks each position against the broker.
    fn trouble(&mut self, error: KafkaError) -> Result<(), ConsumerError> {
        let position_lost = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::UnknownTopic
            )
        );
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(ConsumerError::Fatal(error));
        }
        tracing::warn!(%error, "kafka consumer");
        self.it.board.broker_trouble(&error.to_string());
        if position_lost {
            let held: Vec<Arc<Assignment>> = self.assignments.all().cloned().collect();
            for assignment in held {
                self.claim_again(&assignment, Duration::from_secs(1));
            }
        }
        Ok(())
    }

    fn follow_rebalance(&mut self) {
        let context = self.it.consumer.context();
        let changes = context.take_changes();
        if let Some(error) = context.take_broker_error() {
            self.it.board.broker_trouble(&error);
        }
        for change in changes {
            self.it.board.rebalanced();
            match change {
                Change::Assigned(partitions) => {
                    for partition in partitions {
                        self.end(&partition);
                        self.hints.remove(&partition);
                        self.it.board.assigned(&partition);
                        self.claim(partition, Duration::ZERO);
                    }
                }
                Change::Revoked(partitions) => {
                    for partition in partitions {
                        self.end(&partition);
                        self.it.board.revoked(&partition);
                    }
                }
            }
        }
    }
}

/// The headers whose names are text. The client library panics over the others, which no contract
/// knows; a record must not end the thread because of them.
fn readable(headers: &BorrowedHeaders) -> Vec<(&str, Option<&[u8]>)> {
    let header = |index| {
        let read = AssertUnwindSafe(|| headers.try_get(index));
        let header = catch_unwind(read).ok()??;
        Some((header.key, header.value))
    };
    (0..headers.count()).filter_map(header).collect()
}

/// The lane that works on a partition: always the same one, so that its order holds.
pub fn lane_index(partition: &TopicPartition, lanes: usize) -> usize {
    usize::try_from(partition.partition).unwrap_or_default() % lanes.max(1)
}
