//! The same rows as CSV, JSON lines and Parquet give the same raw and the same ODS.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, SecondsFormat, TimeDelta};
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::file::properties::WriterProperties;
use predicates::str::contains;
use proptest::prelude::*;
use sessionlake::job::Dates;
use sessionlake::lake::TableName;
use sessionlake::stages::rules::RuleChange;

use crate::support::workspace::{Workspace, date};

const CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.ENDING"
[feed.event]
user_id = "user_id"
product_code = "'web'"
event_id = "event_id"
timestamp = "timestamp"
attributes = [
    "note", "cast(quantity as bigint) as quantity", "cast(price as double) as price",
    "cast(paid as boolean) as paid", "cast(amount as decimal(12, 2)) as amount",
    "cast(day as date) as day",
]
[feed.session]
user_action = "paid"
timeout = "5m"
"#;
const RAW: [&str; 10] = [
    "user_id",
    "event_id",
    "timestamp",
    "note",
    "quantity",
    "price",
    "paid",
    "amount",
    "day",
    "_extra",
];
const ODS: [&str; 12] = [
    "user_id",
    "event_id",
    "timestamp",
    "is_user_action",
    "session_id",
    "time_diff_ms",
    "note",
    "quantity",
    "price",
    "paid",
    "amount",
    "day",
];
/// 2026-01-05T00:00:00Z.
const MIDNIGHT_MICROS: i64 = 1_767_571_200_000_000;
const ARRIVAL_DAY: i32 = 20_458;

/// One row with a value of each kind that a CSV file can hold.
#[derive(Debug, Clone)]
struct Row {
    user: u8,
    event: String,
    timestamp_micros: i64,
    note: Option<String>,
    quantity: Option<i64>,
    price: Option<f64>,
    paid: Option<bool>,
    cents: Option<i32>,
    day: Option<i32>,
    extra: Option<String>,
}

fn row() -> impl Strategy<Value = Row> {
    let text = "[a-z0-9 ,;\"'\n\t\\\\éß→_%#-]{0,12}";
    let when = 0..86_400_000_000_i64;
    let optional = (
        prop::option::of(text),
        prop::option::of(any::<i64>()),
        prop::option::of(any::<f64>().prop_filter("finite", |price| price.is_finite())),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<i32>()),
        prop::option::of(-30_000..40_000_i32),
        prop::option::of("[a-z\"\\\\,\n]{1,8}"),
    );
    (0..4_u8, "[ab]", when, optional).prop_map(
        |(user, event, when, (note, quantity, price, paid, cents, day, extra))| Row {
            user,
            event,
            timestamp_micros: MIDNIGHT_MICROS + when,
            note,
            quantity,
            price,
            paid,
            cents,
            day,
            extra,
        },
    )
}

