//! What a contract asks of columns and rows, and what becomes of those that break it.

use std::os::unix::process::ExitStatusExt as _;

use predicates::prelude::*;
use predicates::str::contains;

use super::{CONFIGURATION, batch};
use crate::support::workspace::Workspace;

const DAY: &str = "run --arrival-date 2026-01-05";
const SIGABRT: i32 = 6;

fn configuration(contract: &str) -> String {
    CONFIGURATION.replacen("[feed.event]", &format!("[feed.contract]\n{contract}\n[feed.event]"), 1)
}

fn with_contract(contract: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&configuration(contract));
    workspace
}

/// Rows of a user each, with that note.
fn notes(notes: &[&str]) -> String {
    let rows = notes.iter().enumerate();
    let rows: Vec<String> =
        rows.map(|(n, note)| format!("u{n},click,2026-01-05T10:00:0{n}Z,{note}")).collect();
    batch(&rows.iter().map(String::as_str).collect::<Vec<_>>())
}

fn quarantined(workspace: &Workspace) -> Vec<String> {
    workspace.quarantine_lines(&["_line", "reason", "detail"])
}

#[test]
fn a_row_that_breaks_the_contract_goes_to_quarantine_with_all_there_is_to_say() {
    let workspace = with_contract(
        "not_blank = [\"note\"]\ntypes = { note = \"integer\" }\nallowed = { note = [\"1\", \"2\"] }",
    );
    workspace.write_batch("2026-01-05.csv", &notes(&["1", "x", "", "3", "2", "\"a\""]));
    workspace.exec(DAY).code(0).stdout(contains("4"));
    assert_eq!(workspace.raw_lines(&["note"]), ["1", "2"]);
    assert_eq!(
        quarantined(&workspace),
        [
            "3,wrong_type,column `note`: found \"x\", expected a whole number",
            "4,blank,column `note`: found no value, expected one",
            "5,not_allowed,column `note`: found \"3\", expected one of 1, 2",
            "7,wrong_type,column `note`: found \"a\", expected a whole number",
        ]
    );
    let texts = workspace.quarantine_lines(&["stage", "_file", "row_text"]);
    let text = r#"{"event_id":"click","note":"x","product_code":"web","timestamp":"2026-01-05T10:00:01Z","user_id":"u1"}"#;
    assert!(texts.contains(&format!("ingest,2026-01-05.csv,{text}")), "{texts:#?}");
    let file = &workspace.json("files")["files"][0];
    assert_eq!((&file["rows"], &file["rows_rejected"]), (&2.into(), &4.into()));
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_value_is_of_its_type_in_every_way_that_the_type_is_written() {
    for (column_type, good, bad) in [
        ("integer", "-12", "1.5"),
        ("number", "1.5e3", "inf"),
        ("boolean", "TRUE", "yes"),
        ("date", "2026-02-28", "2026-02-30"),
        ("timestamp", "2026-01-05 10:00:00+01:00", "noon"),
        ("epoch_seconds", "1767600000", "1767600000000000"),
        ("epoch_millis", "1767600000000", "2026"),
        ("epoch_micros", "1767600000000000", "x"),
        ("%d.%m.%Y %H:%M", "05.01.2026 10:00", "01/05/2026 10:00"),
        ("%d.%m.%Y", "05.01.2026", "2026-01-05"),
    ] {
        let workspace = with_contract(&format!("types = {{ note = \"{column_type}\" }}"));
        // 2026 is a time in milliseconds, too.
        let bad = if column_type == "epoch_millis" { "20.26" } else { bad };
        workspace.write_batch("2026-01-05.csv", &notes(&[good, "", bad]));
        workspace.exec(DAY).code(0);
        assert_eq!(workspace.raw_lines(&["note"]), ["", good], "{column_type}");
        let told = quarantined(&workspace);
        assert_eq!(told.len(), 1, "{column_type}: {told:?}");
        assert!(told[0].starts_with("4,wrong_type,column `note`: found"), "{told:?}");
    }
}

#[test]
fn a_local_time_that_does_not_exist_in_the_zone_of_the_feed_is_of_the_wrong_type() {
    let workspace = Workspace::new();
    let contract = configuration("types = { note = \"timestamp\" }");
    workspace.configure(&contract.replacen(
        "[feed.session]",
        "zone = \"Europe/Vienna\"\n[feed.session]",
        1,
    ));
    workspace
        .write_batch("2026-01-05.csv", &notes(&["2026-03-29 02:30:00", "2026-03-29 03:30:00"]));
    workspace.exec(DAY).code(0);
    let told = quarantined(&workspace);
    assert!(
        told.len() == 1 && told[0].contains("does not exist in the zone Europe/Vienna"),
        "{told:?}"
    );
}

#[test]
fn columns_that_are_not_columns_of_raw_and_paths_are_held_to_the_contract_too() {
    let workspace = Workspace::new();
    let contract = "types = { price = \"number\", \"item.size\" = \"integer\" }";
    workspace.configure(&configuration(contract).replace(".csv", ".jsonl"));
    let line = |minute: u8, rest: &str| {
        format!(
            "{{\"user_id\":\"u\",\"product_code\":\"web\",\"event_id\":\"click\",\
             \"timestamp\":\"2026-01-05T10:0{minute}:00Z\"{rest}}}\n"
        )
    };
    let lines = [
        line(0, ",\"price\":1.5,\"item\":{\"size\":2}"),
        line(1, ",\"price\":\"cheap\""),
        line(2, ",\"item\":{\"size\":\"large\"}"),
        line(3, ""),
    ];
    workspace.write_batch("2026-01-05.jsonl", &lines.concat());
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.raw_lines(&["_line"]), ["1", "4"]);
    assert_eq!(
        quarantined(&workspace),
        [
            "2,wrong_type,column `price`: found \"cheap\", expected a number",
            "3,wrong_type,column `item.size`: found \"large\", expected a whole number",
        ]
    );
}

