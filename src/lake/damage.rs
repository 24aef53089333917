//! Which file of a table is damaged, once the library has failed to read it.
//!
//! The library names the reason but not the file: the log is looked through again, file by file.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::DeltaTable;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::log_cache::version_of;
use super::{LakeError, TableName};

/// Files of one log by version.
#[derive(Default)]
pub(super) struct Log {
    commits: BTreeMap<u64, Path>,
    checkpoints: BTreeMap<u64, Path>,
}

/// The error that names the damaged file of the log; `error` itself where none is.
pub(super) async fn located(name: &TableName, table: &DeltaTable, error: LakeError) -> LakeError {
    match damaged(name, table).await {
        Some(place) => place.error(name, Box::new(error)),
        None => error,
    }
}

/// What is wrong with a log.
enum Place {
    Commit { path: Path, is_newest: bool },
    MissingCommit { path: Path },
    Checkpoint { path: Path, is_needed: bool },
}

impl Place {
    fn error(self, name: &TableName, source: Box<LakeError>) -> LakeError {
        let table = name.clone();
        match self {
            Self::Commit { path, is_newest } => LakeError::DamagedCommit {
                path: path.to_string(),
                way_out: if is_newest {
                    "or remove it, if no copy is left: the table is then as it was before that \
                     commit, run again what made it (for a build with `build --force`)"
                } else {
                    "or restore the lake from a copy"
                },
                table,
                source,
            },
            Self::MissingCommit { path } => LakeError::DamagedCommit {
                path: path.to_string(),
                way_out: "or restore the lake from a copy",
                table,
                source,
            },
            Self::Checkpoint { path, is_needed } => LakeError::DamagedCheckpoint {
                path: path.to_string(),
                way_out: if is_needed {
                    "the commits before it are gone: put it back from a copy of the store"
                } else {
                    "the log is complete without it: remove it (and _last_checkpoint) and run again"
                },
                table,
                source,
            },
        }
    }
}

async fn damaged(name: &TableName, table: &DeltaTable) -> Option<Place> {
    let log = match Log::list(table).await {
        Ok(log) => log,
        Err(error) => {
            tracing::debug!(table = %name, %error, "cannot list the log");
            return None;
        }
    };
    let newest_checkpoint = log.checkpoints.iter().next_back();
    if let Some((version, path)) = newest_checkpoint
        && !is_checkpoint(table, path).await
    {
        let is_needed = !log.reaches(table, *version).await;
        return Some(Place::Checkpoint { path: path.clone(), is_needed });
    }
    let first = newest_checkpoint.map_or(0, |(version, _)| version + 1);
    let newest = log.commits.keys().next_back().copied()?;
    for version in first..=newest {
        let Some(path) = log.commits.get(&version) else {
            let path = Path::from(format!("_delta_log/{version:020}.json"));
            return Some(Place::MissingCommit { path });
        };
        if !is_commit(table, path).await {
            return Some(Place::Commit { path: path.clone(), is_newest: version == newest });
        }
    }
    None
}

impl Log {
    /// The oldest version that can be read: the first one where its commit is there, else that of the
    /// oldest checkpoint.
    pub(super) fn oldest_version(&self) -> Option<u64> {
        if self.commits.contains_key(&0) {
            Some(0)
        } else {
            self.checkpoints.keys().next().copied()
        }
    }

    pub(super) async fn list(table: &DeltaTable) -> Result<Self, object_store::Error> {
        let store = table.log_store().object_store(None);
        let listed: Vec<ObjectMeta> =
            store.list(Some(&Path::from("_delta_log"))).try_collect().await?;
        let mut log = Self::default();
        for path in listed.into_iter().map(|meta| meta.location) {
            let Some(name) = path.filename() else { continue };
            let Some(version) = version_of(name) else { continue };
            if name == format!("{version:020}.json") {
                log.commits.insert(version, path);
            } else if name == format!("{version:020}.checkpoint.parquet") {
                log.checkpoints.insert(version, path);
            }
        }
        Ok(log)
    }

    /// Whether the versions up to `version` can be read without its checkpoint.
    async fn reaches(&self, table: &DeltaTable, version: u64) -> bool {
        let commits: BTreeSet<u64> = self.commits.keys().copied().collect();
        let is_complete_from =
            |first: u64| (first..=version).all(|version| commits.contains(&version));
        if is_complete_from(0) {
            return true;
        }
        match self.checkpoints.range(..version).next_back() {
            Some((older, path)) => is_complete_from(older + 1) && is_checkpoint(table, path).await,
            None => false,
        }
    }
}

/// Whether every line is an action.
async fn is_commit(table: &DeltaTable, path: &Path) -> bool {
    let Some(bytes) = read(table, path).await else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return false;
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    lines.peek().is_some()
        && lines.all(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).is_ok())
}

async fn is_checkpoint(table: &DeltaTable, path: &Path) -> bool {
    let Some(bytes) = read(table, path).await else {
        return false;
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build);
    reader.is_ok_and(|mut batches| batches.all(|batch| batch.is_ok()))
}

async fn read(table: &DeltaTable, path: &Path) -> Option<bytes::Bytes> {
    let store = table.log_store().object_store(None);
    store.get(path).await.ok()?.bytes().await.ok()
}
