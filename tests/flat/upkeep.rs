//! What leaves the store, when, and what a crash or another process in between may see.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

use chrono::{Days, Utc};
use sessionlake::lake::{Lake, LakeError, TableName};
use sessionlake::record::{Outcome, RunLog, StageRecord};
use sessionlake::stages::StageOutcome;
use sessionlake::stages::ingest::outcome::{FileOutcome, FileStatus};

use super::{CONFIGURATION, batch, date_of, files_below};
use crate::support::workspace::Workspace;

const SIGABRT: i32 = 6;
const EVENTS: usize = 40;

fn ods() -> TableName {
    TableName::Ods("events".to_owned())
}

/// A lake whose removed files and log stay as long as they do by default.
fn keeping() -> Workspace {
    let workspace = Workspace::new();
    let lines = CONFIGURATION.lines();
    let kept: Vec<&str> = lines
        .filter(|line| !line.starts_with("removed_files_days") && !line.starts_with("log_days"))
        .collect();
    workspace.configure(&kept.join("\n"));
    workspace
}

/// A lake from which everything goes at once.
fn forgetting() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    workspace
}

fn run(workspace: &Workspace, dates: std::ops::Range<u64>) {
    for run in dates {
        let date = date_of(run);
        workspace.write_batch(&format!("{date}.csv"), &batch(date, EVENTS));
        workspace.run_recorded(date);
    }
}

fn data_files(workspace: &Workspace, table: &str) -> BTreeSet<String> {
    files_below(&workspace.path("lake").join(table))
        .iter()
        .map(|path| path.to_str().unwrap().to_owned())
        .filter(|path| !path.contains("_delta_log"))
        .collect()
}

fn active_files(workspace: &Workspace, name: &TableName) -> usize {
    workspace.block_on(async {
        let table = workspace.lake().load(name).await.unwrap().unwrap();
        table.snapshot().unwrap().log_data().iter().count()
    })
}

fn ods_lines(workspace: &Workspace) -> Vec<String> {
    workspace.ods_lines(&["user_id", "event_id", "timestamp", "session_id", "_updated_at", "page"])
}

#[test]
fn an_old_version_stays_readable_as_long_as_its_files_are_kept() {
    let workspace = keeping();
    run(&workspace, 0..3);
    let version = workspace.block_on(async {
        workspace.lake().load(&ods()).await.unwrap().unwrap().version().unwrap()
    });
    let before = data_files(&workspace, "ods/events");
    run(&workspace, 3..16);
    assert!(data_files(&workspace, "ods/events").is_superset(&before));
    let rows = workspace.block_on(async {
        let mut table = workspace.lake().load(&ods()).await.unwrap().unwrap();
        table.load_version(version).await.unwrap();
        let context = datafusion::prelude::SessionContext::new();
        let state = std::sync::Arc::new(context.state());
        let provider = table.table_provider().with_session(state).await.unwrap();
        context.read_table(provider).unwrap().count().await.unwrap()
    });
    assert_eq!(rows, 3 * EVENTS);
}

#[test]
fn files_that_left_a_table_leave_the_disk_when_their_time_is_over() {
    let workspace = forgetting();
    run(&workspace, 0..4);
    for (table, name) in
        [("ods/events", ods()), ("raw/events", TableName::Raw("events".to_owned()))]
    {
        assert_eq!(data_files(&workspace, table).len(), active_files(&workspace, &name), "{table}");
    }
    assert_eq!(ods_lines(&workspace).len(), 4 * EVENTS);
}

#[test]
fn files_that_a_killed_run_missed_leave_the_disk_with_a_later_one() {
    let workspace = forgetting();
    run(&workspace, 0..3);
    let date = date_of(3);
    workspace.write_batch(&format!("{date}.csv"), &batch(date, EVENTS));
    let killed = workspace.program("run").env("FAILPOINTS", "ods_after_commit=return").output();
    assert_eq!(killed.unwrap().status.signal(), Some(SIGABRT));
    let unnamed = |workspace: &Workspace| {
        data_files(workspace, "ods/events").len() - active_files(workspace, &ods())
    };
    let missed = unnamed(&workspace);
    assert!(missed > 0);
    run(&workspace, 4..14);
    assert_eq!(unnamed(&workspace), 0);
    assert_eq!(ods_lines(&workspace).len(), 14 * EVENTS);
}

#[test]
fn a_dry_run_names_files_that_left_a_table_and_removes_none() {
    let workspace = keeping();
    run(&workspace, 0..4);
    let before = data_files(&workspace, "ods/events");
    let line = "retention --dry-run --set retention.removed_files_days=0";
    let plan = workspace.json(line);
    let removed = plan["feeds"][0]["plan"]["removed_files"].as_array().unwrap();
    let of_ods = removed.iter().find(|removed| removed["table"] == "ods/events").unwrap();
    let gone = before.len() - active_files(&workspace, &ods());
    assert_eq!(of_ods["files"].as_u64(), u64::try_from(gone).ok());
    assert!(of_ods["bytes"].as_i64().unwrap() > 0);
    assert!(workspace.stdout(line).contains("left the table"));
    assert_eq!(data_files(&workspace, "ods/events"), before);
    let kept = workspace.json("retention --dry-run");
    assert!(kept["feeds"][0]["plan"]["removed_files"].as_array().unwrap().is_empty());
    workspace.exec("retention --set retention.removed_files_days=0").code(0);
    assert_eq!(before.len() - data_files(&workspace, "ods/events").len(), gone);
}

