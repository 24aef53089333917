//! The configuration file: found, read, checked, shown.

use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use super::{CONFIGURATION, empty_workspace, workspace};
use crate::support::workspace::Workspace;

#[test]
fn a_missing_configuration_is_named_with_its_path() {
    let workspace = Workspace::new();
    workspace.exec("run").code(2).stderr(contains("sessionlake.toml").and(contains("--config")));
    workspace.exec("--config other.toml run").code(2).stderr(contains("other.toml"));
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let workspace = Workspace::new();
    workspace.configure("[lake]\nurl = \n");
    workspace.exec("config check").code(2).stderr(contains("line 2"));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_one() {
    let workspace = workspace();
    workspace.configure(&CONFIGURATION.replace("timeout =", "timeot ="));
    for command in ["run", "ingest", "build", "retention", "config check", "config show"] {
        workspace
            .exec(command)
            .code(2)
            .stdout(is_empty())
            .stderr(contains("`timeot`").and(contains("did you mean `timeout`?")));
    }
    assert!(!workspace.path("lake").exists());
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    let workspace = empty_workspace();
    let broken = CONFIGURATION
        .replace("timeout = \"5m\"", "timeout = \"5 parsecs\"")
        .replace("product_code = \"product_code\"\n", "");
    workspace.configure(&broken);
    workspace.exec("config check").code(2).stderr(
        contains("5 parsecs")
            .and(contains("product_code"))
            .and(contains("feed[0] (events)"))
            .and(contains("line")),
    );
}

#[test]
fn a_timeout_beyond_the_lookback_is_refused() {
    let workspace = empty_workspace();
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"25h\""));
    workspace.exec("config check").code(2).stderr(contains("lookback_days = 2"));
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"24h\""));
    workspace.exec("config check").code(0);
}

#[test]
fn a_good_configuration_is_confirmed() {
    let workspace = empty_workspace();
    workspace.exec("config check").code(0).stdout(contains("ok").and(contains("events")));
    let checked = workspace.json("config check");
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["feeds"], serde_json::json!(["events"]));
    assert!(!workspace.path("lake").exists());
}

#[test]
fn what_config_show_prints_is_the_same_configuration() {
    let workspace = empty_workspace();
    let shown = workspace.stdout("config show");
    std::fs::write(workspace.path("shown.toml"), &shown).unwrap();
    assert_eq!(workspace.stdout("--config shown.toml config show"), shown);
    workspace.exec("--config shown.toml config check").code(0);
    assert!(shown.contains("update_depth_days = 5"), "defaults are missing: {shown}");
    let lake = workspace.path("lake");
    assert!(shown.contains(lake.to_str().unwrap()), "{} is missing: {shown}", lake.display());
}

#[test]
fn what_config_show_prints_runs_as_the_original_does() {
    let workspace = workspace();
    let shown = workspace.stdout("config show");
    workspace.exec("run").code(0);
    std::fs::write(workspace.path("shown.toml"), &shown).unwrap();
    workspace.exec("--config shown.toml run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn secrets_are_not_shown() {
    let workspace = empty_workspace();
    let url = "s3://someone:hunter2@bucket/prefix";
    let shown = workspace.exec(&format!("--lake {url} config show")).code(0);
    shown.stdout(contains("***@bucket/prefix").and(contains("hunter2").not()));
    let checked = workspace.exec(&format!("--lake {url} config check")).code(0);
    checked.stdout(contains("hunter2").not());
}

#[test]
fn relative_paths_of_a_file_start_at_its_folder() {
    let workspace = workspace();
    let elsewhere = workspace.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut command = workspace.program("--config ../sessionlake.toml run");
    let output = command.current_dir(&elsewhere).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(workspace.path("lake/ods/events/_delta_log").exists());
    assert!(!elsewhere.join("lake").exists());
}
