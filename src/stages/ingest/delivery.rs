//! One commit of new files: their rows into raw, their broken records into quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Transaction};

use super::outcome::FileOutcome;
use super::reading::{FileToRead, Reading};
use super::{NewFile, Plan};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, LatePolicy};
use crate::lake::row_groups::RowGroupWriter;
use crate::lake::storage::FileWriter;
use crate::lake::{LakeError, TableName};
use crate::sources::{RejectedRecord, SourceFile};
use crate::stages::error::IngestError;
use crate::stages::quarantine::{Quarantine, QuarantinedRow, RejectedBy, date_predicate, to_batch};
use crate::stages::{StageContext, StageOutcome};

/// More threads than this wait for the one that reads and hashes the file, and each of them
/// holds a row group.
const MAX_THREADS: usize = 4;

/// One commit of new files.
pub(super) struct Delivery<'a> {
    pub(super) stage: &'a StageContext<'a>,
    pub(super) name: TableName,
    pub(super) table: DeltaTable,
    pub(super) arrival_date: NaiveDate,
    pub(super) late: LatePolicy,
    pub(super) required: BTreeSet<String>,
}

/// What the new files came to, besides their rows.
#[derive(Default)]
struct Delivered {
    /// The ids of the deliveries.
    ids: Vec<String>,
    rejected: Vec<Rejected>,
    read: FileTotals,
    files: Vec<FileOutcome>,
}

/// A record that could not be read, and the delivery it came with.
struct Rejected {
    delivery: String,
    row: QuarantinedRow,
}

