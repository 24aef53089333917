//! A command killed between any two commits or file writes and run again gives the lake of a
//! command that ran undisturbed, on a disk and on S3.
//!
//! The program is built with the feature `fail/failpoints` here, because this package's tests ask
//! for it: `FAILPOINTS="name=return"` aborts it at the point of that name.

mod lakes;
mod points;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sessionlake::lake::TableName;

use crate::support::say;
use crate::support::workspace::Workspace;
use lakes::{Contents, Ground, first_lake};
use points::{
    ALL, BUILD_CRASHES, CREATION, Crashes, FORCE_CRASHES, INGEST_CRASHES, JOIN_CRASHES,
    MAINTAIN_CRASHES, RECORD, REPROCESS_CRASHES, RETENTION_CRASHES, RUN, RUN_CRASHES, SETTLE,
    SETTLE_CRASHES, VACUUM, WITHDRAW, WITHDRAW_CRASHES,
};

/// The arrival date that expires with 2026-01-20.
const EXPIRED: &str = "2026-01-05";
const SIGABRT: i32 = 6;

/// One test for each of them on a disk, and one on S3.
macro_rules! on_disk_and_on_s3 {
    ($($name:ident),* $(,)?) => {
        mod on_disk {
            $(
                #[test]
                fn $name() {
                    super::$name(&super::Ground::Disk);
                }
            )*
        }

        mod on_s3 {
            $(
                #[test]
                fn $name() {
                    super::$name(&super::Ground::s3());
                }
            )*
        }
    };
}

on_disk_and_on_s3! {
    a_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    an_ingest_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_forced_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_reprocess_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_retention_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_withdrawal_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    a_maintain_killed_anywhere_and_run_again_changes_no_row,
    a_compaction_of_ods_killed_anywhere_and_run_again_changes_no_row,
    a_run_without_a_date_catches_up_on_a_killed_one,
    a_first_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake,
    other_times_that_are_recorded_by_a_killed_run_are_recorded_by_the_next,
}

/// Kills `command` at `point`.
fn crash(workspace: &Workspace, command: &str, point: &str) {
    let action = if point.contains('=') { point.to_owned() } else { format!("{point}=return") };
    let output = workspace.program(command).env("FAILPOINTS", action).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(SIGABRT),
        "{command} did not reach {point}: {}\n{stderr}",
        output.status
    );
}

/// Tells how often `command` was killed, and how often any was on this ground so far.
fn tell(ground: &Ground, command: &str, kills: usize) {
    static ON_DISK: AtomicUsize = AtomicUsize::new(0);
    static ON_S3: AtomicUsize = AtomicUsize::new(0);
    let all = match ground {
        Ground::Disk => &ON_DISK,
        Ground::S3(_) => &ON_S3,
    };
    let so_far = all.fetch_add(kills, Ordering::Relaxed) + kills;
    say(&format!("crashes on {ground}: {command}: {kills} kills, 0 differences ({so_far} so far)"));
}

/// Whether the command changes rows, or the files they are in alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    Rows,
    FilesAlone,
}

fn killed_anywhere_and_run_again(ground: &Ground, crashes: &Crashes, changes: Changes) {
    let command = crashes.command;
    let before = Contents::of(&Ground::Disk.lake_for(command));
    let expected = undisturbed(ground, command);
    assert_eq!(before != expected, changes == Changes::Rows, "{command}");
    let of_all = if changes == Changes::Rows { [RECORD, VACUUM] } else { [RECORD, &[]] };
    let points: Vec<&str> =
        crashes.points.iter().chain(of_all.into_iter().flatten()).copied().collect();
    for point in &points {
        let workspace = ground.lake_for(command);
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
    tell(ground, command, points.len());
}

/// What `command` makes of its lake, which is the same on every ground.
fn undisturbed(ground: &Ground, command: &'static str) -> Contents {
    let on_disk = Ground::Disk.lake_for(command);
    on_disk.exec(command).code(0);
    let expected = Contents::of(&on_disk);
    let here = ground.lake_for(command);
    here.exec(command).code(0);
    assert_eq!(Contents::of(&here), expected, "{command} on {ground}");
    expected
}

#[test]
fn every_fail_point_of_the_sources_is_tried() {
    let mut found = BTreeSet::new();
    fail_points_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let here = ALL.into_iter().flat_map(|crashes| crashes.points).chain(RECORD).chain(VACUUM);
    let here = here.chain(&CREATION).map(|point| point.split_once('=').map_or(*point, |(p, _)| p));
    let tried: BTreeSet<String> = here.chain(crate::flat::FAIL_POINTS).map(str::to_owned).collect();
    assert_eq!(found, tried);
    say(&format!("crashes: {} fail points in the sources", found.len()));
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

fn a_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &RUN_CRASHES, Changes::Rows);
}

