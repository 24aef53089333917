//! What became of one file, as the table `files` tells it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::config::redacted;
use crate::lake::ids::LatePolicy;
use crate::sources::SourceFile;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// A run has found it, and nothing more is known.
    Seen,
    /// Its rows are in raw.
    Loaded,
    /// It was refused whole: nothing of it is in raw.
    Rejected,
    /// The same content was delivered before under that name and date.
    SkippedDuplicate,
    /// Another content was delivered before under that name and date; this one is in raw, too.
    Changed,
}

impl FileStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Seen, Self::Loaded, Self::Rejected, Self::SkippedDuplicate, Self::Changed];

    /// The status of a name in `files`.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// The name in `files`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Loaded => "loaded",
            Self::Rejected => "rejected",
            Self::SkippedDuplicate => "skipped_duplicate",
            Self::Changed => "changed",
        }
    }
}

/// One file as it was seen under one arrival date, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileOutcome {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Its name, `_file` of its rows.
    pub file: String,
    /// Where it is, without credentials.
    pub url: String,
    /// Its size.
    pub bytes: i64,
    /// Its ETag, or its modification time in nanoseconds since 1970.
    pub version: String,
    /// SHA-256 of its bytes, where they were read.
    pub content_hash: Option<String>,
    /// Taken in as a load of history.
    pub accept_late: bool,
    /// What became of it.
    pub status: FileStatus,
    /// Its rows in raw; none while that is not known.
    pub rows: Option<i64>,
    /// Its records that ingest refused.
    pub rows_rejected: Option<i64>,
    /// The same by reason.
    pub reasons: BTreeMap<String, i64>,
    /// Why the run that saw it did not take it in.
    pub error: Option<String>,
}

impl FileOutcome {
    /// A file that was found.
    pub fn seen(file: &SourceFile, arrival_date: NaiveDate, late: LatePolicy) -> Self {
        Self {
            arrival_date,
            file: file.name.clone(),
            url: redacted(&file.path.to_string_lossy()),
            bytes: i64::try_from(file.bytes).unwrap_or(i64::MAX),
            version: file.version().to_owned(),
            content_hash: None,
            accept_late: late == LatePolicy::Accepted,
            status: FileStatus::Seen,
            rows: None,
            rows_rejected: None,
            reasons: BTreeMap::new(),
            error: None,
        }
    }

    /// Whether both tell of the same file: name, date, size and version.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.arrival_date, of.bytes);
        key(self) == key(other) && self.file == other.file && self.version == other.version
    }
}