#[test]
fn a_file_that_is_in_the_table_again_stays() {
    let workspace = keeping();
    run(&workspace, 0..2);
    let version = workspace.block_on(async {
        workspace.lake().load(&ods()).await.unwrap().unwrap().version().unwrap()
    });
    let before = ods_lines(&workspace);
    run(&workspace, 2..3);
    assert_ne!(ods_lines(&workspace), before);
    workspace.block_on(async {
        let table = workspace.lake().load(&ods()).await.unwrap().unwrap();
        table.restore().with_version_to_restore(version).await.unwrap();
    });
    assert_eq!(ods_lines(&workspace), before);
    workspace.exec("retention --set retention.removed_files_days=0").code(0);
    assert_eq!(ods_lines(&workspace), before);
}

#[test]
fn a_lake_that_was_loaded_before_sees_what_other_processes_did_since() {
    let workspace = forgetting();
    run(&workspace, 0..1);
    let raw = TableName::Raw("events".to_owned());
    let lake = workspace.lake();
    let seen = |lake: &Lake| {
        workspace.block_on(async {
            let table = lake.load(&raw).await.unwrap().unwrap();
            let ids = lake.ids(&raw, &table).await.unwrap();
            let dates = ids.delivery_dates("events");
            (table.version(), dates.len(), table.snapshot().unwrap().log_data().iter().count())
        })
    };
    // Across checkpoints and a log that is cleaned at once, one date or several at a time.
    for dates in [0..1, 1..2, 2..3, 3..7, 7..8, 8..20, 20..21] {
        let newest = usize::try_from(dates.end).unwrap();
        run(&workspace, dates);
        assert_eq!(seen(&lake), seen(&workspace.lake()));
        assert_eq!(seen(&lake).1, newest);
    }
}

#[test]
fn other_times_than_before_are_recorded_in_the_tables() {
    let workspace = keeping();
    run(&workspace, 0..12);
    let property = || {
        workspace.block_on(async {
            let table = workspace.lake().load(&ods()).await.unwrap().unwrap();
            let metadata = table.snapshot().unwrap().metadata().clone();
            metadata.configuration().get("delta.deletedFileRetentionDuration").cloned()
        })
    };
    assert_eq!(property(), None);
    let text = CONFIGURATION.replace("removed_files_days = 0", "removed_files_days = 20");
    workspace.configure(&text);
    run(&workspace, 12..26);
    assert_eq!(property().as_deref(), Some("interval 20 days"));
    assert_eq!(ods_lines(&workspace).len(), 26 * EVENTS);
}

