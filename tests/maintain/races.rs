//! A compaction beside other commits: each of them is done as if it had come alone.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sessionlake::lake::commits::{self, Change};
use sessionlake::lake::files::by_date;
use sessionlake::lake::ids;
use sessionlake::lake::{LakeError, TableName};

use super::{MOST_SMALL_FILES, loaded_before, ods, provenance, quarantine, raw, rows, scattered};
use crate::support::workspace::Workspace;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_commit_that_removes_what_was_joined_in_between_is_refused() {
    for name in [raw(), quarantine(), ods()] {
        let workspace = scattered();
        let (_, table) = loaded_before(&workspace, &name);
        workspace.exec("maintain").code(0);
        let before = rows(&workspace);
        let column = if name == ods() { "pdate" } else { "_updated_at" };
        let files = by_date(&name, &table, column).unwrap();
        let removes = files.into_values().flatten().map(|file| file.remove).collect();
        let change = Change { removes, ..Change::default() };
        let committed = workspace.block_on(commits::commit(&name, &table, change, &provenance()));
        assert!(committed.as_ref().is_err_and(LakeError::is_conflict), "{name}: {committed:?}");
        assert_eq!(rows(&workspace), before, "{name}");
    }
}

#[test]
fn a_build_that_adds_to_ods_and_removes_nothing_is_refused_too() {
    let workspace = scattered();
    let (_, table) = loaded_before(&workspace, &ods());
    workspace.exec("maintain").code(0);
    let change = Change { ids: vec![ids::transaction(ids::ods("events"), 1)], ..Change::default() };
    let committed = workspace.block_on(commits::commit(&ods(), &table, change, &provenance()));
    assert!(committed.as_ref().is_err_and(LakeError::is_conflict), "{committed:?}");
}

#[test]
fn a_delivery_goes_on_beside_a_compaction() {
    let workspace = scattered();
    let (_, table) = loaded_before(&workspace, &raw());
    workspace.exec("maintain").code(0);
    let change = Change { ids: vec![ids::transaction("raw/events/x", 1)], ..Change::default() };
    workspace.block_on(commits::commit(&raw(), &table, change, &provenance())).unwrap();
}

/// Starts `maintain`, which waits before its first commit of a compaction, until it has written
/// its file into `table`.
fn about_to_join(workspace: &Workspace, table: &str) -> Child {
    let folder = workspace.path("lake").join(table);
    let parquet_files = || parquet_files_below(&folder);
    let before = parquet_files();
    let mut child = workspace
        .program("maintain")
        .env("FAILPOINTS", "compaction_before_commit=1*sleep(8000)->off")
        .spawn()
        .unwrap();
    let start = Instant::now();
    while parquet_files() == before {
        assert!(start.elapsed() < PATIENCE, "no file was joined");
        assert!(child.try_wait().unwrap().is_none(), "maintain ended by itself");
        sleep(Duration::from_millis(20));
    }
    child
}

/// By name alone: a file that is being written goes by another name until it is whole.
fn parquet_files_below(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            if path.is_dir() {
                parquet_files_below(&path)
            } else {
                usize::from(path.extension().is_some_and(|ending| ending == "parquet"))
            }
        })
        .sum()
}

fn ends_well(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    stderr
}

#[test]
fn a_retention_beside_a_compaction_of_raw_removes_all_rows() {
    let workspace = scattered();
    workspace.exec("build").code(0);
    let child = about_to_join(&workspace, "raw/events");
    workspace.exec("retention --as-of 2026-03-01").code(0);
    let stderr = ends_well(child);
    assert!(stderr.contains("planning the stage again"), "{stderr}");
    let [raw, quarantined, built] = rows(&workspace);
    assert!(raw.is_empty() && quarantined.is_empty(), "{raw:?} {quarantined:?}");
    assert!(!built.is_empty());
}

#[test]
fn a_build_beside_a_compaction_of_ods_changes_what_it_would_alone() {
    let alone = scattered();
    alone.exec("build").code(0);
    let workspace = scattered();
    // Raw and quarantine first, so that the compaction that waits is that of ODS.
    let parts = workspace.live_files(&ods());
    workspace.exec("maintain").code(0);
    super::cut(&workspace, &super::ods(), &sessionlake::lake::contracts::ODS_FILES);
    assert!(parts.len() > MOST_SMALL_FILES);
    let child = about_to_join(&workspace, "ods/events");
    workspace.exec("build").code(0);
    ends_well(child);
    let [_, quarantined, built] = rows(&workspace);
    let [_, expected_quarantine, expected] = rows(&alone);
    assert_eq!(built, expected);
    assert_eq!(quarantined, expected_quarantine);
    workspace.assert_sorted();
    assert!(!workspace.live_files(&TableName::Runs).is_empty());
}
