//! Data files that left a table, off the store.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use deltalake::DeltaTable;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::super::files::FileTotals;
use super::super::{LakeError, TableName};
use super::{CHECKPOINT_MARGIN_MILLIS, delete};
use crate::clock;

/// A data file that no version within reach shows.
pub(super) struct Expired {
    pub(super) path: Path,
    pub(super) bytes: i64,
}

/// When the commit before last was made, in milliseconds since 1970; `None` when the checkpoint
/// covers it. One run makes up to two commits to a table, so this lies before it.
pub(super) fn commit_before_last(
    name: &TableName,
    table: &DeltaTable,
) -> Result<Option<i64>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    Ok(state.version().checked_sub(2).and_then(|version| state.version_timestamp(version)))
}

/// Files that left the table longer ago than `kept`. A file that is in the table again (another
/// tool may restore an old version) is none of them, nor one that lies outside of the table's
/// folder. With `since_millis`, only those whose time ended after it, for which the log of a table
/// that is younger than `kept` is not read.
pub(super) async fn expired(
    name: &TableName,
    table: &DeltaTable,
    kept: Duration,
    since_millis: Option<i64>,
) -> Result<Vec<Expired>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let kept_millis = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let removed_before =
        clock::now().timestamp_millis().saturating_add(CHECKPOINT_MARGIN_MILLIS) - kept_millis;
    let is_younger = state.metadata().created_time().is_some_and(|made| made >= removed_before);
    if since_millis.is_some() && is_younger {
        return Ok(Vec::new());
    }
    let removed_after = since_millis.map_or(i64::MIN, |since| since - kept_millis);
    let log_store = table.log_store();
    let mut tombstones = state.all_tombstones(log_store.as_ref());
    let mut expired = Vec::new();
    while let Some(tombstone) = tombstones.next().await {
        let tombstone = tombstone.map_err(|source| LakeError::read(name, source))?;
        let path = tombstone.path();
        let removed_millis = tombstone.deletion_timestamp().unwrap_or_default();
        if (removed_after..removed_before).contains(&removed_millis)
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

/// Those of the files that no earlier call has removed: S3 does not say so when it is asked to remove
/// one that is not there.
pub(super) async fn still_there(
    name: &TableName,
    table: &DeltaTable,
    expired: Vec<Expired>,
) -> Result<Vec<Expired>, LakeError> {
    let store = table.log_store().object_store(None);
    let mut there = Vec::new();
    for file in expired {
        match store.head(&file.path).await {
            Ok(_) => there.push(file),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(LakeError::Clean { table: name.clone(), source }),
        }
    }
    Ok(there)
}

/// Removes the files. On a disk one that is gone already, by an earlier call or another process,
/// does not count; S3 counts it.
pub(super) async fn remove(
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
    let bytes = removed.iter().map(|path| sizes.get(path).copied().unwrap_or_default());
    Ok(bytes.fold(FileTotals::default(), FileTotals::plus))
}

/// A local folder of a partition outlives its files. It is removed when it is empty, which the
/// operating system decides; a writer that comes in between makes it again.
pub(super) fn remove_empty_folders(table: &DeltaTable, removed: &[Path]) {
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
