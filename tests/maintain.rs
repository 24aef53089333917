//! What `maintain` takes off the store, what it leaves, and that no row of a table changes.

mod races;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sessionlake::config::Compression;
use sessionlake::lake::commits::{self, Change, Provenance};
use sessionlake::lake::contracts::{self, ODS_FILES, SESSION_FILES, SortedFiles};
use sessionlake::lake::files::by_date;
use sessionlake::lake::sorted_files::{FileAccess, days};
use sessionlake::lake::sorted_writer::SortedWriter;
use sessionlake::lake::{Lake, TableName};

use crate::support::CONFIGURATION;
use crate::support::workspace::Workspace;

const HEADER: &str = "user_id,product_code,event_id,timestamp,note\n";
const DAY: Duration = Duration::from_hours(24);
/// More small files of a date than this are joined.
const MOST_SMALL_FILES: usize = 8;
const USERS: usize = 24;

fn raw() -> TableName {
    TableName::Raw("events".to_owned())
}

fn quarantine() -> TableName {
    TableName::Quarantine("events".to_owned())
}

fn ods() -> TableName {
    TableName::Ods("events".to_owned())
}

fn configured() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    workspace
}

/// Events of all users, each with two gaps, and a record that cannot be read.
fn batch(date: &str, file: usize) -> String {
    let mut text = HEADER.to_owned();
    for user in 0..USERS {
        for minute in [0, 3, 40] {
            let second = file % 60;
            let event = if minute == 0 { "click" } else { "scroll" };
            writeln!(text, "u{user:02},web,{event},{date}T10:{minute:02}:{second:02}Z,f{file}")
                .unwrap();
        }
    }
    text.push_str("u00,web\n");
    text
}

/// One arrival date, delivered in nine files that were taken in one by one.
fn many_deliveries(workspace: &Workspace) {
    for file in 0..9 {
        workspace.write_batch(&format!("2026-01-05/{file:02}.csv"), &batch("2026-01-05", file));
        workspace.exec("ingest --arrival-date 2026-01-05").code(0);
    }
}

/// Every row of every table but `runs`.
fn rows(workspace: &Workspace) -> [Vec<String>; 3] {
    let stored =
        ["_updated_at", "_file", "_line", "_extra", "_accept_late", "_ingested_at", "user_id"];
    let rest = ["product_code", "event_id", "timestamp", "note"];
    let of_ods = ["is_user_action", "time_diff_ms", "session_start", "session_id", "pdate"];
    [
        workspace.raw_lines(&[&stored[..], &rest[..]].concat()),
        workspace.quarantine_lines(&[
            "_updated_at",
            "stage",
            "reason",
            "detail",
            "_file",
            "_line",
            "row_text",
        ]),
        workspace.ods_lines(&[&["user_id", "_updated_at"], &rest[..], &of_ods[..]].concat()),
    ]
}

/// The reports of `maintain` by table.
fn by_table(report: &Value) -> BTreeMap<String, Value> {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().map(|of| (of["table"].as_str().unwrap().to_owned(), of.clone())).collect()
}

/// Writes the files of each date of ODS or of sessions anew, in slices of two users, as a build on
/// many cores would, and commits them.
fn cut(workspace: &Workspace, name: &TableName, layout: &'static SortedFiles) {
    workspace.block_on(async {
        let lake = workspace.lake();
        let table = lake.load(name).await.unwrap().unwrap();
        let stored = table.snapshot().unwrap().snapshot().arrow_schema();
        let schema = contracts::without_partition(&stored, layout.partition);
        let access = FileAccess {
            table: name.clone(),
            store: table.log_store().object_store(None),
            compression: Compression::Snappy,
            runtime: tokio::runtime::Handle::current(),
        };
        let mut change = Change::default();
        for (date, files) in by_date(name, &table, layout.partition).unwrap() {
            for file in files {
                let path = workspace.path("lake").join(name.to_string()).join(file.path.as_ref());
                let (access, schema) = (access.clone(), schema.clone());
                let slices = move || slices_of(&path, &access, layout, &schema, days(date));
                change.adds.extend(tokio::task::spawn_blocking(slices).await.unwrap());
                change.removes.push(file.remove);
            }
        }
        commits::commit(name, &table, change, &provenance()).await.unwrap();
    });
}

