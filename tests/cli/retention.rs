//! Old arrival dates leave raw and quarantine, never before they are built.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use super::{BUILT, SHORT, batch, workspace};
use crate::support::workspace::Workspace;

/// Two dates built, one with a quarantined row.
fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.write_batch("2026-01-07.csv", &batch(&["u1,click,2020-01-01T10:00:00Z,too old"]));
    workspace.exec("run").code(0);
    workspace
}

fn partitions(plan: &Value) -> Vec<(String, String)> {
    let partitions = plan["feeds"][0]["plan"]["partitions"].as_array().unwrap();
    partitions
        .iter()
        .map(|partition| {
            assert!(partition["files"].as_i64().unwrap() > 0, "{partition}");
            assert!(partition["bytes"].as_i64().unwrap() > 0, "{partition}");
            let text = |key: &str| partition[key].as_str().unwrap().to_owned();
            (text("table"), text("arrival_date"))
        })
        .collect()
}

fn pair(table: &str, date: &str) -> (String, String) {
    (table.to_owned(), date.to_owned())
}

#[test]
fn a_dry_run_lists_what_would_go_and_removes_nothing() {
    let workspace = built();
    let line = "retention --as-of 2026-01-21 --dry-run";
    workspace.exec(line).code(0).stdout(
        contains("raw/events")
            .and(contains("2026-01-05"))
            .and(contains("2026-01-06"))
            .and(contains("2026-01-07").not()),
    );
    let plan = workspace.json(line);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        partitions(&plan),
        [pair("raw/events", "2026-01-05"), pair("raw/events", "2026-01-06")]
    );
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 7);
    let plan = workspace.json("retention --as-of 2026-01-22 --dry-run");
    assert!(partitions(&plan).contains(&pair("quarantine/events", "2026-01-07")));
    assert_eq!(workspace.quarantine_lines(&["_updated_at"]), ["2026-01-07"]);
}

#[test]
fn retention_removes_what_the_dry_run_listed_and_keeps_ods() {
    let workspace = built();
    let removed = workspace.json("retention --as-of 2026-01-21");
    assert_eq!(removed["stages"][0]["outcome"], "done");
    assert_eq!(removed["stages"][0]["removed"]["files"], 2);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-07"]);
    assert_eq!(workspace.quarantine_lines(&["_updated_at"]), ["2026-01-07"]);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    let again = workspace.json("retention --as-of 2026-01-21");
    assert_eq!(again["stages"][0]["outcome"], "up_to_date");
    workspace.exec("retention --as-of 2026-01-22").code(0);
    assert!(workspace.raw_lines(&["_updated_at"]).is_empty());
    assert!(workspace.quarantine_lines(&["_updated_at"]).is_empty());
}

#[test]
fn an_arrival_date_of_exactly_the_kept_days_stays() {
    let workspace = built();
    workspace.exec("retention --as-of 2026-01-19").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 7);
    workspace.exec("retention --as-of 2026-01-20").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 4);
}

#[test]
fn age_counts_from_the_newest_built_date_by_default() {
    let workspace = built();
    workspace.exec("retention").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 7);
    workspace.write_batch("2026-01-20.csv", &batch(&["u1,click,2026-01-20T10:00:00Z,"]));
    workspace.exec("ingest").code(0);
    workspace.exec("retention").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 8);
    workspace.exec("build").code(0);
    workspace.exec("retention").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]).len(), 5);
}

#[test]
fn a_date_that_is_not_fully_built_is_never_removed() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("ingest --arrival-date 2026-01-06").code(0);
    let line = "retention --as-of 2027-01-01";
    workspace
        .exec(&format!("{line} --dry-run"))
        .code(0)
        .stdout(contains("2026-01-06 is old enough but not fully built"));
    let plan = workspace.json(&format!("{line} --dry-run"));
    assert_eq!(plan["feeds"][0]["plan"]["kept_unbuilt"], serde_json::json!(["2026-01-06"]));
    workspace.exec(line).code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-06"; 3]);
    workspace.exec("build").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_second_file_that_is_not_built_keeps_its_whole_date() {
    let workspace = built();
    workspace.write_batch("2026-01-05.csv", &batch(&["u7,click,2026-01-05T11:00:00Z,second"]));
    workspace.exec("ingest --arrival-date 2026-01-05").code(0);
    workspace.exec("retention --as-of 2027-01-01").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-05"; 4]);
    workspace.exec("run").code(0);
    assert!(workspace.ods_lines(&["note"]).contains(&"second".to_owned()));
}

#[test]
fn a_removed_date_is_not_delivered_again_by_a_catch_up() {
    let workspace = built();
    workspace.exec("retention --as-of 2027-01-01").code(0);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    assert!(workspace.raw_lines(&["_updated_at"]).is_empty());
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn retention_of_a_lake_without_tables_has_nothing_to_do() {
    let workspace = workspace();
    workspace.exec("retention").code(0);
    workspace.exec("retention --dry-run").code(0).stdout(contains("nothing to remove"));
}
