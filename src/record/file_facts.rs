//! The table `files` as it is read: the newest fact about each file.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, SessionContext, ident};
use deltalake::DeltaTable;
use serde::Serialize;

use super::files::Place;
use crate::engine::queries;
use crate::lake::{Lake, LakeError, TableName, contracts};
use crate::stages::ingest::outcome::{FileOutcome, FileStatus};
use crate::stages::merge::date_of_days;
use crate::stages::raw_rows::conform;

/// What is known of a file, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFact {
    /// The feed.
    pub feed: String,
    /// The file, and what became of it.
    #[serde(flatten)]
    pub outcome: FileOutcome,
    /// The run that tells it.
    pub run_id: String,
    /// When a run has found the file first.
    pub first_seen: DateTime<Utc>,
    /// When this became known.
    pub updated: DateTime<Utc>,
}

impl FileFact {
    /// Whether both tell of the same file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.feed == other.feed && self.outcome.is_same_file(&other.outcome)
    }
}

/// Files of a feed that runs have found which did not come to their end.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// The files; none where those runs are known to have left nothing.
    pub files: Vec<FileFact>,
    /// Where those runs were noted.
    pub(crate) places: Vec<Place>,
}

/// Reads what runs of a feed have left. Where none did, no row is read.
pub async fn unfinished(
    lake: &Lake,
    context: &SessionContext,
    feed: &str,
) -> Result<Unfinished, LakeError> {
    let name = TableName::Files;
    let Some(table) = lake.load(&name).await? else {
        return Ok(Unfinished::default());
    };
    let places = Place::taken(&lake.ids(&name, &table).await?, feed);
    if places.is_empty() {
        return Ok(Unfinished::default());
    }
    let open = ident("feed")
        .eq(lit(feed))
        .and(ident("status").eq(lit(FileStatus::Seen.as_str())))
        .and(ident("error").is_null());
    Ok(Unfinished { files: read(context, &table, Some(open)).await?, places })
}

/// The newest fact about each file for which `condition` holds, by feed, arrival date and name.
pub async fn file_facts(
    lake: &Lake,
    context: &SessionContext,
    condition: Option<Expr>,
) -> Result<Vec<FileFact>, LakeError> {
    match lake.load(&TableName::Files).await? {
        Some(table) => read(context, &table, condition).await,
        None => Ok(vec![]),
    }
}

async fn read(
    context: &SessionContext,
    table: &DeltaTable,
    condition: Option<Expr>,
) -> Result<Vec<FileFact>, LakeError> {
    let name = TableName::Files;
    let failed = |source: DataFusionError| LakeError::read(&name, source.into());
    let order = ["feed", "arrival_date", "file", "first_seen", "bytes", "version"];
    let order = order.map(|column| ident(column).sort(true, false)).to_vec();
    let mut frame = newest(context, table).await.map_err(failed)?;
    if let Some(condition) = condition {
        frame = frame.filter(condition).map_err(failed)?;
    }
    let frame = frame.sort(order).map_err(failed)?;
    let batches = frame.collect().await.map_err(failed)?;
    let mut facts = Vec::new();
    for batch in &batches {
        let batch = conform(batch, &contracts::files())
            .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
        facts.extend((0..batch.num_rows()).filter_map(|row| fact(&batch, row)));
    }
    Ok(facts)
}

/// The newest fact about each file, as `sql/inspect/files.sql` says.
pub(super) async fn newest(
    context: &SessionContext,
    table: &DeltaTable,
) -> Result<DataFrame, DataFusionError> {
    let provider = table.table_provider().with_session(Arc::new(context.state())).await?;
    context.deregister_table("files")?;
    context.register_table("files", provider)?;
    context.sql(queries::NEWEST_FILES).await
}

/// One row; none where another version of the program wrote what this one does not know.
fn fact(batch: &RecordBatch, row: usize) -> Option<FileFact> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let count = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        DateTime::from_timestamp_micros(column.value(row))
    };
    let date = |name: &str| -> Option<NaiveDate> {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Date32Type>()?;
        date_of_days(column.value(row))
    };
    let reasons = text("reasons").and_then(|json| serde_json::from_str(&json).ok());
    Some(FileFact {
        feed: text("feed")?,
        outcome: FileOutcome {
            arrival_date: date("arrival_date")?,
            file: text("file")?,
            url: text("url")?,
            bytes: count("bytes")?,
            version: text("version")?,
            content_hash: text("content_hash"),
            accept_late: batch.column_by_name("accept_late")?.as_boolean_opt()?.value(row),
            status: FileStatus::of_name(&text("status")?)?,
            rows: count("rows"),
            rows_rejected: count("rows_rejected"),
            reasons: reasons.unwrap_or_default(),
            error: text("error"),
        },
        run_id: text("run_id")?,
        first_seen: time("first_seen")?,
        updated: time("updated")?,
    })
}
