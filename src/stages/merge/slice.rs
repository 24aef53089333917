//! One slice of the users: their candidates beside what ODS holds of them, date by date, in one
//! pass in the order of the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as MemoryOrder};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Date32Type, Field};
use deltalake::kernel::Add;

use super::candidates::{CLOSES, CandidateReader, OPENS, PDATE_OF_CANDIDATE, REMOVED};
use super::comparison::{Comparison, DateChange};
use super::conflicts::{ConflictExample, MOST_EXAMPLES};
use super::cursor::{KnownBatch, KnownCursor};
use super::output::DateOutput;
use super::session_changes::SessionChanges;
use crate::engine::functions::null_is_false;
use crate::engine::keyed::{
    ATTRIBUTES, EVENT_ID, IS_USER_ACTION, Key, KeyedBatch, PRODUCT_CODE, TIMESTAMP, USER_ID,
    compare_nulls_last,
};
use crate::lake::TableName;
use crate::lake::rules::newest;
use crate::stages::error::BuildError;
use crate::stages::mapping::{CompiledBook, judged_columns};
use crate::stages::sessions::{
    DeliveryCounts, KeyEvent, Limits, Origin, RemovedEvent, StoredColumns, merge_delivered,
    recompute,
};
use crate::stages::timestamps::date_in;

/// Keys between two looks at whether the run was stopped.
const KEYS_BETWEEN_CHECKS: usize = 1024;

/// The rules of a feed, as a pass needs them.
#[derive(Debug)]
pub(super) struct SliceRules {
    /// The table, for messages.
    pub(super) table: TableName,
    /// Every entry, compiled.
    pub(super) book: Arc<CompiledBook>,
    /// First event date of each session entry, days since 1970; `None` for the first.
    pub(super) session_starts: Vec<Option<i32>>,
    /// First arrival date of each mapping entry.
    pub(super) mapping_starts: Vec<Option<i32>>,
}

impl SliceRules {
    /// The session entry of an event date.
    pub(super) fn session_entry(&self, pdate: i32) -> usize {
        newest(self.session_starts.iter().copied(), pdate)
    }

    /// How many dates an instant may lie before the date its clock shows next: a zone whose clocks
    /// went back across midnight repeats a date.
    pub(super) fn repeated_dates(&self) -> i32 {
        i32::from(self.book.zone != chrono_tz::Tz::UTC)
    }

    fn limits(&self) -> Vec<Limits> {
        let rules = self.book.sessions.iter().map(|entry| &entry.written);
        rules
            .map(|rules| Limits {
                timeout_micros: rules.timeout_micros,
                max_duration_micros: rules.max_duration_micros,
            })
            .collect()
    }

    fn lookback_micros(&self, updated_at: i32) -> i64 {
        self.book.mappings[newest(self.mapping_starts.iter().copied(), updated_at)].lookback_micros
    }

    /// `opens_on` and `closes_on` for every row of a batch of one event date.
    pub(super) fn judge(
        &self,
        batch: &KeyedBatch,
        entry: usize,
        pdate: i32,
    ) -> Result<(BooleanArray, BooleanArray), BuildError> {
        let rows = batch.rows();
        let mut columns: Vec<ArrayRef> = [USER_ID, PRODUCT_CODE, EVENT_ID, TIMESTAMP]
            .into_iter()
            .map(|at| Arc::clone(batch.column(at)))
            .collect();
        columns.push(Arc::new(Date32Array::from(vec![pdate; rows])));
        columns.push(Arc::clone(batch.column(IS_USER_ACTION)));
        let attributes = 0..self.book.attributes.len();
        columns.extend(attributes.map(|at| Arc::clone(batch.column(ATTRIBUTES + at))));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = judged_columns(&self.book.attributes, true);
        let input = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|source| BuildError::Arrow { table: self.table.clone(), source })?;
        let rules = &self.book.sessions[entry];
        let judge = |rule: &crate::engine::expressions::Expression| {
            let (flags, _) = rule.evaluate(&input, &DataType::Boolean).map_err(|source| {
                BuildError::Rows { table: self.table.clone(), source: Box::new(source) }
            })?;
            Ok::<_, BuildError>(null_is_false(flags.as_boolean()))
        };
        Ok((judge(&rules.opens_on)?, judge(&rules.closes_on)?))
    }
}

