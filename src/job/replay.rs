//! `quarantine replay`: entries come back under the configuration of today.

use super::Job;
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::stages::replay::{self, Replayable, Selection};
use crate::stages::reprocess::{Forecast, Source};

impl Job<'_> {
    /// Rows of the selected entries that the build refused are judged again, from their first
    /// arrival date on; nothing where there is none.
    pub async fn replay(&self, feed: &FeedConfig, selection: &Selection) -> Result<(), JobError> {
        let found = self.replayable(feed, selection).await?;
        if found.of_ingest > 0 {
            tracing::warn!(
                feed = %feed.name,
                entries = found.of_ingest,
                "records refused by ingest are not in raw; deliver a corrected file"
            );
        }
        match found.from {
            Some(from) => self.reprocess(feed, from, Source::Raw).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// What [`Job::replay`] would change. Writes nothing, not even a record.
    pub async fn replay_forecast(
        &self,
        feed: &FeedConfig,
        selection: &Selection,
    ) -> Result<Forecast, JobError> {
        match self.replayable(feed, selection).await?.from {
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
