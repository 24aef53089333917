//! One slice of the users: their events date by date, in one pass in the order of the keys, and the
//! sessions that begin on the dates that are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as MemoryOrder};

use arrow::array::{Array as _, AsArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use chrono_tz::Tz;
use deltalake::kernel::Add;

use super::columns::{Event, SessionColumns};
use crate::engine::keyed::{ATTRIBUTES, Key, KeyedBatch};
use crate::lake::LakeError;
use crate::lake::contracts::SESSION_FILES;
use crate::lake::sorted_files::FileAccess;
use crate::lake::sorted_writer::SortedWriter;
use crate::stages::error::BuildError;
use crate::stages::merge::cursor::KnownCursor;
use crate::stages::merge::known_files::{KnownFile, KnownRows, Unsorted};
use crate::stages::timestamps::date_in;

/// Keys between two looks at whether the run was stopped.
const KEYS_BETWEEN_CHECKS: usize = 1024;
/// Sessions handed to the encoder at a time.
const BATCH_ROWS: usize = 4 * 1024;

/// A slice as values: what it reads and what it writes.
pub(super) struct Slice {
    pub(super) ods: FileAccess,
    pub(super) sessions: FileAccess,
    /// The columns of ODS that are read: the stored ones, of the attributes the one whose values are
    /// listed, as text; then `session_start`.
    pub(super) stored: SchemaRef,
    pub(super) file_schema: SchemaRef,
    /// Files of each event date.
    pub(super) dates: Vec<(i32, Vec<KnownFile>)>,
    pub(super) unsorted: Arc<Unsorted>,
    /// The session dates that are written.
    pub(super) written: Arc<BTreeSet<i32>>,
    pub(super) users: (Option<String>, Option<String>),
    pub(super) group_rows: usize,
    pub(super) zone: Tz,
    pub(super) has_distinct: bool,
    /// Set when the run is stopped.
    pub(super) stopped: Arc<AtomicBool>,
}

/// What a slice wrote.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) adds: Vec<Add>,
    pub(super) sessions: i64,
}

/// Sessions that begin on one date.
struct Output {
    columns: SessionColumns,
    writer: SortedWriter,
}

/// The pass at work.
struct Pass<'s> {
    slice: &'s Slice,
    outputs: BTreeMap<i32, Output>,
    written: Written,
    /// Events of the key at hand and the batches they stand in.
    events: Vec<Event>,
    batches: Vec<Arc<KeyedBatch>>,
}

impl Slice {
    /// Goes through all keys; waits for the store, so it has a thread of its own.
    pub(super) fn run(self) -> Result<Written, BuildError> {
        let mut pass = Pass {
            slice: &self,
            outputs: BTreeMap::new(),
            written: Written::default(),
            events: Vec::new(),
            batches: Vec::new(),
        };
        match pass.all_keys() {
            Ok(()) => pass.close(),
            Err(error) => {
                pass.outputs.into_values().for_each(|output| output.writer.abort());
                Err(error)
            }
        }
    }

    fn cursors(&self) -> Result<Vec<(i32, KnownCursor)>, BuildError> {
        let users = (self.users.0.as_deref(), self.users.1.as_deref());
        let known = KnownRows { access: &self.ods, stored: &self.stored, delivered_before: None };
        let mut cursors = Vec::new();
        for (date, files) in &self.dates {
            let of_date = known.cursors(files, &self.unsorted, users)?;
            cursors.extend(of_date.into_iter().map(|cursor| (*date, cursor)));
        }
        Ok(cursors)
    }

    fn rows_error(&self, source: arrow::error::ArrowError) -> LakeError {
        LakeError::Rows { table: self.sessions.table.clone(), source }
    }
}

