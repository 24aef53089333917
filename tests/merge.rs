//! Our own merge beside the library's: random deliveries, merged by the job, and the rows that the
//! reference says have changed, merged by deltalake's `merge` into a copy of the table. And what
//! holds of every data file: it is sorted and says so, and one without a change is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::job::Dates;
use sessionlake::lake::{TableName, contracts};
use sessionlake::reference::Expected;
use sessionlake::stages::reprocess::Source;
use sessionlake::stages::rules::RuleChange;

use crate::support::changes::changes;
use crate::support::model::{Action, Closes, Configuration, Mapping, Recorded, Row, Rules, batch};
use crate::support::workspace::{Workspace, date, ods_rows};
use crate::support::{DAY, HOUR, MINUTE};

const FIRST_DAY: i32 = 20_463;
const ATTRIBUTES: [&str; 2] = ["kind", "note"];

const CONFIGURATION: Configuration = Configuration {
    rules: Rules {
        action: Action::ByEvent,
        any_event_opens: false,
        closes: Closes::ByEvent,
        timeout_minutes: 5,
        max_duration_minutes: None,
    },
    mapping: Mapping { z_becomes_c: false, update_depth_days: 5, lookback_days: 1 },
    raw_days: 14,
    kolkata: false,
    jsonl: false,
};

fn random_rows(arrival: i32, rng: &mut ChaCha8Rng) -> Vec<Row> {
    (0..rng.random_range(1..120))
        .map(|_| {
            let delay = *[0, 0, 0, 1, 2, 5].choose(rng).unwrap();
            let step = *[1, MINUTE, 5 * MINUTE, HOUR].choose(rng).unwrap();
            Row {
                user: format!("u{}", rng.random_range(0..12)),
                product: format!("p{}", rng.random_range(0..2)),
                event: ["a", "b", "c", "x"].choose(rng).unwrap(),
                timestamp_micros: i64::from(arrival - delay) * DAY + step * rng.random_range(0..20),
                kind: *[None, Some("bg"), Some("end")].choose(rng).unwrap(),
                note: *[None, Some("n1"), Some("n2")].choose(rng).unwrap(),
                arrival,
            }
        })
        .collect()
}

/// Rows of the table `ods/events`.
fn ods_batch(rows: &[Expected]) -> RecordBatch {
    let text = |value: &dyn Fn(&Expected) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    let times = |value: &dyn Fn(&Expected) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(value).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let dates = |value: &dyn Fn(&Expected) -> i32| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Date32Array>())
    };
    let mut columns = vec![
        text(&|row| Some(row.user_id.clone())),
        text(&|row| Some(row.product_code.clone())),
        text(&|row| Some(row.event_id.clone())),
        times(&|row| Some(row.timestamp_micros)),
        Arc::new(rows.iter().map(|row| Some(row.is_user_action)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.time_diff_ms).collect::<Int64Array>()),
        times(&|row| row.session_start_micros),
        text(&|row| row.session_id.clone()),
        dates(&|row| row.pdate),
        dates(&|row| row.updated_at),
    ];
    columns.extend((0..ATTRIBUTES.len()).map(|at| text(&|row| row.attributes[at].clone())));
    let attributes = ATTRIBUTES.map(|name| Field::new(name, DataType::Utf8, true));
    RecordBatch::try_new(contracts::ods(&attributes), columns).unwrap()
}

