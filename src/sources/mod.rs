//! Where events come from: the files of an arrival date, and the records in them.

mod blocks;
mod csv;
mod decode;
mod delivered;
mod discovery;
mod framing;
mod input;
mod jsonl;
mod location;
mod parallel;
mod parquet;
mod raw_batch;
mod reader;
mod verdict;

pub use delivered::FileReader;
pub use discovery::{DiscoveryError, Source, SourceFile};
pub use location::Location;
pub use parallel::ParallelReader;
pub use parquet::ParquetReader;
pub use reader::{
    ParsedBatch, RecordReader, RejectReason, RejectedRecord, SourceError, TextFormat,
};
pub use verdict::FileVerdict;
