//! Text rows as one Arrow batch, with everything undeclared in `_extra`.

use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::reader::{ParsedBatch, RejectReason, RejectedRecord};

/// Column with the fields that have no column of their own, as the text of one JSON object.
pub(super) const EXTRA_COLUMN: &str = "_extra";
/// Column with a record's first physical line, from 1.
pub(super) const LINE_COLUMN: &str = "_line";

/// Bytes of records after which a batch ends early. Arrow's text columns address 2 GiB, and JSON
/// escapes make a byte of a record at most six in `_extra`.
const BATCH_TEXT_BYTES: usize = 64 << 20;
/// Bytes of a rejected record that are kept.
const REJECTED_TEXT_BYTES: usize = 64 << 10;

/// Builders of the batch at hand: first every column of a row, then [`RawBatch::end_row`].
pub(super) struct RawBatch {
    schema: SchemaRef,
    columns: Vec<StringBuilder>,
    /// The `_extra` of the row at hand.
    pub(super) extra: ExtraObject,
    extras: StringBuilder,
    lines: Int64Builder,
    rows: usize,
    text_bytes: usize,
    rejected: Vec<RejectedRecord>,
}

impl RawBatch {
    pub(super) fn new(columns: &[String]) -> Self {
        let mut fields: Vec<Field> =
            columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        fields.push(Field::new(EXTRA_COLUMN, DataType::Utf8, true));
        fields.push(Field::new(LINE_COLUMN, DataType::Int64, false));
        Self {
            schema: Arc::new(Schema::new(fields)),
            columns: columns.iter().map(|_| StringBuilder::new()).collect(),
            extra: ExtraObject::default(),
            extras: StringBuilder::new(),
            lines: Int64Builder::new(),
            rows: 0,
            text_bytes: 0,
            rejected: Vec::new(),
        }
    }

    /// Whether another record, good or bad, still belongs into this batch.
    pub(super) fn has_room(&self, max_rows: usize) -> bool {
        let max_rows = max_rows.max(1);
        self.rows < max_rows && self.rejected.len() < max_rows && self.text_bytes < BATCH_TEXT_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 && self.rejected.is_empty()
    }

    /// The row's value of one of the columns, once; blank means missing.
    pub(super) fn set(&mut self, column: usize, value: &str) {
        if !value.is_empty() {
            self.columns[column].append_value(value);
        }
    }

    /// Whether the row has a value of one of the columns.
    pub(super) fn is_set(&self, column: usize) -> bool {
        self.columns[column].len() > self.rows
    }

    /// Ends a row; a column that was not set is missing from the record.
    pub(super) fn end_row(&mut self, first_line: u64, record_bytes: usize) {
        for column in self.columns.iter_mut().filter(|column| column.len() == self.rows) {
            column.append_null();
        }
        match self.extra.finish() {
            Some(object) => self.extras.append_value(object),
            None => self.extras.append_null(),
        }
        self.extra.clear();
        self.lines.append_value(first_line.cast_signed());
        self.rows += 1;
        self.text_bytes += record_bytes;
    }

    pub(super) fn reject(
        &mut self,
        first_line: u64,
        record: &[u8],
        reason: RejectReason,
        detail: String,
    ) {
        let text = lossy_text(record, REJECTED_TEXT_BYTES);
        self.text_bytes += text.len();
        self.rejected.push(RejectedRecord { first_line, text, reason, detail });
    }

    /// Hands out the batch and starts the next one with the capacity this one needed.
    pub(super) fn finish(&mut self) -> Result<ParsedBatch, ArrowError> {
        let texts = self.columns.iter_mut().chain([&mut self.extras]).map(finish_text);
        let mut arrays: Vec<ArrayRef> = texts.collect();
        arrays.push(Arc::new(self.lines.finish()));
        self.rows = 0;
        self.text_bytes = 0;
        Ok(ParsedBatch {
            rows: RecordBatch::try_new(Arc::clone(&self.schema), arrays)?,
            rejected: std::mem::take(&mut self.rejected),
        })
    }
}

fn finish_text(builder: &mut StringBuilder) -> ArrayRef {
    let array = builder.finish();
    *builder = StringBuilder::with_capacity(array.len(), array.values().len());
    Arc::new(array)
}

