//! The checks of a feed, asked at any time.

use super::{Dates, Job};
use crate::config::FeedConfig;
use crate::config::checks::Check;
use crate::error::JobError;
use crate::stages::checks::{self, CheckResult};

impl Job<'_> {
    /// Asks those checks of a feed that `is_asked`. Writes nothing, not even a record.
    pub async fn check(
        &self,
        feed: &FeedConfig,
        is_asked: impl Fn(&Check) -> bool,
        dates: Dates,
    ) -> Result<Vec<CheckResult>, JobError> {
        checks::ask_all(&self.stage(feed), is_asked, dates.range())
            .await
            .map_err(|source| JobError::Check { feed: feed.name.clone(), source })
    }
}
