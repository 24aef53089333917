//! The tables of a lake tidied up on demand: files that nobody needs leave the store, small ones
//! are joined. No row changes.

use std::time::Duration;

use super::compaction::{self, Compacted};
use super::error::BuildError;
use super::{StageContext, StageOutcome};
use crate::lake::upkeep::{FullyUpkept, Orphans};
use crate::lake::{LakeError, TableName};

/// What was done to one table, or would be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Maintained {
    /// `raw/<feed>`, ..., or `runs`.
    pub table: String,
    /// Its files on the store.
    #[serde(flatten)]
    pub upkept: FullyUpkept,
    /// Small files that were joined; they leave the store with a later call.
    pub compacted: Compacted,
}

impl Maintained {
    /// The report of a table whose files were not joined.
    pub fn without_compaction(name: &TableName, upkept: FullyUpkept) -> Self {
        Self { table: name.to_string(), upkept, compacted: Compacted::default() }
    }

    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.upkept.is_nothing() && self.compacted == Compacted::default()
    }
}

/// What [`maintain`] would do; nothing is written.
pub async fn plan(
    stage: &StageContext<'_>,
    orphan_age: Duration,
) -> Result<Vec<Maintained>, LakeError> {
    let mut plan = Vec::new();
    for (name, orphans) in survey(stage, orphan_age).await? {
        plan.push(Maintained {
            table: name.to_string(),
            upkept: stage.lake.full_upkeep_due(&name, &orphans).await?,
            compacted: compaction::due(stage, &name).await?,
        });
    }
    Ok(plan)
}

/// Tidies up the feed's tables: first what leaves the store, then small files. The files that were
/// joined are kept for readers of an older version, as any that left a table.
pub async fn maintain(
    stage: &StageContext<'_>,
    orphan_age: Duration,
) -> Result<(Vec<Maintained>, StageOutcome), BuildError> {
    let mut report = Vec::new();
    let mut outcome = StageOutcome::default();
    for (name, orphans) in survey(stage, orphan_age).await? {
        let provenance = stage.provenance("maintain", vec![]);
        let upkept = stage.lake.keep_up_fully(&name, &provenance, orphans).await?;
        let (compacted, added) = compaction::compact(stage, &name).await?;
        outcome.added = outcome.added.and(added);
        outcome.removed = outcome.removed.and(compacted.joined);
        report.push(Maintained { table: name.to_string(), upkept, compacted });
    }
    outcome.up_to_date = report.iter().all(Maintained::is_nothing);
    Ok((report, outcome))
}

/// All tables before any of them is touched: where a file is damaged, nothing is done.
async fn survey(
    stage: &StageContext<'_>,
    orphan_age: Duration,
) -> Result<Vec<(TableName, Orphans)>, LakeError> {
    let mut tables = Vec::new();
    for name in TableName::of_feed(&stage.feed.name) {
        let orphans = stage.lake.survey(&name, orphan_age).await?;
        tables.push((name, orphans));
    }
    Ok(tables)
}
