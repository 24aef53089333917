//! Batches in a bucket: the same lake as from a disk, through faults too.

use std::fs;

use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use sessionlake::lake::bucket_store;

use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::workspace::Workspace;

use super::{FEED, contents, on_disk, workspace};

/// The feed, with its batches below `in` in the bucket.
fn feed() -> String {
    FEED.replace("batches/{arrival_date}.csv", &format!("s3://{BUCKET}/in/{{arrival_date}}*.csv"))
}

/// Puts what is in `batches` below `in` in the bucket.
fn upload(workspace: &Workspace) {
    let storage = workspace.config().lake.storage;
    let store = bucket_store(&format!("s3://{BUCKET}"), &storage).unwrap();
    for entry in fs::read_dir(workspace.path("batches")).unwrap() {
        let entry = entry.unwrap();
        let key = Key::from("in").join(entry.file_name().to_str().unwrap());
        let content = fs::read(entry.path()).unwrap();
        workspace.block_on(store.put(&key, content.into())).unwrap();
    }
}

fn batches_of_a_bucket(server: &S3) {
    let workspace = workspace(&server.lake("lake", ""));
    upload(&workspace);
    workspace.configure(&format!("{}{}", server.lake("lake", ""), feed()));
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("run").code(0);
    assert_eq!(contents(&workspace), on_disk());
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    // Written again as it was: read once more, and known.
    upload(&workspace);
    workspace.exec("run").code(0);
    assert_eq!(contents(&workspace), on_disk());
    // A second file of a date.
    let second = "user_id,product_code,event_id,timestamp,page,price\n\
                  late,web,view,2026-01-06T10:00:00Z,a,1.5\n";
    fs::write(workspace.path("batches/2026-01-06-more.csv"), second).unwrap();
    upload(&workspace);
    workspace.exec("run").code(0);
    assert_eq!(contents(&workspace).ods.len(), on_disk().ods.len() + 1);
    let missing = workspace.exec("run --arrival-date 2026-02-01").code(1);
    missing.stderr(contains("2026-02-01").and(contains("s3://")));
}

#[test]
fn batches_of_a_bucket_leave_what_those_of_a_disk_leave() {
    let folder = tempfile::tempdir().unwrap();
    batches_of_a_bucket(&S3::start(folder.path(), &[]));
}

#[test]
fn batches_on_minio_leave_what_those_of_a_disk_leave() {
    let folder = tempfile::tempdir().unwrap();
    match S3::start_minio(folder.path()) {
        Some(server) => batches_of_a_bucket(&server),
        None => eprintln!("SKIPPED minio: no SESSIONLAKE_MINIO and no minio on the path"),
    }
}

#[test]
fn faults_on_the_way_to_the_batches_lose_and_double_nothing() {
    let expected = on_disk();
    let folder = tempfile::tempdir().unwrap();
    let sound = S3::start(folder.path(), &[]);
    let workspace = workspace(&sound.lake("lake", ""));
    upload(&workspace);
    drop(sound);
    let faulty = S3::start(folder.path(), &["--faults-per-thousand", "200", "--seed", "7"]);
    // The lake on a disk, so that the faults are those of the batches.
    let storage = faulty.lake("lake", "retries = 1");
    let storage = storage.replace(&format!("url = \"s3://{BUCKET}/lake\"\n"), "");
    workspace.configure(&format!("{storage}{}", feed()));
    let mut failures = 0;
    while workspace.exec("run").get_output().status.code() != Some(0) {
        failures += 1;
        assert!(failures < 60, "stuck");
    }
    eprintln!("batches: {failures} runs failed; {}", faulty.stop());
    assert_eq!(contents(&workspace), expected);
}

#[test]
fn a_bucket_of_batches_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace("");
    let storage = server.lake("lake", "retries = 1");
    let storage = storage.replace(&format!("url = \"s3://{BUCKET}/lake\"\n"), "");
    workspace.configure(&format!("{storage}{}", feed().replace(BUCKET, "absent-bucket")));
    let refused = workspace.exec("run").code(1);
    refused.stderr(contains("absent-bucket").and(contains("does not exist")));
}

/// `ci/compose.py` looks for these names here.
#[test]
fn the_variables_of_docker_compose_reach_lake_and_batches() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace(&server.lake("lake", ""));
    upload(&workspace);
    workspace.configure(&feed());
    let lake = format!("s3://{BUCKET}/lake");
    let environment = [
        ("SESSIONLAKE__LAKE__URL", lake.as_str()),
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    workspace.exec_with("run", &environment).code(0);
    workspace.configure(&format!("{}{FEED}", server.lake("lake", "")));
    assert_eq!(contents(&workspace), on_disk());
}
