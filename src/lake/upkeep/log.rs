//! Checkpoints of a table's log, and the removal of what they make superfluous.

use std::time::Duration;

use deltalake::DeltaTable;
use futures::TryStreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::super::files::FileTotals;
use super::super::log_cache::version_of;
use super::super::{LakeError, TableName};
use super::{CHECKPOINT_COMMITS, delete};
use crate::clock;

const LOG_FOLDER: &str = "_delta_log";

/// Commits of the loaded version that its newest checkpoint does not cover. The log segment of a
/// loaded table begins behind that checkpoint, so only those commits have a time in it.
pub(super) fn commits_since_checkpoint(
    name: &TableName,
    table: &DeltaTable,
) -> Result<u64, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let uncovered = (0..=state.version())
        .rev()
        .take_while(|version| state.version_timestamp(*version).is_some());
    Ok(u64::try_from(uncovered.take(usize::try_from(CHECKPOINT_COMMITS).unwrap_or(1)).count())
        .unwrap_or(u64::MAX))
}

/// Writes a checkpoint of the loaded version, the same one that any other process would.
pub(super) async fn checkpoint(name: &TableName, table: &DeltaTable) -> Result<(), LakeError> {
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

/// Whether the log ends in a checkpoint that is still to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkpoint {
    /// What is there counts.
    AsListed,
    /// One of the loaded version is thought to be there, too.
    Planned,
}

/// Removes log files that no version within `kept` needs, and says what they were.
pub(super) async fn clean_log(
    name: &TableName,
    table: &DeltaTable,
    kept: Duration,
) -> Result<FileTotals, LakeError> {
    let unneeded = unneeded_log(name, table, kept, Checkpoint::AsListed).await?;
    let store = table.log_store().object_store(None);
    let paths = unneeded.iter().map(|file| file.path.clone()).collect();
    fail::fail_point!("log_before_removal", |_| std::process::abort());
    let removed = delete(name, store.as_ref(), paths).await?;
    fail::fail_point!("log_after_removal", |_| std::process::abort());
    let removed = unneeded.iter().filter(|file| removed.contains(&file.path));
    Ok(removed.fold(FileTotals::default(), |totals, file| totals.plus(file.bytes)))
}

/// Log files that [`clean_log`] would remove.
pub(super) async fn unneeded_log(
    name: &TableName,
    table: &DeltaTable,
    kept: Duration,
    checkpoint: Checkpoint,
) -> Result<Vec<LogFile>, LakeError> {
    let store = table.log_store().object_store(None);
    let listed: Vec<ObjectMeta> = store
        .list(Some(&Path::from(LOG_FOLDER)))
        .try_collect()
        .await
        .map_err(|source| LakeError::Clean { table: name.clone(), source })?;
    let cutoff_millis =
        clock::now().timestamp_millis() - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let version = table.version().unwrap_or_default();
    let mut files: Vec<LogFile> = listed.into_iter().filter_map(LogFile::of).collect();
    if checkpoint == Checkpoint::Planned {
        files.push(LogFile::planned_checkpoint(version));
    }
    Ok(unneeded(&files, cutoff_millis, version).into_iter().cloned().collect())
}

/// A commit or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    path: Path,
    version: u64,
    is_checkpoint: bool,
    modified_millis: i64,
    pub(super) bytes: i64,
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
            bytes: i64::try_from(meta.size).unwrap_or(i64::MAX),
            path: meta.location,
        })
    }

    /// Never old enough to be removed, as it is the newest of all.
    fn planned_checkpoint(version: u64) -> Self {
        let path = Path::from(format!("{LOG_FOLDER}/{version:020}.checkpoint.parquet"));
        Self { path, version, is_checkpoint: true, modified_millis: i64::MAX, bytes: 0 }
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
        LogFile { path, version, is_checkpoint: false, modified_millis, bytes: 1 }
    }

    fn checkpoint(version: u64, modified_millis: i64) -> LogFile {
        let path = Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"));
        LogFile { path, version, is_checkpoint: true, modified_millis, bytes: 1 }
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
