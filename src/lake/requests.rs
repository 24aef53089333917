//! What a process asked of the store, counted by kind.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests by kind and the bytes they moved, since the lake was opened.
///
/// A request is what an object store would bill: a read of several near ranges is one, each part
/// of a large upload is one, and each deleted file is one, though S3 deletes a thousand at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Requests {
    /// Reads of a file or of a range of it.
    pub gets: u64,
    /// Questions for a file's size and time.
    pub heads: u64,
    /// Listings.
    pub lists: u64,
    /// Writes of a file or of a part of it.
    pub puts: u64,
    /// Copies and renames.
    pub copies: u64,
    /// Deleted files.
    pub deletes: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

impl Requests {
    /// Requests of every kind.
    pub fn total(&self) -> u64 {
        self.gets + self.heads + self.lists + self.puts + self.copies + self.deletes
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests (get {}, head {}, list {}, put {}, copy {}, delete {}), \
             {} bytes read, {} bytes written",
            self.total(),
            self.gets,
            self.heads,
            self.lists,
            self.puts,
            self.copies,
            self.deletes,
            self.bytes_read,
            self.bytes_written
        )
    }
}

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Head,
    List,
    Put,
    Copy,
    Delete,
}

const KINDS: usize = 6;

/// The running count, shared by every table of a lake.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: [AtomicU64; KINDS],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Meter {
    pub(crate) fn add(&self, kind: Kind, requests: u64) {
        self.requests[kind as usize].fetch_add(requests, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Requests {
        let of = |kind: Kind| self.requests[kind as usize].load(Ordering::Relaxed);
        Requests {
            gets: of(Kind::Get),
            heads: of(Kind::Head),
            lists: of(Kind::List),
            puts: of(Kind::Put),
            copies: of(Kind::Copy),
            deletes: of(Kind::Delete),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
        }
    }
}
