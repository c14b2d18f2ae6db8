//! Counts who follows what: a complete worker.

use engine::{ApplyError, Fresh, Reject, Subscription, Worker};
use events::{Event, EventType, Payload};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Keeps `follower_counts(followed_id uuid PRIMARY KEY, followers bigint NOT NULL)`.
pub struct Followers;

/// What one event asks for: one follower more or less.
pub struct Change {
    followed_id: Uuid,
    followers: i64,
}

impl Worker for Followers {
    type Plan = Change;

    fn name(&self) -> &'static str {
        "followers"
    }

    fn subscription(&self) -> Subscription {
        Subscription::to([EventType::CourseFollowed, EventType::CourseUnfollowed])
    }

    fn plan(&self, event: &Event) -> Result<Change, Reject> {
        match &event.payload {
            Some(Payload::CourseFollowed(e)) => Ok(Change {
                followed_id: e.followed_id,
                followers: 1,
            }),
            Some(Payload::CourseUnfollowed(e)) => Ok(Change {
                followed_id: e.followed_id,
                followers: -1,
            }),
            _ => Err(Reject(format!(
                "{} says nothing about followers",
                event.envelope.event_type
            ))),
        }
    }

    async fn apply(&self, fresh: &mut Fresh<'_, Change>) -> Result<(), ApplyError> {
        // Added up and sorted by key: one statement, and two lanes cannot deadlock.
        let mut sums: BTreeMap<Uuid, i64> = BTreeMap::new();
        for event in fresh.events() {
            *sums.entry(event.plan.followed_id).or_default() += event.plan.followers;
        }
        let (ids, changes): (Vec<Uuid>, Vec<i64>) = sums.into_iter().unzip();
        let statement = sqlx::query(
            "INSERT INTO follower_counts AS c (followed_id, followers)
             SELECT * FROM unnest($1::uuid[], $2::bigint[])
             ON CONFLICT (followed_id) DO UPDATE SET followers = c.followers + excluded.followers",
        );
        fresh
            .tx()
            .execute(statement.bind(ids).bind(changes))
            .await?;
        Ok(())
    }
}

fn main() {
    println!("start it with engine::start(Followers, settings)");
}
