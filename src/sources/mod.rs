//! Where events come from: the files of an arrival date, and the records in them.

mod blocks;
mod csv;
mod decode;
mod delivered;
mod discovery;
mod framing;
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a long run says how much it tried")]
mod fuzz;
mod input;
mod jsonl;
mod limits;
mod location;
mod nested;
mod parallel;
mod parquet;
mod raw_batch;
mod reader;
mod verdict;

pub use delivered::FileReader;
pub use discovery::{DiscoveryError, Source, SourceFile};
pub use limits::ReadLimits;
pub use location::Location;
pub(crate) use nested::{path_of, text_at, text_of};
pub use parallel::ParallelReader;
pub use parquet::ParquetReader;
pub use reader::{
    ParsedBatch, RecordReader, RejectReason, RejectedRecord, SourceError, TextFormat,
};
pub use verdict::FileVerdict;
