//! A folder with a configuration, batches and a lake, worked on by the real job.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use chrono::{Days, NaiveDate};
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::ObjectStoreExt as _;
use sessionlake::config::{self, Config, LoadOptions};
use sessionlake::error::JobError;
use sessionlake::inspect::plan::{Plan, plan};
use sessionlake::inspect::verify::{Extent, Facts, Verification, verify};
use sessionlake::job::{Dates, Job, Progress};
use sessionlake::lake::ids::LatePolicy;
use sessionlake::lake::{Lake, Requests, TableName, contracts};
use sessionlake::record::{RunLog, StageRecord};
use sessionlake::reference::Expected;
use sessionlake::stages::build::Rebuild;
use sessionlake::stages::deliveries::DeliveredFile;
use sessionlake::stages::reprocess::{Forecast, Source};
use sessionlake::stages::rules::RuleChange;
use std::sync::Arc;

/// The date that is `day` days after 1970-01-01.
pub fn date(day: i32) -> NaiveDate {
    NaiveDate::default() + Days::new(u64::try_from(day).unwrap())
}

/// Progress that nobody watches.
pub struct Quiet;

impl Progress for Quiet {
    fn feed(&self, _: &str, _: u64) {}
    fn stage(&self, _: &str, _: &str, _: NaiveDate) {}
    fn date_done(&self, _: &str) {}
}

/// A temporary folder holding `sessionlake.toml`, `batches/` and `lake/`.
pub struct Workspace {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Workspace {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// A workspace in memory where the system offers that, for one small lake of very many.
    pub fn in_memory() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::within(folder.unwrap())
    }

    /// A workspace in an empty folder.
    pub fn within(folder: tempfile::TempDir) -> Self {
        fs::create_dir(folder.path().join("batches")).unwrap();
        // Of several threads, as in the program: on a runtime of one, the library starts another
        // one for every look at a log.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self { folder, runtime }
    }

    /// A folder with the same content and the same times of files.
    pub fn copy(&self) -> Self {
        self.copy_to(tempfile::tempdir().unwrap())
    }

    /// As [`Workspace::copy`], in an empty folder.
    pub fn copy_to(&self, folder: tempfile::TempDir) -> Self {
        let copy = Self::within(folder);
        let content = self.path("").join(".");
        let copied = Command::new("cp").arg("-a").arg(content).arg(copy.path("")).status().unwrap();
        assert!(copied.success());
        copy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self, toml: &str) {
        fs::write(self.path("sessionlake.toml"), toml).unwrap();
    }

