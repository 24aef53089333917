//! What keeps a table's cost from growing with its age: checkpoints, and the removal of what no
//! version within reach needs any more.
//!
//! One table is looked after in this order, and may be left alone anywhere in between:
//!
//! 1. Data files that left the table more than `removed_files_days` ago leave the store. The log
//!    names them (its tombstones); nothing is listed, so files of a crashed writer, which no
//!    commit ever named, stay for another tool's full vacuum.
//! 2. After [`CHECKPOINT_COMMITS`] commits, a checkpoint. It leaves out the tombstones whose time
//!    is over, as the table property `delta.deletedFileRetentionDuration` says: their files are
//!    gone by step 1, and would be nobody's otherwise.
//! 3. With a checkpoint, log files older than `log_days` leave the store, but for what the oldest
//!    version within that time needs: the newest checkpoint before it and all after that.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::kernel::MetadataExt as _;
use deltalake::kernel::transaction::{CommitBuilder, TableReference};
use deltalake::kernel::{Action, Metadata};
use deltalake::protocol::DeltaOperation;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::commits::Provenance;
use super::files::FileTotals;
use super::log_cache::version_of;
use super::{Lake, LakeError, TableName};
use crate::clock;

/// Commits after which a table gets a checkpoint: a first load then reads the checkpoint and
/// fewer commits than this. A checkpoint of a year of dates measures 60 KB and 15 ms.
pub const CHECKPOINT_COMMITS: u64 = 10;

const DELETED_FILES_PROPERTY: &str = "delta.deletedFileRetentionDuration";
const LOG_PROPERTY: &str = "delta.logRetentionDuration";
const LOG_FOLDER: &str = "_delta_log";
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

/// What was done to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkept {
    /// Data files removed from the store.
    pub removed: FileTotals,
    /// Whether a checkpoint was written.
    pub checkpoint: bool,
    /// Log files removed from the store.
    pub log_files: usize,
}

/// A data file that no version within reach shows.
struct Expired {
    path: Path,
    bytes: i64,
}

impl Lake {
    /// Data files that [`Lake::keep_up`] would remove from the store, and their bytes.
    pub async fn expired_files(&self, name: &TableName) -> Result<FileTotals, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(FileTotals::default());
        };
        let expired = expired(name, &table, self.kept.removed_files()).await?;
        Ok(totals(expired.iter().map(|file| file.bytes)))
    }

    /// Looks after one table, as the head of this module says. Safe at any time, beside any other
    /// process, and after a crash at any point.
    pub async fn keep_up(
        &self,
        name: &TableName,
        provenance: &Provenance,
    ) -> Result<Upkept, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(Upkept::default());
        };
        let expired = expired(name, &table, self.kept.removed_files()).await?;
        let mut upkept =
            Upkept { removed: remove(name, &table, expired).await?, ..Upkept::default() };
        fail::fail_point!("vacuum_after_removal", |_| std::process::abort());
        if commits_since_checkpoint(name, &table)? < CHECKPOINT_COMMITS {
            return Ok(upkept);
        }
        let Some(table) = self.settle(name, table, provenance).await? else {
            return Ok(upkept);
        };
        checkpoint(name, &table).await?;
        self.loaded.forget_log(name);
        upkept.checkpoint = true;
        fail::fail_point!("checkpoint_after_write", |_| std::process::abort());
        upkept.log_files = clean_log(name, &table, self.kept.log()).await?;
        tracing::debug!(
            table = %name,
            version = table.version(),
            log_files_removed = upkept.log_files,
            "wrote a checkpoint"
        );
        Ok(upkept)
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
        let config = state.table_config();
        let default = Kept::default();
        let removed = config.deleted_file_retention_duration.unwrap_or(default.removed_files());
        let log = config.log_retention_duration.unwrap_or(default.log());
        if (removed, log) == (self.kept.removed_files(), self.kept.log()) {
            return Ok(Some(table));
        }
        let properties = HashMap::from([
            (DELETED_FILES_PROPERTY.to_owned(), interval(self.kept.removed_files_days)),
            (LOG_PROPERTY.to_owned(), interval(self.kept.log_days)),
        ]);
        let metadata = with_properties(state.metadata().clone(), &properties)
            .map_err(|source| LakeError::write(name, source))?;
        let committed = CommitBuilder::from(provenance.properties(vec![]))
            .with_actions(vec![Action::Metadata(metadata)])
            .build(
                Some(state as &dyn TableReference),
                table.log_store(),
                DeltaOperation::SetTableProperties { properties },
            )
            .await
            .map_err(|source| LakeError::commit(name, state.version(), source));
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

