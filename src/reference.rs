//! The independent reference: the definition of ODS, and of its sessions, as plain loops over
//! everything delivered.
//!
//! It imports nothing of the fast path, keeps everything in memory and takes no short cut:
//! winners, instants, breaks, openings and gaps straight from DESIGN section 3. Tests and `verify`
//! compare the lake with it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One delivered row that counts, already judged by the rules of its event date. The values of its
/// attributes are of any type that has the order of the values themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered<V = String> {
    /// Whose event.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// What.
    pub event_id: String,
    /// When, microseconds since 1970.
    pub timestamp_micros: i64,
    /// Event date, days since 1970.
    pub pdate: i32,
    /// Arrival date, days since 1970.
    pub arrival: i32,
    /// Declared attributes in order.
    pub attributes: Vec<Option<V>>,
    /// The rules' verdict on the row.
    pub is_user_action: bool,
    /// It may open a session.
    pub opens: bool,
    /// It ends its session.
    pub closes: bool,
    /// Which entry of the session rules it falls under.
    pub rules_entry: usize,
    /// How far back its gap is measured, microseconds.
    pub lookback_micros: i64,
}

/// Times of one entry of the session rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A longer gap is a break, microseconds.
    pub timeout_micros: i64,
    /// An instant later than this after the start is a break, microseconds.
    pub max_duration_micros: Option<i64>,
}

/// One row of ODS as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected<V = String> {
    /// Whose event.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// When, microseconds since 1970.
    pub timestamp_micros: i64,
    /// What.
    pub event_id: String,
    /// Event date, days since 1970.
    pub pdate: i32,
    /// Arrival date that first brought the event, days since 1970.
    pub updated_at: i32,
    /// Declared attributes of the winner.
    pub attributes: Vec<Option<V>>,
    /// The rules' verdict.
    pub is_user_action: bool,
    /// Whole milliseconds since the key's previous event.
    pub time_diff_ms: Option<i64>,
    /// Start of its session, microseconds since 1970.
    pub session_start_micros: Option<i64>,
    /// Id of its session.
    pub session_id: Option<String>,
}

/// One row of `sessions` as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExpectedSession {
    /// Whose session.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// Time of its first event, microseconds since 1970.
    pub session_start_micros: i64,
    /// Its id.
    pub session_id: String,
    /// Time of its last event, microseconds since 1970.
    pub session_end_micros: i64,
    /// Whole milliseconds between the two.
    pub duration_ms: i64,
    /// Number of its events.
    pub events: i64,
    /// Those that are the user's own doing.
    pub user_actions: i64,
    /// The first of its events.
    pub first_event_id: String,
    /// The last.
    pub last_event_id: String,
    /// Each once, in the order of the first visit.
    pub event_ids: Vec<String>,
    /// Values of an attribute, likewise.
    pub distinct: Vec<String>,
    /// Earliest arrival date among its events, days since 1970.
    pub first_arrival: i32,
    /// Latest.
    pub last_arrival: i32,
    /// Event date of its first event, days since 1970.
    pub session_date: i32,
}

/// The sessions of the events of ODS, ordered by (user, product, start). `distinct` is the position
/// of the attribute whose values are listed.
pub fn expected_sessions(ods: &[Expected], distinct: Option<usize>) -> Vec<ExpectedSession> {
    let mut sessions: BTreeMap<&str, Vec<&Expected>> = BTreeMap::new();
    for event in ods {
        if let Some(id) = &event.session_id {
            sessions.entry(id).or_default().push(event);
        }
    }
    let mut expected: Vec<ExpectedSession> = Vec::new();
    for (id, mut events) in sessions {
        events.sort_by_key(|event| (event.timestamp_micros, &event.event_id));
        let (Some(first), Some(last)) = (events.first(), events.last()) else { continue };
        let (mut event_ids, mut values) = (Vec::new(), Vec::new());
        let (mut known_ids, mut known_values) = (BTreeSet::new(), BTreeSet::new());
        let (mut user_actions, mut arrivals) = (0, Vec::new());
        for event in &events {
            if known_ids.insert(&event.event_id) {
                event_ids.push(event.event_id.clone());
            }
            let value = distinct.and_then(|at| event.attributes.get(at)?.clone());
            values.extend(value.filter(|value| known_values.insert(value.clone())));
            user_actions += i64::from(event.is_user_action);
            arrivals.push(event.updated_at);
        }
        expected.push(ExpectedSession {
            user_id: first.user_id.clone(),
            product_code: first.product_code.clone(),
            session_start_micros: first.timestamp_micros,
            session_id: id.to_owned(),
            session_end_micros: last.timestamp_micros,
            duration_ms: (last.timestamp_micros - first.timestamp_micros).div_euclid(1_000),
            events: i64::try_from(events.len()).unwrap_or(i64::MAX),
            user_actions,
            first_event_id: first.event_id.clone(),
            last_event_id: last.event_id.clone(),
            event_ids,
            distinct: values,
            first_arrival: arrivals.iter().copied().min().unwrap_or_default(),
            last_arrival: arrivals.iter().copied().max().unwrap_or_default(),
            session_date: first.pdate,
        });
    }
    expected.sort();
    expected
}