    pub fn write_batch(&self, name: &str, content: &str) {
        let path = self.path("batches").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn config(&self) -> Config {
        config::load(&LoadOptions {
            file: Some(self.path("sessionlake.toml")),
            ..LoadOptions::default()
        })
        .unwrap()
    }

    pub fn run(&self, dates: Dates, change: RuleChange) -> Result<Vec<StageRecord>, JobError> {
        self.job(async |job, feed| job.run(feed, dates, change).await)
    }

    pub fn ingest(&self, dates: Dates, late: LatePolicy) -> Result<Vec<StageRecord>, JobError> {
        self.job(async |job, feed| job.ingest(feed, dates, late).await)
    }

    pub fn build(&self, dates: Dates, rebuild: Rebuild) -> Result<Vec<StageRecord>, JobError> {
        self.job(async |job, feed| job.build(feed, dates, rebuild, RuleChange::Refuse).await)
    }

    pub fn reprocess(&self, from: NaiveDate, source: Source) -> Result<Vec<StageRecord>, JobError> {
        self.job(async |job, feed| job.reprocess(feed, from, source).await.map(|_| ()))
    }

    pub fn withdraw(&self, file: &DeliveredFile) -> Result<Vec<StageRecord>, JobError> {
        self.job(async |job, feed| job.withdraw(feed, file).await)
    }

    /// What a withdrawal from the feed `events` would change.
    pub fn withdrawal_forecast(&self, file: &DeliveredFile) -> Result<Forecast, JobError> {
        let config = self.config();
        let job = Job::new(&config, RunLog::new(), &Quiet).unwrap();
        let forecast = job.withdrawal_forecast(&config.feeds[0], file);
        self.runtime.block_on(forecast).map(|(_, forecast)| forecast)
    }

    /// What a reprocess of the feed `events` would change.
    pub fn forecast(&self, from: NaiveDate, source: Source) -> Result<Forecast, JobError> {
        let config = self.config();
        let job = Job::new(&config, RunLog::new(), &Quiet).unwrap();
        self.runtime.block_on(job.forecast(&config.feeds[0], from, source))
    }

    /// The feed `events`, verified by what raw holds and by ODS itself: both find nothing.
    pub fn verified(&self, extent: &Extent) -> Verification {
        let config = self.config();
        let verified = [Facts::Raw, Facts::Ods].map(|facts| {
            let verified = verify(&config, &config.feeds[0], facts, extent);
            let verified = self.runtime.block_on(verified).unwrap();
            assert!(verified.failures().next().is_none(), "{verified:#?}");
            verified
        });
        let [_, by_ods] = verified;
        by_ods
    }

    /// What the configured session rules would change in the feed `events`.
    pub fn plan(&self, from: Option<NaiveDate>) -> Result<Plan, JobError> {
        let config = self.config();
        self.runtime.block_on(plan(&config, &config.feeds[0], from))
    }

    /// Every file of the lake and what it holds.
    pub fn lake_bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("lake")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// One arrival date as the program runs it, record included, and what it asked of the store.
    pub fn run_recorded(&self, date: NaiveDate) -> Requests {
        let config = self.config();
        let log = RunLog::new();
        let job = Job::new(&config, log.clone(), &Quiet).unwrap();
        self.runtime.block_on(async {
            for feed in &config.feeds {
                job.run(feed, Dates::One(date), RuleChange::Refuse).await.unwrap();
            }
            log.write(job.lake()).await.unwrap();
        });
        job.lake().requests()
    }

    /// The lake as another process would open it.
    pub fn lake(&self) -> Lake {
        Lake::of(&self.config().lake).unwrap()
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn job(
        &self,
        work: impl AsyncFn(&Job<'_>, &config::FeedConfig) -> Result<(), JobError>,
    ) -> Result<Vec<StageRecord>, JobError> {
        let config = self.config();
        let log = RunLog::new();
        let job = Job::new(&config, log.clone(), &Quiet).unwrap();
        self.runtime.block_on(async {
            for feed in &config.feeds {
                if let Err(error) = work(&job, feed).await {
                    job.failed(feed, &error);
                    log.write(job.lake()).await?;
                    return Err(error);
                }
            }
            log.write(job.lake()).await?;
            Ok(log.records())
        })
    }

    /// All rows of a table, or none when it does not exist.
    pub fn rows(&self, name: &TableName) -> Vec<RecordBatch> {
        let lake = Lake::of(&self.config().lake).unwrap();
        self.runtime.block_on(async {
            let Some(table) = lake.load(name).await.unwrap() else { return vec![] };
            let mut config = SessionConfig::new();
            config.options_mut().execution.parquet.schema_force_view_types = false;
            let context = SessionContext::new_with_config(config);
            let state = Arc::new(context.state());
            let provider = table.table_provider().with_session(state).await.unwrap();
            context.read_table(provider).unwrap().collect().await.unwrap()
        })
    }

    /// ODS of the feed `events`, in the order of the reference.
    pub fn ods(&self, attributes: &[&str]) -> Vec<Expected> {
        let batches = self.rows(&TableName::Ods("events".to_owned()));
        let mut rows: Vec<Expected> =
            batches.iter().flat_map(|batch| ods_rows(batch, attributes)).collect();
        rows.sort();
        rows
    }

    /// Paths of the live files of a table, from its root.
    pub fn live_files(&self, name: &TableName) -> Vec<String> {
        let lake = Lake::of(&self.config().lake).unwrap();
        self.runtime.block_on(async {
            let table = lake.load(name).await.unwrap().unwrap();
            let files = table.snapshot().unwrap().log_data();
            files.iter().map(|file| file.path().into_owned()).collect()
        })
    }

    /// Every file below the folder `name`, by its path from there, and what it holds.
    pub fn bytes_below(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(name);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let from_root = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(from_root, fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// Every data file of ODS says that it is sorted by key, and is.
    pub fn assert_sorted(&self) {
        self.assert_files_sorted(&TableName::Ods("events".to_owned()), &contracts::SORT_KEY);
    }

    /// Every data file of a table says that it is sorted by `key`, and is.
    pub fn assert_files_sorted(&self, name: &TableName, key: &[&str]) {
        for path in self.live_files(name) {
            let file = self.block_on(async {
                let table = self.lake().load(name).await.unwrap().unwrap();
                let store = table.log_store().object_store(None);
                let path = object_store::path::Path::from(path.as_str());
                store.get(&path).await.unwrap().bytes().await.unwrap()
            });
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            for group in reader.metadata().row_groups() {
                let order =
                    group.sorting_columns().unwrap_or_else(|| panic!("{path} has no order"));
                let names = order.iter().map(|column| {
                    group.column(usize::try_from(column.column_idx).unwrap()).column_path().string()
                });
                assert_eq!(names.collect::<Vec<_>>(), key, "{path}");
            }
            let field = |name: &&str| {
                let field = reader.schema().field_with_name(name).unwrap();
                SortField::new(field.data_type().clone())
            };
            let converter = RowConverter::new(key.iter().map(field).collect()).unwrap();
            let mut previous: Option<OwnedRow> = None;
            for batch in reader.build().unwrap() {
                let batch = batch.unwrap();
                let column = |name: &&str| batch.column_by_name(name).unwrap();
                let columns: Vec<ArrayRef> = key.iter().map(column).cloned().collect();
                let rows = converter.convert_columns(&columns).unwrap();
                for (number, row) in rows.iter().enumerate() {
                    let is_behind = previous.as_ref().is_none_or(|previous| previous.row() < row);
                    assert!(is_behind, "{path} is not sorted at row {number} of a batch");
                    previous = Some(row.owned());
                }
            }
        }
    }

    /// Quarantined rows as (arrival day, reason), sorted.
    pub fn quarantine(&self) -> Vec<(i32, String)> {
        let batches = self.rows(&TableName::Quarantine("events".to_owned()));
        let mut rows: Vec<(i32, String)> = batches
            .iter()
            .flat_map(|batch| {
                let reasons = texts(batch, "reason");
                let days = batch.column_by_name("_updated_at").unwrap();
                let days = days.as_primitive::<Date32Type>().clone();
                reasons
                    .into_iter()
                    .enumerate()
                    .map(move |(row, reason)| (days.value(row), reason.unwrap()))
            })
            .collect();
        rows.sort();
        rows
    }
}

/// A column as texts.
pub fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let column = cast(column, &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

/// Rows of ODS as the reference gives them.
pub fn ods_rows(batch: &RecordBatch, attributes: &[&str]) -> Vec<Expected> {
    let text = |name: &str| texts(batch, name);
    let (users, products, events) = (text("user_id"), text("product_code"), text("event_id"));
    let ids = text("session_id");
    let attributes: Vec<Vec<Option<String>>> = attributes.iter().map(|name| text(name)).collect();
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let timestamps = column("timestamp").as_primitive::<TimestampMicrosecondType>();
    let starts = column("session_start").as_primitive::<TimestampMicrosecondType>();
    let gaps = column("time_diff_ms").as_primitive::<Int64Type>();
    let pdates = column("pdate").as_primitive::<Date32Type>();
    let updated = column("_updated_at").as_primitive::<Date32Type>();
    let actions = column("is_user_action").as_boolean();
    (0..batch.num_rows())
        .map(|row| Expected {
            user_id: users[row].clone().unwrap(),
            product_code: products[row].clone().unwrap(),
            timestamp_micros: timestamps.value(row),
            event_id: events[row].clone().unwrap(),
            pdate: pdates.value(row),
            updated_at: updated.value(row),
            attributes: attributes.iter().map(|column| column[row].clone()).collect(),
            is_user_action: actions.value(row),
            time_diff_ms: gaps.is_valid(row).then(|| gaps.value(row)),
            session_start_micros: starts.is_valid(row).then(|| starts.value(row)),
            session_id: ids[row].clone(),
        })
        .collect()
}
