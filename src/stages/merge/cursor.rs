//! Rows of ODS in key order: one cursor for each file of a date, or for each run into which
//! unsorted files were sorted.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int32Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::lt;
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::engine::keyed::{ATTRIBUTES, Key, KeyedBatch, UPDATED_AT};
use crate::engine::runs::RunReader;
use crate::lake::TableName;
use crate::lake::sorted_files::FileReader;
use crate::stages::error::BuildError;
use crate::stages::sessions::Session;

use super::slice::SliceRules;

/// A batch of ODS: the stored columns, then those that whoever reads it asks for; a merge for
/// `time_diff_ms` and `session_start`.
#[derive(Debug)]
pub(in crate::stages) struct KnownBatch {
    pub(in crate::stages) keyed: Arc<KeyedBatch>,
    flags: OnceCell<(BooleanArray, BooleanArray)>,
}

impl KnownBatch {
    fn new(keyed: Arc<KeyedBatch>) -> Rc<Self> {
        Rc::new(Self { keyed, flags: OnceCell::new() })
    }

    /// Whether the row opens and closes sessions, judged by the rules of its date. Only batches
    /// with a key in scope are judged.
    pub(super) fn flags(
        &self,
        rules: &SliceRules,
        entry: usize,
        pdate: i32,
    ) -> Result<&(BooleanArray, BooleanArray), BuildError> {
        if let Some(flags) = self.flags.get() {
            return Ok(flags);
        }
        let flags = rules.judge(&self.keyed, entry, pdate)?;
        Ok(self.flags.get_or_init(|| flags))
    }

    /// The session that ODS holds for a row.
    pub(super) fn session(&self, attributes: usize, row: usize) -> Session {
        let at = ATTRIBUTES + attributes;
        let diffs = self.keyed.column(at).as_primitive::<Int64Type>();
        let starts = self.keyed.column(at + 1).as_primitive::<TimestampMicrosecondType>();
        Session {
            start_micros: valid(starts, row).then(|| starts.value(row)),
            time_diff_ms: valid(diffs, row).then(|| diffs.value(row)),
        }
    }
}

fn valid<T: arrow::datatypes::ArrowPrimitiveType>(
    array: &arrow::array::PrimitiveArray<T>,
    row: usize,
) -> bool {
    arrow::array::Array::is_valid(array, row)
}

/// Where the rows come from.
pub(super) enum Source {
    /// A sorted file; rows delivered on or after the date are left out.
    File { reader: Box<FileReader>, delivered_before: Option<i32>, table: TableName },
    /// A sorted run of a file that was not.
    Run(Box<RunReader>),
}

/// A position among the rows of one file.
pub(in crate::stages) struct KnownCursor {
    source: Source,
    from: Option<String>,
    to: Option<String>,
    batch: Option<Rc<KnownBatch>>,
    row: usize,
    end: usize,
}

impl KnownCursor {
    /// At the first row whose user lies in `[from, to)`.
    pub(super) fn new(
        source: Source,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Self, BuildError> {
        let mut cursor = Self {
            source,
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            batch: None,
            row: 0,
            end: 0,
        };
        cursor.next_batch()?;
        Ok(cursor)
    }

    /// The current batch, its current row and the end of what is to be read of it.
    pub(in crate::stages) fn current(&self) -> Option<(&Rc<KnownBatch>, usize, usize)> {
        self.batch.as_ref().map(|batch| (batch, self.row, self.end))
    }

    /// The key of the current row.
    pub(in crate::stages) fn key(&self) -> Option<Key<'_>> {
        self.batch.as_ref().map(|batch| batch.keyed.key(self.row))
    }

    /// Goes on to `row` of the current batch, or to the next batch at its end.
    pub(in crate::stages) fn advance_to(&mut self, row: usize) -> Result<(), BuildError> {
        self.row = row;
        if self.row < self.end {
            return Ok(());
        }
        if self.batch.as_ref().is_some_and(|batch| self.end < batch.keyed.rows()) {
            // The batch goes on with users of the next slice.
            self.batch = None;
            return Ok(());
        }
        self.next_batch()
    }

    fn next_batch(&mut self) -> Result<(), BuildError> {
        self.batch = None;
        while let Some((keyed, first, end)) = self.source.next()? {
            let first = match &self.from {
                Some(user) => keyed.first_of_user(first, user).min(end),
                None => first,
            };
            let to = match &self.to {
                Some(user) => keyed.first_of_user(first, user).min(end),
                None => end,
            };
            if first < to {
                self.from = None;
                self.row = first;
                self.end = to;
                self.batch = Some(KnownBatch::new(keyed));
                return Ok(());
            }
            if to < end {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<(Arc<KeyedBatch>, usize, usize)>, BuildError> {
        match self {
            Self::File { reader, delivered_before, table } => {
                let Some(batch) = reader.next_batch()? else {
                    return Ok(None);
                };
                let rows = |source| BuildError::Arrow { table: table.clone(), source };
                let batch = kept(batch, *delivered_before).map_err(rows)?;
                let keyed = KeyedBatch::try_new(&batch).map_err(rows)?;
                let rows = keyed.rows();
                Ok(Some((Arc::new(keyed), 0, rows)))
            }
            Self::Run(reader) => {
                let end = reader.batch_end();
                let Some((batch, row)) = reader.current() else {
                    return Ok(None);
                };
                let batch = Arc::clone(batch);
                reader.advance_to(end)?;
                Ok(Some((batch, row, end)))
            }
        }
    }
}

/// The rows delivered before a date; all of them without one.
pub(super) fn kept(
    batch: RecordBatch,
    delivered_before: Option<i32>,
) -> Result<RecordBatch, ArrowError> {
    let Some(date) = delivered_before else {
        return Ok(batch);
    };
    let days = batch.column(UPDATED_AT).as_primitive::<Date32Type>();
    let days: Int32Array = days.reinterpret_cast();
    filter_record_batch(&batch, &lt(&days, &Int32Array::new_scalar(date))?)
}
