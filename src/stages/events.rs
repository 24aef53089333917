//! Delivered rows become candidate events, or go to quarantine with a reason.
//!
//! The verdict on a row depends on the row, its arrival date, its mark and the rules, and on
//! nothing else: not on other rows, and not on what ODS holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Date32Array, Int32Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Date32Type, Field, SchemaRef};
use chrono::{Days, NaiveDate};
use datafusion::error::DataFusionError;

use super::mapping::{CompiledBook, CompiledMapping, judged_columns};
use super::merge::candidate_schema;
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
    mapping: usize,
    entry_starts: Vec<Option<i32>>,
    arrival_date: NaiveDate,
    schema: SchemaRef,
}

/// Columns of the rows that are still good, while they are judged.
struct Mapped {
    user_id: StringArray,
    product_code: StringArray,
    event_id: StringArray,
    timestamp: TimestampMicrosecondArray,
    pdate: Date32Array,
    attributes: Vec<ArrayRef>,
}

impl EventReader {
    /// A reader for deliveries of `arrival_date` under the rules of that date.
    pub fn new(book: &Arc<CompiledBook>, rule_book: &RuleBook, arrival_date: NaiveDate) -> Self {
        let starts = rule_book.sessions.iter().map(|entry| entry.from);
        Self {
            book: Arc::clone(book),
            mapping: rule_book.mapping_at(arrival_date),
            entry_starts: starts.map(|from| from.map(date32)).collect(),
            arrival_date,
            schema: candidate_schema(&book.attributes),
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
        let (mapped, kept) = keep_good(&mapped, &rejects)?;
        let judged = self.judge(&mapped, &kept, &mut rejects)?;
        Ok((judged, rejects))
    }

    fn map(&self, raw: &RecordBatch, rejects: &mut Rejects) -> Result<Mapped, DataFusionError> {
        let input = expression_input(raw, &self.mapping().input)?;
        let mut id = |expression: &Expression, name: &'static str| {
            let values = evaluate(expression, &input, &DataType::Utf8, rejects)?;
            let values = values.as_string::<i32>().clone();
            rejects.reject_where(Reason::MissingKey, name, |row| {
                values.is_null(row) || values.value(row).is_empty()
            });
            Ok::<_, DataFusionError>(values)
        };
        let user_id = id(&self.mapping().user_id, "user_id is missing")?;
        let product_code = id(&self.mapping().product_code, "product_code is missing")?;
        let event_id = id(&self.mapping().event_id, "event_id is missing")?;
        let timestamp = self.timestamps(&input, rejects)?;
        let pdate = timestamps::dates_in(&timestamp, self.book.zone);
        let attributes = self.attribute_columns(&input, rejects)?;
        Ok(Mapped { user_id, product_code, event_id, timestamp, pdate, attributes })
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
        rejects.reject_where_with(Reason::BeyondUpdateDepth, |row| {
            let late = pdate.is_valid(row) && pdate.value(row) < first && !marked.value(row);
            late.then(|| {
                let event_date = shown_date(pdate.value(row));
                format!(
                    "event date {event_date} is more than {} days before arrival date {arrival}",
                    self.mapping().update_depth_days
                )
            })
        });
        rejects.reject_where_with(Reason::InTheFuture, |row| {
            (pdate.is_valid(row) && pdate.value(row) > last).then(|| {
                let event_date = shown_date(pdate.value(row));
                format!("event date {event_date} is after arrival date {arrival} + 1 day")
            })
        });
        Ok(())
    }

    /// Applies the session rules of each row's event date. `kept` are the rows' indices in the
    /// raw batch, for those whose rules fail.
    fn judge(
        &self,
        mapped: &Mapped,
        kept: &[usize],
        rejects: &mut Rejects,
    ) -> Result<RecordBatch, DataFusionError> {
        let entries: Int32Array =
            mapped.pdate.iter().map(|date| date.map(|date| self.entry_at(date))).collect();
        let rows = kept.len();
        let mut flags = Flags::new(rows);
        for entry in 0..self.book.sessions.len() {
            let under: Vec<usize> =
                (0..rows).filter(|row| entries.value(*row) == as_entry(entry)).collect();
            if !under.is_empty() {
                self.judge_under(entry, &under, mapped, kept, &mut flags, rejects)?;
            }
        }
        let all = self.candidates(mapped, &flags)?;
        let good: BooleanArray = kept.iter().map(|row| Some(!rejects.is_rejected(*row))).collect();
        Ok(filter_record_batch(&all, &good)?)
    }

