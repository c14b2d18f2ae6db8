//! Starts real components on this machine, without containers, and keeps them until it is
//! interrupted.

use std::time::Instant;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use testkit::{Kafka, Postgres, Registry};
use tokio::signal::unix::{SignalKind, signal};

/// Starts real components on this machine and prints, for each, its name, its process id, its
/// address and how long it took to start. They and their data are gone when this program ends.
#[derive(Parser)]
struct Arguments {
    /// What to start.
    #[arg(required = true)]
    components: Vec<Component>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Component {
    Postgresql,
    Kafka,
    Registry,
}

/// A running component, kept for its `Drop`.
enum Running {
    Postgresql(Postgres),
    Kafka(Kafka),
    Registry(Registry),
}

impl Component {
    async fn start(self) -> testkit::Result<Running> {
        Ok(match self {
            Self::Postgresql => Running::Postgresql(Postgres::start().await?),
            Self::Kafka => Running::Kafka(Kafka::start().await?),
            Self::Registry => Running::Registry(Registry::start().await?),
        })
    }
}

impl Running {
    fn describe(&self) -> (&'static str, Option<u32>, String) {
        match self {
            Self::Postgresql(server) => ("postgresql", server.pid(), server.url("postgres")),
            Self::Kafka(broker) => ("kafka", broker.pid(), broker.bootstrap()),
            Self::Registry(server) => ("registry", server.pid(), server.url()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut running = Vec::new();
    for component in arguments.components {
        let before = Instant::now();
        let component = component.start().await?;
        let (name, pid, address) = component.describe();
        println!(
            "{name} {} {address} {:.1?}",
            pid.unwrap_or_default(),
            before.elapsed()
        );
        running.push(component);
    }
    println!("ready; interrupt to end");

    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
