//! Many small files of one date joined to few: the same rows, in ODS in the same order, in commits
//! that say that no row changed.
//!
//! A commit that takes files out of the table in between, or changes ODS at all, makes this one
//! fail, and this one makes those fail: see the ids `removal` and `ods/<feed>` in
//! [`crate::lake::ids`]. Appends to raw and quarantine go on beside it.

use std::sync::Arc;

use arrow::array::{Date32Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove, Transaction};

use super::error::BuildError;
use super::events::date32;
use super::merge::join;
use super::{StageContext, replanning};
use crate::lake::commits::{self, Change};
use crate::lake::contracts;
use crate::lake::files::{DataFile, FileTotals, by_date};
use crate::lake::ids;
use crate::lake::sorted_files::{FileAccess, FileReader};
use crate::lake::storage::{self, FileWriter};
use crate::lake::{LakeError, TableName};

/// A file of fewer bytes is small.
const SMALL_FILE_BYTES: i64 = 16 * 1024 * 1024;
/// A date with more small files than this has them joined.
const MOST_SMALL_FILES: usize = 8;
/// Bytes of the files that one commit joins: no more than these are joined for nothing where
/// another run comes first.
const COMMIT_BYTES: i64 = 512 * 1024 * 1024;
/// Rows decoded at a time.
const READ_ROWS: usize = 8 * 1024;

/// What was joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compacted {
    /// Dates with many small files.
    pub dates: i64,
    /// Those files.
    #[serde(flatten)]
    pub joined: FileTotals,
}

impl Compacted {
    fn of(dates: &[SmallFiles]) -> Self {
        let joined = FileTotals::of_files(dates.iter().flat_map(|date| &date.files));
        Self { dates: i64::try_from(dates.len()).unwrap_or(i64::MAX), joined }
    }

    fn and(self, other: Self) -> Self {
        Self { dates: self.dates + other.dates, joined: self.joined.and(other.joined) }
    }
}

/// The small files of one date, which has many of them.
struct SmallFiles {
    files: Vec<DataFile>,
}

/// The dates of a table that [`compact`] would join.
pub(super) async fn due(
    stage: &StageContext<'_>,
    name: &TableName,
) -> Result<Compacted, LakeError> {
    match stage.lake.load(name).await? {
        Some(table) => Ok(Compacted::of(&small_files(name, &table)?)),
        None => Ok(Compacted::default()),
    }
}

/// Joins them, and says what they became: the files added.
pub(super) async fn compact(
    stage: &StageContext<'_>,
    name: &TableName,
) -> Result<(Compacted, FileTotals), BuildError> {
    let mut all = (Compacted::default(), FileTotals::default());
    loop {
        let once = async || compact_once(stage, name).await;
        let Some((compacted, added)) = replanning(BuildError::is_conflict, once).await? else {
            return Ok(all);
        };
        all = (all.0.and(compacted), all.1.and(added));
    }
}

/// One commit: as many dates as fit into it. `None` when no date is left.
async fn compact_once(
    stage: &StageContext<'_>,
    name: &TableName,
) -> Result<Option<(Compacted, FileTotals)>, BuildError> {
    let Some(table) = stage.lake.load(name).await? else {
        return Ok(None);
    };
    let dates = of_one_commit(small_files(name, &table)?);
    if dates.is_empty() {
        return Ok(None);
    }
    let ids = exclusive_id(stage, name, &table).await?;
    let mut adds = Vec::new();
    for date in &dates {
        adds.extend(joined(stage, name, &table, date).await?);
    }
    for add in &mut adds {
        add.data_change = false;
    }
    let added = FileTotals::of_adds(&adds);
    let removes = dates.iter().flat_map(|date| &date.files).map(without_change).collect();
    let change = Change { adds, removes, ids, ..Change::default() };
    let version = table.version().unwrap_or_default();
    let provenance = stage.provenance("maintain", vec![(name.to_string(), version)]);
    fail::fail_point!("compaction_before_commit", |_| std::process::abort());
    commits::commit(name, &table, change, &provenance).await?;
    fail::fail_point!("compaction_after_commit", |_| std::process::abort());
    Ok(Some((Compacted::of(&dates), added)))
}

fn small_files(name: &TableName, table: &DeltaTable) -> Result<Vec<SmallFiles>, LakeError> {
    let Some(column) = name.partition_column() else {
        return Ok(vec![]);
    };
    let dates = by_date(name, table, column)?.into_values().map(|mut files| {
        files.retain(|file| file.bytes < SMALL_FILE_BYTES);
        files.sort_by(|left, right| left.path.cmp(&right.path));
        SmallFiles { files }
    });
    Ok(dates.filter(|date| date.files.len() > MOST_SMALL_FILES).collect())
}

