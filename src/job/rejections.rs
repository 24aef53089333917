//! What a command says of the files that it rejected, once everything else is done.

use chrono::NaiveDate;

use crate::config::FeedConfig;
use crate::error::JobError;
use crate::stages::ingest::RejectedFile;

/// The files that a command rejected, said once at its end.
pub(super) struct Rejections<'f> {
    feed: &'f FeedConfig,
    files: Vec<(NaiveDate, RejectedFile)>,
}

impl<'f> Rejections<'f> {
    pub(super) fn new(feed: &'f FeedConfig) -> Self {
        Self { feed, files: Vec::new() }
    }

    pub(super) fn add(&mut self, arrival_date: NaiveDate, files: Vec<RejectedFile>) {
        self.files.extend(files.into_iter().map(|file| (arrival_date, file)));
    }

    /// How the command ends that came to `ended` by itself.
    pub(super) fn after(self, ended: Result<(), JobError>) -> Result<(), JobError> {
        if ended.is_err() {
            for (arrival_date, RejectedFile { file, reason, detail, .. }) in &self.files {
                tracing::warn!(%file, %arrival_date, %reason, "rejected: {detail}");
            }
        }
        ended?;
        match self.files {
            files if files.is_empty() => Ok(()),
            files => Err(JobError::Rejected { feed: self.feed.name.clone(), files }),
        }
    }
}

/// Rejected files, one a line.
pub(super) fn listed(files: &[RejectedFile]) -> String {
    let lines = files.iter().map(|file| format!("{}: {}: {}", file.file, file.reason, file.detail));
    lines.collect::<Vec<_>>().join("\n")
}
