//! The events that are drained: a day's story, some of it sent twice.

use anyhow::{Context, Result};
use chrono::Utc;
use demo::story::{Cast, Told, tell};
use publish::registry::Registry;
use publish::{KafkaSettings, Meta, Publisher};
use std::time::Duration;

/// The topic that carries nearly all of a day.
pub const TOPIC: &str = "progress.learning";

/// Exactly this many events of one topic.
pub fn events(count: usize) -> Result<Vec<Told>> {
    // A learner makes about 17 events.
    let cast = Cast {
        learners: count / 12 + 10,
        courses: 500,
        companies: 100,
    };
    let mut events: Vec<Told> = tell(1, cast, Utc::now())?
        .into_iter()
        .filter(|told| told.payload.event_type().contract().topic.name == TOPIC)
        .collect();
    anyhow::ensure!(
        events.len() >= count,
        "the story has only {} events",
        events.len()
    );
    events.truncate(count);
    Ok(events)
}

/// Sends the events, one in a hundred of them twice. Says how many records that were.
pub async fn send(brokers: &str, events: &[Told]) -> Result<u64> {
    let publisher = publisher(brokers)?;
    let mut under_way = Vec::with_capacity(events.len());
    for (index, told) in events.iter().enumerate() {
        under_way.push(publisher.send(told.payload.clone(), meta(told)).await?);
        if index % 100 == 0 {
            under_way.push(publisher.send(told.payload.clone(), meta(told)).await?);
        }
    }
    let records = under_way.len() as u64;
    for acknowledgement in under_way {
        acknowledgement.await?;
    }
    Ok(records)
}

/// Sends events at a steady pace and returns when each was handed over.
pub async fn send_at(
    brokers: &str,
    events: &[Told],
    per_second: u32,
) -> Result<Vec<chrono::DateTime<Utc>>> {
    let publisher = publisher(brokers)?;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let at_a_time = (per_second / 200).max(1) as usize;
    let mut times = Vec::with_capacity(events.len());
    let mut under_way = Vec::with_capacity(events.len());
    for chunk in events.chunks(at_a_time) {
        tick.tick().await;
        for told in chunk {
            times.push(Utc::now());
            under_way.push(publisher.send(told.payload.clone(), meta(told)).await?);
        }
    }
    for acknowledgement in under_way {
        acknowledgement.await.context("send at a steady pace")?;
    }
    Ok(times)
}

fn publisher(brokers: &str) -> Result<Publisher> {
    let kafka = KafkaSettings::plaintext(brokers);
    let settings = publish::ProducerSettings {
        linger: Duration::from_millis(1),
        ..Default::default()
    };
    Ok(Publisher::with_settings(
        &kafka,
        Registry::bundled(),
        "progress-service",
        &settings,
    )?)
}

fn meta(told: &Told) -> Meta {
    Meta::new().event_id(told.id).time(told.time)
}
