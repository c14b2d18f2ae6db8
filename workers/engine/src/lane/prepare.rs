//! From records to plans: envelope, schema, decoding, `plan`. No database.
//!
//! Invariant: a record becomes exactly one step, or its partition waits; none is left out.

use super::{Bad, BadKind, Batch, Blocked, Claim, Item, Shared, Step};
use crate::batch::Accepted;
use crate::kafka::consumer::Delivery;
use crate::record::Record;
use crate::scheduling::offsets::AssignmentEpoch;
use crate::scheduling::queue::{Queue, Queued, Run};
use crate::schemas::Lookup;
use crate::worker::{Reject, Worker};
use events::wire::SchemaId;
use events::{
    ContractViolation, DecodeError, Envelope, Event, EventType, WriterSchema, header, wire,
};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

/// How soon a partition that waits for a schema is tried again.
const SCHEMA_AGAIN: Duration = Duration::from_secs(2);

/// The first half of a lane.
pub struct Preparer<W: Worker> {
    shared: Arc<Shared<W>>,
    claims: HashMap<AssignmentEpoch, Arc<Claim>>,
    queue: Queue<Record>,
    draining: bool,
}

/// A record cannot become a step yet.
struct Wait {
    on: &'static str,
    message: String,
}

impl<W: Worker> Preparer<W> {
    /// Nothing is claimed yet.
    pub fn new(shared: Arc<Shared<W>>) -> Self {
        Self {
            shared,
            claims: HashMap::new(),
            queue: Queue::default(),
            draining: false,
        }
    }

