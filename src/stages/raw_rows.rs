//! Raw rows as the feed's expressions see them, and as quarantine shows them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionContext};
use deltalake::DeltaTable;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::BuildError;
use crate::lake::TableName;
use crate::lake::contracts::RAW_COLUMNS;
use crate::sources::{path_of, text_at, text_of};

/// The columns of `schema` for each raw row: a column of the table where it has one and the row a
/// value in it, else the field of that name in `_extra`, where it is for rows that came before the
/// column. A name that is a path into a nested value means here what it means to the reader of a
/// file.
pub fn expression_input(
    raw: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let extra = text_column(raw, "_extra")?;
    let mut parsed: Option<Vec<Option<ExtraFields<'_>>>> = None;
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        match raw.column_by_name(field.name()) {
            Some(column) => {
                let column = as_text(column)?;
                if !is_in_extra(&column, &extra, field.name()) {
                    columns.push(column);
                    continue;
                }
                let rows = parsed.get_or_insert_with(|| parse_extra(&extra));
                let in_extra = field_of(raw, rows, field.name())?;
                let values = column.as_string::<i32>().iter().zip(&in_extra);
                columns.push(Arc::new(
                    values.map(|(column, extra)| column.or(extra)).collect::<StringArray>(),
                ));
            }
            None => {
                let rows = parsed.get_or_insert_with(|| parse_extra(&extra));
                columns.push(Arc::new(field_of(raw, rows, field.name())?));
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(raw.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Whether `_extra` may hold a value for a row that has none in the column: it came before the
/// column was added. Looked for as text, so that `_extra` is parsed only where it has to be. The
/// column of a path is as old as the table.
fn is_in_extra(column: &ArrayRef, extra: &StringArray, name: &str) -> bool {
    let is_old = path_of(name).is_some();
    if is_old || column.null_count() == 0 || extra.null_count() == extra.len() {
        return false;
    }
    let quoted = Value::from(name).to_string();
    (0..column.len())
        .filter(|row| column.is_null(*row) && extra.is_valid(*row))
        .any(|row| extra.value(row).contains(&quoted))
}

/// One JSON text per row: the feed's columns, then whatever `_extra` holds.
pub fn row_text(raw: &RecordBatch, row: usize) -> Result<String, DataFusionError> {
    let mut object = serde_json::Map::new();
    for (field, column) in raw.schema().fields().iter().zip(raw.columns()) {
        if RAW_COLUMNS.contains(&field.name().as_str()) || column.is_null(row) {
            continue;
        }
        let text = as_text(column)?;
        object.insert(field.name().clone(), Value::from(text.as_string::<i32>().value(row)));
    }
    let extra = text_column(raw, "_extra")?;
    if extra.is_valid(row)
        && let Ok(Value::Object(fields)) = serde_json::from_str(extra.value(row))
    {
        object.extend(fields);
    }
    Ok(Value::Object(object).to_string())
}

/// The first physical line of each row.
pub(crate) fn first_lines(rows: &RecordBatch) -> Option<&Int64Array> {
    rows.column_by_name("_line")?.as_primitive_opt::<Int64Type>()
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    if column.data_type() == &DataType::Utf8 {
        return Ok(Arc::clone(column));
    }
    Ok(cast(column, &DataType::Utf8)?)
}

fn text_column(raw: &RecordBatch, name: &str) -> Result<StringArray, DataFusionError> {
    let column = super::events::column(raw, name)?;
    Ok(as_text(column)?.as_string::<i32>().clone())
}

/// Fields of one row's `_extra`, their values as delivered.
type ExtraFields<'t> = HashMap<String, &'t RawValue>;

fn parse_extra(extra: &StringArray) -> Vec<Option<ExtraFields<'_>>> {
    extra.iter().map(|text| serde_json::from_str(text?).ok()).collect()
}

/// A field of `_extra` as text, or what a path leads to that begins in one or in a column.
fn field_of(
    raw: &RecordBatch,
    rows: &[Option<ExtraFields<'_>>],
    name: &str,
) -> Result<StringArray, DataFusionError> {
    let path = path_of(name);
    let root = path.map(|(root, _)| root).filter(|root| !RAW_COLUMNS.contains(root));
    let column = root.and_then(|root| raw.column_by_name(root)).map(as_text).transpose()?;
    let column = column.as_ref().map(AsArray::as_string::<i32>);
    let mut values = StringBuilder::new();
    for (row, extra) in rows.iter().enumerate() {
        let field = |name| extra.as_ref().and_then(|fields| text_of(fields.get(name)?.get()));
        let nested = |(root, path)| match column {
            Some(column) if column.is_valid(row) => text_at(column.value(row), path),
            _ => {
                let text = field(root)?;
                text_at(&text, path).map(|text| Cow::Owned(text.into_owned()))
            }
        };
        values.append_option(field(name).or_else(|| nested(path?)));
    }
    Ok(values.finish())
}

/// Rows of several batches.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> i64 {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A plain scan of the loaded version of a table.
pub(crate) async fn scan(
    context: &SessionContext,
    name: &TableName,
    table: &DeltaTable,
) -> Result<DataFrame, BuildError> {
    let rows = |source| BuildError::Rows { table: name.clone(), source: Box::new(source) };
    let provider = table.table_provider().with_session(Arc::new(context.state())).await;
    context.read_table(provider.map_err(rows)?).map_err(rows)
}

/// A batch in exactly the columns and types of `schema`.
pub(crate) fn conform(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name()).ok_or_else(|| {
            arrow::error::ArrowError::SchemaError(format!("the column {} is missing", field.name()))
        })?;
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        cast(column, field.data_type())
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
