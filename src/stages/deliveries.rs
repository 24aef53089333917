//! Deliveries of arrival dates, read from raw, judged and sorted: candidate events in runs, and
//! the rows that do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::StageContext;
use super::error::BuildError;
use super::events::{EventReader, column, date_literal};
use super::mapping::CompiledBook;
use super::merge::Candidates;
use super::quarantine::{QuarantinedRow, RejectedBy, to_batch};
use super::raw_rows::{row_text, scan};
use super::reject::Rejects;
use crate::engine::keyed::{ATTRIBUTES, TIMESTAMP};
use crate::engine::runs::RunWriter;
use crate::lake::TableName;
use crate::lake::contracts::UPDATED_AT;
use crate::lake::rules::RuleBook;

/// Deliveries, read and judged.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) rows_read: i64,
    pub(crate) candidates: Candidates,
    /// Rows of quarantine by arrival date; a date without any has an entry all the same.
    pub(crate) rejected: BTreeMap<NaiveDate, Vec<RecordBatch>>,
    pub(crate) reasons: BTreeMap<String, i64>,
}

/// A file as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeliveredFile {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Its name, `_file` of its rows.
    pub file: String,
}

/// Whose rows are read.
#[derive(Debug, Clone, Copy)]
pub enum Files<'f> {
    /// Those of every file.
    All,
    /// Those of this file.
    Only(&'f DeliveredFile),
    /// Those of every other file.
    Without(&'f DeliveredFile),
}

impl Files<'_> {
    /// The condition on the raw rows of an arrival date.
    pub(crate) fn condition(self, arrival_date: NaiveDate) -> Expr {
        let of_date = ident(UPDATED_AT).eq(date_literal(arrival_date));
        match self {
            Self::Only(delivered) => of_date.and(ident("_file").eq(lit(&*delivered.file))),
            Self::Without(delivered) if delivered.arrival_date == arrival_date => {
                of_date.and(ident("_file").not_eq(lit(&*delivered.file)))
            }
            Self::All | Self::Without(_) => of_date,
        }
    }
}

/// Reads the raw rows of `arrival_dates` as events, on all threads.
pub(crate) async fn read_deliveries(
    stage: &StageContext<'_>,
    context: &SessionContext,
    raw: &DeltaTable,
    rule_book: &RuleBook,
    book: &Arc<CompiledBook>,
    arrival_dates: &BTreeSet<NaiveDate>,
    files: Files<'_>,
) -> Result<Deliveries, BuildError> {
    let table = TableName::Raw(stage.feed.name.clone());
    let mut deliveries = Deliveries::default();
    for arrival_date in arrival_dates {
        let reader = EventReader::new(book, rule_book, *arrival_date);
        let mut parts = JoinSet::new();
        for rows in raw_rows(context, &table, raw, *arrival_date, files).await? {
            let part = Part {
                table: table.clone(),
                arrival_date: *arrival_date,
                reader: reader.clone(),
                writer: RunWriter::new(stage.engine.spill_target()),
                deliveries: Deliveries::default(),
            };
            parts.spawn(part.read(rows));
        }
        deliveries.rejected.entry(*arrival_date).or_default();
        while let Some(part) = parts.join_next().await {
            let part = part.map_err(|_| BuildError::Stopped { table: table.clone() })??;
            deliveries.add(part);
        }
    }
    Ok(deliveries)
}

/// The raw rows of one arrival date, in as many streams as there are threads.
async fn raw_rows(
    context: &SessionContext,
    table: &TableName,
    raw: &DeltaTable,
    arrival_date: NaiveDate,
    files: Files<'_>,
) -> Result<Vec<SendableRecordBatchStream>, BuildError> {
    let rows = |source| BuildError::Rows { table: table.clone(), source: Box::new(source) };
    let frame = scan(context, table, raw).await?.filter(files.condition(arrival_date));
    frame.map_err(rows)?.execute_stream_partitioned().await.map_err(rows)
}

impl Deliveries {
    pub(crate) fn add(&mut self, part: Self) {
        self.rows_read += part.rows_read;
        self.candidates.runs.extend(part.candidates.runs);
        self.candidates.dates.extend(part.candidates.dates);
        if let Some((first, last)) = part.candidates.instants {
            self.candidates.include(first, last);
        }
        for (date, mut batches) in part.rejected {
            self.rejected.entry(date).or_default().append(&mut batches);
        }
        for (reason, rows) in part.reasons {
            *self.reasons.entry(reason).or_default() += rows;
        }
    }
}

impl Candidates {
    /// Takes note of what a batch of candidates holds.
    pub(crate) fn note(&mut self, batch: &RecordBatch, attributes: usize) {
        let dates = batch.column(ATTRIBUTES + attributes).as_primitive::<Date32Type>();
        let mut previous = None;
        for date in dates.values() {
            if previous != Some(*date) {
                self.dates.insert(*date);
                previous = Some(*date);
            }
        }
        let instants = batch.column(TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        if let Some((first, last)) = min(instants).zip(max(instants)) {
            self.include(first, last);
        }
    }

    fn include(&mut self, first: i64, last: i64) {
        let (known_first, known_last) = self.instants.unwrap_or((first, last));
        self.instants = Some((known_first.min(first), known_last.max(last)));
    }
}

/// One stream of raw rows.
struct Part {
    table: TableName,
    arrival_date: NaiveDate,
    reader: EventReader,
    writer: RunWriter,
    deliveries: Deliveries,
}

impl Part {
    async fn read(mut self, mut rows: SendableRecordBatchStream) -> Result<Deliveries, BuildError> {
        while let Some(batch) = rows.next().await {
            let candidates = batch.and_then(|batch| self.judge(&batch)).map_err(|source| {
                BuildError::Rows { table: self.table.clone(), source: Box::new(source) }
            })?;
            self.writer.push(candidates)?;
        }
        let runs = self.writer.finish()?;
        self.deliveries.candidates.runs = runs.into_iter().map(Arc::new).collect();
        Ok(self.deliveries)
    }

    fn judge(&mut self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let deliveries = &mut self.deliveries;
        deliveries.rows_read += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let (candidates, rejects) = self.reader.read(batch)?;
        let rejected = quarantined(batch, &rejects, &mut deliveries.reasons)?;
        if !rejected.is_empty() {
            let rows = to_batch(&rejected, self.arrival_date, RejectedBy::Build)?;
            deliveries.rejected.entry(self.arrival_date).or_default().push(rows);
        }
        if candidates.num_rows() > 0 {
            deliveries.candidates.note(&candidates, self.reader.attributes());
        }
        Ok(candidates)
    }
}

fn quarantined(
    raw: &RecordBatch,
    rejects: &Rejects,
    reasons: &mut BTreeMap<String, i64>,
) -> Result<Vec<QuarantinedRow>, DataFusionError> {
    if rejects.is_empty() {
        return Ok(Vec::new());
    }
    let files = arrow::compute::cast(column(raw, "_file")?, &arrow::datatypes::DataType::Utf8)?;
    let (files, lines) = (files.as_string::<i32>(), column(raw, "_line")?);
    let lines = lines.as_primitive::<Int64Type>();
    rejects
        .iter()
        .map(|(row, reason, detail)| {
            *reasons.entry(reason.as_str().to_owned()).or_default() += 1;
            Ok(QuarantinedRow {
                reason: reason.as_str().to_owned().into(),
                detail: detail.to_owned(),
                file: files.value(row).to_owned(),
                line: if arrow::array::Array::is_valid(lines, row) { lines.value(row) } else { 0 },
                text: Some(row_text(raw, row)?),
            })
        })
        .collect()
}
