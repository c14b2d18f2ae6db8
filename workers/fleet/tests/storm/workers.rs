//! Worker processes, and what is done to them.

use crate::servers::{GROUP, PASSWORD, Servers};
use sqlx::postgres::PgConnection;
use std::time::{Duration, Instant};
use testkit::{Process, Signal};

pub struct Fleet {
    members: Vec<Process>,
    third: Option<Process>,
}

fn member(servers: &Servers, instance: &str, shutdown: &str) -> Process {
    let endpoints = servers.endpoints();
    let database = format!("postgres://127.0.0.1:{}", servers.postgres.port());
    Process::builder(env!("CARGO_BIN_EXE_fleet"))
        .name(instance)
        .args(["run", "analytics"])
        .env("FLEET__ENVIRONMENT", "test")
        .env("FLEET__KAFKA__BROKERS", &endpoints.brokers)
        .env("FLEET__KAFKA__GROUP_INSTANCE_ID", instance)
        .env("FLEET__KAFKA__SHUTDOWN", shutdown)
        .env("FLEET__REGISTRY__URL", &endpoints.registry)
        .env("FLEET__REGISTRY__UNKNOWN_SCHEMA_WAIT_S", "2")
        .env("FLEET__DATABASE__URL", database)
        .env("FLEET__DATABASE__ANALYTICS__PASSWORD", PASSWORD)
        // Small batches: more transactions to be killed in.
        .env("FLEET__ENGINE__BATCH_EVENTS", "200")
        .env("FLEET__ENGINE__BACKOFF_BASE_MS", "50")
        .env("FLEET__ENGINE__BACKOFF_CAP_MS", "500")
        .env("FLEET__HTTP__LISTEN", "127.0.0.1:0")
        .spawn()
        .unwrap()
}

fn instance(index: usize) -> String {
    format!("analytics-{index}")
}

impl Fleet {
    pub async fn start(servers: &Servers, members: usize) -> Self {
        let members = (0..members)
            .map(|index| member(servers, &instance(index), "stay"))
            .collect();
        Self {
            members,
            third: None,
        }
    }

    pub async fn kill(&mut self, victim: usize) {
        let process = &self.members[victim];
        process
            .stop(Signal::SIGKILL, Duration::from_secs(10))
            .await
            .unwrap();
    }

    /// Kills a worker of which it is certain that it has a transaction open: it is stopped first,
    /// so that it cannot commit between looking and killing. Says whether that worked out.
    pub async fn kill_in_transaction(&mut self, servers: &Servers, victim: usize) -> bool {
        let mut connection: PgConnection = servers.administrator().await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let process = &self.members[victim];
        let name = instance(victim);
        let mut met = false;
        while !met && Instant::now() < deadline {
            if !servers.is_in_transaction(&mut connection, &name).await {
                continue;
            }
            process.signal(Signal::SIGSTOP).unwrap();
            // What the server was doing when the worker stopped may still end by itself.
            tokio::time::sleep(Duration::from_millis(20)).await;
            met = servers.is_in_transaction(&mut connection, &name).await;
            if !met {
                process.signal(Signal::SIGCONT).unwrap();
            }
        }
        self.kill(victim).await;
        met
    }

    pub async fn start_again(&mut self, servers: &Servers, victim: usize) {
        self.members[victim] = member(servers, &instance(victim), "stay");
    }

    pub async fn join_third(&mut self, servers: &Servers) {
        if self.third.is_none() {
            self.third = Some(member(servers, "analytics-2", "leave"));
        }
    }

    pub async fn leave_third(&mut self) {
        if let Some(third) = self.third.take() {
            let status = third
                .stop(Signal::SIGTERM, Duration::from_secs(40))
                .await
                .unwrap();
            assert!(
                status.success(),
                "the third member ended with {status}\n{}",
                third.log().unwrap()
            );
        }
    }

    pub async fn stop(self) {
        for process in &self.members {
            let status = process
                .stop(Signal::SIGTERM, Duration::from_secs(40))
                .await
                .unwrap();
            assert!(
                status.success(),
                "{GROUP} ended with {status}\n{}",
                process.log().unwrap()
            );
        }
    }

    pub fn logs(&self) -> String {
        let tail = |process: &Process| {
            let log = process.log().unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.members
            .iter()
            .map(tail)
            .collect::<Vec<_>>()
            .join("\n----\n")
    }
}
