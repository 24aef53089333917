//! A command killed between any two commits or file writes and run again gives the lake of a
//! command that ran undisturbed.
//!
//! The program is built with the feature `fail/failpoints` here, because this package's tests ask
//! for it: `FAILPOINTS="name=return"` aborts it at the point of that name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use sessionlake::lake::TableName;

use crate::support::CONFIGURATION;
use crate::support::workspace::Workspace;

const RUN: &str = "run --arrival-date 2026-01-20";
const INGEST: &str = "ingest --arrival-date 2026-01-20";
const BUILD: &str = "build --arrival-date 2026-01-20";
const FORCE: &str = "build --arrival-date 2026-01-20 --force";
const REPROCESS: &str = "reprocess --from 2026-01-19 --timeout 10m";
const WITHDRAW: &str = "withdraw --file 2026-01-20/a.csv --arrival-date 2026-01-20";
const RETENTION: &str = "retention --as-of 2026-02-20";
const SETTLE: &str =
    "retention --as-of 2026-01-05 --set retention.removed_files_days=0 --set retention.log_days=0";
const MAINTAIN: &str = "maintain --set retention.removed_files_days=0 --set retention.log_days=0";
const JOIN: &str = "maintain";

/// Where a command is killed: every fail point that it comes by. An action behind `=` lets the
/// point pass some times first.
struct Crashes {
    command: &'static str,
    points: &'static [&'static str],
}

/// What every command does that writes: the record of the run, and looking after tables.
const RECORD: &[&str] =
    &["file_before_end", "file_after_end", "record_before_commit", "record_after_commit"];
/// What every command does that finds files.
const FOUND: [&str; 6] = [
    "seen_before_commit",
    "seen_after_commit",
    "outcome_before_commit",
    "outcome_after_commit",
    // Those of `files` and quarantine go before.
    "file_before_end=2*off->return",
    "file_after_end=2*off->return",
];
const VACUUM: &[&str] = &["vacuum_before_removal", "vacuum_after_removal"];

const RUN_CRASHES: Crashes = Crashes {
    command: RUN,
    points: &[
        FOUND[0],
        FOUND[1],
        FOUND[2],
        FOUND[3],
        FOUND[4],
        FOUND[5],
        "raw_file_before_end",
        "raw_file_after_end",
        "raw_quarantine_before_commit",
        "raw_quarantine_after_commit",
        "raw_before_commit",
        "raw_after_commit",
        "ods_file_before_end",
        "ods_file_after_end",
        "ods_file_after_end=1*off->return",
        "quarantine_before_commit",
        "quarantine_after_commit",
        "ods_before_commit",
        "ods_after_commit",
        // Quarantine commits first, raw second.
        "retention_before_commit",
        "retention_after_commit",
        "retention_before_commit=1*off->return",
        "retention_after_commit=1*off->return",
    ],
};
const INGEST_CRASHES: Crashes = Crashes {
    command: INGEST,
    points: &[
        FOUND[0],
        FOUND[1],
        FOUND[2],
        FOUND[3],
        FOUND[4],
        FOUND[5],
        "raw_file_before_end",
        "raw_file_after_end",
        "raw_quarantine_before_commit",
        "raw_quarantine_after_commit",
        "raw_before_commit",
        "raw_after_commit",
    ],
};
const BUILD_POINTS: &[&str] = &[
    "ods_file_before_end",
    "ods_file_after_end",
    "quarantine_before_commit",
    "quarantine_after_commit",
    "ods_before_commit",
    "ods_after_commit",
];
const BUILD_CRASHES: Crashes = Crashes { command: BUILD, points: BUILD_POINTS };
const FORCE_CRASHES: Crashes = Crashes { command: FORCE, points: BUILD_POINTS };
const REPROCESS_CRASHES: Crashes = Crashes {
    command: REPROCESS,
    points: &[
        "ods_file_before_end",
        "ods_file_after_end",
        "reprocess_before_commit",
        "reprocess_after_commit",
        "quarantine_before_commit",
        "quarantine_after_commit",
    ],
};
const WITHDRAW_CRASHES: Crashes = Crashes {
    command: WITHDRAW,
    points: &[
        "withdraw_before_commit",
        "withdraw_after_commit",
        "ods_file_before_end",
        "ods_file_after_end",
        "reprocess_before_commit",
        "reprocess_after_commit",
        "quarantine_before_commit",
        "quarantine_after_commit",
    ],
};
const RETENTION_CRASHES: Crashes = Crashes {
    command: RETENTION,
    points: &[
        "retention_before_commit",
        "retention_after_commit",
        "retention_before_commit=1*off->return",
        "retention_after_commit=1*off->return",
    ],
};
const SETTLE_CRASHES: Crashes =
    Crashes { command: SETTLE, points: &["properties_before_commit", "properties_after_commit"] };
