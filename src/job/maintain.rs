//! `maintain`: the tables of each feed, then `files` and `runs`.

use std::time::Duration;

use super::{Job, Timer};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::lake::TableName;
use crate::lake::commits::Provenance;
use crate::stages::maintain::{self, Maintained};

/// The tables of the whole lake.
const RECORDS: [TableName; 2] = [TableName::Files, TableName::Runs];

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
        self.progress.date_done(&feed.name);
        Ok(report)
    }

    /// What [`Job::maintain_records`] would do.
    pub async fn maintain_records_plan(
        &self,
        orphan_age: Option<Duration>,
    ) -> Result<Vec<Maintained>, JobError> {
        let mut plan = Vec::new();
        for name in RECORDS {
            let orphans = self.lake.survey(&name, self.orphan_age(orphan_age)).await?;
            let due = self.lake.full_upkeep_due(&name, &orphans).await?;
            plan.push(Maintained::without_compaction(&name, due));
        }
        Ok(plan)
    }

    /// Tidies up the tables `files` and `runs`, whose small files are joined whenever a run is
    /// recorded.
    pub async fn maintain_records(
        &self,
        orphan_age: Option<Duration>,
    ) -> Result<Vec<Maintained>, JobError> {
        let provenance = Provenance {
            run_id: self.log.run_id().to_owned(),
            config_hash: String::new(),
            stage: "maintain",
            input_versions: vec![],
        };
        let mut report = Vec::new();
        for name in RECORDS {
            let orphans = self.lake.survey(&name, self.orphan_age(orphan_age)).await?;
            let upkept = self.lake.keep_up_fully(&name, &provenance, orphans).await?;
            report.push(Maintained::without_compaction(&name, upkept));
        }
        Ok(report)
    }

    fn orphan_age(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or_else(|| self.lake.orphan_age())
    }
}
