//! The SQL of a feed is checked before anything is written.

use predicates::str::contains;

use super::{CONFIGURATION, batch, empty_workspace, workspace};

/// Both `config check` and a run refuse the configuration with these words, and write no table of
/// the feed.
fn refused(configuration: &str, words: &[&str]) {
    let workspace = workspace();
    workspace.configure(configuration);
    for command in ["config check", "run --arrival-date 2026-01-05", "ingest", "build"] {
        let mut assert = workspace.exec(command).code(2);
        for word in words {
            assert = assert.stderr(contains(*word));
        }
    }
    // The record of the refused runs is all there is.
    for table in ["raw", "quarantine", "ods"] {
        assert!(!workspace.path("lake").join(table).exists(), "{table} was written");
    }
}

fn with_action(sql: &str) -> String {
    CONFIGURATION.replace("event_id = 'click'", sql)
}

fn with_user(sql: &str) -> String {
    CONFIGURATION.replace("user_id = \"user_id\"", &format!("user_id = \"{sql}\""))
}

#[test]
fn an_expression_that_does_not_parse_is_refused() {
    refused(&with_action("event_id in ("), &["events", "session.user_action", "event_id in ("]);
    refused(&with_user("upper(user_id"), &["events", "event.user_id", "upper(user_id"]);
}

#[test]
fn an_expression_whose_value_changes_from_run_to_run_is_refused() {
    refused(&with_action("timestamp < now()"), &["session.user_action", "`now`", "run to run"]);
    refused(&with_user("concat(user_id, uuid())"), &["event.user_id", "`uuid`", "run to run"]);
    refused(&with_action("pdate < current_date()"), &["session.user_action", "run to run"]);
}

#[test]
fn an_unknown_function_or_column_is_refused() {
    refused(&with_action("shout(event_id)"), &["session.user_action", "shout"]);
    // Session rules see ODS, not what was delivered.
    refused(&with_action("page = 'home'"), &["session.user_action", "page", "note"]);
}

#[test]
fn an_expression_over_more_than_one_row_is_refused() {
    refused(&with_action("count(event_id) > 1"), &["session.user_action", "one row"]);
    refused(&with_user("first_value(user_id) over ()"), &["event.user_id", "one row"]);
}

#[test]
fn an_expression_of_the_wrong_type_is_refused() {
    refused(&with_action("event_id"), &["session.user_action", "boolean"]);
    let number = CONFIGURATION
        .replace("timestamp = \"timestamp\"", "timestamp = \"cast(timestamp as bigint)\"");
    refused(&number, &["event.timestamp", "epochs"]);
}

#[test]
fn functions_that_stand_for_a_case_are_evaluated() {
    for user in ["coalesce(user_id, 'guest')", "nvl(user_id, 'guest')", "ifnull(user_id, 'guest')"]
    {
        let workspace = empty_workspace();
        workspace.configure(&with_user(user));
        let rows = [",click,2026-01-05T10:00:00Z,a", "u1,click,2026-01-05T10:00:00Z,b"];
        workspace.write_batch("2026-01-05.csv", &batch(&rows));
        workspace.exec("run").code(0);
        assert_eq!(workspace.ods_lines(&["user_id"]), ["guest", "u1"], "{user}");
        assert_eq!(workspace.quarantine(), [], "{user}");
    }
}
