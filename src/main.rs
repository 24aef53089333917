//! `sessionlake`: parse, run, print the error chain once, exit code.

use std::process::ExitCode;

/// Columns are made and dropped by the thousand on every thread, which the system's allocator is
/// slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let scenario = fail::FailScenario::setup();
    let code = sessionlake::cli::main();
    scenario.teardown();
    code
}
