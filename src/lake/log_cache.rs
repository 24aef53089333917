//! Files of Delta logs that this process has read, so that it reads each of them once.
//!
//! A load replays the log three times: for protocol and metadata, for the active files, for the
//! ids; and every stage refreshes what the one before has loaded. A commit file never changes,
//! and a checkpoint only where another process writes the same one again, which the next listing
//! shows by its size or time. `_last_checkpoint` does change and is never kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;

/// A larger checkpoint is read in ranges, as the library asks for it.
pub(crate) const LARGEST_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Past this, everything is forgotten and read again.
const LARGEST_CACHE_BYTES: u64 = 64 * 1024 * 1024;
const VERSION_DIGITS: usize = 20;

/// A log file as it was when it was read.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) meta: ObjectMeta,
    pub(crate) content: Content,
}

/// What is kept of a file.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Kept(Bytes),
    /// It is larger than [`LARGEST_FILE_BYTES`].
    TooLarge,
}

#[derive(Debug, Default)]
pub(crate) struct LogCache(Mutex<HashMap<Path, LogFile>>);

impl LogCache {
    pub(crate) fn get(&self, location: &Path) -> Option<LogFile> {
        self.lock().get(location).cloned()
    }

    pub(crate) fn keep(&self, file: LogFile) {
        let mut files = self.lock();
        let held: u64 = files.values().map(LogFile::held_bytes).sum();
        if held + file.held_bytes() > LARGEST_CACHE_BYTES {
            files.clear();
        }
        files.insert(file.meta.location.clone(), file);
    }

    pub(crate) fn forget(&self, location: &Path) {
        self.lock().remove(location);
    }

    /// Forgets a file that a listing shows to be another one than was read.
    pub(crate) fn compare(&self, listed: &ObjectMeta) {
        let mut files = self.lock();
        let differs = files.get(&listed.location).is_some_and(|file| {
            file.meta.size != listed.size
                // S3 gives whole seconds with a file and milliseconds in a listing.
                || file.meta.last_modified.timestamp() != listed.last_modified.timestamp()
        });
        if differs {
            files.remove(&listed.location);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Path, LogFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    fn held_bytes(&self) -> u64 {
        match self.content {
            Content::Kept(_) => self.meta.size,
            Content::TooLarge => 0,
        }
    }
}

/// Whether `location` is a commit or a checkpoint of a Delta log.
pub(crate) fn is_log_file(location: &Path) -> bool {
    let mut parts = location.as_ref().rsplit('/');
    let name = parts.next().unwrap_or_default();
    parts.next() == Some("_delta_log") && version_of(name).is_some()
}

/// The version in the name of a log file: `00000000000000000007.json`.
pub(crate) fn version_of(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(VERSION_DIGITS)?;
    if !rest.starts_with('.') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_checkpoints_are_log_files_and_nothing_else_is() {
        let is = |path: &str| is_log_file(&Path::from(path));
        assert!(is("lake/ods/events/_delta_log/00000000000000000007.json"));
        assert!(is("_delta_log/00000000000000000009.checkpoint.parquet"));
        assert!(!is("lake/ods/events/_delta_log/_last_checkpoint"));
        assert!(!is("lake/ods/events/pdate=2026-01-01/00000000000000000007.json"));
        assert!(!is("_delta_log/0000000000000000007.json"));
        assert!(!is("_delta_log/00000000000000000007"));
    }
}
