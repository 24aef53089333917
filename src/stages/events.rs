//! Delivered rows become candidate events, or go to quarantine with a reason.
//!
//! The verdict on a row depends on the row, its arrival date, its mark and the rules, and on
//! nothing else: not on other rows, and not on what ODS holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
    new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Date32Type};
use chrono::{Days, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;

use super::judgement::{Mapped, SessionJudge};
use super::mapping::{CompiledBook, CompiledCheck, CompiledMapping};
use super::raw_rows::expression_input;
use super::reject::{Reason, Rejects};
use super::timestamps::{self, ReadAs};
use crate::engine::expressions::{Expression, FailedRow};
use crate::engine::functions::null_is_false;
use crate::lake::rules::RuleBook;

/// Reads raw rows of one arrival date under the mapping of that date.
#[derive(Debug, Clone)]
pub struct EventReader {
    book: Arc<CompiledBook>,
    judge: SessionJudge,
    mapping: usize,
    arrival_date: NaiveDate,
}

impl EventReader {
    /// A reader for deliveries of `arrival_date` under the rules of that date.
    pub fn new(book: &Arc<CompiledBook>, rule_book: &RuleBook, arrival_date: NaiveDate) -> Self {
        Self {
            book: Arc::clone(book),
            judge: SessionJudge::new(book, rule_book),
            mapping: rule_book.mapping_at(arrival_date),
            arrival_date,
        }
    }

    fn mapping(&self) -> &CompiledMapping {
        &self.book.mappings[self.mapping]
    }

    /// Number of attributes of ODS.
    pub(crate) fn attributes(&self) -> usize {
        self.book.attributes.len()
    }

    /// Splits a batch of raw rows into candidate events and rejects.
    pub fn read(&self, raw: &RecordBatch) -> Result<(RecordBatch, Rejects), DataFusionError> {
        let mut rejects = Rejects::new(raw.num_rows());
        let mapped = self.map(raw, &mut rejects)?;
        self.reject_by_date(raw, &mapped, &mut rejects)?;
        self.reject_by_raw_checks(raw, &mut rejects)?;
        let (mapped, kept) = keep_good(&mapped, &rejects)?;
        self.reject_by_event_checks(&mapped, &kept, &mut rejects)?;
        let judged = self.judge.judge(&mapped, &kept, &mut rejects)?;
        Ok((judged, rejects))
    }

    fn map(&self, raw: &RecordBatch, rejects: &mut Rejects) -> Result<Mapped, DataFusionError> {
        let input = expression_input(raw, &self.mapping().input)?;
        let mut id = |expression: &Expression, name: &'static str| {
            let values = evaluate(expression, &input, &DataType::Utf8, rejects)?;
            let values = values.as_string::<i32>().clone();
            rejects.reject_where(&Reason::MissingKey, name, |row| {
                values.is_null(row) || values.value(row).is_empty()
            });
            Ok::<_, DataFusionError>(values)
        };
        let user_id = id(&self.mapping().user_id, "user_id is missing")?;
        let product_code = id(&self.mapping().product_code, "product_code is missing")?;
        let event_id = id(&self.mapping().event_id, "event_id is missing")?;
        let timestamp = self.timestamps(&input, rejects)?;
        let pdate = timestamps::dates_in(&timestamp, self.book.zone);
        let updated_at = Date32Array::from(vec![date32(self.arrival_date); raw.num_rows()]);
        let attributes = self.attribute_columns(&input, rejects)?;
        Ok(Mapped { user_id, product_code, event_id, timestamp, pdate, updated_at, attributes })
    }

    fn timestamps(
        &self,
        input: &RecordBatch,
        rejects: &mut Rejects,
    ) -> Result<TimestampMicrosecondArray, DataFusionError> {
        let expression = &self.mapping().timestamp;
        let values = evaluate(expression, input, expression.data_type(), rejects)?;
        let read_as =
            ReadAs { zone: self.book.zone, format: self.mapping().timestamp_format.as_deref() };
        timestamps::to_micros(&values, read_as, rejects)
    }

    /// Columns of every attribute of ODS; null where this mapping does not know it.
    fn attribute_columns(
        &self,
        input: &RecordBatch,
        rejects: &mut Rejects,
    ) -> Result<Vec<ArrayRef>, DataFusionError> {
        self.book
            .attributes
            .iter()
            .map(|field| match self.mapping().attributes.get(field.name()) {
                Some(expression) => evaluate(expression, input, field.data_type(), rejects),
                None => Ok(new_null_array(field.data_type(), input.num_rows())),
            })
            .collect()
    }

    fn reject_by_raw_checks(
        &self,
        raw: &RecordBatch,
        rejects: &mut Rejects,
    ) -> Result<(), DataFusionError> {
        if self.mapping().raw_checks.is_empty() {
            return Ok(());
        }
        let input = expression_input(raw, &self.mapping().input)?;
        let all: Vec<usize> = (0..raw.num_rows()).collect();
        reject_by_checks(&self.mapping().raw_checks, &input, &all, rejects)
    }

    fn reject_by_event_checks(
        &self,
        mapped: &Mapped,
        kept: &[usize],
        rejects: &mut Rejects,
    ) -> Result<(), DataFusionError> {
        if self.mapping().event_checks.is_empty() {
            return Ok(());
        }
        let input = mapped.judged_input(&self.book.attributes)?;
        reject_by_checks(&self.mapping().event_checks, &input, kept, rejects)
    }

    fn reject_by_date(
        &self,
        raw: &RecordBatch,
        mapped: &Mapped,
        rejects: &mut Rejects,
    ) -> Result<(), DataFusionError> {
        let depth = Days::new(self.mapping().update_depth_days.into());
        let arrival = self.arrival_date;
        let first = arrival.checked_sub_days(depth).map_or(i32::MIN, date32);
        let last = arrival.checked_add_days(Days::new(1)).map_or(i32::MAX, date32);
        let marked = column(raw, "_accept_late")?.as_boolean().clone();
        let pdate = &mapped.pdate;
        rejects.reject_where_with(&Reason::BeyondUpdateDepth, |row| {
            let late = pdate.is_valid(row) && pdate.value(row) < first && !marked.value(row);
            late.then(|| {
                let event_date = shown_date(pdate.value(row));
                format!(
                    "event date {event_date} is more than {} days before arrival date {arrival}",
                    self.mapping().update_depth_days
                )
            })
        });
        rejects.reject_where_with(&Reason::InTheFuture, |row| {
            (pdate.is_valid(row) && pdate.value(row) > last).then(|| {
                let event_date = shown_date(pdate.value(row));
                format!("event date {event_date} is after arrival date {arrival} + 1 day")
            })
        });
        Ok(())
    }
}

