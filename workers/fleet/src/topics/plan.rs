//! What has to be done so that the brokers have what the catalogue says. No I/O.
//!
//! Invariant: the number of partitions of a topic that exists is never changed, whichever way it
//! differs: another number would send keys to other partitions and break their order.

use events::catalogue::{DEAD_LETTER, TOPICS, dead_letter_topic};
use std::collections::BTreeMap;
use std::fmt;

/// Kafka's names of the settings that the catalogue decides.
const RETENTION: &str = "retention.ms";
const CLEANUP: &str = "cleanup.policy";

/// A topic as the catalogue wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its file in the repository.
    pub file: String,
    /// The number of partitions.
    pub partitions: i32,
    /// Kafka's settings.
    pub settings: BTreeMap<&'static str, String>,
}

impl Wanted {
    /// All topics, and the dead letter topic of each group.
    pub fn all() -> Vec<Self> {
        let settings = |retention: i64, cleanup: &str| {
            BTreeMap::from([
                (RETENTION, retention.to_string()),
                (CLEANUP, cleanup.to_owned()),
            ])
        };
        let topics = TOPICS.iter().map(|topic| Self {
            name: topic.name.to_owned(),
            file: format!("topics/{}.toml", topic.name),
            partitions: topic.partitions,
            settings: settings(topic.retention.as_millis(), topic.cleanup_policy),
        });
        let dead_letters = DEAD_LETTER.groups.iter().map(|group| Self {
            name: dead_letter_topic(group),
            file: "topics/dead-letter.toml".to_owned(),
            partitions: DEAD_LETTER.partitions,
            settings: settings(
                DEAD_LETTER.retention.as_millis(),
                DEAD_LETTER.cleanup_policy,
            ),
        });
        topics.chain(dead_letters).collect()
    }
}

/// A topic as the brokers have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The number of partitions.
    pub partitions: i32,
    /// Every setting, defaults included.
    pub settings: BTreeMap<String, FoundSetting>,
}

/// A setting of a topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSetting {
    /// Its value.
    pub value: String,
    /// Whether it was set for this topic (and would be lost if it were not repeated).
    pub own: bool,
}

/// What to do with one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// What is wanted.
    pub wanted: Wanted,
    /// What to do.
    pub action: Action,
    /// The number of partitions that the brokers have, where it differs.
    pub other_partitions: Option<i32>,
}

/// What to do with one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create it.
    Create,
    /// Nothing.
    Keep,
    /// Change its settings.
    Alter {
        /// What differs.
        differences: Vec<Difference>,
        /// All settings that the topic has of its own afterwards: the request replaces them all.
        settings: BTreeMap<String, String>,
    },
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Kafka's name of it.
    pub setting: &'static str,
    /// What the brokers have.
    pub found: String,
    /// What the catalogue wants.
    pub wanted: String,
}

/// Compares the catalogue with the brokers.
pub fn plan(wanted: Vec<Wanted>, found: &BTreeMap<String, Found>) -> Vec<TopicPlan> {
    wanted
        .into_iter()
        .map(|wanted| match found.get(&wanted.name) {
            None => TopicPlan {
                wanted,
                action: Action::Create,
                other_partitions: None,
            },
            Some(found) => TopicPlan {
                action: action(&wanted, found),
                other_partitions: Some(found.partitions)
                    .filter(|partitions| *partitions != wanted.partitions),
                wanted,
            },
        })
        .collect()
}

fn action(wanted: &Wanted, found: &Found) -> Action {
    let value = |setting: &str| found.settings.get(setting).map(|found| found.value.clone());
    let differences: Vec<Difference> = wanted
        .settings
        .iter()
        .filter(|(setting, wanted)| value(setting).is_none_or(|found| !is_same(&found, wanted)))
        .map(|(setting, wanted)| Difference {
            setting,
            found: value(setting).unwrap_or_default(),
            wanted: wanted.clone(),
        })
        .collect();
    if differences.is_empty() {
        return Action::Keep;
    }
    let own = found.settings.iter().filter(|(_, setting)| setting.own);
    let mut settings: BTreeMap<String, String> = own
        .map(|(name, setting)| (name.clone(), setting.value.clone()))
        .collect();
    for (name, value) in &wanted.settings {
        settings.insert((*name).to_owned(), value.clone());
    }
    Action::Alter {
        differences,
        settings,
    }
}

/// Lists mean the same in any order.
fn is_same(one: &str, other: &str) -> bool {
    let sorted = |text: &str| {
        let mut items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        items.sort();
        items
    };
    sorted(one) == sorted(other)
}

impl TopicPlan {
    /// What was done, for people.
    pub fn done(&self, replicas: usize) -> String {
        self.line(replicas, "created", "changed")
    }

    /// What would be done, for people.
    pub fn would(&self, replicas: usize) -> String {
        self.line(replicas, "would be created", "would be changed")
    }

    fn line(&self, replicas: usize, created: &str, changed: &str) -> String {
        let name = &self.wanted.name;
        match &self.action {
            Action::Create => {
                let partitions = self.wanted.partitions;
                let settings: Vec<String> = self
                    .wanted
                    .settings
                    .iter()
                    .map(|(setting, value)| format!("{setting} {}", shown(setting, value)))
                    .collect();
                format!(
                    "{name}: {created}: {partitions} partitions, {replicas} replicas, {}",
                    settings.join(", ")
                )
            }
            Action::Keep => format!("{name}: has the settings that it should have"),
            Action::Alter { differences, .. } => {
                let differences: Vec<String> =
                    differences.iter().map(ToString::to_string).collect();
                format!("{name}: {changed}: {}", differences.join(", "))
            }
        }
    }

    /// What is not done, and what to do about it.
    pub fn refusal(&self) -> Option<String> {
        let found = self.other_partitions?;
        let Wanted {
            name,
            file,
            partitions,
            ..
        } = &self.wanted;
        let why = if found < *partitions {
            "more would send keys to other partitions and break their order"
        } else {
            "Kafka cannot remove partitions"
        };
        Some(format!(
            "{name}: has {found} partitions, {file} says {partitions}; left alone: {why}. Correct \
             {file}, or create the topic anew under another name and move its writers and readers"
        ))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            found,
            wanted,
        } = self;
        write!(
            f,
            "{setting} {} -> {}",
            shown(setting, found),
            shown(setting, wanted)
        )
    }
}

/// A value as people read it: milliseconds with the days that they are.
fn shown(setting: &str, value: &str) -> String {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    match value.parse::<i64>() {
        Ok(-1) if setting == RETENTION => format!("{value} (unlimited)"),
        Ok(millis) if setting == RETENTION && millis % DAY == 0 => {
            format!("{value} ({} days)", millis / DAY)
        }
        Ok(_) | Err(_) => value.to_owned(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
