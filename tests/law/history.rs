//! Random histories: rules, what happened to each key, and how it is delivered.

use proptest::prelude::*;

use super::{FIRST_DAY, KEYS, RAW_DAYS};
use crate::support::model::{
    Action, Closes, Configuration, LONG_GAPS, LONG_MAX_DURATIONS_MINUTES, LONG_TIMEOUT_MINUTES,
    Mapping, Row, Rules, pdate,
};
use crate::support::{DAY, HOUR, MINUTE, SECOND};

/// An event of one key and how often it is delivered.
#[derive(Debug, Clone)]
pub(super) struct Event {
    gap: i64,
    event: &'static str,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// Days from event date to arrival date.
    delay: i32,
    file: u8,
    kind: Option<&'static str>,
    note: Option<&'static str>,
}

/// How the rules change in the middle of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Never,
    Accept,
    Reprocess { days_from_first: i32 },
}

/// What happens in a history besides deliveries and their repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deliveries,
    RuleChanges,
    /// Deliveries are taken back; in half of the histories the rules change, too.
    Withdrawals,
}

#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) configuration: Configuration,
    pub(super) next: Configuration,
    pub(super) change: Change,
    pub(super) withdraws: bool,
    /// For each key: where its events begin, and the events.
    pub(super) keys: Vec<(i64, Vec<Event>)>,
    /// Order, cut and repetition of the deliveries follow from it.
    pub(super) order_seed: u64,
}

fn rules() -> impl Strategy<Value = Rules> {
    let action = prop_oneof![Just(Action::ByEvent), Just(Action::ByAttribute)];
    let closes = prop_oneof![Just(Closes::Never), Just(Closes::ByEvent), Just(Closes::ByAttribute)];
    (action, any::<bool>(), closes, times()).prop_map(
        |(action, any_event_opens, closes, (timeout_minutes, max_duration_minutes))| Rules {
            action,
            any_event_opens,
            closes,
            timeout_minutes,
            max_duration_minutes,
        },
    )
}

/// Timeout and maximal duration, minutes: as people have them, or so long that a session outlasts
/// what is read again of its key.
fn times() -> impl Strategy<Value = (i64, Option<i64>)> {
    let timeout = prop_oneof![Just(5), Just(7)];
    let max = prop_oneof![Just(None), Just(Some(12)), Just(Some(45))];
    let long = prop::sample::select(&LONG_MAX_DURATIONS_MINUTES[..]);
    prop_oneof![(timeout, max), (Just(LONG_TIMEOUT_MINUTES), long)]
}

fn mapping() -> impl Strategy<Value = Mapping> {
    // The shorter lookback comes more often: less is read again then.
    let lookback_days = prop_oneof![2 => Just(1), 1 => Just(2)];
    (any::<bool>(), 3..=5i32, lookback_days).prop_map(
        |(z_becomes_c, update_depth_days, lookback_days)| Mapping {
            z_becomes_c,
            update_depth_days,
            lookback_days,
        },
    )
}

/// Gaps at which the rules turn, for timeouts of 5 and 7 minutes and lookbacks of 1 and 2 days.
fn short_gap() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(0),
        1 => Just(1),
        4 => 1..4 * MINUTE,
        2 => Just(5 * MINUTE),
        2 => Just(5 * MINUTE + 1),
        1 => Just(7 * MINUTE),
        1 => Just(7 * MINUTE + 1),
        1 => Just(12 * MINUTE),
        2 => 5 * MINUTE..3 * HOUR,
        1 => Just(DAY),
        1 => Just(DAY + 1),
        1 => 20 * HOUR..50 * HOUR,
    ]
}

/// Gaps at which the rules turn, for a timeout of 20 hours.
fn long_gap() -> impl Strategy<Value = i64> {
    prop_oneof![6 => prop::sample::select(&LONG_GAPS[..]), 1 => 1..20 * HOUR]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let delay = prop_oneof![
        6 => 0..=1i32,
        3 => prop_oneof![Just(3), Just(5)],
        1 => Just(-1),
        1 => Just(-2),
        1 => Just(6),
    ];
    let kind = prop_oneof![
        3 => Just(None),
        2 => Just(Some("bg")),
        2 => Just(Some("z")),
        1 => Just(Some("end")),
    ];
    let note = prop_oneof![Just(None), Just(Some("n1")), Just(Some("n2"))];
    (delay, 0..2u8, kind, note).prop_map(|(delay, file, kind, note)| Delivery {
        delay,
        file,
        kind,
        note,
    })
}

