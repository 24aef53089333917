//! Winners, scope and sessions of a key alone, without tables: ten thousand keys with histories
//! of their own, delivered in random order, compared with the reference after each delivery.
//!
//! `SESSIONLAKE_SCOPE_CALENDARS` sets the number of calendars of 500 keys, `SESSIONLAKE_SEED` the
//! seed, which is printed.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::reference::{Delivered, Expected};
use sessionlake::stages::sessions::{
    DeliveryCounts, KeyEvent, Limits, Origin, Session, StoredColumns, merge_delivered, recompute,
};

use crate::support::model::{
    Action, Closes, Configuration, LONG_GAPS, LONG_MAX_DURATIONS_MINUTES, LONG_TIMEOUT_MINUTES,
    Mapping, Recorded, Row, Rules, pdate,
};
use crate::support::{DAY, HOUR, MINUTE};

const FIRST_DAY: i32 = 20_463;
const KEYS: usize = 500;

fn random_configuration(rng: &mut ChaCha8Rng) -> Configuration {
    let closes = [Closes::Never, Closes::ByEvent, Closes::ByAttribute];
    let actions = [Action::ByEvent, Action::ByAttribute];
    let (timeout_minutes, max_durations) = if rng.random_bool(0.5) {
        (5, &[None, None, Some(12), Some(45)])
    } else {
        (LONG_TIMEOUT_MINUTES, &LONG_MAX_DURATIONS_MINUTES)
    };
    Configuration {
        rules: Rules {
            action: *actions.choose(rng).unwrap(),
            any_event_opens: rng.random_bool(0.3),
            closes: *closes.choose(rng).unwrap(),
            timeout_minutes,
            max_duration_minutes: *max_durations.choose(rng).unwrap(),
        },
        mapping: Mapping {
            z_becomes_c: false,
            update_depth_days: 5,
            lookback_days: *[1, 1, 2].choose(rng).unwrap(),
        },
        raw_days: 14,
        kolkata: false,
        jsonl: false,
    }
}

fn short_gap(rng: &mut ChaCha8Rng) -> i64 {
    match rng.random_range(0..12) {
        0..=2 => 0,
        3 => 1,
        4..=6 => rng.random_range(1..4 * MINUTE),
        7 => 5 * MINUTE,
        8 => 5 * MINUTE + 1,
        9 => *[DAY, DAY + 1, 12 * MINUTE, 45 * MINUTE].choose(rng).unwrap(),
        10 => rng.random_range(5 * MINUTE..3 * HOUR),
        _ => rng.random_range(20 * HOUR..50 * HOUR),
    }
}

/// How long the gaps of a key are, and how many events it has.
fn random_gaps(rng: &mut ChaCha8Rng) -> Vec<i64> {
    let events = rng.random_range(1..9);
    match rng.random_range(0..6) {
        0..=2 => (0..events).map(|_| short_gap(rng)).collect(),
        3 | 4 => (0..events).map(|_| *LONG_GAPS.choose(rng).unwrap()).collect(),
        // Sessions that may last longer than the window of six dates.
        _ => (0..events + 6).map(|_| *LONG_GAPS.choose(rng).unwrap()).collect(),
    }
}

/// One key's deliveries, each at most five days after its event date.
fn random_key(key: usize, rng: &mut ChaCha8Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    let midnight = i64::from(FIRST_DAY) * DAY;
    let mut now = midnight + *[0, DAY - 5 * MINUTE, 7 * HOUR].choose(rng).unwrap();
    for gap in random_gaps(rng) {
        now += gap;
        let event = *["a", "b", "c", "c", "x"].choose(rng).unwrap();
        for _ in 0..*[1, 1, 1, 2, 3].choose(rng).unwrap() {
            let mut row = Row {
                user: format!("u{key}"),
                product: "p%".to_owned(),
                event,
                timestamp_micros: now,
                kind: *[None, None, Some("bg"), Some("z"), Some("end")].choose(rng).unwrap(),
                note: *[None, Some("n1")].choose(rng).unwrap(),
                arrival: 0,
            };
            row.arrival = pdate(&row, 0) + *[0, 0, 0, 1, 3, 5].choose(rng).unwrap();
            rows.push(row);
        }
    }
    rows
}

/// An event as ODS holds it.
#[derive(Debug, Clone)]
struct Held {
    event: Delivered,
    session: Session,
}

/// Rows at hand: those held, then those delivered.
struct Rows(Vec<Delivered>);

impl StoredColumns for Rows {
    fn event_id(&self, origin: Origin) -> &str {
        &self.0[origin.row].event_id
    }

    fn compare_attributes(&self, left: Origin, right: Origin) -> Ordering {
        let rank = |origin: Origin| {
            let attributes = self.0[origin.row].attributes.clone();
            attributes.into_iter().map(|value| (value.is_none(), value)).collect::<Vec<_>>()
        };
        rank(left).cmp(&rank(right))
    }
}

/// What ODS holds of every key.
struct Ods {
    limits: Vec<Limits>,
    keys: BTreeMap<String, Vec<Held>>,
}

