//! Whether the inbox remembers events for longer than they can come back.
//!
//! Invariant: an event can be read again as long as its topic or a dead letter keeps it; an inbox
//! that forgot it before would let its effects happen twice.

use super::reader::Setting;
use events::catalogue::{DEAD_LETTER, TOPICS};
use events::{Retention, Topic};
use figment::value::Value;
use std::fmt;

/// What is added to the sum of both retentions, for clocks and for the time that deleting takes.
const MARGIN_DAYS: u64 = 1;

/// How long the ids of applied events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxRetention {
    /// This many days.
    Days(u64),
    /// For ever.
    Forever,
}

impl fmt::Display for InboxRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days}"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl Setting for InboxRetention {
    fn read(value: &Value) -> Option<Self> {
        if value.as_str() == Some("forever") {
            return Some(Self::Forever);
        }
        u64::read(value).filter(|days| *days > 0).map(Self::Days)
    }

    fn expected() -> String {
        "a whole number of days, or \"forever\"".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// How long the inbox must remember for one topic.
fn required(topic: &Topic, dead_letters: Retention) -> InboxRetention {
    let compacted = topic.cleanup_policy.contains("compact");
    match (topic.retention, dead_letters) {
        (Retention::Days(topic), Retention::Days(dead_letters)) if !compacted => {
            InboxRetention::Days(u64::from(topic) + u64::from(dead_letters) + MARGIN_DAYS)
        }
        _ => InboxRetention::Forever,
    }
}

/// What is wrong with a retention, for the topics that a worker reads (`None` = any worker).
pub fn complaint(retention: InboxRetention, worker: Option<&str>) -> Option<String> {
    let InboxRetention::Days(days) = retention else {
        return None;
    };
    let read = TOPICS.iter().filter(|topic| match worker {
        Some(worker) => topic.read_by.contains(&worker),
        None => !topic.read_by.is_empty(),
    });
    complaint_for(days, read, DEAD_LETTER.retention)
}

fn complaint_for<'t>(
    days: u64,
    topics: impl Iterator<Item = &'t Topic>,
    dead_letters: Retention,
) -> Option<String> {
    let mut short = Vec::new();
    let mut unlimited = Vec::new();
    for topic in topics {
        match required(topic, dead_letters) {
            InboxRetention::Forever => unlimited.push(topic.name),
            InboxRetention::Days(needed) if needed > days => {
                short.push((needed, format!("{} ({} kept)", topic.name, topic.retention)));
            }
            InboxRetention::Days(_) => {}
        }
    }
    if !unlimited.is_empty() {
        let topics = unlimited.join(", ");
        return Some(format!(
            "is {days}, but {topics} can be read again for ever; set it to \"forever\""
        ));
    }
    let needed = short.iter().map(|(needed, _)| *needed).max()?;
    let topics: Vec<String> = short.into_iter().map(|(_, topic)| topic).collect();
    Some(format!(
        "is {days}, but events of {} can come back for up to {needed} days (topic, dead letters \
         {dead_letters}, margin {MARGIN_DAYS} day); set it to at least {needed}, or to \"forever\"",
        topics.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(retention: Retention, cleanup_policy: &'static str) -> Topic {
        Topic {
            name: "test.topic",
            description: "",
            key: "",
            partitions: 1,
            retention,
            cleanup_policy,
            written_by: &[],
            read_by: &["test"],
            events: &[],
        }
    }

    fn complaint_of(days: u64, topic: &Topic) -> Option<String> {
        complaint_for(days, std::iter::once(topic), Retention::Days(90))
    }

    #[test]
    fn the_inbox_must_outlive_topic_and_dead_letters_and_a_day() {
        let topic = topic(Retention::Days(30), "delete");
        assert_eq!(complaint_of(121, &topic), None);
        let complaint = complaint_of(120, &topic).unwrap();
        assert!(
            complaint.contains("test.topic") && complaint.contains("at least 121"),
            "{complaint}"
        );
    }

    #[test]
    fn an_unlimited_or_compacted_topic_wants_forever() {
        for topic in [
            topic(Retention::Unlimited, "delete"),
            topic(Retention::Days(1), "compact"),
            topic(Retention::Days(1), "compact,delete"),
        ] {
            let complaint = complaint_of(100_000, &topic).unwrap();
            assert!(complaint.ends_with("set it to \"forever\""), "{complaint}");
        }
        let endless = complaint_for(
            9,
            [topic(Retention::Days(1), "delete")].iter(),
            Retention::Unlimited,
        );
        assert!(endless.is_some());
    }

    #[test]
    fn only_the_topics_that_a_worker_reads_count() {
        let short = InboxRetention::Days(200);
        assert!(
            complaint(short, None)
                .unwrap()
                .contains("billing.subscriptions")
        );
        assert_eq!(complaint(short, Some("search")), None);
        assert_eq!(complaint(InboxRetention::Forever, None), None);
    }
}
