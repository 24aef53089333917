//! `run` without a date.

use std::fs::File;
use std::time::{Duration, SystemTime};

use predicates::prelude::*;
use predicates::str::contains;

use super::{BUILT, CONFIGURATION, SHORT, batch, workspace};
use crate::support::workspace::Workspace;

/// Several files per date.
fn folders() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace("{arrival_date}.csv", "{arrival_date}/*.csv"));
    workspace.write_batch("2026-01-05/a.csv", &batch(&["u1,scroll,2026-01-05T10:01:00Z,a"]));
    workspace.write_batch("2026-01-06/a.csv", &batch(&["u1,click,2026-01-06T10:00:00Z,b"]));
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn every_file_is_taken_in_and_then_nothing_is_left_to_do() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_second_file_of_a_processed_date_is_found() {
    let workspace = folders();
    workspace.write_batch("2026-01-05/b.csv", &batch(&["u1,click,2026-01-05T10:00:00Z,c"]));
    let run = workspace.json("run");
    let built: Vec<&str> = run["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["stage"] == "build")
        .map(|stage| stage["arrival_date"].as_str().unwrap())
        .collect();
    assert_eq!(built, ["2026-01-05"]);
    assert_eq!(
        workspace.ods_lines(&SHORT),
        [
            "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,c",
            "u1,2026-01-05T10:01:00Z,2026-01-05T10:00:00Z,a",
            "u1,2026-01-06T10:00:00Z,2026-01-06T10:00:00Z,b",
        ]
    );
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_changed_file_of_the_same_name_is_another_delivery() {
    let workspace = folders();
    let rows = ["u1,scroll,2026-01-05T10:01:00Z,a", "u1,click,2026-01-05T10:00:00Z,new"];
    workspace.write_batch("2026-01-05/a.csv", &batch(&rows));
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["a", "b", "new"]);
    assert_eq!(workspace.raw_lines(&["note"]), ["a", "a", "b", "new"]);
}

#[test]
fn a_file_that_was_only_touched_is_not_delivered_again() {
    let workspace = folders();
    let file = File::options().write(true).open(workspace.path("batches/2026-01-05/a.csv"));
    file.unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(workspace.raw_lines(&["note"]), ["a", "b"]);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn the_same_bytes_under_another_arrival_date_are_another_delivery() {
    let workspace = folders();
    workspace.write_batch("2026-01-07/a.csv", &batch(&["u1,click,2026-01-06T10:00:00Z,b"]));
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.raw_lines(&["_updated_at", "note"]),
        ["2026-01-05,a", "2026-01-06,b", "2026-01-07,b"]
    );
    assert_eq!(workspace.ods_lines(&["_updated_at", "note"]), ["2026-01-05,a", "2026-01-06,b"]);
}

#[test]
fn a_date_that_was_only_ingested_is_built() {
    let workspace = workspace();
    workspace.exec("ingest --arrival-date 2026-01-05").code(0);
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_catch_up_over_a_path_that_never_matched_a_file_fails_and_names_it() {
    let workspace = workspace();
    workspace.configure(&CONFIGURATION.replace("batches/", "batchs/"));
    for command in ["run", "ingest"] {
        workspace
            .exec(command)
            .code(1)
            .stdout(contains("nothing to do").not())
            .stderr(contains("any date").and(contains("batchs/{arrival_date}.csv")));
    }
    workspace.configure(CONFIGURATION);
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_catch_up_without_any_file_has_nothing_to_do_where_that_is_ok() {
    let workspace = Workspace::new();
    let ok = CONFIGURATION.replace("[feed.event]", "on_missing = \"ok\"\n[feed.event]");
    workspace.configure(&ok);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_catch_up_has_nothing_to_do_when_the_files_taken_in_were_moved_away() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    std::fs::remove_dir_all(workspace.path("batches")).unwrap();
    for command in ["run", "ingest"] {
        workspace.exec(command).code(0).stdout(contains("nothing to do"));
    }
}
