//! `fleet publish`: events from a file, all checked before the first is sent.

mod input;

use crate::FAILED;
use crate::config::Loaded;
use crate::output::{counted, note, say};
use anyhow::{Context, Result};
use publish::{Ack, Fault, OutgoingEvent, PublishError, Publisher};
use std::collections::VecDeque;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

/// How many events may be under way.
const UNDER_WAY: usize = 10_000;

/// How long the end waits for what is under way.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

/// Check events in a file and publish them.
///
/// The file holds one event, an array, or one event a line. All are checked before the first is
/// sent; events with the same key are stored in the order of the file.
#[derive(clap::Args)]
#[command(after_help = r#"An event:
  {
    "type": "COURSE_FOLLOWED",
    "payload": { "user_id": "...", ... },     plain JSON by the event's schema
    "aggregate_version": 3                    required for events that carry state
  }
Also: id, time (RFC 3339), source, correlation_id, causation_id, traceparent.
Topic, key and subject follow from the payload.

Examples:
  fleet publish events.json --dry-run
  jq -c '.[]' events.json | fleet publish - --source course-service"#)]
pub struct Args {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: String,

    /// Only check; needs neither broker nor registry
    #[arg(long)]
    dry_run: bool,

    /// The source of events that name none
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    source: String,
}

/// Checks, and sends unless it is a dry run.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> Result<ExitCode> {
    let (name, text) = text_of(&args.file)?;
    let events = match input::prepare(&text, &args.source) {
        Ok(events) => events,
        Err(problems) => {
            for problem in &problems {
                note(format_args!("{name}: {problem}"));
            }
            note(format_args!(
                "nothing was published: {}",
                counted(problems.len(), "problem")
            ));
            return Ok(ExitCode::from(FAILED));
        }
    };
    if args.dry_run {
        for event in &events {
            say(format_args!(
                "{} key {} {}",
                event.topic(),
                event.key(),
                described(event)
            ));
        }
        note(format_args!(
            "{} can be published",
            counted(events.len(), "event")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let config = read().usable(|problem| note(problem))?;
    let publisher = Publisher::new(&config.kafka_settings()?, config.registry()?, &args.source)?;
    send(publisher, &events).await
}

fn text_of(file: &str) -> Result<(&str, String)> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
        return Ok(("standard input", text));
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    Ok((file, text))
}

fn described(event: &OutgoingEvent) -> String {
    format!("{} {}", event.event_type(), event.envelope().id)
}

/// What became of the events so far.
#[derive(Default)]
struct Outcome {
    stored: usize,
    failed: bool,
    environment_at_fault: bool,
}

impl Outcome {
    async fn take(&mut self, event: &OutgoingEvent, ack: Ack) {
        match ack.await {
            Ok(stored) => {
                self.stored += 1;
                let (topic, partition, offset) = (stored.topic, stored.partition, stored.offset);
                say(format_args!(
                    "{topic}[{partition}]@{offset} {}",
                    described(event)
                ));
            }
            Err(error) => self.fail(event, &error),
        }
    }

    fn fail(&mut self, event: &OutgoingEvent, error: &PublishError) {
        self.failed = true;
        self.environment_at_fault |= error.fault() == Fault::Environment;
        match error {
            // These say of which event they are.
            PublishError::NotAcknowledged { .. } | PublishError::TooLarge { .. } => note(error),
            _ => note(format_args!("{}: {error}", described(event))),
        }
    }
}

/// Sends in order, many under way at once; hands over no more once one has failed.
async fn send(publisher: Publisher, events: &[OutgoingEvent]) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let mut under_way: VecDeque<(&OutgoingEvent, Ack)> = VecDeque::new();
    for event in events {
        if under_way.len() >= UNDER_WAY
            && let Some((oldest, ack)) = under_way.pop_front()
        {
            outcome.take(oldest, ack).await;
        }
        if outcome.failed {
            break;
        }
        match publisher.send_event(event).await {
            Ok(ack) => under_way.push_back((event, ack)),
            Err(error) => outcome.fail(event, &error),
        }
    }
    for (event, ack) in under_way {
        outcome.take(event, ack).await;
    }
    publisher.close(CLOSE_PATIENCE).await?;
    note(format_args!(
        "{} of {} published",
        outcome.stored,
        counted(events.len(), "event")
    ));
    if outcome.environment_at_fault {
        note("to publish the rest later as the same events, give each the id shown above");
    }
    Ok(if outcome.failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}