fn slices_of(
    path: &Path,
    access: &FileAccess,
    layout: &'static SortedFiles,
    schema: &arrow::datatypes::SchemaRef,
    date: i32,
) -> Vec<deltalake::kernel::Add> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let all = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let users = crate::support::workspace::texts(&all, "user_id");
    let mut adds = Vec::new();
    let mut first = 0;
    while first < users.len() {
        let slice = |row: usize| users[row].as_ref().unwrap()[1..].parse::<usize>().unwrap() / 2;
        let end = (first..users.len()).find(|row| slice(*row) != slice(first));
        let end = end.unwrap_or(users.len());
        let from = (first > 0).then(|| users[first].as_deref().unwrap());
        let mut writer = SortedWriter::new(access, layout, schema, date, from, 1024).unwrap();
        let columns = schema.fields().iter().map(|field| {
            let column = all.column_by_name(field.name()).unwrap().slice(first, end - first);
            arrow::compute::cast(&column, field.data_type()).unwrap()
        });
        let part = arrow::array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        writer.write(&part).unwrap();
        adds.extend(writer.close().unwrap());
        first = end;
    }
    adds
}

fn provenance() -> Provenance {
    Provenance {
        run_id: "test".to_owned(),
        config_hash: String::new(),
        stage: "test",
        input_versions: vec![],
    }
}

