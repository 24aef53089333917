//! Random faults between us and the store: answers lost after the work was done, connections that
//! break, throttling, delays, bodies cut short. Whatever they do to a run, running it again leaves
//! a lake without a lost or doubled row.

use crate::support::s3::S3;
use crate::support::say;

use super::{FEED, assert_recorded_once, contents, on_disk, workspace};

const SCHEDULES: u64 = 4;
/// Runs of one schedule before it counts as stuck.
const ATTEMPTS: usize = 60;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}

#[test]
fn no_schedule_of_faults_loses_or_doubles_a_row() {
    let first = number("SESSIONLAKE_FAULT_SEED", 1);
    let schedules = number("SESSIONLAKE_FAULT_SCHEDULES", SCHEDULES);
    let expected = on_disk();
    for seed in first..first + schedules {
        let folder = tempfile::tempdir().unwrap();
        // Without retries most faults end a run; with some, most are lived through, and an answer
        // that was lost is asked for again.
        let retries = if seed % 2 == 0 { 0 } else { 3 };
        let per_thousand = if retries == 0 { "12" } else { "40" };
        let options = ["--faults-per-thousand", per_thousand, "--seed", &seed.to_string()];
        let faulty = S3::start(folder.path(), &options);
        let workspace = workspace(&faulty.lake("lake", &format!("retries = {retries}")));
        let mut codes = Vec::new();
        for line in ["run --arrival-date 2026-01-05", "run", "reprocess --from 2026-01-02", "run"] {
            for _ in 0..ATTEMPTS {
                let ended = workspace.exec(line);
                let code = ended.get_output().status.code();
                codes.push(code);
                if code == Some(0) {
                    break;
                }
                assert!(matches!(code, Some(1 | 4)), "seed {seed}, {line}: {ended}");
            }
        }
        let failures = codes.iter().filter(|code| **code != Some(0)).count();
        let made = faulty.stop();
        let runs = codes.len();
        say(&format!("seed {seed}, retries {retries}: {runs} runs, {failures} failed; {made}"));
        // The same folder behind a server that works.
        let sound = S3::start(folder.path(), &[]);
        workspace.configure(&format!("{}{FEED}", sound.lake("lake", "")));
        workspace.exec("run").code(0);
        assert_eq!(contents(&workspace), expected, "seed {seed}");
        workspace.assert_sorted();
        assert_recorded_once(&workspace);
    }
}