fn totals(bytes: impl Iterator<Item = i64>) -> FileTotals {
    bytes.fold(FileTotals::default(), |total, bytes| FileTotals {
        files: total.files + 1,
        bytes: total.bytes + bytes,
    })
}

/// Files that left the table longer ago than `kept`. A file that is in the table again (another
/// tool may restore an old version) is none of them, nor one that lies outside of the table's
/// folder.
async fn expired(
    name: &TableName,
    table: &DeltaTable,
    kept: Duration,
) -> Result<Vec<Expired>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let kept_millis = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let removed_before =
        clock::now().timestamp_millis().saturating_add(CHECKPOINT_MARGIN_MILLIS) - kept_millis;
    let log_store = table.log_store();
    let mut tombstones = state.all_tombstones(log_store.as_ref());
    let mut expired = Vec::new();
    while let Some(tombstone) = tombstones.next().await {
        let tombstone = tombstone.map_err(|source| LakeError::read(name, source))?;
        let path = tombstone.path();
        if tombstone.deletion_timestamp().unwrap_or_default() < removed_before
            && !path.contains("://")
            && let Ok(path) = Path::parse(path.as_ref())
        {
            expired.push(Expired { path, bytes: tombstone.size().unwrap_or_default() });
        }
    }
    if !expired.is_empty() {
        let active: HashSet<Path> =
            state.log_data().iter().map(|file| file.object_store_path()).collect();
        expired.retain(|file| !active.contains(&file.path));
    }
    Ok(expired)
}

/// Removes the files. One that is gone already, by an earlier call or another process, does not
/// count.
async fn remove(
    name: &TableName,
    table: &DeltaTable,
    expired: Vec<Expired>,
) -> Result<FileTotals, LakeError> {
    if expired.is_empty() {
        return Ok(FileTotals::default());
    }
    let store = table.log_store().object_store(None);
    let sizes: HashMap<Path, i64> =
        expired.into_iter().map(|file| (file.path, file.bytes)).collect();
    let removed = delete(name, store.as_ref(), sizes.keys().cloned().collect()).await?;
    remove_empty_folders(table, &removed);
    Ok(totals(removed.iter().map(|path| sizes.get(path).copied().unwrap_or_default())))
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

/// A local folder of a partition outlives its files. It is removed when it is empty, which the
/// operating system decides; a writer that comes in between makes it again.
fn remove_empty_folders(table: &DeltaTable, removed: &[Path]) {
    let Ok(root) = table.table_url().to_file_path() else {
        return;
    };
    let folders: HashSet<PathBuf> = removed
        .iter()
        .filter_map(|path| root.join(path.as_ref()).parent().map(PathBuf::from))
        .filter(|folder| *folder != root)
        .collect();
    for folder in folders {
        let _ = std::fs::remove_dir(folder);
    }
}

/// Commits of the loaded version that its newest checkpoint does not cover. The log segment of a
/// loaded table begins behind that checkpoint, so only those commits have a time in it.
fn commits_since_checkpoint(name: &TableName, table: &DeltaTable) -> Result<u64, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let uncovered = (0..=state.version())
        .rev()
        .take_while(|version| state.version_timestamp(*version).is_some());
    Ok(u64::try_from(uncovered.take(usize::try_from(CHECKPOINT_COMMITS).unwrap_or(1)).count())
        .unwrap_or(u64::MAX))
}

/// Writes a checkpoint of the loaded version, the same one that any other process would.
async fn checkpoint(name: &TableName, table: &DeltaTable) -> Result<(), LakeError> {
    let failed = |source: delta_kernel::Error| LakeError::Checkpoint {
        table: name.clone(),
        source: Box::new(source),
    };
    let log_store = table.log_store();
    let mut root = log_store.root_url().clone();
    if !root.path().ends_with('/') {
        root.set_path(&format!("{}/", root.path()));
    }
    let (engine, version) = (log_store.engine(None), table.version());
    // The kernel waits for the store on the thread it is called on.
    let written = tokio::task::spawn_blocking(move || {
        let mut builder = delta_kernel::Snapshot::builder_for(root.as_str());
        if let Some(version) = version {
            builder = builder.at_version(version);
        }
        builder.build(engine.as_ref())?.checkpoint(engine.as_ref(), None).map(|_| ())
    });
    written.await.map_err(|join| failed(delta_kernel::Error::generic_err(join)))?.map_err(failed)
}

