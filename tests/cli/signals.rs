//! SIGINT and SIGTERM stop a run between two commits; the next run goes on from there.

use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sessionlake::lake::TableName;

use crate::support::workspace::Workspace;

/// Enough dates that a run is still at work long after its first commits.
const BATCHES: &str =
    "generate --out batches --days 8 --events-per-day 15000 --users 1500 --seed 3";
const PATIENCE: Duration = Duration::from_mins(1);

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let configuration = super::CONFIGURATION
        .replace("[\"note\"]", "[\"page\", \"price\"]")
        .replace("event_id = 'click'", "event_id in ('view', 'click', 'add_to_cart', 'purchase')");
    workspace.configure(&configuration);
    workspace.exec(BATCHES).code(0);
    workspace
}

fn ods(workspace: &Workspace) -> Vec<String> {
    workspace.ods_lines(&[
        "user_id",
        "product_code",
        "event_id",
        "timestamp",
        "is_user_action",
        "time_diff_ms",
        "session_id",
        "_updated_at",
        "page",
        "price",
    ])
}

/// ODS of a run that nobody stopped.
fn clean() -> &'static [String] {
    static CLEAN: OnceLock<Vec<String>> = OnceLock::new();
    CLEAN.get_or_init(|| {
        let workspace = workspace();
        workspace.exec("run").code(0);
        ods(&workspace)
    })
}

fn wait_for(path: &Path, child: &mut Child) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < PATIENCE, "{} did not appear", path.display());
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        sleep(Duration::from_millis(2));
    }
}

/// Starts a run and sends it `signal` once `file` of the lake is there.
fn stopped(workspace: &Workspace, signal: &str, file: &str) -> Output {
    let mut child = workspace.program("run --output json").spawn().unwrap();
    wait_for(&workspace.path("lake").join(file), &mut child);
    let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

/// The run ends with `code`, is recorded, and the next one makes the lake whole.
fn stops_and_goes_on(signal: &str, code: i32, file: &str) {
    let workspace = workspace();
    let output = stopped(&workspace, signal, file);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{signal} at {file}: {stderr}");
    let stopped: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = stopped["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["outcome"], "interrupted", "{signal} at {file}");
    let outcomes = workspace.lines(&TableName::Runs, &["outcome"]);
    assert!(outcomes.contains(&"interrupted".to_owned()), "{outcomes:?}");
    assert!(ods(&workspace).len() < clean().len(), "{signal} at {file} came too late");
    workspace.exec("run").code(0);
    assert!(ods(&workspace) == clean(), "{signal} at {file}: another ODS than of a clean run");
}

#[test]
fn an_interrupted_run_exits_with_130_and_the_next_one_completes_it() {
    stops_and_goes_on("-INT", 130, "raw/events/_delta_log/00000000000000000001.json");
}

#[test]
fn a_terminated_run_exits_with_143_and_the_next_one_completes_it() {
    stops_and_goes_on("-TERM", 143, "ods/events/_delta_log/00000000000000000002.json");
}

#[test]
fn a_run_can_be_stopped_before_its_first_row() {
    stops_and_goes_on("-TERM", 143, "raw/events/_delta_log/00000000000000000000.json");
}
