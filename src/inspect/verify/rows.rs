//! The rows that are compared: what ODS holds, and the facts that it must follow from.
//!
//! Both come in one stream, so that one sort brings all of a key together.
//!
//! | column | of a fact | of a row of ODS |
//! |---|---|---|
//! | `user_id`, `product_code`, `event_id`, `timestamp` | the event | the event |
//! | `_updated_at` | arrival date | as it stands there |
//! | `pdate` | date of `timestamp` | date of `timestamp` |
//! | `partition` | null | its partition |
//! | `is_user_action`, `time_diff_ms`, `session_start`, `session_id` | null | as it stands there |
//! | `judged`, `opens`, `closes` | the verdicts of the recorded rules | null |
//! | `attributes` | in the row format of Arrow: bytes in the order of the values, nulls last | the same |
//! | `role` | [`FACT`], and [`PENDING`] where its delivery may not be built | [`ROW`] |
//!
//! A row of ODS that is a fact as well is both at once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt8Array, new_null_array,
};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{
    DataType, Date32Type, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt8Type,
};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion::error::DataFusionError;

use crate::engine::keyed;
use crate::lake::contracts::{PDATE, UPDATED_AT, timestamp_type};
use crate::lake::rules::RuleBook;
use crate::stages::events::column;
use crate::stages::facts::mapped;
use crate::stages::judgement::SessionJudge;
use crate::stages::mapping::CompiledBook;
use crate::stages::merge;
use crate::stages::reject::Rejects;
use crate::stages::timestamps::dates_in;

/// The row is a fact that counts.
pub(super) const FACT: u8 = 1;
/// The row stands in ODS.
pub(super) const ROW: u8 = 2;
/// The fact is of an arrival date of which not every delivery is built.
pub(super) const PENDING: u8 = 4;
/// The row stands in `sessions/<feed>`, see `sessions.rs`.
pub(super) const SESSION: u8 = 8;

/// Positions of the columns.
const USER_ID: usize = 0;
const PRODUCT_CODE: usize = 1;
const EVENT_ID: usize = 2;
const TIMESTAMP: usize = 3;
const ARRIVAL: usize = 4;
const DATE: usize = 5;
const PARTITION: usize = 6;
const ACTION: usize = 7;
const TIME_DIFF: usize = 8;
const START: usize = 9;
const SESSION_ID: usize = 10;
const JUDGED: usize = 11;
const OPENS: usize = 12;
const CLOSES: usize = 13;
const ATTRIBUTES: usize = 14;
const ROLE: usize = 15;

/// The columns that make a key.
pub(super) const KEY: [&str; 2] = ["user_id", "product_code"];

/// The columns of the stream.
pub(super) fn schema() -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field(KEY[0], DataType::Utf8),
        field(KEY[1], DataType::Utf8),
        field("event_id", DataType::Utf8),
        field("timestamp", timestamp_type()),
        field(UPDATED_AT, DataType::Date32),
        field(PDATE, DataType::Date32),
        field("partition", DataType::Date32),
        field("is_user_action", DataType::Boolean),
        field("time_diff_ms", DataType::Int64),
        field("session_start", timestamp_type()),
        field("session_id", DataType::Utf8),
        field("judged", DataType::Boolean),
        field("opens", DataType::Boolean),
        field("closes", DataType::Boolean),
        field("attributes", DataType::Binary),
        field("role", DataType::UInt8),
    ]))
}

/// The attributes of a row as one value, and back.
#[derive(Debug)]
pub(super) struct AttributeFormat {
    fields: Vec<Field>,
    converter: RowConverter,
}

impl AttributeFormat {
    pub(super) fn new(fields: &[Field]) -> Result<Self, ArrowError> {
        let nulls_last = SortOptions { descending: false, nulls_first: false };
        let sorted =
            |field: &Field| SortField::new_with_options(field.data_type().clone(), nulls_last);
        let converter = RowConverter::new(fields.iter().map(sorted).collect())?;
        Ok(Self { fields: fields.to_vec(), converter })
    }

    fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, ArrowError> {
        if columns.is_empty() {
            return Ok(Arc::new(BinaryArray::from_vec(vec![b""; rows])));
        }
        Ok(Arc::new(self.converter.convert_columns(columns)?.try_into_binary()?))
    }

    /// One attribute of several rows, as text.
    pub(super) fn texts<'v>(
        &self,
        attribute: &str,
        values: impl Iterator<Item = &'v [u8]>,
    ) -> Result<Vec<Option<String>>, ArrowError> {
        let Some(at) = self.fields.iter().position(|field| field.name() == attribute) else {
            return Ok(values.map(|_| None).collect());
        };
        let (parser, values): (_, Vec<&[u8]>) = (self.converter.parser(), values.collect());
        let rows = values.iter().map(|value| parser.parse(value));
        let texts = cast(&self.converter.convert_rows(rows)?[at], &DataType::Utf8)?;
        Ok(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }

    /// Each attribute by its name, as text.
    pub(super) fn decode(&self, value: &[u8]) -> Result<Vec<(String, Option<String>)>, ArrowError> {
        if self.fields.is_empty() {
            return Ok(vec![]);
        }
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows([parser.parse(value)])?;
        let texts = self.fields.iter().zip(columns).map(|(field, column)| {
            let text = cast(&column, &DataType::Utf8)?;
            let text = text.as_string::<i32>();
            Ok((field.name().clone(), text.is_valid(0).then(|| text.value(0).to_owned())))
        });
        texts.collect()
    }
}

/// Turns rows of ODS, and delivered rows, into those of the stream.
#[derive(Debug, Clone)]
pub(super) struct RowReader {
    book: Arc<CompiledBook>,
    judge: SessionJudge,
    format: Arc<AttributeFormat>,
    schema: SchemaRef,
    /// Rows of ODS that arrived on later dates are no facts.
    facts_through: Option<i32>,
}

impl RowReader {
    /// `facts_through` is the last arrival date of which the rows of ODS are the facts, days since
    /// 1970; without one all of them are.
    pub(super) fn new(
        book: &Arc<CompiledBook>,
        rule_book: &RuleBook,
        format: &Arc<AttributeFormat>,
        facts_through: Option<i32>,
    ) -> Self {
        let (book, judge) = (Arc::clone(book), SessionJudge::new(book, rule_book));
        Self { book, judge, format: Arc::clone(format), schema: schema(), facts_through }
    }

