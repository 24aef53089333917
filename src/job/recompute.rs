//! ODS recomputed from an event date on: under other rules, or without a delivery.

use chrono::NaiveDate;

use super::{Job, Timer};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::stages::deliveries::{DeliveredFile, Files};
use crate::stages::error::BuildError;
use crate::stages::reprocess::{self, Forecast, Reprocessed, Request, Rules, Source};
use crate::stages::rules::{self, RuleChange};
use crate::stages::withdraw::{self, Withdrawn};

impl Job<'_> {
    /// What [`Job::reprocess`] would change. Writes nothing, not even a record.
    pub async fn forecast(
        &self,
        feed: &FeedConfig,
        from: NaiveDate,
        source: Source,
    ) -> Result<Forecast, JobError> {
        self.progress.stage(&feed.name, "dry run", from);
        let stage = self.stage(feed);
        reprocess::forecast(&stage, request(from, source)).await.map_err(|source| {
            let feed = feed.name.clone();
            JobError::Reprocess { feed, from, source }
        })
    }

    /// Recomputes ODS from an event date on, then its sessions.
    pub async fn reprocess(
        &self,
        feed: &FeedConfig,
        from: NaiveDate,
        source: Source,
    ) -> Result<Reprocessed, JobError> {
        let ended = self.reprocess_ods(feed, from, source).await;
        self.with_marts(feed, ended).await
    }

    pub(super) async fn reprocess_ods(
        &self,
        feed: &FeedConfig,
        from: NaiveDate,
        source: Source,
    ) -> Result<Reprocessed, JobError> {
        self.progress.feed(&feed.name, 1);
        self.follow_withdrawal(feed).await?;
        let reprocessed = self.recompute(feed, request(from, source)).await?;
        self.keep_up(feed).await?;
        Ok(reprocessed)
    }

    /// Takes a delivery back, as if it had never come.
    pub async fn withdraw(&self, feed: &FeedConfig, file: &DeliveredFile) -> Result<(), JobError> {
        self.settle_rules(feed, None, RuleChange::Refuse).await?;
        self.progress.feed(&feed.name, 1);
        self.progress.stage(&feed.name, "withdraw", file.arrival_date);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = withdraw::withdraw(&stage, file).await;
        let result = result.map(|outcome| ((), outcome)).map_err(withdraw_error(feed, file));
        self.record(&stage, file.arrival_date, "withdraw", &timer, result)?;
        self.follow_withdrawal(feed).await?;
        let ended = self.keep_up(feed).await;
        self.with_marts(feed, ended).await
    }

    /// What [`Job::withdraw`] would take back, and what ODS would lose and gain. Writes nothing,
    /// not even a record.
    pub async fn withdrawal_forecast(
        &self,
        feed: &FeedConfig,
        file: &DeliveredFile,
    ) -> Result<(Option<Withdrawn>, Forecast), JobError> {
        self.progress.stage(&feed.name, "dry run", file.arrival_date);
        let stage = self.stage(feed);
        rules::settle(&stage, None, RuleChange::Refuse)
            .await
            .map_err(|source| JobError::Rules { feed: feed.name.clone(), source })?;
        withdraw::forecast(&stage, file).await.map_err(withdraw_error(feed, file))
    }

    /// ODS as it is without what was withdrawn, and quarantine as the last reprocess left it:
    /// done again where a command was cut short between two commits.
    pub(super) async fn follow_withdrawal(&self, feed: &FeedConfig) -> Result<(), JobError> {
        let stage = self.stage(feed);
        let rules_error = |source| JobError::Rules { feed: feed.name.clone(), source };
        match withdraw::pending(&stage).await? {
            Some(pending) => {
                self.recompute(feed, withdraw::request(pending.from)).await.map(|_| ())
            }
            None => reprocess::finish_quarantine(&stage).await.map_err(rules_error),
        }
    }

    async fn recompute(
        &self,
        feed: &FeedConfig,
        request: Request<'_>,
    ) -> Result<Reprocessed, JobError> {
        let from = request.from;
        self.progress.stage(&feed.name, "reprocess", from);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = reprocess::reprocess(&stage, request).await;
        let result = result.map_err(|source| {
            let feed = feed.name.clone();
            JobError::Reprocess { feed, from, source }
        });
        self.record(&stage, from, "reprocess", &timer, result)
    }
}

fn withdraw_error<'e>(
    feed: &'e FeedConfig,
    file: &'e DeliveredFile,
) -> impl FnOnce(BuildError) -> JobError + 'e {
    |source| JobError::Withdraw {
        feed: feed.name.clone(),
        file: file.file.clone(),
        arrival_date: file.arrival_date,
        source,
    }
}

fn request(from: NaiveDate, source: Source) -> Request<'static> {
    Request { from, source, rules: Rules::Configured, files: Files::All }
}
