//! `fleet schemas`: schemas against their history and against the registry.

mod check;
mod contracts;
mod release;

use crate::FAILED;
use crate::config::Loaded;
use crate::output::{counted, note, say};
use anyhow::{Context, Result, bail};
use check::Report;
use clap::Subcommand;
use contracts::Contracts;
use events::compatibility::{self, Version, Violation};
use events::wire::SchemaId;
use events::{EventContract, EventType};
use publish::registry::{RegisteredVersion, Registry, RegistryError};
use release::Outcome;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check, register and release the schemas of events.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(CheckArgs),
    Register(RegisterArgs),
    Release(ReleaseArgs),
}

/// Check every schema against the house rules and all its released versions.
///
/// Needs neither registry nor repository. Exit code 1 if anything is wrong, one line each.
#[derive(clap::Args)]
struct CheckArgs {
    /// Also check against every version that the registry has
    #[arg(long)]
    registry: bool,

    /// Check the schemas of this folder (avro) instead of those in this binary
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Register every current schema under its subject in the registry.
///
/// Demands FULL_TRANSITIVE compatibility of each subject first. Safe to repeat: a schema that is
/// registered keeps its id.
#[derive(clap::Args)]
struct RegisterArgs {
    /// Only say what would be registered
    #[arg(long)]
    dry_run: bool,
}

/// Keep changed schemas as the next released versions (in the repository).
///
/// Writes released/<service>/<Record>/v<n>.avsc, to be committed. Refuses all if any schema is
/// incompatible with a version released before.
#[derive(clap::Args)]
struct ReleaseArgs {
    /// The repository's folder with the schemas
    #[arg(long, value_name = "DIR", default_value = "avro")]
    path: PathBuf,
}

/// Runs the subcommand.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> Result<ExitCode> {
    match args.command {
        Command::Check(args) => check_all(args, read).await,
        Command::Register(args) => {
            let registry = read().usable(|problem| note(problem))?.registry()?;
            register(&registry, args.dry_run).await
        }
        Command::Release(args) => release_all(&args),
    }
}

async fn check_all(args: CheckArgs, read: impl FnOnce() -> Loaded) -> Result<ExitCode> {
    let contracts = match &args.path {
        Some(folder) => Contracts::read(folder)?,
        None => Contracts::embedded(),
    };
    let mut report = check::check(&contracts);
    if args.registry {
        let registry = read().usable(|problem| note(problem))?.registry()?;
        report
            .violations
            .extend(against_registry(&registry, &contracts).await?);
    }
    for line in &report.violations {
        say(line);
    }
    for short in &report.unreleased {
        note(format_args!(
            "avro/{short}.avsc is not released as it is; run `fleet schemas release`"
        ));
    }
    Ok(summary(&report))
}

fn summary(report: &Report) -> ExitCode {
    let Report {
        violations,
        checked,
        ..
    } = report;
    if violations.is_empty() {
        note(format_args!("{checked} schemas checked: compatible"));
        return ExitCode::SUCCESS;
    }
    note(format_args!(
        "{checked} schemas checked: {}",
        counted(violations.len(), "problem")
    ));
    ExitCode::from(FAILED)
}

async fn against_registry(registry: &Registry, contracts: &Contracts) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for event in EventType::ALL {
        let contract = event.contract();
        let subject = contract.registry_subject();
        let Some(current) = current_of(contracts, contract) else {
            continue;
        };
        for violation in compare(current, &registry.versions(event).await?) {
            violations.push(format!("registry subject {subject}: {violation}"));
        }
    }
    Ok(violations)
}

fn current_of<'c>(contracts: &'c Contracts, contract: &EventContract) -> Option<&'c str> {
    let short = contract
        .schema_file
        .trim_start_matches("avro/")
        .trim_end_matches(".avsc");
    contracts.0.get(short)?.current.as_deref()
}

async fn register(registry: &Registry, dry_run: bool) -> Result<ExitCode> {
    let report = check::check(&Contracts::embedded());
    if !report.violations.is_empty() {
        for line in &report.violations {
            say(line);
        }
        bail!("nothing was registered: the schemas of this binary break rules");
    }
    let mut refused = false;
    for event in EventType::ALL {
        match register_one(registry, event, dry_run).await {
            Ok(line) => say(line),
            Err(error @ RegistryError::Refused(_)) => {
                refused = true;
                note(format_args!("{event}: {error}"));
            }
            Err(error) => {
                return Err(error)
                    .context("stopped; what was registered stays, and it may be repeated");
            }
        }
    }
    if refused {
        note("see what differs: fleet schemas check --registry");
        return Ok(ExitCode::from(FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Registers one schema, or sees whether it would be taken, and says what became of it.
async fn register_one(
    registry: &Registry,
    event: EventType,
    dry_run: bool,
) -> Result<String, RegistryError> {
    let subject = event.contract().registry_subject();
    let known = match registry.id_of(event).await {
        Ok(id) => Some(id),
        Err(RegistryError::Unknown(_)) => None,
        Err(error) => return Err(error),
    };
    if dry_run {
        return would_register(registry, event, known).await;
    }
    // The compatibility is demanded anew even where the schema is there.
    let id = registry.register(event).await?;
    let what = if known.is_some() {
        "already there"
    } else {
        "registered"
    };
    Ok(format!("{event}: {subject} {what}, id {id}"))
}

async fn would_register(
    registry: &Registry,
    event: EventType,
    known: Option<SchemaId>,
) -> Result<String, RegistryError> {
    let subject = event.contract().registry_subject();
    if let Some(id) = known {
        return Ok(format!("{event}: {subject} already there, id {id}"));
    }
    let versions = registry.versions(event).await?;
    let problems = compare(event.contract().schema, &versions);
    match problems.first() {
        None => Ok(format!(
            "{event}: {subject} would be registered as v{}",
            versions.len() + 1
        )),
        Some(first) => Err(RegistryError::Refused(format!(
            "{subject}, presumably: {first}"
        ))),
    }
}

fn compare(current: &str, versions: &[RegisteredVersion]) -> Vec<Violation> {
    let versions: Vec<(Version, &str)> = versions
        .iter()
        .map(|known| (Version(known.version), known.schema.as_str()))
        .collect();
    compatibility::check(current, &versions)
}

fn release_all(args: &ReleaseArgs) -> Result<ExitCode> {
    match release::release(&args.path)? {
        Outcome::Refused(violations) => {
            for line in &violations {
                say(line);
            }
            note(format_args!(
                "nothing was released: {}",
                counted(violations.len(), "problem")
            ));
            Ok(ExitCode::from(FAILED))
        }
        Outcome::Released(files) if files.is_empty() => {
            note("every schema is released as it is");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Released(files) => {
            for file in &files {
                say(file.display());
            }
            note(format_args!(
                "{} new; commit them with the change",
                files.len()
            ));
            Ok(ExitCode::SUCCESS)
        }
    }
}