#[test]
fn a_column_that_nothing_names_is_rejected_where_the_contract_says_so() {
    let reject = "on_extra_column = \"reject\"\nmandatory = [\"device\"]";
    let workspace = with_contract(reject);
    let with = |columns: &str, values: &str| {
        batch(&["u1,click,2026-01-05T10:00:00Z,a"])
            .replace(",note\n", &format!(",note{columns}\n"))
            .replace(",a\n", &format!(",a{values}\n"))
    };
    workspace.write_batch("2026-01-05.csv", &with(",device,colour", ",phone,red"));
    workspace.exec(DAY).code(3).stderr(contains("extra_column").and(contains("`colour`")));
    assert!(workspace.raw_lines(&["note"]).is_empty());
    workspace.write_batch("2026-01-05.csv", &with("", ""));
    workspace.exec(DAY).code(3).stderr(contains("missing_column").and(contains("`device`")));
    workspace.write_batch("2026-01-05.csv", &with(",device", ",phone"));
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.raw_lines(&["note", "_extra"]), ["a,{\"device\":\"phone\"}"]);

    let workspace = Workspace::new();
    workspace.configure(&configuration("on_extra_column = \"reject\"").replace(".csv", ".jsonl"));
    let known = "\"user_id\":\"u\",\"product_code\":\"web\",\"event_id\":\"click\",\"timestamp\":\"2026-01-05T10:00:00Z\"";
    let lines = format!("{{{known}}}\n{{{known},\"colour\":1}}\n");
    workspace.write_batch("2026-01-05.jsonl", &lines);
    workspace.exec(DAY).code(0);
    assert_eq!(
        quarantined(&workspace)[0],
        "2,extra_column,found the column `colour`, expected none but those that the feed names"
    );
}

#[test]
fn a_missing_column_that_is_not_mandatory_may_be_filled_with_null() {
    let workspace = with_contract("on_missing_column = \"fill_null\"\nmandatory = [\"user_id\"]");
    let whole = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    workspace.write_batch("2026-01-05.csv", &whole.replace(",note\n", "\n").replace(",a\n", "\n"));
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.ods_lines(&["user_id", "note"]), ["u1,"]);
    workspace.write_batch("2026-01-06.csv", &whole.replace("user_id", "user"));
    workspace.exec("run").code(3).stderr(contains("missing_column").and(contains("`user_id`")));
}

#[test]
fn a_file_with_too_many_bad_rows_is_rejected_and_the_others_are_taken() {
    let file = notes(&["1", "2", "x", "y", "3"]);
    for (contract, rejected) in [
        ("max_bad_rows = 2", None),
        ("max_bad_rows = 1", Some("more than max_bad_rows = 1 rows are bad")),
        ("max_bad_rows = 0", Some("more than max_bad_rows = 0 rows are bad")),
        ("max_bad_share = \"40%\"", None),
        (
            "max_bad_share = \"39.9%\"",
            Some("2 of 5 rows are bad, more than max_bad_share = \"39.9%\""),
        ),
        ("on_bad_row = \"reject_file\"", Some("it has a bad row, and on_bad_row is")),
    ] {
        let workspace = Workspace::new();
        let of_day = configuration(&format!("{contract}\ntypes = {{ note = \"integer\" }}"));
        workspace.configure(&of_day.replace("{arrival_date}.csv", "{arrival_date}/*.csv"));
        workspace.write_batch("2026-01-05/a.csv", &file);
        workspace.write_batch("2026-01-05/b.csv", &batch(&["u9,click,2026-01-05T10:00:00Z,9"]));
        let run = workspace.exec(DAY);
        let Some(rule) = rejected else {
            run.code(0);
            assert_eq!(workspace.raw_lines(&["note"]), ["1", "2", "3", "9"], "{contract}");
            assert_eq!(quarantined(&workspace).len(), 2, "{contract}");
            continue;
        };
        let first = "the first in line 4: wrong_type: column `note`: found \"x\"";
        run.code(3).stderr(contains("bad_rows").and(contains(rule)).and(contains(first)));
        assert_eq!(workspace.raw_lines(&["note"]), ["9"], "{contract}");
        assert_eq!(
            workspace.quarantine_lines(&["_file", "_line", "reason"]),
            ["2026-01-05/a.csv,4,bad_rows"]
        );
        workspace.exec("run").code(0).stdout(contains("nothing to do"));
    }
}

