//! What a feed's contract says of files and rows: what is bad is named, kept and never in the way.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use sessionlake::lake::TableName;

use super::inputs::{gzip, zstd};
use super::{BUILT, CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::program::stderr_of;
use crate::support::workspace::Workspace;

const RUN: [&str; 5] = ["feed", "arrival_date", "stage", "outcome", "error"];
const DAY: &str = "run --arrival-date 2026-01-05";
const ONE: &str = "u1,click,2026-01-05T10:00:00Z,a";

/// A feed of several files a date.
fn several_files() -> String {
    CONFIGURATION.replace("{arrival_date}.csv", "{arrival_date}/*.csv")
}

/// A run of one date that rejects its file, is recorded, leaves no row, does not read the file
/// again, and takes in the corrected one.
fn is_rejected_and_goes_on(
    workspace: &Workspace,
    file: &str,
    bad: &[u8],
    reason: &str,
    words: &[&str],
    good: &[u8],
) {
    let path = workspace.path("batches").join(file);
    fs::write(&path, bad).unwrap();
    let mut assert = workspace.exec(DAY).code(3);
    for word in words.iter().chain(&[file, reason]) {
        assert = assert.stderr(contains(*word));
    }
    assert!(workspace.raw_lines(&["note"]).is_empty());
    let quarantined = workspace.quarantine_lines(&["stage", "reason", "_file", "row_text"]);
    assert_eq!(quarantined, [format!("ingest,{reason},{file},")]);
    let detail = workspace.quarantine_lines(&["detail"]).remove(0);
    assert!(words.iter().all(|word| detail.contains(word)), "{detail}");
    let runs = workspace.lines(&TableName::Runs, &RUN);
    let rejected = format!("events,2026-01-05,ingest,rejected,{file}: {reason}: ");
    assert!(runs.iter().any(|run| run.starts_with(&rejected)), "{runs:#?}");
    workspace.exec(DAY).code(0).stdout(contains("up_to_date"));
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    fs::write(&path, good).unwrap();
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.raw_lines(&["note"]), ["a"]);
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
    assert_eq!(workspace.quarantine_lines(&["reason"]), [reason]);
}

/// As [`is_rejected_and_goes_on`] for a file in this ending.
fn compressed(ending: &str, bad: &[u8], reason: &str, words: &[&str], good: &[u8]) {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", &format!(".csv.{ending}\"")));
    let file = format!("2026-01-05.csv.{ending}");
    is_rejected_and_goes_on(&workspace, &file, bad, reason, words, good);
}

#[test]
fn a_gzip_file_that_is_cut_off_or_damaged_is_rejected() {
    let whole = gzip(&batch(&[ONE]));
    let cut = &whole[..whole.len() - 6];
    compressed("gz", cut, "truncated", &["gzip", "cut off"], &whole);
    let mut damaged = whole.clone();
    let middle = whole.len() - 12;
    damaged[middle] ^= 0x55;
    compressed("gz", &damaged, "not_decodable", &["gzip", "damaged"], &whole);
}

#[test]
fn a_zstd_file_that_is_cut_off_is_rejected() {
    let whole = zstd(&batch(&[ONE]));
    let cut = &whole[..whole.len() - 6];
    compressed("zst", cut, "truncated", &["zstd", "cut off"], &whole);
}

#[test]
fn a_plain_file_with_the_ending_of_gzip_is_rejected() {
    let plain = batch(&[ONE]);
    compressed("gz", plain.as_bytes(), "wrong_format", &["gzip"], &gzip(&plain));
}

#[test]
fn a_missing_column_is_named_with_the_nearest_one_of_the_file() {
    let good = batch(&[ONE]);
    for (bad, words) in [
        (good.replace("user_id,", "userid,"), ["`user_id`", "is it `userid`?", "in line 1"]),
        (good.replace(",note\n", ",Notes\n"), ["`note`", "is it `Notes`?", "in line 1"]),
    ] {
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        let workspace = empty_workspace();
        is_rejected_and_goes_on(&workspace, "2026-01-05.csv", bad, "missing_column", &words, good);
    }
}

