//! How to reach the brokers: one set of settings for everything that talks to Kafka.
//!
//! Invariant: a password is never shown by `Debug`.

use crate::Secret;
use rdkafka::ClientConfig;
use std::fmt;
use std::path::PathBuf;

/// The longest pause between two attempts to reach a broker, in milliseconds.
const RECONNECT_BACKOFF_MAX_MS: &str = "500";

/// Where the brokers are and how to prove to them who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Addresses to start from, `host:port`.
    pub brokers: Vec<String>,
    /// Encryption and authentication.
    pub security: Security,
    /// The name that broker logs, quotas and metrics show; librdkafka's own when `None`.
    pub client_id: Option<String>,
}

/// Encryption and authentication of the connection to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Neither: for a broker on the same machine.
    Plaintext,
    /// TLS; with [`Tls::certificate`] also authentication by certificate.
    Tls(Tls),
    /// User and password, in the clear with [`SaslMechanism::Plain`].
    Sasl(Sasl),
    /// User and password inside TLS.
    SaslTls(Sasl, Tls),
}

/// Files for TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may sign the broker's certificate; the system's own list when `None`.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// The client's private key.
    pub key: Option<PathBuf>,
    /// The password of the private key.
    pub key_password: Option<Secret>,
}

/// A user of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SaslMechanism {
    /// The password itself is sent.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        })
    }
}

impl KafkaSettings {
    /// Brokers without encryption or authentication: `"host:port,host:port"`.
    pub fn plaintext(brokers: &str) -> Self {
        Self {
            brokers: brokers
                .split(',')
                .map(|broker| broker.trim().to_owned())
                .collect(),
            security: Security::Plaintext,
            client_id: None,
        }
    }

    /// Checks that the files of [`Tls`] can be read; librdkafka's own error would not name them.
    ///
    /// # Errors
    /// A text that names the file and what is wrong with it.
    pub fn check_files(&self) -> Result<(), String> {
        let (Security::Tls(tls) | Security::SaslTls(_, tls)) = &self.security else {
            return Ok(());
        };
        for file in [&tls.ca, &tls.certificate, &tls.key].into_iter().flatten() {
            std::fs::File::open(file)
                .map_err(|e| format!("the file {} cannot be read: {e}", file.display()))?;
        }
        Ok(())
    }

    /// The configuration that every client starts from: connection and security, nothing about
    /// producing or consuming.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MAX_MS)
            .set("socket.keepalive.enable", "true");
        if let Some(client_id) = &self.client_id {
            config.set("client.id", client_id);
        }
        match &self.security {
            Security::Plaintext => {
                config.set("security.protocol", "plaintext");
            }
            Security::Tls(tls) => {
                config.set("security.protocol", "ssl");
                tls.apply(&mut config);
            }
            Security::Sasl(sasl) => {
                config.set("security.protocol", "sasl_plaintext");
                sasl.apply(&mut config);
            }
            Security::SaslTls(sasl, tls) => {
                config.set("security.protocol", "sasl_ssl");
                sasl.apply(&mut config);
                tls.apply(&mut config);
            }
        }
        config
    }
}

impl Tls {
    fn apply(&self, config: &mut ClientConfig) {
        let files = [
            ("ssl.ca.location", &self.ca),
            ("ssl.certificate.location", &self.certificate),
            ("ssl.key.location", &self.key),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                config.set(name, file.display().to_string());
            }
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", password.expose());
        }
    }
}

impl Sasl {
    fn apply(&self, config: &mut ClientConfig) {
        config
            .set("sasl.mechanism", self.mechanism.to_string())
            .set("sasl.username", &self.user)
            .set("sasl.password", self.password.expose());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_everything() -> KafkaSettings {
        KafkaSettings {
            brokers: vec!["a:9092".to_owned(), "b:9092".to_owned()],
            security: Security::SaslTls(
                Sasl {
                    mechanism: SaslMechanism::ScramSha512,
                    user: "analytics".to_owned(),
                    password: Secret::new("hunter2"),
                },
                Tls {
                    ca: Some("/etc/ca.pem".into()),
                    certificate: Some("/etc/me.pem".into()),
                    key: Some("/etc/me.key".into()),
                    key_password: Some(Secret::new("hunter3")),
                },
            ),
            client_id: Some("analytics-0".to_owned()),
        }
    }

    #[test]
    fn every_setting_reaches_the_client() {
        let config = with_everything().client_config();
        let expected = [
            ("bootstrap.servers", "a:9092,b:9092"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "analytics"),
            ("sasl.password", "hunter2"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("ssl.certificate.location", "/etc/me.pem"),
            ("ssl.key.location", "/etc/me.key"),
            ("ssl.key.password", "hunter3"),
            ("client.id", "analytics-0"),
            ("reconnect.backoff.max.ms", "500"),
        ];
        for (name, value) in expected {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn no_output_shows_a_password() {
        let settings = with_everything();
        let shown = format!("{settings:?} {:?}", settings.client_config());
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn the_client_library_can_do_every_kind_of_security() {
        use rdkafka::producer::BaseProducer;
        let sasl = |mechanism| Sasl {
            mechanism,
            user: "u".to_owned(),
            password: Secret::new("p"),
        };
        let plain = || sasl(SaslMechanism::Plain);
        let all = [
            Security::Plaintext,
            Security::Tls(Tls::default()),
            Security::Sasl(plain()),
            Security::Sasl(sasl(SaslMechanism::ScramSha256)),
            Security::SaslTls(sasl(SaslMechanism::ScramSha512), Tls::default()),
            Security::SaslTls(plain(), Tls::default()),
        ];
        for security in all {
            let shown = format!("{security:?}");
            let settings = KafkaSettings {
                security,
                ..KafkaSettings::plaintext("127.0.0.1:1")
            };
            let created = settings.client_config().create::<BaseProducer>();
            assert!(created.is_ok(), "{shown}: {:?}", created.err());
        }
    }

    #[test]
    fn a_list_of_brokers_may_have_spaces() {
        let settings = KafkaSettings::plaintext("a:1, b:2");
        assert_eq!(
            settings.client_config().get("bootstrap.servers"),
            Some("a:1,b:2")
        );
        assert_eq!(
            settings.client_config().get("security.protocol"),
            Some("plaintext")
        );
    }
}
