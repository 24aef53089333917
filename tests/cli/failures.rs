//! What fails a run (exit code 1), what it leaves behind, and how it goes on.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use sessionlake::lake::TableName;

use super::{BUILT, CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::workspace::Workspace;

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

/// A run of one date that fails, is recorded, leaves no row, and succeeds once the file is good.
fn fails_and_goes_on(workspace: &Workspace, file: &str, bad: &[u8], words: &[&str], good: &[u8]) {
    let path = workspace.path("batches").join(file);
    fs::write(&path, bad).unwrap();
    let mut assert = workspace.exec("run --arrival-date 2026-01-05").code(1);
    for word in words.iter().chain(&[file]) {
        assert = assert.stderr(contains(*word));
    }
    assert!(workspace.raw_lines(&["note"]).is_empty());
    let runs = workspace.lines(&TableName::Runs, &RUN);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(runs[0].starts_with("events,2026-01-05,ingest,failed,"), "{runs:?}");
    assert!(words.iter().all(|word| runs[0].contains(word)), "{runs:?}");
    fs::write(&path, good).unwrap();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    assert_eq!(workspace.raw_lines(&["note"]), ["a"]);
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
}

#[test]
fn a_damaged_gzip_file_fails_the_run_and_leaves_nothing() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", ".csv.gz\""));
    let whole = super::inputs::gzip(&batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let cut = &whole[..whole.len() - 6];
    fails_and_goes_on(&workspace, "2026-01-05.csv.gz", cut, &["gzip", "damaged"], &whole);
}

#[test]
fn a_damaged_zstd_file_fails_the_run_and_leaves_nothing() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", ".csv.zst\""));
    let whole = super::inputs::zstd(&batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let cut = &whole[..whole.len() - 6];
    fails_and_goes_on(&workspace, "2026-01-05.csv.zst", cut, &["zstd", "damaged"], &whole);
}

#[test]
fn a_plain_file_with_the_ending_of_gzip_fails_the_run() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", ".csv.gz\""));
    let good = super::inputs::gzip(&batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let plain = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    fails_and_goes_on(&workspace, "2026-01-05.csv.gz", plain.as_bytes(), &["gzip"], &good);
}

#[test]
fn a_missing_column_is_named_with_the_nearest_one_of_the_file() {
    let workspace = empty_workspace();
    let good = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    let bad = good.replace("user_id,", "userid,");
    let words = ["`user_id`", "is it `userid`?"];
    fails_and_goes_on(&workspace, "2026-01-05.csv", bad.as_bytes(), &words, good.as_bytes());
}

#[test]
fn a_missing_column_of_an_attribute_is_named_too() {
    let workspace = empty_workspace();
    let good = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    let bad = good.replace(",note\n", ",Notes\n");
    let words = ["`note`", "is it `Notes`?"];
    fails_and_goes_on(&workspace, "2026-01-05.csv", bad.as_bytes(), &words, good.as_bytes());
}

#[test]
fn an_empty_file_fails_the_run() {
    let workspace = empty_workspace();
    let good = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    fails_and_goes_on(&workspace, "2026-01-05.csv", b"", &["is empty"], good.as_bytes());
}

#[test]
fn the_dates_before_a_failing_one_stay_done() {
    let workspace = workspace();
    workspace.write_batch("2026-01-07.csv", "nothing,of,the,kind\n1,2,3,4\n");
    workspace.exec("run").code(1).stderr(contains("2026-01-07.csv"));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_feed_that_fails_does_not_stop_the_others() {
    let workspace = workspace();
    let broken =
        CONFIGURATION.replace("\"events\"", "\"broken\"").replace("\"user_id\"", "\"absent\"");
    workspace.configure(&format!("{broken}{CONFIGURATION}"));
    workspace.exec("run").code(1).stderr(contains("broken").and(contains("`absent`")));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("run --feed events").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_run_that_fails_before_its_first_stage_does_not_say_that_nothing_was_to_do() {
    let workspace = workspace();
    let failed = workspace.exec("run --arrival-date 2026-01-09").code(1);
    failed.stdout(contains("nothing to do").not());
}

#[test]
fn the_error_is_printed_once_with_its_causes() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", "nothing,of,the,kind\n1,2,3,4\n");
    let failed = workspace.exec("run").code(1);
    let stderr = crate::support::program::stderr_of(&failed);
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("because").count(), 1, "{stderr}");
    assert!(stderr.contains("ingest of events, arrival date 2026-01-05, failed"), "{stderr}");
}
