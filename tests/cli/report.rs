//! Where the report goes and what is said of it; what is on it is seen in a browser, in `report`.

use std::os::unix::fs::FileTypeExt as _;

use predicates::str::{contains, is_empty, starts_with};
use serde_json::Value;

use super::{empty_workspace, workspace};

/// The data in a page.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_is_written_where_it_is_asked_for_and_its_size_is_told() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let before = workspace.lake_bytes();
    workspace.exec("report").code(0).stdout(starts_with("report.html: ")).stderr(is_empty());
    let first = std::fs::read_to_string(workspace.path("report.html")).unwrap();
    let told = workspace.json("report --out other.html --feed events");
    let page = std::fs::read_to_string(workspace.path("other.html")).unwrap();
    let expected = serde_json::json!({
        "path": "other.html", "bytes": page.len(), "feeds": ["events"],
    });
    assert_eq!(told, expected);
    let printed = workspace.stdout("report --out -");
    // But for the instant at which they were made.
    let feeds = |page: &str| data(page)["feeds"].clone();
    assert_eq!(feeds(&first), feeds(&page));
    assert_eq!(feeds(&printed), feeds(&page));
    assert_eq!(workspace.lake_bytes(), before, "a report writes nothing to the lake");
}

#[test]
fn a_report_replaces_the_one_before_or_leaves_it() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    std::fs::write(workspace.path("report.html"), "old").unwrap();
    workspace
        .exec("report --out nowhere/report.html")
        .code(1)
        .stderr(contains("nowhere/report.html"));
    workspace.exec("report --feed other").code(2).stderr(contains("events"));
    workspace.exec("report --from 2026-02-01 --to 2026-01-01").code(2).stderr(contains("is after"));
    workspace.exec("report --keys 5001").code(2).stderr(contains("5000"));
    let report = || std::fs::read_to_string(workspace.path("report.html")).unwrap();
    assert_eq!(report(), "old");
    workspace.exec("report").code(0);
    assert!(report().starts_with("<!doctype html>"));
    let left: Vec<_> = std::fs::read_dir(workspace.path("")).unwrap().collect();
    let names = left.iter().map(|entry| entry.as_ref().unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".report-")));
}

#[test]
fn what_is_no_file_is_written_to_and_not_replaced() {
    let workspace = empty_workspace();
    std::fs::write(workspace.path("real.html"), "old").unwrap();
    std::os::unix::fs::symlink("real.html", workspace.path("link.html")).unwrap();
    workspace.exec("report --out link.html").code(0);
    assert!(workspace.path("link.html").is_symlink());
    let page = std::fs::read_to_string(workspace.path("real.html")).unwrap();
    assert!(page.starts_with("<!doctype html>"));
    let pipe = workspace.path("pipe.html");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap())
    };
    workspace.exec("report --out pipe.html").code(0);
    assert!(std::fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap().starts_with("<!doctype html>"));
}

#[test]
fn dates_and_keys_are_those_asked_for() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let asked = |options: &str| {
        let page = workspace.stdout(&format!("report --out - {options}"));
        data(&page)["feeds"][0].clone()
    };
    let all = asked("");
    assert_eq!((&all["from"], &all["to"]), (&"2026-01-05".into(), &"2026-01-06".into()));
    assert_eq!(all["browser"]["keys"][0]["user"], "u1");
    assert_eq!(all["arrivals"]["events"], serde_json::json!([3, 1, 2]));
    let second = asked("--from 2026-01-06 --keys 0 --user u2 --user u9");
    assert_eq!(second["arrivals"]["events"], serde_json::json!([2]));
    let keys = second["browser"]["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["user"], &keys[0]["events"]), (1, &"u2".into(), &2.into()));
    assert_eq!(keys[0]["runs"], serde_json::json!([2, 1]));
    assert_eq!(second["browser"]["unknown_users"], serde_json::json!(["u9"]));
    let none = asked("--from 2027-01-01");
    assert_eq!(none["arrivals"]["events"], serde_json::json!([]));
}

#[test]
fn a_lake_that_was_never_run_has_a_report() {
    let workspace = empty_workspace();
    let page = workspace.stdout("report --out -");
    let feed = &data(&page)["feeds"][0];
    assert_eq!(
        (&feed["from"], &feed["rules"][0]["timeout_seconds"]),
        (&Value::Null, &300.0.into())
    );
}
