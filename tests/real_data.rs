//! Real data through the real job, compared with the reference over an independent reading.
//!
//! The files lie in `../shared/data` beside the checkout, or where `SESSIONLAKE_SHARED_DATA`
//! says; where they are absent, the tests say so and pass. `SESSIONLAKE_REAL_DATA=all` takes all
//! arrival dates where the first ones are enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use flate2::read::MultiGzDecoder;
use sessionlake::job::Dates;
use sessionlake::record::StageRecord;
use sessionlake::reference::{Delivered, Expected, Limits, expected_ods};
use sessionlake::stages::rules::RuleChange;

use crate::support::workspace::{Workspace, date};
use crate::support::{DAY, MINUTE, SECOND};

const DATA_VARIABLE: &str = "SESSIONLAKE_SHARED_DATA";
const EXTENT_VARIABLE: &str = "SESSIONLAKE_REAL_DATA";
/// Arrival dates of the git history that are tried unless all are asked for.
const GIT_DATES: usize = 300;
/// Arrival dates of online_retail whose refused rows are replayed unless all are asked for.
const RETAIL_DATES: usize = 25;
const UPDATE_DEPTH_DAYS: i32 = 5;
const LIMITS: Limits = Limits { timeout_micros: 30 * MINUTE, max_duration_micros: None };

/// Where each row of all builds went.
#[derive(Debug, Default, PartialEq, Eq)]
struct Balance {
    read: i64,
    quarantined: BTreeMap<String, i64>,
    new: i64,
    identical: i64,
    conflicting: i64,
}

impl Balance {
    /// As the job recorded it.
    fn recorded(records: &[StageRecord]) -> Self {
        let mut balance = Self::default();
        for build in records.iter().filter(|record| record.stage == "build") {
            balance.read += build.did.rows_read.unwrap();
            balance.new += build.did.rows_new.unwrap();
            balance.identical += build.did.rows_identical_duplicates.unwrap();
            balance.conflicting += build.did.rows_conflicting_duplicates.unwrap();
            for (reason, rows) in &build.did.quarantined {
                *balance.quarantined.entry(reason.clone()).or_default() += rows;
            }
        }
        balance
    }

    /// As it must be when every repetition of an event arrives on the event's own first arrival
    /// date, or differs from all the others.
    fn expected(delivered: &[Delivered], rejected: BTreeMap<String, i64>) -> Self {
        let identity = |row: &Delivered| {
            let Delivered { user_id, product_code, event_id, timestamp_micros, .. } = row.clone();
            (user_id, product_code, event_id, timestamp_micros)
        };
        let events: BTreeSet<_> = delivered.iter().map(identity).collect();
        let versions: BTreeSet<_> =
            delivered.iter().map(|row| (identity(row), row.attributes.clone())).collect();
        Self {
            read: count(delivered.len()) + rejected.values().sum::<i64>(),
            quarantined: rejected,
            new: count(events.len()),
            identical: count(delivered.len() - versions.len()),
            conflicting: count(versions.len() - events.len()),
        }
    }
}

/// What a data set is, read without any help of the product.
struct Reading {
    delivered: Vec<Delivered>,
    rejected: BTreeMap<String, i64>,
}

#[test]
fn a_year_of_online_retail_is_sessionized_as_the_reference_does() {
    let Some(folder) = data_folder("online_retail") else { return };
    let files = retail_files(&folder);
    assert_eq!(files.len(), 305, "arrival dates in {}", folder.display());
    let workspace = Workspace::new();
    workspace.configure(&retail_configuration(&folder));
    let began = Instant::now();
    let records = workspace.run(Dates::CatchUp, RuleChange::Refuse).unwrap();
    let balance = Balance::recorded(&records);
    report("online_retail", files.len(), &balance, began.elapsed());

    let reading = read_retail(&files);
    assert_examples(&records, &reading.delivered);
    assert_eq!(balance, Balance::expected(&reading.delivered, reading.rejected));
    let known = Balance {
        read: 541_909,
        quarantined: BTreeMap::from([("missing_key".to_owned(), 135_080)]),
        new: 396_603,
        identical: 10_226 - 5_001,
        conflicting: 5_001,
    };
    assert_eq!(balance, known);
    let attributes = ["InvoiceNo", "Description", "Quantity", "UnitPrice"];
    assert_same(&workspace.ods(&attributes), &expected_ods(&reading.delivered, &[LIMITS]));
}

