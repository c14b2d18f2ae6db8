//! `fleet topics`: the catalogue, and the brokers brought to it.

mod broker;
mod plan;

use crate::FAILED;
use crate::config::Loaded;
use crate::output::{note, say};
use broker::Broker;
use clap::Subcommand;
use comfy_table::{ContentArrangement, Table, presets};
use events::catalogue::{DEAD_LETTER, TOPICS};
use plan::Wanted;
use std::io::IsTerminal;
use std::process::ExitCode;

/// How many replicas a topic has where there are enough brokers.
const USUAL_REPLICAS: usize = 3;

/// How wide a table is that no terminal limits.
const TABLE_WIDTH: u16 = 160;

/// List the topics, or create and configure them on the brokers.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every topic of the platform with its events, writers and readers (no broker needed)
    List,
    Apply(ApplyArgs),
}

/// Create what is missing on the brokers and correct what differs.
///
/// Covers the topics and each group's dead letter topic. Safe to repeat. The number of partitions
/// of a topic is never changed; a difference is reported, and the exit code is 1.
#[derive(clap::Args)]
struct ApplyArgs {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Replicas of each partition of a new topic [default: 3, or the number of brokers if less]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: Option<u16>,
}

/// Runs the subcommand.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List => {
            say(list().trim_fmt());
            Ok(ExitCode::SUCCESS)
        }
        Command::Apply(args) => apply(args, read()).await,
    }
}

async fn apply(args: ApplyArgs, loaded: Loaded) -> anyhow::Result<ExitCode> {
    let config = loaded.usable(|problem| note(problem))?;
    let broker = Broker::connect(&config.kafka_settings()?)?;
    let cluster = broker.cluster()?;
    let replicas = args
        .replication_factor
        .map_or_else(|| USUAL_REPLICAS.min(cluster.brokers), usize::from);
    let wanted = Wanted::all();
    let found = broker.describe(&cluster, &wanted).await?;
    let plan = plan::plan(wanted, &found);
    let mut failed = false;
    for topic in &plan {
        let refused = topic.refusal();
        if args.dry_run {
            say(topic.would(replicas));
        } else {
            match broker.execute(topic, replicas).await {
                Ok(()) => say(topic.done(replicas)),
                Err(error) => {
                    failed = true;
                    note(format_args!("{error:#}"));
                }
            }
        }
        if let Some(refused) = refused {
            failed = true;
            note(refused);
        }
    }
    Ok(if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The catalogue as a table.
fn list() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(TABLE_WIDTH);
    }
    table.set_header([
        "topic",
        "partitions",
        "kept",
        "key",
        "written by",
        "read by",
        "events",
    ]);
    for topic in &TOPICS {
        let events: Vec<String> = topic.events.iter().map(ToString::to_string).collect();
        table.add_row([
            topic.name.to_owned(),
            topic.partitions.to_string(),
            topic.retention.to_string(),
            topic.key.to_owned(),
            topic.written_by.join("\n"),
            topic.read_by.join("\n"),
            events.join("\n"),
        ]);
    }
    for group in DEAD_LETTER.groups {
        table.add_row([
            events::catalogue::dead_letter_topic(group),
            DEAD_LETTER.partitions.to_string(),
            DEAD_LETTER.retention.to_string(),
            "that of the record".to_owned(),
            (*group).to_owned(),
            "fleet dlq".to_owned(),
            "what the group could not apply".to_owned(),
        ]);
    }
    table
}
