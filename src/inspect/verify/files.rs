//! Whether the data files of ODS are in the order that they say they are in.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::NaiveDate;
use futures::{StreamExt as _, TryStreamExt as _};
use std::sync::Arc;

use super::error::VerifyError;
use super::sources::Sources;
use super::{Check, counted};
use crate::lake::LakeError;
use crate::lake::contracts::{PDATE, SORT_KEY, ods_stored};
use crate::lake::files::{DataFile, by_date};
use crate::lake::sorted_files::{FileAccess, FileReader, OpenFile};

/// Rows decoded at a time, of each file.
const READ_ROWS: usize = 8 * 1024;

/// What was found of one file.
enum Order {
    /// Every row is behind the one before.
    Sorted,
    /// It does not say that it is sorted, so that it is sorted when it is read.
    Unmarked,
    /// Not so, as the text tells.
    Broken(String),
}

/// Looks at every file of the event dates from `from` on.
pub(super) async fn order(
    sources: &Sources<'_>,
    from: Option<NaiveDate>,
) -> Result<Check, VerifyError> {
    let stage = sources.stage;
    let access = FileAccess::of(stage.lake, &sources.name, &sources.ods);
    let files = by_date(&sources.name, &sources.ods, PDATE)?.into_iter();
    let files = files.filter(|(date, _)| from.is_none_or(|from| *date >= from));
    let files: Vec<DataFile> = files.flat_map(|(_, files)| files).collect();
    let looks = files.iter().map(|file| look(&access, file));
    let threads = stage.engine.threads().max(1);
    let orders: Vec<Order> = futures::stream::iter(looks).buffered(threads).try_collect().await?;
    let broken: Vec<&String> = orders
        .iter()
        .filter_map(|order| match order {
            Order::Broken(fault) => Some(fault),
            Order::Sorted | Order::Unmarked => None,
        })
        .collect();
    let unmarked = orders.iter().filter(|order| matches!(order, Order::Unmarked)).count();
    let name = "file order";
    if let Some(first) = broken.first() {
        let detail = format!(
            "{} of {} are not as they say: {first}",
            broken.len(),
            counted(files.len(), "file")
        );
        return Ok(Check::failed(name, detail));
    }
    let others = if unmarked == 0 {
        String::new()
    } else {
        format!(", but {unmarked} that do not say so and are sorted when they are read")
    };
    let sorted = counted(files.len() - unmarked, "file");
    Ok(Check::passed(name, format!("{sorted} sorted by {}{others}", SORT_KEY.join(", "))))
}

async fn look(access: &FileAccess, file: &DataFile) -> Result<Order, VerifyError> {
    let bytes = u64::try_from(file.bytes).unwrap_or_default();
    let open = access.open(file.path.clone(), bytes).await?;
    if !open.is_sorted() {
        return Ok(Order::Unmarked);
    }
    let (access, path) = (access.clone(), file.path.to_string());
    let table = access.table.clone();
    let read = tokio::task::spawn_blocking(move || fault(&access, &open));
    let fault = read.await.map_err(|_| VerifyError::Stopped { table })??;
    Ok(fault.map_or(Order::Sorted, |fault| Order::Broken(format!("{path}, {fault}"))))
}

/// The first row that is not where it belongs.
fn fault(access: &FileAccess, open: &OpenFile) -> Result<Option<String>, LakeError> {
    let mut reader = FileReader::new(access, open, &key_columns(), (None, None), READ_ROWS)?;
    let mut before: Option<RecordBatch> = None;
    let mut row_number = 0_usize;
    while let Some(batch) = reader.next_batch()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let last = before.as_ref().map(|before| (before, before.num_rows() - 1));
        let starts_in_place = match last {
            Some((before, last)) => key(before, last) <= key(&batch, 0),
            None => open.slice_from().is_none_or(|from| key(&batch, 0).0 >= from),
        };
        if !starts_in_place {
            return Ok(Some(format!("row {}", row_number + 1)));
        }
        let fault = (1..batch.num_rows()).find(|row| key(&batch, row - 1) > key(&batch, *row));
        if let Some(row) = fault {
            return Ok(Some(format!("row {}", row_number + row + 1)));
        }
        row_number += batch.num_rows();
        before = Some(batch);
    }
    Ok(None)
}

fn key_columns() -> SchemaRef {
    let stored = ods_stored(&[]);
    let named = |name: &&str| stored.iter().find(|field| field.name() == name).cloned();
    Arc::new(Schema::new(SORT_KEY.iter().filter_map(named).collect::<Vec<Field>>()))
}

fn key(batch: &RecordBatch, row: usize) -> (&str, &str, i64, &str) {
    let text = |at: usize| batch.column(at).as_string::<i32>().value(row);
    let time = batch.column(2).as_primitive::<TimestampMicrosecondType>().value(row);
    (text(0), text(1), time, text(3))
}
