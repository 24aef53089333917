//! What deliveries do to one key: winners, the earliest change, and the sessions from there on.
//!
//! Pure and in memory: one key's events go in, each with what ODS holds of it, and come out with
//! the session they belong to. Nothing before the earliest changed event changes; the last
//! instant before it carries its own `session_start`, however long ago that session began. Behind
//! the last change the first instant that comes out as ODS holds it ends the work: from there on
//! the state is the one that ODS was computed with.

use std::cmp::Ordering;

/// Where the stored columns of an event are: a batch and a row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number of the batch among those at hand.
    pub batch: usize,
    /// Row in it.
    pub row: usize,
}

/// The session of an event, as two columns of ODS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// Start of the session, microseconds since 1970; `None` outside of a session.
    pub start_micros: Option<i64>,
    /// Whole milliseconds since the key's previous event; `None` beyond the lookback.
    pub time_diff_ms: Option<i64>,
}

/// An event of one key.
#[derive(Debug, Clone, Copy)]
pub struct KeyEvent {
    /// When it happened, microseconds since 1970.
    pub timestamp_micros: i64,
    /// Its stored columns: those of the winner.
    pub origin: Origin,
    /// Arrival date of the winner, days since 1970.
    pub updated_at: i32,
    /// Event date, days since 1970.
    pub pdate: i32,
    /// Entry of the session rules that it falls under.
    pub rules_entry: usize,
    /// It may open a session.
    pub opens: bool,
    /// It ends its session.
    pub closes: bool,
    /// How far back its gap is measured, microseconds.
    pub lookback_micros: i64,
    /// The session that ODS holds for it; `None` for an event that ODS does not hold.
    pub known: Option<Session>,
    /// New, or known with a better winner.
    pub is_changed: bool,
    /// The session as computed.
    pub session: Session,
}

impl KeyEvent {
    /// Whether the row of ODS is new or differs.
    pub fn is_rewritten(&self) -> bool {
        self.is_changed || self.known != Some(self.session)
    }
}

/// Times of one entry of the session rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A longer gap is a break, microseconds.
    pub timeout_micros: i64,
    /// An instant later than this after the start is a break, microseconds.
    pub max_duration_micros: Option<i64>,
}

/// An event that leaves ODS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedEvent {
    /// When it happened, microseconds since 1970.
    pub timestamp_micros: i64,
    /// Entry of the session rules that it fell under.
    pub rules_entry: usize,
}

/// How delivered rows relate to events, each row under one term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Events that ODS did not hold.
    pub new: i64,
    /// Rows equal in every attribute to the event as known, or to the next better duplicate.
    pub identical: i64,
    /// Rows of a known or repeated event with other attributes.
    pub conflicting: i64,
}

/// Two rows of one event with different attributes.
#[derive(Debug, Clone, Copy)]
pub struct Conflict {
    /// The row that ODS holds.
    pub kept: KeyEvent,
    /// The other.
    pub other: KeyEvent,
}

/// The stored columns of the events at hand.
pub trait StoredColumns {
    /// The event id of a row.
    fn event_id(&self, origin: Origin) -> &str;
    /// The order of two rows by their attributes, nulls last.
    fn compare_attributes(&self, left: Origin, right: Origin) -> Ordering;
}

/// Order within a key in ODS: (`timestamp`, `event_id`).
fn compare_events(columns: &impl StoredColumns, left: &KeyEvent, right: &KeyEvent) -> Ordering {
    left.timestamp_micros
        .cmp(&right.timestamp_micros)
        .then_with(|| columns.event_id(left.origin).cmp(columns.event_id(right.origin)))
}

/// Merges `delivered` rows, in any order, into the `known` events of their key. The result is in
/// the order (`timestamp`, `event_id`), one event each, and nothing is computed yet. `on_conflict`
/// is told of every row that counts as conflicting.
pub fn merge_delivered(
    columns: &impl StoredColumns,
    known: &mut Vec<KeyEvent>,
    delivered: &mut Vec<KeyEvent>,
    counts: &mut DeliveryCounts,
    mut on_conflict: impl FnMut(Conflict),
) -> Vec<KeyEvent> {
    let in_order = |left: &KeyEvent, right: &KeyEvent| compare_events(columns, left, right).is_le();
    if !known.is_sorted_by(in_order) {
        known.sort_by(|left, right| compare_events(columns, left, right));
    }
    delivered.sort_by(|left, right| {
        compare_events(columns, left, right)
            .then_with(|| left.updated_at.cmp(&right.updated_at))
            .then_with(|| columns.compare_attributes(left.origin, right.origin))
    });
    let mut merged = Vec::with_capacity(known.len() + delivered.len());
    let mut held = known.drain(..).peekable();
    let same = |left: &KeyEvent, right: &KeyEvent| compare_events(columns, left, right).is_eq();
    for duplicates in delivered.chunk_by(same) {
        let best = duplicates[0];
        while let Some(before) = held.next_if(|event| compare_events(columns, event, &best).is_lt())
        {
            merged.push(before);
        }
        let event = held.next_if(|event| same(event, &best));
        let kept = winner(columns, event, best);
        count(columns, duplicates, event.as_ref(), counts, |row| {
            // A row that wins over the event as known is in conflict with that.
            let wins = row.origin == kept.origin;
            let other = event.filter(|_| wins).unwrap_or(*row);
            on_conflict(Conflict { kept, other });
        });
        merged.push(kept);
    }
    merged.extend(held);
    delivered.clear();
    merged
}

