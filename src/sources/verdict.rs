//! Which errors of a reader are the file's own fault: such a file is rejected whole, and the others
//! go on. Anything else may be over on the next attempt and fails the run.

use std::fmt;
use std::io::ErrorKind;

use serde::Serialize;

use super::reader::{RejectReason, SourceError};

/// Why a whole file is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileVerdict {
    /// It is a folder.
    NotAFile,
    /// There is nothing in it, not even a header.
    Empty,
    /// It is something other than what the feed declares.
    WrongFormat,
    /// Its bytes are damaged, or no text that is known.
    NotDecodable,
    /// It ends before its end.
    Truncated,
    /// A column is named twice.
    DuplicateHeader,
    /// A column that it must have is not there.
    MissingColumn,
    /// It has a column that the feed does not name.
    ExtraColumn,
    /// Too many of its rows are bad.
    BadRows,
    /// It has more columns than are read.
    TooManyColumns,
    /// Decompressed it comes to far more than its size.
    ExpandsTooFar,
}

impl FileVerdict {
    /// The name in the table `quarantine/<feed>`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAFile => "not_a_file",
            Self::Empty => "empty",
            Self::WrongFormat => "wrong_format",
            Self::NotDecodable => "not_decodable",
            Self::Truncated => "truncated",
            Self::DuplicateHeader => "duplicate_header",
            Self::MissingColumn => "missing_column",
            Self::ExtraColumn => "extra_column",
            Self::BadRows => "bad_rows",
            Self::TooManyColumns => "too_many_columns",
            Self::ExpandsTooFar => "expands_too_far",
        }
    }
}

impl fmt::Display for FileVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SourceError {
    /// The verdict on the file; none where it is not the content that is to blame.
    pub fn verdict(&self) -> Option<FileVerdict> {
        Some(match self {
            Self::IsFolder { .. } => FileVerdict::NotAFile,
            Self::Empty { .. } | Self::NoHeader { .. } => FileVerdict::Empty,
            Self::Encoding { .. }
            | Self::NotParquet { .. }
            | Self::NotCompressed { .. }
            | Self::LineEnds { .. } => FileVerdict::WrongFormat,
            Self::Compressed { source, .. } if source.kind() == ErrorKind::UnexpectedEof => {
                FileVerdict::Truncated
            }
            Self::CutOff { .. } => FileVerdict::Truncated,
            Self::Compressed { .. } | Self::Parquet { .. } => FileVerdict::NotDecodable,
            Self::Header { reason: RejectReason::InvalidUtf8, .. } => FileVerdict::NotDecodable,
            Self::Header { .. } => FileVerdict::WrongFormat,
            Self::DuplicateHeader { .. } | Self::RepeatedColumns { .. } => {
                FileVerdict::DuplicateHeader
            }
            Self::MissingColumns { .. } | Self::SchemaLacks { .. } => FileVerdict::MissingColumn,
            Self::ExtraColumns { .. } => FileVerdict::ExtraColumn,
            Self::TooManyColumns { .. } | Self::SchemaTooWide { .. } => FileVerdict::TooManyColumns,
            Self::Expansion { .. } => FileVerdict::ExpandsTooFar,
            Self::Open { .. }
            | Self::Read { .. }
            | Self::ReadAt { .. }
            | Self::Changed { .. }
            | Self::Removal { .. }
            | Self::Columns { .. }
            | Self::Interrupted { .. }
            | Self::Batch { .. } => return None,
        })
    }

    /// The physical line at fault, from 1; 0 where none can be told.
    pub fn line(&self) -> u64 {
        match self {
            Self::Compressed { line, .. }
            | Self::Header { line, .. }
            | Self::LineEnds { line, .. }
            | Self::TooManyColumns { line, .. }
            | Self::DuplicateHeader { line, .. }
            | Self::MissingColumns { line, .. } => *line,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    fn compressed(kind: ErrorKind) -> SourceError {
        let (path, source) = (PathBuf::from("a.csv.gz"), io::Error::from(kind));
        SourceError::Compressed { path, compression: "gzip", line: 7, source }
    }

    #[test]
    fn what_is_cut_off_is_told_from_what_is_damaged() {
        let cut = compressed(ErrorKind::UnexpectedEof);
        assert_eq!((cut.verdict(), cut.line()), (Some(FileVerdict::Truncated), 7));
        let damaged = compressed(ErrorKind::InvalidData);
        assert_eq!(damaged.verdict(), Some(FileVerdict::NotDecodable));
    }

    #[test]
    fn a_disk_that_fails_is_no_verdict_on_the_file() {
        let path = PathBuf::from("a.csv");
        let source = io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(SourceError::Open { path: path.clone(), source }.verdict(), None);
        assert_eq!(SourceError::Changed { path }.verdict(), None);
    }

    #[test]
    fn a_verdict_is_written_as_it_is_stored() {
        for verdict in [FileVerdict::WrongFormat, FileVerdict::Truncated] {
            let written = serde_json::to_string(&verdict).unwrap();
            assert_eq!(written, format!("\"{verdict}\""));
        }
    }
}
