//! How two versions of ODS differ, event date by event date, from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sessionlake::reference::Expected;
use sessionlake::stages::merge::{DateChange, SessionChange};

use super::DAY;
use super::workspace::date;

type Session<'r> = (&'r str, &'r str, i64);

/// Event dates that differ; `offset` is that of the feed's zone, microseconds.
pub fn changes(
    before: &[Expected],
    after: &[Expected],
    offset: i64,
) -> BTreeMap<NaiveDate, DateChange> {
    let mut changes: BTreeMap<i32, DateChange> = BTreeMap::new();
    let (old, new) = (by_event(before), by_event(after));
    for event in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(event), new.get(event));
        let change = changes.entry(new.or(old).unwrap().pdate).or_default();
        match (old, new) {
            (None, _) => change.events_new += 1,
            (_, None) => change.events_removed += 1,
            (Some(old), Some(new)) => change.events_changed += i64::from(old != new),
        }
    }
    let (old, new) = (by_session(before), by_session(after));
    for session in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(session), new.get(session));
        let date = i32::try_from((session.2 + offset).div_euclid(DAY)).unwrap();
        let change = changes.entry(date).or_default();
        change.sessions_before += i64::from(old.is_some());
        change.sessions_after += i64::from(new.is_some());
        change.sessions_changed += i64::from(old != new);
    }
    changes.retain(|_, change| change.is_any());
    changes.into_iter().map(|(days, change)| (date(days), change)).collect()
}

fn by_event(rows: &[Expected]) -> BTreeMap<Event<'_>, &Expected> {
    rows.iter()
        .map(|row| {
            let (user, product) = (row.user_id.as_str(), row.product_code.as_str());
            ((user, product, row.timestamp_micros, row.event_id.as_str()), row)
        })
        .collect()
}

fn by_session(rows: &[Expected]) -> BTreeMap<Session<'_>, Vec<&Expected>> {
    let mut sessions: BTreeMap<Session<'_>, Vec<&Expected>> = BTreeMap::new();
    for row in rows {
        if let Some(start) = row.session_start_micros {
            sessions.entry((&row.user_id, &row.product_code, start)).or_default().push(row);
        }
    }
    sessions
}

/// How the sessions with an event from the day `from` on differ: by date and by key.
pub fn session_changes(
    before: &[Expected],
    after: &[Expected],
    from: i32,
    offset: i64,
) -> (BTreeMap<NaiveDate, SessionChange>, BTreeMap<(String, String), SessionChange>) {
    let (old, new) = (Sessions::of(before, from), Sessions::of(after, from));
    let mut dates: BTreeMap<NaiveDate, SessionChange> = BTreeMap::new();
    let mut keys: BTreeMap<(String, String), SessionChange> = BTreeMap::new();
    let mut count = |user: &str, product: &str, day: i32, change: SessionChange| {
        let of_key = keys.entry((user.to_owned(), product.to_owned())).or_default();
        *of_key = of_key.plus(change);
        let of_date = dates.entry(date(day)).or_default();
        *of_date = of_date.plus(change);
    };
    let day = |start: i64| i32::try_from((start + offset).div_euclid(DAY)).unwrap();
    for (event, row) in by_event(after).into_iter().filter(|(_, row)| row.pdate >= from) {
        let moved = old.of_event.get(&event) != new.of_event.get(&event);
        let change = SessionChange { events: 1, events_moved: i64::from(moved), ..none() };
        count(event.0, event.1, row.pdate, change);
    }
    for session in &old.in_scope {
        let events = &old.events[session];
        let land = new.sessions_of(events);
        let mut change = SessionChange { sessions_before: 1, ..none() };
        match land.iter().collect::<Vec<_>>()[..] {
            [] => change.gone = 1,
            [only] if new.events[only] == *events => change.unchanged = 1,
            [only] if old.sessions_of(&new.events[only]).len() == 1 => change.resized = 1,
            [_] => {}
            _ => change.split = 1,
        }
        count(session.0, session.1, day(session.2), change);
    }
    for session in &new.in_scope {
        let from = old.sessions_of(&new.events[session]).len();
        let (merged, appeared) = (i64::from(from > 1), i64::from(from == 0));
        let change = SessionChange { sessions_after: 1, merged, appeared, ..none() };
        count(session.0, session.1, day(session.2), change);
    }
    (dates, keys)
}

type Event<'r> = (&'r str, &'r str, i64, &'r str);

fn none() -> SessionChange {
    SessionChange::default()
}

/// The sessions of one version of ODS.
struct Sessions<'r> {
    of_event: BTreeMap<Event<'r>, Session<'r>>,
    events: BTreeMap<Session<'r>, BTreeSet<Event<'r>>>,
    in_scope: BTreeSet<Session<'r>>,
}

impl<'r> Sessions<'r> {
    fn of(rows: &'r [Expected], from: i32) -> Self {
        let (of_event, events, in_scope) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut sessions = Self { of_event, events, in_scope };
        for (event, row) in by_event(rows) {
            let Some(start) = row.session_start_micros else { continue };
            let session = (event.0, event.1, start);
            sessions.of_event.insert(event, session);
            sessions.events.entry(session).or_default().insert(event);
            if row.pdate >= from {
                sessions.in_scope.insert(session);
            }
        }
        sessions
    }

    fn sessions_of(&self, events: &BTreeSet<Event<'r>>) -> BTreeSet<Session<'r>> {
        events.iter().filter_map(|event| self.of_event.get(event)).copied().collect()
    }
}
