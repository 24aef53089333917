//! Values of rows that were read from a table, by the names of their columns.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, Utc};

use crate::lake::{LakeError, TableName};
use crate::stages::merge::date_of_days;
use crate::stages::raw_rows::conform;

/// Values of a batch by the names of its columns.
pub(crate) struct Columns(RecordBatch);

impl Columns {
    /// The columns of `schema` of rows that were read from a table.
    pub(crate) fn of(
        table: &TableName,
        batch: &RecordBatch,
        schema: &SchemaRef,
    ) -> Result<Self, LakeError> {
        let rows = conform(batch, schema);
        rows.map(Self).map_err(|source| LakeError::Rows { table: table.clone(), source })
    }

    pub(crate) fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.0.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    pub(crate) fn integer(&self, name: &str, row: usize) -> Option<i64> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    pub(crate) fn micros(&self, name: &str, row: usize) -> Option<i64> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    pub(crate) fn time(&self, name: &str, row: usize) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.micros(name, row)?)
    }

    pub(crate) fn float(&self, name: &str, row: usize) -> Option<f64> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    pub(crate) fn flag(&self, name: &str, row: usize) -> Option<bool> {
        let column = self.0.column_by_name(name)?.as_boolean_opt()?;
        column.is_valid(row).then(|| column.value(row))
    }

    pub(crate) fn date(&self, name: &str, row: usize) -> Option<NaiveDate> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<Date32Type>()?;
        if column.is_null(row) { None } else { date_of_days(column.value(row)) }
    }
}
