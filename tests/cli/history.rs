//! Runs with what they did.

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use super::{CONFIGURATION, empty_workspace, workspace};

fn ids(history: &Value) -> Vec<&str> {
    let runs = history["runs"].as_array().unwrap();
    runs.iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

#[test]
fn runs_are_listed_the_newest_first_with_their_stages_and_rows() {
    let workspace = workspace();
    let first = workspace.json("run --arrival-date 2026-01-05")["run_id"].clone();
    let second = workspace.json("run --arrival-date 2026-01-06")["run_id"].clone();
    let history = workspace.json("history");
    assert_eq!(ids(&history), [second.as_str().unwrap(), first.as_str().unwrap()]);
    let run = &history["runs"][0];
    assert_eq!((&run["outcome"], &run["feeds"]), (&json!("done"), &json!(["events"])));
    let stages = run["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["ingest", "build", "retention", "sessions"]);
    let build = &stages[1];
    let rows = ["rows_read", "rows_new", "rows_changed", "rows_quarantined"];
    assert_eq!(rows.map(|key| build[key].as_i64().unwrap()), [3, 3, 4, 0]);
    assert_eq!((&build["arrival_date"], &build["error"]), (&json!("2026-01-06"), &Value::Null));
    assert!(run["seconds"].as_f64().unwrap() >= build["seconds"].as_f64().unwrap());
    workspace.exec("history").code(0).stdout(
        contains("ingest, build, retention").and(contains("2026-01-06")).and(contains("done")),
    );
    // Three rows read, three new, four written to ODS; those of sessions are no events.
    let table = workspace.stdout("history --limit 1");
    let row = table.lines().find(|line| line.contains("ingest, build")).unwrap();
    let cells: Vec<&str> = row.split(['│', '┆']).map(str::trim).collect();
    assert_eq!(cells[7..11], ["3", "3", "4", "0"], "{table}");
    assert_eq!(ids(&workspace.json("history --limit 1")).len(), 1);
}

#[test]
fn runs_that_did_not_end_well_are_found_with_their_errors() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.exec("run --arrival-date 2026-01-09").code(1);
    workspace.write_batch("2026-01-07.csv", "no,header\n");
    workspace.exec("run --arrival-date 2026-01-07").code(3);
    let failed = workspace.json("history --failed");
    let outcomes = failed["runs"].as_array().unwrap().iter().map(|run| run["outcome"].clone());
    assert_eq!(outcomes.collect::<Vec<_>>(), ["rejected", "failed"]);
    workspace
        .exec("history --failed")
        .code(0)
        .stdout(contains("no file for 2026-01-09").and(contains("missing_column")));
    assert_eq!(ids(&workspace.json("history")).len(), 3);
}

#[test]
fn runs_are_chosen_by_the_date_on_which_they_began_and_by_feed() {
    let workspace = workspace();
    let feeds =
        ["one", "two"].map(|name| CONFIGURATION.replace("\"events\"", &format!("\"{name}\"")));
    workspace.configure(&feeds.concat());
    workspace.exec("run --feed one").code(0);
    workspace.exec("run").code(0);
    assert_eq!(ids(&workspace.json("history")).len(), 2);
    assert_eq!(ids(&workspace.json("history --feed two")).len(), 1);
    assert_eq!(ids(&workspace.json("history --from 2020-01-01 --to 2999-12-31")).len(), 2);
    assert_eq!(ids(&workspace.json("history --to 2020-01-01")).len(), 0);
    assert_eq!(ids(&workspace.json("history --from 2999-01-01")).len(), 0);
    workspace.exec("history --from 2026-01-02 --to 2026-01-01").code(2).stderr(contains("after"));
}

#[test]
fn a_lake_without_a_run_has_no_history() {
    let workspace = empty_workspace();
    workspace.exec("history").code(0).stdout("no run\n");
    assert_eq!(workspace.json("history"), json!({ "runs": [] }));
    assert!(!workspace.path("lake").exists());
}
