//! The records of the new files into raw row groups, in one pass, or in a second one without the
//! files that turned out bad half-way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::NewFile;
use super::bad_rows::BadRows;
use super::delivery::Delivery;
use super::outcome::{FileOutcome, FileStatus};
use super::reading::{FileToRead, Reading};
use super::rejection::RejectedFile;
use crate::lake::LakeError;
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, LatePolicy};
use crate::lake::row_groups::RowGroupWriter;
use crate::sources::{FileVerdict, SourceError, SourceFile};
use crate::stages::StageOutcome;
use crate::stages::error::IngestError;
use crate::stages::quarantine::QuarantinedRow;
use crate::stages::raw_rows::first_lines;

/// More threads than this wait for the one that reads and hashes the file, and each of them
/// holds a row group.
const MAX_THREADS: usize = 4;

/// What the new files came to.
#[derive(Default)]
pub(super) struct Taken {
    /// Data files with their rows, not committed yet.
    pub(super) adds: Vec<Add>,
    pub(super) rows: i64,
    /// What was decided on each file.
    pub(super) decided: Vec<Decided>,
    /// Files of which nothing is taken.
    pub(super) rejected_files: Vec<RejectedFile>,
    pub(super) read: FileTotals,
    /// What became of each file.
    pub(super) files: Vec<FileOutcome>,
}

/// A file with its bad rows: those that could not be read, and those that break the contract.
pub(super) struct Decided {
    /// The id of the delivery, or of the rejection.
    pub(super) id: String,
    pub(super) file: String,
    pub(super) content_hash: String,
    pub(super) bad: Vec<QuarantinedRow>,
}

impl Taken {
    /// Counts what was taken, and moves what became of each file.
    pub(super) fn account(&mut self, outcome: &mut StageOutcome) {
        for row in self.decided.iter().flat_map(|decided| &decided.bad) {
            *outcome.quarantined.entry(row.reason.clone().into_owned()).or_default() += 1;
        }
        outcome.read = self.read;
        outcome.files.append(&mut self.files);
        outcome.rows_new = Some(self.rows);
        outcome.rows_read = Some(self.rows + outcome.rows_quarantined());
        outcome.added = FileTotals::of_adds(&self.adds);
    }
}