/// One event date of one slice.
pub(super) struct DateInput {
    /// Days since 1970.
    pub(super) pdate: i32,
    /// What ODS holds, one cursor for each file.
    pub(super) known: Vec<KnownCursor>,
    /// Its successor, for a date that may change.
    pub(super) output: Option<DateOutput>,
}

/// What a slice needs.
pub(super) struct SliceInput {
    pub(super) rules: Arc<SliceRules>,
    pub(super) candidates: CandidateReader,
    /// In the order of the dates.
    pub(super) dates: Vec<DateInput>,
    /// The first event date of ODS behind those at hand.
    pub(super) first_unread: Option<i32>,
    /// Set where the pass compares instead of writing.
    pub(super) comparison: Option<Comparison>,
    /// Set when the run is stopped.
    pub(super) stopped: Arc<AtomicBool>,
}

/// What became of one event date in one slice.
#[derive(Debug)]
pub(super) struct DateResult {
    pub(super) pdate: i32,
    pub(super) adds: Vec<Add>,
    /// Rows of it that are new or differ.
    pub(super) changed_rows: i64,
}

/// What a slice did.
#[derive(Debug, Default)]
pub(super) struct SliceResult {
    pub(super) dates: Vec<DateResult>,
    pub(super) counts: DeliveryCounts,
    pub(super) updated_rows: i64,
    /// The first conflicting duplicates.
    pub(super) conflicts: Vec<ConflictExample>,
    /// Dates that change, but have no output: the pass is to be repeated with them.
    pub(super) missing_outputs: BTreeSet<i32>,
    /// A session may reach into dates that were not read.
    pub(super) reaches_unread: bool,
    /// How event dates differ, where the pass compares.
    pub(super) changes: BTreeMap<i32, DateChange>,
    /// How sessions differ, where the pass compares.
    pub(super) sessions: SessionChanges,
}

/// The pass over one slice.
pub(super) struct SlicePass {
    input: SliceInput,
    limits: Vec<Limits>,
    result: SliceResult,
    changed_rows: Vec<i64>,
    margin_micros: i64,
}

/// Events of the key at hand and the batches they stand in.
#[derive(Default)]
struct KeyRows {
    sources: Vec<Arc<KeyedBatch>>,
    known: Vec<KeyEvent>,
    delivered: Vec<KeyEvent>,
    removed: Vec<RemovedEvent>,
    attributes: usize,
    /// Dates before this one are copied as they are: no change reaches them.
    first_in_scope: i32,
}

impl StoredColumns for KeyRows {
    fn event_id(&self, origin: Origin) -> &str {
        self.sources[origin.batch].event_id(origin.row)
    }

