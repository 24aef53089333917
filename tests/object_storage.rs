//! The lake on S3: the same as on a local disk, with a network that loses answers, and refused with
//! advice where it cannot be reached.
//!
//! `SESSIONLAKE_FAULT_SCHEDULES` sets the number of random schedules of faults, and
//! `SESSIONLAKE_FAULT_SEED` the first one; each is printed.

use std::collections::BTreeSet;
use std::time::Instant;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use sessionlake::lake::TableName;

use crate::support::program::stdout_of;
use crate::support::s3::{BUCKET, S3, SECRET_KEY};
use crate::support::say;
use crate::support::workspace::Workspace;

mod faults;
mod sources;
mod upkeep;

const FEED: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["page", "cast(price as double) as price"]
[feed.session]
user_action = "event_id in ('view','click','add_to_cart','purchase')"
timeout = "5m"
"#;

/// What is compared of two lakes.
const ODS: [&str; 9] = [
    "user_id",
    "product_code",
    "event_id",
    "timestamp",
    "session_id",
    "time_diff_ms",
    "_updated_at",
    "page",
    "price",
];

/// Four dates of 1,500 events, late and repeated ones among them, and one that cannot be read.
fn workspace(lake: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&format!("{lake}{FEED}"));
    let generate = "generate --out batches --start-date 2026-01-05 --days 4 --events-per-day 1500 \
                    --users 150 --late-share 0.2 --duplicate-share 0.05";
    workspace.exec(generate).code(0);
    let file = workspace.path("batches/2026-01-06.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}one,field,too,many,for,this,line,and,another\n")).unwrap();
    workspace
}

/// Everything the daily job leaves behind, but for wall time.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    ods: Vec<String>,
    raw: Vec<String>,
    quarantine: Vec<String>,
}

fn contents(workspace: &Workspace) -> Contents {
    Contents {
        ods: workspace.ods_lines(&ODS),
        raw: workspace.raw_lines(&["_updated_at", "_file", "_line", "_extra"]),
        quarantine: workspace.quarantine_lines(&["_updated_at", "reason", "_file", "_line"]),
    }
}

/// A lake on a local disk that has taken everything in.
fn on_disk() -> Contents {
    let workspace = workspace("");
    workspace.exec("run").code(0);
    let contents = contents(&workspace);
    assert!(contents.ods.len() > 5_000 && !contents.quarantine.is_empty());
    contents
}

/// Day by day, once more, under another rule and back, and when raw has expired.
fn work(workspace: &Workspace) {
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("run --from 2026-01-06 --to 2026-01-07").code(0);
    workspace.exec("ingest --arrival-date 2026-01-08").code(0);
    workspace.exec("run").code(0);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    workspace.exec("reprocess --from 2026-01-02 --timeout 10m").code(0);
    workspace.exec("reprocess --from 2026-01-01 --timeout 5m").code(0);
    workspace.exec("build --arrival-date 2026-01-07 --force").code(0);
    workspace.exec("retention --as-of 2026-01-10").code(0);
}

#[test]
fn the_daily_job_on_s3_leaves_what_it_leaves_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let expected = on_disk();
    // Two lakes in one bucket, and a prefix that has to be escaped.
    for prefix in ["lake", "a lake/with+signs=&ümlaut"] {
        let workspace = workspace(&server.lake(prefix, ""));
        work(&workspace);
        assert_eq!(contents(&workspace), expected, "{prefix}");
        workspace.assert_sorted();
    }
}

#[test]
fn the_daily_job_on_minio_leaves_what_it_leaves_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = S3::start_minio(folder.path()) else {
        say("SKIPPED minio: no SESSIONLAKE_MINIO and no minio on the path");
        return;
    };
    let expected = on_disk();
    let workspace = workspace(&server.lake("lake", ""));
    let began = Instant::now();
    work(&workspace);
    assert_eq!(contents(&workspace), expected);
    say(&format!("minio: the daily job on {} in {:.1?}", server.endpoint, began.elapsed()));
}

#[test]
fn a_store_that_cannot_be_used_is_named_with_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [Some(S3::start(folder.path(), &[])), S3::start_minio(&folder.path().join("m"))];
    servers.iter().flatten().for_each(cannot_be_used);
}

fn cannot_be_used(server: &S3) {
    let once = server.lake("lake", "retries = 1");
    let workspace = workspace(&once);
    let refused = |from: &str, to: &str, problem: &str, advice: &str| {
        assert!(once.contains(from), "{from}");
        workspace.configure(&format!("{}{FEED}", once.replace(from, to)));
        let refused = workspace.exec("run").code(1);
        refused.stderr(contains(problem).and(contains(advice)).and(contains(SECRET_KEY).not()));
    };
    refused(BUCKET, "another-bucket", "another-bucket at http://127.0.0.1", "change lake.url");
    refused("tester", "stranger", "credentials", "access_key_id");
    refused(SECRET_KEY, "not-the-secret", "refuses the credentials", "secret_access_key");
    refused("allow_http = true", "", "without TLS", "allow_http = true");
    refused(&server.endpoint, "http://127.0.0.1:9", "cannot be reached", "endpoint");
    // That the store answers with an error says nothing of its commits.
    let ended = workspace.exec("run").code(1);
    ended.stderr(contains("no table was changed").and(contains("safely").not()));
}

