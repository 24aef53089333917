//! The rows of a statement, and how they are printed.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::{csv, json};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::MaxRows;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::{Session, StatementError};

/// Batches that wait to be printed.
const WAITING_BATCHES: usize = 2;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table for people. All rows are held in memory before the first is printed.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One array of objects for each statement.
    Json,
    /// One object on each line.
    NdJson,
}

impl Format {
    /// Every format by its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("table", Self::Table),
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
        ("json", Self::Json),
        ("nd-json", Self::NdJson),
    ];

    pub(super) fn of_cli(self) -> PrintFormat {
        match self {
            Self::Table => PrintFormat::Table,
            Self::Csv => PrintFormat::Csv,
            Self::Tsv => PrintFormat::Tsv,
            Self::Json => PrintFormat::Json,
            Self::NdJson => PrintFormat::NdJson,
        }
    }
}

/// What was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    /// How many rows; `None` of a statement that returns none, such as `set`.
    pub rows: Option<usize>,
    /// Whether there are more, which a limit kept from being asked for.
    pub more: bool,
}

/// The rows of one statement, computed in a task of their own while they are printed.
pub struct Rows {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    task: SpawnedTask<()>,
}

impl Rows {
    pub(super) fn of(mut stream: SendableRecordBatchStream) -> Self {
        let schema = stream.schema();
        let (sender, batches) = mpsc::channel(WAITING_BATCHES);
        let task = SpawnedTask::spawn(async move {
            while let Some(batch) = stream.next().await {
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    return;
                }
            }
        });
        Self { schema, batches, task }
    }

    /// No rows, of no columns.
    pub(super) fn none() -> Self {
        let (_, batches) = mpsc::channel(1);
        let task = SpawnedTask::spawn(async {});
        Self { schema: Schema::empty().into(), batches, task }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        match self.batches.recv().await {
            Some(batch) => batch.map(Some),
            // A task that panicked has sent less than there is.
            None => match (&mut self.task).await {
                Ok(()) => Ok(None),
                Err(join) => Err(DataFusionError::External(Box::new(join))),
            },
        }
    }

    /// Prints the rows as they come; at most `limit` of them.
    pub async fn print(
        mut self,
        session: &Session,
        format: Format,
        limit: Option<usize>,
        out: &mut impl Write,
    ) -> Result<Printed, StatementError> {
        let mut out = Watched { out, gone: false };
        let printed = self.write(session, format, limit, &mut out).await;
        match printed {
            Err(_) if out.gone => Err(StatementError::ReaderGone),
            printed => printed,
        }
    }

    async fn write<W: Write>(
        &mut self,
        session: &Session,
        format: Format,
        limit: Option<usize>,
        out: &mut Watched<'_, W>,
    ) -> Result<Printed, StatementError> {
        let failed = |source| session.failed(source);
        if self.schema.fields().is_empty() {
            while self.next().await.map_err(failed)?.is_some() {}
            return Ok(Printed { rows: None, more: false });
        }
        let mut sheet = Sheet::of(session, format, &self.schema, out).map_err(written)?;
        let mut rows = 0;
        let mut more = false;
        while let Some(batch) = self.next().await.map_err(failed)? {
            let left = limit.map_or(usize::MAX, |limit| limit - rows);
            more = batch.num_rows() > left;
            let batch = batch.slice(0, batch.num_rows().min(left));
            rows += batch.num_rows();
            sheet.write(&batch)?;
            if more {
                break;
            }
        }
        sheet.finish(session, &self.schema)?;
        Ok(Printed { rows: Some(rows), more })
    }
}

/// Remembers that nobody reads any more, which the writers of formats do not tell.
struct Watched<'o, W> {
    out: &'o mut W,
    gone: bool,
}

impl<W> Watched<'_, W> {
    fn seen<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.gone |= matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.seen(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.seen(flushed)
    }
}

