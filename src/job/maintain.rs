//! `maintain`: the tables of each feed, then `runs`.

use std::time::Duration;

use super::{Job, Timer};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::lake::TableName;
use crate::lake::commits::Provenance;
use crate::stages::maintain::{self, Maintained};

impl Job<'_> {
    /// What [`Job::maintain`] would do.
    pub async fn maintain_plan(
        &self,
        feed: &FeedConfig,
        orphan_age: Option<Duration>,
    ) -> Result<Vec<Maintained>, JobError> {
        Ok(maintain::plan(&self.stage(feed), self.orphan_age(orphan_age)).await?)
    }

    /// Tidies up the tables of a feed. Files that no commit names count as left by a killed
    /// writer once they have the given age.
    pub async fn maintain(
        &self,
        feed: &FeedConfig,
        orphan_age: Option<Duration>,
    ) -> Result<Vec<Maintained>, JobError> {
        self.progress.feed(&feed.name, 1);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = maintain::maintain(&stage, self.orphan_age(orphan_age)).await;
        let result =
            result.map_err(|source| JobError::Maintain { feed: feed.name.clone(), source });
        let report = self.record(&stage, None, "maintain", &timer, result)?;
        self.progress.date_done();
        Ok(report)
    }

    /// What [`Job::maintain_runs`] would do.
    pub async fn maintain_runs_plan(
        &self,
        orphan_age: Option<Duration>,
    ) -> Result<Maintained, JobError> {
        let name = TableName::Runs;
        let orphans = self.lake.survey(&name, self.orphan_age(orphan_age)).await?;
        let due = self.lake.full_upkeep_due(&name, &orphans).await?;
        Ok(Maintained::without_compaction(&name, due))
    }

    /// Tidies up the table `runs`, whose small files are joined whenever a run is recorded.
    pub async fn maintain_runs(
        &self,
        orphan_age: Option<Duration>,
    ) -> Result<Maintained, JobError> {
        let name = TableName::Runs;
        let provenance = Provenance {
            run_id: self.log.run_id().to_owned(),
            config_hash: String::new(),
            stage: "maintain",
            input_versions: vec![],
        };
        let orphans = self.lake.survey(&name, self.orphan_age(orphan_age)).await?;
        let upkept = self.lake.keep_up_fully(&name, &provenance, orphans).await?;
        Ok(Maintained::without_compaction(&name, upkept))
    }

    fn orphan_age(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or_else(|| self.lake.orphan_age())
    }
}
