//! A configuration that is not what ODS was built with, and `reprocess`.

use predicates::prelude::*;
use predicates::str::contains;

use super::{BUILT, CONFIGURATION, SHORT, batch, workspace};
use crate::support::workspace::Workspace;

/// [`BUILT`] with a timeout of three minutes.
const BUILT_WITH_THREE_MINUTES: [&str; 6] = [
    "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,a",
    "u1,2026-01-05T10:04:00Z,,late",
    "u1,2026-01-05T10:07:00Z,,b",
    "u2,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,c",
    "u2,2026-01-06T10:00:00Z,2026-01-06T10:00:00Z,d",
    "u2,2026-01-06T10:01:00Z,2026-01-06T10:00:00Z,e",
];

fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace
}

fn with_three_minutes() -> String {
    CONFIGURATION.replace("\"5m\"", "\"3m\"")
}

#[test]
fn another_rule_stops_the_run_with_both_values_and_both_ways_on() {
    let workspace = built();
    workspace.configure(&with_three_minutes());
    for command in ["run --arrival-date 2026-01-06", "run", "ingest", "build"] {
        workspace.exec(command).code(2).stderr(
            contains("session.timeout")
                .and(contains("5m"))
                .and(contains("3m"))
                .and(contains("reprocess --from"))
                .and(contains("--accept-rule-change")),
        );
    }
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn every_difference_is_named() {
    let workspace = built();
    let other = with_three_minutes()
        .replace("\"event_id\"\n", "\"upper(event_id)\"\n")
        .replace("[feed.session]", "[feed.window]\nupdate_depth_days = 4\n[feed.session]");
    workspace.configure(&other);
    workspace.exec("run").code(2).stderr(
        contains("session.timeout")
            .and(contains("event.event_id"))
            .and(contains("upper(event_id)"))
            .and(contains("window.update_depth_days")),
    );
}

#[test]
fn a_rule_that_is_written_otherwise_but_means_the_same_is_no_difference() {
    let workspace = built();
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"300s\""));
    workspace.exec("run").code(0);
}

#[test]
fn an_accepted_rule_holds_after_the_newest_event_date() {
    let workspace = built();
    workspace.configure(&with_three_minutes());
    let rows = [
        "u3,click,2026-01-06T12:00:00Z,old rule",
        "u3,scroll,2026-01-06T12:04:00Z,old rule",
        "u3,click,2026-01-07T12:00:00Z,new rule",
        "u3,scroll,2026-01-07T12:04:00Z,new rule",
    ];
    workspace.write_batch("2026-01-07.csv", &batch(&rows));
    workspace.exec("run --arrival-date 2026-01-07").code(2);
    workspace.exec("run --arrival-date 2026-01-07 --accept-rule-change").code(0);
    assert_eq!(workspace.ods_lines(&SHORT)[..6], BUILT);
    assert_eq!(
        workspace.ods_lines(&SHORT)[6..],
        [
            "u3,2026-01-06T12:00:00Z,2026-01-06T12:00:00Z,old rule",
            "u3,2026-01-06T12:04:00Z,2026-01-06T12:00:00Z,old rule",
            "u3,2026-01-07T12:00:00Z,2026-01-07T12:00:00Z,new rule",
            "u3,2026-01-07T12:04:00Z,,new rule",
        ]
    );
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_reprocess_recomputes_under_the_new_rule() {
    let workspace = built();
    workspace.configure(&with_three_minutes());
    workspace.exec("reprocess --from 2026-01-01").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT_WITH_THREE_MINUTES);
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_reprocess_leaves_the_dates_before_it() {
    let workspace = built();
    workspace.configure(&with_three_minutes());
    workspace.exec("reprocess --from 2026-01-06").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("reprocess --from 2026-01-05").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT_WITH_THREE_MINUTES);
}

#[test]
fn a_reprocess_under_the_same_rules_changes_no_row() {
    let workspace = built();
    workspace.exec("reprocess --from 2026-01-05").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_reprocess_of_dates_that_raw_does_not_cover_names_the_earliest() {
    let workspace = built();
    workspace.write_batch("2026-01-21.csv", &batch(&["u9,click,2026-01-21T10:00:00Z,f"]));
    workspace.exec("run").code(0);
    // 2026-01-06 was removed, and its events may be of 2026-01-07.
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-21"]);
    let before = workspace.ods_lines(&SHORT);
    workspace
        .exec("reprocess --from 2026-01-07")
        .code(2)
        .stderr(contains("2026-01-07").and(contains("earliest possible date is 2026-01-08")));
    assert_eq!(workspace.ods_lines(&SHORT), before);
    workspace.exec("reprocess --from 2026-01-08").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), before);
}

#[test]
fn a_reprocess_before_any_ingest_says_so() {
    let workspace = workspace();
    workspace.exec("reprocess --from 2026-01-01").code(1).stderr(contains("nothing was ingested"));
}

#[test]
fn another_zone_is_refused_for_good() {
    let workspace = built();
    let zone = "zone = \"Asia/Kolkata\"\nattributes";
    workspace.configure(&CONFIGURATION.replace("attributes", zone));
    workspace.exec("run").code(2).stderr(contains("zone"));
    workspace.write_batch("2026-01-07.csv", &batch(&["u9,click,2026-01-07T10:00:00Z,f"]));
    workspace
        .exec("run --arrival-date 2026-01-07 --accept-rule-change")
        .code(2)
        .stderr(contains("a zone moves event dates"));
    workspace.exec("reprocess --from 2026-01-01").code(2).stderr(contains("Asia/Kolkata"));
}
