//! The events of chosen keys as small numbers, within a budget.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use serde::Serialize;

use super::browser::Key;
use super::{MOST_EVENTS, MOST_SESSIONS};

/// Bytes of all texts of event ids together; what comes later is embedded as [`OTHER_EVENT`].
const MOST_TEXT_BYTES: usize = 4 << 20;
/// Stands for event ids for which there was no room.
const OTHER_EVENT: &str = "(id not embedded)";
/// Units in which instants are told, in microseconds, the coarsest first.
const UNITS: [i64; 3] = [1_000_000, 1000, 1];

/// The newest events of a key, oldest first.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct KeyTimeline {
    user: String,
    product: String,
    /// Its events on the dates shown; more than are embedded where room was short.
    events: i64,
    /// Its sessions on the dates shown.
    sessions: i64,
    /// When the first embedded event happened, in microseconds since 1970-01-01, UTC.
    first_micros: i64,
    unit_micros: i64,
    /// From each event to the next, in units.
    steps: Vec<i64>,
    /// When the session of the first event opened, where that was before it.
    opened_micros: Option<i64>,
    /// Places in the list of event ids.
    event_ids: Vec<u32>,
    /// Of each event twice the days that it came late, and 1 for a user action.
    marks: Vec<u32>,
    /// Runs of events that share a session or are without one, in pairs: how many, and 1 for a
    /// session.
    runs: Vec<u32>,
}

/// Rows of `sql/report/events_of_keys.sql`.
pub(super) struct Rows {
    ranks: Int64Array,
    micros: Int64Array,
    event_ids: StringArray,
    user_actions: BooleanArray,
    session_starts: Int64Array,
    days_late: Int64Array,
}

impl Rows {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, DataFusionError> {
        let number = |place: usize| -> Result<Int64Array, DataFusionError> {
            let column = cast(batch.column(place), &DataType::Int64)?;
            Ok(column.as_primitive::<Int64Type>().clone())
        };
        Ok(Self {
            ranks: number(0)?,
            micros: number(1)?,
            event_ids: cast(batch.column(2), &DataType::Utf8)?.as_string::<i32>().clone(),
            user_actions: batch.column(3).as_boolean().clone(),
            session_starts: number(4)?,
            days_late: number(5)?,
        })
    }
}

/// All keys so far, and the one whose rows are coming.
pub(super) struct Timelines {
    keys: Vec<Key>,
    done: Vec<KeyTimeline>,
    event_ids: EventIds,
    events_left: usize,
    sessions_left: usize,
    current: Option<Gathered>,
}

/// The rows of one key, newest first.
struct Gathered {
    rank: usize,
    most_events: usize,
    most_sessions: usize,
    is_full: bool,
    sessions: usize,
    micros: Vec<i64>,
    starts: Vec<Option<i64>>,
    event_ids: Vec<u32>,
    marks: Vec<u32>,
}

/// Every text once.
struct EventIds {
    places: HashMap<String, u32>,
    texts: Vec<String>,
    bytes_left: usize,
}

impl Timelines {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self::within(keys, MOST_EVENTS, MOST_SESSIONS)
    }

    fn within(keys: Vec<Key>, events_left: usize, sessions_left: usize) -> Self {
        let event_ids =
            EventIds { places: HashMap::new(), texts: vec![], bytes_left: MOST_TEXT_BYTES };
        Self { keys, done: vec![], event_ids, events_left, sessions_left, current: None }
    }

    /// Takes rows by rank, of each key the newest first.
    pub(super) fn push(&mut self, rows: &Rows) {
        for row in 0..rows.ranks.len() {
            let rank = usize::try_from(rows.ranks.value(row)).unwrap_or_default();
            if self.current.as_ref().is_none_or(|current| current.rank != rank) {
                self.close();
                let (events, sessions) = (self.events_left / 2, self.sessions_left / 2);
                self.current = Some(Gathered::new(rank, events, sessions));
            }
            if let Some(current) = &mut self.current {
                current.push(rows, row, &mut self.event_ids);
            }
        }
    }

    /// The texts of event ids, and the keys of which there are events.
    pub(super) fn finish(mut self) -> (Vec<String>, Vec<KeyTimeline>) {
        self.close();
        (self.event_ids.texts, self.done)
    }

    fn close(&mut self) {
        let Some(gathered) = self.current.take() else { return };
        self.events_left -= gathered.micros.len();
        self.sessions_left -= gathered.sessions;
        if let Some(key) = self.keys.get(gathered.rank) {
            self.done.extend(gathered.timeline(key));
        }
    }
}

impl Gathered {
    fn new(rank: usize, most_events: usize, most_sessions: usize) -> Self {
        Self {
            rank,
            most_events,
            most_sessions,
            is_full: false,
            sessions: 0,
            micros: vec![],
            starts: vec![],
            event_ids: vec![],
            marks: vec![],
        }
    }

    fn push(&mut self, rows: &Rows, row: usize, event_ids: &mut EventIds) {
        let start = rows.session_starts.is_valid(row).then(|| rows.session_starts.value(row));
        let opens_another = start.is_some() && self.starts.last() != Some(&start);
        let has_room = self.micros.len() < self.most_events
            && (!opens_another || self.sessions < self.most_sessions);
        if self.is_full || !has_room {
            self.is_full = true;
            return;
        }
        self.sessions += usize::from(opens_another);
        let days_late = u32::try_from(rows.days_late.value(row)).unwrap_or_default();
        self.micros.push(rows.micros.value(row));
        self.starts.push(start);
        self.event_ids.push(event_ids.place(rows.event_ids.value(row)));
        self.marks.push(2 * days_late + u32::from(rows.user_actions.value(row)));
    }

