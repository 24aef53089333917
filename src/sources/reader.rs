//! One delivered text file as a stream of batches and the records that could not be read.
//!
//! | what | where it goes |
//! |---|---|
//! | a field of `columns` | its own text column; blank or absent is null |
//! | any other field | `_extra`, the text of one JSON object in the file's order |
//! | a record that breaks its format | [`ParsedBatch::rejected`], with line, text and reason |
//! | a file that cannot be read at all | [`SourceError`] |

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use deltalake::parquet::errors::ParquetError;
use serde::Serialize;

use super::csv::CsvRecords;
use super::decode::Window;
use super::input::Input;
use super::jsonl::JsonlRecords;
use super::limits::{Limits, ReadLimits};
use super::location::{Location, is_change};
use super::raw_batch::{EXTRA_COLUMN, LINE_COLUMN, RawBatch};

/// How the lines of a text file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Reads one file from front to back. Memory depends on the batch asked for and on the
/// longest record that the limits allow, not on the file. After an error the reader is of no further use.
pub struct RecordReader {
    path: PathBuf,
    pub(super) records: Records,
    batch: RawBatch,
}

/// The records of one file, or of blocks of it, by format.
pub(super) enum Records {
    Csv(CsvRecords),
    Jsonl(JsonlRecords),
}

impl Records {
    /// Reads records into `batch` until it is full, or the file or block ends.
    pub(super) fn fill(
        &mut self,
        batch: &mut RawBatch,
        max_rows: usize,
    ) -> Result<(), SourceError> {
        match self {
            Self::Csv(records) => records.fill(batch, max_rows),
            Self::Jsonl(records) => records.fill(batch, max_rows),
        }
    }

    /// Goes on with another window and returns the one before.
    pub(super) fn replace_window(&mut self, window: Window) -> Window {
        match self {
            Self::Csv(records) => records.replace_window(window),
            Self::Jsonl(records) => records.replace_window(window),
        }
    }

    /// The names of a CSV header.
    pub(super) fn header(&self) -> Option<Vec<String>> {
        match self {
            Self::Csv(records) => Some(records.names()),
            Self::Jsonl(_) => None,
        }
    }

    /// The same header and columns, for blocks of the file.
    pub(super) fn for_blocks(&self) -> Self {
        match self {
            Self::Csv(records) => Self::Csv(records.for_blocks()),
            Self::Jsonl(records) => Self::Jsonl(records.for_blocks()),
        }
    }
}

impl RecordReader {
    /// Opens `file`, which is decompressed when its name ends in `.gz` or `.zst`, and reads a CSV
    /// header.
    ///
    /// `columns` are the fields that get a column of their own, in that order, matched exactly. A
    /// CSV header must have all of `required`, whether or not they have a column of their own; a
    /// JSON object may lack any.
    pub fn open(
        file: impl Into<Location>,
        format: TextFormat,
        columns: &[String],
        required: &[String],
        limits: ReadLimits,
    ) -> Result<Self, SourceError> {
        Self::open_within(file, format, columns, required, limits.into())
    }

    pub(super) fn open_within(
        file: impl Into<Location>,
        format: TextFormat,
        columns: &[String],
        required: &[String],
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let location = file.into();
        let path = location.path();
        check_columns(path, columns)?;
        let window = Window::open(&location, limits)?;
        let records = match format {
            TextFormat::Csv => {
                Records::Csv(CsvRecords::open(window, limits.read, columns, required)?)
            }
            TextFormat::Jsonl => Records::Jsonl(JsonlRecords::open(window, limits.read, columns)),
        };
        Ok(Self { path: path.to_owned(), records, batch: RawBatch::new(columns) })
    }