/// Rejects the rows for which a check is true; `rows` are their indices in the raw batch.
fn reject_by_checks(
    checks: &[CompiledCheck],
    input: &RecordBatch,
    rows: &[usize],
    rejects: &mut Rejects,
) -> Result<(), DataFusionError> {
    for check in checks {
        let (found, failed) = check.predicate.evaluate(input, &DataType::Boolean)?;
        for FailedRow { row, detail } in failed {
            rejects.reject(rows[row], Reason::ExpressionFailed, detail);
        }
        let found = null_is_false(found.as_boolean());
        for (row, _) in rows.iter().zip(found.values().iter()).filter(|(_, found)| *found) {
            let reason = Reason::Check(Arc::clone(&check.reason));
            rejects.reject(*row, reason, check.message.clone());
        }
    }
    Ok(())
}

/// The rows without a reject so far, and their indices in the raw batch.
fn keep_good(mapped: &Mapped, rejects: &Rejects) -> Result<(Mapped, Vec<usize>), DataFusionError> {
    let kept: Vec<usize> =
        (0..mapped.pdate.len()).filter(|row| !rejects.is_rejected(*row)).collect();
    let indices: UInt64Array = kept.iter().map(|row| Some(*row as u64)).collect();
    let pick = |array: &dyn Array| take(array, &indices, None);
    let good = Mapped {
        user_id: pick(&mapped.user_id)?.as_string::<i32>().clone(),
        product_code: pick(&mapped.product_code)?.as_string::<i32>().clone(),
        event_id: pick(&mapped.event_id)?.as_string::<i32>().clone(),
        timestamp: pick(&mapped.timestamp)?.as_primitive().clone(),
        pdate: pick(&mapped.pdate)?.as_primitive::<Date32Type>().clone(),
        updated_at: pick(&mapped.updated_at)?.as_primitive::<Date32Type>().clone(),
        attributes: mapped
            .attributes
            .iter()
            .map(|column| pick(column))
            .collect::<Result<_, _>>()?,
    };
    Ok((good, kept))
}

fn evaluate(
    expression: &Expression,
    input: &RecordBatch,
    target: &DataType,
    rejects: &mut Rejects,
) -> Result<ArrayRef, DataFusionError> {
    let (values, failed) = expression.evaluate(input, target)?;
    for FailedRow { row, detail } in failed {
        rejects.reject(row, Reason::ExpressionFailed, detail);
    }
    if values.data_type() == target { Ok(values) } else { Ok(cast(&values, target)?) }
}

/// A column that the table contract promises.
pub(crate) fn column<'b>(
    batch: &'b RecordBatch,
    name: &str,
) -> Result<&'b ArrayRef, DataFusionError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| DataFusionError::Internal(format!("the column {name} is missing")))
}

/// Days since 1970-01-01.
pub(crate) fn date32(date: NaiveDate) -> i32 {
    Date32Type::from_naive_date(date)
}

/// A date as it stands in a condition.
pub(crate) fn date_literal(date: NaiveDate) -> Expr {
    lit(ScalarValue::Date32(Some(date32(date))))
}

/// The condition that the date in `column` lies between two, both included.
pub(crate) fn within(column: &str, (from, to): (NaiveDate, NaiveDate)) -> Expr {
    ident(column).between(date_literal(from), date_literal(to))
}

fn shown_date(days: i32) -> String {
    Date32Type::to_naive_date_opt(days).map_or_else(|| "?".to_owned(), |date| date.to_string())
}

/// Counts of quarantined rows by reason.
pub type ReasonCounts = BTreeMap<String, i64>;
