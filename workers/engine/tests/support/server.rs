//! One PostgreSQL server for all tests of a file, one database for each test.
//!
//! The tables are migrated once, in a template; a test's database is a copy of it. Each test has a
//! role of its own too, with a worker's privileges, because what a role may do and how it may log
//! in is what some tests are about.

use databases::{Environment, Request, Service, migrate};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use std::str::FromStr;
use std::sync::{Arc, Weak};
use testkit::{Postgres, PostgresBuilder};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Ends with the last test that uses it.
static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

/// The server that the tests of this file share.
pub async fn shared() -> Arc<Postgres> {
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(migrated(builder()).await);
    *shared = Arc::downgrade(&server);
    server
}

/// The settings of a server for tests.
pub fn builder() -> PostgresBuilder {
    Postgres::builder()
        .setting("max_connections", "200")
        // A deadlock is found soon.
        .setting("deadlock_timeout", "100ms")
}

/// A server with the template database.
pub async fn migrated(builder: PostgresBuilder) -> Postgres {
    let postgres = builder.start().await.unwrap();
    let admin = PgConnectOptions::from_str(&postgres.url("postgres")).unwrap();
    let mut request = Request::new(admin, Environment::Test);
    request.services = vec![Service::Analytics];
    migrate(&request, &mut |_| {}).await.unwrap();
    postgres
}

/// A test's own database and role.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub role: String,
    pub password: &'static str,
}

impl Database {
    /// Copies the template, adds the test's own tables, and gives the role a worker's privileges.
    pub async fn create(server: &Postgres, tables: &str) -> Self {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let role = format!("worker_{}", Uuid::new_v4().simple());
        let template = Service::Analytics.database(Environment::Test);
        let password = "secret";
        let mut admin = connect(&server.url("postgres")).await;
        for statement in [
            format!("CREATE DATABASE {name} TEMPLATE {template}"),
            format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"),
            format!("GRANT CONNECT ON DATABASE {name} TO {role}"),
        ] {
            execute(&mut admin, statement).await;
        }
        let mut owner = connect(&server.url(&name)).await;
        execute(&mut owner, tables.to_owned()).await;
        execute(
            &mut owner,
            format!("SELECT engine.apply_worker_privileges('{role}')"),
        )
        .await;
        Self {
            name,
            role,
            password,
        }
    }
}

pub async fn connect(url: &str) -> PgConnection {
    PgConnectOptions::from_str(url)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

pub async fn execute(connection: &mut PgConnection, sql: String) {
    connection
        .execute(AssertSqlSafe(sql.clone()))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
