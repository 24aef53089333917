//! Candidate events in key order: the sorted runs of one build, merged as they are read.
//!
//! A candidate has the stored columns, then the four that follow; the positions below count from
//! the number of attributes.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::engine::keyed::{ATTRIBUTES, Key, KeyedBatch};
use crate::engine::runs::{RunError, RunReader, SortedRun};
use crate::lake::contracts;

/// Position of the event date.
pub(crate) const PDATE_OF_CANDIDATE: usize = ATTRIBUTES;
/// Position of the verdict of `opens_on`.
pub(crate) const OPENS: usize = ATTRIBUTES + 1;
/// Position of the verdict of `closes_on`.
pub(crate) const CLOSES: usize = ATTRIBUTES + 2;
/// Position of the mark of an event that leaves ODS.
pub(crate) const REMOVED: usize = ATTRIBUTES + 3;

/// The columns of a candidate event.
pub fn candidate_schema(attributes: &[Field]) -> SchemaRef {
    let mut fields = contracts::ods_stored(attributes);
    fields.push(Field::new(contracts::PDATE, DataType::Date32, false));
    fields.extend(
        ["opens", "closes", "removed"].map(|name| Field::new(name, DataType::Boolean, false)),
    );
    Arc::new(Schema::new(fields))
}

/// A position among the candidates of one slice of users.
pub(super) struct CandidateReader {
    readers: Vec<RunReader>,
    /// Those that are not at their end, in the order of their current keys.
    order: Vec<usize>,
}

impl CandidateReader {
    /// At the first candidate whose user lies in `[from, to)`.
    pub(super) fn new(
        runs: &[Arc<SortedRun>],
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Self, RunError> {
        let readers: Vec<RunReader> =
            runs.iter().map(|run| run.read(from, to)).collect::<Result<_, _>>()?;
        let mut reader = Self { readers, order: Vec::new() };
        for number in 0..reader.readers.len() {
            reader.enqueue(number);
        }
        Ok(reader)
    }

    /// The batch and row of the first candidate that was not taken.
    pub(super) fn current(&self) -> Option<(&Arc<KeyedBatch>, usize)> {
        self.readers[*self.order.first()?].current()
    }

    /// Takes every candidate of `key`, which is the current one, in no particular order.
    pub(super) fn take(
        &mut self,
        key: Key<'_>,
        mut each: impl FnMut(&Arc<KeyedBatch>, Range<usize>),
    ) -> Result<(), RunError> {
        while let Some(number) = self.order.first().copied() {
            let reader = &mut self.readers[number];
            let mut found = false;
            while let Some((batch, row)) = reader.current() {
                let behind = batch.first_behind(row, key).min(reader.batch_end());
                if behind == row {
                    break;
                }
                found = true;
                each(batch, row..behind);
                reader.advance_to(behind)?;
            }
            if !found {
                break;
            }
            self.order.remove(0);
            self.enqueue(number);
        }
        Ok(())
    }

    fn enqueue(&mut self, number: usize) {
        let key = |reader: usize| self.readers[reader].current().map(|(batch, row)| batch.key(row));
        let Some(new) = key(number) else {
            return;
        };
        let at = self.order.partition_point(|other| key(*other).is_some_and(|key| key <= new));
        self.order.insert(at, number);
    }
}
