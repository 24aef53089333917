//! The parts of the daily job one by one: the parser, the sort, the sessions of a key as the walk
//! and as the window function, the encoder of texts.
//!
//! `cargo bench` prints the time of each; the whole job is measured by `benches/run`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::cmp::Ordering;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, DurationMicrosecondArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::prelude::SessionContext;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sessionlake::config::EngineConfig;
use sessionlake::engine::Engine;
use sessionlake::engine::runs::RunWriter;
use sessionlake::engine::session_start::session_start_udwf;
use sessionlake::sources::{ReadLimits, RecordReader, TextFormat};
use sessionlake::stages::sessions::{
    DeliveryCounts, KeyEvent, Limits, Origin, Session, StoredColumns, merge_delivered, recompute,
};

const ROWS: usize = 100_000;
const EVENTS_OF_KEY: usize = 20;

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_csv(bencher: Bencher<'_, '_>) {
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "user_id,product_code,event_id,timestamp,page").unwrap();
    for row in 0..ROWS {
        let (user, second) = (row % 5_000, row % 60);
        writeln!(file, "u{user:06},web,view,2026-01-01T12:00:{second:02}Z,/p/{}", row % 97)
            .unwrap();
    }
    let columns: Vec<String> =
        ["user_id", "product_code", "event_id", "timestamp"].map(str::to_owned).to_vec();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut reader = RecordReader::open(
            file.path(),
            TextFormat::Csv,
            &columns,
            &columns,
            ReadLimits::default(),
        )
        .unwrap();
        while let Some(batch) = reader.next_batch(32 * 1024).unwrap() {
            black_box(batch);
        }
    });
}

fn stored_rows() -> RecordBatch {
    let text = |value: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..ROWS).map(value)))
    };
    let micros = (0..ROWS).map(|row| i64::try_from(row).unwrap() * 864_000);
    let times = TimestampMicrosecondArray::from_iter_values(micros);
    RecordBatch::try_from_iter([
        ("user_id", text(&|row| format!("u{:06}", row * 7_919 % 12_500))),
        ("product_code", text(&|row| format!("p{}", row % 3))),
        ("event_id", text(&|row| format!("e{}", row % 5))),
        ("timestamp", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("is_user_action", Arc::new(BooleanArray::from(vec![true; ROWS]))),
        ("_updated_at", Arc::new(Date32Array::from(vec![0; ROWS]))),
    ])
    .unwrap()
}

#[divan::bench]
fn sort_by_key(bencher: Bencher<'_, '_>) {
    let config = EngineConfig { memory_limit_bytes: 1 << 30, spill_dir: None, threads: Some(1) };
    let engine = Engine::new(&config).unwrap();
    let rows = stored_rows();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut writer = RunWriter::new(engine.spill_target());
        writer.push(rows.clone()).unwrap();
        black_box(writer.finish().unwrap());
    });
}

struct EventIds(Vec<String>);

impl StoredColumns for EventIds {
    fn event_id(&self, origin: Origin) -> &str {
        &self.0[origin.row]
    }

    fn compare_attributes(&self, _: Origin, _: Origin) -> Ordering {
        Ordering::Equal
    }
}

/// One event a minute, with a pause of ten minutes after each fifth.
fn micros_of(event: usize) -> i64 {
    let minutes = event + event / 5 * 10;
    i64::try_from(minutes).unwrap() * 60_000_000
}

const LIMITS: Limits = Limits { timeout_micros: 300_000_000, max_duration_micros: None };

#[divan::bench]
fn sessions_by_the_walk(bencher: Bencher<'_, '_>) {
    let ids = EventIds((0..EVENTS_OF_KEY).map(|event| format!("e{event}")).collect());
    let events: Vec<KeyEvent> = (0..EVENTS_OF_KEY)
        .map(|row| KeyEvent {
            timestamp_micros: micros_of(row),
            origin: Origin { batch: 0, row },
            updated_at: 0,
            pdate: 0,
            rules_entry: 0,
            opens: row % 2 == 0,
            closes: false,
            lookback_micros: 86_400_000_000,
            known: None,
            is_changed: false,
            session: Session::default(),
        })
        .collect();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        for _ in 0..ROWS / EVENTS_OF_KEY {
            let mut delivered = events.clone();
            let mut counts = DeliveryCounts::default();
            let mut merged =
                merge_delivered(&ids, &mut Vec::new(), &mut delivered, &mut counts, |_| ());
            recompute(&ids, &mut merged, &[], &[LIMITS]);
            black_box(merged);
        }
    });
}

#[divan::bench]
fn sessions_by_the_window_function(bencher: Bencher<'_, '_>) {
    let keys = (0..ROWS).map(|row| format!("u{:05}", row / EVENTS_OF_KEY));
    let micros = (0..ROWS).map(|row| micros_of(row % EVENTS_OF_KEY));
    let times = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
    let opens: BooleanArray = (0..ROWS).map(|row| Some(row % 2 == 0)).collect();
    let batch = RecordBatch::try_from_iter([
        ("user_id", Arc::new(StringArray::from_iter_values(keys)) as Arc<dyn Array>),
        ("timestamp", Arc::new(times)),
        ("opens", Arc::new(opens)),
        ("timeout", Arc::new(DurationMicrosecondArray::from(vec![300_000_000; ROWS]))),
    ])
    .unwrap();
    let context = SessionContext::new();
    context.register_udwf(session_start_udwf());
    context.register_batch("events", batch).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let query = "select session_start(timestamp, opens, false, null, timeout, null) \
                 over (partition by user_id order by timestamp, opens desc) from events";
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let rows = runtime.block_on(async { context.sql(query).await?.collect().await });
        black_box(rows.unwrap());
    });
}
