//! Rejected files: copied to where `reject_to` says, and taken out of their source.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use predicates::prelude::*;
use predicates::str::contains;

use super::{CONFIGURATION, batch};
use crate::support::s3::{BUCKET, S3};
use crate::support::workspace::Workspace;

const DAY: &str = "run --arrival-date 2026-01-05";
const NEXT: &str = "run --arrival-date 2026-01-06";
const BAD: &str = "nothing,of,the,kind\n1,2,3,4\n";
const MOVED: &str = "reject_to = \"errors\"\nreject_move = true";
const SIGABRT: i32 = 6;

/// A feed with one rejected file on the first date and a good one on the next.
fn rejecting(contract: &str) -> Workspace {
    let workspace = Workspace::new();
    let contract = format!("[feed.contract]\n{contract}\n[feed.event]");
    workspace.configure(&CONFIGURATION.replacen("[feed.event]", &contract, 1));
    workspace.write_batch("2026-01-05.csv", BAD);
    workspace.write_batch("2026-01-06.csv", &batch(&["u1,click,2026-01-06T10:00:00Z,a"]));
    workspace
}

fn source(workspace: &Workspace) -> PathBuf {
    workspace.path("batches/2026-01-05.csv")
}

/// What was copied, by path below the folder without the hash.
fn copies(workspace: &Workspace) -> Vec<(String, String)> {
    let of_date = workspace.path("errors/events/2026-01-05");
    let Ok(hashes) = fs::read_dir(of_date) else { return vec![] };
    let mut copies = vec![];
    for hash in hashes {
        for file in fs::read_dir(hash.unwrap().path()).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            copies.push((name, fs::read_to_string(file.path()).unwrap()));
        }
    }
    copies.sort();
    copies
}

fn copy(content: &str) -> (String, String) {
    ("2026-01-05.csv".to_owned(), content.to_owned())
}

#[test]
fn a_rejected_file_is_copied_and_stays_where_it_is() {
    let workspace = rejecting("reject_to = \"errors\"");
    workspace.exec("run").code(3).stderr(contains("2026-01-05.csv"));
    assert_eq!(copies(&workspace), [copy(BAD)]);
    assert_eq!(fs::read_to_string(source(&workspace)).unwrap(), BAD);
    let detail = workspace.quarantine_lines(&["detail"]).remove(0);
    assert!(
        detail.contains("a copy is ") && detail.contains("errors/events/2026-01-05/"),
        "{detail}"
    );
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    let other = BAD.replace('1', "5");
    workspace.write_batch("2026-01-05.csv", &other);
    workspace.exec("run").code(3);
    assert_eq!(copies(&workspace).len(), 2);
}

#[test]
fn a_rejected_file_is_moved_and_its_date_is_not_missing_for_that() {
    let workspace = rejecting(MOVED);
    workspace.exec(DAY).code(3);
    assert_eq!(copies(&workspace), [copy(BAD)]);
    assert!(!source(&workspace).exists());
    for line in [DAY, "ingest --arrival-date 2026-01-05", "run --from 2026-01-05 --to 2026-01-05"] {
        workspace.exec(line).code(0);
    }
    workspace.exec("run --arrival-date 2026-01-04").code(1).stderr(contains("no file for"));
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
    // Rejected before, and delivered once more.
    workspace.write_batch("2026-01-05.csv", BAD);
    workspace.exec("run").code(0);
    assert!(!source(&workspace).exists());
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,click,2026-01-05T10:00:00Z,b"]));
    workspace.exec("run").code(0);
    assert!(source(&workspace).exists());
    assert_eq!(workspace.ods_lines(&["note"]), ["a", "b"]);
}

#[test]
fn what_a_killed_run_did_not_move_the_next_one_moves_of_whatever_date() {
    for (point, code) in [
        ("raw_quarantine_before_commit", 3),
        ("raw_quarantine_after_commit", 3),
        ("raw_after_commit", 0),
    ] {
        let workspace = rejecting(MOVED);
        let killed = workspace.program(DAY).env("FAILPOINTS", format!("{point}=return")).output();
        assert_eq!(killed.unwrap().status.signal(), Some(SIGABRT), "{point}");
        assert!(source(&workspace).exists(), "{point}");
        // Of a copy that was cut off no reader is sure.
        let hash = fs::read_dir(workspace.path("errors/events/2026-01-05")).unwrap().next();
        fs::write(hash.unwrap().unwrap().path().join("2026-01-05.csv"), "nothing").unwrap();
        workspace.exec(NEXT).code(code);
        assert_eq!(copies(&workspace), [copy(BAD)], "{point}");
        assert!(!source(&workspace).exists(), "{point}");
        assert_eq!(workspace.quarantine_lines(&["reason"]), ["missing_column"], "{point}");
        assert_eq!(workspace.ods_lines(&["note"]), ["a"], "{point}");
        workspace.exec("run").code(0).stdout(contains("nothing to do"));
    }
}

#[test]
fn a_file_that_cannot_be_copied_is_not_rejected_yet() {
    let workspace = rejecting(MOVED);
    fs::write(workspace.path("errors"), "no folder").unwrap();
    workspace.exec(DAY).code(1).stderr(contains("errors").and(contains("reject_to")));
    assert!(source(&workspace).exists());
    fs::remove_file(workspace.path("errors")).unwrap();
    workspace.exec(DAY).code(3);
    assert_eq!(copies(&workspace), [copy(BAD)]);
    assert!(!source(&workspace).exists());
}

#[test]
fn moving_needs_a_place_to_move_to() {
    rejecting("reject_move = true").exec("config check").code(2).stderr(contains("reject_to"));
}

#[test]
fn in_a_bucket_rejected_files_are_copied_and_moved_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let bucket = folder.path().join(BUCKET);
    fs::create_dir_all(bucket.join("in")).unwrap();
    let workspace = Workspace::new();
    let contract = format!(
        "[feed.contract]\nreject_to = \"s3://{BUCKET}/errors\"\nreject_move = true\n[feed.event]"
    );
    let feed = CONFIGURATION
        .replacen("[feed.event]", &contract, 1)
        .replace("batches/{arrival_date}.csv", &format!("s3://{BUCKET}/in/{{arrival_date}}.csv"));
    workspace.configure(&format!("{}{feed}", server.lake("lake", "retries = 1")));
    let source = bucket.join("in/2026-01-05.csv");
    fs::write(&source, BAD).unwrap();
    let good = batch(&["u1,click,2026-01-06T10:00:00Z,a"]);
    fs::write(bucket.join("in/2026-01-06.csv"), good).unwrap();
    workspace.exec("run").code(3).stderr(contains("2026-01-05.csv"));
    assert!(!source.exists() && bucket.join("in/2026-01-06.csv").exists());
    let detail = workspace.json("quarantine show")["entries"][0]["detail"].to_string();
    let place =
        detail.split(&format!("a copy is s3://{BUCKET}/")).nth(1).unwrap().trim_end_matches('"');
    assert!(place.starts_with("errors/events/2026-01-05/"), "{detail}");
    assert_eq!(fs::read_to_string(bucket.join(place)).unwrap(), BAD);
    workspace.exec(DAY).code(0).stdout(contains("up_to_date"));

    fs::write(&source, BAD).unwrap();
    workspace.exec("run").code(0);
    assert!(!source.exists(), "what was rejected before is moved, too");
    workspace.exec("quarantine replay").code(1).stderr(contains("put it back"));
}
