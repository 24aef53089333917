//! Batches of events in key order, and the order itself.
//!
//! Whatever is sorted by key begins with the same columns, the *stored* ones; what follows them
//! is up to who reads the batch.
//!
//! | column | type |
//! |---|---|
//! | `user_id`, `product_code`, `event_id` | text, not null |
//! | `timestamp` | microseconds, UTC, not null |
//! | `is_user_action` | boolean, not null |
//! | `_updated_at` | date, not null |
//! | the feed's attributes | any, nullable |
//!
//! The order is (`user_id`, `product_code`, `timestamp`, `event_id`), texts by their bytes.

use std::cmp::Ordering;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

/// Position of `user_id` among the stored columns.
pub const USER_ID: usize = 0;
/// Position of `product_code`.
pub const PRODUCT_CODE: usize = 1;
/// Position of `event_id`.
pub const EVENT_ID: usize = 2;
/// Position of `timestamp`.
pub const TIMESTAMP: usize = 3;
/// Position of `is_user_action`.
pub const IS_USER_ACTION: usize = 4;
/// Position of `_updated_at`.
pub const UPDATED_AT: usize = 5;
/// Position of the first attribute.
pub const ATTRIBUTES: usize = 6;

/// The key of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'b> {
    /// Whose event.
    pub user: &'b str,
    /// Where.
    pub product: &'b str,
}

/// A batch that begins with the stored columns, in key order.
#[derive(Debug, Clone)]
pub struct KeyedBatch {
    columns: Vec<ArrayRef>,
    users: StringArray,
    products: StringArray,
    events: StringArray,
    timestamps: TimestampMicrosecondArray,
    updated_at: Date32Array,
}

impl KeyedBatch {
    /// Views the columns of `batch`.
    pub fn try_new(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let text = |at: usize| match batch.column(at).as_string_opt::<i32>() {
            Some(texts) if texts.null_count() == 0 => Ok(texts.clone()),
            _ => Err(unexpected(batch, at, "a text without nulls")),
        };
        let timestamps = batch
            .column(TIMESTAMP)
            .as_primitive_opt::<TimestampMicrosecondType>()
            .filter(|timestamps| timestamps.null_count() == 0)
            .ok_or_else(|| unexpected(batch, TIMESTAMP, "microseconds without nulls"))?;
        let updated_at = batch
            .column(UPDATED_AT)
            .as_primitive_opt::<Date32Type>()
            .filter(|dates| dates.null_count() == 0)
            .ok_or_else(|| unexpected(batch, UPDATED_AT, "a date without nulls"))?;
        Ok(Self {
            users: text(USER_ID)?,
            products: text(PRODUCT_CODE)?,
            events: text(EVENT_ID)?,
            timestamps: timestamps.clone(),
            updated_at: updated_at.clone(),
            columns: batch.columns().to_vec(),
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.timestamps.len()
    }

    /// A column by its position; the stored ones come first.
    pub fn column(&self, at: usize) -> &ArrayRef {
        &self.columns[at]
    }

    /// The user of a row.
    pub fn user(&self, row: usize) -> &str {
        self.users.value(row)
    }

    /// The key of a row.
    pub fn key(&self, row: usize) -> Key<'_> {
        Key { user: self.users.value(row), product: self.products.value(row) }
    }

    /// The event id of a row.
    pub fn event_id(&self, row: usize) -> &str {
        self.events.value(row)
    }

    /// The instant of a row, microseconds since 1970.
    pub fn timestamp_micros(&self, row: usize) -> i64 {
        self.timestamps.value(row)
    }

    /// The arrival date of a row, days since 1970.
    pub fn updated_at(&self, row: usize) -> i32 {
        self.updated_at.value(row)
    }

    /// The first row at or behind `from` whose key is not before `key`: near ones are found in
    /// a few steps, far ones in logarithmically many.
    pub fn first_not_before(&self, from: usize, key: Key<'_>) -> usize {
        self.gallop(from, |row| self.key(row) < key)
    }

    /// The first row at or behind `from` whose key is behind `key`.
    pub fn first_behind(&self, from: usize, key: Key<'_>) -> usize {
        self.gallop(from, |row| self.key(row) <= key)
    }

    /// The first row at or behind `from` whose user is not before `user`.
    pub fn first_of_user(&self, from: usize, user: &str) -> usize {
        self.gallop(from, |row| self.user(row) < user)
    }

    /// The first row at or behind `from` where `is_before`, true for a prefix, turns false.
    fn gallop(&self, from: usize, is_before: impl Fn(usize) -> bool) -> usize {
        let rows = self.rows();
        let (mut low, mut step) = (from, 1);
        while low < rows && is_before((low + step - 1).min(rows - 1)) {
            low = (low + step).min(rows);
            step *= 2;
        }
        let (mut low, mut high) = (low, (low + step - 1).min(rows));
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn unexpected(batch: &RecordBatch, at: usize, expected: &str) -> ArrowError {
    let schema = batch.schema();
    let field = schema.field(at);
    ArrowError::SchemaError(format!(
        "the column {} is {}, expected {expected}",
        field.name(),
        field.data_type()
    ))
}

/// The order of two values of the same type, nulls last. Numbers compare by their total order,
/// so that every two values are ordered; a type that no attribute has compares by its text.
pub fn compare_nulls_last(
    left: &dyn Array,
    left_row: usize,
    right: &dyn Array,
    right_row: usize,
) -> Ordering {
    match (left.is_null(left_row), right.is_null(right_row)) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    macro_rules! values {
        ($kind:ty) => {
            left.as_primitive::<$kind>()
                .value(left_row)
                .cmp(&right.as_primitive::<$kind>().value(right_row))
        };
        (float $kind:ty) => {
            left.as_primitive::<$kind>()
                .value(left_row)
                .total_cmp(&right.as_primitive::<$kind>().value(right_row))
        };
    }
    match left.data_type() {
        DataType::Utf8 => {
            left.as_string::<i32>().value(left_row).cmp(right.as_string::<i32>().value(right_row))
        }
        DataType::Boolean => {
            left.as_boolean().value(left_row).cmp(&right.as_boolean().value(right_row))
        }
        DataType::Int8 => values!(Int8Type),
        DataType::Int16 => values!(Int16Type),
        DataType::Int32 => values!(Int32Type),
        DataType::Int64 => values!(Int64Type),
        DataType::Float32 => values!(float Float32Type),
        DataType::Float64 => values!(float Float64Type),
        DataType::Decimal128(..) => values!(Decimal128Type),
        DataType::Date32 => values!(Date32Type),
        DataType::Timestamp(..) => values!(TimestampMicrosecondType),
        _ => {
            let text = |array: &dyn Array, row: usize| {
                arrow::util::display::array_value_to_string(array, row).unwrap_or_default()
            };
            text(left, left_row).cmp(&text(right, right_row))
        }
    }
}
