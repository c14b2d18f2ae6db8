//! Analytics: everything that happens, in `raw_events_log`, and the daily summaries that analysts
//! query.
//!
//! Subscribes to every event, also of types that this build does not know. One event becomes a
//! [`Plan`] (its log row and what it adds to the summaries); a batch of plans becomes
//! one write per table (`summaries`).
//!
//! *Architecture invariants:* an event counts on its own UTC day, however late it comes. The log is
//! the inbox: an event that has a row there has been counted, in the same transaction. Sums and
//! sets do not depend on order, so nothing waits behind a dead letter.

mod plan;
mod summaries;

use engine::{
    Accepted, ApplyError, Column, Fresh, Inbox, Order, Reject, Subscription, Value, Worker,
};
use events::Event;
pub use plan::{Plan, plan};

/// The analytics worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Analytics;

impl Worker for Analytics {
    type Plan = Plan;

    fn name(&self) -> &'static str {
        "analytics"
    }

    fn subscription(&self) -> Subscription {
        Subscription::everything()
    }

    fn inbox(&self) -> Inbox<Plan> {
        Inbox::own_table("raw_events_log", "id", &LOG_COLUMNS, log_row)
    }

    fn order(&self) -> Order {
        Order::Any
    }

    fn plan(&self, event: &Event) -> Result<Plan, Reject> {
        plan(event)
    }

    async fn apply(&self, fresh: &mut Fresh<'_, Plan>) -> Result<(), ApplyError> {
        let plans = fresh.events().iter().map(|accepted| &accepted.plan);
        Ok(summaries::add(fresh.tx(), summaries::Totals::of(plans)).await?)
    }
}

/// The document's columns of `raw_events_log` after the id, in the order of [`log_row`].
const LOG_COLUMNS: [Column; 7] = [
    Column::timestamp("event_timestamp"),
    Column::text("event_source_service"),
    Column::text("event_type"),
    Column::uuid("user_id"),
    Column::uuid("company_id"),
    Column::uuid("entity_id"),
    Column::jsonb("payload"),
];

fn log_row<'e>(event: &'e Accepted<Plan>, row: &mut Vec<Value<'e>>) {
    row.push(Value::Timestamp(Some(event.envelope.time)));
    row.push(Value::Text(Some(&event.envelope.source)));
    row.push(Value::Text(Some(&event.envelope.event_type)));
    row.push(Value::Uuid(event.plan.user_id));
    row.push(Value::Uuid(event.plan.company_id));
    row.push(Value::Uuid(event.plan.entity_id));
    row.push(Value::Jsonb(event.plan.payload.as_deref()));
}