impl Delivery<'_> {
    pub(super) async fn append(
        &self,
        plan: &Plan<'_>,
        outcome: &mut StageOutcome,
    ) -> Result<(), IngestError> {
        let schema = self.raw_schema()?;
        let partition = (UPDATED_AT, self.arrival_date.to_string());
        let mut writer = RowGroupWriter::new(
            &self.name,
            &self.table,
            &schema,
            partition,
            self.threads(),
            self.stage.lake.compression(),
        );
        let mut delivered = Delivered::default();
        for new in &plan.new {
            if let Err(error) = self.deliver(new, &schema, &mut writer, &mut delivered).await {
                writer.abort().await;
                return Err(error);
            }
        }
        let rows = writer.rows();
        let adds = writer.close().await?;
        for rejected in &delivered.rejected {
            *outcome.quarantined.entry(rejected.row.reason.clone().into_owned()).or_default() += 1;
        }
        outcome.read = delivered.read;
        outcome.files.extend(delivered.files);
        outcome.rows_new = Some(rows);
        outcome.rows_read = Some(rows + outcome.rows_quarantined());
        outcome.added = FileTotals::of_adds(&adds);
        self.quarantine(&delivered.rejected).await?;
        let ids = delivered.ids.iter().chain(&plan.seen);
        let ids = ids.map(|id| ids::transaction(id, 1)).collect();
        outcome.version_after = Some(self.commit(adds, ids).await?);
        Ok(())
    }

    async fn commit(&self, adds: Vec<Add>, ids: Vec<Transaction>) -> Result<u64, IngestError> {
        let read_predicate = Some(date_predicate(&BTreeSet::from([self.arrival_date])));
        let change = Change { adds, ids, read_predicate, ..Change::default() };
        fail::fail_point!("raw_before_commit", |_| std::process::abort());
        let provenance = self.stage.provenance("ingest", vec![]);
        let version = commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("raw_after_commit", |_| std::process::abort());
        Ok(version)
    }

    /// Streams one file into the writer.
    async fn deliver(
        &self,
        new: &NewFile<'_>,
        schema: &SchemaRef,
        writer: &mut RowGroupWriter,
        delivered: &mut Delivered,
    ) -> Result<(), IngestError> {
        let file = new.file;
        let constants = self
            .constants(&file.name, schema)
            .map_err(|source| IngestError::Rows { path: file.path.clone(), source })?;
        let mut rejected = Vec::new();
        let mut rows = 0;
        let mut reading = Reading::start(self.file_to_read(file, schema));
        // The one place through which all records of a delivery pass.
        while let Some(parsed) = reading.next().await {
            writer.write(&parsed.rows, &constants).await?;
            rows += parsed.rows.num_rows();
            rejected.extend(parsed.rejected);
        }
        let hash = self.hash_of_unchanged(new, reading).await?;
        delivered.files.push(self.outcome(new, &hash, rows, &rejected));
        let feed = &self.stage.feed.name;
        let delivery = ids::delivery(feed, self.arrival_date, &file.name, &hash, self.late);
        let rejected = rejected
            .into_iter()
            .map(|record| Rejected { delivery: delivery.clone(), row: quarantined(file, record) });
        delivered.rejected.extend(rejected);
        delivered.ids.push(delivery);
        delivered.read.files += 1;
        delivered.read.bytes += i64::try_from(file.bytes).unwrap_or(i64::MAX);
        Ok(())
    }

    fn outcome(
        &self,
        new: &NewFile<'_>,
        hash: &str,
        rows: usize,
        rejected: &[RejectedRecord],
    ) -> FileOutcome {
        let mut reasons = BTreeMap::new();
        for record in rejected {
            *reasons.entry(record.reason.as_str().to_owned()).or_default() += 1;
        }
        FileOutcome {
            content_hash: Some(hash.to_owned()),
            status: new.status,
            rows: i64::try_from(rows).ok(),
            rows_rejected: i64::try_from(rejected.len()).ok(),
            reasons,
            ..FileOutcome::seen(new.file, self.arrival_date, self.late)
        }
    }

    /// The hash of what was read, which is what the file still holds and what was planned with.
    async fn hash_of_unchanged(
        &self,
        new: &NewFile<'_>,
        reading: Reading,
    ) -> Result<String, IngestError> {
        let hash = reading.content_hash().await?;
        let is_as_planned = new.content_hash.as_ref().is_none_or(|planned| *planned == hash);
        if is_as_planned && new.file.is_unchanged()? {
            Ok(hash)
        } else {
            Err(IngestError::ChangedWhileRead { path: new.file.path.clone() })
        }
    }

    fn file_to_read(&self, file: &SourceFile, schema: &SchemaRef) -> FileToRead {
        FileToRead {
            location: file.location(),
            format: self.stage.feed.format,
            columns: contracts::delivered_columns(schema),
            required: self.required.iter().cloned().collect(),
            threads: self.threads(),
        }
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.stage.engine.threads().min(MAX_THREADS)).unwrap_or(NonZeroUsize::MIN)
    }

    /// The columns of the raw table as it is, which may have been created by another mapping.
    fn raw_schema(&self) -> Result<SchemaRef, LakeError> {
        let state = self.table.snapshot().map_err(|source| LakeError::read(&self.name, source))?;
        let stored = state.snapshot().arrow_schema();
        Ok(contracts::raw(&contracts::delivered_columns(&stored)))
    }

    /// What all rows of a file have in common, as one row.
    fn constants(&self, file: &str, schema: &Schema) -> Result<Arc<RecordBatch>, ArrowError> {
        let accept_late = self.late == LatePolicy::Accepted;
        let started = self.stage.started.timestamp_micros();
        let started = TimestampMicrosecondArray::from(vec![started]).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 3] = [
            ("_file", Arc::new(StringArray::from(vec![file]))),
            ("_accept_late", Arc::new(BooleanArray::from(vec![accept_late]))),
            ("_ingested_at", Arc::new(started)),
        ];
        let indices = columns.iter().map(|(name, _)| schema.index_of(name));
        let schema = schema.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let columns = columns.map(|(_, column)| column).to_vec();
        Ok(Arc::new(RecordBatch::try_new(Arc::new(schema), columns)?))
    }

    /// Records that could not be read go first, each file's once: a crash before the commit to
    /// raw repeats neither.
    async fn quarantine(&self, rejected: &[Rejected]) -> Result<(), IngestError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let Quarantine { name, table } = Quarantine::open(self.stage).await?;
        let known = self.stage.lake.ids(&name, &table).await?;
        let missing: Vec<&Rejected> =
            rejected.iter().filter(|record| !known.contains(&record.delivery)).collect();
        let deliveries: BTreeSet<&str> =
            missing.iter().map(|record| record.delivery.as_str()).collect();
        let rows: Vec<QuarantinedRow> = missing.iter().map(|record| record.row.clone()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let batch = to_batch(&rows, self.arrival_date, RejectedBy::Ingest)
            .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
        let mut writer = FileWriter::new(&name, &table, &contracts::quarantine())?;
        writer.write(&batch).await?;
        let change = Change {
            adds: writer.close().await?,
            ids: deliveries.into_iter().map(|id| ids::transaction(id, 1)).collect(),
            read_predicate: Some(date_predicate(&BTreeSet::from([self.arrival_date]))),
            ..Change::default()
        };
        let provenance = self.stage.provenance("ingest", vec![]);
        fail::fail_point!("raw_quarantine_before_commit", |_| std::process::abort());
        commits::commit(&name, &table, change, &provenance).await?;
        fail::fail_point!("raw_quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }
}

fn quarantined(file: &SourceFile, record: RejectedRecord) -> QuarantinedRow {
    QuarantinedRow {
        reason: record.reason.as_str().into(),
        detail: record.detail,
        file: file.name.clone(),
        line: i64::try_from(record.first_line).unwrap_or(i64::MAX),
        text: Some(record.text),
    }
}
