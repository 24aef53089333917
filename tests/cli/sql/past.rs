//! `at_version`, `at_time` and `history`.

use predicates::prelude::*;
use predicates::str::contains;
use sessionlake::lake::TableName;

use super::super::workspace;
use super::{built, lines, sql};

#[test]
fn a_table_can_be_read_as_it_was() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    let versions = "select version from history('ods.events') order by version desc limit 1";
    let first = lines(&workspace, versions).remove(0);
    workspace.exec("run --arrival-date 2026-01-06").code(0);
    let count = |table: &str| lines(&workspace, &format!("select count(*) from {table}"));
    assert_eq!(count("ods.events"), ["6"]);
    assert_eq!(count(&format!("at_version('ods.events', {first})")), ["3"]);
    assert_eq!(count(&format!("at_version('ods/events', {first})")), ["3"]);
    assert_eq!(count(&format!("at_version('ods', {first})")), ["3"]);
    // Both versions in one statement: what the second date brought.
    let brought = format!(
        "select note from ods.events except select note from at_version('ods.events', {first}) \
         order by note"
    );
    assert_eq!(lines(&workspace, &brought), ["d", "e", "late"]);
}

#[test]
fn sessions_of_then_have_their_number_too() {
    let workspace = built();
    let versions = "select max(version) from history('sessions.events')";
    let newest = lines(&workspace, versions).remove(0);
    let numbered = |table: &str| {
        let columns = "user_id, session_id, session_seq";
        lines(&workspace, &format!("select {columns} from {table} order by session_id"))
    };
    let then = numbered(&format!("at_version('sessions.events', {newest})"));
    assert_eq!(then, numbered("sessions.events"));
    assert!(!then.is_empty());
}

#[test]
fn a_time_leads_to_the_version_of_then() {
    let workspace = built();
    let history = "select version, timestamp from history('ods.events') order by version";
    for line in lines(&workspace, history) {
        let (version, time) = line.split_once(',').unwrap();
        let at_time = format!("select count(*) from at_time('ods.events', '{time}')");
        let at_version = format!("select count(*) from at_version('ods.events', {version})");
        // Two commits may be of one millisecond: then it is the newer one.
        assert!(lines(&workspace, &at_time) >= lines(&workspace, &at_version), "{line}");
    }
    let later = "select count(*) from at_time('ods.events', timestamp '2100-01-01T00:00:00')";
    assert_eq!(lines(&workspace, later), ["6"]);
    sql(&workspace, &["-c", "select * from at_time('ods.events', '2020-01-01')"])
        .code(1)
        .stderr(contains("ods/events as it was at 2020-01-01T00:00:00Z is not kept"))
        .stderr(contains("begins with version 0"));
}

#[test]
fn history_tells_what_made_each_version() {
    let workspace = built();
    let builds = "select stage, rows_inserted, rows_updated, files_added > 0, run_id is not null \
        from history('ods.events') where stage = 'build' order by version";
    let found = lines(&workspace, builds);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1], "build,3,1,true,true");
    let runs = "select count(*) from history('ods.events') as h \
        inner join runs on runs.run_id = h.run_id and runs.stage = 'build' \
        and runs.version_after = h.version";
    assert_eq!(lines(&workspace, runs), ["2"]);
    let rows = "select sum(rows_added) from history('raw.events')";
    assert_eq!(lines(&workspace, rows), ["6"]);
    let oldest = "select min(version) from history('runs')";
    assert_eq!(lines(&workspace, oldest), ["0"]);
}

#[test]
fn what_is_not_kept_is_said_so() {
    let workspace = built();
    let failed = |statement: &str| sql(&workspace, &["-c", statement]).code(1);
    failed("select * from at_version('ods.events', 99)")
        .stderr(contains("ods/events has no version 99 yet; its newest is"));
    // A log that begins with a checkpoint.
    let name = TableName::Ods("events".to_owned());
    let table = workspace.block_on(async { workspace.lake().load(&name).await.unwrap().unwrap() });
    workspace
        .block_on(async { deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap() });
    let log = workspace.path("lake/ods/events/_delta_log");
    for version in 0..table.version().unwrap() {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    failed("select * from at_version('ods.events', 0)")
        .stderr(contains("version 0 of ods/events is not kept any more"));
    failed("select * from at_time('ods.events', '2020-01-01')")
        .stderr(contains("is not kept any more"));
    assert_eq!(lines(&workspace, "select count(*) from history('ods.events')"), ["1"]);
}

#[test]
fn an_old_version_whose_files_have_gone_is_said_so() {
    let workspace = built();
    let versions =
        "select version from history('ods.events') where stage = 'build' order by version";
    let first = lines(&workspace, versions).remove(0);
    let files = |version: &str| -> Vec<String> {
        let name = TableName::Ods("events".to_owned());
        let version = version.parse().unwrap();
        workspace.block_on(async {
            let table = workspace.lake().at_version(&name, version).await.unwrap();
            let files = table.snapshot().unwrap().log_data();
            files.iter().map(|file| file.path().into_owned()).collect()
        })
    };
    let newest = workspace.live_files(&TableName::Ods("events".to_owned()));
    let gone: Vec<String> =
        files(&first).into_iter().filter(|file| !newest.contains(file)).collect();
    assert!(!gone.is_empty());
    for file in gone {
        std::fs::remove_file(workspace.path("lake/ods/events").join(file)).unwrap();
    }
    sql(&workspace, &["-c", &format!("select * from at_version('ods.events', {first})")])
        .code(1)
        .stderr(contains(format!("version {first} of ods/events is not kept whole any more")))
        .stderr(contains("removed_files_days"));
    assert_eq!(lines(&workspace, "select count(*) from ods.events"), ["6"]);
}

#[test]
fn a_function_that_is_called_otherwise_says_how() {
    let workspace = built();
    for (call, usage) in [
        ("at_version('ods.events')", "at_version('ods.events', 12)"),
        ("at_version('ods.events', -1)", "at_version('ods.events', 12)"),
        ("at_time('ods.events', 'yesterday')", "at_time('ods.events', '2026-01-03T00:00:00Z')"),
        ("history()", "history('ods.events')"),
        ("history('ods.nothing')", "there are"),
    ] {
        sql(&workspace, &["-c", &format!("select * from {call}")])
            .code(1)
            .stderr(contains(usage).and(contains("statement 1")));
    }
}