/// `rows` merged into the table at `folder` as the library does it, and what the table then holds.
async fn merged_by_the_library(folder: &Path, rows: &[Expected]) -> Vec<Expected> {
    let url = url::Url::from_directory_path(folder).unwrap();
    let mut table = deltalake::open_table(url).await.unwrap();
    let context = SessionContext::new();
    if !rows.is_empty() {
        let source = ods_batch(rows);
        let names: Vec<String> =
            source.schema().fields().iter().map(|field| field.name().clone()).collect();
        let source = MemTable::try_new(source.schema(), vec![vec![source]]).unwrap();
        let source = context.read_table(Arc::new(source)).unwrap();
        let dates: BTreeSet<i32> = rows.iter().map(|row| row.pdate).collect();
        let dates =
            dates.into_iter().map(|day| lit(datafusion::common::ScalarValue::Date32(Some(day))));
        let on = contracts::SORT_KEY
            .iter()
            .fold(col("target.pdate").in_list(dates.collect(), false), |on, name| {
                on.and(col(format!("target.{name}")).eq(col(format!("source.{name}"))))
            });
        let from_source = |name: &str| col(format!("source.{name}"));
        let (merged, _) = table
            .merge(source, on)
            .with_source_alias("source")
            .with_target_alias("target")
            .when_matched_update(|update| {
                names
                    .iter()
                    .fold(update, |update, name| update.update(name.as_str(), from_source(name)))
            })
            .unwrap()
            .when_not_matched_insert(|insert| {
                names
                    .iter()
                    .fold(insert, |insert, name| insert.set(name.as_str(), from_source(name)))
            })
            .unwrap()
            .await
            .unwrap();
        table = merged;
    }
    let provider = table.table_provider().with_session(Arc::new(context.state())).await.unwrap();
    let batches = context.read_table(provider).unwrap().collect().await.unwrap();
    let mut rows: Vec<Expected> =
        batches.iter().flat_map(|batch| ods_rows(batch, &ATTRIBUTES)).collect();
    rows.sort();
    rows
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn run(workspace: &Workspace, arrival: i32, rows: &[Row]) {
    let name = format!("{}/part.csv", date(arrival));
    workspace.write_batch(&name, &batch(&rows.iter().collect::<Vec<_>>(), false));
    workspace.run(Dates::One(date(arrival)), RuleChange::Refuse).unwrap();
}

#[test]
fn ods_is_what_the_library_would_have_merged() {
    let seed: u64 = rand::random();
    eprintln!("our merge beside the library's: seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..6 {
        let workspace = Workspace::new();
        workspace.configure(&CONFIGURATION.toml());
        let recorded = Recorded::first(&CONFIGURATION);
        let mut delivered: Vec<Row> = Vec::new();
        for arrival in [FIRST_DAY + 1, FIRST_DAY, FIRST_DAY + 2, FIRST_DAY + 4, FIRST_DAY + 3] {
            let before = recorded.ods(&delivered, 0);
            let rows = random_rows(arrival, &mut rng);
            delivered.extend(rows.iter().cloned());
            let after = recorded.ods(&delivered, 0);
            let copy = tempfile::tempdir().unwrap();
            let ods = workspace.path("lake/ods/events");
            let is_first = !ods.exists();
            if !is_first {
                copy_folder(&ods, copy.path());
            }
            run(&workspace, arrival, &rows);
            workspace.assert_sorted();
            let ours = workspace.ods(&ATTRIBUTES);
            assert_eq!(ours, after, "seed {seed}");
            if !is_first {
                let changed: Vec<Expected> =
                    after.iter().filter(|row| !before.contains(row)).cloned().collect();
                let theirs = runtime.block_on(merged_by_the_library(copy.path(), &changed));
                assert_eq!(ours, theirs, "seed {seed}");
            }
        }
    }
}

/// Paths of the live files of `ods/events` by event date.
fn files(workspace: &Workspace) -> BTreeMap<String, BTreeSet<String>> {
    let mut dates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in workspace.live_files(&TableName::Ods("events".to_owned())) {
        let (folder, _) = path.split_once('/').unwrap();
        dates.entry(folder.to_owned()).or_default().insert(path.clone());
    }
    dates
}

fn row(user: &str, day: i32, minute: i64, arrival: i32) -> Row {
    Row {
        user: user.to_owned(),
        product: "p".to_owned(),
        event: "a",
        timestamp_micros: i64::from(day) * DAY + minute * MINUTE,
        kind: None,
        note: None,
        arrival,
    }
}

#[test]
fn a_date_without_a_change_keeps_its_files() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.toml());
    // Two days apart, so that no event is within the lookback of another.
    for day in [FIRST_DAY, FIRST_DAY + 2, FIRST_DAY + 4] {
        run(&workspace, day, &[row("u", day, 60, day), row("v", day, 90, day)]);
    }
    let before = files(&workspace);
    // A late event of one date, and a duplicate of another.
    let arrival = FIRST_DAY + 5;
    let late = row("u", FIRST_DAY + 2, 62, arrival);
    run(&workspace, arrival, &[late, row("v", FIRST_DAY + 4, 90, arrival)]);
    let after = files(&workspace);
    let changed: Vec<&String> =
        before.keys().filter(|date| before[*date] != after[*date]).collect();
    assert_eq!(changed, [&format!("pdate={}", date(FIRST_DAY + 2))]);
}

