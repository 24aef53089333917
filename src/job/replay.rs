//! `quarantine replay`: entries come back under the configuration of today.

use super::rejections::Rejections;
use super::{Job, Timer, source_of};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::sources::SourceFile;
use crate::stages::build::Rebuild;
use crate::stages::ingest::replay::Refused;
use crate::stages::ingest::{self, RejectedFile};
use crate::stages::replay::{self, Replayable, Selection};
use crate::stages::reprocess::{Forecast, Source};
use crate::stages::rules::RuleChange;

impl Job<'_> {
    /// Rows of the selected entries that the build refused are judged again, from their first
    /// arrival date on; then the files of which ingest refused something are read again, and their
    /// arrival dates built. A file that cannot be read keeps no other from being replayed.
    pub async fn replay(&self, feed: &FeedConfig, selection: &Selection) -> Result<(), JobError> {
        let ended = self.replay_into_ods(feed, selection).await;
        self.with_marts(feed, ended).await
    }

    async fn replay_into_ods(
        &self,
        feed: &FeedConfig,
        selection: &Selection,
    ) -> Result<(), JobError> {
        let found = self.replayable(feed, selection).await?;
        if let Some(from) = found.from {
            self.reprocess_ods(feed, from, Source::Raw).await?;
        }
        if found.refused.is_empty() {
            return Ok(());
        }
        self.settle_rules(feed, None, RuleChange::Refuse).await?;
        self.progress.feed(&feed.name, found.refused.len() as u64);
        let source = source_of(feed, &self.config.lake.storage)?;
        let mut failed = None;
        let mut rejected = Rejections::new(feed);
        for of_date in found.refused.chunk_by(|one, next| one.arrival_date == next.arrival_date) {
            let date = of_date[0].arrival_date;
            let files = source.files_of(date).await?;
            for refused in of_date {
                match self.replay_file(feed, refused, &files).await {
                    Ok(files) => rejected.add(date, files),
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
                self.progress.date_done(&feed.name);
            }
            self.build_date(feed, date, Rebuild::WhenPending).await?;
        }
        self.keep_up(feed).await?;
        rejected.after(failed.map_or(Ok(()), Err))
    }

    /// Gives the file back where it is rejected under the configuration of today, too.
    async fn replay_file(
        &self,
        feed: &FeedConfig,
        refused: &Refused,
        files: &[SourceFile],
    ) -> Result<Vec<RejectedFile>, JobError> {
        let arrival_date = refused.arrival_date;
        self.progress.stage(&feed.name, "replay", arrival_date);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = ingest::replay::replay(&stage, refused, files).await;
        let result = result.map(|did| (did.rejected_files.clone(), did)).map_err(|source| {
            let feed = feed.name.clone();
            JobError::Ingest { feed, arrival_date, source }
        });
        self.record(&stage, arrival_date, "replay", &timer, result)
    }

    /// What [`Job::replay`] would change. Writes nothing, not even a record.
    pub async fn replay_forecast(
        &self,
        feed: &FeedConfig,
        selection: &Selection,
    ) -> Result<Forecast, JobError> {
        let found = self.replayable(feed, selection).await?;
        for Refused { arrival_date, file, entries, .. } in &found.refused {
            tracing::info!(feed = %feed.name, %arrival_date, %file, entries, "would be read again");
        }
        match found.from {
            Some(from) => self.forecast(feed, from, Source::Raw).await,
            None => Ok(Forecast::default()),
        }
    }

    async fn replayable(
        &self,
        feed: &FeedConfig,
        selection: &Selection,
    ) -> Result<Replayable, JobError> {
        replay::replayable(&self.stage(feed), selection)
            .await
            .map_err(|source| JobError::Replay { feed: feed.name.clone(), source })
    }
}
