//! Changed rows into `ods/<feed>`, in one commit.

use arrow::array::AsArray;
use arrow::array::RecordBatch;
use arrow::datatypes::{Date32Type, SchemaRef};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::BuildError;
use crate::lake::commits::{self, Change, Provenance};
use crate::lake::contracts::{self, PDATE};
use crate::lake::{LakeError, TableName, storage};

const KEY: [&str; 4] = ["user_id", "product_code", "timestamp", "event_id"];

/// What a merge did to the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// The version it committed.
    pub version: u64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows replaced.
    pub updated: i64,
}

/// Merges `rows` (columns of the table, at most one row per key) into the loaded version of
/// `table` and records `ids`, in one commit. Without rows, the ids alone are committed.
pub async fn merge(
    context: &SessionContext,
    name: &TableName,
    table: &DeltaTable,
    rows: Vec<RecordBatch>,
    ids: Vec<Transaction>,
    provenance: &Provenance,
) -> Result<Merged, BuildError> {
    let Some(schema) = rows.first().map(RecordBatch::schema) else {
        let change = Change { ids, ..Change::default() };
        let version = commits::commit(name, table, change, provenance).await?;
        return Ok(Merged { version, ..Merged::default() });
    };
    let read_version = table.version().unwrap_or_default();
    let predicate = predicate(&rows);
    let plan = |source| BuildError::Rows { table: name.clone(), source: Box::new(source) };
    let source = MemTable::try_new(Arc::clone(&schema), vec![rows]).map_err(plan)?;
    let source = context.read_table(Arc::new(source)).map_err(plan)?;
    let commit_error = |source| BuildError::Lake(LakeError::commit(name, read_version, source));
    let (merged, metrics) = table
        .clone()
        .merge(source, predicate)
        .with_source_alias("source")
        .with_target_alias("target")
        .with_session_state(Arc::new(context.state()))
        .with_writer_properties(storage::writer_properties())
        .with_commit_properties(provenance.properties(ids))
        .when_matched_update(|update| {
            let payload = columns_of(&schema).filter(|name| !is_key(name));
            payload.fold(update, |update, name| update.update(plain(&name), from_source(&name)))
        })
        .and_then(|builder| {
            builder.when_not_matched_insert(|insert| {
                columns_of(&schema)
                    .fold(insert, |insert, name| insert.set(plain(&name), from_source(&name)))
            })
        })
        .map_err(commit_error)?
        .await
        .map_err(commit_error)?;
    Ok(Merged {
        version: merged.version().unwrap_or_default(),
        inserted: i64::try_from(metrics.num_target_rows_inserted).unwrap_or(i64::MAX),
        updated: i64::try_from(metrics.num_target_rows_updated).unwrap_or(i64::MAX),
    })
}

/// Equality of the key, and the event dates as literals, which prune the files to be read.
fn predicate(rows: &[RecordBatch]) -> Expr {
    let dates: BTreeSet<i32> = rows
        .iter()
        .filter_map(|batch| batch.column_by_name(PDATE)?.as_primitive_opt::<Date32Type>())
        .flat_map(|dates| dates.values().iter().copied())
        .collect();
    let dates = dates.into_iter().map(|date| lit(ScalarValue::Date32(Some(date)))).collect();
    let target = |name: &str| col(format!("target.{name}"));
    KEY.iter().fold(target(PDATE).in_list(dates, false), |predicate, name| {
        predicate.and(target(name).eq(col(format!("source.{name}"))))
    })
}

fn is_key(name: &str) -> bool {
    KEY.contains(&name) || name == contracts::PDATE
}

fn columns_of(schema: &SchemaRef) -> impl Iterator<Item = String> {
    schema.fields().iter().map(|field| field.name().clone())
}

/// A name as it is, whatever characters it has.
fn plain(name: &str) -> Column {
    Column::new_unqualified(name)
}

fn from_source(name: &str) -> Expr {
    Expr::Column(Column::new(Some("source"), name))
}
