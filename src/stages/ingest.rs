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
use super::quarantine::{Quarantine, QuarantinedRow, RejectedBy, date_predicate, to_batch};
use super::{StageContext, StageOutcome, replanning};
use crate::config::SourceFormat;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, Ids, LatePolicy};
use crate::lake::rules::RuleBook;
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
    let once = async || ingest_once(stage, arrival_date, files, late).await;
    replanning(IngestError::is_conflict, once).await
}

async fn ingest_once(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    files: &[SourceFile],
    late: LatePolicy,
) -> Result<StageOutcome, IngestError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let required = required_columns(stage, arrival_date).await?;
    let columns = stage.feed.columns.clone().unwrap_or_else(|| required.iter().cloned().collect());
    let table = stage
        .lake
        .load_or_create(&name, &contracts::raw(&columns), &[UPDATED_AT], stage.table_properties())
        .await?;
    let known = stage.lake.ids(&name, &table).await?;
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
    let delivery = Delivery { stage, name, table, arrival_date, late, required };
    delivery.append(&plan, &mut outcome).await?;
    Ok(outcome)
}

/// Columns that a delivery must have: those that the mapping of its arrival date names, and those
/// the feed declares.
async fn required_columns(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
) -> Result<BTreeSet<String>, IngestError> {
    let feed = &stage.feed.name;
    let ods_name = TableName::Ods(feed.clone());
    let recorded = match stage.lake.load(&ods_name).await? {
        Some(ods) => RuleBook::read(&ods_name, &ods)?,
        None => None,
    };
    let book = recorded.unwrap_or_else(|| RuleBook::first(stage.feed));
    let mapping = &book.mappings[book.mapping_at(arrival_date)].event;
    let mut required = named_columns(feed, mapping).map_err(Box::new)?;
    required.extend(stage.feed.columns.iter().flatten().cloned());
    Ok(required)
}

/// The marks under which a file may be known: one taken in as a load of history is not delivered
/// again by an ordinary run.
fn marks_known(late: LatePolicy) -> &'static [LatePolicy] {
    match late {
        LatePolicy::Bounded => &[LatePolicy::Bounded, LatePolicy::Accepted],
        LatePolicy::Accepted => &[LatePolicy::Accepted],
    }
}

/// A file is known by its size and time, else by its content.
fn plan<'f>(
    feed: &str,
    arrival_date: NaiveDate,
    files: &'f [SourceFile],
    late: LatePolicy,
    known: &Ids,
) -> Result<Plan<'f>, SourceError> {
    let marks = marks_known(late);
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
    late: LatePolicy,
) -> Result<BTreeSet<NaiveDate>, LakeError> {
    let known = known_ids(stage).await?;
    let is_seen = |date: NaiveDate, file: &SourceFile| {
        marks_known(late).iter().any(|mark| {
            known.contains(&ids::seen(&stage.feed.name, date, &file.name, &file.stat(), *mark))
        })
    };
    Ok(dates
        .iter()
        .filter(|(date, files)| files.iter().any(|file| !is_seen(**date, file)))
        .map(|(date, _)| *date)
        .collect())
}

/// Whether any file of the feed was ever taken in.
pub async fn has_deliveries(stage: &StageContext<'_>) -> Result<bool, LakeError> {
    Ok(!known_ids(stage).await?.delivery_dates(&stage.feed.name).is_empty())
}

async fn known_ids(stage: &StageContext<'_>) -> Result<Ids, LakeError> {
    let name = TableName::Raw(stage.feed.name.clone());
    match stage.lake.load(&name).await? {
        Some(table) => stage.lake.ids(&name, &table).await,
        None => Ok(Ids::default()),
    }
}

/// One commit of new files.
struct Delivery<'a> {
    stage: &'a StageContext<'a>,
    name: TableName,
    table: DeltaTable,
    arrival_date: NaiveDate,
    late: LatePolicy,
    required: BTreeSet<String>,
}

