//! Parquet files: each row a delivered row, its values as text ([`text`]).
//!
//! What counts is the file's own schema; a schema of Arrow that its writer put beside it is not
//! looked at, so that the same file means the same whoever wrote it. A few threads read a row
//! group each; the rows come out in file order.

mod bytes;
mod text;

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::reader::Length as _;

use self::bytes::FileBytes;
use self::text::Form;
use super::input::Input;
use super::limits::{Limits, ReadLimits};
use super::location::Location;
use super::nested::{NestedColumns, is_given};
use super::raw_batch::{RawBatch, json_string};
use super::reader::{MissingColumn, ParsedBatch, SourceError, check_columns};

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 8 * 1024;
/// Bytes of a batch as the file counts them, about.
const BATCH_BYTES: usize = 1 << 20;
/// Batches of a row group that are read before somebody asks for them.
const BATCHES_AHEAD: usize = 16;

/// Reads one Parquet file from front to back, on several threads. Memory holds some batches and
/// the blocks they come from, neither the file nor a row group. After an error the reader is of
/// no further use.
pub struct ParquetReader {
    path: PathBuf,
    jobs: Sender<Job>,
    threads: usize,
    /// Row groups that no thread was asked for: their numbers, and the number of their first row.
    groups: VecDeque<(usize, u64)>,
    /// Row groups that are being read, in file order.
    in_flight: VecDeque<Receiver<Parsed>>,
    content_hash: JoinHandle<Result<String, SourceError>>,
    names: Vec<String>,
}

/// One batch of a row group; none at its end.
type Parsed = Result<Option<ParsedBatch>, SourceError>;

struct Job {
    group: usize,
    first_row: u64,
    parsed: SyncSender<Parsed>,
}

impl ParquetReader {
    /// Opens a Parquet file.
    ///
    /// `columns` are the fields that get a column of their own, in that order, matched exactly.
    /// The file must have all of `required`, whether or not they have a column of their own.
    pub fn open(
        file: impl Into<Location>,
        columns: &[String],
        required: &[String],
        threads: NonZeroUsize,
        limits: ReadLimits,
    ) -> Result<Self, SourceError> {
        let location = file.into();
        let path = location.path();
        check_columns(path, columns)?;
        let metadata = metadata(&location)?;
        let names: Vec<String> =
            metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        if names.len() > limits.max_columns {
            let (found, limit) = (names.len(), limits.max_columns);
            return Err(SourceError::SchemaTooWide { path: path.to_owned(), found, limit });
        }
        check_names(path, &names, required)?;
        let mut first_row = 1;
        let mut groups = VecDeque::new();
        for (group, described) in metadata.metadata().row_groups().iter().enumerate() {
            groups.push_back((group, first_row));
            first_row += u64::try_from(described.num_rows()).unwrap_or(0);
        }
        let threads = threads.get().min(groups.len());
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let nested = NestedColumns::new(columns);
            let parser = Parser {
                location: location.clone(),
                metadata: metadata.clone(),
                targets: targets(&names, columns),
                roots: names.iter().map(|name| nested.root(name)).collect(),
                nested,
                batch: RawBatch::new(columns),
            };
            let queue = Arc::clone(&queue);
            thread::spawn(move || parser.run(&queue));
        }
        let content_hash = thread::spawn({
            let location = location.clone();
            move || Input::open(location, Limits::default())?.content_hash()
        });
        let path = path.to_owned();
        Ok(Self { path, jobs, threads, groups, in_flight: VecDeque::new(), content_hash, names })
    }

    /// The columns of the schema, in its order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The next rows, in file order; none at the end of the file.
    pub fn next_batch(&mut self) -> Result<Option<ParsedBatch>, SourceError> {
        loop {
            self.read_ahead()?;
            let Some(parsed) = self.in_flight.front() else {
                return Ok(None);
            };
            match parsed.recv() {
                Ok(Ok(None)) => drop(self.in_flight.pop_front()),
                Ok(batch) => return batch,
                Err(_) => return Err(self.interrupted()),
            }
        }
    }

    /// SHA-256 of the file as delivered, in hexadecimal.
    pub fn content_hash(self) -> Result<String, SourceError> {
        let interrupted = self.interrupted();
        self.content_hash.join().unwrap_or(Err(interrupted))
    }

    /// Keeps the threads busy.
    fn read_ahead(&mut self) -> Result<(), SourceError> {
        while self.in_flight.len() < self.threads
            && let Some((group, first_row)) = self.groups.pop_front()
        {
            let (parsed, parsing) = mpsc::sync_channel(BATCHES_AHEAD);
            let job = Job { group, first_row, parsed };
            self.jobs.send(job).map_err(|_| self.interrupted())?;
            self.in_flight.push_back(parsing);
        }
        Ok(())
    }

    fn interrupted(&self) -> SourceError {
        SourceError::Interrupted { path: self.path.clone() }
    }
}

fn metadata(location: &Location) -> Result<ArrowReaderMetadata, SourceError> {
    let file = FileBytes::open(location, 0)?;
    if file.len() == 0 {
        return Err(SourceError::Empty { path: location.path().to_owned() });
    }
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ArrowReaderMetadata::load(&file, options).map_err(|source| {
        let path = location.path().to_owned();
        match not_read(location.path(), &file, source) {
            SourceError::Parquet { source, .. } => {
                match (file.begins_with_magic(), file.ends_with_magic()) {
                    (Ok(false), _) => SourceError::NotParquet { path },
                    (Ok(true), Ok(false)) => SourceError::CutOff { path, source },
                    (Ok(true), Ok(true)) => SourceError::Parquet { path, source },
                    (Err(source), _) | (_, Err(source)) => {
                        SourceError::reading_failed(path, source)
                    }
                }
            }
            failure => failure,
        }
    })
}

