//! Starting, watching and stopping one worker.
//!
//! Invariant: a worker runs whole or not at all. If one of its parts ends by itself, the worker has
//! failed and the process should exit; everything that was in progress is safe to repeat.

use crate::claims::Claims;
use crate::kafka::broker::Broker;
use crate::kafka::consumer::{Command, ConsumerError, ConsumerThread};
use crate::kafka::dead_letter::DeadLetters;
use crate::lane::prepare::Preparer;
use crate::lane::settle::Settler;
use crate::lane::{Commands, Shared};
use crate::scheduling::budget::Budget;
use crate::schemas::Schemas;
use crate::settings::{Settings, Shutdown};
use crate::status::Board;
use crate::worker::Worker;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// The consumer group of a worker.
pub fn group_of(worker: &impl Worker) -> String {
    format!("learnexpert.{}", worker.name())
}

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client library does not take the settings.
    #[error("kafka settings: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// No thread could be started.
    #[error("the consumer thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The consumer gave up.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A part of the worker panicked: a defect.
    #[error("a part of the worker ended unexpectedly: {0}")]
    Defect(String),
}

/// A running worker.
#[derive(Debug)]
pub struct Running {
    group: String,
    board: Arc<Board>,
    budget: Arc<Budget>,
    commands: Option<Sender<Command>>,
    shutdown: Shutdown,
    drain_deadline: Duration,
    stop_claims: watch::Sender<bool>,
    consumer: oneshot::Receiver<Result<(), ConsumerError>>,
    tasks: JoinSet<()>,
}

/// Starts a worker. Returns at once; what is not reachable is waited for.
///
/// # Errors
/// [`StartError`] if the settings cannot work at all.
pub fn start<W: Worker>(worker: W, settings: Settings) -> Result<Running, StartError> {
    let group = group_of(&worker);
    let config = settings.consumer_config(&group);
    let board = Arc::new(Board::new(&group, settings.lanes));
    let budget = Budget::new(settings.budget);
    let topics = worker.subscription().topics();
    let shared = Arc::new(Shared {
        inbox: Shared::inbox_of(&worker),
        schemas: Schemas::new(settings.registry.clone(), &settings.registry_name),
        dead_letters: DeadLetters::new(&settings.kafka.client_config(), &group)?,
        board: Arc::clone(&board),
        group: group.clone(),
        worker,
        settings: settings.clone(),
    });

    let (commands, commands_rx) = std::sync::mpsc::channel();
    let (claims, claims_rx) = mpsc::unbounded_channel();
    let (stop_claims, claims_stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut deliveries = Vec::new();
    for lane in 0..settings.lanes {
        let (delivery, delivery_rx) = mpsc::unbounded_channel();
        let (batches, batches_rx) = mpsc::channel(1);
        tasks.spawn(Preparer::new(Arc::clone(&shared)).run(delivery_rx, batches));
        let commands = Commands(commands.clone());
        tasks.spawn(Settler::new(Arc::clone(&shared), lane, commands).run(batches_rx));
        deliveries.push(delivery);
    }
    let broker = Arc::new(Broker::new(&config, settings.topic_ids)?);
    let claimed_by = settings
        .instance_id
        .clone()
        .unwrap_or_else(|| format!("process {}", std::process::id()));
    let claiming = Claims::new(
        shared,
        broker,
        claimed_by,
        deliveries.clone(),
        Commands(commands.clone()),
    );
    tasks.spawn(claiming.run(claims_rx, claims_stopped));

    let thread = ConsumerThread {
        consumer: ConsumerThread::consumer(&config, &topics)?,
        budget: Arc::clone(&budget),
        commands: commands_rx,
        claims,
        lanes: deliveries,
        board: Arc::clone(&board),
    };
    let (ended, consumer) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("{group} consumer"))
        .spawn(move || {
            let _ = ended.send(thread.run());
        })?;
    Ok(Running {
        group,
        board,
        budget,
        commands: Some(commands),
        shutdown: settings.shutdown,
        drain_deadline: settings.drain_deadline,
        stop_claims,
        consumer,
        tasks,
    })
}

impl Running {
    /// What the worker is doing.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Events and bytes that are held in memory now.
    pub fn held(&self) -> (usize, usize) {
        self.budget.used()
    }

    /// Waits until the worker ends by itself, which it should not.
    pub async fn failed(&mut self) -> RunError {
        tokio::select! {
            ended = &mut self.consumer => match ended {
                Ok(Err(error)) => RunError::Consumer(error),
                Ok(Ok(())) => RunError::Defect("the consumer thread stopped".to_owned()),
                Err(_) => RunError::Defect("the consumer thread panicked".to_owned()),
            },
            Some(ended) = self.tasks.join_next() => RunError::Defect(match ended {
                Err(error) => error.to_string(),
                Ok(()) => "a task of the worker stopped".to_owned(),
            }),
        }
    }

    /// Stops: takes in nothing more, finishes or abandons what is in progress, commits the hints
    /// and closes the consumer or leaves the group.
    ///
    /// # Errors
    /// [`RunError`] if the worker had failed before.
    pub async fn stop(mut self) -> Result<(), RunError> {
        tracing::info!(group = self.group, "stopping");
        let _ = self.stop_claims.send(true);
        if let Some(commands) = self.commands.take() {
            let _ = commands.send(Command::Stop(self.shutdown));
        }
        let tasks = &mut self.tasks;
        let finish = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain_deadline, finish)
            .await
            .is_err()
        {
            tracing::warn!(
                group = self.group,
                "drain deadline passed; abandoning what is in progress"
            );
            // What is dropped takes its connection with it, and the server rolls back.
            self.tasks.shutdown().await;
        }
        if self.consumer.is_terminated() {
            // Told already, by `failed`.
            return Err(RunError::Defect("the consumer had ended before".to_owned()));
        }
        match self.consumer.await {
            Ok(ended) => ended.map_err(RunError::Consumer),
            Err(_) => Err(RunError::Defect("the consumer thread panicked".to_owned())),
        }
    }
}