/// Removes log files that no version within `kept` needs, and says how many.
async fn clean_log(
    name: &TableName,
    table: &DeltaTable,
    kept: Duration,
) -> Result<usize, LakeError> {
    let store = table.log_store().object_store(None);
    let listed: Vec<ObjectMeta> = store
        .list(Some(&Path::from(LOG_FOLDER)))
        .try_collect()
        .await
        .map_err(|source| LakeError::Clean { table: name.clone(), source })?;
    let cutoff_millis =
        clock::now().timestamp_millis() - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let files: Vec<LogFile> = listed.into_iter().filter_map(LogFile::of).collect();
    let unneeded = unneeded(&files, cutoff_millis, table.version().unwrap_or_default());
    let paths = unneeded.into_iter().map(|file| file.path.clone()).collect();
    Ok(delete(name, store.as_ref(), paths).await?.len())
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LogFile {
    path: Path,
    version: u64,
    is_checkpoint: bool,
    modified_millis: i64,
}

impl LogFile {
    fn of(meta: ObjectMeta) -> Option<Self> {
        let name = meta.location.filename()?;
        let version = version_of(name)?;
        Some(Self {
            version,
            // One of several parts, which others may be missing from, does not count as one.
            is_checkpoint: name == format!("{version:020}.checkpoint.parquet"),
            modified_millis: meta.last_modified.timestamp_millis(),
            path: meta.location,
        })
    }
}

/// Files before the newest checkpoint that is not younger than the oldest version within reach.
fn unneeded(files: &[LogFile], cutoff_millis: i64, newest_version: u64) -> Vec<&LogFile> {
    let oldest_kept = files
        .iter()
        .filter(|file| file.modified_millis > cutoff_millis)
        .map(|file| file.version)
        .min()
        .unwrap_or(newest_version)
        .min(newest_version);
    let first_needed = files
        .iter()
        .filter(|file| file.is_checkpoint && file.version <= oldest_kept)
        .map(|file| file.version)
        .max();
    let is_unneeded = |file: &&LogFile| first_needed.is_some_and(|first| file.version < first);
    files.iter().filter(is_unneeded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(version: u64, modified_millis: i64) -> LogFile {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        LogFile { path, version, is_checkpoint: false, modified_millis }
    }

    fn checkpoint(version: u64, modified_millis: i64) -> LogFile {
        let path = Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"));
        LogFile { path, version, is_checkpoint: true, modified_millis }
    }

    /// Commits 0 to 9, one a second, and checkpoints of 3 and 7.
    fn log() -> Vec<LogFile> {
        let mut files: Vec<LogFile> = (0..10)
            .map(|version| commit(version, i64::try_from(version).unwrap() * 1000))
            .collect();
        files.extend([checkpoint(3, 3500), checkpoint(7, 7500)]);
        files
    }

    fn removed(cutoff_millis: i64) -> Vec<u64> {
        let files = log();
        let mut versions: Vec<u64> =
            unneeded(&files, cutoff_millis, 9).iter().map(|file| file.version).collect();
        versions.sort_unstable();
        versions
    }

    #[test]
    fn a_log_within_its_time_stays_whole() {
        assert!(removed(-1).is_empty());
        assert!(removed(1_999).is_empty());
    }

    #[test]
    fn the_oldest_version_within_reach_keeps_the_checkpoint_it_is_read_from() {
        // Versions 4 and later are within reach: 4 needs the checkpoint of 3.
        assert_eq!(removed(3_600), [0, 1, 2]);
        // Version 6 needs it too; from 7 on, the checkpoint of 7 serves.
        assert_eq!(removed(5_000), [0, 1, 2]);
        assert_eq!(removed(7_900), [0, 1, 2, 3, 3, 4, 5, 6]);
    }

    #[test]
    fn a_log_past_its_time_keeps_the_newest_checkpoint_and_what_follows() {
        assert_eq!(removed(i64::MAX), [0, 1, 2, 3, 3, 4, 5, 6]);
    }

    #[test]
    fn a_log_without_a_checkpoint_stays_whole() {
        let files: Vec<LogFile> = (0..5).map(|version| commit(version, 0)).collect();
        assert_eq!(unneeded(&files, i64::MAX, 4), Vec::<&LogFile>::new());
    }
}
