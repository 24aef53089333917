//! Settings laid over the file: the environment, `--set` and its short forms, `--lake`.

use predicates::str::contains;

use super::{CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

const TIMEOUT: &str = "SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOUT";

/// One user who is silent for seven minutes.
fn seven_minutes() -> Workspace {
    let workspace = empty_workspace();
    let rows = ["u1,click,2026-01-05T10:00:00Z,", "u1,scroll,2026-01-05T10:07:00Z,"];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace
}

const JOINED: [&str; 2] = [
    "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,",
    "u1,2026-01-05T10:07:00Z,2026-01-05T10:00:00Z,",
];
const CUT: [&str; 2] =
    ["u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,", "u1,2026-01-05T10:07:00Z,,"];

#[test]
fn the_timeout_of_the_file_holds_by_default() {
    let workspace = seven_minutes();
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), CUT);
}

#[test]
fn every_way_to_set_the_timeout_sets_it() {
    for line in [
        "run --set session.timeout=10m",
        "run --set events:session.timeout=10m",
        "run --timeout 10m",
    ] {
        let workspace = seven_minutes();
        workspace.exec(line).code(0);
        assert_eq!(workspace.ods_lines(&SHORT), JOINED, "{line}");
    }
    let workspace = seven_minutes();
    workspace.exec_with("run", &[(TIMEOUT, "10m")]).code(0);
    assert_eq!(workspace.ods_lines(&SHORT), JOINED);
}

#[test]
fn a_max_duration_is_set_for_one_run() {
    let workspace = seven_minutes();
    workspace.exec("run --timeout 10m --max-duration 6m").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), CUT);
    let workspace = seven_minutes();
    workspace.exec("run --timeout 10m --max-duration 7m").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), JOINED);
}

#[test]
fn the_arguments_win_over_the_environment_and_that_over_the_file() {
    let workspace = empty_workspace();
    let environment = [(TIMEOUT, "6m")];
    let shown = workspace.exec_with("config show", &environment).code(0);
    assert!(stdout_of(&shown).contains("timeout = \"6m\""));
    let shown = workspace.exec_with("config show --set session.timeout=7m", &environment).code(0);
    assert!(stdout_of(&shown).contains("timeout = \"7m\""));
}

#[test]
fn a_setting_outside_the_feeds_can_be_overridden() {
    let workspace = empty_workspace();
    let shown = workspace.stdout("config show --set retention.raw_days=30");
    assert!(shown.contains("raw_days = 30"), "{shown}");
    let environment = [("SESSIONLAKE__RETENTION__RAW_DAYS", "31")];
    let shown = workspace.exec_with("config show", &environment).code(0);
    assert!(stdout_of(&shown).contains("raw_days = 31"));
}

#[test]
fn an_override_of_an_unknown_key_is_refused_and_named() {
    let workspace = workspace();
    for line in ["run --set session.timeot=10m", "run --set events:session.timeot=10m"] {
        workspace.exec(line).code(2).stderr(contains("did you mean `timeout`?"));
    }
    workspace.exec("run --set event:session.timeout=10m").code(2).stderr(contains("`events`?"));
    workspace.exec("run --set session.timeout").code(2).stderr(contains("="));
    workspace.exec("run --timeout soon").code(2).stderr(contains("soon"));
    workspace
        .exec_with("run", &[("SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOT", "10m")])
        .code(2)
        .stderr(contains("SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOT"));
    assert!(!workspace.path("lake").exists());
}

#[test]
fn the_lake_can_be_put_elsewhere() {
    let workspace = workspace();
    workspace.exec("run --lake ./other").code(0);
    assert!(workspace.path("other/ods/events/_delta_log").exists());
    assert!(!workspace.path("lake").exists());
    let environment = [("SESSIONLAKE__LAKE__URL", "third")];
    workspace.exec_with("run", &environment).code(0);
    assert!(workspace.path("third/ods/events/_delta_log").exists());
}

#[test]
fn a_setting_for_one_feed_leaves_the_others() {
    let workspace = Workspace::new();
    let second = CONFIGURATION.replace("\"events\"", "\"clicks\"");
    workspace.configure(&format!("{CONFIGURATION}{second}"));
    let shown = workspace.stdout("config show --set clicks:session.timeout=9m");
    assert_eq!(shown.matches("timeout = \"5m\"").count(), 1, "{shown}");
    assert_eq!(shown.matches("timeout = \"9m\"").count(), 1, "{shown}");
    let shown = workspace.stdout("config show --set session.timeout=9m");
    assert_eq!(shown.matches("timeout = \"9m\"").count(), 2, "{shown}");
}
