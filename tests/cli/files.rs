//! What is known of delivered files, and runs that did not come to their end.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, SystemTime};

use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::Value;
use sessionlake::lake::TableName;

use super::{BUILT, SHORT, batch, workspace};
use crate::support::program::stderr_of;
use crate::support::workspace::Workspace;

const SIGABRT: i32 = 6;

/// Arrival date, name, status, rows, rejected rows of what `line` lists.
fn listed(workspace: &Workspace, line: &str) -> Vec<String> {
    let files = workspace.json(line);
    let text = |file: &Value, key: &str| match &file[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let keys = ["arrival_date", "file", "status", "rows", "rows_rejected"];
    let line = |file: &Value| keys.map(|key| text(file, key)).join(" ");
    files["files"].as_array().unwrap().iter().map(line).collect()
}

/// Runs a command that dies at a fail point.
pub(super) fn kill(workspace: &Workspace, line: &str, point: &str) {
    let killed = workspace.program(line).env("FAILPOINTS", format!("{point}=return")).output();
    let killed = killed.unwrap();
    assert_eq!(killed.status.signal(), Some(SIGABRT), "{line} did not reach {point}: {killed:?}");
}

fn facts(workspace: &Workspace) -> usize {
    workspace.lines(&TableName::Files, &["file"]).len()
}

#[test]
fn each_file_is_listed_with_what_became_of_it() {
    let workspace = workspace();
    let rows = ["u1,click,2026-01-07T10:00:00Z,a", "u1,scroll", "u1,scroll"];
    workspace.write_batch("2026-01-07.csv", &batch(&rows));
    workspace.exec("files").code(0).stdout(contains("no file"));
    let run = workspace.json("run");
    assert_eq!(
        listed(&workspace, "files"),
        [
            "2026-01-05 2026-01-05.csv loaded 3 0",
            "2026-01-06 2026-01-06.csv loaded 3 0",
            "2026-01-07 2026-01-07.csv loaded 1 2",
        ]
    );
    let file = &workspace.json("files --arrival-date 2026-01-07")["files"][0];
    assert_eq!(file["feed"], "events");
    assert_eq!(file["run_id"], run["run_id"]);
    assert_eq!(file["reasons"], serde_json::json!({ "field_count": 2 }));
    assert_eq!(file["content_hash"].as_str().unwrap().len(), 64);
    let path = workspace.path("batches/2026-01-07.csv");
    assert_eq!(file["url"], path.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(file["bytes"], path.metadata().unwrap().len());
    assert!(file["first_seen"].as_str().unwrap() < file["updated"].as_str().unwrap());
    workspace.exec("files").code(0).stdout(contains("field_count 2").and(contains("loaded")));
}

#[test]
fn files_that_are_known_and_unchanged_add_nothing() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let before = facts(&workspace);
    let version = |workspace: &Workspace| {
        workspace.block_on(async {
            workspace.lake().load(&TableName::Files).await.unwrap().unwrap().version()
        })
    };
    let version_before = version(&workspace);
    for line in ["run", "run --arrival-date 2026-01-05", "ingest", "build", "retention"] {
        workspace.exec(line).code(0);
    }
    assert_eq!((facts(&workspace), version(&workspace)), (before, version_before));
    workspace.write_batch("2026-01-07.csv", &batch(&["u9,click,2026-01-07T10:00:00Z,"]));
    workspace.exec("run").code(0);
    // Found, and loaded.
    assert_eq!(facts(&workspace), before + 2);
}

#[test]
fn a_file_of_the_same_content_is_skipped_and_one_of_new_content_has_changed() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let path = workspace.path("batches/2026-01-05.csv");
    let times = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    File::options().write(true).open(path).unwrap().set_modified(times).unwrap();
    workspace.write_batch("2026-01-06.csv", &batch(&["u9,click,2026-01-06T10:00:00Z,new"]));
    workspace.exec("run").code(0);
    assert_eq!(
        listed(&workspace, "files"),
        [
            "2026-01-05 2026-01-05.csv loaded 3 0",
            "2026-01-05 2026-01-05.csv skipped_duplicate null null",
            "2026-01-06 2026-01-06.csv loaded 3 0",
            "2026-01-06 2026-01-06.csv changed 1 0",
        ]
    );
    assert_eq!(
        listed(&workspace, "files --status changed --status skipped_duplicate"),
        [
            "2026-01-05 2026-01-05.csv skipped_duplicate null null",
            "2026-01-06 2026-01-06.csv changed 1 0",
        ]
    );
    assert_eq!(listed(&workspace, "files --from 2026-01-06 --to 2026-01-31").len(), 2);
    assert_eq!(listed(&workspace, "files --feed events --status seen").len(), 0);
    workspace.exec("files --status lost").code(2).stderr(contains("skipped_duplicate"));
    workspace.exec("files --feed other").code(2).stderr(contains("events"));
}

/// Puts a file where the folder of an arrival date in raw must be: no row of it can be written.
fn obstruct(workspace: &Workspace, arrival_date: &str) {
    let folder = workspace.path(&format!("lake/raw/events/_updated_at={arrival_date}"));
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::write(folder, "").unwrap();
}

