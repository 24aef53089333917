//! One commit of one stage: files in and out, ids, and the run that did it.
//!
//! A store may answer with an error although the commit has landed. So every commit carries an id
//! of its own, and after a failure the log is asked for it before anybody tries again.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, Metadata, Remove, Transaction};
use deltalake::logstore::get_actions;
use deltalake::protocol::{DeltaOperation, MergePredicate, SaveMode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ids::{self, REMOVAL};
use super::storage::TARGET_FILE_BYTES;
use super::{LakeError, TableName};

pub(super) const RUN_ID: &str = "sessionlake.runId";
pub(super) const STAGE: &str = "sessionlake.stage";
const COMMIT_ID: &str = "sessionlake.commitId";

/// How often a stage plans again after another run committed first.
const ATTEMPTS: u32 = 6;

/// Who commits and from what; written into the commit's metadata.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The id of the run, as in `runs`.
    pub run_id: String,
    /// Hash of the effective configuration of the feed.
    pub config_hash: String,
    /// The stage that commits.
    pub stage: &'static str,
    /// Versions of the tables read, by name.
    pub input_versions: Vec<(String, u64)>,
}

impl Provenance {
    fn metadata(&self) -> HashMap<String, Value> {
        let inputs: serde_json::Map<String, Value> = self
            .input_versions
            .iter()
            .map(|(table, version)| (table.clone(), Value::from(*version)))
            .collect();
        HashMap::from([
            (RUN_ID.to_owned(), Value::from(self.run_id.clone())),
            ("sessionlake.configHash".to_owned(), Value::from(self.config_hash.clone())),
            (STAGE.to_owned(), Value::from(self.stage)),
            ("sessionlake.inputVersions".to_owned(), Value::Object(inputs)),
        ])
    }
}

/// Rows that a merge of rows wrote anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergedRows {
    /// Rows that the table did not hold.
    pub inserted: i64,
    /// Rows that it held otherwise.
    pub updated: i64,
}

/// What one commit changes.
#[derive(Debug, Default)]
pub struct Change {
    /// Files that enter the table.
    pub adds: Vec<Add>,
    /// Files that leave it.
    pub removes: Vec<Remove>,
    /// New metadata (schema, properties), if they change.
    pub metadata: Option<Metadata>,
    /// Ids that become known with this commit.
    pub ids: Vec<Transaction>,
    /// The rows this commit depends on having read; `None` for a plain append.
    pub read_predicate: Option<String>,
    /// Set where the commit merges rows by key: the history shows a MERGE with these counts.
    pub merged: Option<MergedRows>,
}

impl Change {
    /// Whether the same rows stand in other files afterwards, and nothing else changes.
    fn is_compaction(&self) -> bool {
        !self.removes.is_empty()
            && self.removes.iter().all(|remove| !remove.data_change)
            && self.adds.iter().all(|add| !add.data_change)
    }
}

/// Commits `change` on top of the loaded version of `table` and returns the new version.
///
/// The library rejects a concurrent commit that shares an id or touches what was read; that
/// comes back as [`LakeError::Conflict`], and the stage plans again ([`replanning`]). A commit
/// that landed although the store said otherwise is a commit.
pub async fn commit(
    name: &TableName,
    table: &DeltaTable,
    change: Change,
    provenance: &Provenance,
) -> Result<u64, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let read_version = state.version();
    let operation = operation(&change, state.metadata().partition_columns().to_vec());
    let commit_id = Uuid::new_v4().to_string();
    let mut metadata = metadata_of(&change, provenance);
    metadata.insert(COMMIT_ID.to_owned(), Value::from(commit_id.clone()));
    let mut ids = change.ids;
    if !change.removes.is_empty() {
        // The library lets a commit remove a file that a compaction has just replaced: its rows
        // would stay in the file that took its place.
        let version = i64::try_from(read_version).unwrap_or(i64::MAX);
        ids.push(ids::transaction(REMOVAL, version));
    }
    let properties =
        CommitProperties::default().with_metadata(metadata).with_application_transactions(ids);
    let mut actions: Vec<Action> = Vec::new();
    actions.extend(change.metadata.map(Action::Metadata));
    actions.extend(change.removes.into_iter().map(Action::Remove));
    actions.extend(change.adds.into_iter().map(Action::Add));
    let prepared = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(state as &dyn TableReference), table.log_store(), operation)
        .into_prepared_commit_future();
    // What the library would do after the commit is left out: a replay of the log up to it, which the
    // next load does again, a list of the whole log and a checkpoint, which are for `upkeep`.
    let committed = match prepared.await {
        Ok(prepared) => prepared.await,
        Err(source) => Err(source),
    };
    let source = match committed {
        Ok(committed) => return Ok(committed.version),
        Err(source) => source,
    };
    let newer = newer_commits(table, read_version).await.unwrap_or_else(|error| {
        tracing::warn!(table = %name, %error, "cannot tell whether the failed commit has landed");
        Vec::new()
    });
    if let Some(landed) = newer.iter().find(|newer| newer.id.as_ref() == Some(&commit_id)) {
        tracing::warn!(
            table = %name,
            version = landed.name.version,
            error = %source,
            "the commit has landed although the store answered with an error"
        );
        return Ok(landed.name.version);
    }
    let mine = CommitName {
        version: read_version,
        what: provenance.stage.to_owned(),
        run_id: Some(provenance.run_id.clone()),
    };
    let theirs = newer.into_iter().map(|newer| newer.name).collect();
    Err(LakeError::commit(name, mine, theirs, source))
}