/// The newest commit of a table, parsed line by line.
fn newest_commit(workspace: &Workspace, table: &str) -> Vec<Value> {
    let log = workspace.path("lake").join(table).join("_delta_log");
    let commits = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let newest = commits.filter(|path| path.extension().is_some_and(|e| e == "json")).max();
    let text = fs::read_to_string(newest.unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A built lake with many small files in every table.
pub fn scattered() -> Workspace {
    static SCATTERED: OnceLock<Mutex<Workspace>> = OnceLock::new();
    SCATTERED.get_or_init(|| Mutex::new(make_scattered())).lock().unwrap().copy()
}

fn make_scattered() -> Workspace {
    let workspace = configured();
    many_deliveries(&workspace);
    workspace.exec("build").code(0);
    cut(&workspace, &ods(), &ODS_FILES);
    // The build has written quarantine anew.
    for file in 9..18 {
        workspace.write_batch(&format!("2026-01-05/{file:02}.csv"), &batch("2026-01-05", file));
        workspace.exec("ingest --arrival-date 2026-01-05").code(0);
    }
    for name in [raw(), quarantine(), ods()] {
        assert!(workspace.live_files(&name).len() > MOST_SMALL_FILES, "{name}");
    }
    workspace
}

#[test]
fn small_files_are_joined_and_no_row_changes() {
    let workspace = scattered();
    let before = rows(&workspace);
    let report = by_table(&workspace.json("maintain"));
    assert_eq!(rows(&workspace), before);
    workspace.assert_sorted();
    for (table, name) in
        [("raw/events", raw()), ("quarantine/events", quarantine()), ("ods/events", ods())]
    {
        assert!(report[table]["compacted"]["files"].as_u64().unwrap() > 8, "{table}");
        assert_eq!(report[table]["compacted"]["dates"], 1, "{table}");
        assert_eq!(workspace.live_files(&name).len(), 1, "{table}");
        let commit = newest_commit(&workspace, table);
        let operation = commit.iter().find_map(|action| action.get("commitInfo")).unwrap();
        assert_eq!(operation["operation"], "OPTIMIZE", "{table}");
        let of_files = ["add", "remove"].map(|kind| {
            let actions = commit.iter().filter_map(|action| action.get(kind));
            actions.inspect(|action| assert_eq!(action["dataChange"], false, "{table}")).count()
        });
        assert!(of_files[0] == 1 && of_files[1] > 8, "{table}: {of_files:?}");
    }
    let again = by_table(&workspace.json("maintain"));
    assert!(again.values().all(|report| report["compacted"]["files"] == 0), "{again:?}");
}

#[test]
fn sessions_still_show_what_ods_holds_when_its_files_were_joined() {
    let workspace = configured();
    many_deliveries(&workspace);
    workspace.exec("build").code(0);
    cut(&workspace, &ods(), &ODS_FILES);
    workspace.exec("run").code(0);
    let report = by_table(&workspace.json("maintain"));
    assert_eq!(report["ods/events"]["compacted"]["dates"], 1);
    let checks = workspace.json("verify")["feeds"][0]["checks"].take();
    let mut checks = checks.as_array().unwrap().iter();
    let sessions = checks.find(|check| check["check"] == "sessions").unwrap();
    assert_eq!(sessions["detail"], format!("{USERS} sessions are what ods makes of them"));
    workspace.exec("status").code(0);
}

#[test]
fn small_files_of_sessions_are_joined_in_key_order() {
    let name = TableName::Sessions("events".to_owned());
    let workspace = configured();
    many_deliveries(&workspace);
    workspace.exec("build").code(0);
    let before = workspace.sessions(None);
    assert_eq!(before.len(), USERS);
    cut(&workspace, &name, &SESSION_FILES);
    assert!(workspace.live_files(&name).len() > MOST_SMALL_FILES);
    let report = by_table(&workspace.json("maintain"));
    assert_eq!(report["sessions/events"]["compacted"]["dates"], 1);
    let files = workspace.live_files(&name);
    assert_eq!(files.len(), 1);
    let rows = workspace.rows(&name);
    let starts = rows.iter().flat_map(|batch| crate::support::sessions::session_rows(batch, None));
    assert!(starts.eq(before), "rows, or their order, changed");
}

#[test]
fn a_build_on_joined_files_is_that_of_a_lake_that_was_never_tidied() {
    let (tidied, left) = (scattered(), scattered());
    tidied.exec("maintain").code(0);
    for workspace in [&tidied, &left] {
        workspace.exec("build").code(0);
        workspace.assert_sorted();
        workspace.assert_sessions_follow();
    }
    let [_, quarantined, built] = rows(&tidied);
    let [_, expected_quarantine, expected] = rows(&left);
    assert_eq!(built, expected);
    assert_eq!(quarantined, expected_quarantine);
    assert_eq!(built.len(), 18 * USERS * 3);
}

#[test]
fn files_of_another_writer_are_sorted_when_they_are_joined() {
    let workspace = scattered();
    append_unsorted(&workspace);
    let before = rows(&workspace);
    workspace.exec("maintain").code(0);
    assert_eq!(rows(&workspace), before);
    assert_eq!(workspace.live_files(&ods()).len(), 1);
    workspace.assert_sorted();
    workspace.exec("run").code(0);
    workspace.assert_sessions_follow();
}

/// Gives the library's own writer the events of the first user, newest first, for another one.
fn append_unsorted(workspace: &Workspace) {
    workspace.block_on(async {
        let table = workspace.lake().load(&ods()).await.unwrap().unwrap();
        let context = datafusion::prelude::SessionContext::new();
        let state = std::sync::Arc::new(context.state());
        let provider = table.table_provider().with_session(state).await.unwrap();
        context.register_table("ods", provider).unwrap();
        let query = "select * replace ('another' as user_id, \
                     replace(session_id, 'u00', 'another') as session_id) \
                     from ods where user_id = 'u00' order by timestamp desc";
        let rows = context.sql(query).await.unwrap().collect().await.unwrap();
        assert!(rows.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>() > 10);
        table.write(rows).await.unwrap();
    });
}

/// A file that no commit names, last written `age` ago.
fn plant(workspace: &Workspace, path: &str, age: Duration) {
    let path = workspace.path("lake").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "12345").unwrap();
    #[expect(clippy::disallowed_methods, reason = "the age of a file is wall time")]
    let written = SystemTime::now() - age;
    File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
}

pub const ORPHANS: [(&str, &str); 5] = [
    ("raw/events", "_updated_at=2026-01-05/part-00000-1-c000.snappy.parquet"),
    ("quarantine/events", "_updated_at=2026-01-04/part-00000-1-c000.snappy.parquet"),
    ("ods/events", "pdate=2026-01-05/part-00000-1-c000.snappy.parquet"),
    ("ods/events", "_delta_log/00000000000000000099.json#1"),
    ("runs", "part-00000-1-c000.snappy.parquet#7"),
];

/// Plants [`ORPHANS`] in the tables that there are, a day older than files of a writer may be.
pub fn plant_orphans(workspace: &Workspace) {
    for (table, path) in ORPHANS {
        if workspace.path(&format!("lake/{table}")).exists() {
            plant(workspace, &format!("{table}/{path}"), DAY * 8);
        }
    }
}

/// None of [`ORPHANS`] is left by a command that removes them.
pub fn assert_no_orphan_is_left(workspace: &Workspace, command: &str) {
    for (table, path) in ORPHANS {
        let path = format!("lake/{table}/{path}");
        assert!(!workspace.path(&path).exists(), "{command} left {path}");
    }
}

#[test]
fn files_that_a_killed_writer_left_go_when_no_writer_can_be_at_work_on_them() {
    let workspace = configured();
    many_deliveries(&workspace);
    workspace.exec("run").code(0);
    let before = rows(&workspace);
    let live = workspace.bytes_below("lake");
    for (table, path) in ORPHANS {
        plant(&workspace, &format!("{table}/{path}"), DAY * 8);
        let young = path.replace("-1-", "-2-").replace("#1", "#2").replace("#7", "#8");
        plant(&workspace, &format!("{table}/{young}"), DAY * 6);
        plant(&workspace, &format!("{table}/_change_data/part-00000.parquet"), DAY * 800);
        plant(&workspace, &format!("{table}/deletion_vector_1.bin"), DAY * 800);
    }
    let report = by_table(&workspace.json("maintain --set retention.raw_days=100"));
    for (table, path) in ORPHANS {
        let path = format!("{table}/{path}");
        assert!(!workspace.path("lake").join(&path).exists(), "{path}");
        let there = workspace.path("lake").join(table);
        let young = path.replace("-1-", "-2-").replace("#1", "#2").replace("#7", "#8");
        assert!(workspace.path("lake").join(young).exists(), "{path}: a writer may be at work");
        assert!(there.join("_change_data/part-00000.parquet").exists());
        assert!(there.join("deletion_vector_1.bin").exists());
        let orphans = ORPHANS.iter().filter(|(of, _)| *of == table).count();
        assert_eq!(report[table]["orphans"]["files"], orphans, "{table}");
        assert_eq!(report[table]["orphans"]["bytes"], 5 * orphans, "{table}");
    }
    assert!(
        !workspace
            .path("lake/quarantine/events/_updated_at=2026-01-04/part-00000-1-c000.snappy.parquet")
            .exists()
    );
    // Every file that was there is there still, whatever its age.
    let after = workspace.bytes_below("lake");
    assert!(
        live.keys()
            .filter(|path| !path.contains("_last_checkpoint"))
            .all(|path| after.contains_key(path))
    );
    assert_eq!(rows(&workspace), before);
}

#[test]
fn a_file_of_a_writer_at_work_stays_even_where_nothing_is_kept() {
    let workspace = configured();
    many_deliveries(&workspace);
    workspace.exec("run").code(0);
    let path = "ods/events/pdate=2026-01-05/part-00000-1-c000.snappy.parquet";
    plant(&workspace, path, DAY / 2);
    workspace.exec("maintain --set retention.removed_files_days=0").code(0);
    assert!(workspace.path("lake").join(path).exists());
    workspace.exec("maintain --orphans-older-than 11h").code(0);
    assert!(!workspace.path("lake").join(path).exists());
    workspace.exec("maintain --orphans-older-than soon").code(2);
}

#[test]
fn a_dry_run_says_what_is_done_then_and_changes_nothing() {
    let workspace = scattered();
    plant_orphans(&workspace);
    let settings = "--set retention.removed_files_days=0 --set retention.log_days=0";
    // The properties of the tables come first.
    workspace.exec(&format!("retention {settings}")).code(0);
    for line in ["maintain", &format!("maintain {settings}"), &format!("maintain {settings}")] {
        let before = workspace.bytes_below("");
        let plan = workspace.json(&format!("{line} --dry-run"));
        let table = workspace.stdout(&format!("{line} --dry-run"));
        assert_eq!(workspace.bytes_below(""), before, "{line}");
        let done = workspace.json(line);
        assert_eq!(plan["dry_run"], true);
        assert_eq!(done["dry_run"], false);
        assert_eq!(by_table(&plan), by_table(&done), "{line}");
        let has_work = done["tables"].as_array().unwrap().iter().any(|of| {
            of["compacted"]["files"] != 0 || of["orphans"]["files"] != 0 || of["checkpoint"] == true
        });
        assert_eq!(
            table.contains("nothing to do"),
            !has_work && !table.contains("old log") && !table.contains("left the table"),
            "{table}"
        );
    }
}

#[test]
fn one_feed_is_maintained_without_the_others() {
    let workspace = configured();
    let two = CONFIGURATION.to_owned() + &CONFIGURATION.replace("\"events\"", "\"others\"");
    workspace.configure(&two);
    many_deliveries(&workspace);
    let report = by_table(&workspace.json("maintain --feed others"));
    let tables: Vec<&String> = report.keys().collect();
    assert_eq!(tables, ["ods/others", "quarantine/others", "raw/others", "sessions/others"]);
    assert!(workspace.live_files(&raw()).len() > MOST_SMALL_FILES);
    let all = by_table(&workspace.json("maintain"));
    assert_eq!(all.len(), 10);
    assert_eq!(workspace.live_files(&raw()).len(), 1);
    let stages = workspace.lines(&TableName::Runs, &["feed", "stage", "outcome"]);
    assert!(stages.contains(&"events,maintain,done".to_owned()), "{stages:?}");
    workspace.exec("maintain --feed nobody").code(2);
}

#[test]
fn a_lake_that_is_not_there_needs_no_maintenance() {
    let workspace = configured();
    assert_eq!(workspace.stdout("maintain").trim(), "nothing to do");
    assert!(!workspace.path("lake").exists());
}

/// The lake as it was loaded by a process that commits later.
fn loaded_before(workspace: &Workspace, name: &TableName) -> (Lake, deltalake::DeltaTable) {
    let lake = workspace.lake();
    let table = workspace.block_on(lake.load(name)).unwrap().unwrap();
    (lake, table)
}
