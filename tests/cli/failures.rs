//! What fails a run (exit code 1), what it leaves behind, and how it goes on.

use predicates::prelude::*;
use predicates::str::contains;
use sessionlake::lake::TableName;

use super::{BUILT, CONFIGURATION, SHORT, workspace};

const RUN: [&str; 5] = ["feed", "arrival_date", "stage", "outcome", "error"];

#[test]
fn a_date_without_a_file_fails_unless_that_is_ok() {
    let workspace = workspace();
    let missing = "--arrival-date 2026-01-09";
    for command in ["run", "ingest"] {
        workspace.exec(&format!("{command} {missing}")).code(1).stderr(
            contains("2026-01-09").and(contains("batches")).and(contains("on_missing = \"ok\"")),
        );
    }
    let ok = CONFIGURATION.replace("[feed.event]", "on_missing = \"ok\"\n[feed.event]");
    workspace.configure(&ok);
    workspace.exec(&format!("run {missing}")).code(0);
    workspace.exec(&format!("ingest {missing}")).code(0);
}

#[test]
fn a_date_without_a_file_is_recorded_as_a_failed_run() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.exec("run --arrival-date 2026-01-09").code(1);
    let runs = workspace.lines(&TableName::Runs, &RUN);
    assert!(
        runs.iter().any(|run| run.contains("failed") && run.contains("2026-01-09")),
        "the failure left no record in runs: {runs:#?}"
    );
}

#[test]
fn a_feed_that_fails_does_not_stop_the_others() {
    let workspace = workspace();
    let broken = CONFIGURATION.replace("\"events\"", "\"broken\"").replace("batches/", "nowhere/");
    workspace.configure(&format!("{broken}{CONFIGURATION}"));
    workspace.exec("run").code(1).stderr(contains("broken").and(contains("nowhere/")));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("run --feed events").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_run_that_fails_before_its_first_stage_does_not_say_that_nothing_was_to_do() {
    let workspace = workspace();
    let failed = workspace.exec("run --arrival-date 2026-01-09").code(1);
    failed.stdout(contains("nothing to do").not());
}
