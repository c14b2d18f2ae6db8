//! Servers and databases for the tests.
//!
//! Roles belong to the whole server. A test that is about roles or databases has a server of its
//! own; the others share one, in which each has its own databases.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use databases::{Environment, Error, Progress, Request, Role, Service, migrate};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use testkit::Postgres;
use tokio::sync::Mutex;
use uuid::Uuid;

pub const ENVIRONMENT: Environment = Environment::Test;

/// Ends with the last test that uses it.
static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

/// A server, and the names of the test's databases in it.
pub struct Fixture {
    pub server: Arc<Postgres>,
    names: BTreeMap<Service, String>,
}

impl Fixture {
    /// A server of the test's own, empty.
    pub async fn empty() -> Self {
        let server = Arc::new(Postgres::start().await.unwrap());
        Self {
            server,
            names: BTreeMap::new(),
        }
    }

    /// A server of the test's own, with the given services' databases under their usual names.
    pub async fn alone(services: &[Service]) -> Self {
        let fixture = Self::empty().await;
        fixture.migrate(services).await.unwrap();
        fixture
    }

    /// The shared server, with databases of the test's own.
    pub async fn migrated(services: &[Service]) -> Self {
        let name = |service: &Service| (*service, format!("{service}_{}", Uuid::new_v4().simple()));
        let fixture = Self {
            server: shared().await,
            names: services.iter().map(name).collect(),
        };
        fixture.migrate(services).await.unwrap();
        fixture
    }

    pub fn request(&self, services: &[Service]) -> Request {
        let admin: PgConnectOptions = self.server.url("postgres").parse().unwrap();
        Request {
            services: services.to_vec(),
            other_names: self.names.clone(),
            ..Request::new(admin, ENVIRONMENT)
        }
    }

    pub async fn migrate(&self, services: &[Service]) -> Result<Vec<Progress>, Error> {
        run(&self.request(services)).await
    }

    /// The address of a service's database, for a role.
    pub fn url_as(&self, role: &str, service: Service) -> String {
        let other = self.names.get(&service).cloned();
        self.server.url_as(
            role,
            &other.unwrap_or_else(|| service.database(ENVIRONMENT)),
        )
    }

    /// Connects to a service's database as the superuser, who also owns it.
    pub async fn owner(&self, service: Service) -> PgConnection {
        connect(&self.url_as("postgres", service)).await.unwrap()
    }

    /// Connects to a service's database as a role.
    pub async fn role(&self, role: Role, service: Service) -> PgConnection {
        connect(&self.url_as(role.name(), service)).await.unwrap()
    }
}

async fn shared() -> Arc<Postgres> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Postgres::start().await.unwrap());
    *shared = Arc::downgrade(&server);
    server
}

pub async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    url.parse::<PgConnectOptions>()?.connect().await
}

/// Runs a migration and returns what it reported.
pub async fn run(request: &Request) -> Result<Vec<Progress>, Error> {
    let mut steps = Vec::new();
    migrate(request, &mut |step| steps.push(step)).await?;
    Ok(steps)
}

/// Statements that have to succeed.
pub async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    let sql = sql.into();
    connection
        .execute(AssertSqlSafe(sql.clone()))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// PostgreSQL's code for the error that a statement has to end in.
pub async fn refusal(connection: &mut PgConnection, sql: impl Into<String>) -> String {
    let sql = sql.into();
    match connection.execute(AssertSqlSafe(sql.clone())).await {
        Ok(_) => panic!("{sql}: was not refused"),
        Err(error) => error
            .as_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned(),
    }
}

/// Asserts that a role lacks the privilege for each of the statements.
pub async fn assert_forbidden(connection: &mut PgConnection, statements: &[&str]) {
    for statement in statements {
        assert_eq!(
            refusal(connection, *statement).await,
            "42501",
            "{statement}"
        );
    }
}

/// A single value.
pub async fn value<T>(connection: &mut PgConnection, sql: impl Into<String>) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let sql = sql.into();
    sqlx::query_scalar(AssertSqlSafe(sql.clone()))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A column of text.
pub async fn texts(connection: &mut PgConnection, sql: impl Into<String>) -> Vec<String> {
    let sql = sql.into();
    sqlx::query_scalar(AssertSqlSafe(sql.clone()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Milliseconds of a UTC midnight, by the server's clock.
pub async fn midnight_ms(connection: &mut PgConnection) -> i64 {
    value(
        connection,
        "SELECT ((now() AT TIME ZONE 'UTC')::date - date '1970-01-01')::bigint * 86400000",
    )
    .await
}

pub const DAY_MS: i64 = 86_400_000;

/// A version-7 id of that millisecond.
pub fn v7(milliseconds: i64, number: u128) -> Uuid {
    let time = u128::try_from(milliseconds).unwrap() << 80;
    Uuid::from_u128(time | (0x7 << 76) | (0x2 << 62) | number)
}

/// An id with the same leading bits, but of version 4.
pub fn v4_like(milliseconds: i64, number: u128) -> Uuid {
    let time = u128::try_from(milliseconds).unwrap() << 80;
    Uuid::from_u128(time | (0x4 << 76) | (0x2 << 62) | number)
}
