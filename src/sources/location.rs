//! Where the bytes of a delivered file are, on a disk or in an object store.
//!
//! An object is read in parts, each asked for only while the object is what it was when it was
//! listed: what comes together is one version of it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver};

/// Bytes of a part.
const PART_BYTES: u64 = 4 << 20;
/// Parts that are asked for before the first of them is waited for.
const PARTS_AT_A_TIME: usize = 4;

/// A delivered file. Reading one from an object store waits: never do it on a thread that
/// carries asynchronous work.
#[derive(Debug, Clone)]
pub struct Location {
    path: PathBuf,
    object: Option<StoredObject>,
}

/// One version of an object.
#[derive(Debug, Clone)]
pub(super) struct StoredObject {
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    /// Carries the requests.
    runtime: Handle,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Location {
    fn from(path: &P) -> Self {
        Self { path: path.as_ref().to_owned(), object: None }
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl Location {
    pub(super) fn in_store(path: PathBuf, object: StoredObject) -> Self {
        Self { path, object: Some(object) }
    }

    /// The path, or the URL of the object, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes from front to back, and how many there are.
    pub fn stream(&self) -> io::Result<(Box<dyn Read + Send>, u64)> {
        if let Some(object) = &self.object {
            return Ok((Box::new(object.stream()), object.bytes()));
        }
        let file = File::open(&self.path)?;
        let bytes = file.metadata()?.len();
        Ok((Box::new(file), bytes))
    }

    pub(super) fn object(&self) -> Option<&StoredObject> {
        self.object.as_ref()
    }
}

impl StoredObject {
    pub(super) fn new(store: Arc<dyn ObjectStore>, meta: ObjectMeta, runtime: Handle) -> Self {
        Self { store, meta, runtime }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.meta.size
    }

    /// What tells this version from every other: its ETag, or its time in a store without.
    pub(super) fn version(&self) -> String {
        match &self.meta.e_tag {
            Some(e_tag) => e_tag.trim_matches('"').to_owned(),
            None => self.meta.last_modified.timestamp_micros().to_string(),
        }
    }

    /// Whether the store still holds this version.
    pub(super) async fn is_unchanged(&self) -> io::Result<bool> {
        let meta = self.store.head(&self.meta.location).await?;
        let is_same_version = match (&meta.e_tag, &self.meta.e_tag) {
            (Some(now), Some(listed)) => now.trim_matches('"') == listed.trim_matches('"'),
            // The answer about one object tells its time in whole seconds.
            _ => meta.last_modified.timestamp() == self.meta.last_modified.timestamp(),
        };
        Ok(is_same_version && meta.size == self.meta.size)
    }

    /// Takes the object out of its store, whatever version it is.
    pub(super) async fn remove(&self) -> io::Result<()> {
        Ok(self.store.delete(&self.meta.location).await?)
    }

    /// Waits for a part.
    pub(super) fn read_part(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.runtime.block_on(self.part(range))
    }

    async fn part(&self, range: Range<u64>) -> io::Result<Bytes> {
        let length = range.end - range.start;
        let e_tag = self.meta.e_tag.clone();
        let options = GetOptions {
            if_unmodified_since: e_tag.is_none().then_some(self.meta.last_modified),
            if_match: e_tag,
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let part = self.store.get_opts(&self.meta.location, options).await?.bytes().await?;
        if part.len() as u64 == length {
            Ok(part)
        } else {
            Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("the store sent {} bytes of {length}", part.len()),
            ))
        }
    }

    /// All parts, some of them asked for ahead.
    fn stream(&self) -> PartStream {
        let (sender, parts) = mpsc::channel(1);
        let object = self.clone();
        let starts = (0..self.meta.size).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX));
        self.runtime.spawn(async move {
            let ranges = starts.map(|start| start..(start + PART_BYTES).min(object.meta.size));
            let mut parts =
                stream::iter(ranges).map(|range| object.part(range)).buffered(PARTS_AT_A_TIME);
            while let Some(part) = parts.next().await {
                // Whoever read may have given up.
                if sender.send(part).await.is_err() {
                    return;
                }
            }
        });
        PartStream { parts, at_hand: Bytes::new(), rest: self.meta.size }
    }
}

/// The parts of an object as they come.
struct PartStream {
    parts: Receiver<io::Result<Bytes>>,
    at_hand: Bytes,
    /// Bytes that were not handed out.
    rest: u64,
}

impl Read for PartStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() && self.rest > 0 {
            self.at_hand = match self.parts.blocking_recv() {
                Some(part) => part?,
                None => return Err(io::Error::other("the program is stopping")),
            };
        }
        let read = self.at_hand.len().min(buffer.len());
        buffer[..read].copy_from_slice(&self.at_hand.split_to(read));
        self.rest -= read as u64;
        Ok(read)
    }
}

/// Whether an error says that the object is no longer what it was.
pub(super) fn is_change(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<object_store::Error>());
    matches!(inner, Some(object_store::Error::Precondition { .. }))
}
