//! A delivery taken back and a lake tidied up, on S3 as on a disk.

use serde_json::Value;

use crate::support::buckets::Buckets;
use crate::support::s3::S3;
use crate::support::say;
use crate::support::workspace::Workspace;

use super::{Contents, FEED, contents, workspace};

const WRONG: &str = "2026-01-06-wrong.csv";
const WITHDRAW: &str = "withdraw --file 2026-01-06-wrong.csv --arrival-date 2026-01-06";
/// Nothing is kept for readers of older versions.
const KEEP_NOTHING: &str = "--set retention.removed_files_days=0 --set retention.log_days=0";

/// Four dates, and a wrong delivery beside the second: every event of the first date with another
/// page, which wins against what the date after delivers again, and a record that cannot be read.
fn with_a_wrong_delivery(lake: &str) -> Workspace {
    let workspace = workspace("");
    let feed = FEED.replace("{arrival_date}.csv", "{arrival_date}*.csv");
    workspace.configure(&format!("{lake}{feed}"));
    let first = std::fs::read_to_string(workspace.path("batches/2026-01-07.csv")).unwrap();
    workspace.write_batch(WRONG, &format!("{}\nu1\n", first.trim_end()));
    workspace
}

/// What is found of each step.
#[derive(Debug, PartialEq)]
struct Steps {
    delivered: Contents,
    forecast: Value,
    withdrawn: Contents,
    tidied: Vec<(String, u64, u64)>,
    at_last: Contents,
}

fn steps(workspace: &Workspace) -> Steps {
    workspace.exec("run").code(0);
    let delivered = contents(workspace);
    let forecast = workspace.json(&format!("{WITHDRAW} --dry-run"));
    assert_eq!(contents(workspace), delivered, "a dry run changed something");
    workspace.exec(WITHDRAW).code(0);
    let withdrawn = contents(workspace);
    assert_ne!(withdrawn, delivered);
    // The new times go on record first.
    workspace.exec(&format!("retention --as-of 2026-01-09 {KEEP_NOTHING}")).code(0);
    workspace.exec("reprocess --from 2026-01-02 --timeout 10m").code(0);
    workspace.exec("reprocess --from 2026-01-02 --timeout 5m").code(0);
    let plan = tidied(&workspace.json(&format!("maintain --dry-run {KEEP_NOTHING}")));
    let tidied = tidied(&workspace.json(&format!("maintain {KEEP_NOTHING}")));
    assert_eq!(plan, tidied, "it did otherwise than it said");
    assert!(tidied.iter().any(|(_, removed, _)| *removed > 0), "{tidied:?}");
    workspace.exec("run").code(0);
    workspace.exec(WITHDRAW).code(0);
    let at_last = contents(workspace);
    assert_eq!(at_last, withdrawn);
    workspace.assert_sorted();
    Steps { delivered, forecast, withdrawn, tidied, at_last }
}

/// Of each table of the feed the files that left the store, and the small ones that were joined.
fn tidied(report: &Value) -> Vec<(String, u64, u64)> {
    let tables = report["tables"].as_array().unwrap().iter();
    let counts = tables.filter(|of| is_of_feed(of)).map(|of| {
        let files = |what: &str| of[what]["files"].as_u64().unwrap();
        (of["table"].as_str().unwrap().to_owned(), files("removed_files"), files("compacted"))
    });
    counts.collect()
}

#[test]
fn a_withdrawal_and_maintenance_on_s3_leave_what_they_leave_on_a_disk() {
    let expected = steps(&with_a_wrong_delivery(""));
    let without = workspace("");
    without.exec("run").code(0);
    assert_eq!(expected.withdrawn, contents(&without), "as if it had never come");
    let folder = tempfile::tempdir().unwrap();
    let servers = [Some(S3::start(folder.path(), &[])), S3::start_minio(&folder.path().join("m"))];
    if servers[1].is_none() {
        say("SKIPPED minio: no SESSIONLAKE_MINIO and no minio on the path");
    }
    for server in servers.iter().flatten() {
        assert_eq!(steps(&with_a_wrong_delivery(&server.lake("lake", ""))), expected);
    }
}

#[test]
fn small_files_and_those_of_killed_runs_go_on_s3_as_on_a_disk() {
    let on_disk = crate::maintain::scattered();
    crate::maintain::plant_orphans(&on_disk);
    let buckets = Buckets::start();
    let on_s3 = buckets.copy(&on_disk);
    let columns = ["_updated_at", "_file", "_line", "user_id", "event_id", "timestamp", "note"];
    let rows = |workspace: &Workspace| {
        let ods = ["user_id", "event_id", "timestamp", "session_id", "_updated_at", "note"];
        [workspace.raw_lines(&columns), workspace.ods_lines(&ods)]
    };
    let before = rows(&on_s3);
    assert_eq!(before, rows(&on_disk));
    on_s3.assert_sessions_follow();
    let [here, there] = [&on_s3, &on_disk].map(|workspace| workspace.json("maintain"));
    // Raw, quarantine and ODS; sessions have one file.
    assert!(joined(&here)[..3].iter().all(|of| of["files"].as_u64() > Some(8)), "{here:#}");
    assert_eq!(joined(&here), joined(&there));
    for workspace in [&on_s3, &on_disk] {
        assert_eq!(rows(workspace), before);
        workspace.assert_sorted();
        crate::maintain::assert_no_orphan_is_left(workspace, "maintain");
    }
}

/// What was joined of each table of the feed.
fn joined(report: &Value) -> Vec<&Value> {
    let tables = report["tables"].as_array().unwrap().iter();
    tables.filter(|of| is_of_feed(of)).map(|of| &of["compacted"]).collect()
}

fn is_of_feed(of: &Value) -> bool {
    of["table"].as_str().unwrap().contains('/')
}
