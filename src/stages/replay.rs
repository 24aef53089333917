//! Entries of quarantine that a changed configuration may bring back.
//!
//! Rows refused by the build are in raw: they come back with a reprocess from the first arrival date
//! among them, from which on the configured mapping then holds. What ingest refused is not in raw:
//! its files are read again ([`super::ingest::replay`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, SessionContext, ident};

use super::StageContext;
use super::error::BuildError;
use super::events::within;
use super::ingest::replay::Refused;
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayable {
    /// The first arrival date of rows refused by the build; none without any.
    pub from: Option<NaiveDate>,
    /// Files of which ingest refused something, by arrival date.
    pub refused: Vec<Refused>,
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
    let refused = refused(frame.clone(), selection).await.map_err(failed)?;
    let first = min(ident(UPDATED_AT)).alias("first");
    let by_build = ident("stage").eq(lit(RejectedBy::Build.as_str()));
    let batches = frame
        .filter(selection.condition().and(by_build))
        .and_then(|frame| frame.aggregate(vec![], vec![first]))
        .map_err(failed)?
        .collect()
        .await
        .map_err(failed)?;
    let firsts = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Date32Type>());
    Ok(Replayable { from: firsts.flatten().min().and_then(date_of_days), refused })
}

/// The files of which ingest refused a selected entry, each with all its entries: it is read again
/// as a whole.
async fn refused(
    entries: DataFrame,
    selection: &Selection,
) -> Result<Vec<Refused>, DataFusionError> {
    let by_ingest = ident("stage").eq(lit(RejectedBy::Ingest.as_str()));
    let of_files = Selection { reasons: vec![], ..selection.clone() };
    let batches = entries
        .filter(of_files.condition().and(by_ingest))?
        .select_columns(&[UPDATED_AT, "_file", "_line", "reason"])?
        .collect()
        .await?;
    let mut files: BTreeMap<(i32, String), (bool, usize, BTreeSet<i64>)> = BTreeMap::new();
    for batch in &batches {
        let dates = batch.column(0).as_primitive::<Date32Type>();
        let names = cast(batch.column(1), &DataType::Utf8)?;
        let lines = batch.column(2).as_primitive::<Int64Type>();
        let reasons = cast(batch.column(3), &DataType::Utf8)?;
        for row in 0..batch.num_rows() {
            let name = names.as_string::<i32>().value(row).to_owned();
            let reason = reasons.as_string::<i32>().value(row);
            let is_asked = selection.reasons.is_empty()
                || selection.reasons.iter().any(|asked| asked == reason);
            let file = files.entry((dates.value(row), name)).or_default();
            file.0 |= is_asked;
            file.1 += 1;
            file.2.insert(lines.value(row));
        }
    }
    let asked = files.into_iter().filter(|(_, (is_asked, ..))| *is_asked);
    let refused = asked.filter_map(|((date, file), (_, entries, lines))| {
        Some(Refused { arrival_date: date_of_days(date)?, file, lines, entries })
    });
    Ok(refused.collect())
}
