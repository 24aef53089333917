//! The tables that follow from ODS alone, at the end of every command that may have changed it.

use super::{Job, Timer};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::stages::marts;

impl Job<'_> {
    /// `sessions/<feed>` follows ODS, whatever left it behind: what the command did, or an earlier
    /// one that was killed between the two. An arrival date that failed keeps no other from it.
    pub(super) async fn with_marts<T>(
        &self,
        feed: &FeedConfig,
        ended: Result<T, JobError>,
    ) -> Result<T, JobError> {
        match ended {
            Ok(value) => self.follow_ods(feed).await.map(|()| value),
            Err(error) => {
                if error.is_of_one_date()
                    && let Err(second) = self.follow_ods(feed).await
                {
                    let second = super::error_chain(&second);
                    tracing::warn!(feed = %feed.name, error = %second, "sessions were left behind");
                }
                Err(error)
            }
        }
    }

    async fn follow_ods(&self, feed: &FeedConfig) -> Result<(), JobError> {
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = match marts::follow(&stage).await {
            Ok(None) => return Ok(()),
            Ok(Some(outcome)) => Ok(((), outcome)),
            Err(source) => Err(JobError::Sessions { feed: feed.name.clone(), source }),
        };
        self.record(&stage, None, "sessions", &timer, result)
    }
}
