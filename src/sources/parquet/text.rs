//! Values of Parquet columns as the text that a CSV file would hold, and as JSON.
//!
//! | value | as text | in JSON |
//! |---|---|---|
//! | integer | its digits | the same, a number |
//! | float | the shortest digits that read back the same, `1.0`, `1e16`; `NaN`, `inf`, `-inf` | a number; text where JSON has none |
//! | decimal | exactly, with all digits of its scale: `12.50` | the same, a number |
//! | boolean | `true`, `false` | the same |
//! | text, enum, JSON | as it is | text |
//! | bytes | the text they are where they are UTF-8, else in hexadecimal | text |
//! | bytes of a fixed length | in hexadecimal | text |
//! | date, time | `2026-01-08`, `10:00:00.500` | text |
//! | timestamp in UTC | RFC 3339: `2026-01-08T10:00:00.500Z` | text |
//! | timestamp without a zone | SQL: `2026-01-08 10:00:00.500` | text |
//! | list, struct, map | its JSON | an array, an object, an object |
//!
//! A date or time beyond what a calendar holds is given by its number.

use std::fmt::{Display, Write as _};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    ArrowTemporalType, DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use chrono::{NaiveDateTime, SecondsFormat};

use super::super::raw_batch::push_json_string;

/// What an appended text is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON as it stands: a number, `true`, `false`, an array, an object.
    Json,
    /// A text, to be quoted.
    Text,
}

/// Appends the value at `row`, which is not null, as text.
pub(super) fn push_text(
    column: &dyn Array,
    row: usize,
    out: &mut String,
) -> Result<Form, ArrowError> {
    Ok(match column.data_type() {
        DataType::Boolean => push(out, column.as_boolean().value(row), Form::Json),
        DataType::Int8 => push(out, column.as_primitive::<Int8Type>().value(row), Form::Json),
        DataType::Int16 => push(out, column.as_primitive::<Int16Type>().value(row), Form::Json),
        DataType::Int32 => push(out, column.as_primitive::<Int32Type>().value(row), Form::Json),
        DataType::Int64 => push(out, column.as_primitive::<Int64Type>().value(row), Form::Json),
        DataType::UInt8 => push(out, column.as_primitive::<UInt8Type>().value(row), Form::Json),
        DataType::UInt16 => push(out, column.as_primitive::<UInt16Type>().value(row), Form::Json),
        DataType::UInt32 => push(out, column.as_primitive::<UInt32Type>().value(row), Form::Json),
        DataType::UInt64 => push(out, column.as_primitive::<UInt64Type>().value(row), Form::Json),
        DataType::Float16 => {
            push_float(out, column.as_primitive::<Float16Type>().value(row).to_f32())
        }
        DataType::Float32 => push_float(out, column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => push_float(out, column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(..) => push_decimal::<Decimal32Type>(column, row, out),
        DataType::Decimal64(..) => push_decimal::<Decimal64Type>(column, row, out),
        DataType::Decimal128(..) => push_decimal::<Decimal128Type>(column, row, out),
        DataType::Decimal256(..) => push_decimal::<Decimal256Type>(column, row, out),
        DataType::Utf8 => push(out, column.as_string::<i32>().value(row), Form::Text),
        DataType::Binary => push_bytes(out, column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => {
            push_hexadecimal(out, column.as_fixed_size_binary().value(row))
        }
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => {
            push_temporal(column, row, out)
        }
        DataType::List(_) => push_array(&column.as_list::<i32>().value(row), out)?,
        DataType::Struct(_) => push_struct(column, row, out)?,
        DataType::Map(..) => push_map(column, row, out)?,
        _ => push(out, array_value_to_string(column, row)?, Form::Text),
    })
}

/// Appends the value at `row` as JSON; `null` where it is null.
pub(super) fn push_json(
    column: &dyn Array,
    row: usize,
    out: &mut String,
) -> Result<(), ArrowError> {
    if column.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    let start = out.len();
    if push_text(column, row, out)? == Form::Text {
        let text = out.split_off(start);
        push_json_string(out, &text);
    }
    Ok(())
}

fn push(out: &mut String, value: impl Display, form: Form) -> Form {
    // Writing into a string does not fail.
    let _ = write!(out, "{value}");
    form
}

/// serde_json writes numbers as the writers of JSON lines do.
fn push_float<F: serde::Serialize + Display + Into<f64> + Copy>(
    out: &mut String,
    value: F,
) -> Form {
    let is_number = Into::<f64>::into(value).is_finite();
    match serde_json::to_string(&value) {
        Ok(digits) if is_number => {
            out.push_str(&digits);
            Form::Json
        }
        _ => {
            let _ = write!(out, "{value}");
            Form::Text
        }
    }
}

fn push_decimal<T: DecimalType>(column: &dyn Array, row: usize, out: &mut String) -> Form {
    out.push_str(&column.as_primitive::<T>().value_as_string(row));
    Form::Json
}

fn push_bytes(out: &mut String, bytes: &[u8]) -> Form {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        Err(_) => return push_hexadecimal(out, bytes),
    }
    Form::Text
}

fn push_hexadecimal(out: &mut String, bytes: &[u8]) -> Form {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    Form::Text
}

fn push_temporal(column: &dyn Array, row: usize, out: &mut String) -> Form {
    let (datetime, number) = match column.data_type() {
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            return match days.value_as_date(row) {
                Some(date) => push(out, date, Form::Text),
                None => push(out, days.value(row), Form::Json),
            };
        }
        DataType::Time32(TimeUnit::Second) => {
            return push_time::<Time32SecondType>(column, row, out);
        }
        DataType::Time32(_) => return push_time::<Time32MillisecondType>(column, row, out),
        DataType::Time64(TimeUnit::Microsecond) => {
            return push_time::<Time64MicrosecondType>(column, row, out);
        }
        DataType::Time64(_) => return push_time::<Time64NanosecondType>(column, row, out),
        DataType::Timestamp(TimeUnit::Second, _) => instant::<TimestampSecondType>(column, row),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            instant::<TimestampMillisecondType>(column, row)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            instant::<TimestampMicrosecondType>(column, row)
        }
        _ => instant::<TimestampNanosecondType>(column, row),
    };
    let is_utc = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
    match datetime {
        Some(instant) if is_utc => {
            let text = instant.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true);
            push(out, text, Form::Text)
        }
        Some(local) => push(out, local, Form::Text),
        None => push(out, number, Form::Json),
    }
}

