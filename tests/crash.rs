//! A command killed between any two commits and run again gives the lake of a command that ran
//! undisturbed.
//!
//! The program is built with the feature `fail/failpoints` here, because this package's tests ask
//! for it: `FAILPOINTS="name=return"` aborts it at the point of that name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use sessionlake::lake::TableName;

use crate::support::workspace::Workspace;

/// Where the program can be killed, and by which commands.
const FAIL_POINTS: [(&str, &[&str]); 14] = [
    ("raw_quarantine_after_commit", &[RUN]),
    ("raw_before_commit", &[RUN]),
    ("raw_after_commit", &[RUN]),
    ("quarantine_before_commit", &[RUN, FORCE, REPROCESS, WITHDRAW]),
    ("quarantine_after_commit", &[RUN, FORCE, REPROCESS, WITHDRAW]),
    ("ods_before_commit", &[RUN, FORCE]),
    ("ods_after_commit", &[RUN, FORCE]),
    ("retention_before_commit", &[RUN]),
    ("retention_after_commit", &[RUN]),
    ("vacuum_after_removal", &[RUN, FORCE, REPROCESS]),
    ("reprocess_before_commit", &[REPROCESS, WITHDRAW]),
    ("reprocess_after_commit", &[REPROCESS, WITHDRAW]),
    ("withdraw_before_commit", &[WITHDRAW]),
    ("withdraw_after_commit", &[WITHDRAW]),
];

const RUN: &str = "run --arrival-date 2026-01-20";
const FORCE: &str = "build --arrival-date 2026-01-20 --force";
const REPROCESS: &str = "reprocess --from 2026-01-19 --timeout 10m";
const WITHDRAW: &str = "withdraw --file 2026-01-20/a.csv --arrival-date 2026-01-20";
/// The arrival date that expires with 2026-01-20.
const EXPIRED: &str = "2026-01-05";
const SIGABRT: i32 = 6;

const CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}/*.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["note"]
[feed.session]
user_action = "event_id = 'click'"
timeout = "5m"
"#;

const HEADER: &str = "user_id,product_code,event_id,timestamp,note";

/// A lake with two dates built and a third one waiting, which brings new, late, repeated,
/// unreadable and refused rows, and makes the first one expire.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    let batch = |name: &str, rows: &[&str]| {
        workspace.write_batch(name, &format!("{HEADER}\n{}\n", rows.join("\n")));
    };
    batch(
        "2026-01-05/a.csv",
        &["u1,web,click,2026-01-05T10:00:00Z,x", "u1,web,click,2025-06-01T10:00:00Z,too old"],
    );
    batch(
        "2026-01-19/a.csv",
        &[
            "u1,web,scroll,2026-01-19T10:00:00Z,b",
            "u1,web,scroll,2026-01-19T10:04:00Z,",
            "u2,web,click,2026-01-19T23:58:00Z,",
            "u2,web,click,not a time,",
        ],
    );
    batch(
        "2026-01-20/a.csv",
        &[
            "u1,web,click,2026-01-19T10:01:00Z,late",
            "u1,web,scroll,2026-01-19T10:00:00Z,a conflicting duplicate",
            "u1,web,click,2026-01-19T10:10:00Z,within ten minutes",
            "u1,web",
            "u2,web,scroll,2026-01-20T00:01:00Z,",
            "u2,web,scroll,2026-01-20T00:01:00Z,",
        ],
    );
    batch(
        "2026-01-20/b.csv",
        &["u3,web,click,2026-01-20T12:00:00Z,", "u3,web,click,2026-02-20T12:00:00Z,too early"],
    );
    workspace.exec("run --from 2026-01-05 --to 2026-01-19").code(0);
    workspace
}

/// A lake on which `command` has something to do.
fn workspace_for(command: &str) -> Workspace {
    let workspace = workspace();
    if command != RUN {
        workspace.exec(RUN).code(0);
    }
    if command == FORCE {
        // A second file, so that the build has rows to write and to refuse.
        let rows = "u4,web,click,2026-01-20T09:00:00Z,\nu4,web,click,2025-01-20T09:00:00Z,";
        workspace.write_batch("2026-01-20/c.csv", &format!("{HEADER}\n{rows}\n"));
        workspace.exec("ingest --arrival-date 2026-01-20").code(0);
    }
    workspace
}

/// What must not depend on a crash.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    ods: Vec<String>,
    quarantine: Vec<String>,
    raw: Vec<String>,
}

impl Contents {
    fn of(workspace: &Workspace) -> Self {
        Self {
            ods: workspace.ods_lines(&[
                "user_id",
                "product_code",
                "event_id",
                "timestamp",
                "is_user_action",
                "time_diff_ms",
                "session_start",
                "session_id",
                "pdate",
                "_updated_at",
                "note",
            ]),
            quarantine: workspace.quarantine_lines(&[
                "_updated_at",
                "stage",
                "reason",
                "_file",
                "_line",
                "row_text",
            ]),
            raw: workspace.raw_lines(&["_updated_at", "_file", "_line", "timestamp", "note"]),
        }
    }
}

fn points_of(command: &str) -> impl Iterator<Item = &'static str> {
    FAIL_POINTS
        .into_iter()
        .filter(move |(_, commands)| commands.contains(&command))
        .map(|(point, _)| point)
}

/// Kills `command` with `action` at `point`.
fn crash(workspace: &Workspace, command: &str, point: &str, action: &str) {
    let output =
        workspace.program(command).env("FAILPOINTS", format!("{point}={action}")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(SIGABRT),
        "{command} did not reach {point}: {}\n{stderr}",
        output.status
    );
}

fn killed_anywhere_and_run_again(command: &str) {
    let undisturbed = workspace_for(command);
    let before = Contents::of(&undisturbed);
    undisturbed.exec(command).code(0);
    let expected = Contents::of(&undisturbed);
    assert_ne!(before, expected, "{command} has nothing to do");
    for point in points_of(command) {
        let workspace = workspace_for(command);
        crash(&workspace, command, point, "return");
        let found = Contents::of(&workspace);
        assert!(
            found.ods == before.ods || found.ods == expected.ods,
            "{command} left half of its work in ODS at {point}: {found:#?}"
        );
        workspace.exec(command).code(0);
        assert_eq!(Contents::of(&workspace), expected, "{command} killed at {point}");
    }
}

#[test]
fn every_fail_point_of_the_sources_is_tried() {
    let mut found = BTreeSet::new();
    fail_points_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let here = FAIL_POINTS.into_iter().map(|(point, _)| point);
    let tried: BTreeSet<String> = here.chain(crate::flat::FAIL_POINTS).map(str::to_owned).collect();
    assert_eq!(found, tried);
}

fn fail_points_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fail_points_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.split("fail_point!(").skip(1);
            let names = calls.map(|call| call.trim_start().trim_start_matches('"'));
            found.extend(names.filter_map(|name| Some(name.split_once('"')?.0.to_owned())));
        }
    }
}

#[test]
fn a_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(RUN);
}

#[test]
fn a_forced_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(FORCE);
}

#[test]
fn a_reprocess_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(REPROCESS);
}

#[test]
fn a_withdrawal_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(WITHDRAW);
}

#[test]
fn any_next_command_ends_a_killed_withdrawal() {
    let undisturbed = workspace_for(WITHDRAW);
    undisturbed.exec(WITHDRAW).code(0);
    let expected = Contents::of(&undisturbed);
    let commands = [
        "run",
        "run --arrival-date 2026-01-20",
        "build",
        "ingest",
        "reprocess --from 2026-01-20",
        "retention --as-of 2026-01-20",
    ];
    for point in points_of(WITHDRAW).filter(|point| *point != "withdraw_before_commit") {
        for command in commands {
            let workspace = workspace_for(WITHDRAW);
            crash(&workspace, WITHDRAW, point, "return");
            workspace.exec(command).code(0);
            assert_eq!(Contents::of(&workspace), expected, "killed at {point}, then {command}");
        }
    }
}

#[test]
fn retention_waits_for_a_killed_withdrawal_that_cannot_be_ended() {
    let workspace = workspace_for(WITHDRAW);
    crash(&workspace, WITHDRAW, "withdraw_after_commit", "return");
    crash(&workspace, "retention --as-of 2027-01-01", "reprocess_before_commit", "return");
    let before = Contents::of(&workspace);
    assert!(before.raw.iter().any(|line| line.starts_with("2026-01-19")));
    let plan = workspace.json("retention --as-of 2027-01-01 --dry-run");
    assert_eq!(plan["feeds"][0]["plan"]["partitions"], serde_json::json!([]));
}

#[test]
fn a_run_without_a_date_catches_up_on_a_killed_one() {
    let undisturbed = workspace_for(RUN);
    undisturbed.exec(RUN).code(0);
    let expected = Contents::of(&undisturbed);
    for point in points_of(RUN).filter(|point| !point.starts_with("retention")) {
        let workspace = workspace_for(RUN);
        crash(&workspace, RUN, point, "return");
        workspace.exec("run").code(0);
        let mut found = Contents::of(&workspace);
        // After the last commit of its build a date is caught up; the next one expires for it.
        found.raw.retain(|line| !line.starts_with(EXPIRED));
        found.quarantine.retain(|line| !line.starts_with(EXPIRED));
        assert_eq!(found, expected, "killed at {point}");
    }
}

#[test]
fn retention_killed_between_its_two_tables_goes_on_with_the_second() {
    let undisturbed = workspace_for(RUN);
    undisturbed.exec(RUN).code(0);
    let expected = Contents::of(&undisturbed);
    for point in ["retention_before_commit", "retention_after_commit"] {
        let workspace = workspace_for(RUN);
        // Quarantine commits first, raw second.
        crash(&workspace, RUN, point, "1*off->return");
        workspace.exec(RUN).code(0);
        assert_eq!(Contents::of(&workspace), expected, "killed at {point} of raw");
    }
}

#[test]
fn a_first_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    let first = || {
        let workspace = Workspace::new();
        workspace.configure(CONFIGURATION);
        let rows = "u1,web,click,2026-01-05T10:00:00Z,x\nu1,web\nu1,web,click,bad,\n";
        workspace.write_batch("2026-01-05/a.csv", &format!("{HEADER}\n{rows}"));
        workspace
    };
    let undisturbed = first();
    undisturbed.exec("run").code(0);
    let expected = Contents::of(&undisturbed);
    assert_eq!((expected.ods.len(), expected.raw.len(), expected.quarantine.len()), (1, 2, 2));
    for point in points_of(RUN).filter(|point| !point.starts_with("retention")) {
        let workspace = first();
        crash(&workspace, "run", point, "return");
        workspace.exec("run").code(0);
        assert_eq!(Contents::of(&workspace), expected, "killed at {point}");
    }
    assert!(undisturbed.rows(&TableName::Runs).iter().any(|batch| batch.num_rows() > 0));
}