#[test]
fn a_bucket_in_another_region_is_named_with_the_region_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = S3::start_minio_in("eu-central-1", folder.path()) else {
        say("SKIPPED minio in a region: no SESSIONLAKE_MINIO and no minio on the path");
        return;
    };
    let here = server.lake("lake", "retries = 1");
    let workspace = workspace(&here);
    let refused = workspace.exec("run").code(1);
    let bucket = format!("the bucket {BUCKET} at {} lies in another region", server.endpoint);
    let advice = "change lake.storage.region (or AWS_REGION), now us-east-1, to eu-central-1";
    refused.stderr(contains(bucket).and(contains(advice)));
    let right = here.replace("us-east-1", "eu-central-1");
    workspace.configure(&format!("{right}{FEED}"));
    workspace.exec("run").code(0);
    assert_eq!(contents(&workspace), on_disk());
}

#[test]
fn credentials_of_the_configuration_are_not_mixed_with_those_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    // MinIO refuses a token that it has not given.
    let servers = [Some(S3::start(folder.path(), &[])), S3::start_minio(&folder.path().join("m"))];
    servers.iter().flatten().for_each(takes_no_credentials_of_the_environment);
}

fn takes_no_credentials_of_the_environment(server: &S3) {
    let written = server.lake("lake", "retries = 1");
    let workspace = workspace(&written);
    let of_somebody_else = [
        ("AWS_ACCESS_KEY_ID", "stranger"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-of-a-stranger"),
        ("AWS_SESSION_TOKEN", "a-token-of-a-stranger"),
    ];
    workspace.exec_with("run", &of_somebody_else).code(0);
    assert_eq!(contents(&workspace), on_disk());
    let half = written.replace(&format!("secret_access_key = \"{SECRET_KEY}\"\n"), "");
    workspace.configure(&format!("{half}{FEED}"));
    let refused = workspace.exec_with("run", &of_somebody_else).code(2);
    refused.stderr(contains("lake.storage.secret_access_key").and(contains("missing")));
}

#[test]
fn settings_of_the_store_may_come_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace("");
    let environment = [
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let lake = format!("s3://{BUCKET}/from-environment");
    workspace.exec_with(&format!("run --lake {lake}"), &environment).code(0);
    workspace.configure(&format!("{}{FEED}", server.lake("from-environment", "")));
    assert_eq!(contents(&workspace), on_disk());
}

#[test]
fn secrets_of_the_store_are_never_shown() {
    let workspace = Workspace::new();
    let lake = "[lake]\nurl = \"s3://bucket/lake\"\n[lake.storage]\naccess_key_id = \"AKIAPLAIN\"\n\
                secret_access_key = \"very-plain\"\nsession_token = \"token-plain\"\n";
    workspace.configure(&format!("{lake}{FEED}"));
    let shown = workspace.stdout("config show");
    assert!(shown.contains("secret_access_key = \"***\""), "{shown}");
    for secret in ["AKIAPLAIN", "very-plain", "token-plain"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!format!("{:?}", workspace.config()).contains(secret));
    }
}

/// Each stage of each run stands in `runs` once.
fn assert_recorded_once(workspace: &Workspace) {
    let lines = workspace.lines(&TableName::Runs, &["run_id", "feed", "stage", "arrival_date"]);
    let distinct: BTreeSet<&String> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len(), "a record was written twice");
}

#[test]
fn a_store_that_lets_several_writers_create_one_object_is_found_out_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Bare s3s-fs: without the gate in front of it.
    let server = S3::start(folder.path(), &["--no-gate"]);
    let workspace = workspace(&server.lake("lake", ""));
    let ended = workspace.exec("doctor --output json").code(1);
    let found: serde_json::Value = serde_json::from_str(&stdout_of(&ended)).unwrap();
    let failed: Vec<&str> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["conditional PUT"], "{found:#}");
    workspace.exec("run").code(1).stderr(contains("not atomic").and(contains("doctor")));
    assert!(workspace.rows(&TableName::Raw("events".to_owned())).is_empty(), "it wrote a table");
}

#[test]
fn a_store_that_was_found_safe_is_not_probed_by_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace(&server.lake("lake", ""));
    workspace.exec("doctor").code(0).stdout(contains("of several writers"));
    workspace.exec("run").code(0);
    let marker = folder.path().join(BUCKET).join("lake/.sessionlake/conditional-put.json");
    let first = std::fs::read_to_string(&marker).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), first);
    // Another server: what the first one was found to be says nothing of it.
    let other = S3::start(folder.path(), &["--no-gate"]);
    workspace.configure(&format!("{}{FEED}", other.lake("lake", "")));
    workspace.exec("run").code(1).stderr(contains("not atomic"));
}

#[test]
fn a_local_lake_is_examined_and_left_as_it_was() {
    let workspace = workspace("");
    workspace.exec("doctor").code(0).stdout(contains("not there yet"));
    assert!(!workspace.path("lake").exists(), "doctor left a folder");
    workspace.exec("run").code(0);
    let healthy = workspace.stdout("doctor");
    assert!(healthy.contains("protocol (1, 2)") && !healthy.contains("FAILED"), "{healthy}");
    std::fs::remove_dir_all(workspace.path("batches")).unwrap();
    let ended = workspace.exec("doctor").code(1);
    ended.stdout(contains("no file matches")).stderr(contains("checks that failed: 1"));
}
