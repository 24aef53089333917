//! `withdraw`: a wrong delivery taken back, as if it had never come.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;

use super::{BUILT, CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::changes::changes;
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

/// The wrong delivery: it is the earlier winner of an event, splits a session otherwise, brings
/// an event of its own, and two records that go to quarantine.
const WRONG: [&str; 5] = [
    "u1,click,2026-01-05T10:00:00Z,0 wins",
    "u1,click,2026-01-05T10:10:00Z,wrong",
    "u5,click,2026-01-05T12:00:00Z,wrong",
    "u5,click,2020-01-05T12:00:00Z,too old",
    "u5,click",
];

fn by_folder() -> String {
    CONFIGURATION.replace("{arrival_date}.csv", "{arrival_date}/*.csv")
}

/// The batches of [`workspace`] in folders, with or without [`WRONG`] beside the first.
fn delivered(wrong: bool) -> Workspace {
    let workspace = workspace();
    workspace.configure(&by_folder());
    for date in ["2026-01-05", "2026-01-06"] {
        let content =
            std::fs::read_to_string(workspace.path(&format!("batches/{date}.csv"))).unwrap();
        workspace.write_batch(&format!("{date}/right.csv"), &content);
    }
    if wrong {
        workspace.write_batch("2026-01-05/wrong.csv", &batch(&WRONG));
    }
    workspace.exec("run").code(0);
    workspace
}

const WITHDRAW: &str = "withdraw --file 2026-01-05/wrong.csv --arrival-date 2026-01-05";

/// What must be as if the delivery had never come.
fn contents(workspace: &Workspace) -> [Vec<String>; 3] {
    let ods = ["user_id", "timestamp", "time_diff_ms", "session_id", "_updated_at", "note"];
    [
        workspace.ods_lines(&ods),
        workspace.quarantine_lines(&["_updated_at", "stage", "reason", "_file", "_line"]),
        workspace.raw_lines(&["_updated_at", "_file", "_line", "timestamp", "note"]),
    ]
}

#[test]
fn a_withdrawn_delivery_leaves_no_trace() {
    let workspace = delivered(true);
    let expected = contents(&delivered(false));
    assert_ne!(contents(&workspace), expected);
    workspace
        .exec(WITHDRAW)
        .code(0)
        .stdout(contains("2026-01-05/wrong.csv").and(contains("4 rows of raw")));
    assert_eq!(contents(&workspace), expected);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    // The file still lies in its folder.
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("build --arrival-date 2026-01-05 --force").code(0);
    workspace.exec("ingest --accept-late").code(0);
    workspace.exec("reprocess --from 2026-01-01").code(0);
    let mut found = contents(&workspace);
    // The right files are other deliveries when they come as a load of history.
    found[2].dedup();
    assert_eq!(found, expected);
}

#[test]
fn a_dry_run_tells_what_a_withdrawal_does() {
    let workspace = delivered(true);
    let (before, bytes) = (workspace.ods(&["note"]), workspace.lake_bytes());
    let plan = &workspace.json(&format!("{WITHDRAW} --dry-run"))["feeds"][0];
    workspace
        .exec(&format!("{WITHDRAW} --dry-run"))
        .code(0)
        .stdout(contains("withdrawn: 2026-01-05/wrong.csv").and(contains("2026-01-05")));
    assert!(bytes == workspace.lake_bytes(), "a dry run wrote to the lake");
    let run = workspace.json(WITHDRAW);
    assert_eq!(plan["forecast"]["dates"], json!(changes(&before, &workspace.ods(&["note"]), 0)));
    assert_eq!(plan["forecast"]["total"]["events_removed"], 2);
    assert_eq!(plan["withdrawn"], run["stages"][0]["withdrawn"]);
    assert_eq!(plan["withdrawn"]["rows"], 4);
    assert_eq!(plan["withdrawn"]["from"], "2026-01-05");
    let stages = run["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].clone());
    assert_eq!(stages.collect::<Vec<_>>(), ["withdraw", "reprocess", "sessions"]);
}

#[test]
fn what_is_withdrawn_twice_is_up_to_date() {
    let workspace = delivered(true);
    workspace.exec(WITHDRAW).code(0);
    let bytes = workspace.lake_bytes();
    workspace.exec(WITHDRAW).code(0).stdout(contains("up_to_date"));
    workspace.exec(&format!("{WITHDRAW} --dry-run")).code(0).stdout(contains("withdrawn before"));
    assert!(bytes == workspace.lake_bytes());
}

#[test]
fn a_corrected_file_of_the_same_name_is_taken_in() {
    let workspace = delivered(true);
    workspace.exec(WITHDRAW).code(0);
    workspace.write_batch("2026-01-05/wrong.csv", &batch(&["u8,click,2026-01-05T08:00:00Z,right"]));
    workspace.exec("run").code(0);
    let notes = workspace.ods_lines(&["note"]);
    assert!(notes.contains(&"right".to_owned()) && !notes.contains(&"wrong".to_owned()));
    // And taken back in its turn.
    workspace.exec(WITHDRAW).code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn all_deliveries_of_a_name_go_together_and_are_told() {
    let workspace = delivered(true);
    workspace.write_batch("2026-01-05/wrong.csv", &batch(&["u8,click,2026-01-05T08:00:00Z,again"]));
    workspace.exec("run").code(0);
    let run = workspace.exec(WITHDRAW).code(0);
    assert!(stdout_of(&run).contains("2 deliveries of that name"), "{}", stdout_of(&run));
    assert!(stdout_of(&run).contains("5 rows of raw"), "{}", stdout_of(&run));
    assert_eq!(contents(&workspace), contents(&delivered(false)));
}

#[test]
fn a_name_that_was_never_delivered_is_refused_with_those_that_were() {
    let workspace = delivered(true);
    let before = contents(&workspace);
    for (line, says) in [
        (
            "withdraw --file wrong.csv --arrival-date 2026-01-05",
            "2026-01-05/right.csv, 2026-01-05/wrong.csv",
        ),
        (
            "withdraw --file 2026-01-05/wrong.csv --arrival-date 2026-01-04",
            "nothing was delivered under that date",
        ),
    ] {
        workspace.exec(line).code(2).stderr(contains(says));
        workspace.exec(&format!("{line} --dry-run")).code(2).stderr(contains(says));
    }
    assert_eq!(contents(&workspace), before);
}

#[test]
fn a_delivery_whose_rows_have_expired_stays() {
    let workspace = delivered(true);
    workspace.write_batch("2026-01-20/a.csv", &batch(&["u9,click,2026-01-20T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    let before = contents(&workspace);
    workspace
        .exec(WITHDRAW)
        .code(2)
        .stderr(contains("raw rows up to 2026-01-05 were removed").and(contains("stay in ODS")));
    // Raw holds these rows, but no longer all that could win in their place.
    workspace
        .exec("withdraw --file 2026-01-06/right.csv --arrival-date 2026-01-06")
        .code(2)
        .stderr(contains("earliest possible date is 2026-01-07"));
    assert_eq!(contents(&workspace), before);
}

#[test]
fn a_file_without_any_row_that_counts_leaves_raw_and_quarantine_alone() {
    let workspace = delivered(false);
    let expected = contents(&workspace);
    workspace.write_batch("2026-01-05/wrong.csv", &batch(&WRONG[3..]));
    workspace.write_batch("2026-01-05/empty.csv", &batch(&[]));
    workspace.exec("run").code(0);
    assert_eq!(contents(&workspace)[0], expected[0]);
    assert_ne!(contents(&workspace), expected);
    workspace.exec(WITHDRAW).code(0).stdout(contains("from event date 2026-01-06 on"));
    workspace.exec(&WITHDRAW.replace("wrong", "empty")).code(0).stdout(contains("0 rows of raw"));
    assert_eq!(contents(&workspace), expected);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn the_only_delivery_of_a_lake_leaves_it_empty() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", &batch(&WRONG));
    workspace.exec("ingest").code(0);
    let line = "withdraw --file 2026-01-05.csv --arrival-date 2026-01-05";
    workspace.exec(&format!("{line} --dry-run")).code(0).stdout(contains("nothing would change"));
    workspace.exec("run").code(0);
    workspace.exec(line).code(0);
    assert!(contents(&workspace).iter().all(Vec::is_empty));
    workspace.exec("run").code(0);
    assert!(contents(&workspace).iter().all(Vec::is_empty));
}

#[test]
fn recorded_rules_stay_as_they_are() {
    let workspace = delivered(true);
    workspace.configure(&by_folder().replace("\"5m\"", "\"3m\""));
    let rows = ["u3,click,2026-01-07T12:00:00Z,", "u3,scroll,2026-01-07T12:04:00Z,"];
    workspace.write_batch("2026-01-07/a.csv", &batch(&rows));
    workspace.exec(WITHDRAW).code(2).stderr(contains("session.timeout"));
    workspace.exec("run --arrival-date 2026-01-07 --accept-rule-change").code(0);
    workspace.exec(WITHDRAW).code(0);
    assert_eq!(workspace.ods_lines(&SHORT)[..6], BUILT);
    assert_eq!(
        workspace.ods_lines(&SHORT)[6..],
        ["u3,2026-01-07T12:00:00Z,2026-01-07T12:00:00Z,", "u3,2026-01-07T12:04:00Z,,"]
    );
}

#[test]
fn the_feed_must_be_said_where_there_are_several() {
    let workspace = delivered(true);
    let (_, feed) = CONFIGURATION.split_once("[[feed]]").unwrap();
    let other = format!("[[feed]]{}", feed.replace("events", "others"));
    workspace.configure(&(by_folder() + &other));
    workspace.exec(WITHDRAW).code(2).stderr(contains("--feed (events, others)"));
    workspace.exec(&format!("{WITHDRAW} --feed events")).code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_withdrawal_beside_a_run_ends_right() {
    let next = batch(&[
        "u1,click,2026-01-05T10:05:00Z,late",
        "u5,scroll,2026-01-05T12:01:00Z,late",
        "u6,click,2026-01-07T10:00:00Z,g",
    ]);
    let undisturbed = delivered(false);
    undisturbed.write_batch("2026-01-07/right.csv", &next);
    undisturbed.exec("run").code(0);
    let expected = contents(&undisturbed);
    for _ in 0..4 {
        let workspace = delivered(true);
        workspace.write_batch("2026-01-07/right.csv", &next);
        let racers = [WITHDRAW, "run --arrival-date 2026-01-07", "reprocess --from 2026-01-04"];
        let racers = racers.map(|line| workspace.program(line).spawn().unwrap());
        for racer in racers {
            let output = racer.wait_with_output().unwrap();
            assert!([Some(0), Some(4)].contains(&output.status.code()), "{output:?}");
        }
        workspace.exec(WITHDRAW).code(0);
        workspace.exec("run").code(0);
        assert_eq!(contents(&workspace), expected);
    }
}
