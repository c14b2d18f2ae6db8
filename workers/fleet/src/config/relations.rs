//! What must hold between settings.
//!
//! Invariant: nothing is concluded from a setting that could not be read; its own problem is
//! enough.

use super::problem::Problem;
use super::reader::Reader;
use super::{Config, inbox};
use databases::Environment;
use publish::Security;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Every relation that does not hold.
pub fn problems(config: &Config, reader: &Reader) -> Vec<Problem> {
    let mut relations = Relations {
        reader,
        problems: Vec::new(),
    };
    relations.poll_interval(config);
    relations.budgets(config);
    relations.waits(config);
    relations.inbox(config);
    relations.log(config);
    relations.files(config);
    if config.environment == Environment::Prod {
        relations.production(config);
    }
    relations.problems
}

struct Relations<'a> {
    reader: &'a Reader,
    problems: Vec<Problem>,
}

impl Relations<'_> {
    fn demand(&mut self, holds: bool, keys: &[&'static str], what: impl FnOnce() -> String) {
        if !holds && keys.iter().all(|key| !self.reader.is_unsound(key)) {
            self.problems.push(Problem::error(keys, what()));
        }
    }

    fn less(
        &mut self,
        (one, short): (&'static str, Duration),
        (other, long): (&'static str, Duration),
    ) {
        self.demand(short < long, &[one, other], || {
            format!(
                "is {}, but must be less than {other}, which is {}",
                text(short),
                text(long)
            )
        });
    }

    fn not_more(
        &mut self,
        (one, small): (&'static str, usize),
        (other, large): (&'static str, usize),
    ) {
        self.demand(small <= large, &[one, other], || {
            format!("is {small}, but must not be more than {other}, which is {large}")
        });
    }

    /// Whoever takes longer than the poll interval is no member of its group any more.
    fn poll_interval(&mut self, config: &Config) {
        let interval = ("kafka.max_poll_interval_ms", config.kafka.max_poll_interval);
        self.less(
            ("kafka.session_timeout_ms", config.kafka.session_timeout),
            interval,
        );
        self.less(
            (
                "engine.statement_timeout_ms",
                config.engine.timeouts.statement,
            ),
            interval,
        );
        self.less(
            ("engine.drain_deadline_s", config.engine.drain_deadline),
            interval,
        );
    }

    fn budgets(&mut self, config: &Config) {
        let engine = &config.engine;
        self.not_more(
            ("engine.batch_events", engine.batch_events),
            ("engine.budget_events", engine.budget.events),
        );
        self.not_more(
            ("engine.batch_bytes", engine.batch_bytes),
            ("engine.budget_bytes", engine.budget.bytes),
        );
    }

    fn waits(&mut self, config: &Config) {
        let engine = &config.engine;
        self.less(
            ("engine.lock_timeout_ms", engine.timeouts.lock),
            ("engine.statement_timeout_ms", engine.timeouts.statement),
        );
        self.less(
            ("engine.backoff_base_ms", engine.backoff.0),
            ("engine.backoff_cap_ms", engine.backoff.1),
        );
        let ratio = engine.flood.ratio;
        self.demand(ratio > 0.0 && ratio <= 1.0, &["engine.flood_ratio"], || {
            format!("is {ratio}; it is a share, above 0 and up to 1")
        });
    }

    fn inbox(&mut self, config: &Config) {
        if let Some(complaint) = inbox::complaint(config.engine.inbox_retention, None) {
            self.demand(false, &["engine.inbox_retention_days"], || complaint);
        }
    }

    fn log(&mut self, config: &Config) {
        if let Err(error) = EnvFilter::try_new(&config.log.level) {
            self.demand(false, &["log.level"], || {
                format!(
                    "is no level (error, warn, info, debug, trace) and no list of them: {error}"
                )
            });
        }
    }

    fn files(&mut self, config: &Config) {
        if let Security::Tls(tls) | Security::SaslTls(_, tls) = &config.kafka.security {
            self.file("kafka.tls_ca", tls.ca.as_ref());
            self.file("kafka.tls_certificate", tls.certificate.as_ref());
            self.file("kafka.tls_key", tls.key.as_ref());
        }
        self.file("registry.tls_ca", config.registry.tls_ca.as_ref());
    }

    fn file(&mut self, key: &'static str, path: Option<&std::path::PathBuf>) {
        let Some(path) = path else { return };
        if let Err(error) = std::fs::File::open(path) {
            let shown = path.display();
            self.demand(false, &[key], || {
                format!("names {shown}, which cannot be read: {error}")
            });
        }
    }

    fn production(&mut self, config: &Config) {
        self.demand(!config.registry.bundled, &["registry.bundled"], || {
            "must not be true in prod: ids of bundled schemas hold for one build only; set \
             registry.url"
                .to_owned()
        });
        if matches!(
            config.kafka.security,
            Security::Plaintext | Security::Sasl(_)
        ) {
            self.advise(
                "kafka.security",
                "has no encryption in prod; use \"tls\" or \"sasl_tls\"",
            );
        }
        if config
            .registry
            .urls
            .iter()
            .any(|url| url.starts_with("http://"))
        {
            self.advise("registry.url", "is not encrypted in prod; use https");
        }
        if config.unencrypted_database() {
            let what = "does not demand encryption in prod; add ?sslmode=verify-full";
            self.advise("database.url", what);
        }
    }

    fn advise(&mut self, key: &'static str, what: &str) {
        self.problems.push(Problem::warning(&[key], what));
    }
}

fn text(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}
