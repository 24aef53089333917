//! What the user typed, and what is done about it.

mod args;
mod check;
mod commands;
mod explain;
mod files;
mod history;
mod maintain;
mod output;
mod plan;
mod progress;
mod quarantine;
mod report;
mod secret;
mod selection;
mod sql;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::error::JobError;
use crate::telemetry;
use args::Arguments;
pub use commands::Ended;

/// Exit code after SIGINT.
const INTERRUPTED: u8 = 130;
/// Exit code after SIGTERM.
const TERMINATED: u8 = 143;

/// Parses the command line, runs the command, prints its error once.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let log_format = arguments.global.log_format;
    match run(arguments) {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(Ended::Terminated) => ExitCode::from(TERMINATED),
        Err(error) => {
            output::error(log_format, &error);
            error.exit_code()
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Help and version go to standard output, everything else to standard error.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

fn run(arguments: Arguments) -> Result<Ended, JobError> {
    telemetry::start(arguments.global.log_format, arguments.global.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(JobError::Runtime)?;
    let ended = runtime.block_on(commands::execute(arguments));
    // A parser thread may still read a file that nobody waits for.
    runtime.shutdown_background();
    ended
}