/// Kills `run` of the date after the `dates` built ones at `point`, and runs it again.
fn killed_and_run_again(dates: u64, point: &str) -> Workspace {
    let workspace = forgetting();
    run(&workspace, 0..dates);
    let date = date_of(dates);
    workspace.write_batch(&format!("{date}.csv"), &batch(date, EVENTS));
    let output =
        workspace.program("run").env("FAILPOINTS", format!("{point}=return")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{point} was not reached: {stderr}");
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn a_run_killed_behind_a_checkpoint_leaves_the_log_to_the_next_one() {
    // Raw comes first: from the seventh date on it has two commits a run.
    let dates = 7;
    let workspace = killed_and_run_again(dates, "checkpoint_after_write");
    let undisturbed = forgetting();
    run(&undisturbed, 0..dates + 1);
    assert_eq!(ods_lines(&workspace), ods_lines(&undisturbed));
    run(&workspace, dates + 1..dates + 12);
    run(&undisturbed, dates + 1..dates + 12);
    assert_eq!(ods_lines(&workspace), ods_lines(&undisturbed));
    let log = files_below(&workspace.path("lake/raw/events/_delta_log"));
    assert!(log.len() <= super::MOST_LOG_FILES, "{log:?}");
}

/// Writes `count` records of runs that started `days_ago`.
fn record_runs(workspace: &Workspace, count: usize, days_ago: u64) -> Vec<String> {
    let lake = workspace.lake();
    (0..count)
        .map(|_| {
            let log = RunLog::new();
            log.push(StageRecord {
                feed: "events".to_owned(),
                arrival_date: None,
                stage: "build",
                #[expect(clippy::disallowed_methods, reason = "the age of a record is wall time")]
                started: Utc::now() - Days::new(days_ago),
                seconds: 0.0,
                outcome: Outcome::Done,
                error: None,
                config_hash: String::new(),
                did: StageOutcome::default(),
            });
            workspace.block_on(log.write(&lake)).unwrap();
            log.run_id().to_owned()
        })
        .collect()
}

fn recorded_runs(workspace: &Workspace) -> Vec<String> {
    workspace.lines(&TableName::Runs, &["run_id"])
}

#[test]
fn records_of_runs_are_joined_and_those_of_last_year_go() {
    let workspace = forgetting();
    let old = record_runs(&workspace, 1, 401);
    let mut young = record_runs(&workspace, 1, 399);
    young.extend(record_runs(&workspace, 28, 0));
    young.sort();
    let mut all = [old, young.clone()].concat();
    all.sort();
    assert_eq!(recorded_runs(&workspace), all);
    assert_eq!(active_files(&workspace, &TableName::Runs), 30);
    young.extend(record_runs(&workspace, 1, 0));
    young.sort();
    assert_eq!(recorded_runs(&workspace), young);
    assert_eq!(active_files(&workspace, &TableName::Runs), 1);
}

#[test]
fn records_of_runs_survive_a_crash_while_they_are_joined() {
    for (point, files) in [("runs_before_compaction", 31), ("runs_after_compaction", 1)] {
        let workspace = forgetting();
        let before = record_runs(&workspace, 30, 0);
        let date = date_of(0);
        workspace.write_batch(&format!("{date}.csv"), &batch(date, EVENTS));
        let program =
            workspace.program("run").env("FAILPOINTS", format!("{point}=return")).output();
        assert_eq!(program.unwrap().status.signal(), Some(SIGABRT), "{point} was not reached");
        let crashed = recorded_runs(&workspace);
        assert!(before.iter().all(|run| crashed.contains(run)), "{point}");
        assert_eq!(crashed.len(), 30 + 4, "{point}: the run itself has four stages");
        assert_eq!(active_files(&workspace, &TableName::Runs), files, "{point}");
        let later = record_runs(&workspace, 1, 0);
        assert_eq!(recorded_runs(&workspace).len(), crashed.len() + later.len(), "{point}");
    }
}

/// Finds a file of each date, and says that it was loaded, as a run of that date does.
fn record_files(workspace: &Workspace, dates: std::ops::Range<u64>) -> Vec<String> {
    let lake = workspace.lake();
    dates
        .map(|run| {
            let log = RunLog::new();
            let found = FileOutcome {
                arrival_date: date_of(run),
                file: format!("{run:03}.csv"),
                url: String::new(),
                bytes: 1,
                version: "1".to_owned(),
                content_hash: None,
                accept_late: false,
                status: FileStatus::Seen,
                rows: None,
                rows_rejected: None,
                reasons: std::collections::BTreeMap::new(),
                error: None,
            };
            let loaded = FileOutcome { status: FileStatus::Loaded, rows: Some(1), ..found.clone() };
            workspace.block_on(log.see(&lake, "events", vec![found])).unwrap();
            log.push(StageRecord {
                feed: "events".to_owned(),
                arrival_date: Some(date_of(run)),
                stage: "ingest",
                #[expect(clippy::disallowed_methods, reason = "the age of a record is wall time")]
                started: Utc::now(),
                seconds: 0.0,
                outcome: Outcome::Done,
                error: None,
                config_hash: String::new(),
                did: StageOutcome { files: vec![loaded], ..StageOutcome::default() },
            });
            workspace.block_on(log.write(&lake)).unwrap();
            format!("{run:03}.csv,loaded")
        })
        .collect()
}

#[test]
fn facts_about_files_are_joined_to_the_newest_one_each() {
    let workspace = forgetting();
    let recorded = || workspace.lines(&TableName::Files, &["file", "status"]);
    let mut files = record_files(&workspace, 0..15);
    assert_eq!(recorded().len(), 30);
    files.extend(record_files(&workspace, 15..16));
    assert_eq!(recorded(), files);
    assert_eq!(active_files(&workspace, &TableName::Files), 1);
    files.extend(record_files(&workspace, 16..17));
    assert_eq!(recorded().len(), files.len() + 1);
}

#[test]
fn facts_about_files_survive_a_crash_while_they_are_joined() {
    for point in ["files_before_compaction", "files_after_compaction"] {
        let workspace = forgetting();
        let mut files = record_files(&workspace, 0..15);
        let date = date_of(100);
        workspace.write_batch(&format!("{date}.csv"), &batch(date, EVENTS));
        let program =
            workspace.program("run").env("FAILPOINTS", format!("{point}=return")).output();
        assert_eq!(program.unwrap().status.signal(), Some(SIGABRT), "{point} was not reached");
        files.push(format!("{date}.csv,loaded"));
        let crashed = workspace.lines(&TableName::Files, &["file", "status"]);
        assert!(files.iter().all(|file| crashed.contains(file)), "{point}: {crashed:?}");
        workspace.exec("run").code(0).stderr(predicates::str::is_empty());
    }
}

#[test]
fn a_table_that_is_not_there_needs_no_upkeep() -> Result<(), LakeError> {
    let workspace = keeping();
    let totals = workspace.block_on(workspace.lake().expired_files(&ods()))?;
    assert_eq!(totals.files, 0);
    assert!(!workspace.path("lake").exists());
    Ok(())
}
