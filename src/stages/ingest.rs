//! Batch files into raw: one commit for the new files of an arrival date, each exactly once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use tokio::sync::mpsc;

use super::error::IngestError;
use super::events::date32;
use super::mapping::named_columns;
use super::quarantine::{QuarantinedRow, RejectedBy, to_batch};
use super::{StageContext, StageOutcome};
use crate::config::SourceFormat;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, Ids, LatePolicy};
use crate::lake::storage::FileWriter;
use crate::lake::{LakeError, TableName};
use crate::sources::{ParsedBatch, RecordReader, SourceError, SourceFile};

/// Rows handed from the parser to the writer at a time.
const BATCH_ROWS: usize = 32 * 1024;
/// Batches the parser may be ahead of the writer.
const BATCHES_AHEAD: usize = 4;

/// A file that raw does not hold yet.
struct NewFile<'f> {
    file: &'f SourceFile,
    delivery: String,
}

/// What raw and the files say of each other.
#[derive(Default)]
struct Plan<'f> {
    new: Vec<NewFile<'f>>,
    /// Ids of files whose size and time are to be remembered.
    seen: Vec<String>,
}

/// Appends those of `files` that were not delivered under `arrival_date` yet.
pub async fn ingest(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    files: &[SourceFile],
    late: LatePolicy,
) -> Result<StageOutcome, IngestError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let required = required_columns(stage)?;
    let columns = stage.feed.columns.clone().unwrap_or_else(|| required.iter().cloned().collect());
    let table = stage
        .lake
        .load_or_create(&name, &contracts::raw(&columns), &[UPDATED_AT], stage.table_properties())
        .await?;
    let known = Ids::read(&name, &table).await?;
    let plan = plan(&stage.feed.name, arrival_date, files, late, &known)?;
    let mut outcome = StageOutcome {
        version_before: table.version(),
        version_after: table.version(),
        up_to_date: plan.new.is_empty(),
        rows_read: Some(0),
        rows_new: Some(0),
        ..StageOutcome::default()
    };
    if plan.new.is_empty() && plan.seen.is_empty() {
        return Ok(outcome);
    }
    let delivery = Delivery { stage, name, table, arrival_date, late };
    delivery.append(&plan, &mut outcome).await?;
    Ok(outcome)
}

/// Columns that a delivery must have: those its mapping names and those the feed declares.
fn required_columns(stage: &StageContext<'_>) -> Result<BTreeSet<String>, IngestError> {
    let mut required = named_columns(&stage.feed.name, &stage.feed.event).map_err(Box::new)?;
    required.extend(stage.feed.columns.iter().flatten().cloned());
    Ok(required)
}

/// A file is known by its size and time, else by its content. A file taken in as a load of
/// history is not delivered again by an ordinary run.
fn plan<'f>(
    feed: &str,
    arrival_date: NaiveDate,
    files: &'f [SourceFile],
    late: LatePolicy,
    known: &Ids,
) -> Result<Plan<'f>, SourceError> {
    let marks: &[LatePolicy] = match late {
        LatePolicy::Bounded => &[LatePolicy::Bounded, LatePolicy::Accepted],
        LatePolicy::Accepted => &[LatePolicy::Accepted],
    };
    let mut plan = Plan::default();
    for file in files {
        let seen = |mark| ids::seen(feed, arrival_date, &file.name, &file.stat(), mark);
        if marks.iter().any(|mark| known.contains(&seen(*mark))) {
            continue;
        }
        let hash = file.content_hash()?;
        let delivery = |mark| ids::delivery(feed, arrival_date, &file.name, &hash, mark);
        if !marks.iter().any(|mark| known.contains(&delivery(*mark))) {
            plan.new.push(NewFile { file, delivery: delivery(late) });
        }
        plan.seen.push(seen(late));
    }
    Ok(plan)
}

/// Those of `dates` with a file whose size and time raw has not seen under that date.
pub async fn unseen(
    stage: &StageContext<'_>,
    dates: &BTreeMap<NaiveDate, Vec<SourceFile>>,
) -> Result<BTreeSet<NaiveDate>, LakeError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let known = match stage.lake.load(&name).await? {
        Some(table) => Ids::read(&name, &table).await?,
        None => Ids::default(),
    };
    let is_seen = |date: NaiveDate, file: &SourceFile| {
        [LatePolicy::Bounded, LatePolicy::Accepted].into_iter().any(|mark| {
            known.contains(&ids::seen(&stage.feed.name, date, &file.name, &file.stat(), mark))
        })
    };
    Ok(dates
        .iter()
        .filter(|(date, files)| files.iter().any(|file| !is_seen(**date, file)))
        .map(|(date, _)| *date)
        .collect())
}

/// One commit of new files.
struct Delivery<'a> {
    stage: &'a StageContext<'a>,
    name: TableName,
    table: DeltaTable,
    arrival_date: NaiveDate,
    late: LatePolicy,
}