#[test]
fn a_run_that_failed_says_why_its_file_was_not_taken_in() {
    let workspace = workspace();
    workspace.write_batch("2026-01-07.csv", &batch(&["u9,click,2026-01-07T10:00:00Z,"]));
    obstruct(&workspace, "2026-01-07");
    workspace.exec("run").code(1);
    let file = &workspace.json("files --status seen")["files"][0];
    assert_eq!(file["file"], "2026-01-07.csv");
    assert!(file["error"].as_str().unwrap().contains("raw/events"), "{file}");
    // It came to its end, so that the next one of another date has nothing to finish.
    workspace.write_batch("2026-01-08.csv", &batch(&["u9,click,2026-01-08T10:00:00Z,"]));
    workspace.exec("run --arrival-date 2026-01-08").code(0).stderr(is_empty());
}

/// Points of a run at which its files are noted as found, and none is built.
const UNFINISHED: [&str; 4] =
    ["seen_after_commit", "raw_before_commit", "raw_after_commit", "ods_before_commit"];

#[test]
fn a_killed_run_is_told_and_finished_before_the_date_asked_for() {
    let undisturbed = workspace();
    undisturbed.exec("run").code(0);
    for point in UNFINISHED.into_iter().chain(["ods_after_commit", "outcome_before_commit"]) {
        let workspace = workspace();
        kill(&workspace, "run --arrival-date 2026-01-05", point);
        assert_eq!(
            listed(&workspace, "files"),
            ["2026-01-05 2026-01-05.csv seen null null"],
            "{point}"
        );
        let id = workspace.json("files")["files"][0]["run_id"].as_str().unwrap().to_owned();
        let next = workspace.exec("run --arrival-date 2026-01-06 --output json").code(0);
        let stderr = stderr_of(&next);
        assert!(stderr.contains(&id) && stderr.contains("2026-01-05"), "{point}: {stderr}");
        let run: Value = serde_json::from_slice(&next.get_output().stdout).unwrap();
        let stages = run["stages"].as_array().unwrap();
        let builds = stages.iter().filter(|stage| stage["stage"] == "build");
        let dates: Vec<&Value> = builds.map(|stage| &stage["arrival_date"]).collect();
        assert_eq!(dates, ["2026-01-05", "2026-01-06"], "{point}");
        assert_eq!(workspace.ods_lines(&SHORT), BUILT, "{point}");
        assert_eq!(listed(&workspace, "files"), listed(&undisturbed, "files"), "{point}");
        workspace.exec("run").code(0).stderr(is_empty()).stdout(contains("nothing to do"));
    }
}

#[test]
fn a_date_that_was_ingested_alone_is_built_before_the_date_asked_for() {
    let workspace = workspace();
    workspace.exec("ingest --arrival-date 2026-01-05").code(0);
    let run = workspace.exec("run --arrival-date 2026-01-06").code(0);
    let stderr = stderr_of(&run);
    assert!(stderr.contains("2026-01-05") && stderr.contains("not built"), "{stderr}");
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn what_cannot_be_finished_does_not_keep_the_date_asked_for_from_being_run() {
    let workspace = workspace();
    kill(&workspace, "run --arrival-date 2026-01-05", "raw_before_commit");
    obstruct(&workspace, "2026-01-05");
    workspace.exec("run --arrival-date 2026-01-06").code(1).stderr(contains("2026-01-05, failed"));
    assert_eq!(workspace.ods_lines(&["_updated_at"]), ["2026-01-06"; 3]);
    // It was told, and is the next catch-up's to try again.
    workspace.exec("run --arrival-date 2026-01-06").code(0).stderr(is_empty());
    workspace.exec("run").code(1).stderr(contains("2026-01-05, failed"));
}

#[test]
fn a_file_that_is_gone_when_the_next_run_comes_is_told_once() {
    let workspace = workspace();
    kill(&workspace, "run --arrival-date 2026-01-05", "raw_before_commit");
    std::fs::remove_file(workspace.path("batches/2026-01-05.csv")).unwrap();
    let told = contains("2026-01-05").and(contains("did not come to its end"));
    workspace.exec("run --arrival-date 2026-01-06").code(0).stderr(told);
    let file = &workspace.json("files --status seen")["files"][0];
    assert!(file["error"].as_str().unwrap().contains("gone"), "{file}");
    workspace.exec("run --arrival-date 2026-01-06").code(0).stderr(is_empty());
}

#[test]
fn a_missing_batch_of_tonight_does_not_keep_last_nights_run_from_being_finished() {
    let workspace = workspace();
    kill(&workspace, "run --from 2026-01-05 --to 2026-01-06", "ods_before_commit");
    workspace.exec("run --arrival-date 2026-01-07").code(1).stderr(contains("no file for"));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_killed_load_of_history_is_told_until_it_is_given_again() {
    let workspace = workspace();
    let old = batch(&["u1,click,2019-01-05T10:00:00Z,old"]);
    workspace.write_batch("2026-01-07.csv", &old);
    let load = "ingest --arrival-date 2026-01-07 --accept-late";
    kill(&workspace, load, "raw_before_commit");
    for _ in 0..2 {
        let told = contains("load of history").and(contains("2026-01-07"));
        workspace.exec("run --arrival-date 2026-01-06").code(0).stderr(told);
        assert_eq!(workspace.quarantine(), []);
    }
    workspace.exec(load).code(0);
    workspace.exec("run --arrival-date 2026-01-06").code(0);
    workspace.exec("run --arrival-date 2026-01-06").code(0).stderr(is_empty());
    assert_eq!(workspace.ods_lines(&["note"]), ["d", "e", "late", "old"]);
    let file = &workspace.json("files --arrival-date 2026-01-07")["files"][0];
    assert_eq!((&file["status"], &file["accept_late"]), (&"loaded".into(), &true.into()));
}
