//! The table `sessions/<feed>`: what a row is, that it follows ODS through every command, and what
//! makes it anew.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use sessionlake::lake::TableName;
use sessionlake::reference::expected_sessions;

use super::{CONFIGURATION, batch, empty_workspace};
use crate::support::workspace::Workspace;

/// User, `session_start` and `session_end` (times of day), events, ids of the events, of them the
/// distinct ones.
fn shown(workspace: &Workspace) -> Vec<String> {
    let time = |micros: i64| {
        let instant = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        instant.format("%d %H:%M").to_string()
    };
    let sessions = workspace.sessions(None);
    let line = |session: sessionlake::reference::ExpectedSession| {
        format!(
            "{} {}-{} {} {}",
            session.user_id,
            time(session.session_start_micros),
            time(session.session_end_micros),
            session.events,
            session.event_ids.join("+"),
        )
    };
    sessions.into_iter().map(line).collect()
}

fn deliver(workspace: &Workspace, date: &str, rows: &[&str]) {
    workspace.write_batch(&format!("{date}.csv"), &batch(rows));
    workspace.exec(&format!("run --arrival-date {date}")).code(0);
    workspace.assert_sessions_follow();
}

#[test]
fn a_row_is_one_session() {
    let workspace = empty_workspace();
    workspace.configure(&format!("{CONFIGURATION}[feed.marts]\ndistinct = \"note\"\n"));
    let rows = [
        "u1,click,2026-01-05T10:00:00Z,b",
        "u1,scroll,2026-01-05T10:01:00Z,a",
        "u1,click,2026-01-05T10:02:00.0015Z,b",
        "u1,scroll,2026-01-05T10:03:00Z,",
        "u2,scroll,2026-01-05T10:00:00Z,nothing opens",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    let late = ["u1,scroll,2026-01-05T10:02:30.0019Z,c"];
    workspace.write_batch("2026-01-06.csv", &batch(&late));
    workspace.exec("run").code(0);
    let sessions = workspace.sessions(Some("note"));
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!(session.session_id, "u1#web#2026-01-05T10:00:00Z");
    assert_eq!((session.events, session.user_actions), (5, 2));
    assert_eq!(session.duration_ms, 180_000);
    assert_eq!((&*session.first_event_id, &*session.last_event_id), ("click", "scroll"));
    assert_eq!(session.event_ids, ["click", "scroll"]);
    assert_eq!(session.distinct, ["b", "a", "c"]);
    assert_eq!(session.last_arrival - session.first_arrival, 1);
    assert_eq!(sessions, expected_sessions(&workspace.ods(&["note"]), Some(0)));
}

#[test]
fn a_late_event_joins_two_sessions_and_a_withdrawal_splits_them() {
    let workspace = empty_workspace();
    let day = ["u1,click,2026-01-05T10:00:00Z,", "u1,click,2026-01-05T10:08:00Z,"];
    deliver(&workspace, "2026-01-05", &day);
    let apart = ["u1 05 10:00-05 10:00 1 click", "u1 05 10:08-05 10:08 1 click"];
    assert_eq!(shown(&workspace), apart);
    deliver(&workspace, "2026-01-06", &["u1,scroll,2026-01-05T10:04:00Z,"]);
    assert_eq!(shown(&workspace), ["u1 05 10:00-05 10:08 3 click+scroll"]);
    workspace.exec("withdraw --file 2026-01-06.csv --arrival-date 2026-01-06").code(0);
    assert_eq!(shown(&workspace), apart);
    workspace.assert_sessions_follow();
    workspace.exec("withdraw --file 2026-01-05.csv --arrival-date 2026-01-05").code(0);
    assert_eq!(shown(&workspace), [""; 0]);
}

#[test]
fn a_reprocess_with_another_timeout_splits_sessions() {
    let workspace = empty_workspace();
    let day = ["u1,click,2026-01-05T10:00:00Z,", "u1,click,2026-01-05T10:04:00Z,"];
    deliver(&workspace, "2026-01-05", &day);
    workspace.exec("reprocess --from 2026-01-05 --source ods --timeout 1m").code(0);
    assert_eq!(shown(&workspace).len(), 2);
    workspace.assert_sessions_follow();
}

#[test]
fn a_session_across_midnight_stands_on_the_date_of_its_start_alone() {
    let workspace = empty_workspace();
    let first = ["u1,click,2026-01-05T23:58:00Z,", "u2,click,2026-01-05T12:00:00Z,"];
    deliver(&workspace, "2026-01-05", &first);
    // It begins on a date of which no row changes.
    deliver(&workspace, "2026-01-06", &["u1,scroll,2026-01-06T00:01:00Z,"]);
    assert_eq!(
        shown(&workspace),
        ["u1 05 23:58-06 00:01 2 click+scroll", "u2 05 12:00-05 12:00 1 click"]
    );
    // What joins it there is on a date that it does not begin on.
    deliver(&workspace, "2026-01-07", &["u1,click,2026-01-06T00:03:00Z,"]);
    assert_eq!(shown(&workspace)[0], "u1 05 23:58-06 00:03 3 click+scroll");
    // A session that began on the day before is gone: it has become part of an earlier one.
    deliver(&workspace, "2026-01-08", &["u1,click,2026-01-05T23:54:00Z,"]);
    assert_eq!(shown(&workspace)[0], "u1 05 23:54-06 00:03 4 click+scroll");
    let dates = workspace.lines(&sessions(), &["user_id", "session_date"]);
    assert_eq!(dates, ["u1,2026-01-05", "u2,2026-01-05"]);
}

/// In St. John's the clocks went back from 00:01 to 23:01 of the day before.
#[test]
fn a_session_may_reach_into_the_date_before_its_own() {
    let workspace = empty_workspace();
    let zone = "zone = \"America/St_Johns\"\nattributes";
    workspace.configure(&CONFIGURATION.replacen("attributes", zone, 1));
    deliver(&workspace, "2010-11-07", &["u1,click,2010-11-07T02:30:30Z,"]);
    deliver(&workspace, "2010-11-08", &["u1,scroll,2010-11-07T02:33:00Z,"]);
    let dates = workspace.lines(&sessions(), &["session_date", "events"]);
    assert_eq!(dates, ["2010-11-07,2"]);
    let of_events = workspace.ods_lines(&["pdate", "event_id"]);
    assert_eq!(of_events, ["2010-11-06,scroll", "2010-11-07,click"]);
    deliver(&workspace, "2010-11-09", &["u1,click,2010-11-07T02:35:00Z,"]);
    deliver(&workspace, "2010-11-10", &["u1,click,2010-11-07T02:28:00Z,"]);
    let dates = workspace.lines(&sessions(), &["session_date", "events"]);
    assert_eq!(dates, ["2010-11-06,4"]);
}

fn sessions() -> TableName {
    TableName::Sessions("events".to_owned())
}

#[test]
fn dates_that_no_change_reaches_keep_their_files() {
    let workspace = empty_workspace();
    deliver(&workspace, "2026-01-03", &["u1,click,2026-01-03T10:00:00Z,"]);
    deliver(&workspace, "2026-01-05", &["u1,click,2026-01-05T10:00:00Z,"]);
    let before = workspace.live_files(&sessions());
    deliver(&workspace, "2026-01-06", &["u1,click,2026-01-05T10:01:00Z,"]);
    let after = workspace.live_files(&sessions());
    let kept: Vec<&String> = before.iter().filter(|file| after.contains(file)).collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].contains("session_date=2026-01-03"), "{kept:?}");
    // Nothing new: the version of ODS alone is noted.
    deliver(&workspace, "2026-01-07", &["u1,click,2026-01-05T10:01:00Z,"]);
    assert_eq!(workspace.live_files(&sessions()), after);
    let bytes = workspace.lake_bytes();
    workspace.exec("run").code(0).stdout(contains("nothing to do"));
    assert!(bytes == workspace.lake_bytes(), "a run with nothing to do wrote to the lake");
}