#[test]
fn a_file_that_is_empty_of_another_format_or_repeats_a_column_is_rejected() {
    let good = batch(&[ONE]);
    let utf_16: Vec<u8> =
        std::iter::once(0xFEFF).chain(good.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let repeated = good.replace("event_id,", "user_id,");
    for (bad, reason, word) in [
        (&b""[..], "empty", "written to its end"),
        (b"\n\n", "empty", "header"),
        (&utf_16, "wrong_format", "UTF-16"),
        (&gzip(&good), "wrong_format", "gzip data under a name without .gz"),
        (b"PAR1 and so on", "wrong_format", "a Parquet file"),
        (b"user_id,\xE9\n1,2\n", "not_decodable", "not UTF-8"),
        (b"user_id,\"note\n1,2\n", "wrong_format", "is not closed"),
        (repeated.as_bytes(), "duplicate_header", "`user_id`"),
    ] {
        let (workspace, good) = (empty_workspace(), good.as_bytes());
        is_rejected_and_goes_on(&workspace, "2026-01-05.csv", bad, reason, &[word], good);
    }
}

#[test]
fn a_text_under_the_name_of_a_parquet_file_is_rejected() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", ".parquet\""));
    workspace.write_batch("2026-01-05.parquet", &batch(&[ONE]));
    workspace.exec(DAY).code(3).stderr(contains("wrong_format").and(contains("no Parquet").not()));
    assert_eq!(workspace.quarantine_lines(&["reason", "_line"]), ["wrong_format,0"]);
}

