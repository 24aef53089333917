//! What is printed where, and the record of a run.

use predicates::str::is_empty;
use serde_json::Value;
use sessionlake::lake::TableName;

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::program::{stderr_of, stdout_of};
use crate::support::workspace::Workspace;

/// Rows of every kind: new, repeated alike and otherwise, unreadable, refused.
fn every_kind() -> Workspace {
    let workspace = empty_workspace();
    let rows = [
        "u1,click,2026-01-05T10:00:00Z,a",
        "u1,click,2026-01-05T10:00:00Z,a",
        "u1,click,2026-01-05T10:00:00Z,b",
        "u1,scroll,2026-01-05T10:01:00Z,c",
        "u1,scroll",
        "u1,scroll,2020-01-05T10:01:00Z,d",
        ",scroll,2026-01-05T10:01:00Z,e",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace
}

fn count(stage: &Value, key: &str) -> i64 {
    stage[key].as_i64().unwrap_or_else(|| panic!("{key}: {stage}"))
}

fn quarantined(stage: &Value) -> i64 {
    stage["quarantined"].as_object().unwrap().values().map(|rows| rows.as_i64().unwrap()).sum()
}

/// JSON logs, each line on its own.
fn log_lines(stderr: &str) -> Vec<Value> {
    let parsed = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    stderr.lines().map(parsed).collect()
}

fn last_log_line(stderr: &str) -> Value {
    log_lines(stderr).pop().unwrap()
}

#[test]
fn the_json_document_holds_the_run_and_its_stages_in_order() {
    let run = every_kind().json("run");
    assert!(!run["run_id"].as_str().unwrap().is_empty());
    let stages = run["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["ingest", "build", "retention", "sessions"]);
    for stage in stages {
        assert_eq!(stage["feed"], "events");
        let date = if stage["stage"] == "sessions" { Value::Null } else { "2026-01-05".into() };
        assert_eq!(stage["arrival_date"], date);
        assert!(stage["seconds"].as_f64().unwrap() >= 0.0);
        assert!(stage["error"].is_null());
        assert_eq!(stage["config_hash"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn the_rows_of_each_stage_balance() {
    let run = every_kind().json("run");
    let (ingest, build) = (&run["stages"][0], &run["stages"][1]);
    assert_eq!(count(ingest, "rows_read"), 7);
    assert_eq!(count(ingest, "rows_new"), 6);
    assert_eq!(ingest["quarantined"], serde_json::json!({ "field_count": 1 }));
    assert_eq!(count(build, "rows_read"), 6);
    assert_eq!(count(build, "rows_new"), 2);
    assert_eq!(count(build, "rows_identical_duplicates"), 1);
    assert_eq!(count(build, "rows_conflicting_duplicates"), 1);
    let refused = serde_json::json!({ "beyond_update_depth": 1, "missing_key": 1 });
    assert_eq!(build["quarantined"], refused);
    let accounted = ["rows_new", "rows_identical_duplicates", "rows_conflicting_duplicates"]
        .map(|key| count(build, key));
    assert_eq!(count(build, "rows_read"), accounted.iter().sum::<i64>() + quarantined(build));
}

#[test]
fn a_late_run_balances_and_counts_what_it_changed() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    let run = workspace.json("run --arrival-date 2026-01-06");
    let build = &run["stages"][1];
    // The late event gives the last one of its key a session.
    assert_eq!((count(build, "rows_read"), count(build, "rows_new")), (3, 3));
    assert_eq!(count(build, "rows_changed"), 4);
}

#[test]
fn a_reprocess_balances_too() {
    let workspace = every_kind();
    workspace.exec("run").code(0);
    let run = workspace.json("reprocess --from 2026-01-05");
    let stage = &run["stages"][0];
    let accounted = ["rows_new", "rows_identical_duplicates", "rows_conflicting_duplicates"]
        .map(|key| count(stage, key));
    assert_eq!(count(stage, "rows_read"), accounted.iter().sum::<i64>() + quarantined(stage));
    assert_eq!(stage["quarantined"]["missing_key"], 1);
}

#[test]
fn a_failed_run_prints_its_document_too() {
    let workspace = empty_workspace();
    let failed = workspace.exec("run --arrival-date 2026-01-05 --output json").code(1);
    let run: Value = serde_json::from_str(&stdout_of(&failed)).unwrap();
    assert_eq!(run["stages"][0]["outcome"], "failed");
    assert!(run["stages"][0]["error"].as_str().unwrap().contains("2026-01-05"));
}

#[test]
fn a_piped_run_prints_its_table_and_no_progress() {
    let workspace = workspace();
    let run = workspace.exec("run").code(0).stderr(is_empty());
    let stdout = stdout_of(&run);
    assert!(!stdout.contains('\u{1b}') && !stdout.contains('\r'), "{stdout:?}");
    let header = stdout.lines().find(|line| line.contains("feed")).unwrap();
    assert!(header.contains("outcome") && header.contains("quarantined"), "{stdout}");
    let builds = stdout.lines().filter(|line| line.contains(" build ")).count();
    assert_eq!(builds, 2, "{stdout}");
}

#[test]
fn logs_go_to_standard_error_and_never_to_standard_output() {
    let workspace = workspace();
    let run = workspace.exec("run -v --output json").code(0);
    serde_json::from_str::<Value>(&stdout_of(&run)).unwrap();
    let stderr = stderr_of(&run);
    assert!(stderr.contains("2026-01-06") && stderr.contains("build"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let run = workspace().exec("run -v --log-format json").code(0);
    let stderr = stderr_of(&run);
    let stages: Vec<Value> = log_lines(&stderr)
        .into_iter()
        .filter(|event| event["fields"]["stage"] == "build")
        .collect();
    assert_eq!(stages.len(), 2, "{stderr}");
    assert!(stages.iter().all(|event| event["level"] == "INFO" && event["timestamp"].is_string()));
}

#[test]
fn the_error_is_a_line_of_json_logs_too() {
    let workspace = workspace();
    // Whatever the filter of the logs, the error is told.
    for (filter, bad) in [("", "nothing,of,the,kind\n"), ("off", "nothing,of,that,kind\n")] {
        workspace.write_batch("2026-01-07.csv", bad);
        let failed = workspace.exec_with("run --log-format json", &[("RUST_LOG", filter)]).code(3);
        let error = last_log_line(&stderr_of(&failed));
        assert_eq!(error["level"], "ERROR");
        assert_eq!(error["fields"]["stage"], "ingest");
        let message = error["fields"]["message"].as_str().unwrap();
        assert!(
            message.contains("2026-01-07.csv") && message.contains("missing_column"),
            "{message}"
        );
        assert!(error["timestamp"].as_str().unwrap().ends_with('Z'), "{error}");
        assert!(error["target"].is_string(), "{error}");
    }
}

#[test]
fn the_errors_of_all_feeds_and_of_the_start_are_json_too() {
    let workspace = workspace();
    let absent = CONFIGURATION.replace("\"user_id\"", "\"absent\"");
    let feeds = ["one", "two"].map(|name| absent.replace("\"events\"", &format!("\"{name}\"")));
    workspace.configure(&feeds.concat());
    let stderr = stderr_of(&workspace.exec("run --log-format json").code(3));
    let errors = log_lines(&stderr);
    assert_eq!(errors.iter().filter(|error| error["level"] == "ERROR").count(), 2, "{stderr}");
    let failed = workspace.exec("run --log-format json --config none.toml").code(2);
    let error = last_log_line(&stderr_of(&failed));
    assert!(error["fields"]["message"].as_str().unwrap().contains("none.toml"), "{error}");
}

#[test]
fn every_stage_that_did_something_is_recorded_in_runs() {
    let workspace = every_kind();
    let run = workspace.json("run");
    let columns = ["stage", "outcome", "rows_read", "rows_new", "rows_quarantined", "run_id"];
    let id = run["run_id"].as_str().unwrap();
    assert_eq!(
        workspace.lines(&TableName::Runs, &columns),
        [
            format!("build,done,6,2,2,{id}"),
            format!("ingest,done,7,6,1,{id}"),
            format!("retention,up_to_date,,,,{id}"),
            format!("sessions,done,,,,{id}"),
        ]
    );
    // A run that found nothing to do leaves no record.
    workspace.exec("run").code(0);
    assert_eq!(workspace.lines(&TableName::Runs, &columns).len(), 4);
}
