//! The session rules on events that are mapped: is this the user's own doing, may it open a session,
//! does it close one? Events come from raw, or from ODS when its facts are judged again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, BooleanBuilder, Date32Array, Int32Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::error::DataFusionError;

use super::events::date32;
use super::mapping::{CompiledBook, judged_columns};
use super::merge::candidate_schema;
use super::reject::{Reason, Rejects};
use crate::engine::expressions::{Expression, FailedRow};
use crate::engine::functions::null_is_false;
use crate::lake::rules::{RuleBook, newest};

/// Events before they are judged, column by column; all have a key, a time and an event date.
pub(crate) struct Mapped {
    pub(crate) user_id: StringArray,
    pub(crate) product_code: StringArray,
    pub(crate) event_id: StringArray,
    pub(crate) timestamp: TimestampMicrosecondArray,
    pub(crate) pdate: Date32Array,
    pub(crate) updated_at: Date32Array,
    pub(crate) attributes: Vec<ArrayRef>,
}

/// Applies the rules of each event's date.
#[derive(Debug, Clone)]
pub(crate) struct SessionJudge {
    book: Arc<CompiledBook>,
    entry_starts: Vec<Option<i32>>,
    schema: SchemaRef,
}

impl SessionJudge {
    /// A judge under the session rules of a book.
    pub(crate) fn new(book: &Arc<CompiledBook>, rule_book: &RuleBook) -> Self {
        let starts = rule_book.sessions.iter().map(|entry| entry.from);
        Self {
            book: Arc::clone(book),
            entry_starts: starts.map(|from| from.map(date32)).collect(),
            schema: candidate_schema(&book.attributes),
        }
    }

    /// Applies the session rules of each row's event date. `kept` are the rows' indices in the
    /// batch that `rejects` is about, for those whose rules fail.
    pub(crate) fn judge(
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
            Arc::new(mapped.updated_at.clone()),
        ];
        columns.extend(mapped.attributes.iter().cloned());
        columns.push(Arc::new(mapped.pdate.clone()));
        columns.push(flags.array(&flags.opens));
        columns.push(flags.array(&flags.closes));
        columns.push(Arc::new(BooleanArray::from(vec![false; rows])));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn entry_at(&self, pdate: i32) -> i32 {
        as_entry(newest(self.entry_starts.iter().copied(), pdate))
    }
}

impl Mapped {
    pub(crate) fn judged_input(
        &self,
        attributes: &[Field],
    ) -> Result<RecordBatch, DataFusionError> {
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

fn as_entry(entry: usize) -> i32 {
    i32::try_from(entry).unwrap_or(i32::MAX)
}
