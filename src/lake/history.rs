//! The versions of a table that are still kept: what made each, and how to read it.

use bytes::Bytes;
use deltalake::kernel::{Action, CommitInfo};
use deltalake::logstore::get_actions;
use deltalake::{DeltaTable, DeltaTableError};
use futures::stream::{self, Stream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::commits::{RUN_ID, STAGE};
use super::damage::Log;
use super::{Lake, LakeError, TableName};

/// Commits that are read at a time.
const READ_AT_ONCE: usize = 16;

/// One commit of a table's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The version that it made.
    pub version: u64,
    /// When, in microseconds since 1970; `None` where the writer did not say.
    pub timestamp_micros: Option<i64>,
    /// What it did, as Delta names it: `WRITE`, `MERGE`, `OPTIMIZE`, ...
    pub operation: Option<String>,
    /// The stage of ours that made it.
    pub stage: Option<String>,
    /// Its run, as `runs` has it.
    pub run_id: Option<String>,
    /// Data files that entered the table.
    pub files_added: i64,
    /// Their bytes.
    pub bytes_added: i64,
    /// Their rows, old ones that were written again included; `None` where a writer did not count.
    pub rows_added: Option<i64>,
    /// Data files that left the table.
    pub files_removed: i64,
    /// Rows that were not there before; of a merge alone.
    pub rows_inserted: Option<i64>,
    /// Rows that were there otherwise; of a merge alone.
    pub rows_updated: Option<i64>,
}

impl Commit {
    pub(super) fn of(version: u64, actions: &[Action]) -> Self {
        let info = actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        let text = |key: &str| Some(info?.info.get(key)?.as_str()?.to_owned());
        let metric = |key: &str| info?.info.get("operationMetrics")?.get(key).and_then(whole);
        let adds = || {
            actions.iter().filter_map(|action| match action {
                Action::Add(add) => Some(add),
                _ => None,
            })
        };
        let removes = actions.iter().filter(|action| matches!(action, Action::Remove(_)));
        let rows = adds().map(|add| Some(add.get_stats().ok()??.num_records));
        Self {
            version,
            timestamp_micros: info.and_then(timestamp_micros),
            operation: info.and_then(|info| info.operation.clone()),
            stage: text(STAGE),
            run_id: text(RUN_ID),
            files_added: count(adds().count()),
            bytes_added: adds().map(|add| add.size).sum(),
            rows_added: rows.sum(),
            files_removed: count(removes.count()),
            rows_inserted: metric("num_target_rows_inserted"),
            rows_updated: metric("num_target_rows_updated"),
        }
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Other programs write numbers as texts.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn timestamp_micros(info: &CommitInfo) -> Option<i64> {
    info.in_commit_timestamp.or(info.timestamp).map(|millis| millis.saturating_mul(1000))
}

impl Lake {
    /// The commits of a table, newest first, as far back as its log is kept. None where there is
    /// no such table.
    pub async fn commits(&self, name: &TableName) -> Result<Vec<Commit>, LakeError> {
        match self.load(name).await? {
            Some(table) => commits(name, &table).try_collect().await,
            None => Ok(vec![]),
        }
    }

    /// A table as it was at a version.
    pub async fn at_version(
        &self,
        name: &TableName,
        version: u64,
    ) -> Result<DeltaTable, LakeError> {
        at_version(name, self.present(name).await?, version).await
    }

    /// A table as it was at an instant, by the times that [`Lake::commits`] shows.
    pub async fn at_time(
        &self,
        name: &TableName,
        timestamp_micros: i64,
    ) -> Result<DeltaTable, LakeError> {
        let table = self.present(name).await?;
        let mut oldest = None;
        let mut commits = Box::pin(commits(name, &table));
        while let Some(commit) = commits.try_next().await? {
            let Some(committed) = commit.timestamp_micros else { continue };
            if committed <= timestamp_micros {
                drop(commits);
                return at_version(name, table, commit.version).await;
            }
            oldest = Some((commit.version, committed));
        }
        Err(LakeError::TimeNotKept { table: name.clone(), timestamp_micros, oldest })
    }

    async fn present(&self, name: &TableName) -> Result<DeltaTable, LakeError> {
        let table = self.load(name).await?;
        table.ok_or_else(|| LakeError::NotThere { table: name.clone() })
    }
}

async fn at_version(
    name: &TableName,
    mut table: DeltaTable,
    version: u64,
) -> Result<DeltaTable, LakeError> {
    let newest = table.version().unwrap_or_default();
    if version > newest {
        return Err(LakeError::NoVersionYet { table: name.clone(), version, newest });
    }
    match table.load_version(version).await {
        Ok(()) => Ok(table),
        Err(source) => match Log::list(&table).await.ok().and_then(|log| log.oldest_version()) {
            Some(oldest) if version < oldest => {
                Err(LakeError::VersionNotKept { table: name.clone(), version, oldest, newest })
            }
            _ => Err(LakeError::read(name, source)),
        },
    }
}

/// Newest first, down to the first commit that is not there.
fn commits(name: &TableName, table: &DeltaTable) -> impl Stream<Item = Result<Commit, LakeError>> {
    let (log, name) = (table.log_store(), name.clone());
    let versions = (0..=table.version().unwrap_or_default()).rev();
    let read = move |version: u64| {
        let log = log.clone();
        async move { (version, log.read_commit_entry(version).await) }
    };
    let entries = stream::iter(versions).map(read).buffered(READ_AT_ONCE);
    let kept = entries.take_while(|(_, entry)| {
        let is_kept = !matches!(entry, Ok(None));
        async move { is_kept }
    });
    kept.filter_map(move |(version, entry)| {
        let commit = parsed(version, entry).map_err(|source| LakeError::read(&name, source));
        async move { commit.transpose() }
    })
}

fn parsed(
    version: u64,
    entry: Result<Option<Bytes>, DeltaTableError>,
) -> Result<Option<Commit>, DeltaTableError> {
    let Some(entry) = entry? else {
        return Ok(None);
    };
    Ok(Some(Commit::of(version, &get_actions(version, &entry)?)))
}