    /// The next good records, at most `max_rows` (0 counts as 1), with the bad ones between them.
    ///
    /// None at the end of the file. A batch also ends after `max_rows` bad records or 64 MiB of
    /// text, so it may be short, or have no row at all, before the end is reached.
    pub fn next_batch(&mut self, max_rows: usize) -> Result<Option<ParsedBatch>, SourceError> {
        self.records.fill(&mut self.batch, max_rows)?;
        if self.batch.is_empty() {
            return Ok(None);
        }
        let batch = self.batch.finish();
        batch.map(Some).map_err(|source| SourceError::Batch { path: self.path.clone(), source })
    }

    /// The file, however far it was read; none when another has taken it over.
    pub(super) fn into_input(mut self) -> Option<Input> {
        self.records.replace_window(Window::closed()).into_rest().0
    }
}

/// Refuses columns that do not fit into one table.
pub(super) fn check_columns(path: &Path, columns: &[String]) -> Result<(), SourceError> {
    let mut seen = HashSet::from([EXTRA_COLUMN, LINE_COLUMN]);
    match columns.iter().find(|name| !seen.insert(name)) {
        Some(name) => Err(SourceError::Columns { path: path.to_owned(), name: name.clone() }),
        None => Ok(()),
    }
}

/// Consecutive records of a file, good and bad.
#[derive(Debug)]
pub struct ParsedBatch {
    /// One row per good record, in file order: the declared columns (Utf8, nullable), `_extra`
    /// (Utf8, nullable) and `_line` (Int64, not null, the record's first physical line from 1; of
    /// a Parquet file the number of the row, from 1).
    pub rows: RecordBatch,
    /// The bad records, in file order.
    pub rejected: Vec<RejectedRecord>,
}

/// A record, or the first line of one, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// First physical line, from 1; a CSV header is line 1.
    pub first_line: u64,
    /// The record without its line end, as UTF-8 with replacement characters, at most 64 KiB.
    pub text: String,
    /// The kind of fault.
    pub reason: RejectReason,
    /// What exactly is wrong, for the person who mends the file.
    pub detail: String,
}

/// Why a record could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// More or fewer fields than the CSV header.
    FieldCount,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A quote that is not closed before the end of the file or the length limit. Only the
    /// record's first physical line is rejected; the lines behind it are read as records again.
    UnclosedQuote,
    /// A line that is not JSON.
    InvalidJson,
    /// A line that is JSON, but not an object.
    NotAnObject,
    /// A physical line longer than the limit.
    RecordTooLong,
    /// A CSV record with a NUL byte: damage, or text of another encoding.
    NulByte,
    /// A JSON object of more keys than the limit.
    TooManyColumns,
}