impl Pass<'_> {
    fn all_keys(&mut self) -> Result<(), BuildError> {
        let mut cursors = self.slice.cursors()?;
        for number in 0.. {
            if number % KEYS_BETWEEN_CHECKS == 0 && self.slice.stopped.load(MemoryOrder::Relaxed) {
                let table = self.slice.sessions.table.clone();
                return Err(BuildError::Stopped { table });
            }
            let first = cursors.iter().filter(|(_, cursor)| cursor.key().is_some());
            let Some((_, first)) = first.min_by(|left, right| left.1.key().cmp(&right.1.key()))
            else {
                break;
            };
            let Some((batch, row, _)) = first.current() else { break };
            let (batch, row) = (Rc::clone(batch), row);
            let key = batch.keyed.key(row);
            for (pdate, cursor) in &mut cursors {
                self.take(key, *pdate, cursor)?;
            }
            self.settle(key)?;
        }
        Ok(())
    }

    /// All rows of the key that belong to a session.
    fn take(
        &mut self,
        key: Key<'_>,
        pdate: i32,
        cursor: &mut KnownCursor,
    ) -> Result<(), BuildError> {
        while cursor.key() == Some(key) {
            let Some((batch, row, end)) = cursor.current() else { break };
            let keyed = Arc::clone(&batch.keyed);
            let behind = keyed.first_behind(row, key).min(end);
            let at = ATTRIBUTES + usize::from(self.slice.has_distinct);
            let starts = keyed.column(at).as_primitive::<TimestampMicrosecondType>();
            let batch = self.batches.len();
            let rows = (row..behind).filter(|row| starts.is_valid(*row));
            self.events.extend(rows.map(|row| Event {
                session_start: starts.value(row),
                timestamp: keyed.timestamp_micros(row),
                batch,
                row,
                pdate,
            }));
            self.batches.push(keyed);
            cursor.advance_to(behind)?;
        }
        Ok(())
    }

    /// Hands the sessions of the key to the outputs of their dates.
    fn settle(&mut self, key: Key<'_>) -> Result<(), BuildError> {
        let mut events = std::mem::take(&mut self.events);
        let batches = std::mem::take(&mut self.batches);
        let event_id = |event: &Event| batches[event.batch].event_id(event.row);
        let order = |left: &Event, right: &Event| {
            (left.session_start, left.timestamp)
                .cmp(&(right.session_start, right.timestamp))
                .then_with(|| event_id(left).cmp(event_id(right)))
        };
        // They are in order but where the files of a date, or two dates, interleave.
        if !events.is_sorted_by(|left, right| order(left, right).is_le()) {
            events.sort_unstable_by(order);
        }
        for session in events.chunk_by(|one, next| one.session_start == next.session_start) {
            self.write(key, session, &batches)?;
        }
        events.clear();
        self.events = events;
        self.batches = batches;
        self.batches.clear();
        Ok(())
    }

    fn write(
        &mut self,
        key: Key<'_>,
        session: &[Event],
        batches: &[Arc<KeyedBatch>],
    ) -> Result<(), BuildError> {
        let slice = self.slice;
        // A session that began on a date that is not read began earlier than its first event here.
        let date = match session.first() {
            Some(first) if first.timestamp == first.session_start => Some(first.pdate),
            Some(first) => date_in(first.session_start, slice.zone),
            None => None,
        };
        let Some(date) = date.filter(|date| slice.written.contains(date)) else {
            return Ok(());
        };
        let output = match self.outputs.entry(date) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(slice.output(date)?),
        };
        output.columns.push(key, session, batches);
        self.written.sessions += 1;
        if output.columns.rows() >= BATCH_ROWS {
            output.flush(slice)?;
        }
        Ok(())
    }

    fn close(self) -> Result<Written, BuildError> {
        let mut written = self.written;
        for mut output in self.outputs.into_values() {
            output.flush(self.slice)?;
            written.adds.extend(output.writer.close()?);
        }
        Ok(written)
    }
}

impl Slice {
    fn output(&self, date: i32) -> Result<Output, LakeError> {
        let writer = SortedWriter::new(
            &self.sessions,
            &SESSION_FILES,
            &self.file_schema,
            date,
            self.users.0.as_deref(),
            self.group_rows,
        )?;
        Ok(Output { columns: SessionColumns::new(self.has_distinct), writer })
    }
}

impl Output {
    fn flush(&mut self, slice: &Slice) -> Result<(), LakeError> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let batch = self.columns.finish(&slice.file_schema);
        self.writer.write(&batch.map_err(|source| slice.rows_error(source))?)
    }
}
