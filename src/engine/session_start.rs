//! `session_start(timestamp, opens, closes, carried_start, timeout, max_duration)`: the start of
//! the session each event belongs to, in one pass over the rows of a key.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DurationMicrosecondArray, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Field, FieldRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The window function, to be registered with a context.
///
/// Rows of a partition must be ordered by `timestamp`; what else the order says does not matter,
/// because rules judge instants: all rows of one timestamp share break and session.
///
/// | argument | type | meaning |
/// |---|---|---|
/// | `timestamp` | timestamp | instant of the event |
/// | `opens` | boolean | the event may open a session; null is false |
/// | `closes` | boolean | the event ends its session; null is false |
/// | `carried_start` | timestamp | of the first instant alone: the session it is known to belong to |
/// | `timeout` | interval | a longer gap is a break; null: no gap is one |
/// | `max_duration` | interval | an instant later than this after the start is a break; null: none is |
///
/// Returns the session's start (timestamp), null for an event without a session.
pub fn session_start_udwf() -> WindowUDF {
    WindowUDF::from(SessionStart { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionStart {
    signature: Signature,
}

impl WindowUDFImpl for SessionStart {
    fn name(&self) -> &'static str {
        "session_start"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if arg_types.len() != 6 {
            return plan_err!(
                "session_start takes (timestamp, opens, closes, carried_start, timeout, \
                 max_duration), found {} arguments",
                arg_types.len()
            );
        }
        Ok(vec![
            timestamp_type(),
            DataType::Boolean,
            DataType::Boolean,
            timestamp_type(),
            DataType::Duration(TimeUnit::Microsecond),
            DataType::Duration(TimeUnit::Microsecond),
        ])
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SessionStartEvaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), timestamp_type(), true)))
    }
}

#[derive(Debug)]
struct SessionStartEvaluator;

impl PartitionEvaluator for SessionStartEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        let [timestamps, opens, closes, carried, timeouts, max_durations] = values else {
            return exec_err!("session_start takes six arguments, found {}", values.len());
        };
        if timestamps.null_count() > 0 {
            return exec_err!("session_start: the timestamp of an event must not be null");
        }
        let rows = Rows {
            timestamps: timestamps.as_primitive::<TimestampMicrosecondType>(),
            opens: opens.as_boolean(),
            closes: closes.as_boolean(),
            carried: carried.as_primitive::<TimestampMicrosecondType>(),
            timeouts: timeouts.as_primitive::<DurationMicrosecondType>(),
            max_durations: max_durations.as_primitive::<DurationMicrosecondType>(),
        };
        Ok(Arc::new(rows.session_starts(num_rows).with_timezone("UTC")))
    }
}

/// The rows of one partition.
struct Rows<'a> {
    timestamps: &'a TimestampMicrosecondArray,
    opens: &'a BooleanArray,
    closes: &'a BooleanArray,
    carried: &'a TimestampMicrosecondArray,
    timeouts: &'a DurationMicrosecondArray,
    max_durations: &'a DurationMicrosecondArray,
}

/// What the next instant needs to know of the previous one.
struct Previous {
    timestamp: i64,
    closed: bool,
}

impl Rows<'_> {
    fn session_starts(&self, rows: usize) -> TimestampMicrosecondArray {
        let mut starts = TimestampMicrosecondBuilder::with_capacity(rows);
        let mut previous: Option<Previous> = None;
        let mut open: Option<i64> = None;
        let mut next = 0;
        while next < rows {
            let instant = self.instant_at(next, rows);
            let timestamp = self.timestamps.value(next);
            open = match &previous {
                None => self.carried_into(&instant),
                Some(previous) if self.breaks(next, previous, open) => None,
                Some(_) => open,
            };
            if open.is_none() && any(self.opens, &instant) {
                open = Some(timestamp);
            }
            for _ in instant.clone() {
                starts.append_option(open);
            }
            previous = Some(Previous { timestamp, closed: any(self.closes, &instant) });
            next = instant.end;
        }
        starts.finish()
    }

    fn instant_at(&self, first: usize, rows: usize) -> Range<usize> {
        let timestamps = self.timestamps.values();
        let same = timestamps[first..rows].iter().take_while(|t| **t == timestamps[first]).count();
        first..first + same
    }

    fn carried_into(&self, instant: &Range<usize>) -> Option<i64> {
        instant.clone().find(|row| self.carried.is_valid(*row)).map(|row| self.carried.value(row))
    }

    fn breaks(&self, row: usize, previous: &Previous, open: Option<i64>) -> bool {
        let timestamp = self.timestamps.value(row);
        let exceeds = |limit: &DurationMicrosecondArray, since: i64| {
            limit.is_valid(row) && timestamp.saturating_sub(since) > limit.value(row)
        };
        previous.closed
            || exceeds(self.timeouts, previous.timestamp)
            || open.is_some_and(|start| exceeds(self.max_durations, start))
    }
}

fn any(flags: &BooleanArray, rows: &Range<usize>) -> bool {
    rows.clone().any(|row| flags.is_valid(row) && flags.value(row))
}