    fn timeline(mut self, key: &Key) -> Option<KeyTimeline> {
        self.micros.reverse();
        self.starts.reverse();
        self.event_ids.reverse();
        self.marks.reverse();
        let first_micros = *self.micros.first()?;
        let is_whole = |unit: &i64| self.micros.iter().all(|micros| micros % unit == 0);
        let unit_micros = UNITS.into_iter().find(is_whole).unwrap_or(1);
        let steps = self.micros.windows(2).map(|pair| (pair[1] - pair[0]) / unit_micros);
        let opened = self.starts.first().copied().flatten();
        Some(KeyTimeline {
            user: key.user_id.clone(),
            product: key.product_code.clone(),
            events: key.events,
            sessions: key.sessions,
            first_micros,
            unit_micros,
            steps: steps.collect(),
            opened_micros: opened.filter(|opened| *opened < first_micros),
            runs: runs(&self.starts),
            event_ids: self.event_ids,
            marks: self.marks,
        })
    }
}

/// Neighbours with one start, as pairs of their number and 1 for a session.
fn runs(starts: &[Option<i64>]) -> Vec<u32> {
    let of_one = starts.chunk_by(|left, right| left == right);
    of_one
        .flat_map(|run| {
            let number = u32::try_from(run.len()).unwrap_or(u32::MAX);
            [number, u32::from(run[0].is_some())]
        })
        .collect()
}

impl EventIds {
    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let shown = if text.len() <= self.bytes_left { text } else { OTHER_EVENT };
        if let Some(place) = self.places.get(shown) {
            return *place;
        }
        self.bytes_left = self.bytes_left.saturating_sub(shown.len());
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(shown.to_owned());
        self.places.insert(shown.to_owned(), place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn key(user: &str) -> Key {
        Key { user_id: user.to_owned(), product_code: "p".to_owned(), events: 9, sessions: 3 }
    }

    /// Rank, seconds, event id, seconds of the start of the session.
    fn rows(rows: &[(i64, i64, &str, Option<i64>)]) -> Rows {
        Rows {
            ranks: rows.iter().map(|row| row.0).collect(),
            micros: rows.iter().map(|row| row.1 * SECOND).collect(),
            event_ids: rows.iter().map(|row| Some(row.2)).collect(),
            user_actions: rows.iter().map(|row| Some(row.2 == "click")).collect(),
            session_starts: rows.iter().map(|row| row.3.map(|start| start * SECOND)).collect(),
            days_late: rows.iter().map(|row| row.0).collect(),
        }
    }

    #[test]
    fn sessions_of_a_key_are_runs_of_its_events_and_times_are_steps() {
        let mut timelines = Timelines::new(vec![key("a"), key("b")]);
        timelines.push(&rows(&[
            (0, 500, "view", Some(500)),
            (0, 90, "view", None),
            (0, 20, "click", Some(5)),
            (0, 10, "view", Some(5)),
        ]));
        timelines.push(&rows(&[(1, 7, "click", Some(7))]));
        let (event_ids, keys) = timelines.finish();
        assert_eq!(event_ids, ["view", "click"]);
        let a = &keys[0];
        assert_eq!((a.first_micros, a.unit_micros), (10 * SECOND, SECOND));
        assert_eq!(a.steps, [10, 70, 410]);
        assert_eq!(a.opened_micros, Some(5 * SECOND));
        assert_eq!(a.event_ids, [0, 1, 0, 0]);
        assert_eq!(a.marks, [0, 1, 0, 0]);
        assert_eq!(a.runs, [2, 1, 1, 0, 1, 1]);
        assert_eq!((keys[1].marks.as_slice(), keys[1].opened_micros), ([3].as_slice(), None));
    }

    #[test]
    fn a_key_takes_half_of_what_is_left_its_newest_events_first() {
        let of_key =
            |rank: i64| (0..6).map(move |at| (rank, 100 - 10 * at, "view", Some(100 - 10 * at)));
        let all: Vec<_> = (0..4).flat_map(of_key).collect();
        let embedded = |events: usize, sessions: usize| -> Vec<usize> {
            let mut timelines =
                Timelines::within(["a", "b", "c", "d"].map(key).to_vec(), events, sessions);
            timelines.push(&rows(&all));
            let (_, keys) = timelines.finish();
            assert!(keys.iter().all(|key| key.first_micros
                + key.steps.iter().sum::<i64>() * SECOND
                == 100 * SECOND));
            keys.iter().map(|key| key.event_ids.len()).collect()
        };
        assert_eq!(embedded(100, 100), [6, 6, 6, 6]);
        assert_eq!(embedded(8, 100), [4, 2, 1]);
        assert_eq!(embedded(100, 8), [4, 2, 1]);
    }

    #[test]
    fn event_ids_beyond_the_room_for_their_texts_are_one() {
        let mut event_ids = EventIds { places: HashMap::new(), texts: vec![], bytes_left: 4 };
        assert_eq!(["abc", "de", "fg", "abc"].map(|text| event_ids.place(text)), [0, 1, 1, 0]);
        assert_eq!(event_ids.texts, ["abc", OTHER_EVENT]);
    }
}