#[test]
fn a_change_that_goes_on_through_later_dates_reaches_all_of_them() {
    // Every event 4 minutes after the one before, for four days: one session.
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.toml());
    let recorded = Recorded::first(&CONFIGURATION);
    let mut delivered = Vec::new();
    for day in FIRST_DAY..FIRST_DAY + 4 {
        let rows: Vec<Row> = (0..360).map(|event| row("u", day, 4 * event, day)).collect();
        run(&workspace, day, &rows);
        delivered.extend(rows);
    }
    // One more event before all of them moves the start of the session everywhere.
    let late = row("u", FIRST_DAY - 1, 24 * 60 - 3, FIRST_DAY - 1);
    run(&workspace, FIRST_DAY - 1, std::slice::from_ref(&late));
    delivered.push(late);
    assert_eq!(workspace.ods(&ATTRIBUTES), recorded.ods(&delivered, 0));
    workspace.assert_sorted();
}

/// The same rows again, by an update that changes nothing: the library writes them in its own order
/// and without our marks.
fn rewrite_by_the_library(workspace: &Workspace) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = url::Url::from_directory_path(workspace.path("lake/ods/events")).unwrap();
        let table = deltalake::open_table(url).await.unwrap();
        table.update().with_update("event_id", "event_id").await.unwrap();
    });
}

#[test]
fn files_that_another_writer_left_unsorted_are_read_all_the_same() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.toml());
    let recorded = Recorded::first(&CONFIGURATION);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut delivered = Vec::new();
    for arrival in FIRST_DAY..FIRST_DAY + 3 {
        let rows = random_rows(arrival, &mut rng);
        run(&workspace, arrival, &rows);
        delivered.extend(rows);
    }
    rewrite_by_the_library(&workspace);
    let rows = random_rows(FIRST_DAY + 3, &mut rng);
    run(&workspace, FIRST_DAY + 3, &rows);
    delivered.extend(rows);
    assert_eq!(workspace.ods(&ATTRIBUTES), recorded.ods(&delivered, 0));
}

#[test]
fn a_tiny_memory_limit_spills_and_gives_the_same_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // Together larger than the limit of a megabyte.
    let many = |day: i32, rng: &mut ChaCha8Rng| -> Vec<Row> {
        (0..400).flat_map(|_| random_rows(day, rng)).collect()
    };
    let days: Vec<(i32, Vec<Row>)> =
        (FIRST_DAY..FIRST_DAY + 2).map(|day| (day, many(day, &mut rng))).collect();
    let ods = |memory_limit: &str| {
        let workspace = Workspace::new();
        let engine = format!("[engine]\nmemory_limit = \"{memory_limit}\"\n");
        workspace.configure(&format!("{engine}{}", CONFIGURATION.toml()));
        for (day, rows) in &days {
            run(&workspace, *day, rows);
        }
        workspace.ods(&ATTRIBUTES)
    };
    assert_eq!(ods("1MiB"), ods("1GiB"));
}

#[test]
fn a_dry_run_spills_and_reads_unsorted_files_and_still_tells_the_truth() {
    for source in [Source::Raw, Source::Ods] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let workspace = Workspace::new();
        let engine = "[engine]\nmemory_limit = \"1MiB\"\n";
        workspace.configure(&format!("{engine}{}", CONFIGURATION.toml()));
        for arrival in FIRST_DAY..FIRST_DAY + 3 {
            let rows: Vec<Row> = (0..200).flat_map(|_| random_rows(arrival, &mut rng)).collect();
            run(&workspace, arrival, &rows);
        }
        rewrite_by_the_library(&workspace);
        let rules = Rules { any_event_opens: true, timeout_minutes: 7, ..CONFIGURATION.rules };
        let other = Configuration { rules, ..CONFIGURATION };
        workspace.configure(&format!("{engine}{}", other.toml()));
        let before = workspace.ods(&ATTRIBUTES);
        let from = date(FIRST_DAY + 1);
        let forecast = workspace.forecast(from, source).unwrap();
        workspace.reprocess(from, source).unwrap();
        let found = changes(&before, &workspace.ods(&ATTRIBUTES), 0);
        assert!(found.values().any(|change| change.events_changed > 100), "{found:?}");
        assert_eq!(forecast.dates, found, "{source:?}");
    }
}
