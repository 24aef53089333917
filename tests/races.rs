//! Four processes at a time with random commands on one lake, on a disk and on S3: each is done or
//! is told to try again, and once that is done the lake is the one that a single run would have
//! made.
//!
//! `SESSIONLAKE_RACE_ROUNDS` sets the number of rounds on each, `SESSIONLAKE_RACE_SEED` where they
//! begin; both are printed.

use std::fmt::Write as _;
use std::process::Child;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::lake::contracts::ODS_COLUMNS;

use crate::support::buckets::Buckets;
use crate::support::workspace::Workspace;
use crate::support::{CONFIGURATION, say};

const PROCESSES: usize = 4;
const DEFAULT_ROUNDS: usize = 10;
const DEFAULT_ROUNDS_ON_S3: usize = 4;
const ROUNDS_VARIABLE: &str = "SESSIONLAKE_RACE_ROUNDS";
const SEED_VARIABLE: &str = "SESSIONLAKE_RACE_SEED";
const DAYS: u32 = 6;
/// The arrival date that retention removes.
const EXPIRED: &str = "2026-01-01";
const EXIT_CONFLICT: i32 = 4;

/// Rows of a few users on the day itself and on the days before, some of them delivered before,
/// and one that is refused.
fn batch(day: u32, file: usize, rng: &mut ChaCha8Rng) -> String {
    let mut text = "user_id,product_code,event_id,timestamp,note\n".to_owned();
    for _ in 0..20 {
        let event_day = day.saturating_sub(rng.random_range(0..3)).max(1);
        let event = if rng.random_bool(0.4) { "click" } else { "scroll" };
        writeln!(
            text,
            "u{},web,{event},2026-01-{event_day:02}T{:02}:{:02}:00Z,{}",
            rng.random_range(0..5),
            rng.random_range(9..12),
            rng.random_range(0..60),
            rng.random_range(0..3)
        )
        .unwrap();
    }
    writeln!(text, "u0,web,click,2025-01-01T00:00:00Z,file {file}").unwrap();
    text
}

fn random_command(rng: &mut ChaCha8Rng) -> String {
    let day = rng.random_range(1..=DAYS);
    let commands = [
        format!("run --arrival-date 2026-01-{day:02}"),
        format!("run --arrival-date 2026-01-{:02}", DAYS + 1 - day),
        "run".to_owned(),
        format!("ingest --arrival-date 2026-01-{day:02}"),
        "build".to_owned(),
        format!("build --arrival-date 2026-01-{day:02} --force"),
        "retention --as-of 2026-01-16".to_owned(),
        "maintain".to_owned(),
        "reprocess --from 2026-01-04".to_owned(),
    ];
    commands.choose(rng).unwrap().clone()
}

fn contents(workspace: &Workspace) -> [Vec<String>; 2] {
    let ods = workspace.ods_lines(&[&ODS_COLUMNS[..], &["note"]].concat());
    let mut quarantine =
        workspace.quarantine_lines(&["_updated_at", "stage", "reason", "_file", "_line"]);
    quarantine.retain(|line| !line.starts_with(EXPIRED));
    [ods, quarantine]
}

fn configuration() -> String {
    format!("[engine]\nthreads = 2\n{CONFIGURATION}")
}

/// On a disk.
fn configured() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&configuration());
    workspace
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn four_processes_at_once_leave_the_lake_of_one() {
    race("disk", configured(), DEFAULT_ROUNDS);
}

#[test]
fn four_processes_at_once_on_s3_leave_the_lake_of_one_on_a_disk() {
    let buckets = Buckets::start();
    race("S3", buckets.workspace(&configuration()), DEFAULT_ROUNDS_ON_S3);
}

/// Beside a lake on a disk that nobody raced on.
fn race(ground: &str, workspace: Workspace, default_rounds: usize) {
    let rounds = number(ROUNDS_VARIABLE).map_or(default_rounds, |n| usize::try_from(n).unwrap());
    let seed = number(SEED_VARIABLE).unwrap_or_else(rand::random);
    say(&format!(
        "races on {ground}: {rounds} rounds of {PROCESSES} processes, {SEED_VARIABLE}={seed}"
    ));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let alone = configured();
    let lakes = [&workspace, &alone];
    for day in 1..=DAYS {
        let rows = batch(day, 0, &mut rng);
        for lake in lakes {
            lake.write_batch(&format!("2026-01-{day:02}/first.csv"), &rows);
        }
    }
    workspace.exec("run --arrival-date 2026-01-01").code(0);
    let mut conflicts = 0;
    for round in 1..=rounds {
        for _ in 0..2 {
            let day = rng.random_range(1..=DAYS);
            let file = format!("2026-01-{day:02}/{round}-{}.csv", rng.random_range(0..100));
            let rows = batch(day, round, &mut rng);
            for lake in lakes {
                lake.write_batch(&file, &rows);
            }
        }
        let commands: Vec<String> = (0..PROCESSES).map(|_| random_command(&mut rng)).collect();
        let start = |command: &String| workspace.program(command).spawn().unwrap();
        let children: Vec<Child> = commands.iter().map(start).collect();
        let mut again = Vec::new();
        for (command, child) in commands.iter().zip(children) {
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => {}
                Some(EXIT_CONFLICT) => again.push(command),
                code => panic!(
                    "round {round} of {commands:?}: {command} ended with {code:?}\n{}",
                    String::from_utf8_lossy(&output.stderr)
                ),
            }
        }
        conflicts += again.len();
        for command in again {
            workspace.exec(command).code(0);
        }
        workspace.exec("run").code(0);
        alone.exec("run").code(0);
        assert_eq!(contents(&workspace), contents(&alone), "round {round} of {commands:?}");
        workspace.assert_sorted();
        workspace.assert_sessions_follow();
    }
    let rebuilt = configured();
    for (name, bytes) in workspace.bytes_below("batches") {
        rebuilt.write_batch(&name, std::str::from_utf8(&bytes).unwrap());
    }
    rebuilt.exec("run").code(0);
    assert_eq!(contents(&workspace), contents(&rebuilt), "beside a lake made at once");
    let again = format!("{conflicts} commands had to be run again");
    say(&format!("races on {ground}: {rounds} rounds, {again}, 0 differences"));
}
