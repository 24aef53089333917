//! The rows of a query as JSON: one array per column.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// Columns by name, all of one length. Numbers stay numbers; dates are `2026-01-31`, instants
/// `2026-01-31T10:00:00.123456Z`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Relation(Map<String, Value>);

impl Relation {
    pub(super) fn of(schema: &DFSchema, batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let mut columns = Map::new();
        for (place, field) in schema.fields().iter().enumerate() {
            let mut values = Vec::new();
            for batch in batches {
                push(&mut values, batch.column(place))?;
            }
            columns.insert(field.name().clone(), Value::Array(values));
        }
        Ok(Self(columns))
    }
}

fn push(values: &mut Vec<Value>, column: &ArrayRef) -> Result<(), ArrowError> {
    let kind = match column.data_type() {
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_floating() => DataType::Float64,
        _ => DataType::Utf8,
    };
    let column = cast(column, &kind)?;
    let value = |row: usize| match &kind {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        _ => column.as_string::<i32>().value(row).into(),
    };
    values.extend((0..column.len()).map(value));
    Ok(())
}