fn event(gap: impl Strategy<Value = i64>) -> impl Strategy<Value = Event> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("c"), Just("x")];
    (gap, name, prop::collection::vec(delivery(), 1..3))
        .prop_map(|(gap, event, deliveries)| Event { gap, event, deliveries })
}

/// One key. `longest` is the most events whose gaps are those of long timeouts: nine and more
/// of them may last longer than the window of six dates.
fn key(longest: usize) -> impl Strategy<Value = (i64, Vec<Event>)> {
    let events = prop_oneof![
        3 => prop::collection::vec(event(short_gap()), 1..7),
        2 => prop::collection::vec(event(long_gap()), 1..7),
        1 => prop::collection::vec(event(long_gap()), longest - 2..=longest),
    ];
    (start(), events)
}

/// Sessions begin at any time, and often just before midnight.
fn start() -> impl Strategy<Value = i64> {
    let day = (0..2i64).prop_map(|day| (i64::from(FIRST_DAY) + day) * DAY);
    let time = prop_oneof![0..DAY, (DAY - 10 * MINUTE)..DAY, Just(DAY - 5 * MINUTE), Just(0)];
    (day, time).prop_map(|(day, time)| day + time / SECOND * SECOND)
}

pub(super) fn history(kind: Kind) -> impl Strategy<Value = History> {
    let changes = prop_oneof![
        Just(Change::Accept),
        (-1..8i32).prop_map(|days_from_first| Change::Reprocess { days_from_first }),
    ];
    let change = match kind {
        Kind::Deliveries => Just(Change::Never).boxed(),
        Kind::RuleChanges => changes.boxed(),
        Kind::Withdrawals => prop_oneof![Just(Change::Never), changes].boxed(),
    };
    let configuration = (rules(), mapping(), any::<bool>(), any::<bool>(), any::<bool>());
    // Long keys make long calendars, which take their time: one history in five has them.
    let longest = prop_oneof![4 => Just(6), 1 => Just(12)];
    let keys = longest.prop_flat_map(|longest| prop::collection::vec(key(longest), KEYS..KEYS + 8));
    (configuration, rules(), mapping(), any::<bool>(), change, keys, any::<u64>()).prop_map(
        move |(
            (rules, mapping, kolkata, jsonl, keeps_raw),
            new_rules,
            new_mapping,
            remap,
            change,
            keys,
            order_seed,
        )| {
            let raw_days = if keeps_raw { RAW_DAYS } else { 2 };
            let configuration = Configuration { rules, mapping, raw_days, kolkata, jsonl };
            let mapping = if remap { new_mapping } else { mapping };
            let next = Configuration { rules: new_rules, mapping, ..configuration };
            let withdraws = kind == Kind::Withdrawals;
            History { configuration, next, change, withdraws, keys, order_seed }
        },
    )
}

impl History {
    /// Every delivered row with the file that brings it.
    pub(super) fn rows(&self) -> Vec<(u8, Row)> {
        let offset = self.configuration.offset();
        let mut rows = Vec::new();
        for (key, (start, events)) in self.keys.iter().enumerate() {
            let mut now = *start - offset;
            for event in events {
                now += event.gap;
                for delivery in &event.deliveries {
                    let mut row = Row {
                        // A few users share a product, a few products share a user.
                        user: format!("u#{}", key / 2),
                        product: format!("p{}", key % 2),
                        event: event.event,
                        timestamp_micros: now,
                        kind: delivery.kind,
                        note: delivery.note,
                        arrival: 0,
                    };
                    row.arrival = pdate(&row, offset) + delivery.delay;
                    rows.push((delivery.file, row));
                }
            }
        }
        rows
    }
}