    /// Rows of ODS, judged again by the rules of their dates. One that the rules refuse is no fact.
    pub(super) fn of_ods(&self, ods: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let rows = ods.num_rows();
        let mut events = mapped(ods, &self.book.attributes)?;
        let partition =
            std::mem::replace(&mut events.pdate, dates_in(&events.timestamp, self.book.zone));
        let mut rejects = Rejects::new(rows);
        let all: Vec<usize> = (0..rows).collect();
        let judged = self.judge.judge(&events, &all, &mut rejects)?;
        let role = (0..rows).map(|row| {
            let arrival = events.updated_at.value(row);
            let is_fact = self.facts_through.is_none_or(|last| arrival <= last);
            if is_fact && !rejects.is_rejected(row) { ROW | FACT } else { ROW }
        });
        let role = UInt8Array::from_iter_values(role);
        let typed = |at: usize| -> Result<ArrayRef, DataFusionError> {
            let field = self.schema.field(at);
            Ok(cast(column(ods, field.name())?, field.data_type())?)
        };
        let behind = self.book.attributes.len();
        let flag = |at: usize| -> Result<ArrayRef, DataFusionError> {
            let flags = judged.column(at).as_boolean();
            if rejects.is_empty() {
                return Ok(Arc::new(flags.clone()));
            }
            let mut next = flags.iter();
            let flags =
                (0..rows).map(|row| if rejects.is_rejected(row) { None } else { next.next()? });
            Ok(Arc::new(flags.collect::<BooleanArray>()))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(events.user_id),
            Arc::new(events.product_code),
            Arc::new(events.event_id),
            Arc::new(events.timestamp),
            Arc::new(events.updated_at),
            Arc::new(events.pdate),
            Arc::new(partition),
            typed(ACTION)?,
            typed(TIME_DIFF)?,
            typed(START)?,
            typed(SESSION_ID)?,
            flag(keyed::IS_USER_ACTION)?,
            flag(merge::OPENS + behind)?,
            flag(merge::CLOSES + behind)?,
            self.format.encode(&events.attributes, rows)?,
            Arc::new(role),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Delivered rows that count, as a build reads them.
    pub(super) fn of_candidates(
        &self,
        candidates: &RecordBatch,
        role: u8,
    ) -> Result<RecordBatch, DataFusionError> {
        let rows = candidates.num_rows();
        let given = |at: usize| Arc::clone(candidates.column(at));
        let behind = self.book.attributes.len();
        let attributes: Vec<ArrayRef> =
            (0..behind).map(|at| given(keyed::ATTRIBUTES + at)).collect();
        let nothing = |at: usize| new_null_array(self.schema.field(at).data_type(), rows);
        let columns: Vec<ArrayRef> = vec![
            given(keyed::USER_ID),
            given(keyed::PRODUCT_CODE),
            given(keyed::EVENT_ID),
            given(keyed::TIMESTAMP),
            given(keyed::UPDATED_AT),
            given(merge::PDATE_OF_CANDIDATE + behind),
            nothing(PARTITION),
            nothing(ACTION),
            nothing(TIME_DIFF),
            nothing(START),
            nothing(SESSION_ID),
            given(keyed::IS_USER_ACTION),
            given(merge::OPENS + behind),
            given(merge::CLOSES + behind),
            self.format.encode(&attributes, rows)?,
            Arc::new(UInt8Array::from(vec![role; rows])),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// A batch of the stream, column by column.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) user_id: StringArray,
    pub(super) product_code: StringArray,
    pub(super) event_id: StringArray,
    pub(super) timestamp: TimestampMicrosecondArray,
    pub(super) arrival: Date32Array,
    pub(super) date: Date32Array,
    pub(super) partition: Date32Array,
    pub(super) action: BooleanArray,
    pub(super) time_diff: Int64Array,
    pub(super) start: TimestampMicrosecondArray,
    pub(super) session_id: StringArray,
    pub(super) judged: BooleanArray,
    pub(super) opens: BooleanArray,
    pub(super) closes: BooleanArray,
    pub(super) attributes: BinaryArray,
    pub(super) role: UInt8Array,
}

impl Rows {
    /// Views a batch in the columns of [`schema`].
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let text = |at: usize| batch.column(at).as_string::<i32>().clone();
        let date = |at: usize| batch.column(at).as_primitive::<Date32Type>().clone();
        let time = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>().clone();
        let flag = |at: usize| batch.column(at).as_boolean().clone();
        Self {
            user_id: text(USER_ID),
            product_code: text(PRODUCT_CODE),
            event_id: text(EVENT_ID),
            timestamp: time(TIMESTAMP),
            arrival: date(ARRIVAL),
            date: date(DATE),
            partition: date(PARTITION),
            action: flag(ACTION),
            time_diff: batch.column(TIME_DIFF).as_primitive::<Int64Type>().clone(),
            start: time(START),
            session_id: text(SESSION_ID),
            judged: flag(JUDGED),
            opens: flag(OPENS),
            closes: flag(CLOSES),
            attributes: batch.column(ATTRIBUTES).as_binary::<i32>().clone(),
            role: batch.column(ROLE).as_primitive::<UInt8Type>().clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.role.len()
    }

    pub(super) fn key(&self, row: usize) -> (&str, &str) {
        (self.user_id.value(row), self.product_code.value(row))
    }

    pub(super) fn is(&self, row: usize, role: u8) -> bool {
        self.role.value(row) & role != 0
    }

    /// The first row behind `from` that is of another key.
    pub(super) fn end_of_key(&self, from: usize) -> usize {
        let key = self.key(from);
        (from + 1..self.len()).find(|row| self.key(*row) != key).unwrap_or(self.len())
    }
}