fn an_ingest_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &INGEST_CRASHES, Changes::Rows);
}

fn a_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &BUILD_CRASHES, Changes::Rows);
}

fn a_forced_build_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &FORCE_CRASHES, Changes::Rows);
}

fn a_reprocess_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &REPROCESS_CRASHES, Changes::Rows);
}

fn a_retention_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &RETENTION_CRASHES, Changes::Rows);
}

fn a_withdrawal_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &WITHDRAW_CRASHES, Changes::Rows);
}

fn a_maintain_killed_anywhere_and_run_again_changes_no_row(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &MAINTAIN_CRASHES, Changes::FilesAlone);
}

fn a_compaction_of_ods_killed_anywhere_and_run_again_changes_no_row(ground: &Ground) {
    killed_anywhere_and_run_again(ground, &JOIN_CRASHES, Changes::FilesAlone);
}

fn other_times_that_are_recorded_by_a_killed_run_are_recorded_by_the_next(ground: &Ground) {
    let before = Contents::of(&Ground::Disk.lake_for(SETTLE));
    for point in SETTLE_CRASHES.points {
        let workspace = ground.lake_for(SETTLE);
        crash(&workspace, SETTLE, point);
        workspace.exec(SETTLE).code(0);
        assert_eq!(Contents::of(&workspace), before, "killed at {point}");
    }
    tell(ground, SETTLE, SETTLE_CRASHES.points.len());
}

fn a_run_without_a_date_catches_up_on_a_killed_one(ground: &Ground) {
    let expected = undisturbed(ground, RUN);
    let points: Vec<&str> = not_of_retention().collect();
    for point in &points {
        let workspace = ground.lake_for(RUN);
        crash(&workspace, RUN, point);
        workspace.exec("run").code(0);
        let mut found = Contents::of(&workspace);
        // After the last commit of its build a date is caught up; the next one expires for it.
        found.raw.retain(|line| !line.starts_with(EXPIRED));
        found.quarantine.retain(|line| !line.starts_with(EXPIRED));
        assert_eq!(found, expected, "killed at {point}");
    }
    tell(ground, "run, then catch up", points.len());
}

/// The points of a run but those of its retention.
fn not_of_retention() -> impl Iterator<Item = &'static str> {
    RUN_CRASHES.points.iter().copied().filter(|point| !point.starts_with("retention"))
}

fn a_first_run_killed_anywhere_and_run_again_gives_the_undisturbed_lake(ground: &Ground) {
    let first = || ground.copy(&first_lake());
    let undisturbed = first();
    undisturbed.exec("run").code(0);
    let expected = Contents::of(&undisturbed);
    assert_eq!((expected.ods.len(), expected.raw.len(), expected.quarantine.len()), (1, 2, 2));
    let of_run = not_of_retention().filter(|point| !point.contains('='));
    let points: Vec<&str> = of_run.chain(CREATION).collect();
    for point in &points {
        let workspace = first();
        crash(&workspace, "run", point);
        workspace.exec("run").code(0);
        assert_eq!(Contents::of(&workspace), expected, "killed at {point}");
    }
    tell(ground, "a first run", points.len());
    assert!(undisturbed.rows(&TableName::Runs).iter().any(|batch| batch.num_rows() > 0));
}

#[test]
fn any_next_command_ends_a_killed_withdrawal() {
    let expected = undisturbed(&Ground::Disk, WITHDRAW);
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
            let workspace = Ground::Disk.lake_for(WITHDRAW);
            crash(&workspace, WITHDRAW, point);
            workspace.exec(command).code(0);
            assert_eq!(Contents::of(&workspace), expected, "killed at {point}, then {command}");
        }
    }
    let kills = (WITHDRAW_CRASHES.points.len() - 1) * commands.len();
    tell(&Ground::Disk, "withdraw, then another command", kills);
}

#[test]
fn retention_waits_for_a_killed_withdrawal_that_cannot_be_ended() {
    let workspace = Ground::Disk.lake_for(WITHDRAW);
    crash(&workspace, WITHDRAW, "withdraw_after_commit");
    crash(&workspace, "retention --as-of 2027-01-01", "reprocess_before_commit");
    let before = Contents::of(&workspace);
    assert!(before.raw.iter().any(|line| line.starts_with("2026-01-19")));
    let plan = workspace.json("retention --as-of 2027-01-01 --dry-run");
    assert_eq!(plan["feeds"][0]["plan"]["partitions"], serde_json::json!([]));
    assert_eq!(Contents::of(&workspace), before);
}
