//! What keeps a table's cost from growing with its age: checkpoints, and the removal of what no
//! version within reach needs any more.
//!
//! One table is looked after in this order, and may be left alone anywhere in between:
//!
//! 1. Data files that left the table more than `removed_files_days` ago leave the store. The log
//!    names them (its tombstones); nothing is listed, so files of a crashed writer, which no
//!    commit ever named, stay for `maintain` ([`full`]). Between two checkpoints a run looks
//!    only for those whose time ended since the commit before last ([`Sweep::Recent`]): the runs
//!    before have removed the others, or the next checkpoint's will.
//! 2. After [`CHECKPOINT_COMMITS`] commits, a checkpoint. It leaves out the tombstones whose time
//!    is over, as the table property `delta.deletedFileRetentionDuration` says: their files are
//!    gone by step 1, and would be nobody's otherwise.
//! 3. With a checkpoint, log files older than `log_days` leave the store, but for what the oldest
//!    version within that time needs: the newest checkpoint before it and all after that.

mod full;
mod log;
mod orphans;
mod vacuum;

use std::collections::HashMap;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::kernel::Metadata;
use deltalake::kernel::MetadataExt as _;
use futures::StreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path;

pub use self::full::{FullyUpkept, Orphans};
use self::log::{checkpoint, clean_log, commits_since_checkpoint};
use self::vacuum::{commit_before_last, expired, remove, still_there};
use super::commits::{self, Change, Provenance};
use super::files::FileTotals;
use super::{Lake, LakeError, TableName};

/// Commits after which a table gets a checkpoint: a first load then reads the checkpoint and
/// fewer commits than this. The checkpoint of ODS with 400 dates has 208 KB (one file a date).
pub const CHECKPOINT_COMMITS: u64 = 10;

const DELETED_FILES_PROPERTY: &str = "delta.deletedFileRetentionDuration";
const LOG_PROPERTY: &str = "delta.logRetentionDuration";
const DAY_SECONDS: u64 = 24 * 60 * 60;
/// The Delta protocol's own times, where a table does not name any.
const DEFAULT_REMOVED_FILES_DAYS: u32 = 7;
const DEFAULT_LOG_DAYS: u32 = 30;
/// A checkpoint that is written within this time of step 1 leaves out no tombstone that step 1
/// did not see as expired.
const CHECKPOINT_MARGIN_MILLIS: i64 = 60_000;

/// How long a table keeps what it no longer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Days that a data file stays on the store after it left the table.
    pub removed_files_days: u32,
    /// Days that a commit stays in the log.
    pub log_days: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self { removed_files_days: DEFAULT_REMOVED_FILES_DAYS, log_days: DEFAULT_LOG_DAYS }
    }
}

impl Kept {
    /// The table properties that tell other engines, where they differ from the defaults.
    pub(crate) fn properties(self) -> HashMap<String, String> {
        let default = Self::default();
        let mut properties = HashMap::new();
        if self.removed_files_days != default.removed_files_days {
            properties.insert(DELETED_FILES_PROPERTY.to_owned(), interval(self.removed_files_days));
        }
        if self.log_days != default.log_days {
            properties.insert(LOG_PROPERTY.to_owned(), interval(self.log_days));
        }
        properties
    }

    fn removed_files(self) -> Duration {
        days(self.removed_files_days)
    }

    fn log(self) -> Duration {
        days(self.log_days)
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * DAY_SECONDS)
}

/// Which files that left a table a call looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Those whose time ended since the commit before last: what a run after runs finds.
    Recent,
    /// Those that a call before has missed, too.
    All,
}

/// What was done to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkept {
    /// Data files removed from the store.
    pub removed: FileTotals,
    /// Whether a checkpoint was written.
    pub checkpoint: bool,
    /// Log files removed from the store.
    pub log_files: FileTotals,
}

