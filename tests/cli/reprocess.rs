//! `reprocess`: from raw or from ODS, what it would change, and what becomes of quarantine. The
//! rules that it records are tried in `rules.rs`.

use chrono::NaiveDate;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;
use sessionlake::stages::merge::DateChange;

use super::{BUILT, CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::changes::changes;
use crate::support::workspace::Workspace;

fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace
}

/// [`built`], with raw expired through 2026-01-06.
fn expired() -> Workspace {
    let workspace = built();
    workspace.write_batch("2026-01-21.csv", &batch(&["u9,click,2026-01-21T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-21"]);
    workspace
}

fn with(key: &str, value: &str) -> String {
    let known = CONFIGURATION.replace("timeout", "opens_on = \"is_user_action\"\ntimeout");
    let lines = known.lines().map(|line| {
        let is_key = line.split_once(" = ").is_some_and(|(name, _)| name == key);
        if is_key { format!("{key} = \"{value}\"") } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs the command dry, then really, and compares what the first said with what the second did.
fn is_foretold(workspace: &Workspace, command: &str) -> DateChange {
    let (before, bytes) = (workspace.ods(&["note"]), workspace.lake_bytes());
    let plan = workspace.json(&format!("{command} --dry-run"));
    assert!(bytes == workspace.lake_bytes(), "a dry run wrote to the lake");
    workspace.exec(command).code(0);
    let found = changes(&before, &workspace.ods(&["note"]), 0);
    assert_eq!(plan["feeds"][0]["forecast"]["dates"], json!(found), "{command}");
    found.into_values().fold(DateChange::default(), DateChange::plus)
}

#[test]
fn a_dry_run_tells_what_a_changed_rule_does() {
    let rules = [
        ("timeout", "3m"),
        ("user_action", "event_id = 'scroll'"),
        ("opens_on", "event_id = 'scroll'"),
        ("event_id", "upper(event_id)"),
        ("timestamp", "replace(timestamp, '10:04', '10:06')"),
    ];
    for (key, value) in rules {
        for from in ["2026-01-01", "2026-01-05", "2026-01-06"] {
            let workspace = built();
            workspace.configure(&with(key, value));
            // A new entry of the session rules begins with a break, wherever it starts.
            let change = is_foretold(&workspace, &format!("reprocess --from {from}"));
            assert!(change.is_any(), "{key} from {from}");
        }
    }
}

#[test]
fn a_dry_run_tells_what_another_depth_does() {
    let workspace = built();
    let shallow = CONFIGURATION.to_owned() + "[feed.window]\nupdate_depth_days = 0\n";
    workspace.configure(&shallow);
    let change = is_foretold(&workspace, "reprocess --from 2026-01-05");
    assert_eq!((change.events_removed, change.events_changed), (1, 1), "{change:?}");
    // The late event leaves ODS, also where its date lies before the first that is recomputed.
    workspace.configure(CONFIGURATION);
    let change = is_foretold(&workspace, "reprocess --from 2026-01-06");
    assert_eq!((change.events_new, change.events_changed), (1, 1), "{change:?}");
    workspace.configure(&shallow);
    let change = is_foretold(&workspace, "reprocess --from 2026-01-06");
    assert_eq!((change.events_removed, change.events_changed), (1, 1), "{change:?}");
}

#[test]
fn a_dry_run_tells_which_session_before_the_first_date_grows() {
    let workspace = built();
    let before_midnight = "u7,click,2026-01-06T23:58:00Z,before midnight";
    workspace.write_batch("2026-01-07.csv", &batch(&[before_midnight]));
    workspace.exec("run").code(0);
    let rows = [before_midnight, "u7,scroll,2026-01-07T00:01:00Z,after midnight"];
    workspace.write_batch("2026-01-07.csv", &batch(&rows));
    workspace.exec("ingest --arrival-date 2026-01-07").code(0);
    let change = is_foretold(&workspace, "reprocess --from 2026-01-07");
    let events = (change.events_new, change.events_changed, change.events_removed);
    assert_eq!((events, change.sessions_changed), ((1, 0, 0), 1), "{change:?}");
}

#[test]
fn a_dry_run_tells_of_a_session_that_began_long_before_what_is_read() {
    let workspace = empty_workspace();
    workspace.configure(&with("timeout", "20h"));
    let times = ["05T10:00", "06T04:00", "06T22:00", "07T16:00", "08T10:00"];
    for time in times {
        let row = format!("u1,click,2026-01-{time}:00Z,");
        workspace.write_batch(&format!("2026-01-{}.csv", &time[..2]), &batch(&[&row]));
        workspace.exec("run").code(0);
    }
    workspace.configure(&with("timeout", "19h"));
    // The new entry begins with a break, so the session that began three days ago ends before it.
    let plan = workspace.json("reprocess --from 2026-01-08 --dry-run");
    let first = &plan["feeds"][0]["forecast"]["dates"]["2026-01-05"];
    assert_eq!((&first["sessions_before"], &first["sessions_changed"]), (&json!(1), &json!(1)));
    is_foretold(&workspace, "reprocess --from 2026-01-08");
}

#[test]
fn a_dry_run_prints_a_table_by_event_date() {
    let workspace = built();
    workspace.configure(&with("timeout", "3m"));
    workspace.exec("reprocess --from 2026-01-01 --dry-run").code(0).stdout(
        contains("2026-01-05")
            .and(contains("sessions before"))
            .and(contains("total"))
            .and(contains("2026-01-06").not()),
    );
    workspace.configure(CONFIGURATION);
    workspace
        .exec("reprocess --from 2026-01-01 --dry-run")
        .code(0)
        .stdout(contains("nothing would change"));
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_dry_run_is_refused_as_the_command_is() {
    let workspace = workspace();
    workspace
        .exec("reprocess --from 2026-01-05 --dry-run")
        .code(1)
        .stderr(contains("nothing was built"));
    assert!(workspace.lake_bytes().is_empty());
    let workspace = expired();
    let bytes = workspace.lake_bytes();
    workspace
        .exec("reprocess --from 2026-01-07 --dry-run")
        .code(2)
        .stderr(contains("earliest possible date is 2026-01-08").and(contains("--source ods")));
    assert!(bytes == workspace.lake_bytes(), "a refused dry run wrote to the lake");
}

#[test]
fn a_changed_session_rule_is_taken_from_ods_where_raw_has_expired() {
    let workspace = expired();
    workspace.configure(&with("timeout", "3m"));
    let change = is_foretold(&workspace, "reprocess --from 2026-01-01 --source ods");
    assert_eq!((change.events_changed, change.events_new), (2, 0), "{change:?}");
    let expected = built();
    expected.configure(&with("timeout", "3m"));
    expected.exec("reprocess --from 2026-01-01").code(0);
    assert_eq!(workspace.ods_lines(&SHORT)[..6], expected.ods_lines(&SHORT));
    // The rule is recorded from there on.
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn another_user_action_is_judged_from_ods_alone() {
    let rules = ["event_id = 'scroll'", "note in ('a', 'e')"];
    for rule in rules {
        let workspace = expired();
        workspace.configure(&with("user_action", rule));
        is_foretold(&workspace, "reprocess --from 2026-01-01 --source ods");
        let expected = built();
        expected.configure(&with("user_action", rule));
        expected.exec("reprocess --from 2026-01-01").code(0);
        let columns = ["user_id", "timestamp", "is_user_action", "session_id", "_updated_at"];
        assert_eq!(workspace.ods_lines(&columns)[..6], expected.ods_lines(&columns), "{rule}");
    }
}

#[test]
fn ods_does_not_know_how_another_mapping_would_have_read_the_rows() {
    let workspace = expired();
    let bytes = workspace.lake_bytes();
    workspace
        .configure(&(with("event_id", "upper(event_id)") + "\n[feed.window]\nlookback_days = 2"));
    for dry_run in ["", " --dry-run"] {
        workspace
            .exec(&format!("reprocess --from 2026-01-05 --source ods{dry_run}"))
            .code(2)
            .stderr(
                contains("event.event_id")
                    .and(contains("window.lookback_days"))
                    .and(contains("reprocess --from 2026-01-05"))
                    .and(contains("--accept-rule-change")),
            );
    }
    let runs = |path: &std::path::PathBuf| path.components().any(|part| part.as_os_str() == "runs");
    let mut after = workspace.lake_bytes();
    after.retain(|path, _| !runs(path));
    assert!(after.iter().all(|(path, content)| bytes.get(path) == Some(content)));
}

#[test]
fn a_rule_that_fails_on_a_kept_event_is_refused_and_nothing_is_lost() {
    let workspace = expired();
    workspace.configure(&with("user_action", "cast(note as int) = 1"));
    workspace
        .exec("reprocess --from 2026-01-01 --source ods")
        .code(2)
        .stderr(contains("session.user_action").and(contains("ods/events")));
    assert_eq!(workspace.ods_lines(&SHORT)[..6], BUILT);
}

#[test]
fn a_reprocess_from_ods_before_any_build_says_so() {
    let workspace = workspace();
    workspace.exec("ingest").code(0);
    workspace
        .exec("reprocess --from 2026-01-01 --source ods")
        .code(1)
        .stderr(contains("nothing was built"));
}

#[test]
fn quarantined_rows_enter_ods_when_they_pass_and_leave_it_when_they_do_not() {
    let workspace = built();
    let shallow = CONFIGURATION.to_owned() + "[feed.window]\nupdate_depth_days = 0\n";
    let reasons = || workspace.quarantine_lines(&["_updated_at", "stage", "reason", "_line"]);
    assert!(reasons().is_empty());
    workspace.configure(&shallow);
    let from: NaiveDate = "2026-01-05".parse().unwrap();
    workspace.exec(&format!("reprocess --from {from}")).code(0);
    assert_eq!(reasons(), ["2026-01-06,build,beyond_update_depth,2"]);
    assert!(!workspace.ods_lines(&["note"]).contains(&"late".to_owned()));
    workspace.configure(CONFIGURATION);
    workspace.exec(&format!("reprocess --from {from}")).code(0);
    assert!(reasons().is_empty());
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    // A session rule that fails on some rows does the same.
    workspace.configure(&with("user_action", "event_id = 'click' and 1 / (ascii(note) - 97) >= 0"));
    workspace.exec(&format!("reprocess --from {from}")).code(0);
    assert_eq!(reasons(), ["2026-01-05,build,expression_failed,2"]);
    assert_eq!(workspace.ods_lines(&["note"]).len(), 5);
    workspace.configure(CONFIGURATION);
    workspace.exec(&format!("reprocess --from {from}")).code(0);
    assert!(reasons().is_empty());
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}
