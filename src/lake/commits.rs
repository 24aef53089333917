//! One commit of one stage: files in and out, ids, and the run that did it.

use std::collections::HashMap;

use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, Metadata, Remove, Transaction};
use deltalake::protocol::{DeltaOperation, MergePredicate, SaveMode};
use serde_json::{Value, json};

use super::ids::{self, REMOVAL};
use super::storage::TARGET_FILE_BYTES;
use super::{LakeError, TableName};

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
            ("sessionlake.runId".to_owned(), Value::from(self.run_id.clone())),
            ("sessionlake.configHash".to_owned(), Value::from(self.config_hash.clone())),
            ("sessionlake.stage".to_owned(), Value::from(self.stage)),
            ("sessionlake.inputVersions".to_owned(), Value::Object(inputs)),
        ])
    }

    /// The same for a commit of the library's, with `ids`. Left to itself, the library would list
    /// the whole log after every commit to see what has expired, and write a checkpoint wherever
    /// the version falls on a multiple: [`super::upkeep`] does both, once per arrival date at most.
    pub fn properties(&self, ids: Vec<Transaction>) -> CommitProperties {
        properties(self.metadata(), ids)
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
/// comes back as [`LakeError::Conflict`], and the stage plans again.
pub async fn commit(
    name: &TableName,
    table: &DeltaTable,
    change: Change,
    provenance: &Provenance,
) -> Result<u64, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let read_version = state.version();
    let operation = operation(&change, state.metadata().partition_columns().to_vec());
    let mut commit_ids = change.ids.clone();
    if !change.removes.is_empty() {
        // The library lets a commit remove a file that a compaction has just replaced: its rows
        // would stay in the file that took its place.
        let version = i64::try_from(read_version).unwrap_or(i64::MAX);
        commit_ids.push(ids::transaction(REMOVAL, version));
    }
    let properties = properties(metadata_of(&change, provenance), commit_ids);
    let mut actions: Vec<Action> = Vec::new();
    actions.extend(change.metadata.map(Action::Metadata));
    actions.extend(change.removes.into_iter().map(Action::Remove));
    actions.extend(change.adds.into_iter().map(Action::Add));
    let finalized = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(state as &dyn TableReference), table.log_store(), operation)
        .await
        .map_err(|source| LakeError::commit(name, read_version, source))?;
    Ok(finalized.version())
}

fn properties(metadata: HashMap<String, Value>, ids: Vec<Transaction>) -> CommitProperties {
    CommitProperties::default()
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
        .with_metadata(metadata)
        .with_application_transactions(ids)
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