#[test]
fn rows_of_online_retail_without_a_customer_come_back_under_a_guest_id() {
    let Some(folder) = data_folder("online_retail") else { return };
    let files = retail_files(&folder);
    let dates = extent(RETAIL_DATES).unwrap_or(files.len());
    let files: BTreeMap<i32, PathBuf> = files.into_iter().take(dates).collect();
    let (first, last) = (files.keys().next().unwrap(), files.keys().next_back().unwrap());
    let workspace = Workspace::new();
    let configuration = format!("[retention]\nraw_days = 1000\n{}", retail_configuration(&folder));
    workspace.configure(&configuration);
    workspace.run(Dates::Range(date(*first), date(*last)), RuleChange::Refuse).unwrap();
    let reading = read_retail(&files);
    let without_customer = reading.rejected["missing_key"];
    if files.len() == 305 {
        assert_eq!(without_customer, 135_080);
    }
    let rows = workspace.quarantine();
    assert_eq!(count(rows.len()), without_customer);
    assert!(rows.iter().all(|(_, reason)| reason == "missing_key"));

    workspace.configure(&configuration.replace(
        "user_id = \"CustomerID\"",
        "user_id = \"case when CustomerID is null then 'guest' else CustomerID end\"",
    ));
    let began = Instant::now();
    workspace.exec("quarantine replay --reason missing_key").code(0);
    let delivered = read_retail_with(&files, Some("guest")).delivered;
    say(&format!(
        "online_retail, {} dates: {without_customer} rows without a customer came back in {:.1} s",
        files.len(),
        began.elapsed().as_secs_f64(),
    ));
    assert_eq!(workspace.quarantine(), []);
    let attributes = ["InvoiceNo", "Description", "Quantity", "UnitPrice"];
    assert_same(&workspace.ods(&attributes), &expected_ods(&delivered, &[LIMITS]));
}

#[test]
fn git_history_with_its_real_lateness_is_sessionized_as_the_reference_does() {
    let Some(folder) = data_folder("git_history") else { return };
    let batches = git_batches(&folder.join("rust-analyzer.csv.gz"));
    assert_eq!(batches.len(), 2_799, "arrival dates in {}", folder.display());
    let dates = extent(GIT_DATES).unwrap_or(batches.len());
    let batches: BTreeMap<i32, Vec<Change>> = batches.into_iter().take(dates).collect();
    let workspace = Workspace::new();
    workspace.configure(GIT_CONFIGURATION);
    for (arrival, changes) in &batches {
        workspace.write_batch(&format!("{}.csv", date(*arrival)), &git_csv(changes));
    }
    let began = Instant::now();
    let records = workspace.run(Dates::CatchUp, RuleChange::Refuse).unwrap();
    let balance = Balance::recorded(&records);
    report("git_history", batches.len(), &balance, began.elapsed());

    let reading = read_git(&batches);
    assert!(reading.rejected["beyond_update_depth"] > 0, "the history is not late");
    assert_eq!(balance, Balance::expected(&reading.delivered, reading.rejected));
    assert_same(&workspace.ods(&["change"]), &expected_ods(&reading.delivered, &[LIMITS]));
}

