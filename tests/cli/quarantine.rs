//! What was refused, and rows that come back after a change of the configuration.

use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::Value;

use super::{CONFIGURATION, SHORT, batch, empty_workspace};
use crate::support::workspace::Workspace;

/// A mapping under which rows without a user belong to a guest.
fn with_guest() -> String {
    let user = "user_id = \"case when user_id is null then 'guest' else user_id end\"";
    CONFIGURATION.replace("user_id = \"user_id\"", user)
}

/// Two dates with rows without a user, one that is too old and one that cannot be read.
fn delivered(configuration: &str) -> Workspace {
    let workspace = empty_workspace();
    workspace.configure(configuration);
    workspace.write_batch(
        "2026-01-05.csv",
        &batch(&[
            "u1,click,2026-01-05T10:00:00Z,a",
            "u1,click,2020-01-05T10:00:00Z,too old",
            "u1,scroll",
        ]),
    );
    workspace.write_batch(
        "2026-01-06.csv",
        &batch(&["u1,scroll,2026-01-06T10:00:00Z,b", ",click,2026-01-06T10:00:00Z,c"]),
    );
    workspace.write_batch(
        "2026-01-07.csv",
        &batch(&[",scroll,2026-01-06T10:04:00Z,late", ",scroll,2026-01-07T10:00:00Z,d"]),
    );
    workspace.exec("run").code(0);
    workspace
}

fn counts(workspace: &Workspace, line: &str) -> Vec<String> {
    let listed = workspace.json(line);
    let keys = ["arrival_date", "stage", "reason", "entries", "files"];
    let text = |count: &Value, key: &str| count[key].to_string().replace('"', "");
    let line = |count: &Value| keys.map(|key| text(count, key)).join(" ");
    listed["counts"].as_array().unwrap().iter().map(line).collect()
}

const REFUSED: [&str; 4] = [
    "2026-01-05 build beyond_update_depth 1 1",
    "2026-01-05 ingest field_count 1 1",
    "2026-01-06 build missing_key 1 1",
    "2026-01-07 build missing_key 2 1",
];

#[test]
fn what_was_refused_is_counted_by_date_stage_and_reason() {
    let workspace = delivered(CONFIGURATION);
    assert_eq!(counts(&workspace, "quarantine list"), REFUSED);
    assert_eq!(counts(&workspace, "quarantine list --arrival-date 2026-01-06"), REFUSED[2..3]);
    let line = "quarantine list --from 2026-01-06 --to 2026-01-31 --feed events";
    assert_eq!(counts(&workspace, line), REFUSED[2..]);
    assert_eq!(counts(&workspace, "quarantine list --reason field_count"), REFUSED[1..2]);
    let table = workspace.stdout("quarantine list");
    assert!(table.contains("missing_key") && table.contains("entries"), "{table}");
    workspace.exec("quarantine list --feed other").code(2).stderr(contains("events"));
}

#[test]
fn a_lake_without_refused_rows_has_nothing_in_quarantine() {
    let workspace = empty_workspace();
    for line in ["quarantine list", "quarantine show"] {
        workspace.exec(line).code(0).stdout(contains("nothing in quarantine"));
    }
    workspace.exec("quarantine replay").code(0).stdout(contains("nothing to do"));
    workspace.exec("quarantine replay --dry-run").code(0).stdout(contains("nothing would change"));
}

#[test]
fn refused_rows_are_shown_with_file_line_detail_and_text() {
    let workspace = delivered(CONFIGURATION);
    let shown = workspace.json("quarantine show --reason field_count");
    let entry = &shown["entries"][0];
    assert_eq!(entry["file"], "2026-01-05.csv");
    assert_eq!(entry["line"], 4);
    assert_eq!(entry["text"], "u1,web,scroll");
    assert_eq!(entry["detail"], "found 3 fields, the header has 5");
    let lines = |line: &str| workspace.json(line)["entries"].as_array().unwrap().len();
    assert_eq!(lines("quarantine show"), 5);
    assert_eq!(lines("quarantine show --limit 2"), 2);
    assert_eq!(lines("quarantine show --file 2026-01-07.csv"), 2);
    assert_eq!(lines("quarantine show --arrival-date 2026-01-07 --limit 1"), 1);
    workspace.exec("quarantine show").code(0).stdout(contains("too old").and(contains("u1,web")));
}

#[test]
fn rows_that_the_build_refused_come_back_as_if_the_mapping_had_been_right_from_the_start() {
    let right = delivered(&with_guest());
    let workspace = delivered(CONFIGURATION);
    workspace.configure(&with_guest());
    let before = workspace.lake_bytes();
    let replay = "quarantine replay --reason missing_key";
    let forecast = workspace.json(&format!("{replay} --dry-run"));
    assert_eq!(forecast["feeds"][0]["forecast"]["total"]["events_new"], 3);
    assert_eq!(workspace.lake_bytes(), before);
    let run = workspace.json(replay);
    assert_eq!(run["stages"][0]["stage"], "reprocess");
    assert_eq!(run["stages"][0]["arrival_date"], "2026-01-06");
    assert_eq!(workspace.ods_lines(&SHORT), right.ods_lines(&SHORT));
    assert_eq!(counts(&workspace, "quarantine list"), REFUSED[..2]);
    // The mapping is recorded: the next run is an ordinary one.
    workspace.exec("run").code(0).stderr(is_empty()).stdout(contains("nothing to do"));
}

#[test]
fn records_that_nothing_can_read_stay() {
    let workspace = delivered(CONFIGURATION);
    let before = counts(&workspace, "quarantine list");
    workspace
        .exec("quarantine replay --reason field_count")
        .code(0)
        .stdout(contains("replay").and(contains("up_to_date")));
    assert_eq!(counts(&workspace, "quarantine list"), before);
}

#[test]
fn a_replay_of_what_retention_removed_names_the_earliest_date() {
    let workspace = delivered(CONFIGURATION);
    workspace.exec("retention --as-of 2026-01-20 --set retention.raw_days=14").code(0);
    workspace.configure(&with_guest());
    workspace.exec("quarantine replay").code(2).stderr(contains("2026-01-07"));
    workspace.exec("quarantine replay --arrival-date 2026-01-07").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["a", "b", "d", "late"]);
}
