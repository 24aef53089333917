//! A delivered file of any format, as batches of text.

use std::num::NonZeroUsize;

use super::limits::ReadLimits;
use super::location::Location;
use super::parallel::ParallelReader;
use super::parquet::ParquetReader;
use super::reader::{ParsedBatch, SourceError, TextFormat};
use crate::config::SourceFormat;

/// Reads one file from front to back, on several threads. After an error it is of no further use.
pub enum FileReader {
    /// CSV or JSON lines.
    Text(Box<ParallelReader>),
    /// Parquet.
    Parquet(ParquetReader),
}

impl FileReader {
    /// Opens a file. `columns` are the fields that get a column of their own; a CSV header and a
    /// Parquet schema must have all of `required`, a JSON object may lack any.
    pub fn open(
        location: &Location,
        format: SourceFormat,
        columns: &[String],
        required: &[String],
        threads: NonZeroUsize,
        limits: ReadLimits,
    ) -> Result<Self, SourceError> {
        let text = |format| {
            let reader =
                ParallelReader::open(location, format, columns, required, threads, limits)?;
            Ok(Self::Text(Box::new(reader)))
        };
        match format {
            SourceFormat::Csv => text(TextFormat::Csv),
            SourceFormat::Jsonl => text(TextFormat::Jsonl),
            SourceFormat::Parquet => Ok(Self::Parquet(ParquetReader::open(
                location, columns, required, threads, limits,
            )?)),
        }
    }

    /// The columns that a CSV header or a Parquet schema names, in its order; none of JSON lines.
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(reader) => reader.header(),
            Self::Parquet(reader) => Some(reader.names().to_vec()),
        }
    }

    /// The next records, good and bad, in file order; none at the end of the file. A batch may
    /// have no row at all before the end is reached.
    pub fn next_batch(&mut self) -> Result<Option<ParsedBatch>, SourceError> {
        match self {
            Self::Text(reader) => reader.next_batch(),
            Self::Parquet(reader) => reader.next_batch(),
        }
    }

    /// SHA-256 of the file as delivered, in hexadecimal; reads what was not read yet.
    pub fn content_hash(self) -> Result<String, SourceError> {
        match self {
            Self::Text(reader) => reader.content_hash(),
            Self::Parquet(reader) => reader.content_hash(),
        }
    }
}