impl RejectReason {
    /// The reason as it is stored and logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldCount => "field_count",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UnclosedQuote => "unclosed_quote",
            Self::InvalidJson => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::RecordTooLong => "record_too_long",
            Self::NulByte => "nul_byte",
            Self::TooManyColumns => "too_many_columns",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file that cannot be read; no part of it should be kept.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is missing or not ours to read.
    #[error("cannot open {}; check that it exists and that this user may read it", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A rejected file does not leave its source.
    #[error(
        "cannot remove {} from its source, though it was copied; check the permissions, the next \
         run tries again", .path.display()
    )]
    Removal {
        /// The file.
        path: PathBuf,
        /// The reason of the operating system or the store.
        source: io::Error,
    },
    /// A folder where a file should be.
    #[error(
        "{} is a folder; put a file in its place, or add `/*` and the ending of its files to the \
         path of the feed", .path.display()
    )]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The disk or network failed under an open file.
    #[error(
        "reading {} failed behind line {line}; check the disk or mount, then run again",
        .path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// First physical line that was not read.
        line: u64,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The disk or network failed under an open file that has no lines.
    #[error("reading {} failed; check the disk or mount, then run again", .path.display())]
    ReadAt {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// An object is no longer what it was when it was listed.
    #[error("{} changed while it was read; run again", .path.display())]
    Changed {
        /// The object.
        path: PathBuf,
    },
    /// The compressed data is damaged or cut off.
    #[error(
        "the {compression} data of {} is damaged or cut off behind line {line}; deliver the file \
         again",
        .path.display()
    )]
    Compressed {
        /// The file.
        path: PathBuf,
        /// What it is compressed with.
        compression: &'static str,
        /// First physical line that was not read.
        line: u64,
        /// The decoder's reason.
        source: io::Error,
    },
    /// A name that claims a compression which the first bytes do not show.
    #[error(
        "{} is not {compression} data, whatever its name says; deliver it under a name without \
         the ending, or compressed",
        .path.display()
    )]
    NotCompressed {
        /// The file.
        path: PathBuf,
        /// What its name says.
        compression: &'static str,
    },
    /// A compressed file comes to far more than its size.
    #[error(
        "the {compression} data of {} comes to more than {limit_bytes} bytes, from a file of \
         {bytes}; no more than {max_expansion} times its size is read: deliver it in parts that \
         are not as dense, or plain",
        .path.display()
    )]
    Expansion {
        /// The file.
        path: PathBuf,
        /// What it is compressed with.
        compression: &'static str,
        /// Size of the file.
        bytes: u64,
        /// Decoded bytes that it may come to.
        limit_bytes: u64,
        /// Decoded bytes for each of its own.
        max_expansion: u64,
    },
    /// The first bytes show something other than UTF-8 text.
    #[error(
        "{} is {encoding}; deliver UTF-8 text, plain or compressed under a name in .gz or .zst, or \
         correct the format of the feed",
        .path.display()
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What the first bytes show.
        encoding: &'static str,
    },
    /// The caller's list of columns cannot become a table.
    #[error(
        "cannot read {}: the column `{name}` is declared twice or reserved; rename it in the feed",
        .path.display()
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// The repeated or reserved name.
        name: String,
    },
    /// Not a single byte.
    #[error("{} is empty; was it written to its end? deliver it again", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A CSV file without any line.
    #[error("{} is blank; a CSV file needs at least its header line", .path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
    /// The CSV header breaks the format.
    #[error(
        "cannot read the header of {} in line {line}: {detail}; deliver the file again",
        .path.display()
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// Physical line of the header, from 1.
        line: u64,
        /// The kind of fault.
        reason: RejectReason,
        /// What exactly is wrong.
        detail: String,
    },
    /// The lines of a CSV file end in CR alone.
    #[error(
        "the lines of {} end in a carriage return alone (byte offset {offset} of line {line}); \
         deliver lines that end in LF or CRLF",
        .path.display()
    )]
    LineEnds {
        /// The file.
        path: PathBuf,
        /// Physical line of the header, from 1.
        line: u64,
        /// Of the first CR that no LF follows.
        offset: usize,
    },
    /// A CSV header has more names than a reader takes.
    #[error(
        "the header of {} in line {line} has {found} columns, {limit} are the most that is read; \
         is it a header at all, is the delimiter a comma?",
        .path.display()
    )]
    TooManyColumns {
        /// The file.
        path: PathBuf,
        /// Physical line of the header, from 1.
        line: u64,
        /// Columns of the header.
        found: usize,
        /// The most that is read.
        limit: usize,
    },
    /// A Parquet schema has more columns than a reader takes.
    #[error(
        "the schema of {} has {found} columns, {limit} are the most that is read; deliver fewer",
        .path.display()
    )]
    SchemaTooWide {
        /// The file.
        path: PathBuf,
        /// Columns of the schema.
        found: usize,
        /// The most that is read.
        limit: usize,
    },
    /// A CSV header names a column more than once.
    #[error(
        "the header of {} in line {line} repeats {}; give every column a name of its own",
        .path.display(), quoted(.names)
    )]
    DuplicateHeader {
        /// The file.
        path: PathBuf,
        /// Physical line of the header, from 1.
        line: u64,
        /// Each repeated name, once.
        names: Vec<String>,
    },
    /// A CSV header lacks declared columns.
    #[error(
        "the header of {} in line {line} lacks {}; it has {}; correct the file or the columns of \
         the feed",
        .path.display(), joined(.missing), quoted(.header)
    )]
    MissingColumns {
        /// The file.
        path: PathBuf,
        /// Physical line of the header, from 1.
        line: u64,
        /// All columns that are missing.
        missing: Vec<MissingColumn>,
        /// The columns that are there, in the file's order.
        header: Vec<String>,
    },
    /// A header or schema names columns that the feed does not.
    #[error(
        "{} has {}, which the feed does not name, and on_extra_column is \"reject\"; correct the \
         file, or add them to the columns of the feed",
        .path.display(), quoted(.extra)
    )]
    ExtraColumns {
        /// The file.
        path: PathBuf,
        /// The columns that nothing names, in the file's order.
        extra: Vec<String>,
    },
    /// The first bytes are not those of a Parquet file.
    #[error(
        "{} is not a Parquet file; deliver one, or correct the format of the feed",
        .path.display()
    )]
    NotParquet {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file whose last bytes are not there.
    #[error(
        "the Parquet file {} is cut off, its end is missing; deliver the file again",
        .path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: ParquetError,
    },
    /// A Parquet file that its reader does not take.
    #[error("the Parquet file {} is damaged; deliver the file again", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: ParquetError,
    },
    /// A Parquet schema names a column more than once.
    #[error(
        "the schema of {} repeats {}; give every column a name of its own",
        .path.display(), quoted(.names)
    )]
    RepeatedColumns {
        /// The file.
        path: PathBuf,
        /// Each repeated name, once.
        names: Vec<String>,
    },
    /// A Parquet schema lacks declared columns.
    #[error(
        "the schema of {} lacks {}; it has {}; correct the file or the columns of the feed",
        .path.display(), joined(.missing), quoted(.columns)
    )]
    SchemaLacks {
        /// The file.
        path: PathBuf,
        /// All columns that are missing.
        missing: Vec<MissingColumn>,
        /// The columns that are there, in the file's order.
        columns: Vec<String>,
    },
    /// A reading thread ended without a result: a bug of ours.
    #[error("reading {} was interrupted; run again, and report it should it repeat", .path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
    /// Arrow refused columns of equal length and declared type: a bug of ours.
    #[error("the records of {} do not form a batch; please report this bug", .path.display())]
    Batch {
        /// The file.
        path: PathBuf,
        /// Arrow's reason.
        source: ArrowError,
    },
}

