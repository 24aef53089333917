//! SIGINT and SIGTERM stop every command that writes between two commits; the same command goes on
//! from there.

use std::fs;
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

/// Whether the process handles both signals by itself by now.
pub(super) fn wait_until_it_listens(child: &mut Child) {
    let (interrupt, terminate) = (1_u64 << 1, 1_u64 << 14);
    let start = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        if caught & interrupt != 0 && caught & terminate != 0 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "nobody listens to signals");
        assert!(child.try_wait().unwrap().is_none(), "the command ended by itself");
        sleep(Duration::from_millis(2));
    }
}

/// Rows of every table but `runs`.
fn rows(workspace: &Workspace) -> [Vec<String>; 3] {
    [
        workspace.raw_lines(&["_updated_at", "_file", "_line"]),
        workspace.quarantine_lines(&["_updated_at", "stage", "reason", "_file", "_line"]),
        ods(workspace),
    ]
}

/// Stops `command` while it waits at the fail point `at`, far from its end.
fn stopped_at(workspace: &Workspace, command: &str, at: &str, signal: &str, code: i32) {
    let mut child =
        workspace.program(command).env("FAILPOINTS", format!("{at}=sleep(1500)")).spawn().unwrap();
    wait_until_it_listens(&mut child);
    sleep(Duration::from_millis(500));
    let sent = Instant::now();
    let kill = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    eprintln!("{command}: {signal} at {at}, ended after {:?}", sent.elapsed());
    assert_eq!(output.status.code(), Some(code), "{signal} of {command}: {stderr}");
    let outcomes = workspace.lines(&TableName::Runs, &["outcome"]);
    assert!(outcomes.contains(&"interrupted".to_owned()), "{command}: {outcomes:?}");
}

/// A stopped `command` has done all of its work or none in each table, and completes it when it is
/// run again.
fn command_stops_and_goes_on(prepare: &[&str], command: &str, at: &str) {
    let undisturbed = workspace();
    for line in prepare {
        undisturbed.exec(line).code(0);
    }
    let before = rows(&undisturbed);
    let prepared = undisturbed.copy();
    undisturbed.exec(command).code(0);
    let expected = rows(&undisturbed);
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let workspace = prepared.copy();
        stopped_at(&workspace, command, at, signal, code);
        let found = rows(&workspace);
        for (found, (before, expected)) in found.iter().zip(before.iter().zip(&expected)) {
            assert!(found == before || found == expected, "{command} left half of its work");
        }
        workspace.exec(command).code(0);
        assert!(rows(&workspace) == expected, "{command} did not complete its work");
    }
}

const DATE: &str = "--arrival-date 2026-01-01";

#[test]
fn an_ingest_can_be_stopped() {
    command_stops_and_goes_on(&[], &format!("ingest {DATE}"), "raw_before_commit");
}

#[test]
fn a_build_can_be_stopped() {
    let ingest = format!("ingest {DATE}");
    command_stops_and_goes_on(&[&ingest], &format!("build {DATE}"), "ods_file_before_end");
}

#[test]
fn a_reprocess_can_be_stopped() {
    let run = format!("run {DATE}");
    let reprocess = "reprocess --from 2025-12-25 --timeout 1m";
    command_stops_and_goes_on(&[&run], reprocess, "ods_file_before_end");
}

#[test]
fn a_retention_can_be_stopped() {
    let run = format!("run {DATE}");
    command_stops_and_goes_on(&[&run], "retention --as-of 2026-06-01", "retention_before_commit");
}

#[test]
fn a_maintain_can_be_stopped() {
    let ingest = format!("ingest {DATE} --accept-late");
    let run = format!("run {DATE}");
    command_stops_and_goes_on(&[&ingest, &run], "maintain", "orphans_after_removal");
}

#[test]
fn a_maintain_can_be_stopped_when_all_feeds_are_done() {
    let workspace = workspace();
    workspace.exec(&format!("run {DATE}")).code(0);
    crate::maintain::plant_orphans(&workspace);
    let [.., (table, path)] = crate::maintain::ORPHANS;
    assert_eq!(table, "runs");
    let orphan = workspace.path("lake").join(table).join(path);
    assert!(orphan.exists());
    // The three tables of the feed come first.
    let points = "orphans_after_removal=3*off->sleep(1500)";
    let mut child = workspace.program("maintain").env("FAILPOINTS", points).spawn().unwrap();
    let start = Instant::now();
    while orphan.exists() {
        assert!(start.elapsed() < PATIENCE, "the orphan of runs stays");
        assert!(child.try_wait().unwrap().is_none(), "the command ended by itself");
        sleep(Duration::from_millis(2));
    }
    let kill = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    let recorded = workspace.lines(&TableName::Runs, &["feed", "stage", "outcome"]);
    assert!(recorded.contains(&"events,maintain,done".to_owned()), "{recorded:?}");
    assert!(recorded.contains(&",run,interrupted".to_owned()), "{recorded:?}");
}
