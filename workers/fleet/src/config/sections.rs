//! The sections, with their defaults.

use super::inbox::InboxRetention;
use super::problem::Problem;
use super::reader::{Choice, Reader};
use super::{Config, security};
use databases::{Environment, Service};
use engine::{FloodLimits, GroupProtocol, Limits, Shutdown, Start, Timeouts};
use publish::{Secret, Security};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The shortest session that brokers allow by default, in milliseconds.
const LEAST_SESSION_TIMEOUT_MS: u64 = 6000;

/// How the relay's login is called beside those of the services.
pub const RELAY: &str = "relay";

/// `[kafka]`
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Addresses to start from; empty = not set.
    pub brokers: Vec<String>,
    /// Encryption and authentication.
    pub security: Security,
    /// Stable identity in consumer groups; `None` = dynamic membership.
    pub group_instance_id: Option<String>,
    /// After which silence a member loses its partitions.
    pub session_timeout: Duration,
    /// How long the consumer may go without polling.
    pub max_poll_interval: Duration,
    /// What happens to the partitions when a worker stops.
    pub shutdown: Shutdown,
    /// Which protocol forms the groups.
    pub group_protocol: GroupProtocol,
    /// Where a new group starts.
    pub start: Start,
}

/// `[registry]`
#[derive(Clone, Debug)]
pub struct RegistrySection {
    /// Base addresses; empty = not set.
    pub urls: Vec<String>,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// A bearer token.
    pub token: Option<Secret>,
    /// Who may sign the registry's certificate.
    pub tls_ca: Option<PathBuf>,
    /// How long one address may take to answer.
    pub timeout: Duration,
    /// How long an unknown schema id is waited for while the registry answers.
    pub unknown_schema_wait: Duration,
    /// Whether the schemas of this build serve instead of a registry.
    pub bundled: bool,
}

/// `[database]`
#[derive(Clone, Debug)]
pub struct Database {
    /// The server, without a database.
    pub url: Option<Secret>,
    /// Who migrates.
    pub admin_url: Option<Secret>,
    /// `[database.<service>]`, by the service's name; the relay's as `relay`.
    pub logins: BTreeMap<&'static str, Login>,
}

/// `[database.<service>]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Another server or database than `database.url` says.
    pub url: Option<Secret>,
    /// Another user than the service's role.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
}

/// `[engine]`
#[derive(Clone, Debug)]
pub struct Engine {
    /// Events of one batch at the most.
    pub batch_events: usize,
    /// Bytes of one batch at the most.
    pub batch_bytes: usize,
    /// How long an event may wait for others to share its transaction.
    pub linger: Duration,
    /// Connections per worker that apply batches.
    pub lanes: usize,
    /// What may be held in memory.
    pub budget: Limits,
    /// Server-side limits of every connection.
    pub timeouts: Timeouts,
    /// How long a shutdown may take.
    pub drain_deadline: Duration,
    /// First and longest wait between attempts.
    pub backoff: (Duration, Duration),
    /// When a partition halts instead of dead-lettering.
    pub flood: FloodLimits,
    /// How long the ids of applied events are kept.
    pub inbox_retention: InboxRetention,
    /// From which lag on a worker is late.
    pub lag_alert: Duration,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Where health, status and metrics are served.
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged: a level, or levels by module as in `info,librdkafka=warn`.
    pub level: String,
}

/// For whom the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Choice for Environment {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("dev", Self::Dev),
        ("test", Self::Test),
        ("staging", Self::Staging),
        ("prod", Self::Prod),
    ];
}

impl Choice for Shutdown {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("stay", Self::Stay), ("leave", Self::Leave)];
}

impl Choice for GroupProtocol {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("classic", Self::Classic), ("consumer", Self::Consumer)];
}

impl Choice for Start {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("earliest", Self::Earliest), ("latest", Self::Latest)];
}

impl Choice for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("human", Self::Human), ("json", Self::Json)];
}

impl Config {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            environment: reader.or("environment", Environment::Dev),
            kafka: Kafka::read(reader),
            registry: RegistrySection::read(reader),
            database: Database::read(reader),
            engine: Engine::read(reader),
            http: Http {
                listen: reader.or("http.listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            },
            log: Log {
                format: reader.or("log.format", LogFormat::Human),
                level: reader.or("log.level", "info".to_owned()),
            },
        }
    }
}

impl Kafka {
    fn read(reader: &mut Reader) -> Self {
        let brokers = reader.optional("kafka.brokers").unwrap_or_default();
        let security = security::read(reader);
        let group_protocol = reader.or("kafka.group_protocol", GroupProtocol::Classic);
        Self {
            brokers,
            security,
            group_instance_id: group_instance_id(reader, group_protocol),
            session_timeout: Duration::from_millis(reader.at_least(
                "kafka.session_timeout_ms",
                LEAST_SESSION_TIMEOUT_MS,
                LEAST_SESSION_TIMEOUT_MS,
            )),
            max_poll_interval: reader.millis("kafka.max_poll_interval_ms", 300_000),
            shutdown: reader.or("kafka.shutdown", Shutdown::Stay),
            group_protocol,
            start: reader.or("kafka.start", Start::Earliest),
        }
    }
}