impl SourceError {
    /// A file that cannot be read on, where no line can be told.
    pub(super) fn reading_failed(path: PathBuf, source: io::Error) -> Self {
        if is_change(&source) { Self::Changed { path } } else { Self::ReadAt { path, source } }
    }
}

/// A declared column that a header lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingColumn {
    /// The declared name.
    pub name: String,
    /// The most similar name of the header, when one is similar at all.
    pub nearest: Option<String>,
}

impl MissingColumn {
    /// Jaro-Winkler similarity above which a name is worth suggesting.
    const SIMILAR: f64 = 0.75;

    pub(super) fn new(name: &str, header: &[String]) -> Self {
        let plain = |name: &str| name.trim().to_lowercase();
        let similarity = |other: &str| strsim::jaro_winkler(&plain(name), &plain(other));
        let nearest = header
            .iter()
            .map(|other| (similarity(other), other))
            .filter(|(similarity, _)| *similarity >= Self::SIMILAR)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, other)| other.clone());
        Self { name: name.to_owned(), nearest }
    }
}

impl fmt::Display for MissingColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "`{}` (is it `{nearest}`?)", self.name),
            None => write!(f, "`{}`", self.name),
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn joined(columns: &[MissingColumn]) -> String {
    columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the tests of the formats share.
#[cfg(test)]
pub(super) mod testing {
    use std::num::NonZeroUsize;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use sha2::{Digest as _, Sha256};

    use super::super::parallel::ParallelReader;
    use super::*;

    /// Everything read from one file.
    #[derive(Debug, Default, PartialEq)]
    pub(crate) struct Outcome {
        /// First line and values: the columns, then `_extra`.
        pub(crate) rows: Vec<(i64, Vec<Option<String>>)>,
        pub(crate) rejected: Vec<RejectedRecord>,
    }

    impl Outcome {
        /// The values of each row; null is `-`.
        pub(crate) fn values(&self) -> Vec<Vec<&str>> {
            let values = self.rows.iter().map(|(_, values)| values.iter());
            values.map(|row| row.map(|value| value.as_deref().unwrap_or("-")).collect()).collect()
        }

        pub(crate) fn lines(&self) -> Vec<i64> {
            self.rows.iter().map(|(line, _)| *line).collect()
        }

        pub(crate) fn rejects(&self) -> Vec<(u64, RejectReason, &str)> {
            self.rejected.iter().map(|r| (r.first_line, r.reason, r.text.as_str())).collect()
        }
    }

    pub(crate) fn limits(block_bytes: usize, max_record_bytes: usize) -> Limits {
        let read = ReadLimits { max_record_bytes, ..ReadLimits::default() };
        Limits { block_bytes, cut_bytes: block_bytes, ..Limits::from(read) }
    }

    /// What is read in sequence, which reading on several threads must come to as well.
    pub(crate) fn read(
        format: TextFormat,
        content: &[u8],
        columns: &[&str],
        limits: Limits,
    ) -> Result<Outcome, SourceError> {
        read_named("batch", format, content, columns, limits)
    }

    pub(crate) fn read_named(
        name: &str,
        format: TextFormat,
        content: &[u8],
        columns: &[&str],
        limits: Limits,
    ) -> Result<Outcome, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let sequential = read_in_sequence(&path, format, &columns, limits);
        let parallel = read_in_parallel(&path, format, &columns, limits);
        match (&sequential, &parallel) {
            (Ok(sequential), Ok(parallel)) => assert_eq!(parallel, sequential),
            (Err(sequential), Err(parallel)) => {
                assert_eq!(parallel.to_string(), sequential.to_string());
            }
            (sequential, parallel) => panic!("{sequential:?} is not {parallel:?}"),
        }
        sequential
    }

    fn read_in_sequence(
        path: &Path,
        format: TextFormat,
        columns: &[String],
        limits: Limits,
    ) -> Result<Outcome, SourceError> {
        let mut reader = RecordReader::open_within(path, format, columns, columns, limits)?;
        let mut outcome = Outcome::default();
        while let Some(batch) = reader.next_batch(3)? {
            assert!(batch.rows.num_rows() <= 3 && batch.rejected.len() <= 3);
            collect(&batch, &mut outcome);
        }
        Ok(outcome)
    }

    fn read_in_parallel(
        path: &Path,
        format: TextFormat,
        columns: &[String],
        limits: Limits,
    ) -> Result<Outcome, SourceError> {
        let threads = NonZeroUsize::new(2).unwrap();
        let mut reader =
            ParallelReader::open_within(path, format, columns, columns, threads, limits)?;
        let mut outcome = Outcome::default();
        while let Some(batch) = reader.next_batch()? {
            collect(&batch, &mut outcome);
        }
        let digest = Sha256::digest(std::fs::read(path).unwrap());
        assert_eq!(reader.content_hash()?, format!("{digest:x}"));
        Ok(outcome)
    }

    fn collect(batch: &ParsedBatch, outcome: &mut Outcome) {
        let (lines, texts) = batch.rows.columns().split_last().unwrap();
        let lines = lines.as_primitive::<Int64Type>();
        for row in 0..batch.rows.num_rows() {
            let texts = texts.iter().map(AsArray::as_string::<i32>);
            let values = texts.map(|c| c.is_valid(row).then(|| c.value(row).to_owned()));
            outcome.rows.push((lines.value(row), values.collect()));
        }
        outcome.rejected.extend(batch.rejected.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{limits, read};
    use super::*;

    fn error(content: &str, columns: &[&str]) -> String {
        let error = read(TextFormat::Csv, content.as_bytes(), columns, Limits::default());
        let message = error.unwrap_err().to_string();
        let (_, behind_path) = message.split_once("batch").unwrap();
        behind_path.trim_start().to_owned()
    }

    #[test]
    fn a_header_without_declared_columns_names_them_all_and_the_nearest() {
        assert_eq!(
            error("\n\"userid\",Product-Code ,x\n", &["user_id", "product_code", "x", "zzz"]),
            "in line 2 lacks `user_id` (is it `userid`?), `product_code` (is it `Product-Code `?), \
             `zzz`; it has `userid`, `Product-Code `, `x`; correct the file or the columns of the \
             feed"
        );
    }

    #[test]
    fn an_empty_file_a_repeated_and_a_broken_header_are_errors() {
        assert!(error("", &[]).starts_with("is empty"));
        assert!(error("\n\r\n", &[]).starts_with("is blank"));
        assert!(error("a,b,a,a,c,b\n", &[]).starts_with("in line 1 repeats `a`, `b`;"));
        let unclosed = "in line 1: the quote opened in name 2 is not closed before the end of the";
        assert!(error("a,\"b\n1,2\n", &[]).starts_with(unclosed));
        let long = read(TextFormat::Csv, b"abcdef\n", &[], limits(2, 5)).unwrap_err();
        assert!(long.to_string().contains("in line 1: the line is longer than 5 bytes"));
        let latin = read(TextFormat::Csv, b"a,\xE9\n1,2\n", &[], Limits::default()).unwrap_err();
        assert!(latin.to_string().contains("not UTF-8 at byte offset 2"));
    }

    #[test]
    fn a_repeated_or_reserved_column_is_refused_before_the_file_is_opened() {
        for columns in [["a", "a"], ["a", "_extra"], ["_line", "a"]] {
            let columns = columns.map(str::to_owned);
            let opened = RecordReader::open_within(
                Path::new("no such file"),
                TextFormat::Jsonl,
                &columns,
                &[],
                Limits::default(),
            );
            assert!(matches!(opened.err().unwrap(), SourceError::Columns { .. }));
        }
    }

    #[test]
    fn a_file_with_nothing_behind_its_header_has_no_batch() {
        for content in ["a,b", "a,b\r\n", "a,b\n\n\n"] {
            let outcome = read(TextFormat::Csv, content.as_bytes(), &["b"], Limits::default());
            assert_eq!(outcome.unwrap(), testing::Outcome::default());
        }
        let blank = read(TextFormat::Jsonl, b"\n", &["b"], Limits::default());
        assert_eq!(blank.unwrap(), testing::Outcome::default());
    }

    #[test]
    fn a_column_may_be_kept_that_the_header_does_not_have_and_need_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let columns = ["gone".to_owned(), "a".to_owned()];
        let read = |required: &[String]| {
            let mut reader = RecordReader::open_within(
                &path,
                TextFormat::Csv,
                &columns,
                required,
                Limits::default(),
            )?;
            reader.next_batch(10)
        };
        let rows = read(&["b".to_owned()]).unwrap().unwrap().rows;
        assert_eq!((rows.column(0).null_count(), rows.column(1).null_count()), (1, 0));
        let missing = read(&["gone".to_owned()]).unwrap_err();
        assert!(matches!(missing, SourceError::MissingColumns { .. }), "{missing}");
    }

    #[test]
    fn reasons_are_written_in_lower_case() {
        assert_eq!(RejectReason::NotAnObject.to_string(), "not_an_object");
        assert_eq!(serde_json::to_string(&RejectReason::InvalidUtf8).unwrap(), "\"invalid_utf8\"");
    }
}