fn instant<T>(column: &dyn Array, row: usize) -> (Option<NaiveDateTime>, i64)
where
    T: ArrowPrimitiveType<Native = i64> + ArrowTemporalType,
{
    let values = column.as_primitive::<T>();
    (values.value_as_datetime(row), values.value(row))
}

fn push_time<T>(column: &dyn Array, row: usize, out: &mut String) -> Form
where
    T: ArrowPrimitiveType<Native: Display> + ArrowTemporalType,
    i64: From<T::Native>,
{
    let values = column.as_primitive::<T>();
    match values.value_as_time(row) {
        Some(time) => push(out, time, Form::Text),
        None => push(out, values.value(row), Form::Json),
    }
}

fn push_array(values: &ArrayRef, out: &mut String) -> Result<Form, ArrowError> {
    out.push('[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        push_json(values, row, out)?;
    }
    out.push(']');
    Ok(Form::Json)
}

fn push_struct(column: &dyn Array, row: usize, out: &mut String) -> Result<Form, ArrowError> {
    let fields = column.as_struct();
    out.push('{');
    for (at, (name, values)) in fields.column_names().into_iter().zip(fields.columns()).enumerate()
    {
        if at > 0 {
            out.push(',');
        }
        push_json_string(out, name);
        out.push(':');
        push_json(values, row, out)?;
    }
    out.push('}');
    Ok(Form::Json)
}

fn push_map(column: &dyn Array, row: usize, out: &mut String) -> Result<Form, ArrowError> {
    let entries = column.as_map().value(row);
    let (keys, values) = (entries.column(0), entries.column(1));
    out.push('{');
    let mut key = String::new();
    for entry in 0..entries.len() {
        if entry > 0 {
            out.push(',');
        }
        key.clear();
        push_text(keys, entry, &mut key)?;
        push_json_string(out, &key);
        out.push(':');
        push_json(values, entry, out)?;
    }
    out.push('}');
    Ok(Form::Json)
}

#[cfg(test)]
mod tests;
