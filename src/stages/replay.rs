//! Entries of quarantine that a changed configuration may bring back.
//!
//! Rows refused by the build are in raw: they come back with a reprocess from the first arrival date
//! among them, from which on the configured mapping then holds. Records refused by ingest are not in
//! raw.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{count, min};
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, SessionContext, ident};

use super::StageContext;
use super::error::BuildError;
use super::events::within;
use super::merge::date_of_days;
use super::quarantine::RejectedBy;
use crate::engine::queries;
use crate::lake::contracts::UPDATED_AT;
use crate::lake::{Lake, LakeError, TableName};

/// Which entries of quarantine.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of arrival dates from the first to the second; of any where there is none.
    pub dates: Option<(NaiveDate, NaiveDate)>,
    /// For one of these reasons; for any, where there is none.
    pub reasons: Vec<String>,
    /// Of the file of this name; of any, where there is none.
    pub file: Option<String>,
}

impl Selection {
    /// The condition on rows of quarantine.
    pub fn condition(&self) -> Expr {
        let dates = self.dates.map(|dates| within(UPDATED_AT, dates));
        let reasons: Vec<Expr> = self.reasons.iter().map(|reason| lit(reason.as_str())).collect();
        let reasons = (!reasons.is_empty()).then(|| ident("reason").in_list(reasons, false));
        let file = self.file.as_ref().map(|file| ident("_file").eq(lit(file.as_str())));
        [dates, reasons, file].into_iter().flatten().fold(lit(true), Expr::and)
    }
}

/// Rows of quarantine that a replay is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayable {
    /// The first arrival date of rows refused by the build; none without any.
    pub from: Option<NaiveDate>,
    /// Records refused by ingest, which a replay leaves where they are.
    pub of_ingest: i64,
}

/// A query of `sql/` over the feed's quarantine; none where there is no such table.
pub async fn query(
    lake: &Lake,
    context: &SessionContext,
    feed: &str,
    sql: &str,
) -> Result<Option<DataFrame>, LakeError> {
    let name = TableName::Quarantine(feed.to_owned());
    let Some(table) = lake.load(&name).await? else {
        return Ok(None);
    };
    let failed = |source: DataFusionError| LakeError::read(&name, source.into());
    let provider = table.table_provider().with_session(Arc::new(context.state())).await;
    context.register_table("quarantine", provider.map_err(failed)?).map_err(failed)?;
    context.sql(sql).await.map(Some).map_err(failed)
}

/// What a replay of the selected entries is about.
pub async fn replayable(
    stage: &StageContext<'_>,
    selection: &Selection,
) -> Result<Replayable, BuildError> {
    let feed = &stage.feed.name;
    let context = stage.engine.context(chrono_tz::Tz::UTC);
    let entries = query(stage.lake, &context, feed, queries::QUARANTINE_ENTRIES).await?;
    let Some(frame) = entries else {
        return Ok(Replayable::default());
    };
    let failed = |source| BuildError::Rows {
        table: TableName::Quarantine(feed.clone()),
        source: Box::new(source),
    };
    let first = min(ident(UPDATED_AT)).alias("first");
    let number = count(lit(1_i64)).alias("entries");
    let batches = frame
        .filter(selection.condition())
        .and_then(|frame| frame.aggregate(vec![ident("stage")], vec![first, number]))
        .map_err(failed)?
        .collect()
        .await
        .map_err(failed)?;
    let mut found = Replayable::default();
    for batch in &batches {
        let stages = arrow::compute::cast(batch.column(0), &DataType::Utf8)
            .map_err(|source| failed(source.into()))?;
        let firsts = batch.column(1).as_primitive::<Date32Type>();
        let entries = batch.column(2).as_primitive::<Int64Type>();
        for (row, stage) in stages.as_string::<i32>().iter().enumerate() {
            if stage == Some(RejectedBy::Build.as_str()) {
                found.from = date_of_days(firsts.value(row));
            } else {
                found.of_ingest += entries.value(row);
            }
        }
    }
    Ok(found)
}