#[test]
fn the_other_files_of_a_date_and_the_other_dates_go_on() {
    let workspace = Workspace::new();
    workspace.configure(&several_files());
    workspace.write_batch("2026-01-05/a.csv", &batch(&[ONE]));
    workspace.write_batch("2026-01-05/b.csv", "nothing,of,the,kind\n1,2,3,4\n");
    workspace.write_batch("2026-01-05/c.csv", &batch(&["u2,click,2026-01-05T10:00:00Z,c"]));
    workspace.write_batch("2026-01-06/a.csv", "");
    workspace.write_batch("2026-01-07/a.csv", &batch(&["u3,click,2026-01-07T10:00:00Z,d"]));
    let stderr = stderr_of(&workspace.exec("run").code(3));
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    for words in ["2 files were rejected", "2026-01-05/b.csv, arrival date 2026-01-05: missing_col"]
    {
        assert!(stderr.contains(words), "{stderr}");
    }
    assert_eq!(workspace.ods_lines(&["note"]), ["a", "c", "d"]);
    let built = workspace.lines(&TableName::Runs, &["arrival_date", "stage", "outcome"]);
    for stage in ["2026-01-05,build,done", "2026-01-06,ingest,rejected", "2026-01-07,ingest,done"] {
        assert!(built.iter().any(|line| line == stage), "{built:#?}");
    }
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn of_a_file_that_turns_out_bad_half_way_nothing_is_taken() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace("{arrival_date}.csv", "{arrival_date}/*.csv.gz"));
    // Longer than a row group, so that data files are begun before the end is read.
    let many: Vec<String> =
        (0..300_000).map(|n| format!("u{n},click,2026-01-05T10:00:00Z,{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let whole = gzip(&batch(&many));
    let write = |name: &str, bytes: &[u8]| {
        let path = workspace.path("batches/2026-01-05").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("a.csv.gz", &gzip(&batch(&["a1,click,2026-01-05T10:00:00Z,a"])));
    write("b.csv.gz", &whole[..whole.len() - 6]);
    write("c.csv.gz", &gzip(&batch(&["c1,click,2026-01-05T10:00:00Z,c", "c2,short"])));
    write("d.csv.gz", &[]);
    write("e.csv.gz", &gzip(&batch(&["e1,click,2026-01-05T10:00:00Z,e"])));
    workspace.exec(DAY).code(3).stderr(contains("truncated").and(contains("behind line 2")));
    assert_eq!(workspace.raw_lines(&["_file"]).len(), 3);
    assert_eq!(workspace.ods_lines(&["note"]), ["a", "c", "e"]);
    assert_eq!(
        workspace.quarantine_lines(&["_file", "reason"]),
        [
            "2026-01-05/b.csv.gz,truncated",
            "2026-01-05/c.csv.gz,field_count",
            "2026-01-05/d.csv.gz,empty"
        ]
    );
    let files = workspace.lines(&TableName::Files, &["file", "status", "rows", "rows_rejected"]);
    let told = |line: &str| files.iter().any(|file| file == line);
    assert!(told("2026-01-05/b.csv.gz,rejected,0,0"), "{files:#?}");
    assert!(told("2026-01-05/c.csv.gz,loaded,1,1"), "{files:#?}");
    let listed = workspace.stdout("files --status rejected");
    assert!(listed.contains("d.csv.gz") && !listed.contains("c.csv.gz"), "{listed}");
    // What was begun and given up is not left on the store.
    let folder = workspace.path("lake/raw/events/_updated_at=2026-01-05");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_rejected_file_that_is_touched_stays_rejected_and_another_name_is_judged_anew() {
    let workspace = Workspace::new();
    workspace.configure(&several_files());
    let without = batch(&[ONE]).replace(",note\n", ",remark\n");
    workspace.write_batch("2026-01-05/a.csv", &without);
    workspace.exec(DAY).code(3);
    workspace.write_batch("2026-01-05/a.csv", &without);
    workspace.exec("run").code(0);
    let files = workspace.stdout("files --status rejected");
    assert!(files.contains("was rejected before"), "{files}");
    workspace.write_batch("2026-01-05/b.csv", &without);
    workspace.exec("run").code(3).stderr(contains("a.csv").not());
    let files = workspace.quarantine_lines(&["_file"]);
    assert_eq!(files, ["2026-01-05/a.csv", "2026-01-05/b.csv"]);
}

#[test]
fn a_rejection_is_in_the_report_of_the_run() {
    let workspace = workspace();
    workspace.write_batch("2026-01-07.csv", "nothing,of,the,kind\n1,2,3,4\n");
    let assert = workspace.exec("run --output json").code(3);
    let report: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let stages = report["stages"].as_array().unwrap();
    let rejected = stages.iter().find(|stage| stage["outcome"] == "rejected").unwrap();
    assert_eq!(rejected["rejected_files"][0]["file"], "2026-01-07.csv");
    assert_eq!(rejected["rejected_files"][0]["reason"], "missing_column");
    assert_eq!(rejected["rejected_files"][0]["line"], 1);
    assert_eq!((&rejected["rows_read"], &rejected["rows_new"]), (&0.into(), &0.into()));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn retention_removes_the_rejections_of_a_date_too() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", "");
    workspace.exec("run").code(3);
    workspace.write_batch("2026-01-30.csv", &batch(&["u1,click,2026-01-30T10:00:00Z,a"]));
    workspace.exec("run").code(0);
    assert!(workspace.quarantine_lines(&["reason"]).is_empty());
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_folder_in_place_of_a_file_is_rejected_until_a_file_is_there() {
    let workspace = empty_workspace();
    let path = workspace.path("batches/2026-01-05.csv");
    fs::create_dir_all(&path).unwrap();
    workspace.exec(DAY).code(3).stderr(contains("not_a_file").and(contains("is a folder")));
    workspace.exec(DAY).code(0);
    fs::write(path.join("part.csv"), "x").unwrap();
    workspace.exec("run").code(0);
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, batch(&[ONE])).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
    let glob = empty_workspace();
    glob.configure(
        &CONFIGURATION.replace("{arrival_date}.csv\"", "{arrival_date}/*\"\nformat = \"csv\""),
    );
    glob.write_batch("2026-01-05/inner/a.csv", "x");
    glob.write_batch("2026-01-05/a.csv", &batch(&[ONE]));
    glob.exec(DAY).code(0);
}

/// The program waits between its look at the folder and its reading, and the file changes there.
#[test]
fn of_a_file_that_changes_while_it_is_read_nothing_is_taken_and_the_next_run_takes_it() {
    let changed = batch(&[ONE, "u2,click,2026-01-05T10:00:00Z,b"]);
    for (before, after) in [
        (batch(&[ONE]), changed.clone()),
        (batch(&[ONE]).replace(",a\n", ",b\n"), batch(&[ONE])),
        // What would be rejected is not judged either.
        ("nothing,of,the,kind\n".to_owned(), changed.clone()),
        (changed, "nothing,of,the,kind\n".to_owned()),
    ] {
        let workspace = empty_workspace();
        workspace.write_batch("2026-01-05.csv", &before);
        let mut run = workspace.program(DAY);
        let run = run.env("FAILPOINTS", "seen_after_commit=sleep(3000)");
        let run = run.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let files = workspace.path("lake/files/_delta_log/00000000000000000001.json");
        while !files.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        workspace.write_batch("2026-01-05.csv", &after);
        let ended = run.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("changed while it was read"), "{stderr}");
        assert!(workspace.raw_lines(&["note"]).is_empty());
        let is_good = after.starts_with("user_id");
        workspace.exec(DAY).code(if is_good { 0 } else { 3 });
        assert_eq!(
            workspace.raw_lines(&["note"]).len(),
            if is_good { after.lines().count() - 1 } else { 0 }
        );
    }
}
