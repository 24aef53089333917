//! The feed's contract, as far as it is about rows: which of those that could be read are bad.
//!
//! It looks at one row alone, and at what the row holds: the same rows of a file are bad however
//! it is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use chrono_tz::Tz;
use datafusion::error::DataFusionError;
use serde_json::value::RawValue;

use crate::config::{
    ColumnType, Contract, FeedConfig, OnExtraColumn, OnMissingColumn, SourceFormat,
};
use crate::sources::{ParsedBatch, SourceFile, path_of};
use crate::stages::quarantine::QuarantinedRow;
use crate::stages::raw_rows::{expression_input, first_lines, row_text};
use crate::stages::timestamps::{self, ReadAs};

const BLANK: &str = "blank";
const WRONG_TYPE: &str = "wrong_type";
const NOT_ALLOWED: &str = "not_allowed";
const EXTRA_COLUMN: &str = "extra_column";

/// Bytes of a value that a message shows.
const SHOWN_BYTES: usize = 80;

/// What the files of one arrival date are held to.
pub(super) struct HeldTo {
    /// Fields that a header or schema must have.
    pub(super) required: BTreeSet<String>,
    /// Where it may have no other fields, those that it may.
    pub(super) only: Option<Arc<BTreeSet<String>>>,
    /// None where nothing is asked of rows that can be read.
    rows: Option<RowContract>,
}

struct RowContract {
    contract: Contract,
    zone: Tz,
    /// The columns that are looked at.
    input: SchemaRef,
    /// Keys of a row of JSON lines, where it may have no others.
    only: Option<Arc<BTreeSet<String>>>,
}

/// Rows of one file, good and bad.
pub(super) struct Sorted {
    pub(super) good: RecordBatch,
    pub(super) bad: Vec<QuarantinedRow>,
}

/// Why a row is bad, as a name and in words.
type Fault = (&'static str, String);

impl HeldTo {
    /// What the contract of `feed` asks for, whose mapping and `columns` name the fields `named`.
    pub(super) fn of(feed: &FeedConfig, named: BTreeSet<String>) -> Self {
        let contract = &feed.contract;
        let only = (contract.on_extra_column == OnExtraColumn::Reject).then(|| {
            let fields = named.iter().chain(contract.columns());
            let roots = fields.clone().filter_map(|name| path_of(name)).map(|(root, _)| root);
            Arc::new(fields.map(String::as_str).chain(roots).map(str::to_owned).collect())
        });
        let mandatory = contract.mandatory.iter().cloned();
        let required = match contract.on_missing_column {
            OnMissingColumn::Reject => named.into_iter().chain(mandatory).collect(),
            OnMissingColumn::FillNull => mandatory.collect(),
        };
        Self { rows: RowContract::of(feed, only.clone()), required, only }
    }

    /// Splits what was read of `file`.
    pub(super) fn sort(
        &self,
        file: &SourceFile,
        parsed: ParsedBatch,
    ) -> Result<Sorted, DataFusionError> {
        let ParsedBatch { rows, rejected } = parsed;
        let unreadable = rejected.into_iter().map(|record| QuarantinedRow {
            reason: record.reason.as_str().into(),
            detail: record.detail,
            file: file.name.clone(),
            line: i64::try_from(record.first_line).unwrap_or(i64::MAX),
            text: Some(record.text),
        });
        let mut bad: Vec<QuarantinedRow> = unreadable.collect();
        let Some(contract) = self.rows.as_ref().filter(|_| rows.num_rows() > 0) else {
            return Ok(Sorted { good: rows, bad });
        };
        let faults = contract.faults(&rows)?;
        if faults.is_empty() {
            return Ok(Sorted { good: rows, bad });
        }
        let is_good: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(!faults.contains_key(&row))).collect();
        let lines = first_lines(&rows);
        for (row, (reason, detail)) in faults {
            bad.push(QuarantinedRow {
                reason: Cow::Borrowed(reason),
                detail,
                file: file.name.clone(),
                line: lines.map_or(0, |lines| lines.value(row)),
                text: Some(row_text(&rows, row)?),
            });
        }
        bad.sort_by_key(|row| row.line);
        Ok(Sorted { good: filter_record_batch(&rows, &is_good)?, bad })
    }
}

impl RowContract {
    fn of(feed: &FeedConfig, only: Option<Arc<BTreeSet<String>>>) -> Option<Self> {
        let contract = &feed.contract;
        let of_rows = contract.not_blank.iter().chain(contract.types.keys());
        let columns: BTreeSet<&String> = of_rows.chain(contract.allowed.keys()).collect();
        // The header of any other format names the fields of all rows.
        let only = only.filter(|_| feed.format == SourceFormat::Jsonl);
        if columns.is_empty() && only.is_none() {
            return None;
        }
        let fields = columns.into_iter().map(|name| Field::new(name, DataType::Utf8, true));
        Some(Self {
            contract: contract.clone(),
            zone: feed.event.zone.parse().unwrap_or(Tz::UTC),
            input: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            only,
        })
    }

