//! What ingest refused, read again under another contract.

use predicates::prelude::*;
use predicates::str::contains;

use super::{CONFIGURATION, batch};
use crate::support::workspace::Workspace;

const SIGABRT: i32 = 6;

fn contract(lines: &str) -> String {
    CONFIGURATION.replacen("[feed.event]", &format!("[feed.contract]\n{lines}\n[feed.event]"), 1)
}

/// Three users on the first date, of whom one has another note and one no session without the
/// row between; and a row that nothing can read.
fn first_date() -> String {
    batch(&[
        "u1,click,2026-01-05T10:00:00Z,a",
        "u1,scroll,2026-01-05T10:04:00Z,b",
        "u1,scroll,2026-01-05T10:08:00Z,a",
        "u2,click",
        "u3,click,2026-01-05T10:00:00Z,c",
    ])
}

fn second_date() -> String {
    batch(&["u1,scroll,2026-01-05T10:12:00Z,a", "u3,scroll,2026-01-06T10:00:00Z,b"])
}

fn delivered(lines: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&contract(lines));
    workspace.write_batch("2026-01-05.csv", &first_date());
    workspace.write_batch("2026-01-06.csv", &second_date());
    workspace
}

fn ods(workspace: &Workspace) -> Vec<String> {
    let columns = ["user_id", "event_id", "timestamp", "session_start", "time_diff_ms", "note"];
    workspace.ods_lines(&columns)
}

fn refused(workspace: &Workspace) -> Vec<String> {
    workspace.quarantine_lines(&["_updated_at", "_file", "_line", "reason"])
}