/// The first dates, at least one.
fn of_one_commit(dates: Vec<SmallFiles>) -> Vec<SmallFiles> {
    let mut bytes = 0;
    let mut chosen = Vec::new();
    for date in dates {
        bytes += FileTotals::of_files(&date.files).bytes;
        if !chosen.is_empty() && bytes > COMMIT_BYTES {
            break;
        }
        chosen.push(date);
    }
    chosen
}

/// The id that every commit to ODS carries, as it stands.
async fn exclusive_id(
    stage: &StageContext<'_>,
    name: &TableName,
    table: &DeltaTable,
) -> Result<Vec<Transaction>, LakeError> {
    if !matches!(name, TableName::Ods(_)) {
        return Ok(vec![]);
    }
    let id = ids::ods(&stage.feed.name);
    let version = stage.lake.ids(name, table).await?.version(&id).unwrap_or_default();
    Ok(vec![ids::transaction(id, version)])
}

fn without_change(file: &DataFile) -> Remove {
    Remove { data_change: false, ..file.remove.clone() }
}

async fn joined(
    stage: &StageContext<'_>,
    name: &TableName,
    table: &DeltaTable,
    date: &SmallFiles,
) -> Result<Vec<Add>, BuildError> {
    let access = FileAccess::of(stage.lake, name, table);
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let stored = state.snapshot().arrow_schema();
    let files: Vec<&DataFile> = date.files.iter().collect();
    match name {
        TableName::Ods(_) => {
            let attributes = contracts::attributes_of(&stored);
            let target = stage.engine.spill_target();
            join(&access, attributes, &files, target, storage::ROW_GROUP_ROWS).await
        }
        TableName::Raw(_) => {
            let schema = contracts::raw(&contracts::delivered_columns(&stored));
            let compression = stage.lake.compression();
            let writer = FileWriter::compressed(name, table, &schema, compression)?;
            Ok(appended(&access, &schema, &files, writer).await?)
        }
        TableName::Sessions(_) => {
            let compression = stage.lake.compression();
            let writer = FileWriter::compressed(name, table, &stored, compression)?;
            Ok(appended(&access, &stored, &files, writer).await?)
        }
        TableName::Quarantine(_) | TableName::Files | TableName::Runs => {
            let schema = contracts::quarantine();
            let writer = FileWriter::new(name, table, &schema)?;
            Ok(appended(&access, &schema, &files, writer).await?)
        }
    }
}

/// The rows of files of one date, one file behind the other.
async fn appended(
    access: &FileAccess,
    schema: &SchemaRef,
    files: &[&DataFile],
    mut writer: FileWriter,
) -> Result<Vec<Add>, LakeError> {
    let partition = access.table.partition_column().unwrap_or_default();
    let in_files = contracts::without_partition(schema, partition);
    let mut opened = Vec::new();
    for file in files {
        let bytes = u64::try_from(file.bytes).unwrap_or_default();
        opened.push((access.open(file.path.clone(), bytes).await?, file.date));
    }
    if matches!(access.table, TableName::Sessions(_)) {
        // Each was written for users of its own, so that their rows stay in key order.
        opened.sort_by_cached_key(|(open, _)| open.users());
    }
    for (open, date) in opened {
        let mut reader = FileReader::new(access, &open, &in_files, (None, None), READ_ROWS)?;
        loop {
            // The reader waits for the store on the thread it is called on.
            let next = tokio::task::spawn_blocking(move || {
                let batch = reader.next_batch();
                (reader, batch)
            });
            let Ok((back, batch)) = next.await else {
                return Err(LakeError::Interrupted { table: access.table.clone() });
            };
            reader = back;
            let Some(batch) = batch? else { break };
            writer.write(&with_date(access, schema, &batch, date)?).await?;
        }
    }
    writer.close().await
}

/// A batch of a file with the column that its folder stands for.
fn with_date(
    access: &FileAccess,
    schema: &SchemaRef,
    batch: &RecordBatch,
    date: NaiveDate,
) -> Result<RecordBatch, LakeError> {
    let dates = Arc::new(Date32Array::from(vec![date32(date); batch.num_rows()]));
    let mut columns = batch.columns().to_vec();
    let partition = access.table.partition_column().and_then(|name| schema.index_of(name).ok());
    let at = partition.unwrap_or(columns.len());
    columns.insert(at, dates);
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|source| LakeError::Rows { table: access.table.clone(), source })
}
