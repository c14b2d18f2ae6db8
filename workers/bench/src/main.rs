//! Measurements. Each prints its method and figures, and a last line for machines.
//!
//! The machine is shared with broker, database and everything else: read ratios of one run, not
//! absolute figures of two.

mod backlog;
mod codec;
mod drain;
mod limit;
mod usage;
mod worker;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measurements of the event workers")]
struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// Drains a backlog on a real Kafka into PostgreSQL, against the same rows by the same SQL
    Drain(drain::Options),
    /// Decodes one event by each candidate codec
    Codec(codec::Options),
    /// The worker process that `drain` measures
    #[command(hide = true)]
    Worker(worker::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().measurement {
        Measurement::Drain(options) => drain::measure(options).await,
        Measurement::Codec(options) => codec::measure(options),
        Measurement::Worker(options) => worker::run(options).await,
    }
}
