//! `fleet`, the one binary: it runs the event workers and holds the tools of those who operate
//! them. `fleet --help` is the map.
//!
//! *Architecture invariant:* a subcommand is one module with its arguments and its `run`; `cli`
//! only chooses between them. What a tool decides is pure and tested apart from what it does.
//!
//! | Module | What |
//! |---|---|
//! | [`cli`] | which subcommands there are |
//! | [`config`] | `fleet.toml` and the environment, checked as a whole |
//! | [`telemetry`] | logs, metrics, and the HTTP server for health, status and metrics |
//! | the others | one subcommand each |

mod check_config;
pub mod cli;
pub mod config;
mod demo;
mod migrate;
mod output;
mod position;
mod publishing;
mod run;
mod schemas;
pub mod telemetry;
mod topics;

/// Exit code: something was found wrong, or did not work.
pub const FAILED: u8 = 1;

/// Exit code: the configuration or the command line cannot be used.
pub const MISUSED: u8 = 2;
