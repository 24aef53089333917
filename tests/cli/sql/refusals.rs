//! Nothing is written without `--write`, and nothing into the lake with it.

use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use super::{built, lines, sql};

/// Statements that write, however they are wrapped.
const WRITES: [&str; 16] = [
    "insert into ods.events select * from ods.events",
    "explain analyze insert into ods.events select * from ods.events",
    "prepare p as insert into ods.events select * from ods.events",
    "delete from ods.events",
    "update ods.events set note = 'x'",
    "drop table ods.events",
    "create table mine as select * from ods.events",
    "create table ods.mine as select 1 as a",
    "create view mine as select 1 as a",
    "create external table mine stored as csv location 'mine.csv'",
    "create schema mine",
    "create database mine",
    "drop schema ods cascade",
    "drop view ods.events",
    "copy (select 1 as a) to 'out.csv'",
    "explain analyze copy (select 1 as a) to 'out.csv'",
];

#[test]
fn a_statement_that_writes_is_refused() {
    let workspace = built();
    let before = workspace.lake_bytes();
    for statement in WRITES {
        let refused = sql(&workspace, &["-c", statement, "-c", "select 1"]);
        let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(stderr.contains("--write"), "{statement}: {stderr}");
        refused.code(2).stdout(is_empty());
    }
    assert_eq!(workspace.lake_bytes(), before);
    assert!(!workspace.path("out.csv").exists());
}

#[test]
fn what_only_reads_is_let_through() {
    let workspace = built();
    for statement in [
        "explain select * from ods.events",
        "explain analyze select * from ods.events",
        "describe ods.events",
        "show columns from ods.events",
        "set datafusion.execution.batch_size = 100",
        "with a as (select 1 as b) select * from a",
        "values (1), (2)",
    ] {
        sql(&workspace, &["-c", statement]).code(0);
    }
}

#[test]
fn the_limits_of_the_process_cannot_be_set() {
    let workspace = built();
    for setting in ["datafusion.runtime.memory_limit", "DATAFUSION.RUNTIME.temp_directory"] {
        for access in ["--quiet", "--write"] {
            let set = format!("set {setting} = '100G'");
            sql(&workspace, &[access, "-c", &set]).code(2).stderr(contains("--memory-limit"));
        }
    }
}

#[test]
fn with_write_a_session_has_files_tables_and_views() {
    let workspace = built();
    let statements = "copy (select user_id, note from ods.events order by 1, 2) to 'out.csv' \
        stored as csv options ('format.has_header' 'true'); \
        create external table mine stored as csv location 'out.csv' \
        options ('format.has_header' 'true'); \
        create view bad as select * from mine where note = 'late'; \
        create table kept as select * from bad; \
        select * from kept;";
    let done = sql(&workspace, &["--write", "--format", "nd-json", "-c", statements]).code(0);
    done.stdout("{\"count\":6}\n{\"user_id\":\"u1\",\"note\":\"late\"}\n");
    let copied = std::fs::read_to_string(workspace.path("out.csv")).unwrap();
    assert_eq!(copied.lines().count(), 7);
    // They end with the session.
    sql(&workspace, &["-c", "select * from kept"]).code(1);
}

#[test]
fn the_lake_is_not_written_to_with_write_either() {
    let workspace = built();
    let before = workspace.lake_bytes();
    let lake = workspace.path("lake");
    let lake = lake.to_str().unwrap();
    let within = [
        "copy (select 1 as a) to 'lake/ods/events/x.csv'".to_owned(),
        format!("copy (select 1 as a) to '{lake}/x.parquet'"),
        format!("copy (select 1 as a) to 'file://{lake}/x.parquet'"),
        format!("copy (select 1 as a) to 'file:{lake}/x.parquet'"),
        format!("create external table mine (a int) stored as csv location 'file:{lake}/mine/'"),
        "create external table mine (a int) stored as csv location 'lake/mine/'".to_owned(),
    ];
    for statement in WRITES.iter().filter(|statement| statement.contains("ods")) {
        if statement.starts_with("create table mine") {
            continue;
        }
        let refused = sql(&workspace, &["--write", "-c", statement]);
        assert!(!refused.get_output().status.success(), "{statement}");
    }
    for statement in within {
        let refused = sql(&workspace, &["--write", "-c", &statement]);
        refused.code(2).stderr(contains("within the lake"));
    }
    sql(&workspace, &["--write", "-c", "insert into ods select * from ods.events"])
        .code(2)
        .stderr(contains("refused, --write or not").and(contains("reprocess")));
    assert_eq!(workspace.lake_bytes(), before);
    assert_eq!(lines(&workspace, "select count(*) from ods.events"), ["6"]);
}
