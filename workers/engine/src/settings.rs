//! What can be set. Checked as a whole where the settings are read, before a worker is started.

use crate::kafka::broker::TopicIds;
use crate::scheduling::budget::Limits;
use crate::scheduling::flood_guard::FloodLimits;
use crate::store::claim::Start;
use crate::store::connection::Timeouts;
use publish::KafkaSettings;
use publish::registry::Registry;
use sqlx::postgres::PgConnectOptions;
use std::time::Duration;

/// What happens to this member's partitions when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They wait for the member to come back, up to the session timeout: right for a restart.
    Stay,
    /// The member leaves the group and they go to others: right for a scale-down.
    Leave,
}

/// Which protocol forms the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Cooperative-sticky assignment, decided by the members.
    Classic,
    /// KIP-848, decided by the broker. Needs a broker from 4.0 on; a restart after a crash takes
    /// as long as the broker's session timeout.
    Consumer,
}

/// How a worker is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// How topics are told apart from recreated ones.
    pub topic_ids: TopicIds,
    /// Stable identity of this member (`group.instance.id`); `None` = dynamic membership.
    pub instance_id: Option<String>,
    /// Which protocol forms the group.
    pub group_protocol: GroupProtocol,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `max.poll.interval.ms`.
    pub max_poll_interval: Duration,
    /// Where a group starts that has never read a partition.
    pub start: Start,
    /// What happens to the partitions at the end.
    pub shutdown: Shutdown,
    /// Where writers' schemas come from.
    pub registry: Registry,
    /// The name under which schemas of that registry are kept in the database.
    pub registry_name: String,
    /// How long an unknown schema id is waited for before the event is bad.
    pub unknown_schema_wait: Duration,
    /// The worker's service database, as the service's least-privileged role.
    pub database: PgConnectOptions,
    /// Server-side limits of every connection.
    pub timeouts: Timeouts,
    /// Connections that apply batches.
    pub lanes: usize,
    /// Events of one batch at the most.
    pub batch_events: usize,
    /// Bytes of one batch at the most.
    pub batch_bytes: usize,
    /// How long an event may wait for others to share its transaction.
    pub linger: Duration,
    /// What may be held in memory.
    pub budget: Limits,
    /// First and longest wait between attempts.
    pub backoff: (Duration, Duration),
    /// When a partition halts instead of dead-lettering.
    pub flood: FloodLimits,
    /// How long a shutdown may take before what is in progress is abandoned (safely).
    pub drain_deadline: Duration,
}

impl Settings {
    /// The name that a connection of this member has in `pg_stat_activity`.
    pub(crate) fn connection_name(&self, group: &str, part: &str) -> String {
        let member = self.instance_id.as_deref().unwrap_or("dynamic");
        format!("{group} {member} {part}")
    }

    /// The consumer's configuration for a group.
    pub fn consumer_config(&self, group: &str) -> rdkafka::ClientConfig {
        let mut config = self.kafka.client_config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            // A position that the log does not have must halt, never jump.
            .set("auto.offset.reset", "error")
            .set(
                "max.poll.interval.ms",
                self.max_poll_interval.as_millis().to_string(),
            )
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "50")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.min.bytes", "1")
            .set("check.crcs", "true")
            .set("isolation.level", "read_committed")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("allow.auto.create.topics", "false");
        if let Some(instance) = &self.instance_id {
            config.set("group.instance.id", instance);
        }
        match self.group_protocol {
            GroupProtocol::Classic => config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set(
                    "session.timeout.ms",
                    self.session_timeout.as_millis().to_string(),
                )
                .set(
                    "heartbeat.interval.ms",
                    (self.session_timeout.as_millis() / 4).to_string(),
                ),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        config
    }
}