    fn compare_attributes(&self, left: Origin, right: Origin) -> std::cmp::Ordering {
        let column = |origin: Origin, at: usize| self.sources[origin.batch].column(ATTRIBUTES + at);
        (0..self.attributes)
            .map(|at| compare_nulls_last(column(left, at), left.row, column(right, at), right.row))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

impl SlicePass {
    /// A pass at its beginning.
    pub(super) fn new(input: SliceInput) -> Self {
        let limits = input.rules.limits();
        let margin_micros = input.rules.book.margin_micros();
        let changed_rows = vec![0; input.dates.len()];
        Self { input, limits, result: SliceResult::default(), changed_rows, margin_micros }
    }

    /// Goes through all keys; waits for the store, so it has a thread of its own.
    pub(super) fn run(mut self) -> Result<SliceResult, BuildError> {
        match self.all_keys().and_then(|()| self.copy_rest()) {
            Ok(()) => self.close(),
            Err(error) => {
                self.input
                    .dates
                    .into_iter()
                    .filter_map(|date| date.output)
                    .for_each(DateOutput::abort);
                Err(error)
            }
        }
    }

    fn all_keys(&mut self) -> Result<(), BuildError> {
        let mut rows =
            KeyRows { attributes: self.input.rules.book.attributes.len(), ..KeyRows::default() };
        for number in 0.. {
            if number % KEYS_BETWEEN_CHECKS == 0 && self.input.stopped.load(MemoryOrder::Relaxed) {
                return Err(BuildError::Stopped { table: self.input.rules.table.clone() });
            }
            let Some((batch, row)) = self.input.candidates.current() else {
                break;
            };
            let batch = Arc::clone(batch);
            let key = batch.key(row);
            self.take_candidates(key, &mut rows)?;
            self.take_known(key, &mut rows)?;
            self.settle(key, &mut rows)?;
        }
        Ok(())
    }

    /// All candidates of the key; they tell which dates a change can reach.
    fn take_candidates(&mut self, key: Key<'_>, rows: &mut KeyRows) -> Result<(), BuildError> {
        let rules = &self.input.rules;
        let (mut first_date, mut first_instant) = (i32::MAX, i64::MAX);
        self.input.candidates.take(key, |batch, range| {
            let dates = batch.column(PDATE_OF_CANDIDATE + rows.attributes);
            let dates = dates.as_primitive::<Date32Type>();
            let flag = |at: usize| batch.column(at + rows.attributes).as_boolean();
            let (opens, closes, removed) = (flag(OPENS), flag(CLOSES), flag(REMOVED));
            rows.sources.push(Arc::clone(batch));
            for row in range {
                let (pdate, timestamp_micros) = (dates.value(row), batch.timestamp_micros(row));
                let rules_entry = rules.session_entry(pdate);
                first_date = first_date.min(pdate);
                first_instant = first_instant.min(timestamp_micros);
                if removed.value(row) {
                    rows.removed.push(RemovedEvent { timestamp_micros, rules_entry });
                    continue;
                }
                rows.delivered.push(KeyEvent {
                    timestamp_micros,
                    origin: Origin { batch: rows.sources.len() - 1, row },
                    updated_at: batch.updated_at(row),
                    pdate,
                    rules_entry,
                    opens: opens.value(row),
                    closes: closes.value(row),
                    lookback_micros: rules.lookback_micros(batch.updated_at(row)),
                    known: None,
                    is_changed: false,
                    session: crate::stages::sessions::Session::default(),
                });
            }
        })?;
        let reach = first_instant.saturating_sub(self.margin_micros);
        let context = date_in(reach, rules.book.zone).unwrap_or(i32::MIN);
        rows.first_in_scope = context.min(first_date).saturating_sub(rules.repeated_dates());
        Ok(())
    }

    /// Copies the keys before this one, and gathers what ODS holds of it.
    fn take_known(&mut self, key: Key<'_>, rows: &mut KeyRows) -> Result<(), BuildError> {
        for date in &mut self.input.dates {
            date.copy_before(Some(key))?;
            let entry = self.input.rules.session_entry(date.pdate);
            if date.pdate < rows.first_in_scope {
                date.copy_through(key)?;
                continue;
            }
            for cursor in &mut date.known {
                while cursor.key() == Some(key) {
                    let Some((batch, row, end)) = cursor.current() else { break };
                    let behind = batch.keyed.first_behind(row, key).min(end);
                    let batch = Rc::clone(batch);
                    rows.push_known(&self.input.rules, &batch, row..behind, date.pdate, entry)?;
                    cursor.advance_to(behind)?;
                }
            }
        }
        Ok(())
    }

    /// Computes the key and hands its rows to the outputs of their dates.
    fn settle(&mut self, key: Key<'_>, rows: &mut KeyRows) -> Result<(), BuildError> {
        let mut known = std::mem::take(&mut rows.known);
        let mut delivered = std::mem::take(&mut rows.delivered);
        let counts = &mut self.result.counts;
        let wanted = MOST_EXAMPLES.saturating_sub(self.result.conflicts.len());
        let mut conflicts = Vec::new();
        let mut events = merge_delivered(rows, &mut known, &mut delivered, counts, |conflict| {
            if conflicts.len() < wanted {
                conflicts.push(conflict);
            }
        });
        (rows.known, rows.delivered) = (known, delivered);
        let rules = &self.input.rules;
        for conflict in &conflicts {
            let attributes = &rules.book.attributes;
            let example = ConflictExample::of(key, conflict, &rows.sources, attributes);
            let table = || rules.table.clone();
            let example = example.map_err(|source| BuildError::Arrow { table: table(), source })?;
            self.result.conflicts.extend(example);
        }
        recompute(rows, &mut events, &rows.removed, &self.limits);
        if let Some(comparison) = &mut self.input.comparison {
            comparison.key(key, rows.first_in_scope, &events, &rows.sources)?;
        }
        for event in &events {
            let Some(date) = self.date_at(event.pdate) else {
                self.result.missing_outputs.insert(event.pdate);
                continue;
            };
            let is_rewritten = event.is_rewritten();
            if is_rewritten {
                self.changed_rows[date] += 1;
                self.result.updated_rows += i64::from(event.known.is_some());
                self.note_reach(event);
            }
            match &mut self.input.dates[date].output {
                Some(output) => {
                    output.push(
                        &rows.sources[event.origin.batch],
                        event.origin.row,
                        event.session,
                    )?;
                }
                None if is_rewritten => {
                    self.result.missing_outputs.insert(event.pdate);
                }
                None => {}
            }
        }
        rows.sources.clear();
        rows.removed.clear();
        Ok(())
    }

    fn date_at(&self, pdate: i32) -> Option<usize> {
        self.input.dates.binary_search_by_key(&pdate, |date| date.pdate).ok()
    }

    /// A change near the end of what was read may go on in the next date.
    fn note_reach(&mut self, event: &KeyEvent) {
        let Some(first_unread) = self.input.first_unread else {
            return;
        };
        let reach = event.timestamp_micros.saturating_add(self.margin_micros);
        let date = date_in(reach, self.input.rules.book.zone).unwrap_or(i32::MAX);
        let repeated = self.input.rules.repeated_dates();
        self.result.reaches_unread |= date.saturating_add(repeated) >= first_unread;
    }

    fn copy_rest(&mut self) -> Result<(), BuildError> {
        self.input.dates.iter_mut().try_for_each(|date| date.copy_before(None))
    }

    fn close(self) -> Result<SliceResult, BuildError> {
        let mut result = self.result;
        if let Some(comparison) = self.input.comparison {
            let compared = comparison.finish()?;
            result.changes = compared.dates;
            result.sessions = compared.sessions;
            result.missing_outputs.extend(compared.missing);
        }
        for (date, changed_rows) in self.input.dates.into_iter().zip(self.changed_rows) {
            let pdate = date.pdate;
            if let Some(output) = date.output {
                result.dates.push(DateResult { pdate, adds: output.close()?, changed_rows });
            }
        }
        Ok(result)
    }
}

impl KeyRows {
    fn push_known(
        &mut self,
        rules: &SliceRules,
        batch: &Rc<KnownBatch>,
        range: std::ops::Range<usize>,
        pdate: i32,
        rules_entry: usize,
    ) -> Result<(), BuildError> {
        self.sources.push(Arc::clone(&batch.keyed));
        let number = self.sources.len() - 1;
        let (opens, closes) = batch.flags(rules, rules_entry, pdate)?;
        for row in range {
            let session = batch.session(self.attributes, row);
            let updated_at = batch.keyed.updated_at(row);
            self.known.push(KeyEvent {
                timestamp_micros: batch.keyed.timestamp_micros(row),
                origin: Origin { batch: number, row },
                updated_at,
                pdate,
                rules_entry,
                opens: opens.value(row),
                closes: closes.value(row),
                lookback_micros: rules.lookback_micros(updated_at),
                known: Some(session),
                is_changed: false,
                session,
            });
        }
        Ok(())
    }
}

impl DateInput {
    /// Copies rows up to `key`; all that are left without one.
    pub(super) fn copy_before(&mut self, key: Option<Key<'_>>) -> Result<(), BuildError> {
        if self.known.len() > 1 {
            return self.copy_interleaved(key, false);
        }
        self.copy_while(|batch, row| match key {
            Some(key) => batch.first_not_before(row, key),
            None => batch.rows(),
        })
    }

    /// Copies the rows of `key`, which no change reaches.
    fn copy_through(&mut self, key: Key<'_>) -> Result<(), BuildError> {
        if self.known.len() > 1 {
            return self.copy_interleaved(Some(key), true);
        }
        self.copy_while(|batch, row| batch.first_behind(row, key))
    }

    /// Copies rows of the only file, as far as `until` says for each batch.
    fn copy_while(
        &mut self,
        until: impl Fn(&KeyedBatch, usize) -> usize,
    ) -> Result<(), BuildError> {
        let Some(cursor) = self.known.first_mut() else {
            return Ok(());
        };
        while let Some((batch, row, end)) = cursor.current() {
            let until = until(&batch.keyed, row).min(end);
            if until == row {
                break;
            }
            if let Some(output) = &mut self.output {
                output.copy(&batch.keyed, row, until)?;
            }
            cursor.advance_to(until)?;
        }
        Ok(())
    }

    /// The same for rows of several files, which interleave: one row after the other.
    fn copy_interleaved(&mut self, key: Option<Key<'_>>, with_key: bool) -> Result<(), BuildError> {
        while let Some(at) = self.first_cursor(key, with_key) {
            self.copy_row(at)?;
        }
        Ok(())
    }

    fn copy_row(&mut self, at: usize) -> Result<(), BuildError> {
        let cursor = &mut self.known[at];
        let Some((batch, row, _)) = cursor.current() else {
            return Ok(());
        };
        if let Some(output) = &mut self.output {
            output.copy(&batch.keyed, row, row + 1)?;
        }
        cursor.advance_to(row + 1)
    }

    /// The cursor with the first row in the order of ODS, among keys before `key` (or up to it).
    fn first_cursor(&self, key: Option<Key<'_>>, with_key: bool) -> Option<usize> {
        let order = |cursor: &KnownCursor| {
            let (batch, row, _) = cursor.current()?;
            let current = batch.keyed.key(row);
            let within = key.is_none_or(|key| current < key || (with_key && current == key));
            within.then_some(())
        };
        let candidates = (0..self.known.len()).filter(|at| order(&self.known[*at]).is_some());
        candidates.min_by(|left, right| {
            let rank = |at: usize| {
                let (batch, row, _) = self.known[at].current()?;
                let keyed = &batch.keyed;
                Some((keyed.key(row), keyed.timestamp_micros(row), keyed.event_id(row)))
            };
            rank(*left).cmp(&rank(*right))
        })
    }
}

/// The columns of a batch of ODS as the pass reads it.
pub(super) fn known_columns(attributes: &[Field]) -> arrow::datatypes::SchemaRef {
    use crate::lake::contracts::{ods_stored, timestamp_type};
    let mut fields = ods_stored(attributes);
    fields.push(Field::new("time_diff_ms", DataType::Int64, true));
    fields.push(Field::new("session_start", timestamp_type(), true));
    Arc::new(arrow::datatypes::Schema::new(fields))
}