impl Row {
    /// Names, values as a CSV file holds them, and whether JSON has them in quotes.
    fn texts(&self) -> [(&'static str, Option<String>, bool); 10] {
        let time = DateTime::from_timestamp_micros(self.timestamp_micros).unwrap();
        let time = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let price = self.price.map(|price| serde_json::to_string(&price).unwrap());
        [
            ("user_id", Some(format!("u{}", self.user)), true),
            ("event_id", Some(self.event.clone()), true),
            ("timestamp", Some(time), true),
            ("note", self.note.clone(), true),
            ("quantity", self.quantity.map(|value| value.to_string()), false),
            ("price", price, false),
            ("paid", self.paid.map(|value| value.to_string()), false),
            ("amount", self.cents.map(amount), false),
            ("day", self.day.map(|day| (date(0) + TimeDelta::days(day.into())).to_string()), true),
            ("more", self.extra.clone(), true),
        ]
    }
}

fn amount(cents: i32) -> String {
    let (sign, cents) = (if cents < 0 { "-" } else { "" }, cents.unsigned_abs());
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

fn csv(rows: &[Row]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(rows[0].texts().map(|(name, ..)| name)).unwrap();
    for row in rows {
        writer.write_record(row.texts().map(|(_, text, _)| text.unwrap_or_default())).unwrap();
    }
    writer.into_inner().unwrap()
}

fn jsonl(rows: &[Row]) -> Vec<u8> {
    let line = |row: &Row| {
        let fields = row.texts().map(|(name, text, is_text)| {
            let value = match text {
                None => "null".to_owned(),
                Some(text) if is_text => serde_json::to_string(&text).unwrap(),
                Some(json) => json,
            };
            format!("\"{name}\":{value}")
        });
        format!("{{{}}}\n", fields.join(","))
    };
    rows.iter().map(line).collect::<String>().into_bytes()
}

/// A few rows to each row group.
fn write_parquet(path: &Path, rows: &[Row]) {
    let texts = |of: fn(&Row) -> Option<String>| rows.iter().map(of).collect::<StringArray>();
    let times: Vec<i64> = rows.iter().map(|row| row.timestamp_micros).collect();
    let cents = rows.iter().map(|row| row.cents.map(i128::from)).collect::<Decimal128Array>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("user_id", Arc::new(texts(|row| Some(format!("u{}", row.user))))),
        ("event_id", Arc::new(texts(|row| Some(row.event.clone())))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        ("note", Arc::new(texts(|row| row.note.clone()))),
        ("quantity", Arc::new(rows.iter().map(|row| row.quantity).collect::<Int64Array>())),
        ("price", Arc::new(rows.iter().map(|row| row.price).collect::<Float64Array>())),
        ("paid", Arc::new(rows.iter().map(|row| row.paid).collect::<BooleanArray>())),
        ("amount", Arc::new(cents.with_precision_and_scale(12, 2).unwrap())),
        ("day", Arc::new(rows.iter().map(|row| row.day).collect::<Date32Array>())),
        ("more", Arc::new(texts(|row| row.extra.clone()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Raw and ODS after one file of these rows.
fn lake_of(ending: &str, rows: &[Row]) -> (Vec<String>, Vec<String>) {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace("ENDING", ending));
    let path = workspace.path("batches").join(format!("{}.{ending}", date(ARRIVAL_DAY)));
    match ending {
        "csv" => fs::write(path, csv(rows)).unwrap(),
        "jsonl" => fs::write(path, jsonl(rows)).unwrap(),
        _ => write_parquet(&path, rows),
    }
    workspace.run(Dates::CatchUp, RuleChange::Refuse).unwrap();
    assert!(workspace.quarantine().is_empty());
    (workspace.raw_lines(&RAW), workspace.ods_lines(&ODS))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_same_rows_in_any_format_are_the_same_lake(rows in prop::collection::vec(row(), 1..30)) {
        let csv = lake_of("csv", &rows);
        prop_assert_eq!(csv.0.len(), rows.len());
        prop_assert_eq!(&lake_of("jsonl", &rows), &csv);
        prop_assert_eq!(&lake_of("parquet", &rows), &csv);
    }
}

fn one_row() -> Vec<Row> {
    vec![Row {
        user: 1,
        event: "a".to_owned(),
        timestamp_micros: MIDNIGHT_MICROS,
        note: Some("a".to_owned()),
        quantity: None,
        price: Some(1.0),
        paid: Some(true),
        cents: None,
        day: None,
        extra: None,
    }]
}

#[test]
fn a_cut_off_parquet_file_is_rejected_and_leaves_nothing() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace("ENDING", "parquet"));
    let path = workspace.path("batches/2026-01-05.parquet");
    write_parquet(&path, &one_row());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 6]).unwrap();
    let rejected = workspace.exec("run").code(3);
    rejected.stderr(contains("truncated: the Parquet file")).stderr(contains("is cut off"));
    assert!(workspace.raw_lines(&["note"]).is_empty());
    fs::write(&path, &whole).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(workspace.raw_lines(&["_line", "note", "price"]), ["1,a,1.0"]);
    let outcomes = workspace.lines(&TableName::Runs, &["outcome"]);
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "rejected").count(), 1);
}

#[test]
fn a_column_that_a_parquet_file_lacks_is_named() {
    let workspace = Workspace::new();
    let configuration =
        CONFIGURATION.replace("ENDING", "parquet").replace("\"event_id\"\n", "\"Event\"\n");
    workspace.configure(&configuration);
    write_parquet(&workspace.path("batches/2026-01-05.parquet"), &one_row());
    let rejected = workspace.exec("run").code(3);
    rejected.stderr(contains("2026-01-05.parquet lacks `Event`"));
}
