//! What the table function `history` returns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::lake::contracts::timestamp_type;
use crate::lake::history::Commit;

/// Grain one commit that the log still holds; key `version`; newest first. `operation` is Delta's
/// word, `stage` and `run_id` are those of `runs`, null for commits of other programs.
/// `rows_added` counts the rows of the files that entered the table, those that were only written
/// again included; `rows_inserted` and `rows_updated` are of a merge alone.
pub fn schema() -> SchemaRef {
    let count = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    Arc::new(Schema::new(vec![
        count("version", false),
        Field::new("timestamp", timestamp_type(), true),
        Field::new("operation", DataType::Utf8, true),
        Field::new("stage", DataType::Utf8, true),
        Field::new("run_id", DataType::Utf8, true),
        count("rows_added", true),
        count("rows_inserted", true),
        count("rows_updated", true),
        count("files_added", false),
        count("bytes_added", false),
        count("files_removed", false),
    ]))
}

/// One row for each commit, as [`schema`] says.
pub(super) fn batch(commits: &[Commit]) -> Result<RecordBatch, ArrowError> {
    let whole = |of: fn(&Commit) -> Option<i64>| -> ArrayRef {
        Arc::new(commits.iter().map(of).collect::<Int64Array>())
    };
    let text = |of: fn(&Commit) -> Option<&str>| -> ArrayRef {
        Arc::new(commits.iter().map(of).collect::<StringArray>())
    };
    let times = commits.iter().map(|commit| commit.timestamp_micros);
    let times: TimestampMicrosecondArray = times.collect();
    RecordBatch::try_new(
        schema(),
        vec![
            whole(|commit| i64::try_from(commit.version).ok()),
            Arc::new(times.with_timezone("UTC")),
            text(|commit| commit.operation.as_deref()),
            text(|commit| commit.stage.as_deref()),
            text(|commit| commit.run_id.as_deref()),
            whole(|commit| commit.rows_added),
            whole(|commit| commit.rows_inserted),
            whole(|commit| commit.rows_updated),
            whole(|commit| Some(commit.files_added)),
            whole(|commit| Some(commit.bytes_added)),
            whole(|commit| Some(commit.files_removed)),
        ],
    )
}
