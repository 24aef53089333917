//! `sessionlake`: parse, run, print the error chain once, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let scenario = fail::FailScenario::setup();
    let code = sessionlake::cli::main();
    scenario.teardown();
    code
}
