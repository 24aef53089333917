//! The window function `session_start`, as plain SQL, and the walk that ODS is built with: both
//! give the same sessions and gaps.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use proptest::collection::vec;
use proptest::prelude::*;
use sessionlake::engine::session_start::session_start_udwf;
use sessionlake::stages::sessions::{
    DeliveryCounts, KeyEvent, Limits, Origin, Session, StoredColumns, merge_delivered, recompute,
};

const QUERY: &str = "
    select
        session_start(
            timestamp, opens, closes, null, arrow_cast(timeout, 'Duration(Microsecond)'),
            arrow_cast(max_duration, 'Duration(Microsecond)')
        ) over key as session_start,
        cast(timestamp as bigint) - cast(lag(timestamp) over key as bigint) as gap_micros
    from events
    window key as (order by timestamp, opens desc, event_id)
    order by timestamp, event_id";

/// Event ids by row, without attributes.
struct EventIds(Vec<String>);

impl StoredColumns for EventIds {
    fn event_id(&self, origin: Origin) -> &str {
        &self.0[origin.row]
    }

    fn compare_attributes(&self, _: Origin, _: Origin) -> Ordering {
        Ordering::Equal
    }
}

/// Gap in seconds to the event before, event id, whether it opens, whether it closes.
type Given = (i64, u8, bool, bool);

fn walked(given: &[Given], limits: Limits, lookback_micros: i64) -> Vec<Session> {
    let ids = EventIds(given.iter().map(|(_, id, ..)| format!("e{id}")).collect());
    let mut now = 0;
    let mut delivered: Vec<KeyEvent> = given
        .iter()
        .enumerate()
        .map(|(row, (gap, _, opens, closes))| {
            now += gap * 1_000_000;
            KeyEvent {
                timestamp_micros: now,
                origin: Origin { batch: 0, row },
                updated_at: 0,
                pdate: 0,
                rules_entry: 0,
                opens: *opens,
                closes: *closes,
                lookback_micros,
                known: None,
                is_changed: false,
                session: Session::default(),
            }
        })
        .collect();
    let mut counts = DeliveryCounts::default();
    let mut events = merge_delivered(&ids, &mut Vec::new(), &mut delivered, &mut counts, |_| ());
    recompute(&ids, &mut events, &[], &[limits]);
    events.iter().map(|event| event.session).collect()
}

async fn queried(given: &[Given], limits: Limits, lookback_micros: i64) -> Vec<Session> {
    let mut now = 0;
    let times = given.iter().map(|(gap, ..)| {
        now += gap * 1_000_000;
        now
    });
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let rows = given.len();
    let batch = RecordBatch::try_from_iter([
        ("timestamp", Arc::new(times) as Arc<dyn Array>),
        (
            "event_id",
            Arc::new(StringArray::from_iter_values(given.iter().map(|g| format!("e{}", g.1)))),
        ),
        ("opens", Arc::new(given.iter().map(|g| Some(g.2)).collect::<BooleanArray>())),
        ("closes", Arc::new(given.iter().map(|g| Some(g.3)).collect::<BooleanArray>())),
        ("timeout", Arc::new(Int64Array::from(vec![limits.timeout_micros; rows]))),
        ("max_duration", Arc::new(Int64Array::from(vec![limits.max_duration_micros; rows]))),
    ])
    .unwrap();
    let context = SessionContext::new();
    context.register_udwf(session_start_udwf());
    context.register_batch("events", batch).unwrap();
    let batches = context.sql(QUERY).await.unwrap().collect().await.unwrap();
    let mut sessions = Vec::new();
    for batch in &batches {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let gaps = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let gap = gaps.is_valid(row).then(|| gaps.value(row));
            sessions.push(Session {
                start_micros: starts.is_valid(row).then(|| starts.value(row)),
                time_diff_ms: gap.filter(|gap| *gap <= lookback_micros).map(|gap| gap / 1000),
            });
        }
    }
    sessions
}

fn events() -> impl Strategy<Value = Vec<Given>> {
    let gap = prop_oneof![Just(0), 1..4_i64, Just(5), Just(6), 5..40_i64];
    vec((gap, 0..200_u8, prop::bool::weighted(0.6), prop::bool::weighted(0.1)), 1..40).prop_map(
        |mut events| {
            // One event an instant and id: duplicates are not the window function's business.
            let mut now = 0;
            let mut seen = std::collections::HashSet::new();
            events.retain(|(gap, id, ..)| {
                now += gap;
                seen.insert((now, *id))
            });
            events
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_window_function_and_the_walk_agree(
        given in events(),
        max_duration in prop_oneof![Just(None), Just(Some(12)), Just(Some(20))],
        lookback in prop_oneof![Just(10), Just(1000)],
    ) {
        let limits = Limits {
            timeout_micros: 5_000_000,
            max_duration_micros: max_duration.map(|seconds: i64| seconds * 1_000_000),
        };
        let lookback_micros = lookback * 1_000_000;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let queried = runtime.block_on(queried(&given, limits, lookback_micros));
        prop_assert_eq!(walked(&given, limits, lookback_micros), queried);
    }
}
