//! `fleet demo`: a day on throwaway servers; needs no configuration.

use anyhow::Result;
use std::process::ExitCode;

/// Plays a day on throwaway servers and proves that every event took effect exactly once
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Leave everything running at the end and print how to connect
    #[arg(long)]
    keep: bool,
    /// The same seed plays the same day
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// People who sign up and learn
    #[arg(long, default_value_t = 1_500)]
    learners: usize,
}

/// Plays the day.
///
/// # Errors
/// A server that cannot be started, or a count that does not come out.
pub async fn run(args: Args) -> Result<ExitCode> {
    let Args {
        keep,
        seed,
        learners,
    } = args;
    ::demo::play(::demo::Options {
        seed,
        learners,
        keep,
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
