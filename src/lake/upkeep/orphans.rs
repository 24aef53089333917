//! The files of a table on the store beside those that its log names: what nobody names any more,
//! because a writer was killed before it could commit, and whether one is missing.
//!
//! A writer beside us has such files, too, until it commits, so only their age tells. A file that
//! the log names, in the table or as one that left it, is none, whatever its age.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path as LocalPath, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use deltalake::DeltaTable;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::super::files::FileTotals;
use super::super::{Lake, LakeError, TableName};
use super::delete;
use super::vacuum::remove_empty_folders;
use crate::clock;

/// What nobody will commit any more.
#[derive(Debug, Default)]
pub struct Orphans {
    files: Vec<(Path, i64)>,
    /// On a local disk an upload has a name of its own until it is whole, which stores do not
    /// list; elsewhere the store keeps it to itself.
    unfinished: Vec<(PathBuf, i64)>,
}

impl Orphans {
    /// Their number and size.
    pub(super) fn totals(&self) -> FileTotals {
        let bytes = self.files.iter().map(|(_, bytes)| bytes);
        let bytes = bytes.chain(self.unfinished.iter().map(|(_, bytes)| bytes));
        bytes.fold(FileTotals::default(), |totals, bytes| totals.plus(*bytes))
    }

    /// Finds those of a table that are older than `age`. Fails where a data file of the table is
    /// not as its log says.
    pub(super) async fn find(
        lake: &Lake,
        name: &TableName,
        age: Duration,
    ) -> Result<Self, LakeError> {
        let Some(table) = lake.load(name).await? else {
            return Ok(Self::default());
        };
        let before = clock::now() - age;
        let store = table.log_store().object_store(None);
        let listed: Vec<ObjectMeta> = store
            .list(None)
            .try_collect()
            .await
            .map_err(|source| LakeError::Clean { table: name.clone(), source })?;
        let unfinished = unfinished_uploads(name, &table, before).await?;
        // What was committed while the store listed is in the table that is loaded behind it.
        let Some(table) = lake.load(name).await? else {
            return Ok(Self::default());
        };
        whole(name, &table, &listed).await?;
        let named = named_files(name, &table).await?;
        let files = listed
            .into_iter()
            .filter(|meta| meta.last_modified < before)
            .filter(|meta| is_data_file(&meta.location) && !named.contains(&meta.location))
            .map(|meta| (meta.location, i64::try_from(meta.size).unwrap_or(i64::MAX)))
            .collect();
        Ok(Self { files, unfinished })
    }

    /// Removes them. One that is gone already does not count.
    pub(super) async fn remove(
        self,
        name: &TableName,
        table: &DeltaTable,
    ) -> Result<FileTotals, LakeError> {
        let store = table.log_store().object_store(None);
        let paths = self.files.iter().map(|(path, _)| path.clone()).collect();
        let removed = delete(name, store.as_ref(), paths).await?;
        remove_empty_folders(table, &removed);
        let gone: HashSet<&Path> = removed.iter().collect();
        let files = self.files.iter().filter(|(path, _)| gone.contains(path));
        let mut totals = files.fold(FileTotals::default(), |totals, (_, b)| totals.plus(*b));
        for (path, bytes) in self.unfinished {
            // Few and local: nothing is gained by another thread.
            match std::fs::remove_file(&path) {
                Ok(()) => totals = totals.plus(bytes),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(unfinished_error(name, path, source)),
            }
        }
        Ok(totals)
    }
}

/// Whether every data file of the loaded version is there in its size. One that was committed
/// behind the listing is asked for.
async fn whole(
    name: &TableName,
    table: &DeltaTable,
    listed: &[ObjectMeta],
) -> Result<(), LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let sizes: HashMap<&Path, u64> =
        listed.iter().map(|meta| (&meta.location, meta.size)).collect();
    let store = table.log_store().object_store(None);
    for file in state.log_data().iter() {
        let path = file.object_store_path();
        let found = match sizes.get(&path) {
            Some(bytes) => Some(*bytes),
            None => match store.head(&path).await {
                Ok(meta) => Some(meta.size),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(source) => return Err(LakeError::Clean { table: name.clone(), source }),
            },
        };
        if found != u64::try_from(file.size()).ok() {
            let (table, path) = (name.clone(), path.to_string());
            return Err(LakeError::LostFile { table, path, found });
        }
    }
    Ok(())
}

/// Every data file that the loaded version shows, and those that left the table.
async fn named_files(name: &TableName, table: &DeltaTable) -> Result<HashSet<Path>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let mut named: HashSet<Path> =
        state.log_data().iter().map(|file| file.object_store_path()).collect();
    let log_store = table.log_store();
    let mut tombstones = state.all_tombstones(log_store.as_ref());
    while let Some(tombstone) = tombstones.next().await {
        let tombstone = tombstone.map_err(|source| LakeError::read(name, source))?;
        // Written as it is or as a URL, a path means a file that must stay.
        let path = tombstone.path();
        named.extend(Path::parse(path.as_ref()).ok());
        named.extend(Path::from_url_path(path.as_ref()).ok());
    }
    Ok(named)
}

/// Other engines keep files of their own behind an underscore or a dot, and deletion vectors.
fn is_data_file(path: &Path) -> bool {
    let is_hidden = |part: &str| part.starts_with(['_', '.']) && !part.contains('=');
    path.extension() == Some("parquet") && !path.parts().any(|part| is_hidden(part.as_ref()))
}

async fn unfinished_uploads(
    name: &TableName,
    table: &DeltaTable,
    before: DateTime<Utc>,
) -> Result<Vec<(PathBuf, i64)>, LakeError> {
    let Ok(root) = table.table_url().to_file_path() else {
        return Ok(vec![]);
    };
    let folder = root.clone();
    let walk = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        unfinished_below(&folder, before.into(), &mut found).map(|()| found)
    });
    match walk.await {
        Ok(found) => found.map_err(|source| unfinished_error(name, root, source)),
        Err(_) => Err(LakeError::Interrupted { table: name.clone() }),
    }
}

fn unfinished_below(
    folder: &LocalPath,
    before: SystemTime,
    found: &mut Vec<(PathBuf, i64)>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            unfinished_below(&entry.path(), before, found)?;
        } else if is_unfinished(&entry.file_name().to_string_lossy())
            && metadata.modified()? < before
        {
            found.push((entry.path(), i64::try_from(metadata.len()).unwrap_or(i64::MAX)));
        }
    }
    Ok(())
}

/// `part-00000.parquet#1` is on its way to `part-00000.parquet`.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn unfinished_error(name: &TableName, path: PathBuf, source: io::Error) -> LakeError {
    LakeError::Unfinished { table: name.clone(), path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_files_of_the_table_are_looked_at() {
        let is = |path: &str| is_data_file(&Path::from(path));
        assert!(is("_updated_at=2026-01-05/part-00000.snappy.parquet"));
        assert!(is("part-00000.parquet"));
        assert!(!is("_delta_log/00000000000000000010.checkpoint.parquet"));
        assert!(!is("_change_data/cdc-00000.parquet"));
        assert!(!is("pdate=2026-01-05/.part-00000.parquet"));
        assert!(!is("pdate=2026-01-05/deletion_vector_1.bin"));
    }

    #[test]
    fn an_upload_on_its_way_ends_in_a_number() {
        assert!(is_unfinished("part-00000.parquet#1"));
        assert!(!is_unfinished("part-00000.parquet"));
        assert!(!is_unfinished("part#one.parquet"));
        assert!(!is_unfinished("part-00000.parquet#"));
    }
}
