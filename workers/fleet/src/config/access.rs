//! What the settings amount to: the values that clients are made of.

use super::problem::{Problem, Unusable};
use super::sections::RELAY;
use super::{Config, Login};
use databases::{Password, Passwords, Role, Service};
use publish::registry::{Registry, RegistryAuth, RegistrySettings};
use publish::{KafkaSettings, Secret};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::collections::BTreeMap;
use std::str::FromStr;

impl Config {
    /// How to reach the brokers.
    ///
    /// # Errors
    /// A missing setting.
    pub fn kafka_settings(&self) -> Result<KafkaSettings, Unusable> {
        if self.kafka.brokers.is_empty() {
            let example = "the addresses of the brokers, such as \"broker-1:9092,broker-2:9092\"";
            return Err(unusable(Problem::missing("kafka.brokers", example)));
        }
        Ok(KafkaSettings {
            brokers: self.kafka.brokers.clone(),
            security: self.kafka.security.clone(),
            client_id: self.kafka.group_instance_id.clone(),
        })
    }

    /// The schema registry.
    ///
    /// # Errors
    /// A missing or unusable address.
    pub fn registry(&self) -> Result<Registry, Unusable> {
        let section = &self.registry;
        if section.bundled {
            return Ok(Registry::bundled());
        }
        if section.urls.is_empty() {
            let example = "the registry's address, such as \"http://registry:8081\", or set \
                           registry.bundled = true where there is none";
            return Err(unusable(Problem::missing("registry.url", example)));
        }
        let auth = match (&section.login, &section.token) {
            (Some((user, password)), _) => RegistryAuth::Basic {
                user: user.clone(),
                password: password.clone(),
            },
            (None, Some(token)) => RegistryAuth::Token(token.clone()),
            (None, None) => RegistryAuth::None,
        };
        let settings = RegistrySettings {
            urls: section.urls.clone(),
            auth,
            timeout: section.timeout,
            ca: section.tls_ca.clone(),
        };
        Registry::connect(&settings).map_err(|e| {
            unusable(Problem::error(
                &["registry.url"],
                format!("is unusable: {e}"),
            ))
        })
    }