fn written(source: ArrowError) -> StatementError {
    match source {
        ArrowError::IoError(_, source) => StatementError::Output(source),
        source => StatementError::Query(Box::new(source.into())),
    }
}

/// What is being written.
enum Sheet<'o, W: Write> {
    Table { batches: Vec<RecordBatch>, held: MemoryReservation, out: &'o mut W },
    Separated(Box<csv::Writer<&'o mut W>>),
    Json(json::Writer<&'o mut W, JsonArray>),
    NdJson(json::Writer<&'o mut W, LineDelimited>),
}

impl<'o, W: Write> Sheet<'o, W> {
    fn of(
        session: &Session,
        format: Format,
        schema: &SchemaRef,
        out: &'o mut W,
    ) -> Result<Self, ArrowError> {
        let separated = |delimiter, out| {
            let builder = csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter);
            let mut writer = builder.build(out);
            // The header, also of no rows.
            writer.write(&flat(&RecordBatch::new_empty(SchemaRef::clone(schema)))?)?;
            Ok(Self::Separated(Box::new(writer)))
        };
        let json = json::WriterBuilder::new().with_explicit_nulls(true);
        match format {
            Format::Table => {
                let pool = &session.context().runtime_env().memory_pool;
                let held = MemoryConsumer::new("rows to print").register(pool);
                Ok(Self::Table { batches: vec![], held, out })
            }
            Format::Csv => separated(b',', out),
            Format::Tsv => separated(b'\t', out),
            Format::Json => Ok(Self::Json(json.build(out))),
            Format::NdJson => Ok(Self::NdJson(json.build(out))),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StatementError> {
        match self {
            Self::Table { batches, held, .. } => {
                held.try_grow(batch.get_array_memory_size())
                    .map_err(|source| StatementError::TooLarge(Box::new(source)))?;
                batches.push(batch.clone());
                Ok(())
            }
            Self::Separated(writer) => {
                flat(batch).and_then(|batch| writer.write(&batch)).map_err(written)
            }
            Self::Json(writer) => writer.write(batch).map_err(written),
            Self::NdJson(writer) => writer.write(batch).map_err(written),
        }
    }

    fn finish(self, session: &Session, schema: &SchemaRef) -> Result<(), StatementError> {
        let flushed = match self {
            Self::Table { batches, out, .. } => {
                let config = session.context().copied_config();
                let options = &config.options().format;
                let (table, schema) = (PrintFormat::Table, SchemaRef::clone(schema));
                table
                    .print_batches(out, schema, &batches, MaxRows::Unlimited, true, options)
                    .map_err(|source| StatementError::Query(Box::new(source)))?;
                out.flush()
            }
            Self::Separated(writer) => writer.into_inner().flush(),
            Self::Json(mut writer) => {
                writer.finish().map_err(written)?;
                let out = writer.into_inner();
                writeln!(out).and_then(|()| out.flush())
            }
            Self::NdJson(mut writer) => {
                writer.finish().map_err(written)?;
                writer.into_inner().flush()
            }
        };
        flushed.map_err(StatementError::Output)
    }
}

/// Lists and other nested values as JSON, for formats that have no place for them.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut columns = batch.columns().to_vec();
    let mut fields = batch.schema().fields().to_vec();
    for (column, field) in columns.iter_mut().zip(&mut fields) {
        if column.data_type().is_nested() {
            *column = as_json(column)?;
            *field = Arc::new(Field::new(field.name(), DataType::Utf8, true));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn as_json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    // Of one column without a name, a row is `{"":VALUE}`.
    const BEFORE: &str = "{\"\":";
    let field = Field::new("", column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![ArrayRef::clone(column)])?;
    let builder = json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let written = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    let value = |line| str::strip_suffix(str::strip_prefix(line, BEFORE)?, "}");
    let values = written.lines().map(value).enumerate();
    let texts = values.map(|(row, value)| value.filter(|_| column.is_valid(row)));
    Ok(Arc::new(texts.collect::<StringArray>()))
}
