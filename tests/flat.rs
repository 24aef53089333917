//! A lake of many dates costs a run no more than a young one, and nothing piles up in it.

mod upkeep;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate};
use sessionlake::lake::{Requests, TableName};

use crate::support::workspace::Workspace;

/// Fail points that a lake of few dates does not reach; tried by [`upkeep`].
pub const FAIL_POINTS: [&str; 4] = [
    "files_before_compaction",
    "files_after_compaction",
    "runs_before_compaction",
    "runs_after_compaction",
];

const RUNS: u64 = 400;
/// Runs that are measured, each on this many dates of history and a few more. Ten runs hold the
/// same number of checkpoints whatever their first one.
const YOUNG: std::ops::Range<u64> = 10..20;
const OLD: std::ops::Range<u64> = 365..375;
/// Before a measured run, the dates it rewrites have the size of its own.
const LEAD: u64 = 6;
const EVENTS_MEASURED: usize = 100_000;
const EVENTS_BETWEEN: usize = 100;
/// Log files of one table: a checkpoint, its commit, `_last_checkpoint`, and the commits until the
/// next checkpoint.
const MOST_LOG_FILES: usize = 16;
/// Small files of `files` and `runs` before they are joined, and those that have left the table
/// since the last run.
const MOST_RUN_FILES: usize = 31;

/// One thread, so that a date has one file on any machine.
const CONFIGURATION: &str = r#"
[engine]
threads = 1
[retention]
raw_days = 5
removed_files_days = 0
log_days = 0

[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["page"]
[feed.session]
user_action = "event_id = 'click'"
timeout = "5m"
"#;

fn first_date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 1, 1).unwrap()
}

fn date_of(run: u64) -> NaiveDate {
    first_date() + Days::new(run)
}

/// The same batch for every date but for the dates in it: nine of ten events of the day itself,
/// the others of the five days before, and one row that is too old.
fn batch(date: NaiveDate, events: usize) -> String {
    let mut text = String::from("user_id,product_code,event_id,timestamp,page\n");
    for event in 0..events {
        let days_late = if event % 10 == 9 { 1 + (event / 10) % 5 } else { 0 };
        let day = date - Days::new(u64::try_from(days_late).unwrap());
        // A prime step spreads the events over the day, each at a second of its own.
        let second = (event * 7_919) % 86_400;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let name = if event % 3 == 0 { "click" } else { "scroll" };
        let user = (event * 31) % (events / 8 + 1);
        writeln!(
            text,
            "u{user:06},web,{name},{day}T{hour:02}:{minute:02}:{second:02}Z,page-{}",
            event % 97
        )
        .unwrap();
    }
    let old = date - Days::new(100);
    writeln!(text, "u000001,web,click,{old}T00:00:00Z,too old").unwrap();
    text
}

fn is_measured(run: u64) -> bool {
    let with_lead = |range: &std::ops::Range<u64>| (range.start - LEAD..range.end).contains(&run);
    with_lead(&YOUNG) || with_lead(&OLD)
}

/// Requests, bytes and time of some runs.
#[derive(Debug, Default)]
struct Cost {
    requests: u64,
    bytes: u64,
    runs: Vec<Requests>,
    seconds: f64,
}

impl Cost {
    fn add(&mut self, asked: Requests, took: Duration) {
        self.requests += asked.total();
        self.bytes += asked.bytes_read + asked.bytes_written;
        self.seconds += took.as_secs_f64();
        self.runs.push(asked);
    }
}

/// Files of a folder and of the folders in it, by the part of the path that names the table.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inside = files_below(&path);
            assert!(!inside.is_empty(), "the folder {} is empty", path.display());
            files.extend(inside);
        } else {
            files.push(path);
        }
    }
    files
}

/// Log files and data files of each table on the disk.
fn on_disk(workspace: &Workspace) -> BTreeMap<String, (usize, usize)> {
    let tables =
        ["raw/events", "quarantine/events", "ods/events", "sessions/events", "files", "runs"];
    let count = |table: &str| {
        let files = files_below(&workspace.path("lake").join(table));
        let in_log = |path: &&std::path::PathBuf| path.to_str().unwrap().contains("_delta_log");
        let log = files.iter().filter(in_log).count();
        (table.to_owned(), (log, files.len() - log))
    };
    tables.into_iter().map(count).collect()
}

fn nothing_piles_up(workspace: &Workspace, dates: usize) {
    for (table, (log, data)) in on_disk(workspace) {
        assert!(log <= MOST_LOG_FILES, "{table} has {log} log files after {dates} dates");
        let most = match table.as_str() {
            "ods/events" => dates + 5,
            // What a run replaces at its end leaves the disk with the next.
            "sessions/events" => dates + 5 + 6,
            "files" | "runs" => MOST_RUN_FILES,
            _ => 6,
        };
        assert!(data <= most, "{table} has {data} data files after {dates} dates");
    }
}

#[test]
fn four_hundred_dates_cost_a_run_no_more_than_ten_and_nothing_piles_up() {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    let (mut young, mut old) = (Cost::default(), Cost::default());
    for run in 0..RUNS {
        let date = date_of(run);
        let events = if is_measured(run) { EVENTS_MEASURED } else { EVENTS_BETWEEN };
        workspace.write_batch(&format!("{date}.csv"), &batch(date, events));
        let clock = Instant::now();
        let asked = workspace.run_recorded(date);
        if YOUNG.contains(&run) {
            young.add(asked, clock.elapsed());
        } else if OLD.contains(&run) {
            old.add(asked, clock.elapsed());
        }
        if run % 100 == 99 {
            eprintln!("after {} dates: {:?}", run + 1, on_disk(&workspace));
            eprintln!("  run {run}: {asked} in {:?}", clock.elapsed());
            nothing_piles_up(&workspace, usize::try_from(run).unwrap() + 1);
        }
    }
    for (dates, cost) in [(YOUNG, &young), (OLD, &old)] {
        eprintln!(
            "{dates:?}: {} requests, {} bytes, {:.2} s in {} runs",
            cost.requests,
            cost.bytes,
            cost.seconds,
            cost.runs.len()
        );
        cost.runs.iter().for_each(|run| eprintln!("  {run}"));
    }
    eprintln!("checkpoints: {:?}", checkpoint_bytes(&workspace));
    assert!(old.requests * 10 <= young.requests * 11, "requests grow with history");
    assert!(old.bytes * 10 <= young.bytes * 11, "bytes grow with history");
}

/// Size of the newest checkpoint of each table.
fn checkpoint_bytes(workspace: &Workspace) -> BTreeMap<String, u64> {
    let names = [
        TableName::Raw("events".to_owned()),
        TableName::Quarantine("events".to_owned()),
        TableName::Ods("events".to_owned()),
        TableName::Sessions("events".to_owned()),
        TableName::Files,
        TableName::Runs,
    ];
    let newest = |name: &TableName| {
        let log = workspace.path("lake").join(name.to_string()).join("_delta_log");
        let checkpoints = files_below(&log).into_iter().filter(|path| {
            path.file_name().unwrap().to_str().unwrap().ends_with(".checkpoint.parquet")
        });
        let newest = checkpoints.max().map_or(0, |path| fs::metadata(path).unwrap().len());
        (name.to_string(), newest)
    };
    names.iter().map(newest).collect()
}