    fn judge_under(
        &self,
        entry: usize,
        under: &[usize],
        mapped: &Mapped,
        kept: &[usize],
        flags: &mut Flags,
        rejects: &mut Rejects,
    ) -> Result<(), DataFusionError> {
        let rules = &self.book.sessions[entry];
        let indices: UInt64Array = under.iter().map(|row| Some(*row as u64)).collect();
        let input = take_record_batch(&mapped.judged_input(&self.book.attributes)?, &indices)?;
        let mut judge = |expression: &Expression, input: &RecordBatch| {
            let (values, failed) = expression.evaluate(input, &DataType::Boolean)?;
            for FailedRow { row, detail } in failed {
                rejects.reject(kept[under[row]], Reason::ExpressionFailed, detail);
            }
            Ok::<_, DataFusionError>(null_is_false(values.as_boolean()))
        };
        let action = judge(&rules.user_action, &input)?;
        let with_action = with_user_action(&input, &action, &self.book.attributes)?;
        let opens = judge(&rules.opens_on, &with_action)?;
        let closes = judge(&rules.closes_on, &with_action)?;
        for (position, row) in under.iter().enumerate() {
            flags.action[*row] = action.value(position);
            flags.opens[*row] = opens.value(position);
            flags.closes[*row] = closes.value(position);
        }
        Ok(())
    }

    fn candidates(&self, mapped: &Mapped, flags: &Flags) -> Result<RecordBatch, DataFusionError> {
        let rows = mapped.pdate.len();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(mapped.user_id.clone()),
            Arc::new(mapped.product_code.clone()),
            Arc::new(mapped.event_id.clone()),
            Arc::new(mapped.timestamp.clone()),
            flags.array(&flags.action),
            Arc::new(Date32Array::from(vec![date32(self.arrival_date); rows])),
        ];
        columns.extend(mapped.attributes.iter().cloned());
        columns.push(Arc::new(mapped.pdate.clone()));
        columns.push(flags.array(&flags.opens));
        columns.push(flags.array(&flags.closes));
        columns.push(Arc::new(BooleanArray::from(vec![false; rows])));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn entry_at(&self, pdate: i32) -> i32 {
        let after = self.entry_starts.iter().skip(1);
        as_entry(after.take_while(|from| from.is_some_and(|from| from <= pdate)).count())
    }
}

impl Mapped {
    fn judged_input(&self, attributes: &[Field]) -> Result<RecordBatch, DataFusionError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.user_id.clone()),
            Arc::new(self.product_code.clone()),
            Arc::new(self.event_id.clone()),
            Arc::new(self.timestamp.clone()),
            Arc::new(self.pdate.clone()),
        ];
        columns.extend(self.attributes.iter().cloned());
        Ok(RecordBatch::try_new(judged_columns(attributes, false), columns)?)
    }
}

fn with_user_action(
    input: &RecordBatch,
    action: &BooleanArray,
    attributes: &[Field],
) -> Result<RecordBatch, DataFusionError> {
    let mut columns = input.columns().to_vec();
    // `is_user_action` stands before the attributes, after the five fixed columns.
    columns.insert(input.num_columns() - attributes.len(), Arc::new(action.clone()));
    Ok(RecordBatch::try_new(judged_columns(attributes, true), columns)?)
}

struct Flags {
    action: Vec<bool>,
    opens: Vec<bool>,
    closes: Vec<bool>,
}

impl Flags {
    fn new(rows: usize) -> Self {
        Self { action: vec![false; rows], opens: vec![false; rows], closes: vec![false; rows] }
    }

    fn array(&self, flags: &[bool]) -> ArrayRef {
        let mut builder = BooleanBuilder::with_capacity(self.action.len());
        builder.append_slice(flags);
        Arc::new(builder.finish())
    }
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

fn shown_date(days: i32) -> String {
    Date32Type::to_naive_date_opt(days).map_or_else(|| "?".to_owned(), |date| date.to_string())
}

fn as_entry(entry: usize) -> i32 {
    i32::try_from(entry).unwrap_or(i32::MAX)
}

/// Counts of quarantined rows by reason.
pub type ReasonCounts = BTreeMap<String, i64>;
