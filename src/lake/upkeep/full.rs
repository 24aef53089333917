//! All that can be done for the files of one table at once: what [`Lake::keep_up`] does, log that
//! an earlier call left, and files that no commit names.

use std::time::Duration;

use super::super::commits::Provenance;
use super::super::files::FileTotals;
use super::super::{Lake, LakeError, TableName};
use super::log::{Checkpoint, clean_log, commits_since_checkpoint, unneeded_log};
pub use super::orphans::Orphans;
use super::{CHECKPOINT_COMMITS, Sweep, days};

/// No writer is at work on one commit for longer.
const LEAST_ORPHAN_DAYS: u32 = 1;

/// What was done to the files of one table, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FullyUpkept {
    /// Data files that left the table long enough ago to leave the store.
    pub removed_files: FileTotals,
    /// Data files that no commit names.
    pub orphans: FileTotals,
    /// Whether the table gets a checkpoint.
    pub checkpoint: bool,
    /// Commits and checkpoints that no version within reach needs.
    pub log_files: FileTotals,
}

impl FullyUpkept {
    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Lake {
    /// The age from which on a file that no commit names belongs to nobody: that of removed
    /// files, but a day at least.
    pub fn orphan_age(&self) -> Duration {
        days(self.kept.removed_files_days.max(LEAST_ORPHAN_DAYS))
    }

    /// Looks through the files of a table: those older than `orphan_age` that no commit names are
    /// left over. Fails where a data file is missing or damaged, before anything is removed.
    pub async fn survey(
        &self,
        name: &TableName,
        orphan_age: Duration,
    ) -> Result<Orphans, LakeError> {
        Orphans::find(self, name, orphan_age).await
    }

    /// What [`Lake::keep_up_fully`] would do; nothing is written.
    pub async fn full_upkeep_due(
        &self,
        name: &TableName,
        orphans: &Orphans,
    ) -> Result<FullyUpkept, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(FullyUpkept::default());
        };
        let checkpoint = commits_since_checkpoint(name, &table)? >= CHECKPOINT_COMMITS
            && self.is_settled(name, &table)?;
        let planned = if checkpoint { Checkpoint::Planned } else { Checkpoint::AsListed };
        let log = unneeded_log(name, &table, self.kept.log(), planned).await?;
        Ok(FullyUpkept {
            removed_files: self.expired_files(name).await?,
            orphans: orphans.totals(),
            checkpoint,
            log_files: log.iter().fold(FileTotals::default(), |all, file| all.plus(file.bytes)),
        })
    }

    /// [`Lake::keep_up`] of everything that is due, old log, and what a survey has found left
    /// over. Safe beside a writer that commits its files before they are as old as those.
    pub async fn keep_up_fully(
        &self,
        name: &TableName,
        provenance: &Provenance,
        orphans: Orphans,
    ) -> Result<FullyUpkept, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(FullyUpkept::default());
        };
        fail::fail_point!("orphans_before_removal", |_| std::process::abort());
        let orphans = orphans.remove(name, &table).await?;
        fail::fail_point!("orphans_after_removal", |_| std::process::abort());
        let upkept = self.keep_up(name, provenance, Sweep::All).await?;
        let mut log_files = upkept.log_files;
        if !upkept.checkpoint
            && let Some(table) = self.load(name).await?
        {
            log_files = clean_log(name, &table, self.kept.log()).await?;
        }
        Ok(FullyUpkept {
            removed_files: upkept.removed,
            orphans,
            checkpoint: upkept.checkpoint,
            log_files,
        })
    }
}