const MAINTAIN_CRASHES: Crashes = Crashes {
    command: MAINTAIN,
    points: &[
        "orphans_before_removal",
        "orphans_after_removal",
        "checkpoint_before_write",
        "checkpoint_after_write",
        "log_before_removal",
        "log_after_removal",
        // Raw first, then quarantine.
        "compaction_before_commit",
        "compaction_after_commit",
        "compaction_before_commit=1*off->return",
        "compaction_after_commit=1*off->return",
    ],
};
const JOIN_CRASHES: Crashes = Crashes {
    command: JOIN,
    points: &[
        "ods_file_before_end",
        "ods_file_after_end",
        "compaction_before_commit=2*off->return",
        "compaction_after_commit=2*off->return",
    ],
};
const ALL: [&Crashes; 10] = [
    &RUN_CRASHES,
    &INGEST_CRASHES,
    &BUILD_CRASHES,
    &FORCE_CRASHES,
    &REPROCESS_CRASHES,
    &RETENTION_CRASHES,
    &WITHDRAW_CRASHES,
    &SETTLE_CRASHES,
    &MAINTAIN_CRASHES,
    &JOIN_CRASHES,
];
/// Those of a first run, beside most of [`RUN_CRASHES`].
const CREATION: [&str; 10] = [
    "table_before_creation",
    "table_after_creation",
    // Files, raw, quarantine, ods, runs.
    "table_before_creation=4*off->return",
    "table_after_creation=4*off->return",
    "table_before_creation=1*off->return",
    "table_after_creation=1*off->return",
    "table_before_creation=2*off->return",
    "table_after_creation=2*off->return",
    "table_before_creation=3*off->return",
    "table_after_creation=3*off->return",
];

/// The arrival date that expires with 2026-01-20.
const EXPIRED: &str = "2026-01-05";
const SIGABRT: i32 = 6;

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
fn workspace_for(command: &'static str) -> Workspace {
    static MADE: OnceLock<Mutex<Vec<(&str, Workspace)>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap();
    if let Some((_, workspace)) = made.iter().find(|(of, _)| *of == command) {
        return workspace.copy();
    }
    let workspace = make_workspace_for(command);
    let copy = workspace.copy();
    made.push((command, workspace));
    copy
}

fn make_workspace_for(command: &str) -> Workspace {
    match command {
        RUN | INGEST => workspace(),
        BUILD => {
            let workspace = workspace();
            workspace.exec(INGEST).code(0);
            workspace
        }
        FORCE => {
            let workspace = workspace();
            workspace.exec(RUN).code(0);
            // A second file, so that the build has rows to write and to refuse.
            let rows = "u4,web,click,2026-01-20T09:00:00Z,\nu4,web,click,2025-01-20T09:00:00Z,";
            workspace.write_batch("2026-01-20/c.csv", &format!("{HEADER}\n{rows}\n"));
            workspace.exec(INGEST).code(0);
            workspace
        }
        REPROCESS | RETENTION | WITHDRAW => {
            let workspace = workspace();
            workspace.exec(RUN).code(0);
            workspace
        }
        SETTLE => aged(),
        MAINTAIN => {
            let workspace = aged();
            workspace.exec(SETTLE).code(0);
            crate::maintain::plant_orphans(&workspace);
            workspace
        }
        JOIN => crate::maintain::scattered(),
        _ => unreachable!("{command} has no lake"),
    }
}

/// A lake with ten commits and many small files in raw and in quarantine, and other times on
/// record than configured.
fn aged() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    for file in 0..9 {
        let rows = format!("u{file},web,click,2026-01-05T10:00:00Z,x\nu{file},web");
        workspace.write_batch(&format!("2026-01-05/{file}.csv"), &format!("{HEADER}\n{rows}\n"));
        // Other times than the table was made with keep the tenth commit from a checkpoint.
        let days = if file == 0 { 30 } else { 1 };
        let ingest = format!("ingest --arrival-date 2026-01-05 --set retention.log_days={days}");
        workspace.exec(&ingest).code(0);
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

fn action_at(point: &str) -> String {
    if point.contains('=') { point.to_owned() } else { format!("{point}=return") }
}

/// Kills `command` at `point`.
fn crash(workspace: &Workspace, command: &str, point: &str) {
    let output = workspace.program(command).env("FAILPOINTS", action_at(point)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(SIGABRT),
        "{command} did not reach {point}: {}\n{stderr}",
        output.status
    );
}

/// Whether the command changes rows, or the files they are in alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    Rows,
    FilesAlone,
}