/// A record that could not be read, and the delivery it came with.
struct Rejected {
    delivery: String,
    row: QuarantinedRow,
}

impl Delivery<'_> {
    async fn append(&self, plan: &Plan<'_>, outcome: &mut StageOutcome) -> Result<(), IngestError> {
        let schema = self.raw_schema()?;
        let mut writer = FileWriter::new(&self.name, &self.table, &schema)?;
        let mut rejected = Vec::new();
        for new in &plan.new {
            if let Err(error) = self.read(new, &schema, &mut writer, &mut rejected).await {
                writer.abort().await;
                return Err(error);
            }
            outcome.read.files += 1;
            outcome.read.bytes += i64::try_from(new.file.bytes).unwrap_or(i64::MAX);
        }
        let rows = writer.rows();
        let adds = writer.close().await?;
        for row in &rejected {
            *outcome.quarantined.entry(row.row.reason.to_owned()).or_default() += 1;
        }
        outcome.rows_new = Some(rows);
        outcome.rows_read = Some(rows + outcome.rows_quarantined());
        outcome.added = FileTotals::of_adds(&adds);
        let deliveries: Vec<Transaction> =
            plan.new.iter().map(|new| ids::transaction(&new.delivery, 1)).collect();
        self.quarantine(&rejected).await?;
        let mut all_ids = deliveries;
        all_ids.extend(plan.seen.iter().map(|id| ids::transaction(id, 1)));
        let dates = BTreeSet::from([self.arrival_date]);
        let read_predicate = Some(date_predicate(&dates));
        let change = Change { adds, ids: all_ids, read_predicate, ..Change::default() };
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
        new: &NewFile<'_>,
        schema: &SchemaRef,
        writer: &mut FileWriter,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), IngestError> {
        let file = new.file;
        let (sender, mut receiver) = mpsc::channel(BATCHES_AHEAD);
        let parser = self.parser(file, schema);
        let parsing = tokio::task::spawn_blocking(move || parser.run(&sender));
        while let Some(parsed) = receiver.recv().await {
            let batch = self
                .raw_batch(&file.name, &parsed.rows, schema)
                .map_err(|source| IngestError::Rows { path: file.path.clone(), source })?;
            writer.write(&batch).await?;
            rejected.extend(parsed.rejected.into_iter().map(|record| Rejected {
                delivery: new.delivery.clone(),
                row: QuarantinedRow {
                    reason: record.reason.as_str(),
                    detail: record.detail,
                    file: file.name.clone(),
                    line: i64::try_from(record.first_line).unwrap_or(i64::MAX),
                    text: Some(record.text),
                },
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
        Parser {
            path: file.path.clone(),
            format: self.stage.feed.format,
            columns: contracts::delivered_columns(schema),
            required: self.required.iter().cloned().collect(),
        }
    }

    /// The columns of the raw table as it is, which may have been created by another mapping.
    fn raw_schema(&self) -> Result<SchemaRef, LakeError> {
        let state = self.table.snapshot().map_err(|source| LakeError::read(&self.name, source))?;
        let stored = state.snapshot().arrow_schema();
        Ok(contracts::raw(&contracts::delivered_columns(&stored)))
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
        commits::commit(&name, &table, change, &provenance).await?;
        fail::fail_point!("raw_quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }
}

/// Reads one file on a blocking thread.
struct Parser {
    path: std::path::PathBuf,
    format: SourceFormat,
    columns: Vec<String>,
    required: Vec<String>,
}

impl Parser {
    fn run(self, sender: &mpsc::Sender<ParsedBatch>) -> Result<(), SourceError> {
        let mut reader =
            RecordReader::open(&self.path, self.format, &self.columns, &self.required)?;
        while let Some(batch) = reader.next_batch(BATCH_ROWS)? {
            if sender.blocking_send(batch).is_err() {
                // The writer failed; its error is the one to report.
                return Ok(());
            }
        }
        Ok(())
    }
}
