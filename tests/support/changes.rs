//! How two versions of ODS differ, event date by event date, from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sessionlake::reference::Expected;
use sessionlake::stages::merge::DateChange;

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

fn by_event(rows: &[Expected]) -> BTreeMap<(&str, &str, i64, &str), &Expected> {
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
