//! A worker that does what its events say.

use engine::{Accepted, ApplyError, Fresh, Order, Reject, Subscription, Tx, Worker};
use events::{Event, EventType, Payload};
use std::collections::HashMap;
use uuid::Uuid;

/// The tables of the worker, beside the engine's.
pub const TABLES: &str = "
    CREATE TABLE applied (
      position bigint GENERATED ALWAYS AS IDENTITY,
      event_id uuid NOT NULL,
      key uuid NOT NULL,
      sequence bigint NOT NULL,
      word text NOT NULL,
      held boolean NOT NULL
    );
    CREATE TABLE rewinds (at timestamptz NOT NULL DEFAULT now());";

/// Writes one row of `applied` for each event; the word in the event may name a statement that is
/// run then, or ask for a rejection or a panic. No key of `applied` keeps a second row out, so
/// that a repeated effect is seen.
pub struct Scripted {
    order: Order,
    statements: HashMap<&'static str, &'static str>,
}

/// What one event asks for.
#[derive(Debug)]
pub struct Step {
    key: Uuid,
    sequence: i64,
    word: String,
}

impl Scripted {
    pub fn new() -> Self {
        Self {
            order: Order::PerKey,
            statements: HashMap::new(),
        }
    }

    pub fn in_any_order() -> Self {
        Self {
            order: Order::Any,
            ..Self::new()
        }
    }

    /// An event with this word runs this statement.
    pub fn on(mut self, word: &'static str, statement: &'static str) -> Self {
        self.statements.insert(word, statement);
        self
    }
}

impl Worker for Scripted {
    type Plan = Step;

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn subscription(&self) -> Subscription {
        Subscription::to([EventType::CourseFollowed])
    }

    fn order(&self) -> Order {
        self.order
    }

    fn plan(&self, event: &Event) -> Result<Step, Reject> {
        let Some(Payload::CourseFollowed(payload)) = &event.payload else {
            return Err(Reject("not subscribed to".to_owned()));
        };
        let script = event.envelope.correlation_id.as_deref().unwrap_or("0 ");
        let (sequence, word) = script.split_once(' ').unwrap();
        match word {
            "plan rejects" => return Err(Reject("nobody can follow this".to_owned())),
            "plan panics" => panic!("a defect of the worker"),
            _ => {}
        }
        Ok(Step {
            key: payload.user_id,
            sequence: sequence.parse().unwrap(),
            word: word.to_owned(),
        })
    }

    async fn apply(&self, fresh: &mut Fresh<'_, Step>) -> Result<(), ApplyError> {
        let events = fresh.events();
        fresh.tx().execute(insert(events)).await?;
        for event in events {
            let word = event.plan.word.as_str();
            if word == "apply rejects" {
                return Err(Reject("it contradicts what is there".to_owned()).into());
            }
            if let Some(statement) = self.statements.get(word) {
                fresh.tx().execute(sqlx::query(*statement)).await?;
            }
        }
        Ok(())
    }

    async fn rewound(&self, tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
        tx.execute(sqlx::query("INSERT INTO rewinds DEFAULT VALUES"))
            .await
            .map(|_| ())
    }
}

fn insert<'q>(
    events: &[&Accepted<Step>],
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let column = |of: fn(&Accepted<Step>) -> Uuid| events.iter().map(|e| of(e)).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO applied (event_id, key, sequence, word, held)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::boolean[])",
    )
    .bind(column(|event| event.triggering_event_id()))
    .bind(column(|event| event.plan.key))
    .bind(
        events
            .iter()
            .map(|event| event.plan.sequence)
            .collect::<Vec<_>>(),
    )
    .bind(
        events
            .iter()
            .map(|event| event.plan.word.clone())
            .collect::<Vec<_>>(),
    )
    .bind(events.iter().map(|event| event.held).collect::<Vec<_>>())
}
