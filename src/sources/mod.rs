//! Where events come from: the files of an arrival date, and the records in them.

mod csv;
mod decode;
mod discovery;
mod framing;
mod jsonl;
mod raw_batch;
mod reader;

pub use discovery::{DiscoveryError, SourceFile, all_files, files_of};
pub use reader::{ParsedBatch, RecordReader, RejectReason, RejectedRecord, SourceError};