    /// The name under which schemas of the registry are kept: ids of another registry mean
    /// something else.
    pub fn registry_name(&self) -> String {
        match self.registry.urls.first() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => "bundled".to_owned(),
        }
    }

    /// A service's database, as the service's own role unless set otherwise.
    ///
    /// # Errors
    /// A missing or unusable address.
    pub fn database(&self, service: Service) -> Result<PgConnectOptions, Unusable> {
        let login = self.login(service.name());
        let (key, url) = self.url_for(service.name(), &login)?;
        let address = Address::of(&url);
        let options = parse(&key, &url)?;
        if login.url.is_none()
            && let Some(what) = address.names_too_much(service)
        {
            return Err(unusable(Problem::error(&[&key], what)));
        }
        let options = match (login.user, address.user) {
            (Some(user), _) => options.username(&user),
            (None, Some(_)) => options,
            (None, None) => options.username(service.role().name()),
        };
        let options = match address.database {
            Some(_) => options,
            None => options.database(&service.database(self.environment)),
        };
        Ok(match &login.password {
            Some(password) => options.password(password.expose()),
            None => options,
        })
    }

    /// Who migrates.
    ///
    /// # Errors
    /// A missing or unusable address.
    pub fn admin(&self) -> Result<PgConnectOptions, Unusable> {
        let Some(url) = &self.database.admin_url else {
            let example = "the address of the server with a role that may create databases and \
                           roles, such as \"postgres://postgres@localhost:5432\"";
            return Err(unusable(Problem::missing("database.admin_url", example)));
        };
        parse("database.admin_url", url)
    }

    /// The passwords of the roles, for migrations to set.
    pub fn role_passwords(&self) -> Passwords {
        let services = Service::ALL
            .into_iter()
            .map(|service| (service.name(), service.role()));
        services
            .chain([(RELAY, Role::Relay)])
            .filter_map(|(name, role)| {
                let login = self.login(name);
                let is_the_role = login.user.is_none_or(|user| user == role.name());
                let password = login.password.filter(|_| is_the_role)?;
                Some((role, Password::new(password.expose())))
            })
            .collect()
    }

    /// Databases that are not named after service and environment.
    pub fn other_database_names(&self) -> BTreeMap<Service, String> {
        Service::ALL
            .into_iter()
            .filter_map(|service| {
                let url = self.login(service.name()).url?;
                Address::of(&url).database?;
                let options = PgConnectOptions::from_str(url.expose()).ok()?;
                Some((service, options.get_database()?.to_owned()))
            })
            .collect()
    }

    /// What `run` needs and does not find.
    pub fn missing(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |outcome: Result<(), Unusable>| {
            for problem in outcome.err().into_iter().flat_map(|unusable| unusable.0) {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        };
        note(self.kafka_settings().map(drop));
        note(self.registry().map(drop));
        for service in Service::migratable() {
            note(self.database(service).map(drop));
        }
        if self.database.admin_url.is_some() {
            note(self.admin().map(drop));
        }
        problems
    }

    /// Whether a connection to a database might go unencrypted.
    pub(super) fn unencrypted_database(&self) -> bool {
        Service::migratable()
            .into_iter()
            .filter_map(|service| self.database(service).ok())
            .any(|options| {
                let mode = options.get_ssl_mode();
                matches!(
                    mode,
                    PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
                )
            })
    }

    fn login(&self, name: &str) -> Login {
        self.database.logins.get(name).cloned().unwrap_or_default()
    }

    fn url_for(&self, name: &str, login: &Login) -> Result<(String, Secret), Unusable> {
        match (&login.url, &self.database.url) {
            (Some(own), _) => Ok((format!("database.{name}.url"), own.clone())),
            (None, Some(shared)) => Ok(("database.url".to_owned(), shared.clone())),
            (None, None) => {
                let example = "the address of the PostgreSQL server without a database, such as \
                               \"postgres://localhost:5432\"";
                Err(unusable(Problem::missing("database.url", example)))
            }
        }
    }
}

fn parse(key: &str, url: &Secret) -> Result<PgConnectOptions, Unusable> {
    let wrong = |what: String| unusable(Problem::error(&[key], what));
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.expose().starts_with(scheme))
    {
        return Err(wrong("must begin with postgres://".to_owned()));
    }
    // The driver's message may repeat the address, and with it the password.
    PgConnectOptions::from_str(url.expose()).map_err(|_| {
        wrong("is no address such as postgres://host:5432/?sslmode=verify-full".to_owned())
    })
}

/// What an address says beside the server. (The driver cannot be asked: where an address is silent,
/// it takes PGUSER and PGDATABASE.)
struct Address<'u> {
    user: Option<&'u str>,
    database: Option<&'u str>,
}

impl<'u> Address<'u> {
    fn of(url: &'u Secret) -> Self {
        let (_, rest) = url.expose().split_once("://").unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, _) = authority.rsplit_once('@').unwrap_or_default();
        let user = login.split(':').next().unwrap_or_default();
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let not_empty = |text: &'u str| Some(text).filter(|text| !text.is_empty());
        Self {
            user: not_empty(user).or_else(|| parameter("user")),
            database: not_empty(path).or_else(|| parameter("dbname")),
        }
    }

    /// What an address for all services must not name.
    fn names_too_much(&self, service: Service) -> Option<String> {
        let name = service.name();
        if let Some(database) = self.database {
            return Some(format!(
                "names the database {database}, but each service has its own; leave it out, or set \
                 database.{name}.url"
            ));
        }
        self.user.map(|user| {
            format!(
                "names the user {user}, but each service has its own; leave it out, or set \
                 database.{name}.user and database.{name}.password"
            )
        })
    }
}

fn unusable(problem: Problem) -> Unusable {
    Unusable(vec![problem])
}
