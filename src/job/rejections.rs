//! What a command says of the files that it rejected, once everything else is done.

use chrono::NaiveDate;

use super::Job;
use super::ledger::FilesOfDates;
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::lake::{self, LakeError};
use crate::sources::Source;
use crate::stages::ingest::{self, RejectFolder, RejectedFile};

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

impl Job<'_> {
    /// Where rejected files of a feed are copied to; a bucket is reached as that of the lake is.
    pub(super) fn reject_folder(
        &self,
        feed: &FeedConfig,
    ) -> Result<Option<RejectFolder>, LakeError> {
        let Some(location) = &feed.contract.reject_to else {
            return Ok(None);
        };
        Ok(Some(match Source::bucket(location) {
            Some(bucket) => {
                let store = lake::bucket_store(bucket, &self.config.lake.storage)?;
                RejectFolder::in_store(location, store)
            }
            None => RejectFolder::on_disk(location),
        }))
    }

    /// Takes rejected files out of their source, also those that a run left which did not end.
    pub(super) async fn move_rejected(
        &self,
        feed: &FeedConfig,
        files: &FilesOfDates,
    ) -> Result<(), JobError> {
        if !feed.contract.reject_move {
            return Ok(());
        }
        let Some(folder) = self.reject_folder(feed)? else {
            return Ok(());
        };
        let failed = |arrival_date, source| JobError::Ingest {
            feed: feed.name.clone(),
            arrival_date,
            source,
        };
        ingest::move_rejected(&self.stage(feed), &folder, files)
            .await
            .map_err(|(arrival_date, source)| failed(arrival_date, source))
    }
}

/// Rejected files, one a line.
pub(super) fn listed(files: &[RejectedFile]) -> String {
    let lines = files.iter().map(|file| format!("{}: {}: {}", file.file, file.reason, file.detail));
    lines.collect::<Vec<_>>().join("\n")
}
