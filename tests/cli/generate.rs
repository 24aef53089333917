//! `generate`: sample batches.

use std::collections::BTreeMap;
use std::fs;

use predicates::prelude::*;
use predicates::str::contains;

use super::{SHORT, empty_workspace};
use crate::support::workspace::Workspace;

const OPTIONS: &str = "--days 3 --events-per-day 200 --users 20";

fn files(workspace: &Workspace, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(workspace.path(folder)).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_seed_others() {
    let workspace = empty_workspace();
    for (folder, seed) in [("one", 7), ("two", 7), ("three", 8)] {
        workspace.exec(&format!("generate --out {folder} {OPTIONS} --seed {seed}")).code(0);
    }
    let one = files(&workspace, "one");
    let names: Vec<&String> = one.keys().collect();
    assert_eq!(names, ["2026-01-01.csv", "2026-01-02.csv", "2026-01-03.csv"]);
    assert_eq!(one, files(&workspace, "two"));
    assert_ne!(one, files(&workspace, "three"));
}

#[test]
fn a_file_that_exists_is_not_written_over() {
    let workspace = empty_workspace();
    fs::create_dir(workspace.path("out")).unwrap();
    fs::write(workspace.path("out/2026-01-02.csv"), "precious").unwrap();
    workspace
        .exec(&format!("generate --out out {OPTIONS}"))
        .code(1)
        .stderr(contains("2026-01-02.csv").and(contains("exists already")));
    let files = files(&workspace, "out");
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    assert_eq!(files["2026-01-02.csv"], b"precious");
}

#[test]
fn options_that_make_no_sense_are_wrong_use() {
    let workspace = empty_workspace();
    for wrong in [
        "--days 3 --events-per-day 200 --users 0",
        "--days 3 --events-per-day 200 --users 20 --late-share 2",
        "--days 3 --events-per-day 200 --users 20 --late-share 0.6 --duplicate-share 0.6",
        "--days 3 --events-per-day 200",
    ] {
        workspace.exec(&format!("generate --out out {wrong}")).code(2);
    }
    assert!(!workspace.path("out").exists());
}

#[test]
fn what_was_written_is_counted() {
    let workspace = empty_workspace();
    let summary = workspace.json(&format!("generate --out out {OPTIONS}"));
    assert_eq!((&summary["files"], &summary["rows"]), (&3.into(), &600.into()));
    let bytes: usize = files(&workspace, "out").values().map(Vec::len).sum();
    assert_eq!(summary["bytes"], bytes);
}

#[test]
fn generated_batches_run_alike_in_both_formats() {
    let results = ["csv", "jsonl"].map(|format| {
        let workspace = Workspace::new();
        let configuration = super::CONFIGURATION
            .replace(".csv\"", &format!(".{format}\""))
            .replace("[\"note\"]", "[\"page as note\"]");
        workspace.configure(&configuration);
        workspace.exec(&format!("generate --out batches {OPTIONS} --format {format}")).code(0);
        let run = workspace.json("run");
        let builds = run["stages"].as_array().unwrap().iter().filter(|s| s["stage"] == "build");
        let read: i64 = builds.map(|stage| stage["rows_read"].as_i64().unwrap()).sum();
        assert_eq!(read, 600);
        assert_eq!(workspace.quarantine(), []);
        workspace.ods_lines(&SHORT)
    });
    assert!(results[0].len() > 400, "{}", results[0].len());
    assert_eq!(results[0], results[1]);
}
