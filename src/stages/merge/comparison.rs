//! What a pass would change: the rows of ODS as they are beside those that come out, key by key.
//!
//! The files are read a second time, as they are: the pass itself does not see what a reprocess
//! throws away before it begins. Memory holds a batch of each file and the rows of one key.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::AsArray;
use chrono_tz::Tz;

use super::cursor::KnownCursor;
use super::session_changes::{Move, SessionChanges};
use crate::engine::keyed::{ATTRIBUTES, IS_USER_ACTION, Key, KeyedBatch, compare_nulls_last};
use crate::stages::error::BuildError;
use crate::stages::sessions::{KeyEvent, Session};
use crate::stages::timestamps::date_in;

/// How one event date of ODS differs between two versions.
///
/// A session counts on the event date of its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DateChange {
    /// Events that the newer version alone holds.
    pub events_new: i64,
    /// Events of both, with another value in some column.
    pub events_changed: i64,
    /// Events that the older version alone holds.
    pub events_removed: i64,
    /// Sessions of the older version.
    pub sessions_before: i64,
    /// Sessions of the newer version.
    pub sessions_after: i64,
    /// Sessions of either that hold other events in the other, or are not there at all.
    pub sessions_changed: i64,
}

impl DateChange {
    /// Whether the two versions differ.
    pub fn is_any(&self) -> bool {
        self.events_new + self.events_changed + self.events_removed + self.sessions_changed > 0
    }

    /// Both together: of two slices of a date, or of two dates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            events_new: self.events_new + other.events_new,
            events_changed: self.events_changed + other.events_changed,
            events_removed: self.events_removed + other.events_removed,
            sessions_before: self.sessions_before + other.sessions_before,
            sessions_after: self.sessions_after + other.sessions_after,
            sessions_changed: self.sessions_changed + other.sessions_changed,
        }
    }
}

/// What a comparison came to.
pub(super) struct Compared {
    /// How each event date differs, days since 1970.
    pub(super) dates: BTreeMap<i32, DateChange>,
    /// How the sessions differ.
    pub(super) sessions: SessionChanges,
    /// Dates to be read as well, for the comparison to be whole.
    pub(super) missing: BTreeSet<i32>,
}

/// One event date of ODS as it is.
pub(super) struct OldDate {
    /// Days since 1970.
    pub(super) pdate: i32,
    /// All its rows go, whatever comes of its keys.
    pub(super) is_discarded: bool,
    /// One cursor for each file.
    pub(super) rows: Vec<KnownCursor>,
}

/// A row of ODS as it is.
struct OldEvent {
    pdate: i32,
    /// Its date goes, so that the pass recomputes it.
    is_discarded: bool,
    /// The new rows of its key stand beside it; any other stays as it is.
    is_compared: bool,
    session: Session,
    batch: Arc<KeyedBatch>,
    row: usize,
}

impl OldEvent {
    fn timestamp_micros(&self) -> i64 {
        self.batch.timestamp_micros(self.row)
    }

    fn event_id(&self) -> &str {
        self.batch.event_id(self.row)
    }
}

/// The rows of one slice as they are, and how the new ones differ so far.
pub(super) struct Comparison {
    dates: Vec<OldDate>,
    /// Dates of ODS that are not among them.
    unread: BTreeSet<i32>,
    attributes: usize,
    zone: Tz,
    changes: BTreeMap<i32, DateChange>,
    sessions: SessionChanges,
    /// Dates to be read as well: a session that began there changes.
    missing: BTreeSet<i32>,
}

impl Comparison {
    /// Nothing compared yet; `dates` are in order.
    pub(super) fn new(
        dates: Vec<OldDate>,
        unread: BTreeSet<i32>,
        attributes: usize,
        zone: Tz,
    ) -> Self {
        let (changes, sessions) = (BTreeMap::new(), SessionChanges::default());
        Self { dates, unread, attributes, zone, changes, sessions, missing: BTreeSet::new() }
    }

    /// Compares the new `events` of a key, which are all it has from the date `first_in_scope` on,
    /// with the old ones; the keys before it have no new events.
    pub(super) fn key(
        &mut self,
        key: Key<'_>,
        first_in_scope: i32,
        events: &[KeyEvent],
        sources: &[Arc<KeyedBatch>],
    ) -> Result<(), BuildError> {
        self.keys_before(Some(key))?;
        let old = self.take(key, first_in_scope)?;
        let moves = self.settle(&old, events, sources);
        self.sessions.key(key, &moves, self.zone);
        Ok(())
    }

    /// The keys behind the last one that has new events.
    pub(super) fn finish(mut self) -> Result<Compared, BuildError> {
        self.keys_before(None)?;
        Ok(Compared { dates: self.changes, sessions: self.sessions, missing: self.missing })
    }

    fn keys_before(&mut self, end: Option<Key<'_>>) -> Result<(), BuildError> {
        while let Some((batch, row)) = self.first_row(end) {
            let key = batch.key(row);
            let old = self.take(key, i32::MAX)?;
            let moves = self.settle(&old, &[], &[]);
            self.sessions.key(key, &moves, self.zone);
        }
        Ok(())
    }

