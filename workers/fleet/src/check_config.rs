//! `fleet check-config`: what is set, where it comes from, and what is wrong with it.

use crate::MISUSED;
use crate::config::{Loaded, Problem};
use crate::output::{counted, note, say};
use std::process::ExitCode;

/// Show the effective settings and everything that is wrong with them.
///
/// Secrets are shown as ***. Exit code 2 if the workers could not be run with it.
#[derive(clap::Args)]
pub struct Args {}

/// Prints settings to standard output and problems to standard error.
pub fn run(loaded: Loaded) -> ExitCode {
    say(settings(&loaded).trim_end());
    let problems: Vec<Problem> = loaded
        .problems
        .iter()
        .cloned()
        .chain(missing(&loaded))
        .collect();
    for problem in &problems {
        note(problem);
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if errors == 0 {
        note("the configuration can be used");
        return ExitCode::SUCCESS;
    }
    note(format_args!(
        "the configuration cannot be used: {}",
        counted(errors, "error")
    ));
    ExitCode::from(MISUSED)
}

/// What running lacks, where that is not merely the consequence of a known problem.
fn missing(loaded: &Loaded) -> Vec<Problem> {
    let is_known = |problem: &Problem| {
        let about = problem.keys.first();
        loaded
            .problems
            .iter()
            .any(|known| known.is_error() && known.keys.first() == about)
    };
    loaded
        .config
        .missing()
        .into_iter()
        .filter(|problem| !is_known(problem))
        .collect()
}

fn settings(loaded: &Loaded) -> String {
    let mut section = "";
    let mut text = String::new();
    let width = loaded
        .effective
        .iter()
        .map(|shown| shown.key.len())
        .max()
        .unwrap_or_default();
    for shown in &loaded.effective {
        let of = shown.key.split('.').next().unwrap_or_default();
        if of != section && !section.is_empty() {
            text.push('\n');
        }
        section = of;
        text.push_str(&format!(
            "{:<width$} = {}  ({})\n",
            shown.key, shown.value, shown.origin
        ));
    }
    text
}
