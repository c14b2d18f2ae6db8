//! `fleet migrate`: databases, roles, tables and privileges.

use crate::config::Loaded;
use crate::output::{note, say};
use anyhow::Context;
use databases::{AuthShim, Progress, Request, Service};
use std::process::ExitCode;

/// Create databases, roles and tables, or bring them up to date.
///
/// Safe to repeat and to interrupt; runs wait for each other. Needs database.admin_url. Passwords
/// of roles are set where database.<service>.password is.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fleet migrate                         every service that this binary has migrations for
  fleet migrate --service analytics     one of them
  fleet migrate --dev-shim              where there is no Supabase Auth and nobody has to sign in")]
pub struct Args {
    /// Only this service's database; may be given several times
    #[arg(long, value_name = "NAME")]
    service: Vec<Service>,

    /// Install the stand-in for Supabase Auth outside dev and test, too
    #[arg(long)]
    dev_shim: bool,
}

/// Migrates, and prints each step when it is done.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> anyhow::Result<ExitCode> {
    let config = read().usable(|problem| note(problem))?;
    let mut request = Request::new(config.admin()?, config.environment);
    if !args.service.is_empty() {
        request.services = args.service;
    }
    if args.dev_shim {
        request.auth_shim = AuthShim::Always;
    }
    request.passwords = config.role_passwords();
    request.passwords.retain(|role, _| {
        *role == databases::Role::Relay
            || request
                .services
                .iter()
                .any(|service| service.role() == *role)
    });
    request.other_names = config.other_database_names();
    databases::migrate(&request, &mut |step: Progress| say(step))
        .await
        .context("the migration did not end; what was done before stays, and it may be repeated")?;
    Ok(ExitCode::SUCCESS)
}
