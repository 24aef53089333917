//! Rows of `sessions/<feed>` in the making.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray, Date32Builder, Int64Builder, ListBuilder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use foldhash::fast::FixedState;

use crate::engine::keyed::{ATTRIBUTES, IS_USER_ACTION, Key, KeyedBatch};
use crate::engine::session_id::session_ids;

/// Values of a session that are compared one by one; more are looked up.
const FEW: usize = 16;
const MICROS_PER_MILLI: i64 = 1_000;

/// One event of the key at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) session_start: i64,
    pub(super) timestamp: i64,
    /// Which batch it stands in, and where.
    pub(super) batch: usize,
    pub(super) row: usize,
    pub(super) pdate: i32,
}

/// The columns of a batch, in the order of the contract.
pub(super) struct SessionColumns {
    users: StringBuilder,
    products: StringBuilder,
    starts: TimestampMicrosecondBuilder,
    ends: TimestampMicrosecondBuilder,
    durations: Int64Builder,
    events: Int64Builder,
    user_actions: Int64Builder,
    first_events: StringBuilder,
    last_events: StringBuilder,
    event_ids: ListBuilder<StringBuilder>,
    distinct: Option<ListBuilder<StringBuilder>>,
    first_arrivals: Date32Builder,
    last_arrivals: Date32Builder,
    rows: usize,
}

impl SessionColumns {
    /// Columns without a row, one of them for the values of an attribute where `has_distinct`.
    pub(super) fn new(has_distinct: bool) -> Self {
        Self {
            users: StringBuilder::new(),
            products: StringBuilder::new(),
            starts: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            ends: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            durations: Int64Builder::new(),
            events: Int64Builder::new(),
            user_actions: Int64Builder::new(),
            first_events: StringBuilder::new(),
            last_events: StringBuilder::new(),
            event_ids: texts(),
            distinct: has_distinct.then(texts),
            first_arrivals: Date32Builder::new(),
            last_arrivals: Date32Builder::new(),
            rows: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds the session of `events`, which are those of one session in the order (`timestamp`,
    /// `event_id`); there is at least one.
    pub(super) fn push(&mut self, key: Key<'_>, events: &[Event], batches: &[Arc<KeyedBatch>]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return;
        };
        let event_id = |event: &Event| batches[event.batch].event_id(event.row);
        let rows = || events.iter().map(|event| (&batches[event.batch], event.row));
        self.users.append_value(key.user);
        self.products.append_value(key.product);
        self.starts.append_value(first.session_start);
        self.ends.append_value(last.timestamp);
        let duration = last.timestamp.saturating_sub(first.session_start);
        self.durations.append_value(duration.div_euclid(MICROS_PER_MILLI));
        self.events.append_value(count(events.len()));
        let is_action = |(batch, row): &(&Arc<KeyedBatch>, usize)| {
            batch.column(IS_USER_ACTION).as_boolean().value(*row)
        };
        self.user_actions.append_value(count(rows().filter(is_action).count()));
        self.first_events.append_value(event_id(first));
        self.last_events.append_value(event_id(last));
        append_distinct(&mut self.event_ids, rows().map(|(batch, row)| batch.event_id(row)));
        if let Some(distinct) = &mut self.distinct {
            let values = rows().filter_map(|(batch, row)| {
                let texts = batch.column(ATTRIBUTES).as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row))
            });
            append_distinct(distinct, values);
        }
        let arrivals = || rows().map(|(batch, row)| batch.updated_at(row));
        self.first_arrivals.append_option(arrivals().min());
        self.last_arrivals.append_option(arrivals().max());
        self.rows += 1;
    }

    /// The rows so far; the next batch begins empty.
    pub(super) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let (users, products) = (self.users.finish(), self.products.finish());
        let starts = self.starts.finish();
        let ids = session_ids(&users, &products, &starts);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(users),
            Arc::new(products),
            Arc::new(ids),
            Arc::new(starts),
            Arc::new(self.ends.finish()),
            Arc::new(self.durations.finish()),
            Arc::new(self.events.finish()),
            Arc::new(self.user_actions.finish()),
            Arc::new(self.first_events.finish()),
            Arc::new(self.last_events.finish()),
            Arc::new(self.event_ids.finish()),
        ];
        columns.extend(self.distinct.as_mut().map(|texts| Arc::new(texts.finish()) as ArrayRef));
        columns.push(Arc::new(self.first_arrivals.finish()));
        columns.push(Arc::new(self.last_arrivals.finish()));
        self.rows = 0;
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

fn texts() -> ListBuilder<StringBuilder> {
    let element = Field::new("element", DataType::Utf8, false);
    ListBuilder::new(StringBuilder::new()).with_field(element)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The values in the order in which each comes first.
fn append_distinct<'v>(
    list: &mut ListBuilder<StringBuilder>,
    values: impl Iterator<Item = &'v str>,
) {
    let mut in_order: Vec<&str> = Vec::new();
    let mut many: HashSet<&str, FixedState> = HashSet::default();
    for value in values {
        if in_order.len() < FEW {
            if in_order.contains(&value) {
                continue;
            }
        } else {
            if many.is_empty() {
                many.extend(&in_order);
            }
            if !many.insert(value) {
                continue;
            }
        }
        in_order.push(value);
        list.values().append_value(value);
    }
    list.append(true);
}
