//! `runs` and `files` in few files: every run adds small ones.

use std::sync::Arc;

use chrono::Days;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::lit;
use datafusion::prelude::{SessionConfig, SessionContext, ident};
use deltalake::DeltaTable;

use super::file_facts;
use crate::clock;
use crate::lake::commits::{self, Change, Provenance};
use crate::lake::storage::FileWriter;
use crate::lake::{Lake, LakeError, TableName, contracts};
use crate::stages::raw_rows::conform;

/// More files than this are joined to one.
pub(crate) const MOST_FILES: usize = 30;
/// What is older is left out then.
const KEPT_DAYS: u64 = 400;

/// Whether there is something to join in a table that has had a commit of one file since `before`.
pub(crate) fn is_due(name: &TableName, before: &DeltaTable) -> Result<bool, LakeError> {
    let state = before.snapshot().map_err(|source| LakeError::read(name, source))?;
    Ok(state.log_data().num_files() + 1 > MOST_FILES)
}

/// Joins the files of `runs` or `files` to one when there are more than [`MOST_FILES`], in one
/// commit that removes exactly the files it has read: before it nothing has changed, and what other
/// runs append meanwhile stays. Where another run joins them at the same time, one of the two gives
/// way.
pub(crate) async fn compact(
    lake: &Lake,
    name: &TableName,
    provenance: &Provenance,
) -> Result<(), LakeError> {
    let Some(table) = lake.load(name).await? else {
        return Ok(());
    };
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let removes: Vec<_> = state.log_data().iter().map(|file| file.remove_action(true)).collect();
    if removes.len() <= MOST_FILES {
        return Ok(());
    }
    let adds = rewrite(lake, name, &table).await?;
    let change = Change { adds, removes, ..Change::default() };
    if *name == TableName::Files {
        fail::fail_point!("files_before_compaction", |_| std::process::abort());
    } else {
        fail::fail_point!("runs_before_compaction", |_| std::process::abort());
    }
    match commits::commit(name, &table, change, provenance).await {
        Ok(_) => {}
        Err(error) if error.is_conflict() => {
            tracing::debug!(%error, "another run tidied the table first");
        }
        Err(error) => return Err(error),
    }
    if *name == TableName::Files {
        fail::fail_point!("files_after_compaction", |_| std::process::abort());
    } else {
        fail::fail_point!("runs_after_compaction", |_| std::process::abort());
    }
    Ok(())
}

/// Every row of the loaded version that is young enough, of `files` the newest fact about each file
/// alone, in a file of its own.
async fn rewrite(
    lake: &Lake,
    name: &TableName,
    table: &DeltaTable,
) -> Result<Vec<deltalake::kernel::Add>, LakeError> {
    let read = |source: datafusion::error::DataFusionError| LakeError::read(name, source.into());
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().execution.parquet.schema_force_view_types = false;
    let context = SessionContext::new_with_config(config);
    lake.serve(&context);
    let first = clock::now().checked_sub_days(Days::new(KEPT_DAYS)).unwrap_or_default();
    let first =
        ScalarValue::TimestampMicrosecond(Some(first.timestamp_micros()), Some("UTC".into()));
    let (frame, time, schema) = if *name == TableName::Files {
        let frame = file_facts::newest(&context, table).await.map_err(read)?;
        (frame, "updated", contracts::files())
    } else {
        let provider = table.table_provider().with_session(Arc::new(context.state())).await;
        let frame = context.read_table(provider.map_err(read)?).map_err(read)?;
        (frame, "started", contracts::runs())
    };
    let frame = frame.filter(ident(time).gt_eq(lit(first))).map_err(read)?;
    let rows = frame.collect().await.map_err(read)?;
    let rows: Vec<_> = rows
        .iter()
        .map(|batch| conform(batch, &schema))
        .collect::<Result<_, _>>()
        .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
    let mut writer = FileWriter::new(name, table, &schema)?;
    for batch in &rows {
        writer.write(batch).await?;
    }
    writer.close().await
}