/// A lake to which everything came under the second contract.
fn expected(lines: &str) -> Workspace {
    let workspace = delivered(lines);
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn rows_that_another_contract_lets_in_come_back_and_the_others_stay() {
    let workspace = delivered("allowed = { note = [\"a\"] }");
    workspace.exec("run").code(0);
    assert_eq!(
        refused(&workspace),
        [
            "2026-01-05,2026-01-05.csv,3,not_allowed",
            "2026-01-05,2026-01-05.csv,5,field_count",
            "2026-01-05,2026-01-05.csv,6,not_allowed",
            "2026-01-06,2026-01-06.csv,3,not_allowed",
        ]
    );
    let second = "allowed = { note = [\"a\", \"b\"] }";
    workspace.configure(&contract(second));
    let before = workspace.lake_bytes();
    workspace
        .exec("quarantine replay --dry-run -v")
        .code(0)
        .stderr(contains("would be read again"));
    assert_eq!(workspace.lake_bytes(), before);
    workspace.exec("quarantine replay --reason not_allowed").code(0).stdout(contains("replay"));
    let expected = expected(second);
    assert_eq!(ods(&workspace), ods(&expected));
    assert_eq!(refused(&workspace), refused(&expected));
    let file = &workspace.json("files")["files"][0];
    assert_eq!((&file["rows"], &file["rows_rejected"]), (&3.into(), &2.into()));
    assert_eq!(workspace.raw_lines(&["_file", "_line"]), expected.raw_lines(&["_file", "_line"]));

    workspace.exec("quarantine replay").code(0);
    assert_eq!(workspace.raw_lines(&["_file", "_line"]), expected.raw_lines(&["_file", "_line"]));
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    workspace.exec("withdraw --file 2026-01-05.csv --arrival-date 2026-01-05").code(0);
    expected.exec("withdraw --file 2026-01-05.csv --arrival-date 2026-01-05").code(0);
    assert_eq!(ods(&workspace), ods(&expected));
    assert_eq!(refused(&workspace), refused(&expected));
}

#[test]
fn one_file_can_be_replayed_alone() {
    let workspace = delivered("allowed = { note = [\"a\"] }");
    workspace.exec("run").code(0);
    workspace.configure(CONFIGURATION);
    workspace.exec("quarantine replay --file 2026-01-06.csv").code(0);
    assert_eq!(
        refused(&workspace),
        [
            "2026-01-05,2026-01-05.csv,3,not_allowed",
            "2026-01-05,2026-01-05.csv,5,field_count",
            "2026-01-05,2026-01-05.csv,6,not_allowed",
        ]
    );
}

#[test]
fn a_file_that_was_rejected_whole_comes_back_whole() {
    for lines in ["max_bad_rows = 0", "mandatory = [\"device\"]", "on_bad_row = \"reject_file\""] {
        let workspace = delivered(lines);
        workspace.exec("run").code(3);
        let second = "mandatory = []";
        workspace.configure(&contract(second));
        workspace.exec("quarantine replay").code(0);
        let expected = expected(second);
        assert_eq!(ods(&workspace), ods(&expected), "{lines}");
        assert_eq!(refused(&workspace), refused(&expected), "{lines}");
        let statuses = workspace.json("files --status loaded");
        assert_eq!(statuses["files"].as_array().unwrap().len(), 2, "{lines}");
        workspace.exec("run").code(0).stdout(contains("nothing to do"));
    }
}

#[test]
fn entries_of_a_file_that_was_corrected_are_cleared() {
    let workspace = delivered("max_bad_rows = 0");
    workspace.exec("run").code(3);
    let corrected = first_date().replace("u2,web,click", "u2,web,click,2026-01-05T10:00:00Z,a");
    assert_ne!(corrected, first_date());
    workspace.write_batch("2026-01-05.csv", &corrected);
    workspace.exec("run").code(0);
    assert_eq!(refused(&workspace), ["2026-01-05,2026-01-05.csv,5,bad_rows"]);
    let before = ods(&workspace);
    workspace.exec("quarantine replay").code(0);
    assert_eq!(refused(&workspace), Vec::<String>::new());
    assert_eq!(ods(&workspace), before);
}

#[test]
fn a_file_that_is_still_bad_stays_rejected() {
    let workspace = delivered("max_bad_rows = 0");
    workspace.exec("run").code(3);
    let before = (ods(&workspace), refused(&workspace));
    workspace.exec("quarantine replay").code(3).stderr(contains("2026-01-05.csv"));
    assert_eq!((ods(&workspace), refused(&workspace)), before);
}

#[test]
fn a_file_that_is_gone_or_other_is_named_and_keeps_no_other_from_being_replayed() {
    for is_gone in [true, false] {
        let workspace = delivered("allowed = { note = [\"a\"] }");
        workspace.exec("run").code(0);
        workspace.configure(CONFIGURATION);
        if is_gone {
            std::fs::remove_file(workspace.path("batches/2026-01-05.csv")).unwrap();
        } else {
            workspace.write_batch("2026-01-05.csv", &second_date());
        }
        let named = contains("2026-01-05.csv").and(contains("run"));
        workspace.exec("quarantine replay").code(1).stderr(named);
        let left = refused(&workspace);
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|row| row.starts_with("2026-01-05")), "{left:?}");
    }
}

#[test]
fn a_replay_that_was_killed_is_finished_by_the_next_one() {
    use std::os::unix::process::ExitStatusExt as _;
    let points = [
        "raw_before_commit",
        "raw_after_commit",
        "raw_quarantine_before_commit",
        "raw_quarantine_after_commit",
        "ods_after_commit",
    ];
    for first in ["allowed = { note = [\"a\"] }", "on_bad_row = \"reject_file\""] {
        for point in points {
            let workspace = delivered(first);
            workspace.exec("run");
            let second = "allowed = { note = [\"a\", \"b\", \"c\"] }";
            workspace.configure(&contract(second));
            let mut program = workspace.program("quarantine replay");
            let killed = program.env("FAILPOINTS", format!("{point}=return")).output().unwrap();
            assert_eq!(killed.status.signal(), Some(SIGABRT), "{first} {point}");
            workspace.exec("quarantine replay").code(0);
            workspace.exec("run").code(0);
            let expected = expected(second);
            assert_eq!(ods(&workspace), ods(&expected), "{first} {point}");
            assert_eq!(refused(&workspace), refused(&expected), "{first} {point}");
        }
    }
}