/// ODS for everything delivered, ordered by (user, product, timestamp, event).
pub fn expected_ods<V: Clone + Ord>(
    delivered: &[Delivered<V>],
    limits: &[Limits],
) -> Vec<Expected<V>> {
    let mut keys: BTreeMap<(&str, &str, usize), Vec<&Delivered<V>>> = BTreeMap::new();
    for winner in winners(delivered) {
        let key = (winner.user_id.as_str(), winner.product_code.as_str(), winner.rules_entry);
        keys.entry(key).or_default().push(winner);
    }
    let mut rows = Vec::new();
    for ((_, _, entry), mut events) in keys {
        events.sort_by(|a, b| {
            (a.timestamp_micros, !a.opens, &a.event_id).cmp(&(
                b.timestamp_micros,
                !b.opens,
                &b.event_id,
            ))
        });
        rows.extend(sessionized(&events, limits[entry]));
    }
    rows.sort();
    rows
}

/// Of rows with the same identity, the smallest (arrival date, attributes with nulls last).
fn winners<V: Ord>(delivered: &[Delivered<V>]) -> impl Iterator<Item = &Delivered<V>> {
    let mut best: BTreeMap<(&str, &str, &str, i64), &Delivered<V>> = BTreeMap::new();
    for row in delivered {
        let identity = (
            row.user_id.as_str(),
            row.event_id.as_str(),
            row.product_code.as_str(),
            row.timestamp_micros,
        );
        let winner = best.entry(identity).or_insert(row);
        if rank(row) < rank(winner) {
            *winner = row;
        }
    }
    best.into_values()
}

fn rank<V>(row: &Delivered<V>) -> (i32, Vec<(bool, Option<&V>)>) {
    let nulls_last = row.attributes.iter().map(|value| (value.is_none(), value.as_ref()));
    (row.arrival, nulls_last.collect())
}

/// The events of one key under one entry of the rules, in order.
fn sessionized<V: Clone>(events: &[&Delivered<V>], limits: Limits) -> Vec<Expected<V>> {
    let mut rows: Vec<Expected<V>> = Vec::new();
    let mut session: Option<i64> = None;
    let mut previous_instant: Option<(i64, bool)> = None;
    let mut previous_event: Option<i64> = None;
    let mut at = 0;
    while at < events.len() {
        let now = events[at].timestamp_micros;
        let mut end = at;
        let (mut opens, mut closes) = (false, false);
        while end < events.len() && events[end].timestamp_micros == now {
            opens |= events[end].opens;
            closes |= events[end].closes;
            end += 1;
        }
        let is_break = match previous_instant {
            None => true,
            Some((_, true)) => true,
            Some((before, false)) => {
                let too_long = match (session, limits.max_duration_micros) {
                    (Some(start), Some(max)) => now - start > max,
                    _ => false,
                };
                now - before > limits.timeout_micros || too_long
            }
        };
        if is_break {
            session = None;
        }
        if session.is_none() && opens {
            session = Some(now);
        }
        for event in &events[at..end] {
            let gap = previous_event.map(|before| now - before);
            rows.push(row(event, gap.filter(|gap| *gap <= event.lookback_micros), session));
            previous_event = Some(now);
        }
        previous_instant = Some((now, closes));
        at = end;
    }
    rows
}

fn row<V: Clone>(
    event: &Delivered<V>,
    gap_micros: Option<i64>,
    session: Option<i64>,
) -> Expected<V> {
    Expected {
        user_id: event.user_id.clone(),
        product_code: event.product_code.clone(),
        timestamp_micros: event.timestamp_micros,
        event_id: event.event_id.clone(),
        pdate: event.pdate,
        updated_at: event.arrival,
        attributes: event.attributes.clone(),
        is_user_action: event.is_user_action,
        time_diff_ms: gap_micros.map(|gap| gap / 1000),
        session_start_micros: session,
        session_id: session.map(|start| session_id(&event.user_id, &event.product_code, start)),
    }
}

/// `user#product#start` with `%` and `#` in the ids percent-encoded, start in RFC 3339 UTC with
/// 3 or 6 digits of fraction when there is one.
pub fn session_id(user_id: &str, product_code: &str, start_micros: i64) -> String {
    let encode = |id: &str| id.replace('%', "%25").replace('#', "%23");
    format!("{}#{}#{}", encode(user_id), encode(product_code), rfc_3339(start_micros))
}

/// Civil date and time without a date library, by Howard Hinnant's days algorithm
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn rfc_3339(micros: i64) -> String {
    let (days, in_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match fraction {
        0 => String::new(),
        whole if whole % 1_000 == 0 => format!(".{:03}", whole / 1_000),
        micros => format!(".{micros:06}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_what_the_design_says() {
        assert_eq!(
            session_id("a#b", "50%", 1_767_268_800_000_000),
            "a%23b#50%25#2026-01-01T12:00:00Z"
        );
        assert_eq!(rfc_3339(1_709_164_800_123_000), "2024-02-29T00:00:00.123Z");
        assert_eq!(rfc_3339(-1), "1969-12-31T23:59:59.999999Z");
    }
}
