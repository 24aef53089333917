//! One file as a stream of records in columns: reading runs ahead on threads of its own.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::SourceFormat;
use crate::sources::{FileReader, Location, ParsedBatch, ReadLimits, SourceError};
use crate::stages::error::IngestError;

/// Batches that reading may be ahead of whoever takes them.
const BATCHES_AHEAD: usize = 4;

/// What is read, and how.
pub(super) struct FileToRead {
    pub(super) location: Location,
    pub(super) format: SourceFormat,
    /// Fields that get a column of their own.
    pub(super) columns: Vec<String>,
    /// Fields that the file must have.
    pub(super) required: Vec<String>,
    /// Where a header or schema may name no other fields, those that it may.
    pub(super) only: Option<Arc<BTreeSet<String>>>,
    pub(super) threads: NonZeroUsize,
}

/// The batches of one file, in file order.
pub(super) struct Reading {
    path: PathBuf,
    batches: Receiver<ParsedBatch>,
    ended: JoinHandle<Result<String, SourceError>>,
}

impl Reading {
    pub(super) fn start(file: FileToRead) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let path = file.location.path().to_owned();
        let ended = spawn_blocking(move || file.read(&sender));
        Self { path, batches, ended }
    }

    /// None at the end of the file, or where it could not be read on.
    pub(super) async fn next(&mut self) -> Option<ParsedBatch> {
        self.batches.recv().await
    }

    /// The content hash of the file, or why it could not be read. What was not read of it yet is
    /// only hashed.
    pub(super) async fn content_hash(self) -> Result<String, IngestError> {
        drop(self.batches);
        match self.ended.await {
            Ok(read) => Ok(read?),
            Err(_) => Err(IngestError::Interrupted { path: self.path }),
        }
    }
}

impl FileToRead {
    fn read(self, sender: &Sender<ParsedBatch>) -> Result<String, SourceError> {
        let mut reader = FileReader::open(
            &self.location,
            self.format,
            &self.columns,
            &self.required,
            self.threads,
            ReadLimits::default(),
        )?;
        if let (Some(only), Some(names)) = (&self.only, reader.names()) {
            let extra: Vec<String> =
                names.into_iter().filter(|name| !only.contains(name)).collect();
            if !extra.is_empty() {
                let path = self.location.path().to_owned();
                return Err(SourceError::ExtraColumns { path, extra });
            }
        }
        while let Some(batch) = reader.next_batch()? {
            if sender.blocking_send(batch).is_err() {
                // Whoever took the batches failed; that error is the one to report.
                break;
            }
        }
        reader.content_hash()
    }
}