/// The machine's name where a stable identity is wanted; a StatefulSet's pods have stable ones.
fn group_instance_id(reader: &mut Reader, protocol: GroupProtocol) -> Option<String> {
    const KEY: &str = "kafka.group_instance_id";
    let default = match protocol {
        GroupProtocol::Classic => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok()),
        GroupProtocol::Consumer => None,
    };
    let chosen = reader.or(KEY, default.unwrap_or_else(|| "none".to_owned()));
    if chosen == "none" {
        return None;
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if chosen.len() > 249 || !chosen.chars().all(legal) {
        let problem = "may have only letters, digits, '.', '_' and '-', 249 at the most";
        reader.problem(Problem::error(&[KEY], problem));
    }
    if protocol == GroupProtocol::Consumer {
        let problem = "must be \"none\" with kafka.group_protocol = \"consumer\": brokers refuse a \
                       member that comes back with its old identity";
        reader.problem(Problem::error(&[KEY, "kafka.group_protocol"], problem));
    }
    Some(chosen)
}

impl RegistrySection {
    fn read(reader: &mut Reader) -> Self {
        let urls: Vec<String> = reader.optional("registry.url").unwrap_or_default();
        let user: Option<String> = reader.optional("registry.user");
        let password: Option<Secret> = reader.optional("registry.password");
        let token: Option<Secret> = reader.optional("registry.token");
        let bundled = reader.or("registry.bundled", false);
        if user.is_some() != password.is_some() {
            let what = "and registry.password belong together; set both or neither";
            reader.problem(Problem::error(
                &["registry.user", "registry.password"],
                what,
            ));
        }
        if token.is_some() && user.is_some() {
            let what = "and registry.user are both set; keep one of them";
            reader.problem(Problem::error(&["registry.token", "registry.user"], what));
        }
        if bundled && !urls.is_empty() {
            let what = "is true, but registry.url is set; remove one of them";
            reader.problem(Problem::error(&["registry.bundled", "registry.url"], what));
        }
        Self {
            urls,
            login: user.zip(password),
            token,
            tls_ca: reader.optional("registry.tls_ca"),
            timeout: reader.millis("registry.timeout_ms", 2000),
            unknown_schema_wait: reader.seconds("registry.unknown_schema_wait_s", 60),
            bundled,
        }
    }
}

impl Database {
    fn read(reader: &mut Reader) -> Self {
        let names = Service::ALL.into_iter().map(Service::name).chain([RELAY]);
        Self {
            url: reader.optional("database.url"),
            admin_url: reader.optional("database.admin_url"),
            logins: names
                .map(|name| {
                    let login = Login {
                        url: reader.optional(&format!("database.{name}.url")),
                        user: reader.optional(&format!("database.{name}.user")),
                        password: reader.optional(&format!("database.{name}.password")),
                    };
                    (name, login)
                })
                .collect(),
        }
    }
}

impl Engine {
    fn read(reader: &mut Reader) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            batch_events: count(reader.at_least("engine.batch_events", 1, 5000)),
            batch_bytes: count(reader.at_least("engine.batch_bytes", 1, 8 * 1024 * 1024)),
            linger: Duration::from_millis(reader.or("engine.linger_ms", 5)),
            lanes: count(reader.at_least("engine.lanes", 1, 2)),
            budget: Limits {
                events: count(reader.at_least("engine.budget_events", 1, 50_000)),
                bytes: count(reader.at_least("engine.budget_bytes", 1, 128 * 1024 * 1024)),
            },
            timeouts: Timeouts {
                statement: reader.millis("engine.statement_timeout_ms", 30_000),
                lock: reader.millis("engine.lock_timeout_ms", 5000),
                idle_in_transaction: reader.millis("engine.idle_in_transaction_timeout_ms", 5000),
            },
            drain_deadline: reader.seconds("engine.drain_deadline_s", 20),
            backoff: (
                reader.millis("engine.backoff_base_ms", 100),
                reader.millis("engine.backoff_cap_ms", 30_000),
            ),
            flood: FloodLimits {
                consecutive: small(reader.at_least("engine.flood_consecutive", 1, 100)),
                ratio: reader.or("engine.flood_ratio", 0.5),
                window: small(reader.at_least("engine.flood_window", 1, 1000)),
            },
            inbox_retention: reader.or("engine.inbox_retention_days", InboxRetention::Days(500)),
            lag_alert: reader.seconds("engine.lag_alert_s", 30),
        }
    }
}
