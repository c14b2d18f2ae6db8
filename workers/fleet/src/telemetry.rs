//! Logs, metrics, and the HTTP server for health, status and metrics.
//!
//! Invariant: the server only reports. Whether something lives or is ready is decided by the
//! [`Health`] that it is given, and asking changes nothing.

use crate::config::{Log, LogFormat};
use anyhow::{Context, Result, anyhow};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Bounds of the buckets of every histogram of seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// How often histograms are put in order; between scrapes they would grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What Prometheus expects `/metrics` to be.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the process is.
pub trait Health: Send + Sync + 'static {
    /// Whether it makes progress. Dependencies play no part: restarting helps none of them.
    ///
    /// # Errors
    /// What stands still.
    fn live(&self) -> Result<(), String>;

    /// Whether it does its work now, dependencies included.
    ///
    /// # Errors
    /// What is missing.
    fn ready(&self) -> Result<(), String>;

    /// Everything worth knowing, for people.
    fn status(&self) -> serde_json::Value;
}

/// Starts logging to standard error, as `[log]` says. May be called once.
///
/// # Errors
/// A level that is none, or a second call.
pub fn log(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("log.level {:?} is no level", log.level))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let outcome = match log.format {
        LogFormat::Human => subscriber.finish().try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init(),
    };
    outcome.map_err(|e| anyhow!("logging cannot be started: {e}"))
}

/// Logging for tools: errors alone, without those of the Kafka client, which a tool reports itself.
pub fn log_of_tools() {
    let filter = EnvFilter::new("error,librdkafka=off,rdkafka=off");
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call changes nothing, and that is right.
    let _already_logging = subscriber.finish().try_init();
}

/// Installs the recorder of all metrics. May be called once.
///
/// # Errors
/// A second call.
pub fn record_metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics cannot be recorded")
}

/// A running HTTP server. It ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    upkeep: JoinHandle<()>,
}

/// Serves `/livez`, `/readyz`, `/status` and `/metrics`.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    metrics: PrometheusHandle,
    health: Arc<dyn Health>,
) -> Result<Server> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("nothing can listen on {listen}; choose another address with http.listen")
    })?;
    let address = listener
        .local_addr()
        .context("a listening address is known")?;
    let (stop, mut stopped) = watch::channel(false);
    let router = Router::new()
        .route(
            "/livez",
            get(|State(s): State<Served>| async move { probe(s.health.live()) }),
        )
        .route(
            "/readyz",
            get(|State(s): State<Served>| async move { probe(s.health.ready()) }),
        )
        .route(
            "/status",
            get(|State(s): State<Served>| async move { Json(s.health.status()) }),
        )
        .route("/metrics", get(show_metrics))
        .with_state(Served {
            health,
            metrics: metrics.clone(),
        });
    let server = tokio::spawn(async move {
        let until_stopped = async move {
            let _stopped_or_dropped = stopped.wait_for(|stop| *stop).await;
        };
        axum::serve(listener, router)
            .with_graceful_shutdown(until_stopped)
            .await
    });
    let upkeep = tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            metrics.run_upkeep();
        }
    });
    Ok(Server {
        address,
        stop,
        server,
        upkeep,
    })
}

impl Server {
    /// Where it listens; the port that was given when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what has been asked, and ends.
    pub async fn stop(mut self) {
        let _already_ended = self.stop.send(true);
        if let Ok(Err(error)) = (&mut self.server).await {
            tracing::warn!(%error, "the HTTP server ended badly");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.abort();
        self.upkeep.abort();
    }
}

#[derive(Clone)]
struct Served {
    health: Arc<dyn Health>,
    metrics: PrometheusHandle,
}

fn probe(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn show_metrics(State(served): State<Served>) -> Response {
    (
        [(header::CONTENT_TYPE, METRICS_TYPE)],
        served.metrics.render(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;

    /// A process whose state the test decides.
    struct Scripted(Mutex<Result<(), String>>);

    impl Health for Scripted {
        fn live(&self) -> Result<(), String> {
            Ok(())
        }

        fn ready(&self) -> Result<(), String> {
            self.0.lock().unwrap().clone()
        }

        fn status(&self) -> serde_json::Value {
            json!({ "group": "learnexpert.analytics" })
        }
    }

    async fn ask(server: &Server, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", server.address()))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[tokio::test]
    async fn the_server_says_what_health_says() {
        let health = Arc::new(Scripted(Mutex::new(Err("waiting on postgres".to_owned()))));
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("fleet_events_total", "outcome" => "applied").increment(3);
        });
        let server = serve(any_port(), handle, health.clone()).await.unwrap();
        assert_eq!(ask(&server, "/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(
            ask(&server, "/readyz").await,
            (503, "waiting on postgres\n".to_owned())
        );
        *health.0.lock().unwrap() = Ok(());
        assert_eq!(ask(&server, "/readyz").await.0, 200);
        assert_eq!(
            ask(&server, "/status").await.1,
            r#"{"group":"learnexpert.analytics"}"#
        );
        let (status, metrics) = ask(&server, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            metrics.contains(r#"fleet_events_total{outcome="applied"} 3"#),
            "{metrics}"
        );
        assert_eq!(ask(&server, "/").await.0, 404);
        let address = server.address();
        server.stop().await;
        assert!(
            reqwest::get(format!("http://{address}/livez"))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_that_names_the_setting() {
        let taken = TcpListener::bind(any_port()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let handle = PrometheusBuilder::new().build_recorder().handle();
        let health = Arc::new(Scripted(Mutex::new(Ok(()))));
        let error = format!("{:#}", serve(address, handle, health).await.unwrap_err());
        assert!(
            error.contains("http.listen") && error.contains(&address.to_string()),
            "{error}"
        );
    }
}