/// `bytes` as UTF-8 of at most `max_bytes`, cut between characters.
fn lossy_text(bytes: &[u8], max_bytes: usize) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let cut = chunk.valid().floor_char_boundary(max_bytes - text.len());
        text.push_str(&chunk.valid()[..cut]);
        let room = max_bytes - text.len();
        if cut < chunk.valid().len() || room < char::REPLACEMENT_CHARACTER.len_utf8() {
            break;
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// The text of one JSON object, written field by field into one reused buffer.
#[derive(Default)]
pub(super) struct ExtraObject {
    text: String,
}

impl ExtraObject {
    /// Adds a field; `key` and `value` are JSON already.
    pub(super) fn push_json(&mut self, key: &str, value: &str) {
        self.push_key(key);
        self.text.push_str(value);
    }

    /// Adds a field with a text value; `key` is JSON already.
    pub(super) fn push_text(&mut self, key: &str, value: &str) {
        self.push_key(key);
        push_json_string(&mut self.text, value);
    }

    fn push_key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(key);
        self.text.push(':');
    }

    /// The object, or none when it has no field.
    fn finish(&mut self) -> Option<&str> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push('}');
        Some(&self.text)
    }

    fn clear(&mut self) {
        self.text.clear();
    }
}

/// `value` as a JSON string.
pub(super) fn json_string(value: &str) -> String {
    let mut json = String::new();
    push_json_string(&mut json, value);
    json
}

/// Appends `value` as a JSON string.
pub(super) fn push_json_string(out: &mut String, value: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in value.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "\\u00",
            _ => continue,
        };
        out.push_str(&value[written..at]);
        out.push_str(escape);
        if escape == "\\u00" {
            let digits = [byte >> 4, byte & 0xF].map(|digit| char::from_digit(digit.into(), 16));
            out.extend(digits.into_iter().flatten());
        }
        written = at + 1;
    }
    out.push_str(&value[written..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_has_the_columns_in_order_then_extra_and_line() {
        let mut batch = RawBatch::new(&["b".to_owned(), "a".to_owned()]);
        batch.set(1, "");
        batch.set(0, "x");
        batch.extra.push_text("\"k\"", "v\"");
        batch.extra.push_json("\"n\"", "1.0");
        batch.end_row(7, 3);
        let rows = batch.finish().unwrap().rows;
        let names: Vec<_> = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["b", "a", "_extra", "_line"]);
        assert_eq!(rows.column(0).as_string::<i32>().value(0), "x");
        assert!(rows.column(1).is_null(0));
        assert_eq!(rows.column(2).as_string::<i32>().value(0), r#"{"k":"v\"","n":1.0}"#);
        assert_eq!(rows.column(3).as_primitive::<Int64Type>().value(0), 7);
        assert!(batch.is_empty());
        assert_eq!(batch.finish().unwrap().rows.num_rows(), 0);
    }

    #[test]
    fn a_batch_ends_at_its_rows_its_rejects_or_its_bytes() {
        let mut batch = RawBatch::new(&[]);
        assert!(batch.has_room(0));
        batch.end_row(1, 10);
        assert!(!batch.has_room(1) && batch.has_room(2));
        batch.end_row(2, BATCH_TEXT_BYTES);
        assert!(!batch.has_room(100));
        batch.finish().unwrap();
        batch.reject(3, b"x", RejectReason::FieldCount, String::new());
        assert!(!batch.has_room(1) && batch.has_room(2));
    }

    #[test]
    fn rejected_text_is_lossy_and_cut_between_characters() {
        assert_eq!(lossy_text(b"a\xFFb", 100), "a\u{FFFD}b");
        assert_eq!(lossy_text("aé".as_bytes(), 2), "a");
        assert_eq!(lossy_text("aé".as_bytes(), 3), "aé");
        assert_eq!(lossy_text(b"ab\xFFcd", 4), "ab");
        assert_eq!(lossy_text(b"ab\xFFcd", 6), "ab\u{FFFD}c");
    }

    proptest! {
        #[test]
        fn any_text_survives_as_a_json_string(value in any::<String>()) {
            let json = json_string(&value);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value);
        }

        #[test]
        fn rejected_text_never_exceeds_its_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            max_bytes in 0..40_usize,
        ) {
            let text = lossy_text(&bytes, max_bytes);
            prop_assert!(text.len() <= max_bytes);
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(whole.starts_with(&text));
            prop_assert!(text.len() + 4 > max_bytes.min(whole.len()));
        }
    }
}