    /// The row with the first key of all dates, if that is before `end`.
    fn first_row(&self, end: Option<Key<'_>>) -> Option<(Arc<KeyedBatch>, usize)> {
        let cursors = self.dates.iter().flat_map(|date| &date.rows);
        let first =
            cursors.filter(|cursor| cursor.key().is_some()).min_by_key(|cursor| cursor.key())?;
        let (batch, row, _) = first.current()?;
        let is_before = end.is_none_or(|end| batch.keyed.key(row) < end);
        is_before.then(|| (Arc::clone(&batch.keyed), row))
    }

    /// All old rows of a key, in the order (`timestamp`, `event_id`).
    fn take(&mut self, key: Key<'_>, first_in_scope: i32) -> Result<Vec<OldEvent>, BuildError> {
        let mut old = Vec::new();
        for OldDate { pdate, is_discarded, rows } in &mut self.dates {
            let is_compared = *is_discarded || *pdate >= first_in_scope;
            for cursor in rows {
                while cursor.key() == Some(key) {
                    let Some((batch, first, end)) = cursor.current() else { break };
                    let behind = batch.keyed.first_behind(first, key).min(end);
                    old.extend((first..behind).map(|row| OldEvent {
                        pdate: *pdate,
                        is_discarded: *is_discarded,
                        is_compared,
                        session: batch.session(self.attributes, row),
                        batch: Arc::clone(&batch.keyed),
                        row,
                    }));
                    cursor.advance_to(behind)?;
                }
            }
        }
        old.sort_by(|left, right| {
            let times = left.timestamp_micros().cmp(&right.timestamp_micros());
            times.then_with(|| left.event_id().cmp(right.event_id()))
        });
        Ok(old)
    }

    /// Counts how a key differs; gives back its events that are compared.
    fn settle(
        &mut self,
        old: &[OldEvent],
        events: &[KeyEvent],
        sources: &[Arc<KeyedBatch>],
    ) -> Vec<Move> {
        self.count_sessions(old, events);
        let mut moves = Vec::with_capacity(events.len());
        let mut touched: BTreeSet<i64> = BTreeSet::new();
        let mut new = events.iter().peekable();
        let order = |event: &KeyEvent, old: &OldEvent| {
            let event_id = sources[event.origin.batch].event_id(event.origin.row);
            let times = event.timestamp_micros.cmp(&old.timestamp_micros());
            times.then_with(|| event_id.cmp(old.event_id()))
        };
        for old in old.iter().filter(|old| old.is_compared) {
            while let Some(event) = new.next_if(|event| order(event, old).is_lt()) {
                self.changes.entry(event.pdate).or_default().events_new += 1;
                touched.extend(event.session.start_micros);
                moves.push(appeared(event));
            }
            let Some(event) = new.next_if(|event| order(event, old).is_eq()) else {
                self.changes.entry(old.pdate).or_default().events_removed += 1;
                touched.extend(old.session.start_micros);
                let before = old.session.start_micros;
                moves.push(Move { pdate: old.pdate, is_recomputed: true, before, after: None });
                continue;
            };
            moves.push(Move {
                pdate: event.pdate,
                is_recomputed: old.is_discarded,
                before: old.session.start_micros,
                after: event.session.start_micros,
            });
            if self.differs(old, event, &sources[event.origin.batch]) {
                self.changes.entry(event.pdate).or_default().events_changed += 1;
                touched.extend(old.session.start_micros);
                touched.extend(event.session.start_micros);
            }
        }
        for event in new {
            self.changes.entry(event.pdate).or_default().events_new += 1;
            touched.extend(event.session.start_micros);
            moves.push(appeared(event));
        }
        for start_micros in touched {
            let Some(date) = date_in(start_micros, self.zone) else { continue };
            self.changes.entry(date).or_default().sessions_changed += 1;
            if self.unread.contains(&date) {
                self.missing.insert(date);
            }
        }
        moves
    }

    fn differs(&self, old: &OldEvent, event: &KeyEvent, batch: &KeyedBatch) -> bool {
        let flag = |batch: &KeyedBatch, row| batch.column(IS_USER_ACTION).as_boolean().value(row);
        let attributes = ATTRIBUTES..ATTRIBUTES + self.attributes;
        old.session != event.session
            || old.batch.updated_at(old.row) != event.updated_at
            || flag(&old.batch, old.row) != flag(batch, event.origin.row)
            || attributes.into_iter().any(|at| {
                let (left, right) = (old.batch.column(at), batch.column(at));
                compare_nulls_last(left, old.row, right, event.origin.row) != Ordering::Equal
            })
    }

    /// A session begins at an instant that carries its own time as `session_start`.
    fn count_sessions(&mut self, old: &[OldEvent], events: &[KeyEvent]) {
        let starts = old.iter().map(|event| (event, event.timestamp_micros()));
        let mut counted = None;
        for (event, instant) in starts {
            if event.session.start_micros == Some(instant)
                && counted.replace(instant) != Some(instant)
            {
                let change = self.changes.entry(event.pdate).or_default();
                change.sessions_before += 1;
                change.sessions_after += i64::from(!event.is_compared);
            }
        }
        let mut counted = None;
        for event in events {
            let instant = event.timestamp_micros;
            if event.session.start_micros == Some(instant)
                && counted.replace(instant) != Some(instant)
            {
                self.changes.entry(event.pdate).or_default().sessions_after += 1;
            }
        }
    }
}

/// An event that the newer version alone holds.
fn appeared(event: &KeyEvent) -> Move {
    let after = event.session.start_micros;
    Move { pdate: event.pdate, is_recomputed: true, before: None, after }
}
