//! How the lake is, and what a monitor should know.

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use super::files::kill;
use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

/// The document of a status that has something to look at.
fn unhealthy(workspace: &Workspace, line: &str) -> Value {
    let status = workspace.exec(&format!("status {line} --output json")).code(1);
    serde_json::from_str(&stdout_of(&status)).unwrap()
}

fn conditions(status: &Value) -> Vec<&str> {
    let reasons = status["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["condition"].as_str().unwrap()).collect()
}

#[test]
fn a_lake_that_is_built_is_healthy() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let before = workspace.lake_bytes();
    let status = workspace.json("status --sources");
    assert_eq!((&status["healthy"], &status["reasons"]), (&json!(true), &json!([])));
    let feed = &status["feeds"][0];
    assert_eq!(feed["feed"], "events");
    assert_eq!(feed["built_through"], "2026-01-06");
    assert_eq!((&feed["pending"], &feed["unseen_files"]), (&json!([]), &json!([])));
    let late = json!([
        { "arrival_date": "2026-01-05", "events": 3, "late": 0, "share": 0.0 },
        { "arrival_date": "2026-01-06", "events": 3, "late": 1, "share": 1.0 / 3.0 },
    ]);
    assert_eq!(feed["late"], late);
    let ods = json!({ "first": "2026-01-05", "last": "2026-01-06", "dates": 2, "rows": 6 });
    assert_eq!((&feed["ods"], &feed["raw"]), (&ods, &ods));
    assert_eq!(feed["last_run"]["outcome"], "done");
    assert_eq!((&feed["failures"], &feed["expiring"]), (&json!([]), &json!([])));
    let tables: Vec<&str> = feed["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["table"].as_str().unwrap())
        .collect();
    assert_eq!(tables, ["raw/events", "quarantine/events", "ods/events", "sessions/events"]);
    assert_eq!(feed["tables"][2]["rows"], 6);
    assert_eq!(status["tables"][1]["table"], "runs");
    workspace.exec("status").code(0).stdout(
        contains("2026-01-05 to 2026-01-06 (2)")
            .and(contains("16.6 %"))
            .and(contains("nothing to look at")),
    );
    assert!(before == workspace.lake_bytes());
}

#[test]
fn a_lake_that_is_not_there_yet_is_healthy() {
    let workspace = empty_workspace();
    let status = workspace.json("status");
    assert_eq!((&status["healthy"], &status["tables"]), (&json!(true), &json!([])));
    assert_eq!(status["feeds"][0]["built_through"], Value::Null);
    workspace.exec("status").code(0).stdout(contains("events"));
    assert!(!workspace.path("lake").exists());
}

#[test]
fn what_is_delivered_and_not_built_is_pending() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("ingest --arrival-date 2026-01-06").code(0);
    let status = unhealthy(&workspace, "");
    assert_eq!(conditions(&status), ["pending"]);
    let pending = json!([{ "arrival_date": "2026-01-06", "deliveries": 1, "built": 0 }]);
    assert_eq!(status["feeds"][0]["pending"], pending);
    workspace.exec("status").code(1).stderr(contains("2026-01-06; `sessionlake build`"));
    workspace.exec("build").code(0);
    workspace.exec("status").code(0);
}

#[test]
fn sessions_that_have_not_followed_ods_are_told_until_they_have() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    kill(&workspace, "run", "sessions_before_commit");
    let status = unhealthy(&workspace, "");
    assert_eq!(conditions(&status), ["sessions_behind"]);
    assert_eq!(status["feeds"][0]["sessions_behind"]["version"], 2);
    workspace.exec("run").code(0);
    workspace.exec("status").code(0);
    workspace.assert_sessions_follow();
}

#[test]
fn sessions_that_are_to_be_made_of_something_else_are_behind() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.exec("status").code(0);
    workspace.configure(&format!("{CONFIGURATION}[feed.marts]\ndistinct = \"note\"\n"));
    assert_eq!(conditions(&unhealthy(&workspace, "")), ["sessions_behind"]);
    workspace.exec("run").code(0);
    workspace.exec("status").code(0);
}