/// The event as ODS will hold it: the row of the earlier arrival, then of the smaller attributes.
fn winner(columns: &impl StoredColumns, known: Option<KeyEvent>, best: KeyEvent) -> KeyEvent {
    let Some(known) = known else {
        return KeyEvent { is_changed: true, ..best };
    };
    let order = best
        .updated_at
        .cmp(&known.updated_at)
        .then_with(|| columns.compare_attributes(best.origin, known.origin));
    if order.is_lt() { KeyEvent { is_changed: true, known: known.known, ..best } } else { known }
}

fn count(
    columns: &impl StoredColumns,
    duplicates: &[KeyEvent],
    known: Option<&KeyEvent>,
    counts: &mut DeliveryCounts,
    mut on_conflict: impl FnMut(&KeyEvent),
) {
    let equal = |left: &KeyEvent, right: &KeyEvent| {
        columns.compare_attributes(left.origin, right.origin).is_eq()
    };
    for (position, row) in duplicates.iter().enumerate() {
        let repeats = position > 0 && equal(row, &duplicates[position - 1]);
        if position == 0 && known.is_none() {
            counts.new += 1;
        } else if repeats || known.is_some_and(|known| equal(row, known)) {
            counts.identical += 1;
        } else {
            counts.conflicting += 1;
            on_conflict(row);
        }
    }
}

/// Computes the sessions of every entry of the rules that has a changed or removed event. All
/// other events keep what ODS holds.
pub fn recompute(
    columns: &impl StoredColumns,
    events: &mut [KeyEvent],
    removed: &[RemovedEvent],
    limits: &[Limits],
) {
    for (entry, limits) in limits.iter().enumerate() {
        let changes = events
            .iter()
            .filter(|event| event.is_changed && event.rules_entry == entry)
            .map(|event| event.timestamp_micros)
            .chain(
                removed
                    .iter()
                    .filter(|event| event.rules_entry == entry)
                    .map(|event| event.timestamp_micros),
            );
        let Some((first, last)) = range(changes) else {
            continue;
        };
        let of_entry: Vec<usize> =
            (0..events.len()).filter(|at| events[*at].rules_entry == entry).collect();
        Walk { columns, events, of_entry: &of_entry, limits: *limits }.run(first, last);
    }
}

fn range(timestamps: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    timestamps.fold(None, |range, timestamp| {
        let (first, last) = range.unwrap_or((timestamp, timestamp));
        Some((first.min(timestamp), last.max(timestamp)))
    })
}

/// What the next instant needs to know of the one before it.
#[derive(Debug, Clone, Copy)]
struct Previous {
    timestamp_micros: i64,
    closed: bool,
    start_micros: Option<i64>,
}

/// One pass over the events of a key under one entry of the rules, in time.
struct Walk<'e, C> {
    columns: &'e C,
    events: &'e mut [KeyEvent],
    of_entry: &'e [usize],
    limits: Limits,
}

impl<C: StoredColumns> Walk<'_, C> {
    fn run(&mut self, first_change: i64, last_change: i64) {
        let mut at =
            self.of_entry.partition_point(|at| self.events[*at].timestamp_micros < first_change);
        let mut previous = self.before(at);
        while at < self.of_entry.len() {
            let timestamp = self.event(at).timestamp_micros;
            let end = at
                + self.of_entry[at..]
                    .iter()
                    .take_while(|event| self.events[**event].timestamp_micros == timestamp)
                    .count();
            previous = Some(self.instant(at..end, previous));
            let as_known = (at..end).all(|at| !self.event(at).is_rewritten());
            if as_known && timestamp > last_change {
                return;
            }
            at = end;
        }
    }

    fn event(&self, at: usize) -> &KeyEvent {
        &self.events[self.of_entry[at]]
    }

    /// The instant before position `at`, as ODS holds it.
    fn before(&self, at: usize) -> Option<Previous> {
        let last = self.event(at.checked_sub(1)?);
        let closed = (0..at)
            .rev()
            .map(|at| self.event(at))
            .take_while(|event| event.timestamp_micros == last.timestamp_micros)
            .any(|event| event.closes);
        let start_micros = last.known.and_then(|known| known.start_micros);
        Some(Previous { timestamp_micros: last.timestamp_micros, closed, start_micros })
    }

    fn instant(&mut self, instant: std::ops::Range<usize>, previous: Option<Previous>) -> Previous {
        let timestamp = self.event(instant.start).timestamp_micros;
        let opens = instant.clone().any(|at| self.event(at).opens);
        let closes = instant.clone().any(|at| self.event(at).closes);
        let open = previous
            .filter(|previous| !self.breaks(timestamp, previous))
            .and_then(|p| p.start_micros);
        let start_micros = open.or_else(|| opens.then_some(timestamp));
        let first = self.first_of(instant.clone());
        for at in instant {
            let gap = if at == first {
                previous.map(|previous| timestamp - previous.timestamp_micros)
            } else {
                Some(0)
            };
            let event = &mut self.events[self.of_entry[at]];
            let seen = gap.filter(|gap| *gap <= event.lookback_micros);
            event.session = Session { start_micros, time_diff_ms: seen.map(|gap| gap / 1000) };
        }
        Previous { timestamp_micros: timestamp, closed: closes, start_micros }
    }

    fn breaks(&self, timestamp: i64, previous: &Previous) -> bool {
        previous.closed
            || timestamp - previous.timestamp_micros > self.limits.timeout_micros
            || previous
                .start_micros
                .zip(self.limits.max_duration_micros)
                .is_some_and(|(start, longest)| timestamp - start > longest)
    }

    /// The first event of an instant: those that open come first, then the smallest event id.
    fn first_of(&self, instant: std::ops::Range<usize>) -> usize {
        let rank = |at: usize| {
            let event = self.event(at);
            (!event.opens, self.columns.event_id(event.origin))
        };
        let start = instant.start;
        instant.min_by(|left, right| rank(*left).cmp(&rank(*right))).unwrap_or(start)
    }
}
