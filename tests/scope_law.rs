//! The window function and the scope queries alone, without Delta tables: ten thousand keys with
//! histories of their own, delivered in random order, compared with the reference after each
//! delivery.
//!
//! `SESSIONLAKE_SCOPE_CALENDARS` sets the number of calendars of 500 keys, `SESSIONLAKE_SEED` the
//! seed, which is printed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::config::{self, LoadOptions};
use sessionlake::engine::Engine;
use sessionlake::lake::contracts;
use sessionlake::lake::rules::RuleBook;
use sessionlake::reference::Expected;
use sessionlake::stages::events::EventReader;
use sessionlake::stages::mapping::CompiledBook;
use sessionlake::stages::sessions::SessionBuilder;

use crate::support::model::{
    Action, Closes, Configuration, LONG_GAPS, LONG_MAX_DURATIONS_MINUTES, LONG_TIMEOUT_MINUTES,
    Mapping, Recorded, Row, Rules, pdate,
};
use crate::support::workspace::{date, ods_rows};
use crate::support::{DAY, HOUR, MINUTE};

const FIRST_DAY: i32 = 20_463;
const KEYS: usize = 500;
const ATTRIBUTES: [&str; 2] = ["kind", "note"];

type Identity = (String, String, i64, String);

fn identity(row: &Expected) -> Identity {
    (row.user_id.clone(), row.product_code.clone(), row.timestamp_micros, row.event_id.clone())
}

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

/// Rows of the raw table.
fn raw_batch(rows: &[Row]) -> RecordBatch {
    let text = |name: &str, value: &dyn Fn(&Row) -> Option<String>| {
        let array: ArrayRef = Arc::new(rows.iter().map(value).collect::<StringArray>());
        (Field::new(name, DataType::Utf8, true), array)
    };
    let instant =
        |row: &Row| chrono::DateTime::from_timestamp_micros(row.timestamp_micros).unwrap();
    let mut columns = vec![
        text("user", &|row| Some(row.user.clone())),
        text("product", &|row| Some(row.product.clone())),
        text("event_id", &|row| Some(row.event.to_owned())),
        text("ts", &|row| Some(instant(row).to_rfc3339())),
        text("kind", &|row| row.kind.map(str::to_owned)),
        text("note", &|row| row.note.map(str::to_owned)),
        text("_extra", &|_| None),
    ];
    columns.push((
        Field::new("_accept_late", DataType::Boolean, false),
        Arc::new(BooleanArray::from(vec![false; rows.len()])),
    ));
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Rows of the ODS table.
fn ods_batch(rows: &BTreeMap<Identity, Expected>, book: &CompiledBook) -> RecordBatch {
    let rows: Vec<&Expected> = rows.values().collect();
    let text = |value: &dyn Fn(&Expected) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(row)).collect::<StringArray>())
    };
    let times = |value: &dyn Fn(&Expected) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(|row| value(row)).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let dates = |value: &dyn Fn(&Expected) -> i32| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Date32Array>())
    };
    let mut columns = vec![
        text(&|row| Some(row.user_id.clone())),
        text(&|row| Some(row.product_code.clone())),
        text(&|row| Some(row.event_id.clone())),
        times(&|row| Some(row.timestamp_micros)),
        Arc::new(rows.iter().map(|row| Some(row.is_user_action)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.time_diff_ms).collect::<Int64Array>()),
        times(&|row| row.session_start_micros),
        text(&|row| row.session_id.clone()),
        dates(&|row| row.pdate),
        dates(&|row| row.updated_at),
    ];
    columns.extend((0..ATTRIBUTES.len()).map(|at| text(&|row| row.attributes[at].clone())));
    RecordBatch::try_new(contracts::ods(&book.attributes), columns).unwrap()
}

/// One calendar of deliveries that all keys share.
struct Calendar {
    configuration: Configuration,
    engine: Engine,
    rule_book: RuleBook,
    ods: BTreeMap<Identity, Expected>,
}

impl Calendar {
    fn new(configuration: Configuration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sessionlake.toml");
        std::fs::write(&file, configuration.toml()).unwrap();
        let loaded = config::load(&LoadOptions {
            file: Some(file),
            lake: None,
            environment: vec![],
            set: vec![],
        })
        .unwrap();
        Self {
            configuration,
            engine: Engine::new(&loaded.engine).unwrap(),
            rule_book: RuleBook::first(&loaded.feeds[0]),
            ods: BTreeMap::new(),
        }
    }

    async fn deliver(&mut self, arrival: i32, rows: &[Row]) {
        let context = self.engine.context(chrono_tz::Tz::UTC);
        let book = CompiledBook::compile(&context, "events", &self.rule_book, &[]).unwrap();
        let reader = EventReader::new(&book, &book.mappings[0], &[None], date(arrival));
        let (candidates, rejects) = reader.read(&raw_batch(rows)).unwrap();
        assert_eq!(rejects.iter().count(), 0, "every row counts");
        let known = ods_batch(&self.ods, &book);
        let known = MemTable::try_new(known.schema(), vec![vec![known]]).unwrap();
        let known = context.read_table(Arc::new(known)).unwrap();
        let builder = SessionBuilder {
            context: &context,
            feed: "events",
            book: &book,
            rule_book: &self.rule_book,
        };
        let known = builder.judged(known).unwrap();
        let changes = builder.changes(known, vec![candidates], vec![]).await.unwrap();
        let before = self.ods.len();
        for row in changes.rows.iter().flat_map(|batch| ods_rows(batch, &ATTRIBUTES)) {
            let unchanged = self.ods.insert(identity(&row), row.clone());
            assert_ne!(unchanged.as_ref(), Some(&row), "a row that did not change was returned");
        }
        assert_eq!(i64::try_from(self.ods.len() - before).unwrap(), changes.new);
        let duplicates = changes.identical + changes.conflicting;
        assert_eq!(changes.new + duplicates, i64::try_from(rows.len()).unwrap());
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut calendar = Calendar::new(configuration);
    let recorded = Recorded::first(&configuration);
    let mut delivered: Vec<Row> = Vec::new();
    for arrival in order {
        runtime.block_on(calendar.deliver(arrival, &arrivals[&arrival]));
        delivered.extend(arrivals[&arrival].iter().cloned());
        let mut found: Vec<Expected> = calendar.ods.values().cloned().collect();
        found.sort();
        let expected = recorded.ods(&delivered, 0);
        if let Some((found, expected)) = found.iter().zip(&expected).find(|(f, e)| f != e) {
            let of_key: Vec<&Row> =
                delivered.iter().filter(|row| row.user == expected.user_id).collect();
            panic!(
                "after arrival {arrival} under {:#?}\nfound {found:#?}\nexpected {expected:#?}\n\
                 delivered {of_key:#?}",
                calendar.configuration
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
