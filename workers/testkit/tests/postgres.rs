//! The real PostgreSQL server: it answers, keeps its data and fails with clear words.

use std::net::TcpListener;

use anyhow::Result;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{Error, Postgres, StopMode};

async fn shown(connection: &mut PgConnection, setting: &str) -> Result<String> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}")))
        .fetch_one(connection)
        .await?)
}

#[tokio::test]
async fn it_answers_over_tcp_and_over_its_socket_with_the_settings_asked_for() -> Result<()> {
    let server = Postgres::builder()
        .setting("max_connections", "17")
        .setting("shared_buffers", "16MB")
        .start()
        .await?;

    let mut over_tcp = PgConnection::connect(&server.url("postgres")).await?;
    let one: i32 = sqlx::query_scalar("SELECT 1")
        .fetch_one(&mut over_tcp)
        .await?;
    assert_eq!(one, 1);
    assert_eq!(shown(&mut over_tcp, "max_connections").await?, "17");
    assert_eq!(shown(&mut over_tcp, "shared_buffers").await?, "16MB");
    assert_eq!(shown(&mut over_tcp, "fsync").await?, "off");
    assert_eq!(shown(&mut over_tcp, "listen_addresses").await?, "127.0.0.1");

    let socket = PgConnectOptions::new_without_pgpass()
        .host(&server.socket_dir().to_string_lossy())
        .port(server.port())
        .username("postgres")
        .database("postgres");
    let mut over_socket = PgConnection::connect_with(&socket).await?;
    let two: i32 = sqlx::query_scalar("SELECT 2")
        .fetch_one(&mut over_socket)
        .await?;
    assert_eq!(two, 2);
    Ok(())
}

#[tokio::test]
async fn committed_data_survives_a_crash_and_a_stop() -> Result<()> {
    let mut server = Postgres::start().await?;
    let (port, first_pid) = (server.port(), server.pid());
    let url = server.create_database("learnexpert_search").await?;
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::query("CREATE TABLE fact (id int PRIMARY KEY)")
        .execute(&mut connection)
        .await?;

    for (id, mode) in [(1, StopMode::Immediate), (2, StopMode::Fast)] {
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::query("INSERT INTO fact VALUES ($1)")
            .bind(id)
            .execute(&mut connection)
            .await?;
        server.stop(mode).await?;
        assert_eq!(server.pid(), None);
        assert!(PgConnection::connect(&url).await.is_err());

        server.start_again().await?;
        assert_eq!(server.port(), port);
        assert_ne!(server.pid(), first_pid);
        let mut connection = PgConnection::connect(&url).await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM fact")
            .fetch_one(&mut connection)
            .await?;
        assert_eq!(count, i64::from(id));
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_directory() -> Result<()> {
    let server = Postgres::start().await?;
    let (directory, url) = (server.socket_dir().to_owned(), server.url("postgres"));
    drop(server);
    assert!(!directory.exists());
    assert!(PgConnection::connect(&url).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_setting_that_the_server_refuses_shows_in_the_error() {
    let error = Postgres::builder()
        .setting("max_connections", "many")
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ProcessFailed { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("PostgreSQL ended with"), "{text}");
    assert!(
        text.contains("invalid value for parameter \"max_connections\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_taken_while_the_server_was_stopped_is_named() -> Result<()> {
    let mut server = Postgres::start().await?;
    server.stop(StopMode::Fast).await?;
    let thief = TcpListener::bind(("127.0.0.1", server.port()))?;
    let text = server.start_again().await.unwrap_err().to_string();
    assert!(text.contains("Address already in use"), "{text}");
    drop(thief);
    server.start_again().await?;
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_says_so() -> Result<()> {
    let mut server = Postgres::start().await?;
    server.stop(StopMode::Fast).await?;
    let error = server.stop(StopMode::Fast).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "PostgreSQL is not running; start it with start_again()"
    );
    Ok(())
}