fn killed_anywhere_and_run_again(crashes: &Crashes, changes: Changes) {
    let command = crashes.command;
    let undisturbed = workspace_for(command);
    let before = Contents::of(&undisturbed);
    undisturbed.exec(command).code(0);
    let expected = Contents::of(&undisturbed);
    assert_eq!(before != expected, changes == Changes::Rows, "{command}");
    let of_all = if changes == Changes::Rows { [RECORD, VACUUM] } else { [RECORD, &[]] };
    let points: Vec<&str> =
        crashes.points.iter().chain(of_all.into_iter().flatten()).copied().collect();
    for point in &points {
        let workspace = workspace_for(command);
        crash(&workspace, command, point);
        let found = Contents::of(&workspace);
        assert!(
            found.ods == before.ods || found.ods == expected.ods,
            "{command} left half of its work in ODS at {point}: {found:#?}"
        );
        workspace.exec(command).code(0);
        assert_eq!(Contents::of(&workspace), expected, "{command} killed at {point}");
        crate::maintain::assert_no_orphan_is_left(&workspace, command);
        if workspace.path("lake/ods/events").exists() {
            workspace.assert_sorted();
        }
    }
    eprintln!("{command}: killed at {} points, 0 differences", points.len());
}

#[test]
fn every_fail_point_of_the_sources_is_tried() {
    let mut found = BTreeSet::new();
    fail_points_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let here = ALL.into_iter().flat_map(|crashes| crashes.points).chain(RECORD).chain(VACUUM);
    let here = here.chain(&CREATION).map(|point| point.split_once('=').map_or(*point, |(p, _)| p));
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
    killed_anywhere_and_run_again(&RUN_CRASHES, Changes::Rows);
}

#[test]
fn an_ingest_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&INGEST_CRASHES, Changes::Rows);
}

#[test]
fn a_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&BUILD_CRASHES, Changes::Rows);
}

#[test]
fn a_forced_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&FORCE_CRASHES, Changes::Rows);
}

#[test]
fn a_reprocess_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&REPROCESS_CRASHES, Changes::Rows);
}

#[test]
fn a_retention_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&RETENTION_CRASHES, Changes::Rows);
}

#[test]
fn other_times_that_are_recorded_by_a_killed_run_are_recorded_by_the_next() {
    let undisturbed = workspace_for(SETTLE);
    let before = Contents::of(&undisturbed);
    for point in SETTLE_CRASHES.points {
        let workspace = workspace_for(SETTLE);
        crash(&workspace, SETTLE, point);
        workspace.exec(SETTLE).code(0);
        assert_eq!(Contents::of(&workspace), before, "killed at {point}");
    }
}

#[test]
fn a_maintain_killed_anywhere_and_run_again_changes_no_row() {
    killed_anywhere_and_run_again(&MAINTAIN_CRASHES, Changes::FilesAlone);
}

#[test]
fn a_compaction_of_ods_killed_anywhere_and_run_again_changes_no_row() {
    killed_anywhere_and_run_again(&JOIN_CRASHES, Changes::FilesAlone);
}

#[test]
fn a_withdrawal_killed_anywhere_and_run_again_gives_the_undisturbed_lake() {
    killed_anywhere_and_run_again(&WITHDRAW_CRASHES, Changes::Rows);
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
    for point in WITHDRAW_CRASHES.points.iter().skip(1) {
        for command in commands {
            let workspace = workspace_for(WITHDRAW);
            crash(&workspace, WITHDRAW, point);
            workspace.exec(command).code(0);
            assert_eq!(Contents::of(&workspace), expected, "killed at {point}, then {command}");
        }
    }
}

#[test]
fn retention_waits_for_a_killed_withdrawal_that_cannot_be_ended() {
    let workspace = workspace_for(WITHDRAW);
    crash(&workspace, WITHDRAW, "withdraw_after_commit");
    crash(&workspace, "retention --as-of 2027-01-01", "reprocess_before_commit");
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
    for point in RUN_CRASHES.points.iter().filter(|point| !point.starts_with("retention")) {
        let workspace = workspace_for(RUN);
        crash(&workspace, RUN, point);
        workspace.exec("run").code(0);
        let mut found = Contents::of(&workspace);
        // After the last commit of its build a date is caught up; the next one expires for it.
        found.raw.retain(|line| !line.starts_with(EXPIRED));
        found.quarantine.retain(|line| !line.starts_with(EXPIRED));
        assert_eq!(found, expected, "killed at {point}");
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
    let of_run = RUN_CRASHES.points.iter().filter(|point| !point.starts_with("retention"));
    let points: Vec<&str> =
        of_run.filter(|point| !point.contains('=')).chain(&CREATION).copied().collect();
    for point in &points {
        let workspace = first();
        crash(&workspace, "run", point);
        workspace.exec("run").code(0);
        assert_eq!(Contents::of(&workspace), expected, "killed at {point}");
    }
    eprintln!("a first run: killed at {} points, 0 differences", points.len());
    assert!(undisturbed.rows(&TableName::Runs).iter().any(|batch| batch.num_rows() > 0));
}