#[test]
fn records_that_cannot_be_read_count_as_bad_rows() {
    let workspace = with_contract("max_bad_rows = 0");
    workspace.write_batch("2026-01-05.csv", &format!("{}u9,short\n", notes(&["a"])));
    workspace.exec(DAY).code(3).stderr(contains("in line 3: field_count"));
    assert!(workspace.raw_lines(&["note"]).is_empty());
}

#[test]
fn a_bad_row_fails_the_run_where_the_contract_says_so() {
    let workspace = with_contract("on_bad_row = \"fail\"\ntypes = { note = \"integer\" }");
    workspace.write_batch("2026-01-05.csv", &notes(&["1", "x"]));
    let told = contains("2026-01-05.csv, line 3: wrong_type: column `note`: found \"x\"");
    workspace.exec(DAY).code(1).stderr(told);
    assert!(workspace.raw_lines(&["note"]).is_empty());
    workspace.write_batch("2026-01-05.csv", &notes(&["1", "2"]));
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.raw_lines(&["note"]), ["1", "2"]);
}

fn kill(workspace: &Workspace, point: &str) {
    let killed = workspace.program(DAY).env("FAILPOINTS", format!("{point}=return")).output();
    let killed = killed.unwrap();
    assert_eq!(killed.status.signal(), Some(SIGABRT), "{point} was not reached: {killed:?}");
}

/// A crash between quarantine and raw, and another contract before the next run.
#[test]
fn each_row_is_in_one_table_though_a_run_is_killed_and_the_contract_changes() {
    const SECOND_CONTENT: &[&str] = &["3", "y", "z"];
    let contracts = [
        "types = { note = \"integer\" }",
        "types = { note = \"integer\" }\nallowed = { note = [\"1\"] }",
        "",
        "max_bad_rows = 0\ntypes = { note = \"integer\" }",
    ];
    for (first, then) in contracts.iter().flat_map(|first| contracts.map(|then| (*first, then))) {
        if first.is_empty() {
            continue;
        }
        for content in [&["1", "2", "x", "y"][..], SECOND_CONTENT] {
            let undisturbed = with_contract(then);
            undisturbed.write_batch("2026-01-05.csv", &notes(content));
            let code = if then.starts_with("max") { 3 } else { 0 };
            undisturbed.exec(DAY).code(code);
            let workspace = with_contract(first);
            workspace.write_batch("2026-01-05.csv", &notes(&["1", "2", "x", "y"]));
            kill(&workspace, "raw_quarantine_after_commit");
            workspace.configure(&configuration(then));
            workspace.write_batch("2026-01-05.csv", &notes(content));
            workspace.exec(DAY).code(code);
            assert_eq!(
                workspace.raw_lines(&["note"]),
                undisturbed.raw_lines(&["note"]),
                "{first} {then}"
            );
            let told = |of: &Workspace| of.quarantine_lines(&["_line", "reason", "row_text"]);
            assert_eq!(told(&workspace), told(&undisturbed), "{first} {then}");
            workspace.exec("run").code(0).stdout(contains("nothing to do"));
        }
    }
}

#[test]
fn an_earlier_content_of_a_file_keeps_its_rows_in_quarantine() {
    let workspace = with_contract("types = { note = \"integer\" }");
    workspace.write_batch("2026-01-05.csv", &notes(&["1", "x"]));
    workspace.exec(DAY).code(0);
    workspace.write_batch("2026-01-05.csv", &notes(&["2", "yy"]));
    kill(&workspace, "raw_quarantine_after_commit");
    workspace.exec(DAY).code(0);
    assert_eq!(workspace.raw_lines(&["note"]), ["1", "2"]);
    let told = quarantined(&workspace);
    assert_eq!(told.len(), 2, "{told:#?}");
}