/// Every build with conflicting duplicates shows some, as they were delivered.
fn assert_examples(records: &[StageRecord], delivered: &[Delivered]) {
    let mut versions: BTreeMap<_, BTreeSet<&[Option<String>]>> = BTreeMap::new();
    for row in delivered {
        let event = (&*row.user_id, &*row.product_code, &*row.event_id, row.timestamp_micros);
        versions.entry(event).or_default().insert(&row.attributes);
    }
    let names = ["InvoiceNo", "Description", "Quantity", "UnitPrice"];
    for build in records.iter().filter(|record| record.stage == "build") {
        let conflicting = build.did.rows_conflicting_duplicates.unwrap();
        let examples = &build.did.conflicting_examples;
        assert_eq!(count(examples.len()), conflicting.min(5), "{:?}", build.arrival_date);
        for example in examples {
            let timestamp = example.timestamp.replace('T', " ").replace('Z', "");
            let event = (&*example.user_id, &*example.product_code, &*example.event_id);
            let versions = &versions[&(event.0, event.1, event.2, micros(&timestamp))];
            let nulls_last = |values: &&&[Option<String>]| {
                values.iter().map(|value| (value.is_none(), value.clone())).collect::<Vec<_>>()
            };
            let kept = versions.iter().min_by_key(nulls_last).unwrap();
            let is_other = |other: &&[Option<String>]| {
                names.iter().enumerate().all(|(at, name)| match example.attributes.get(*name) {
                    Some(values) => *values == (kept[at].clone(), other[at].clone()),
                    None => kept[at] == other[at],
                })
            };
            assert!(versions.iter().any(is_other), "{example:?} of {versions:?}");
        }
    }
}

fn retail_configuration(folder: &Path) -> String {
    format!(
        r#"
[[feed]]
name = "events"
path = '{folder}/{{arrival_date}}.csv.gz'
[feed.event]
user_id = "CustomerID"
product_code = "Country"
event_id = "case when starts_with(InvoiceNo, 'C') then 'cancel' else 'sale' end || ':' || StockCode"
timestamp = "InvoiceDate"
attributes = ["InvoiceNo", "Description", "Quantity", "UnitPrice"]
[feed.session]
user_action = "not starts_with(event_id, 'cancel:')"
timeout = "30m"
[feed.window]
update_depth_days = {UPDATE_DEPTH_DAYS}
"#,
        folder = folder.display()
    )
}

/// The daily files with their arrival days.
fn retail_files(folder: &Path) -> BTreeMap<i32, PathBuf> {
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    files.filter_map(|path| Some((arrival_of(&path)?, path))).collect()
}

fn arrival_of(path: &Path) -> Option<i32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".csv.gz")?;
    Some(day_of(micros(&format!("{name} 00:00:00"))))
}

fn read_retail(files: &BTreeMap<i32, PathBuf>) -> Reading {
    read_retail_with(files, None)
}

/// With an id for rows without a customer, or without those.
fn read_retail_with(files: &BTreeMap<i32, PathBuf>, guest: Option<&str>) -> Reading {
    let mut reading = Reading { delivered: vec![], rejected: BTreeMap::new() };
    for (arrival, path) in files {
        let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(File::open(path).unwrap()));
        for record in reader.deserialize() {
            let line: RetailLine = record.unwrap();
            match line.delivered(*arrival, guest) {
                Some(row) => reading.delivered.push(row),
                None => *reading.rejected.entry("missing_key".to_owned()).or_default() += 1,
            }
        }
    }
    reading
}

/// `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country`
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetailLine {
    invoice_no: String,
    stock_code: String,
    description: Option<String>,
    quantity: Option<String>,
    invoice_date: String,
    unit_price: Option<String>,
    #[serde(rename = "CustomerID")]
    customer_id: Option<String>,
    country: String,
}

impl RetailLine {
    /// `None` without a customer or an id for guests. All lines of this data set arrive on the date they happened.
    fn delivered(self, arrival: i32, guest: Option<&str>) -> Option<Delivered> {
        let user_id = self.customer_id.or(guest.map(str::to_owned))?;
        let is_cancellation = self.invoice_no.starts_with('C');
        let kind = if is_cancellation { "cancel" } else { "sale" };
        let timestamp_micros = micros(&self.invoice_date);
        assert_eq!(day_of(timestamp_micros), arrival, "invoice {}", self.invoice_no);
        Some(Delivered {
            user_id,
            product_code: self.country,
            event_id: format!("{kind}:{}", self.stock_code),
            timestamp_micros,
            pdate: arrival,
            arrival,
            attributes: vec![
                Some(self.invoice_no),
                self.description,
                self.quantity,
                self.unit_price,
            ],
            is_user_action: !is_cancellation,
            opens: !is_cancellation,
            closes: false,
            rules_entry: 0,
            lookback_micros: DAY,
        })
    }
}