impl Lake {
    /// Data files that [`Lake::keep_up`] would remove from the store, and their bytes.
    pub async fn expired_files(&self, name: &TableName) -> Result<FileTotals, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(FileTotals::default());
        };
        let expired = expired(name, &table, self.kept.removed_files(), None).await?;
        let there = still_there(name, &table, expired).await?;
        Ok(there.iter().fold(FileTotals::default(), |all, file| all.plus(file.bytes)))
    }

    /// Looks after one table, as the head of this module says. Safe at any time, beside any other
    /// process, and after a crash at any point.
    pub async fn keep_up(
        &self,
        name: &TableName,
        provenance: &Provenance,
        sweep: Sweep,
    ) -> Result<Upkept, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(Upkept::default());
        };
        let is_due = commits_since_checkpoint(name, &table)? >= CHECKPOINT_COMMITS;
        let since = match sweep {
            Sweep::Recent if !is_due => commit_before_last(name, &table)?,
            _ => None,
        };
        let mut expired = expired(name, &table, self.kept.removed_files(), since).await?;
        if sweep == Sweep::All {
            expired = still_there(name, &table, expired).await?;
        }
        fail::fail_point!("vacuum_before_removal", |_| std::process::abort());
        let removed = remove(name, &table, expired).await?;
        let mut upkept = Upkept { removed, ..Upkept::default() };
        fail::fail_point!("vacuum_after_removal", |_| std::process::abort());
        if !is_due {
            return Ok(upkept);
        }
        let Some(table) = self.settle(name, table, provenance).await? else {
            return Ok(upkept);
        };
        fail::fail_point!("checkpoint_before_write", |_| std::process::abort());
        checkpoint(name, &table).await?;
        self.loaded.forget_log(name);
        upkept.checkpoint = true;
        fail::fail_point!("checkpoint_after_write", |_| std::process::abort());
        upkept.log_files = clean_log(name, &table, self.kept.log()).await?;
        tracing::debug!(
            table = %name,
            version = table.version(),
            log_files_removed = upkept.log_files.files,
            "wrote a checkpoint"
        );
        Ok(upkept)
    }

    /// Whether [`Lake::keep_up`] finds something to do for a table that was as `before` and has had
    /// one commit since: it need not be loaded again where it does not.
    pub(crate) async fn is_upkeep_due(
        &self,
        name: &TableName,
        before: &DeltaTable,
    ) -> Result<bool, LakeError> {
        if commits_since_checkpoint(name, before)? + 1 >= CHECKPOINT_COMMITS {
            return Ok(true);
        }
        let since = commit_before_last(name, before)?;
        Ok(!expired(name, before, self.kept.removed_files(), since).await?.is_empty())
    }

    /// Whether the table's properties say what the configuration does.
    fn is_settled(&self, name: &TableName, table: &DeltaTable) -> Result<bool, LakeError> {
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        let config = state.table_config();
        let default = Kept::default();
        let removed = config.deleted_file_retention_duration.unwrap_or(default.removed_files());
        let log = config.log_retention_duration.unwrap_or(default.log());
        Ok((removed, log) == (self.kept.removed_files(), self.kept.log()))
    }

    /// Brings the table's properties in line with the configuration, in a commit of its own, so
    /// that the checkpoint drops no tombstone whose file is still kept. `None` when another
    /// commit came first, or the properties have just changed: the next call goes on.
    async fn settle(
        &self,
        name: &TableName,
        table: DeltaTable,
        provenance: &Provenance,
    ) -> Result<Option<DeltaTable>, LakeError> {
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        if self.is_settled(name, &table)? {
            return Ok(Some(table));
        }
        let properties = HashMap::from([
            (DELETED_FILES_PROPERTY.to_owned(), interval(self.kept.removed_files_days)),
            (LOG_PROPERTY.to_owned(), interval(self.kept.log_days)),
        ]);
        fail::fail_point!("properties_before_commit", |_| std::process::abort());
        let metadata = with_properties(state.metadata().clone(), &properties)
            .map_err(|source| LakeError::write(name, source))?;
        let change = Change { metadata: Some(metadata), ..Change::default() };
        let committed = commits::commit(name, &table, change, provenance).await;
        fail::fail_point!("properties_after_commit", |_| std::process::abort());
        match committed {
            Ok(_) => Ok(None),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn interval(days: u32) -> String {
    format!("interval {days} days")
}

fn with_properties(
    metadata: Metadata,
    properties: &HashMap<String, String>,
) -> Result<Metadata, deltalake::DeltaTableError> {
    properties.iter().try_fold(metadata, |metadata, (key, value)| {
        Ok(metadata.add_config_key(key.clone(), value.clone())?)
    })
}

async fn delete(
    name: &TableName,
    store: &dyn ObjectStore,
    paths: Vec<Path>,
) -> Result<Vec<Path>, LakeError> {
    let mut removed = Vec::new();
    let mut results = store.delete_stream(futures::stream::iter(paths).map(Ok).boxed());
    while let Some(result) = results.next().await {
        match result {
            Ok(path) => removed.push(path),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(LakeError::Clean { table: name.clone(), source }),
        }
    }
    Ok(removed)
}
