//! The command line: which subcommands there are, and the map of them that `fleet --help` shows.
//!
//! To add a subcommand: a module with `Args` (documented: that is its help) and `run`, a variant of
//! `Command`, the arms that the compiler then asks for, and its name in `GROUPS` (a test sees to that).

use crate::config::Loaded;
use crate::output::note;
use crate::{
    FAILED, MISUSED, check_config, config, demo, migrate, position, publishing, run, schemas,
    telemetry, topics,
};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The event workers of LearnExpert Connect, and the tools of those who operate them.
#[derive(Parser)]
#[command(name = "fleet", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    /// The configuration file [default: fleet.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// A subcommand's line of help is the first paragraph on its `Args`.
#[derive(Subcommand)]
enum Command {
    CheckConfig(check_config::Args),
    Migrate(migrate::Args),
    Topics(topics::Args),
    Schemas(schemas::Args),
    Publish(publishing::Args),
    /// Run workers until SIGTERM or Ctrl-C
    Run(run::Args),
    /// Show where groups stand, or move a position by decision
    Position(position::Args),
    /// Play a day on throwaway servers and prove the count
    Demo(demo::Args),
}

/// The map: groups in the order in which one needs them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Set up an environment",
        &["check-config", "migrate", "topics", "schemas"],
    ),
    ("Operate", &["run", "position"]),
    ("Events", &["publish"]),
    ("Try it", &["demo"]),
];

const EXAMPLES: &str = "\
Examples:
  fleet check-config                        what is set, and what is wrong with it
  fleet migrate                             all databases of the environment
  fleet topics apply --dry-run              what would change on the brokers
  fleet schemas register                    before producers may publish
  fleet publish events.json --dry-run       would these events be taken?

Every setting of fleet.toml can be overridden: FLEET__KAFKA__BROKERS overrides brokers in [kafka].
A variable with _FILE at its end names a file that holds the value.
Exit codes: 0 done, 1 failed or found wrong, 2 configuration or command line cannot be used.";

const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}Options:
{options}{after-help}";

/// Reads the command line, runs the subcommand and says how the process ends. For `--help`, and
/// for what cannot be understood, the process ends here.
pub async fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.run().await {
        Ok(code) => code,
        Err(error) => {
            note(format_args!("{error:#}"));
            ExitCode::from(if error.is::<config::Unusable>() {
                MISUSED
            } else {
                FAILED
            })
        }
    }
}

impl Command {
    /// Whether it is a tool: one that says what it does by itself and logs errors alone.
    fn is_tool(&self) -> bool {
        match self {
            Self::CheckConfig(_)
            | Self::Migrate(_)
            | Self::Topics(_)
            | Self::Schemas(_)
            | Self::Publish(_)
            | Self::Position(_)
            | Self::Demo(_) => true,
            Self::Run(_) => false,
        }
    }
}

impl Cli {
    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.command.is_tool() {
            telemetry::log_of_tools();
        }
        let config = self.config;
        let read = || Loaded::read(config.as_deref());
        match self.command {
            Command::CheckConfig(_) => Ok(check_config::run(read())),
            Command::Migrate(args) => migrate::run(args, read).await,
            Command::Run(args) => run::run(args, read).await,
            Command::Position(args) => position::run(args, read).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Topics(args) => topics::run(args, read).await,
            Command::Schemas(args) => schemas::run(args, read).await,
            Command::Publish(args) => publishing::run(args, read).await,
        }
    }
}

fn command() -> clap::Command {
    let command = Cli::command();
    let map = map_of(&command);
    command.before_help(map).help_template(TEMPLATE)
}

/// The subcommands by group, one line each.
fn map_of(command: &clap::Command) -> String {
    let line = |name: &&str| {
        let about = command
            .find_subcommand(name)
            .and_then(clap::Command::get_about);
        format!(
            "  {name:<14}{}\n",
            about.map(ToString::to_string).unwrap_or_default()
        )
    };
    let group = |(title, names): &(&str, &[&str])| {
        let lines: String = names.iter().map(line).collect();
        format!("{title}:\n{lines}\n")
    };
    GROUPS.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_subcommand_stands_once_in_the_map_with_a_line_of_help() {
        let command = command();
        let mut mapped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        mapped.sort_unstable();
        let mut known: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        known.sort_unstable();
        assert_eq!(mapped, known);
        for subcommand in command.get_subcommands() {
            assert!(
                subcommand.get_about().is_some(),
                "{}",
                subcommand.get_name()
            );
        }
        let help = super::command().render_help().to_string();
        assert!(help.contains("  topics        List the topics"), "{help}");
        assert!(help.contains("Exit codes"), "{help}");
    }
}