impl Ods {
    fn new(configuration: &Configuration) -> Self {
        let rules = configuration.rules;
        let limits = Limits {
            timeout_micros: rules.timeout_minutes * MINUTE,
            max_duration_micros: rules.max_duration_minutes.map(|minutes| minutes * MINUTE),
        };
        Self { limits: vec![limits], keys: BTreeMap::new() }
    }

    fn deliver(&mut self, user: &str, delivered: &[Delivered], counts: &mut DeliveryCounts) {
        let held = self.keys.remove(user).unwrap_or_default();
        let rows = held.iter().map(|held| &held.event).chain(delivered).cloned().collect();
        let rows = Rows(rows);
        let event = |row: usize, known: Option<Session>| KeyEvent {
            timestamp_micros: rows.0[row].timestamp_micros,
            origin: Origin { batch: 0, row },
            updated_at: rows.0[row].arrival,
            pdate: rows.0[row].pdate,
            rules_entry: 0,
            opens: rows.0[row].opens,
            closes: rows.0[row].closes,
            lookback_micros: rows.0[row].lookback_micros,
            known,
            is_changed: false,
            session: known.unwrap_or_default(),
        };
        let mut known: Vec<KeyEvent> =
            held.iter().enumerate().map(|(row, held)| event(row, Some(held.session))).collect();
        let mut new: Vec<KeyEvent> =
            (held.len()..rows.0.len()).map(|row| event(row, None)).collect();
        let mut events = merge_delivered(&rows, &mut known, &mut new, counts, |_| ());
        recompute(&rows, &mut events, &[], &self.limits);
        let now = events
            .iter()
            .map(|event| Held { event: rows.0[event.origin.row].clone(), session: event.session });
        self.keys.insert(user.to_owned(), now.collect());
    }

    fn rows(&self) -> Vec<Expected> {
        let rows = self.keys.values().flatten().map(|Held { event, session }| Expected {
            user_id: event.user_id.clone(),
            product_code: event.product_code.clone(),
            timestamp_micros: event.timestamp_micros,
            event_id: event.event_id.clone(),
            pdate: event.pdate,
            updated_at: event.arrival,
            attributes: event.attributes.clone(),
            is_user_action: event.is_user_action,
            time_diff_ms: session.time_diff_ms,
            session_start_micros: session.start_micros,
            session_id: None,
        });
        let mut rows: Vec<Expected> = rows.collect();
        rows.sort();
        rows
    }
}

fn check_calendar(rng: &mut ChaCha8Rng) -> usize {
    let configuration = random_configuration(rng);
    let mut arrivals: BTreeMap<i32, Vec<Row>> = BTreeMap::new();
    for key in 0..KEYS {
        for row in random_key(key, rng) {
            arrivals.entry(row.arrival).or_default().push(row);
        }
    }
    let mut order: Vec<i32> = arrivals.keys().copied().collect();
    order.shuffle(rng);
    let repeated = *order.choose(rng).unwrap();
    order.push(repeated);
    let mut ods = Ods::new(&configuration);
    let recorded = Recorded::first(&configuration);
    let mut delivered: Vec<Row> = Vec::new();
    for arrival in order {
        let mut by_user: BTreeMap<&str, Vec<Delivered>> = BTreeMap::new();
        for row in &arrivals[&arrival] {
            by_user.entry(&row.user).or_default().push(recorded.read(row, 0));
        }
        let mut counts = DeliveryCounts::default();
        for (user, rows) in by_user {
            ods.deliver(user, &rows, &mut counts);
        }
        let accounted = counts.new + counts.identical + counts.conflicting;
        assert_eq!(usize::try_from(accounted).unwrap(), arrivals[&arrival].len());
        delivered.extend(arrivals[&arrival].iter().cloned());
        let found = ods.rows();
        let mut expected = recorded.ods(&delivered, 0);
        for row in &mut expected {
            row.session_id = None;
        }
        if let Some((found, expected)) = found.iter().zip(&expected).find(|(f, e)| f != e) {
            let of_key: Vec<&Row> =
                delivered.iter().filter(|row| row.user == expected.user_id).collect();
            panic!(
                "after arrival {arrival} under {configuration:#?}\nfound {found:#?}\n\
                 expected {expected:#?}\ndelivered {of_key:#?}"
            );
        }
        assert_eq!(found.len(), expected.len());
    }
    KEYS
}

#[test]
fn the_increment_equals_the_reference_after_every_delivery() {
    let calendars: usize = std::env::var("SESSIONLAKE_SCOPE_CALENDARS")
        .map_or(20, |number| number.parse().expect("SESSIONLAKE_SCOPE_CALENDARS is a number"));
    let seed: u64 = std::env::var("SESSIONLAKE_SEED").map_or_else(
        |_| rand::random(),
        |seed| seed.parse().expect("SESSIONLAKE_SEED is a number"),
    );
    eprintln!("the scope law: seed {seed}, {calendars} calendars of {KEYS} keys");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let histories: usize = (0..calendars).map(|_| check_calendar(&mut rng)).sum();
    eprintln!("the scope law: {histories} histories");
}
