//! The names of services, databases, roles and environments, as the platform document has them.

use std::fmt;
use std::str::FromStr;

use crate::embedded;

/// One of the platform's eleven services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Identity and access management, inside a Supabase project.
    Iam,
    /// Course catalogue.
    Courses,
    /// Learner progress.
    Progress,
    /// Booking and consultations.
    Booking,
    /// Billing and subscriptions.
    Billing,
    /// Media management.
    Media,
    /// Feedback.
    Feedback,
    /// Notifications.
    Notifications,
    /// Platform configuration.
    PlatformConfig,
    /// Analytics.
    Analytics,
    /// Search.
    Search,
}

impl Service {
    /// All eleven.
    pub const ALL: [Self; 11] = [
        Self::Iam,
        Self::Courses,
        Self::Progress,
        Self::Booking,
        Self::Billing,
        Self::Media,
        Self::Feedback,
        Self::Notifications,
        Self::PlatformConfig,
        Self::Analytics,
        Self::Search,
    ];

    /// The service's name in database names and in `migrations/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Courses => "courses",
            Self::Progress => "progress",
            Self::Booking => "booking",
            Self::Billing => "billing",
            Self::Media => "media",
            Self::Feedback => "feedback",
            Self::Notifications => "notifications",
            Self::PlatformConfig => "platform_config",
            Self::Analytics => "analytics",
            Self::Search => "search",
        }
    }

    /// The role that works in the service's database.
    pub const fn role(self) -> Role {
        Role::Worker(self)
    }

    /// The name of the service's database in an environment.
    pub fn database(self, environment: Environment) -> String {
        format!("learnexpert_{}_{environment}", self.name())
    }

    /// Whether this binary carries migrations for the service.
    pub fn is_migratable(self) -> bool {
        embedded::has_folder(self.name())
    }

    /// The services that this binary carries migrations for.
    pub fn migratable() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|service| service.is_migratable())
            .collect()
    }
}

/// A database role that the fleet logs in with. Roles belong to the whole PostgreSQL server: where
/// two environments share one, they share the roles and their passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The role of a service's workers; reaches that service's database only.
    Worker(Service),
    /// The relay's role; reaches the outbox of every service database, and nothing else.
    Relay,
}

impl Role {
    /// The role's name in PostgreSQL. The document uses the singular where it names one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worker(Service::Iam) => "iam_service",
            Self::Worker(Service::Courses) => "course_service",
            Self::Worker(Service::Progress) => "progress_service",
            Self::Worker(Service::Booking) => "booking_service",
            Self::Worker(Service::Billing) => "billing_service",
            Self::Worker(Service::Media) => "media_service",
            Self::Worker(Service::Feedback) => "feedback_service",
            Self::Worker(Service::Notifications) => "notification_service",
            Self::Worker(Service::PlatformConfig) => "platform_config_service",
            Self::Worker(Service::Analytics) => "analytics_service",
            Self::Worker(Service::Search) => "search_service",
            Self::Relay => "relay_service",
        }
    }

    /// All roles.
    pub fn all() -> impl Iterator<Item = Self> {
        Service::ALL
            .into_iter()
            .map(Self::Worker)
            .chain([Self::Relay])
    }
}

/// Where the databases live; the last part of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// A developer's machine.
    Dev,
    /// Automated tests.
    Test,
    /// A copy of production.
    Staging,
    /// Production.
    Prod,
}

impl Environment {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Dev, Self::Test, Self::Staging, Self::Prod];

    /// The environment's name in database names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Prod => "prod",
        }
    }
}

/// A text that names no service, role or environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} {name:?}; use one of {known}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: String,
}

fn by_name<T: Copy>(
    kind: &'static str,
    name: &str,
    all: impl Iterator<Item = T> + Clone,
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    all.clone()
        .find(|known| name_of(*known) == name)
        .ok_or_else(|| UnknownName {
            kind,
            name: name.to_owned(),
            known: all.map(name_of).collect::<Vec<_>>().join(", "),
        })
}

impl FromStr for Service {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("service", name, Self::ALL.into_iter(), Self::name)
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all: Vec<Self> = Self::all().collect();
        by_name("database role", name, all.into_iter(), Self::name)
    }
}

impl FromStr for Environment {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("environment", name, Self::ALL.into_iter(), Self::name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_are_the_document_s() {
        assert_eq!(
            Service::PlatformConfig.database(Environment::Prod),
            "learnexpert_platform_config_prod"
        );
        assert_eq!(
            Service::Notifications.database(Environment::Dev),
            "learnexpert_notifications_dev"
        );
    }

    #[test]
    fn every_name_reads_back_as_what_it_names() {
        assert!(
            Service::ALL
                .iter()
                .all(|service| service.name().parse() == Ok(*service))
        );
        assert!(Role::all().all(|role| role.name().parse() == Ok(role)));
        assert!(
            Environment::ALL
                .iter()
                .all(|known| known.name().parse() == Ok(*known))
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let refusal = "production".parse::<Environment>().unwrap_err().to_string();
        assert_eq!(
            refusal,
            "there is no environment \"production\"; use one of dev, test, staging, prod"
        );
    }
}