/// The same change by the same author at the same second under several ids is one event.
const GIT_CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_id"
event_id = "event_type"
timestamp = "to_timestamp_seconds(cast(event_ts as bigint))"
attributes = ["event_id as change"]
[feed.session]
user_action = "event_id <> 'delete'"
timeout = "30m"
[feed.window]
update_depth_days = 5
"#;

/// `event_id,user_id,event_type,product_id,event_ts,arrival_ts`, times in seconds since 1970.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
struct Change {
    event_id: String,
    user_id: String,
    event_type: String,
    product_id: String,
    event_ts: i64,
    arrival_ts: i64,
}

/// How many arrival dates to try, `None` for all.
fn extent(unless_all: usize) -> Option<usize> {
    match std::env::var(EXTENT_VARIABLE).as_deref() {
        Ok("all") => None,
        Ok(other) => panic!("{EXTENT_VARIABLE}={other}: the one value it takes is `all`"),
        Err(_) => Some(unless_all),
    }
}

/// The history cut into arrival days.
fn git_batches(path: &Path) -> BTreeMap<i32, Vec<Change>> {
    let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(File::open(path).unwrap()));
    let mut batches: BTreeMap<i32, Vec<Change>> = BTreeMap::new();
    for record in reader.deserialize() {
        let change: Change = record.unwrap();
        batches.entry(day_of(change.arrival_ts * SECOND)).or_default().push(change);
    }
    batches
}

fn git_csv(changes: &[Change]) -> String {
    let mut writer = csv::Writer::from_writer(vec![]);
    for change in changes {
        writer.serialize(change).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn read_git(batches: &BTreeMap<i32, Vec<Change>>) -> Reading {
    let mut reading = Reading { delivered: vec![], rejected: BTreeMap::new() };
    for (arrival, changes) in batches {
        for change in changes {
            let pdate = day_of(change.event_ts * SECOND);
            if pdate < arrival - UPDATE_DEPTH_DAYS {
                *reading.rejected.entry("beyond_update_depth".to_owned()).or_default() += 1;
            } else if pdate > arrival + 1 {
                *reading.rejected.entry("in_the_future".to_owned()).or_default() += 1;
            } else {
                reading.delivered.push(change.delivered(pdate, *arrival));
            }
        }
    }
    reading
}

impl Change {
    fn delivered(&self, pdate: i32, arrival: i32) -> Delivered {
        let is_user_action = self.event_type != "delete";
        Delivered {
            user_id: self.user_id.clone(),
            product_code: self.product_id.clone(),
            event_id: self.event_type.clone(),
            timestamp_micros: self.event_ts * SECOND,
            pdate,
            arrival,
            attributes: vec![Some(self.event_id.clone())],
            is_user_action,
            opens: is_user_action,
            closes: false,
            rules_entry: 0,
            lookback_micros: DAY,
        }
    }
}

/// The folder of a data set; without it, why the test is skipped.
fn data_folder(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let root = std::env::var_os(DATA_VARIABLE).map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if !folder.is_dir() {
        say(&format!(
            "SKIPPED {name}: there is no folder {}; {DATA_VARIABLE} can name another one",
            folder.display()
        ));
        return None;
    }
    Some(folder.canonicalize().unwrap())
}

fn report(name: &str, dates: usize, balance: &Balance, took: Duration) {
    let Balance { read, quarantined, new, identical, conflicting } = balance;
    say(&format!(
        "{name}, {dates} dates in {:.1} s: {read} rows read = {new} events + {} duplicates \
         ({identical} identical, {conflicting} conflicting) + quarantined {quarantined:?}",
        took.as_secs_f64(),
        identical + conflicting,
    ));
}

/// Prints although the test passes: the harness captures `eprintln!`, but not this.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap();
}

fn assert_same(found: &[Expected], expected: &[Expected]) {
    let first = found.iter().zip(expected).find(|(found, expected)| found != expected);
    if let Some((found, expected)) = first {
        panic!("the first row that differs: found {found:#?}\nexpected {expected:#?}");
    }
    assert_eq!(found.len(), expected.len(), "all rows of the shorter table are equal");
}

/// A time such as `2010-12-01 08:26:00`, in UTC.
fn micros(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    time.and_utc().timestamp_micros()
}

/// Days since 1970.
fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(DAY)).unwrap()
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap()
}
