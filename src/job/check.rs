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
        let dates = match dates {
            Dates::CatchUp => None,
            Dates::One(date) => Some((date, date)),
            Dates::Range(from, to) => Some((from, to)),
        };
        checks::ask_all(&self.stage(feed), is_asked, dates)
            .await
            .map_err(|source| JobError::Check { feed: feed.name.clone(), source })
    }
}