impl Delivery<'_> {
    async fn append(&self, plan: &Plan<'_>, outcome: &mut StageOutcome) -> Result<(), IngestError> {
        let schema = self.raw_schema()?;
        let mut writer = FileWriter::new(&self.name, &self.table, &schema)?;
        let mut rejected = Vec::new();
        for new in &plan.new {
            if let Err(error) = self.read(new.file, &schema, &mut writer, &mut rejected).await {
                writer.abort().await;
                return Err(error);
            }
            outcome.read.files += 1;
            outcome.read.bytes += i64::try_from(new.file.bytes).unwrap_or(i64::MAX);
        }
        let rows = writer.rows();
        let adds = writer.close().await?;
        for row in &rejected {
            *outcome.quarantined.entry(row.reason.to_owned()).or_default() += 1;
        }
        outcome.rows_new = Some(rows);
        outcome.rows_read = Some(rows + outcome.rows_quarantined());
        outcome.added = FileTotals::of_adds(&adds);
        let deliveries: Vec<Transaction> =
            plan.new.iter().map(|new| ids::transaction(&new.delivery, 1)).collect();
        self.quarantine(&rejected, &deliveries).await?;
        let mut all_ids = deliveries;
        all_ids.extend(plan.seen.iter().map(|id| ids::transaction(id, 1)));
        let change = Change { adds, ids: all_ids, ..Change::default() };
        fail::fail_point!("raw_before_commit", |_| std::process::abort());
        let provenance = self.stage.provenance("ingest", vec![]);
        let version = commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("raw_after_commit", |_| std::process::abort());
        outcome.version_after = Some(version);
        Ok(())
    }

    /// Streams one file into the writer; parsing runs ahead on a thread of its own.
    async fn read(
        &self,
        file: &SourceFile,
        schema: &SchemaRef,
        writer: &mut FileWriter,
        rejected: &mut Vec<QuarantinedRow>,
    ) -> Result<(), IngestError> {
        let (sender, mut receiver) = mpsc::channel(BATCHES_AHEAD);
        let parser = self.parser(file, schema);
        let parsing = tokio::task::spawn_blocking(move || parser.run(&sender));
        while let Some(parsed) = receiver.recv().await {
            let batch = self
                .raw_batch(&file.name, &parsed.rows, schema)
                .map_err(|source| IngestError::Rows { path: file.path.clone(), source })?;
            writer.write(&batch).await?;
            rejected.extend(parsed.rejected.into_iter().map(|record| QuarantinedRow {
                reason: record.reason.as_str(),
                detail: record.detail,
                file: file.name.clone(),
                line: i64::try_from(record.first_line).unwrap_or(i64::MAX),
                text: Some(record.text),
            }));
        }
        match parsing.await {
            Ok(result) => result?,
            Err(_) => {
                return Err(IngestError::Interrupted { path: file.path.clone() });
            }
        }
        if file.is_unchanged()? {
            Ok(())
        } else {
            Err(IngestError::ChangedWhileRead { path: file.path.clone() })
        }
    }

    fn parser(&self, file: &SourceFile, schema: &SchemaRef) -> Parser {
        let columns = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !name.starts_with('_'))
            .collect();
        Parser { path: file.path.clone(), format: self.stage.feed.format, columns }
    }

    /// The columns of the raw table as it is, which may have been created by another mapping.
    fn raw_schema(&self) -> Result<SchemaRef, LakeError> {
        let state = self.table.snapshot().map_err(|source| LakeError::read(&self.name, source))?;
        let stored = state.snapshot().arrow_schema();
        let columns: Vec<String> = stored
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !name.starts_with('_'))
            .collect();
        Ok(contracts::raw(&columns))
    }

    fn raw_batch(
        &self,
        file: &str,
        parsed: &RecordBatch,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        let rows = parsed.num_rows();
        let accept_late = self.late == LatePolicy::Accepted;
        let started = self.stage.started.timestamp_micros();
        let mut own: HashMap<&str, ArrayRef> = HashMap::from([
            ("_file", Arc::new(StringArray::from(vec![file; rows])) as ArrayRef),
            ("_accept_late", Arc::new(BooleanArray::from(vec![accept_late; rows]))),
            (
                "_ingested_at",
                Arc::new(TimestampMicrosecondArray::from(vec![started; rows]).with_timezone("UTC")),
            ),
            (UPDATED_AT, Arc::new(Date32Array::from(vec![date32(self.arrival_date); rows]))),
        ]);
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                own.remove(field.name().as_str())
                    .or_else(|| parsed.column_by_name(field.name()).map(Arc::clone))
                    .unwrap_or_else(|| new_null_array(field.data_type(), rows))
            })
            .collect();
        RecordBatch::try_new(Arc::clone(schema), columns)
    }

    /// Records that could not be read, before raw: a crash in between repeats neither.
    async fn quarantine(
        &self,
        rejected: &[QuarantinedRow],
        deliveries: &[Transaction],
    ) -> Result<(), IngestError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let name = TableName::Quarantine(self.stage.feed.name.clone());
        let schema = contracts::quarantine();
        let properties = self.stage.table_properties();
        let table =
            self.stage.lake.load_or_create(&name, &schema, &[UPDATED_AT], properties).await?;
        let known = Ids::read(&name, &table).await?;
        if deliveries.iter().all(|id| known.contains(&id.app_id)) {
            return Ok(());
        }
        let batch = to_batch(rejected, self.arrival_date, RejectedBy::Ingest)
            .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
        let mut writer = FileWriter::new(&name, &table, &schema)?;
        writer.write(&batch).await?;
        let change =
            Change { adds: writer.close().await?, ids: deliveries.to_vec(), ..Change::default() };
        commits::commit(&name, &table, change, &self.stage.provenance("ingest", vec![])).await?;
        fail::fail_point!("raw_quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }
}

/// Reads one file on a blocking thread.
struct Parser {
    path: std::path::PathBuf,
    format: SourceFormat,
    columns: Vec<String>,
}

impl Parser {
    fn run(self, sender: &mpsc::Sender<ParsedBatch>) -> Result<(), SourceError> {
        let mut reader = RecordReader::open(&self.path, self.format, &self.columns)?;
        while let Some(batch) = reader.next_batch(BATCH_ROWS)? {
            if sender.blocking_send(batch).is_err() {
                // The writer failed; its error is the one to report.
                return Ok(());
            }
        }
        Ok(())
    }
}
