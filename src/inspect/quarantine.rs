//! What is in quarantine, and why.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, ident};
use serde::Serialize;

use super::open;
use crate::config::Config;
use crate::engine::{Engine, queries};
use crate::error::JobError;
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::replay::{Selection, query};

/// How many entries have one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The feed.
    pub feed: String,
    /// The arrival date.
    pub arrival_date: String,
    /// Who refused them: `ingest` or `build`.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub entries: i64,
    /// In how many files.
    pub files: i64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The feed.
    pub feed: String,
    /// The arrival date.
    pub arrival_date: String,
    /// Who refused it: `ingest` or `build`.
    pub stage: String,
    /// Why, as a name.
    pub reason: String,
    /// The file that delivered it.
    pub file: String,
    /// Its first physical line.
    pub line: i64,
    /// Why, in words.
    pub detail: String,
    /// The row itself.
    pub text: Option<String>,
}

/// Entries by feed, arrival date, stage and reason, in that order.
pub async fn counts(
    config: &Config,
    feeds: &[String],
    selection: &Selection,
) -> Result<Vec<Count>, JobError> {
    counts_in(&open(config)?, feeds, selection).await
}

/// The same in a lake that is open.
pub(super) async fn counts_in(
    opened: &(Lake, Engine),
    feeds: &[String],
    selection: &Selection,
) -> Result<Vec<Count>, JobError> {
    let mut counts = Vec::new();
    let order = ["_updated_at", "stage", "reason"];
    for feed in feeds {
        let sql = queries::QUARANTINE_COUNTS;
        for batch in batches(opened, feed, sql, selection, &order, None).await? {
            let texts = Texts::of(feed, &batch)?;
            counts.extend((0..batch.num_rows()).map(|row| Count {
                feed: feed.clone(),
                arrival_date: texts.text(0, row).unwrap_or_default(),
                stage: texts.text(1, row).unwrap_or_default(),
                reason: texts.text(2, row).unwrap_or_default(),
                entries: batch.column(3).as_primitive::<Int64Type>().value(row),
                files: batch.column(4).as_primitive::<Int64Type>().value(row),
            }));
        }
    }
    Ok(counts)
}

/// At most `limit` entries of each feed, by arrival date, file and line.
pub async fn entries(
    config: &Config,
    feeds: &[String],
    selection: &Selection,
    limit: usize,
) -> Result<Vec<Entry>, JobError> {
    let opened = open(config)?;
    let mut entries = Vec::new();
    let order = ["_updated_at", "_file", "_line", "stage", "reason", "detail", "row_text"];
    for feed in feeds {
        let sql = queries::QUARANTINE_ENTRIES;
        for batch in batches(&opened, feed, sql, selection, &order, Some(limit)).await? {
            let texts = Texts::of(feed, &batch)?;
            entries.extend((0..batch.num_rows()).map(|row| Entry {
                feed: feed.clone(),
                arrival_date: texts.text(0, row).unwrap_or_default(),
                stage: texts.text(1, row).unwrap_or_default(),
                reason: texts.text(2, row).unwrap_or_default(),
                file: texts.text(3, row).unwrap_or_default(),
                line: batch.column(4).as_primitive::<Int64Type>().value(row),
                detail: texts.text(5, row).unwrap_or_default(),
                text: texts.text(6, row),
            }));
        }
    }
    Ok(entries)
}

async fn batches(
    (lake, engine): &(Lake, Engine),
    feed: &str,
    sql: &str,
    selection: &Selection,
    order: &[&str],
    limit: Option<usize>,
) -> Result<Vec<RecordBatch>, JobError> {
    // One for each feed: they all call their table by the same name.
    let context = engine.context(chrono_tz::Tz::UTC);
    let Some(frame) = query(lake, &context, feed, sql).await? else {
        return Ok(vec![]);
    };
    let rows = async |frame: DataFrame| -> Result<Vec<RecordBatch>, DataFusionError> {
        let order = order.iter().map(|column| ident(*column).sort(true, false)).collect();
        let sorted = frame.filter(selection.condition())?.sort(order)?;
        sorted.limit(0, limit)?.collect().await
    };
    let table = TableName::Quarantine(feed.to_owned());
    let rows = rows(frame).await;
    Ok(rows.map_err(|source| LakeError::read(&table, source.into()))?)
}

/// The columns of a batch as texts.
struct Texts(Vec<arrow::array::ArrayRef>);

impl Texts {
    fn of(feed: &str, batch: &RecordBatch) -> Result<Self, LakeError> {
        let table = || TableName::Quarantine(feed.to_owned());
        let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let texts: Result<_, _> = texts.collect();
        texts.map(Self).map_err(|source| LakeError::Rows { table: table(), source })
    }

    fn text(&self, column: usize, row: usize) -> Option<String> {
        let column = self.0.get(column)?.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    }
}