#[test]
fn a_rejected_file_is_no_concern_once_the_content_of_before_is_back() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let file = workspace.path("batches/2026-01-06.csv");
    let good = std::fs::read_to_string(&file).unwrap();
    workspace.write_batch("2026-01-06.csv", "no,header\n");
    workspace.exec("run").code(3);
    assert_eq!(conditions(&unhealthy(&workspace, "")), ["rejected_files"]);
    workspace.write_batch("2026-01-06.csv", &good);
    workspace.exec("run").code(0);
    workspace.exec("status").code(0);
}

#[test]
fn a_withdrawal_that_ods_has_not_followed_is_told_until_it_has() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let line = "withdraw --file 2026-01-06.csv --arrival-date 2026-01-06";
    kill(&workspace, line, "withdraw_after_commit");
    let status = unhealthy(&workspace, "");
    assert!(conditions(&status).contains(&"withdrawal_pending"), "{status}");
    assert!(status["feeds"][0]["withdrawn_from"].is_string(), "{status}");
    workspace.exec("build").code(0);
    workspace.exec("status").code(0);
}

#[test]
fn the_last_run_counts_and_earlier_failures_are_told() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("run --arrival-date 2026-01-09").code(1);
    let status = unhealthy(&workspace, "");
    assert_eq!(conditions(&status), ["last_run_failed"]);
    assert_eq!(status["feeds"][0]["last_run"]["outcome"], "failed");
    workspace.exec("run --arrival-date 2026-01-06").code(0);
    let status = workspace.json("status");
    let failures = status["feeds"][0]["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1);
    assert!(failures[0]["error"].as_str().unwrap().contains("2026-01-09"));
    workspace.exec("status").code(0).stdout(contains("no file for 2026-01-09"));
}

#[test]
fn a_rejected_file_is_to_be_looked_at_until_a_good_one_comes() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.write_batch("2026-01-07.csv", "no,header\n");
    workspace.exec("run").code(3);
    let status = unhealthy(&workspace, "");
    assert_eq!(conditions(&status), ["rejected_files"]);
    assert_eq!(status["feeds"][0]["rejected_files"][0]["file"], "2026-01-07.csv");
    let refused = json!([{ "stage": "ingest", "reason": "missing_column", "entries": 1 }]);
    assert_eq!(status["feeds"][0]["quarantine"], refused);
    workspace.write_batch("2026-01-07.csv", &batch(&["u9,click,2026-01-07T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    workspace.exec("status").code(0);
}

#[test]
fn files_that_no_run_has_seen_are_looked_for_when_asked() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    assert_eq!(workspace.json("status")["feeds"][0]["unseen_files"], Value::Null);
    let status = unhealthy(&workspace, "--sources");
    assert_eq!(conditions(&status), ["unseen_files"]);
    let unseen = json!([{ "arrival_date": "2026-01-06", "files": ["2026-01-06.csv"] }]);
    assert_eq!(status["feeds"][0]["unseen_files"], unseen);
}

#[test]
fn raw_dates_that_are_about_to_leave_are_told() {
    let workspace = workspace();
    workspace.write_batch("2026-01-18.csv", &batch(&["u9,click,2026-01-18T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    let status = workspace.json("status");
    let expiring = json!([
        { "arrival_date": "2026-01-05", "removed_by": "2026-01-20" },
        { "arrival_date": "2026-01-06", "removed_by": "2026-01-21" },
    ]);
    assert_eq!(status["feeds"][0]["expiring"], expiring);
    workspace.write_batch("2026-01-20.csv", &batch(&["u9,click,2026-01-20T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    let feed = &workspace.json("status")["feeds"][0];
    assert_eq!(feed["removed_through"], "2026-01-05");
    assert_eq!(feed["expiring"].as_array().unwrap().len(), 1);
    workspace.exec("status").code(0).stdout(contains("2026-01-06 leaves raw"));
}

#[test]
fn every_feed_has_its_own_status() {
    let workspace = workspace();
    let feeds =
        ["one", "two"].map(|name| CONFIGURATION.replace("\"events\"", &format!("\"{name}\"")));
    workspace.configure(&feeds.concat());
    workspace.exec("run --feed one").code(0);
    workspace.exec("ingest --feed two").code(0);
    let status = unhealthy(&workspace, "");
    let reasons = status["reasons"].as_array().unwrap();
    assert_eq!((reasons.len(), &reasons[0]["feed"]), (1, &json!("two")));
    assert_eq!(status["feeds"][0]["built_through"], "2026-01-06");
    workspace.exec("status --feed one").code(0);
    workspace.exec("status --feed three").code(2);
}