/// Either the file could not be read, or what is in it.
fn not_read(path: &Path, file: &FileBytes, source: ParquetError) -> SourceError {
    let path = path.to_owned();
    match file.take_failure() {
        Some(source) => SourceError::reading_failed(path, source),
        None => SourceError::Parquet { path, source },
    }
}

fn check_names(path: &Path, names: &[String], required: &[String]) -> Result<(), SourceError> {
    let mut seen = HashSet::new();
    let repeated: HashSet<&String> = names.iter().filter(|name| !seen.insert(*name)).collect();
    if !repeated.is_empty() {
        let mut names: Vec<String> = repeated.into_iter().cloned().collect();
        names.sort();
        return Err(SourceError::RepeatedColumns { path: path.to_owned(), names });
    }
    let missing = required.iter().filter(|name| !is_given(name, &seen));
    let missing: Vec<_> = missing.map(|name| MissingColumn::new(name, names)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(SourceError::SchemaLacks { path: path.to_owned(), missing, columns: names.to_vec() })
}

/// Where the values of a column go.
enum Target {
    /// Into a column of their own.
    Column(usize),
    /// Into `_extra`, under this name as JSON.
    Extra(String),
}

/// One for each column of the file.
fn targets(names: &[String], columns: &[String]) -> Vec<Target> {
    let positions: HashMap<&String, usize> =
        columns.iter().enumerate().map(|(at, name)| (name, at)).collect();
    let target = |name: &String| match positions.get(name) {
        Some(column) => Target::Column(*column),
        None => Target::Extra(json_string(name)),
    };
    names.iter().map(target).collect()
}

/// Whoever asked for a row group wants no more of it.
struct GivenUp;

struct Parser {
    location: Location,
    metadata: ArrowReaderMetadata,
    targets: Vec<Target>,
    /// For each column of the file, whether paths of declared columns begin in it.
    roots: Vec<Option<usize>>,
    nested: NestedColumns,
    batch: RawBatch,
}

impl Parser {
    fn run(mut self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else {
                return;
            };
            let last = match self.parse(&job) {
                Ok(Ok(())) => Ok(None),
                Ok(Err(GivenUp)) => return,
                Err(error) => Err(error),
            };
            // The reader may have been given up.
            let _ = job.parsed.send(last);
        }
    }

    fn parse(&mut self, job: &Job) -> Result<Result<(), GivenUp>, SourceError> {
        let file = FileBytes::open(&self.location, self.metadata.parquet_schema().num_columns())?;
        let path = self.location.path().to_owned();
        let not_read = |source: ParquetError| not_read(&path, &file, source);
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), self.metadata.clone())
                .with_row_groups(vec![job.group])
                .with_batch_size(self.batch_rows(job.group))
                .build()
                .map_err(not_read)?;
        let mut row = job.first_row;
        for rows in reader {
            let rows = rows.map_err(|source| not_read(source.into()))?;
            self.append(&rows, row).map_err(|source| self.not_laid_out(source))?;
            row += rows.num_rows() as u64;
            let batch = self.batch.finish().map_err(|source| self.not_laid_out(source))?;
            if job.parsed.send(Ok(Some(batch))).is_err() {
                return Ok(Err(GivenUp));
            }
        }
        Ok(Ok(()))
    }

    fn batch_rows(&self, group: usize) -> usize {
        let group = self.metadata.metadata().row_group(group);
        let rows = usize::try_from(group.num_rows()).unwrap_or(0).max(1);
        let row_bytes = usize::try_from(group.total_byte_size()).unwrap_or(0) / rows;
        (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS)
    }

    fn append(&mut self, rows: &RecordBatch, first_row: u64) -> Result<(), ArrowError> {
        let mut value = String::new();
        for row in 0..rows.num_rows() {
            let mut row_bytes = 0;
            self.nested.clear();
            for ((column, target), root) in
                rows.columns().iter().zip(&self.targets).zip(&self.roots)
            {
                if column.is_null(row) {
                    continue;
                }
                if let (Target::Column(at), DataType::Utf8, None) =
                    (target, column.data_type(), root)
                {
                    let text = column.as_string::<i32>().value(row);
                    self.batch.set(*at, text);
                    row_bytes += text.len();
                    continue;
                }
                value.clear();
                let form = text::push_text(column, row, &mut value)?;
                row_bytes += value.len();
                if let Some(root) = root {
                    self.nested.put(*root, &value);
                }
                match (target, form) {
                    (Target::Column(at), _) => self.batch.set(*at, &value),
                    (Target::Extra(key), Form::Json) => self.batch.extra.push_json(key, &value),
                    (Target::Extra(key), Form::Text) => self.batch.extra.push_text(key, &value),
                }
            }
            self.nested.fill(&mut self.batch);
            self.batch.end_row(first_row + row as u64, row_bytes);
        }
        Ok(())
    }

    fn not_laid_out(&self, source: ArrowError) -> SourceError {
        SourceError::Batch { path: self.location.path().to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
