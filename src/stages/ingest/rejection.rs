//! Files that are rejected whole: nothing of them enters raw, and the others go on.

use tokio::task::spawn_blocking;

use super::NewFile;
use crate::sources::{FileVerdict, SourceError, SourceFile};
use crate::stages::error::IngestError;
use crate::stages::quarantine::QuarantinedRow;

/// A file that is rejected whole, as the run reports it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RejectedFile {
    /// The name of the file.
    pub file: String,
    /// Why, as a name.
    pub reason: FileVerdict,
    /// Why, in words, and what to do about it.
    pub detail: String,
    /// The physical line at fault, from 1; 0 where none can be told.
    pub line: u64,
    /// SHA-256 of its bytes.
    pub content_hash: String,
    /// Where a copy of it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

impl RejectedFile {
    /// The verdict of `error` on a file; the error itself where the file is not to blame for it.
    pub(super) async fn because_of(
        new: &NewFile<'_>,
        error: SourceError,
    ) -> Result<Self, IngestError> {
        let Some(reason) = error.verdict() else {
            return Err(error.into());
        };
        // Everything is read once more for the hash: while the file changes, it is not judged.
        let hash = content_hash(new.file).await?;
        new.check_unchanged(&hash)?;
        Ok(Self::of(new, reason, error.line(), with_cause(&error), hash))
    }

    /// A rejected file of that content.
    pub(super) fn of(
        new: &NewFile<'_>,
        reason: FileVerdict,
        line: u64,
        detail: String,
        content_hash: String,
    ) -> Self {
        Self { file: new.file.name.clone(), reason, detail, line, content_hash, copy: None }
    }

    /// Its row in quarantine.
    pub(super) fn quarantined(&self) -> QuarantinedRow {
        QuarantinedRow {
            reason: self.reason.as_str().into(),
            detail: match &self.copy {
                Some(copy) => format!("{}; a copy is {copy}", self.detail),
                None => self.detail.clone(),
            },
            file: self.file.clone(),
            line: i64::try_from(self.line).unwrap_or(i64::MAX),
            text: None,
        }
    }
}

/// SHA-256 of the bytes of a file.
pub(super) async fn content_hash(file: &SourceFile) -> Result<String, IngestError> {
    let read = file.clone();
    match spawn_blocking(move || read.content_hash()).await {
        Ok(hash) => Ok(hash?),
        Err(_) => Err(IngestError::Interrupted { path: file.path.clone() }),
    }
}

/// An error and what its cause adds.
fn with_cause(error: &SourceError) -> String {
    let message = error.to_string();
    match std::error::Error::source(error).map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => format!("{message} ({cause})"),
        _ => message,
    }
}