    /// The first fault of each bad row.
    fn faults(&self, rows: &RecordBatch) -> Result<BTreeMap<usize, Fault>, DataFusionError> {
        let mut faults = BTreeMap::new();
        let input = expression_input(rows, &self.input)?;
        let texts = |column: &str| input.column_by_name(column).map(AsArray::as_string::<i32>);
        for column in &self.contract.not_blank {
            let Some(values) = texts(column) else { continue };
            each_row(values.len(), BLANK, &mut faults, |row| {
                let is_blank = values.is_null(row) || values.value(row).trim().is_empty();
                is_blank.then(|| format!("column `{column}`: found no value, expected one"))
            });
        }
        for (column, column_type) in &self.contract.types {
            let Some(values) = texts(column) else { continue };
            self.type_faults(column, column_type, values, &mut faults);
        }
        for (column, allowed) in &self.contract.allowed {
            let Some(values) = texts(column) else { continue };
            each_value(values, NOT_ALLOWED, &mut faults, |value| {
                let is_allowed = allowed.iter().any(|allowed| allowed == value);
                let expected = || format!("expected one of {}", allowed.join(", "));
                (!is_allowed).then(|| unexpected(column, value, &expected()))
            });
        }
        if let (Some(only), Some(extra)) = (&self.only, rows.column_by_name("_extra")) {
            extra_faults(only, extra, &mut faults);
        }
        Ok(faults)
    }

    fn type_faults(
        &self,
        column: &str,
        column_type: &ColumnType,
        values: &StringArray,
        faults: &mut BTreeMap<usize, Fault>,
    ) {
        let mut other_than = |expected: &str, is_it: &dyn Fn(&str) -> bool| {
            each_value(values, WRONG_TYPE, faults, |value| {
                (!is_it(value)).then(|| unexpected(column, value, &format!("expected {expected}")))
            });
        };
        let epoch = |micros| move |text: &str| timestamps::is_epoch(text, micros);
        match column_type {
            ColumnType::Integer => {
                other_than("a whole number", &|text| text.trim().parse::<i64>().is_ok());
            }
            ColumnType::Number => other_than("a number", &is_number),
            ColumnType::Boolean => other_than("true or false", &|text| {
                let text = text.trim();
                text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
            }),
            ColumnType::Date => other_than("a date as 2026-01-08", &|text| {
                NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").is_ok()
            }),
            ColumnType::EpochSeconds => other_than("seconds since 1970", &epoch(1_000_000)),
            ColumnType::EpochMillis => other_than("milliseconds since 1970", &epoch(1_000)),
            ColumnType::EpochMicros => other_than("microseconds since 1970", &epoch(1)),
            ColumnType::Timestamp => self.timestamp_faults(column, None, values, faults),
            ColumnType::Pattern(pattern) => {
                self.timestamp_faults(column, Some(pattern), values, faults);
            }
        }
    }

    fn timestamp_faults(
        &self,
        column: &str,
        format: Option<&str>,
        values: &StringArray,
        faults: &mut BTreeMap<usize, Fault>,
    ) {
        let read_as = ReadAs { zone: self.zone, format };
        each_value(values, WRONG_TYPE, faults, |value| {
            let fault = timestamps::fault_of(value, read_as)?;
            Some(unexpected(column, value, &fault))
        });
    }
}

/// Keys of JSON objects that nothing names.
fn extra_faults(only: &BTreeSet<String>, extra: &ArrayRef, faults: &mut BTreeMap<usize, Fault>) {
    let Some(extra) = extra.as_string_opt::<i32>() else { return };
    each_value(extra, EXTRA_COLUMN, faults, |object| {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
        let unnamed = fields.keys().find(|name| !only.contains(*name))?;
        Some(format!(
            "found the column `{}`, expected none but those that the feed names",
            shown(unnamed)
        ))
    });
}

fn each_value(
    values: &StringArray,
    reason: &'static str,
    faults: &mut BTreeMap<usize, Fault>,
    fault: impl Fn(&str) -> Option<String>,
) {
    each_row(values.len(), reason, faults, |row| {
        if values.is_null(row) { None } else { fault(values.value(row)) }
    });
}

/// Notes the fault of every row that has one, unless another is known.
fn each_row(
    rows: usize,
    reason: &'static str,
    faults: &mut BTreeMap<usize, Fault>,
    fault: impl Fn(usize) -> Option<String>,
) {
    for row in 0..rows {
        if let Some(detail) = fault(row) {
            faults.entry(row).or_insert((reason, detail));
        }
    }
}

/// Finite, and written in digits: `inf` and `nan` are no numbers.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let is_word =
        text.bytes().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'));
    !is_word && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn unexpected(column: &str, value: &str, expected: &str) -> String {
    format!("column `{column}`: found \"{}\", {expected}", shown(value))
}

/// The beginning of a long text.
fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}...", &text[..text.floor_char_boundary(SHOWN_BYTES)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_finite_and_written_in_digits() {
        for number in ["0", "-1.5", "+2", "1e5", "1E-5", " 3 ", ".5"] {
            assert!(is_number(number), "{number}");
        }
        for none in ["", "inf", "NaN", "infinity", "1e999", "1,5", "0x10", "12a"] {
            assert!(!is_number(none), "{none}");
        }
    }

    #[test]
    fn a_long_value_is_shown_in_part() {
        assert_eq!(shown("é"), "é");
        let long = "é".repeat(50);
        assert_eq!(shown(&long), format!("{}...", "é".repeat(40)));
    }
}