impl Delivery<'_> {
    /// Reads the new files. Those that are rejected leave nothing in the data files.
    pub(super) async fn take(&self, new: &[NewFile<'_>]) -> Result<Taken, IngestError> {
        let mut rejected_files: Vec<RejectedFile> = Vec::new();
        loop {
            let is_good = |new: &&NewFile<'_>| {
                rejected_files.iter().all(|rejected| rejected.file != new.file.name)
            };
            let good: Vec<&NewFile<'_>> = new.iter().filter(is_good).collect();
            if let Some(taken) = self.pass(&good, &mut rejected_files).await? {
                return Ok(self.with_rejected(taken, new, rejected_files));
            }
        }
    }

    fn with_rejected(
        &self,
        mut taken: Taken,
        new: &[NewFile<'_>],
        rejected_files: Vec<RejectedFile>,
    ) -> Taken {
        for rejected in &rejected_files {
            let file = new.iter().find(|new| new.file.name == rejected.file);
            taken.files.extend(file.map(|new| FileOutcome {
                content_hash: Some(rejected.content_hash.clone()),
                status: FileStatus::Rejected,
                rows: Some(0),
                rows_rejected: Some(0),
                reasons: BTreeMap::from([(rejected.reason.as_str().to_owned(), 1)]),
                error: Some(rejected.detail.clone()),
                ..FileOutcome::seen(new.file, self.arrival_date, self.late)
            }));
        }
        Taken { rejected_files, ..taken }
    }

    /// One pass over the files. None when a file was rejected of which rows were written: what was
    /// written is gone then, and the files behind it were only judged.
    async fn pass(
        &self,
        files: &[&NewFile<'_>],
        rejected_files: &mut Vec<RejectedFile>,
    ) -> Result<Option<Taken>, IngestError> {
        let schema = self.raw_schema()?;
        let mut writer = Some(self.writer(&schema));
        let mut taken = Taken::default();
        for new in files {
            let rows_before = writer.as_ref().map(RowGroupWriter::rows);
            match self.take_file(new, &schema, writer.as_mut(), &mut taken).await {
                Ok(None) => {}
                Ok(Some(rejected)) => {
                    rejected_files.push(rejected);
                    let is_written = writer.as_ref().map(RowGroupWriter::rows) != rows_before;
                    if let Some(writer) = writer.take_if(|_| is_written) {
                        writer.abort().await;
                    }
                }
                Err(error) => {
                    if let Some(writer) = writer {
                        writer.abort().await;
                    }
                    return Err(error);
                }
            }
        }
        let Some(writer) = writer else {
            return Ok(None);
        };
        taken.rows = writer.rows();
        taken.adds = writer.close().await?;
        Ok(Some(taken))
    }

    /// Streams one file into the writer, if there is one.
    async fn take_file(
        &self,
        new: &NewFile<'_>,
        schema: &SchemaRef,
        mut writer: Option<&mut RowGroupWriter>,
        taken: &mut Taken,
    ) -> Result<Option<RejectedFile>, IngestError> {
        let file = new.file;
        if file.is_folder() {
            let error = SourceError::IsFolder { path: file.path.clone() };
            return RejectedFile::because_of(new, error).await.map(Some);
        }
        let constants = self
            .constants(&file.name, schema)
            .map_err(|source| IngestError::Rows { path: file.path.clone(), source })?;
        // What was taken in is not refused whole afterwards.
        let contract = match new.refused_lines {
            Some(_) => Cow::Owned(self.stage.feed.contract.without_limits()),
            None => Cow::Borrowed(&self.stage.feed.contract),
        };
        let mut bad = BadRows::new(&contract, file);
        let mut rows = 0;
        let mut reading = Reading::start(self.file_to_read(file, schema));
        // The one place through which all records of a delivery pass.
        while let Some(parsed) = reading.next().await {
            let sorted = self.held_to.sort(file, parsed);
            let sorted = sorted.map_err(|source| IngestError::Contract {
                path: file.path.clone(),
                source: Box::new(source),
            })?;
            bad.add(sorted.bad)?;
            if bad.are_too_many() {
                break;
            }
            rows += sorted.good.num_rows();
            let good = match new.refused_lines {
                Some(lines) => of_lines(&sorted.good, lines)
                    .map_err(|source| IngestError::Rows { path: file.path.clone(), source })?,
                None => sorted.good,
            };
            if let Some(writer) = writer.as_mut() {
                writer.write(&good, &constants).await?;
            }
        }
        let hash = match reading.content_hash().await {
            Ok(hash) => hash,
            Err(IngestError::Source(error)) if new.refused_lines.is_none() => {
                return RejectedFile::because_of(new, error).await.map(Some);
            }
            Err(error) => return Err(error),
        };
        new.check_unchanged(&hash)?;
        if let Some((line, detail)) = bad.verdict(rows) {
            return Ok(Some(RejectedFile::of(new, FileVerdict::BadRows, line, detail, hash)));
        }
        taken.files.push(self.outcome(new, &hash, rows, &bad.rows));
        let feed = &self.stage.feed.name;
        taken.decided.push(Decided {
            id: ids::delivery(feed, self.arrival_date, &file.name, &hash, self.late),
            file: file.name.clone(),
            content_hash: hash,
            bad: bad.rows,
        });
        taken.read = taken.read.plus(i64::try_from(file.bytes).unwrap_or(i64::MAX));
        Ok(None)
    }

    fn outcome(
        &self,
        new: &NewFile<'_>,
        hash: &str,
        rows: usize,
        rejected: &[QuarantinedRow],
    ) -> FileOutcome {
        let mut reasons = BTreeMap::new();
        for row in rejected {
            *reasons.entry(row.reason.clone().into_owned()).or_default() += 1;
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

    fn writer(&self, schema: &SchemaRef) -> RowGroupWriter {
        let partition = (UPDATED_AT, self.arrival_date.to_string());
        let compression = self.stage.lake.compression();
        let threads = self.threads();
        RowGroupWriter::new(&self.name, &self.table, schema, partition, threads, compression)
    }

    fn file_to_read(&self, file: &SourceFile, schema: &SchemaRef) -> FileToRead {
        FileToRead {
            location: file.location(),
            format: self.stage.feed.format,
            columns: contracts::delivered_columns(schema),
            required: self.held_to.required.iter().cloned().collect(),
            only: self.held_to.only.clone(),
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
}

/// The rows of a batch that begin in one of `lines`.
fn of_lines(rows: &RecordBatch, lines: &BTreeSet<i64>) -> Result<RecordBatch, ArrowError> {
    let first_lines = first_lines(rows);
    let is_of_lines: BooleanArray = (0..rows.num_rows())
        .map(|row| Some(first_lines.is_some_and(|of| lines.contains(&of.value(row)))))
        .collect();
    filter_record_batch(rows, &is_of_lines)
}
