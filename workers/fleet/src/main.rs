//! Starts `fleet`; everything else is in the library beside this file.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    fleet::cli::main().await
}