/// A commit, as people find it in a table's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitName {
    /// Its version; of one that did not land, the version it was planned on.
    pub version: u64,
    /// The stage, or the operation of another program.
    pub what: String,
    /// The run, if it was one of ours.
    pub run_id: Option<String>,
}

impl fmt::Display for CommitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, what, run_id } = self;
        match run_id {
            Some(run_id) => write!(f, "version {version}, {what} of run {run_id}"),
            None => write!(f, "version {version}, {what} of another program"),
        }
    }
}

/// A commit behind the version that was read.
struct Newer {
    name: CommitName,
    id: Option<String>,
}

async fn newer_commits(
    table: &DeltaTable,
    read_version: u64,
) -> Result<Vec<Newer>, DeltaTableError> {
    let log = table.log_store();
    let mut newer = Vec::new();
    for version in read_version + 1.. {
        let Some(entry) = log.read_commit_entry(version).await? else {
            break;
        };
        let info = get_actions(version, &entry)?.into_iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        let info = info.unwrap_or_default();
        let text = |key: &str| Some(info.info.get(key)?.as_str()?.to_owned());
        let what = text(STAGE).or(info.operation.clone());
        newer.push(Newer {
            id: text(COMMIT_ID),
            name: CommitName {
                version,
                what: what.unwrap_or_else(|| "a commit".to_owned()),
                run_id: text(RUN_ID),
            },
        });
    }
    Ok(newer)
}

/// Runs a stage; where another run committed first, plans it again on the newest versions, a
/// bounded number of times and after a growing wait that differs between runs.
pub async fn replanning<T, E: fmt::Display>(
    is_conflict: impl Fn(&E) -> bool,
    mut stage: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut attempt = 1;
    loop {
        match stage().await {
            Err(error) if attempt < ATTEMPTS && is_conflict(&error) => {
                tracing::warn!(%error, attempt, "planning the stage again");
                let wait = u64::from(attempt) * rand::random_range(20..120);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Provenance, and for a merge its metrics, under the names that readers of a table's history know.
fn metadata_of(change: &Change, provenance: &Provenance) -> HashMap<String, Value> {
    let mut metadata = provenance.metadata();
    if let Some(rows) = change.merged {
        metadata.insert(
            "operationMetrics".to_owned(),
            json!({
                "num_target_rows_inserted": rows.inserted,
                "num_target_rows_updated": rows.updated,
                "num_target_rows_deleted": 0,
                "num_target_files_added": change.adds.len(),
                "num_target_files_removed": change.removes.len(),
            }),
        );
    }
    metadata
}

fn operation(change: &Change, partition_by: Vec<String>) -> DeltaOperation {
    if change.is_compaction() {
        return DeltaOperation::Optimize {
            predicate: change.read_predicate.clone(),
            target_size: i64::try_from(TARGET_FILE_BYTES).unwrap_or(i64::MAX),
        };
    }
    if change.merged.is_some() {
        let action = |action_type: &str| MergePredicate {
            action_type: action_type.to_owned(),
            predicate: None,
        };
        return DeltaOperation::Merge {
            predicate: change.read_predicate.clone(),
            merge_predicate: change.read_predicate.clone(),
            matched_predicates: vec![action("update")],
            not_matched_predicates: vec![action("insert")],
            not_matched_by_source_predicates: vec![],
        };
    }
    if let (Some(metadata), [], []) = (&change.metadata, &*change.adds, &*change.removes) {
        return DeltaOperation::SetTableProperties { properties: metadata.configuration().clone() };
    }
    if change.adds.is_empty() && !change.removes.is_empty() {
        return DeltaOperation::Delete { predicate: change.read_predicate.clone() };
    }
    let mode = if change.removes.is_empty() { SaveMode::Append } else { SaveMode::Overwrite };
    DeltaOperation::Write {
        mode,
        partition_by: Some(partition_by),
        predicate: change.read_predicate.clone(),
    }
}