    /// Runs until drained.
    pub async fn run(
        mut self,
        mut deliveries: UnboundedReceiver<Delivery>,
        settle: Sender<Batch<W::Plan>>,
    ) {
        while !self.draining {
            self.gather(&mut deliveries).await;
            let settings = &self.shared.settings;
            let runs = self.queue.take(settings.batch_events, settings.batch_bytes);
            if runs.is_empty() || self.draining {
                continue;
            }
            let batch = self.prepare(runs).await;
            if settle.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// Waits for records, and a little longer for others to share their transaction.
    async fn gather(&mut self, deliveries: &mut UnboundedReceiver<Delivery>) {
        let mut deadline = None;
        loop {
            while let Ok(delivery) = deliveries.try_recv() {
                self.take_in(delivery);
            }
            let settings = &self.shared.settings;
            let full = self.queue.events() >= settings.batch_events
                || self.queue.bytes() >= settings.batch_bytes;
            if self.draining || full {
                return;
            }
            if self.queue.events() > 0 && deadline.is_none() {
                deadline = Some(Instant::now() + settings.linger);
            }
            let next = match deadline {
                None => deliveries.recv().await,
                Some(deadline) => match timeout_at(deadline, deliveries.recv()).await {
                    Ok(next) => next,
                    Err(_) => return,
                },
            };
            match next {
                Some(delivery) => self.take_in(delivery),
                // The consumer is gone.
                None => self.draining = true,
            }
        }
    }

    fn take_in(&mut self, delivery: Delivery) {
        match delivery {
            // Taken away before its claim was done: nothing of it will be fetched.
            Delivery::Opened(claim) if claim.assignment.has_ended() => {}
            Delivery::Opened(claim) => {
                let epoch = claim.assignment.epoch;
                self.queue.open(epoch, claim.position);
                self.claims.insert(epoch, claim);
            }
            Delivery::Records(records) => {
                for (epoch, record) in records {
                    if self.queue.head(epoch).is_none()
                        && let Some(claim) = self.claims.get(&epoch)
                    {
                        let partition = &claim.assignment.partition;
                        self.shared
                            .board
                            .waiting_since(partition, record.timestamp_ms);
                    }
                    self.queue.offer(epoch, record);
                }
            }
            Delivery::Ended(epoch) => self.close(epoch),
            Delivery::Drain => self.draining = true,
        }
    }

    fn close(&mut self, epoch: AssignmentEpoch) {
        self.queue.close(epoch);
        self.claims.remove(&epoch);
    }

    async fn prepare(&mut self, runs: Vec<Run<Record>>) -> Batch<W::Plan> {
        let started = std::time::Instant::now();
        let count = runs.iter().map(|run| run.records.len()).sum();
        let mut batch = Batch {
            claims: Vec::with_capacity(runs.len()),
            items: Vec::with_capacity(count),
            oldest_waiting_ms: Vec::with_capacity(runs.len()),
            blocked: Vec::new(),
        };
        for run in runs {
            let Some(claim) = self.claims.get(&run.epoch).cloned() else {
                continue;
            };
            let index = batch.claims.len();
            batch.claims.push(Arc::clone(&claim));
            for record in run.records {
                match self.step(&claim, &record).await {
                    Ok(step) => batch.items.push(Item {
                        claim: index,
                        record,
                        step,
                    }),
                    Err(Wait { on, message }) => {
                        self.close(run.epoch);
                        let assignment = Arc::clone(&claim.assignment);
                        batch.blocked.push(Blocked {
                            assignment,
                            on,
                            message,
                            again: SCHEMA_AGAIN,
                        });
                        break;
                    }
                }
            }
            batch.oldest_waiting_ms.push(
                self.queue
                    .head(run.epoch)
                    .and_then(|next| next.timestamp_ms),
            );
        }
        metrics::histogram!("fleet_batch_seconds", "group" => self.shared.group.clone(), "stage" => "prepare")
            .record(started.elapsed());
        batch
    }

    async fn step(&self, claim: &Claim, record: &Record) -> Result<Step<W::Plan>, Wait> {
        if record
            .header_text(header::TYPE)
            .is_some_and(|name| !self.shared.worker.subscription().wants(name))
        {
            return Ok(Step::Skip);
        }
        let envelope = match Envelope::from_headers(record.headers()) {
            Ok(envelope) => envelope,
            Err(violation) => {
                return Ok(bad(
                    BadKind::ContractViolation,
                    violation.to_string(),
                    unnamed(record),
                ));
            }
        };
        let name = (Some(envelope.id.0), Some(envelope.event_type.clone()));
        let (id, datum) = match wire::split(record.value()) {
            Ok(parts) => parts,
            Err(error) => return Ok(bad(BadKind::Undecodable, error.to_string(), name)),
        };
        match self.schema(id).await? {
            Ok(schema) => Ok(self.decode(claim, record, envelope, &schema, datum)),
            Err((kind, reason)) => Ok(bad(kind, reason, name)),
        }
    }

    /// The writer's schema, why its events are bad, or that it has to be waited for.
    async fn schema(
        &self,
        id: SchemaId,
    ) -> Result<Result<Arc<WriterSchema>, (BadKind, String)>, Wait> {
        let lookup = match self.shared.schemas.get(id) {
            Some(known) => known,
            None => self.shared.schemas.resolve(id).await,
        };
        match lookup {
            Lookup::Known(schema) => Ok(Ok(schema)),
            Lookup::Unusable(error) => Ok(Err((
                BadKind::ContractViolation,
                format!("schema {id}: {error}"),
            ))),
            Lookup::Unknown { for_ } if for_ >= self.shared.settings.unknown_schema_wait => {
                let seconds = for_.as_secs();
                let reason =
                    format!("the registry does not know schema {id}, asked for {seconds} s");
                Ok(Err((BadKind::UnknownSchema, reason)))
            }
            Lookup::Unknown { .. } => Err(Wait {
                on: "schema",
                message: format!("the registry does not know schema {id} yet"),
            }),
            Lookup::Unavailable(message) => Err(Wait {
                on: "registry",
                message,
            }),
        }
    }

    fn decode(
        &self,
        claim: &Claim,
        record: &Record,
        envelope: Envelope,
        schema: &WriterSchema,
        datum: &[u8],
    ) -> Step<W::Plan> {
        let worker = &self.shared.worker;
        let name = (Some(envelope.id.0), Some(envelope.event_type.clone()));
        if let Err(violation) = check_topic(&envelope, &claim.assignment.partition.topic) {
            return bad(BadKind::ContractViolation, violation.to_string(), name);
        }
        let event = match Event::decode(envelope, schema, datum, worker.subscription().json()) {
            Ok(event) => event,
            Err(DecodeError::Contract(violation)) => {
                return bad(BadKind::ContractViolation, violation.to_string(), name);
            }
            Err(error) => return bad(BadKind::Undecodable, error.to_string(), name),
        };
        if let Err(violation) = event.check_key(record.key()) {
            return bad(BadKind::ContractViolation, violation.to_string(), name);
        }
        // A panic is a defect that one event has met; the others need not suffer from it.
        let planned = catch_unwind(AssertUnwindSafe(|| worker.plan(&event)))
            .unwrap_or_else(|_| Err(Reject("the worker panicked while planning".to_owned())));
        match planned {
            Ok(plan) => Step::Apply(Box::new(Accepted {
                held: record.offset().0 < claim.hold_below.0,
                content_hash: event.content_hash,
                envelope: event.envelope,
                plan,
            })),
            Err(Reject(reason)) => bad(BadKind::Rejected, reason, name),
        }
    }
}

fn check_topic(envelope: &Envelope, topic: &str) -> Result<(), ContractViolation> {
    let Some(known) = EventType::from_name(&envelope.event_type) else {
        return Ok(());
    };
    let contract = known.contract();
    if contract.topic.name == topic {
        return Ok(());
    }
    Err(ContractViolation::WrongTopic {
        event: contract.name,
        expected: contract.topic.name,
        found: topic.to_owned(),
    })
}

/// What a record without a readable envelope still says of itself.
fn unnamed(record: &Record) -> (Option<Uuid>, Option<String>) {
    let id = record
        .header_text(header::ID)
        .and_then(|id| Uuid::try_parse(id).ok());
    (id, record.header_text(header::TYPE).map(str::to_owned))
}

fn bad<P>(
    kind: BadKind,
    reason: String,
    (event_id, event_type): (Option<Uuid>, Option<String>),
) -> Step<P> {
    Step::Bad(Box::new(Bad {
        kind,
        reason,
        event_id,
        event_type,
        acknowledged: None,
    }))
}