#[test]
fn a_table_that_is_gone_damaged_or_of_another_ods_is_made_anew() {
    let workspace = empty_workspace();
    for (date, hour) in [("2026-01-05", 10), ("2026-01-06", 11)] {
        deliver(&workspace, date, &[&format!("u1,click,{date}T{hour}:00:00Z,")]);
    }
    let whole = shown(&workspace);
    fs::remove_dir_all(workspace.path("lake/sessions")).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(shown(&workspace), whole);
    // The version that the table was made of is no version of this ODS.
    fs::remove_dir_all(workspace.path("lake/ods")).unwrap();
    workspace.exec("build --from 2026-01-06 --to 2026-01-06 --force").code(0);
    assert_eq!(shown(&workspace), ["u1 06 11:00-06 11:00 1 click"]);
    workspace.exec("run").code(0);
    assert_eq!(shown(&workspace), whole);
}

#[test]
fn a_table_that_lags_further_than_the_log_of_ods_reaches_is_made_anew() {
    let workspace = empty_workspace();
    deliver(&workspace, "2026-01-05", &["u1,click,2026-01-05T10:00:00Z,"]);
    let behind = workspace.bytes_below("lake/sessions");
    // Every commit of ODS until the next checkpoint and beyond it: the commits before are gone.
    let kept = "--set retention.log_days=0 --set retention.removed_files_days=0";
    for minute in 1..24 {
        let row = format!("u1,click,2026-01-05T10:{minute:02}:00Z,");
        workspace.write_batch("2026-01-06.csv", &batch(&[&row]));
        workspace.exec(&format!("run --arrival-date 2026-01-06 {kept}")).code(0);
    }
    let first = workspace.path("lake/ods/events/_delta_log/00000000000000000002.json");
    assert!(!first.exists(), "the log of ODS was not cleaned");
    let whole = workspace.sessions(None);
    fs::remove_dir_all(workspace.path("lake/sessions")).unwrap();
    for (path, bytes) in behind {
        let path = workspace.path("lake/sessions").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    workspace.exec("run").code(0);
    assert_eq!(workspace.sessions(None), whole);
    workspace.assert_sessions_follow();
}

#[test]
fn another_attribute_makes_the_table_anew_and_one_that_is_none_is_refused() {
    let workspace = empty_workspace();
    deliver(&workspace, "2026-01-05", &["u1,click,2026-01-05T10:00:00Z,a"]);
    workspace.exec("run --set marts.distinct=note").code(0);
    assert_eq!(workspace.sessions(Some("note"))[0].distinct, ["a"]);
    workspace.exec("run").code(0);
    let batches = workspace.rows(&sessions());
    assert!(batches.iter().all(|batch| batch.column_by_name("distinct_note").is_none()));
    workspace.assert_sessions_follow();
    workspace.exec("run --set marts.distinct=nte").code(2).stderr(
        contains("`nte` is no attribute of the feed").and(contains("did you mean `note`?")),
    );
}

#[test]
fn the_stage_is_recorded_and_a_dry_run_writes_nothing() {
    let workspace = empty_workspace();
    deliver(&workspace, "2026-01-05", &["u1,click,2026-01-05T10:00:00Z,"]);
    let recorded = workspace.lines(&TableName::Runs, &["stage", "rows_changed", "version_after"]);
    assert!(recorded.contains(&"sessions,1,1".to_owned()), "{recorded:?}");
    let bytes = workspace.lake_bytes();
    let withdraw = "withdraw --file 2026-01-05.csv --arrival-date 2026-01-05";
    for command in ["reprocess --from 2026-01-05", withdraw, "quarantine replay"] {
        workspace.exec(&format!("{command} --dry-run")).code(0);
    }
    assert!(bytes == workspace.lake_bytes(), "a dry run wrote to the lake");
}

#[test]
fn clients_have_sessions_of_their_own() {
    let workspace = empty_workspace();
    let feed = CONFIGURATION.replace("name = \"events\"", "name = \"acme/events\"");
    workspace.configure(&feed);
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,click,2026-01-05T10:00:00Z,"]));
    workspace.exec("run").code(0);
    let name = TableName::Sessions("acme/events".to_owned());
    assert_eq!(workspace.lines(&name, &["user_id", "events"]), ["u1,1"]);
    assert!(workspace.path("lake/acme/sessions/events").exists());
}
