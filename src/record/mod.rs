//! The record of a run: what each stage read, wrote and how it ended, one commit to `runs`; and what
//! became of its files, two commits to `files`. The small files of both are joined now and then, see
//! `compaction.rs`.

mod append;
mod compaction;
pub mod file_facts;
mod files;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, NaiveDate, Utc};
use deltalake::DeltaTable;
use serde::Serialize;

use crate::lake::commits::Provenance;
use crate::lake::upkeep::Sweep;
use crate::lake::{Lake, LakeError, TableName, contracts};
use crate::stages::StageOutcome;
use crate::stages::ingest::outcome::FileOutcome;
use append::Append;
use files::{FileLog, Place};

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did its work.
    Done,
    /// It did its work, but for files that it rejected.
    Rejected,
    /// There was nothing left to do.
    UpToDate,
    /// It failed and committed nothing.
    Failed,
    /// A signal stopped it.
    Interrupted,
}

impl Outcome {
    /// The name in `runs`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::UpToDate => "up_to_date",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One stage of one run.
#[derive(Debug, Clone, Serialize)]
pub struct StageRecord {
    /// The feed.
    pub feed: String,
    /// The arrival date; for `reprocess` the first event date.
    pub arrival_date: Option<NaiveDate>,
    /// Its name.
    pub stage: &'static str,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// The error with its causes, or the files that were rejected.
    pub error: Option<String>,
    /// Hash of the feed's effective configuration.
    pub config_hash: String,
    /// What it did.
    #[serde(flatten)]
    pub did: StageOutcome,
}

/// The records of one run, filled stage by stage; readable also when the run is cut short.
#[derive(Debug, Clone)]
pub struct RunLog {
    run_id: String,
    records: Arc<Mutex<Vec<StageRecord>>>,
    files: FileLog,
}

impl RunLog {
    /// An empty log of a new run.
    pub fn new() -> Self {
        Self {
            run_id: uuid::Uuid::now_v7().to_string(),
            records: Arc::default(),
            files: FileLog::default(),
        }
    }

    /// The id of the run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Adds a stage.
    pub fn push(&self, record: StageRecord) {
        self.lock().push(record);
    }

    /// The stages so far.
    pub fn records(&self) -> Vec<StageRecord> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StageRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the stages of each feed together, in the order of `feeds`; those of no feed stay last.
    pub fn sort_by_feed(&self, feeds: &[&str]) {
        let place = |record: &StageRecord| {
            feeds.iter().position(|feed| *feed == record.feed).unwrap_or(feeds.len())
        };
        self.lock().sort_by_key(place);
    }

    /// Notes files that were found in `files`, in one commit; nothing for none.
    pub async fn see(
        &self,
        lake: &Lake,
        feed: &str,
        files: Vec<FileOutcome>,
    ) -> Result<(), LakeError> {
        self.files.see(lake, &self.provenance(), feed, files).await
    }

    /// Takes note of what became of files that earlier runs have found, and of their places.
    pub(crate) fn recover(&self, feed: &str, outcomes: Vec<FileOutcome>, left: Vec<Place>) {
        self.files.recover(feed, outcomes, left);
    }

    /// Writes what became of the files to `files` and the log to `runs`; nothing for a run that
    /// found nothing to do.
    pub async fn write(&self, lake: &Lake) -> Result<(), LakeError> {
        let records = self.records();
        let files = self.files.write(lake, &self.provenance(), &records).await;
        self.write_stages(lake, &records).await.and(files)
    }

    fn provenance(&self) -> Provenance {
        Provenance {
            run_id: self.run_id.clone(),
            config_hash: String::new(),
            stage: "record",
            input_versions: vec![],
        }
    }

    async fn write_stages(&self, lake: &Lake, records: &[StageRecord]) -> Result<(), LakeError> {
        if records.iter().all(|record| record.outcome == Outcome::UpToDate) {
            return Ok(());
        }
        let name = TableName::Runs;
        let rows = self
            .to_batch(records)
            .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
        let append = Append::write(lake, name, rows).await?;
        let provenance = self.provenance();
        fail::fail_point!("record_before_commit", |_| std::process::abort());
        append.commit(&provenance, async |_| Ok((vec![], ()))).await?;
        fail::fail_point!("record_after_commit", |_| std::process::abort());
        self.look_after(lake, &provenance).await;
        Ok(())
    }

    /// The record stands; what fails here is done by the next run.
    async fn look_after(&self, lake: &Lake, provenance: &Provenance) {
        for name in [TableName::Files, TableName::Runs] {
            // As it was before the commit of this run.
            if let Some(before) = lake.remembered(&name)
                && let Ok(false) = is_look_due(lake, &name, &before).await
            {
                continue;
            }
            let compacted = compaction::compact(lake, &name, provenance).await;
            let kept = lake.keep_up(&name, provenance, Sweep::Recent).await;
            for error in [compacted.err(), kept.err()].into_iter().flatten() {
                let error = crate::job::error_chain(&error);
                tracing::warn!(%error, table = %name, "the record is written, but not tidied");
            }
        }
    }

    fn to_batch(&self, records: &[StageRecord]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let text = |value: &dyn Fn(&StageRecord) -> Option<String>| -> ArrayRef {
            Arc::new(records.iter().map(value).collect::<StringArray>())
        };
        let count = |value: &dyn Fn(&StageOutcome) -> Option<i64>| -> ArrayRef {
            Arc::new(records.iter().map(|record| value(&record.did)).collect::<Int64Array>())
        };
        let version =
            |version: Option<u64>| version.and_then(|version| i64::try_from(version).ok());
        let dates: Date32Array = records
            .iter()
            .map(|record| record.arrival_date.map(crate::stages::events::date32))
            .collect();
        let started: TimestampMicrosecondArray =
            records.iter().map(|record| Some(record.started.timestamp_micros())).collect();
        let seconds: Float64Array = records.iter().map(|record| Some(record.seconds)).collect();
        RecordBatch::try_new(
            contracts::runs(),
            vec![
                text(&|_| Some(self.run_id.clone())),
                text(&|record| Some(record.feed.clone())),
                Arc::new(dates),
                text(&|record| Some(record.stage.to_owned())),
                Arc::new(started.with_timezone("UTC")),
                Arc::new(seconds),
                text(&|record| Some(record.outcome.as_str().to_owned())),
                text(&|record| record.error.clone()),
                text(&|record| Some(record.config_hash.clone())),
                count(&|did| did.rows_read),
                count(&|did| did.rows_new),
                count(&|did| did.rows_identical_duplicates),
                count(&|did| did.rows_conflicting_duplicates),
                count(&|did| did.rows_read.map(|_| did.rows_quarantined())),
                text(&|record| serde_json::to_string(&record.did.quarantined).ok()),
                count(&|did| did.rows_changed),
                count(&|did| Some(did.read.files)),
                count(&|did| Some(did.read.bytes)),
                count(&|did| Some(did.added.files)),
                count(&|did| Some(did.added.bytes)),
                count(&|did| Some(did.removed.files)),
                count(&|did| Some(did.removed.bytes)),
                count(&|did| version(did.version_before)),
                count(&|did| version(did.version_after)),
            ],
        )
    }
}

/// Whether a table that has had one commit since `before` is to be looked after.
async fn is_look_due(
    lake: &Lake,
    name: &TableName,
    before: &DeltaTable,
) -> Result<bool, LakeError> {
    Ok(compaction::is_due(name, before)? || lake.is_upkeep_due(name, before).await?)
}

impl Default for RunLog {
    fn default() -> Self {
        Self::new()
    }
}
