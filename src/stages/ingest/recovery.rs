//! What became of a file whose run was killed before it could tell.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;

use super::REJECTED_BEFORE;
use super::outcome::{FileOutcome, FileStatus};
use crate::lake::TableName;
use crate::lake::contracts::UPDATED_AT;
use crate::lake::ids::{self, LatePolicy};
use crate::stages::StageContext;
use crate::stages::error::BuildError;
use crate::stages::events::date_literal;
use crate::stages::raw_rows::scan;

/// What the lake tells of `file`; `None` where raw does not know it.
pub async fn recover(
    stage: &StageContext<'_>,
    file: &FileOutcome,
) -> Result<Option<FileOutcome>, BuildError> {
    let feed = &stage.feed.name;
    let name = TableName::Raw(feed.clone());
    let Some(raw) = stage.lake.load(&name).await? else {
        return Ok(None);
    };
    let known = stage.lake.ids(&name, &raw).await?;
    let stat = format!("{}-{}", file.bytes, file.version);
    let seen = |mark| ids::seen(feed, file.arrival_date, &file.file, &stat, mark);
    if !LatePolicy::ALL.into_iter().any(|mark| known.contains(&seen(mark))) {
        return Ok(None);
    }
    let deliveries = known.deliveries_of(feed, file.arrival_date);
    let mut of_file = deliveries.into_iter().filter(|delivery| delivery.file == file.file);
    let (first, second) = (of_file.next(), of_file.next());
    let rejections = known.rejections_of(feed, file.arrival_date, &file.file);
    if first.is_none() && !rejections.is_empty() {
        return Ok(Some(FileOutcome {
            content_hash: rejections.into_iter().next(),
            status: FileStatus::Rejected,
            rows: Some(0),
            rows_rejected: Some(0),
            error: Some(REJECTED_BEFORE.to_owned()),
            ..file.clone()
        }));
    }
    let content_hash = first.filter(|_| second.is_none()).map(|delivery| delivery.content_hash);
    let context = stage.engine.context(chrono_tz::Tz::UTC);
    let failed = |table: &TableName| {
        let table = table.clone();
        move |source: DataFusionError| BuildError::Rows { table, source: Box::new(source) }
    };
    let of_raw =
        scan(&context, &name, &raw).await?.filter(condition(file.arrival_date, &file.file));
    let rows = of_raw.map_err(failed(&name))?.count().await.map_err(failed(&name))?;
    let mut reasons = BTreeMap::new();
    let name = TableName::Quarantine(feed.clone());
    if let Some(table) = stage.lake.load(&name).await? {
        let refused =
            condition(file.arrival_date, &file.file).and(ident("stage").eq(lit("ingest")));
        let frame = scan(&context, &name, &table).await?.filter(refused);
        let frame = frame.and_then(|frame| frame.select_columns(&["reason"]));
        let batches = frame.map_err(failed(&name))?.collect().await.map_err(failed(&name))?;
        for batch in &batches {
            let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
            let column =
                column.map_err(|source| BuildError::Arrow { table: name.clone(), source })?;
            for reason in column.as_string::<i32>().iter().flatten() {
                *reasons.entry(reason.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(Some(FileOutcome {
        content_hash,
        status: FileStatus::Loaded,
        rows: i64::try_from(rows).ok(),
        rows_rejected: Some(reasons.values().sum()),
        reasons,
        error: None,
        ..file.clone()
    }))
}

fn condition(arrival_date: NaiveDate, file: &str) -> Expr {
    ident(UPDATED_AT).eq(date_literal(arrival_date)).and(ident("_file").eq(lit(file)))
}
