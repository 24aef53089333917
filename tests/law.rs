//! The law, through the real job on Delta tables: whatever the cut of the deliveries into files
//! and runs, their order and repetition, with rule changes and retention in between, ODS is what
//! the reference computes from everything delivered.
//!
//! `SESSIONLAKE_LAW_HISTORIES` sets the number of histories of each test, `PROPTEST_RNG_SEED` the
//! seed; a failing history is printed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::error::JobError;
use sessionlake::job::Dates;
use sessionlake::lake::ids::LatePolicy;
use sessionlake::reference::Expected;
use sessionlake::stages::build::Rebuild;
use sessionlake::stages::error::BuildError;
use sessionlake::stages::rules::RuleChange;

use crate::support::model::{
    Action, Closes, Configuration, Mapping, Recorded, Row, Rules, batch, pdate,
};
use crate::support::workspace::{Workspace, date};
use crate::support::{DAY, HOUR, MINUTE, SECOND};

/// 2026-01-10, around which all histories happen.
const FIRST_DAY: i32 = 20_463;
const KEYS: usize = 52;

/// An event of one key and how often it is delivered.
#[derive(Debug, Clone)]
struct Event {
    gap: i64,
    event: &'static str,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone)]
struct Delivery {
    /// Days from event date to arrival date.
    delay: i32,
    file: u8,
    kind: Option<&'static str>,
    note: Option<&'static str>,
}

/// How the rules change in the middle of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Never,
    Accept,
    Reprocess { days_from_first: i32 },
}

#[derive(Debug, Clone)]
struct History {
    configuration: Configuration,
    next: Configuration,
    change: Change,
    /// For each key: where its events begin, and the events.
    keys: Vec<(i64, Vec<Event>)>,
    /// Order, cut and repetition of the deliveries follow from it.
    order_seed: u64,
}

fn rules() -> impl Strategy<Value = Rules> {
    let action = prop_oneof![Just(Action::ByEvent), Just(Action::ByAttribute)];
    let closes = prop_oneof![Just(Closes::Never), Just(Closes::ByEvent), Just(Closes::ByAttribute)];
    let max = prop_oneof![Just(None), Just(Some(12)), Just(Some(45))];
    (action, any::<bool>(), closes, prop_oneof![Just(5), Just(7)], max).prop_map(
        |(action, any_event_opens, closes, timeout_minutes, max_duration_minutes)| Rules {
            action,
            any_event_opens,
            closes,
            timeout_minutes,
            max_duration_minutes,
        },
    )
}

fn mapping() -> impl Strategy<Value = Mapping> {
    (any::<bool>(), 3..=5i32, 1..=2i64).prop_map(
        |(z_becomes_c, update_depth_days, lookback_days)| Mapping {
            z_becomes_c,
            update_depth_days,
            lookback_days,
        },
    )
}

/// Gaps at which the rules turn, for timeouts of 5 and 7 minutes and lookbacks of 1 and 2 days.
fn gap() -> impl Strategy<Value = i64> {
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

fn event() -> impl Strategy<Value = Event> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("c"), Just("x")];
    (gap(), name, prop::collection::vec(delivery(), 1..3))
        .prop_map(|(gap, event, deliveries)| Event { gap, event, deliveries })
}

/// Sessions begin at any time, and often just before midnight.
fn start() -> impl Strategy<Value = i64> {
    let day = (0..2i64).prop_map(|day| (i64::from(FIRST_DAY) + day) * DAY);
    let time = prop_oneof![0..DAY, (DAY - 10 * MINUTE)..DAY, Just(DAY - 5 * MINUTE), Just(0)];
    (day, time).prop_map(|(day, time)| day + time / SECOND * SECOND)
}

fn history(changes: bool) -> impl Strategy<Value = History> {
    let change = if changes {
        prop_oneof![
            Just(Change::Accept),
            (-1..6i32).prop_map(|days_from_first| Change::Reprocess { days_from_first }),
        ]
        .boxed()
    } else {
        Just(Change::Never).boxed()
    };
    let configuration = (rules(), mapping(), any::<bool>(), any::<bool>(), any::<bool>());
    let keys =
        prop::collection::vec((start(), prop::collection::vec(event(), 1..7)), KEYS..KEYS + 8);
    (configuration, rules(), mapping(), any::<bool>(), change, keys, any::<u64>()).prop_map(
        |(
            (rules, mapping, kolkata, jsonl, keeps_raw),
            new_rules,
            new_mapping,
            remap,
            change,
            keys,
            order_seed,
        )| {
            let raw_days = if keeps_raw { 14 } else { 2 };
            let configuration = Configuration { rules, mapping, raw_days, kolkata, jsonl };
            let mapping = if remap { new_mapping } else { mapping };
            let next = Configuration { rules: new_rules, mapping, ..configuration };
            History { configuration, next, change, keys, order_seed }
        },
    )
}

impl History {
    /// Every delivered row with the file that brings it.
    fn rows(&self) -> Vec<(u8, Row)> {
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

/// A history while it happens.
struct Happening<'h> {
    history: &'h History,
    workspace: Workspace,
    rng: ChaCha8Rng,
    configuration: Configuration,
    recorded: Recorded,
    ingested: BTreeMap<i32, Vec<Row>>,
    built: BTreeMap<i32, Vec<Row>>,
}

/// One version of one file.
struct Step {
    arrival: i32,
    file: u8,
    rows: Vec<Row>,
}

impl Happening<'_> {
    fn steps(&mut self) -> Vec<Step> {
        let mut files: BTreeMap<(i32, u8), Vec<Row>> = BTreeMap::new();
        for (file, row) in self.history.rows() {
            files.entry((row.arrival, file)).or_default().push(row);
        }
        let mut whole: Vec<Step> =
            files.into_iter().map(|((arrival, file), rows)| Step { arrival, file, rows }).collect();
        whole.shuffle(&mut self.rng);
        // Some files come twice: first the half of it, then the same name with all rows.
        let mut steps: Vec<Step> = Vec::new();
        for step in whole {
            if step.rows.len() > 1 && self.rng.random_bool(0.2) {
                let half = step.rows[..step.rows.len() / 2].to_vec();
                let at = self.rng.random_range(0..=steps.len());
                steps.insert(at, Step { rows: half, ..step });
            }
            steps.push(step);
        }
        steps
    }

    fn deliver(&mut self, step: &Step) {
        let rows: Vec<&Row> = step.rows.iter().collect();
        let jsonl = self.configuration.jsonl;
        let ending = if jsonl { "jsonl" } else { "csv" };
        let name = format!("{}/part-{}.{ending}", date(step.arrival), step.file);
        self.workspace.write_batch(&name, &batch(&rows, jsonl));
    }

    fn ingested(&mut self, step: &Step) {
        self.ingested.entry(step.arrival).or_default().extend(step.rows.iter().cloned());
    }

    fn built_through(&mut self, arrivals: impl IntoIterator<Item = i32>) {
        for arrival in arrivals {
            if let Some(rows) = self.ingested.get(&arrival) {
                self.built.insert(arrival, rows.clone());
            }
        }
    }

    fn all_ingested_are_built(&mut self) {
        let arrivals: Vec<i32> = self.ingested.keys().copied().collect();
        self.built_through(arrivals);
    }

    /// Several files may be there before the first run that takes them in.
    fn step(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.deliver(step);
        }
        let arrivals: BTreeSet<i32> = steps.iter().map(|step| step.arrival).collect();
        // Of two versions of a file, only the one that is there at the time is delivered.
        let versions: BTreeMap<(i32, u8), &Step> =
            steps.iter().map(|step| ((step.arrival, step.file), step)).collect();
        for step in versions.into_values() {
            self.ingested(step);
        }
        for arrival in arrivals {
            let one = Dates::One(date(arrival));
            if self.rng.random_bool(0.15) {
                done(self.workspace.ingest(one, LatePolicy::Bounded))?;
            } else {
                done(self.workspace.run(one, RuleChange::Refuse))?;
                self.built_through([arrival]);
            }
        }
        self.repeat_something()
    }

    fn repeat_something(&mut self) -> Result<(), TestCaseError> {
        match self.rng.random_range(0..10) {
            0 => {
                let known: Vec<i32> = self.ingested.keys().copied().collect();
                let Some(again) = known.choose(&mut self.rng) else { return Ok(()) };
                let dates = Dates::One(date(*again));
                done(self.workspace.build(dates, Rebuild::Always))?;
                self.built_through([*again]);
            }
            1 => {
                done(self.workspace.build(Dates::CatchUp, Rebuild::WhenPending))?;
                self.all_ingested_are_built();
            }
            2 => {
                done(self.workspace.run(Dates::CatchUp, RuleChange::Refuse))?;
                self.all_ingested_are_built();
            }
            _ => {}
        }
        Ok(())
    }

    fn ods(&self) -> Vec<Expected> {
        let built: Vec<Row> = self.built.values().flatten().cloned().collect();
        self.recorded.ods(&built, self.configuration.offset())
    }

    fn change_rules(&mut self) -> Result<(), TestCaseError> {
        match self.history.change {
            Change::Never => Ok(()),
            Change::Accept => self.accept(),
            Change::Reprocess { days_from_first } => self.reprocess(FIRST_DAY + days_from_first),
        }
    }

    fn accept(&mut self) -> Result<(), TestCaseError> {
        let next = self.history.next;
        if self.built.is_empty() {
            return Ok(());
        }
        let arrival = FIRST_DAY + self.rng.random_range(-1..12);
        let newest_built = self.built.keys().next_back().copied();
        let remapped = self.recorded.mappings.last().unwrap().1 != next.mapping;
        self.workspace.configure(&next.toml());
        let refused = self.workspace.run(Dates::One(date(arrival)), RuleChange::Refuse);
        if next != self.configuration {
            let differs = matches!(
                refused,
                Err(JobError::Rules { source: BuildError::RulesDiffer { .. }, .. })
            );
            prop_assert!(differs, "changed rules were not refused");
        }
        let result = self.workspace.run(Dates::One(date(arrival)), RuleChange::Accept);
        if remapped && newest_built.is_some_and(|built| built >= arrival) {
            let too_early = matches!(
                result,
                Err(JobError::Rules { source: BuildError::MappingTooEarly { .. }, .. })
            );
            prop_assert!(too_early, "a mapping started at {arrival} before {newest_built:?}");
            self.workspace.configure(&self.configuration.toml());
            return Ok(());
        }
        done(result)?;
        let newest_pdate = self.ods().iter().map(|row| row.pdate).max();
        self.recorded.accept(&next, newest_pdate, arrival);
        self.configuration = next;
        self.built_through([arrival]);
        Ok(())
    }

    fn reprocess(&mut self, from: i32) -> Result<(), TestCaseError> {
        if self.built.is_empty() {
            return Ok(());
        }
        let next = self.history.next;
        self.workspace.configure(&next.toml());
        match self.workspace.reprocess(date(from)) {
            Err(JobError::Reprocess { source: BuildError::NotCovered { .. }, .. }) => {
                prop_assert!(next.raw_days < 14, "nothing was removed");
                self.workspace.configure(&self.configuration.toml());
            }
            result => {
                done(result)?;
                let mappings = self.recorded.mappings.clone();
                self.recorded.restart(&next, from);
                self.configuration = next;
                let first = if mappings == self.recorded.mappings { from - 1 } else { i32::MIN };
                // What it reads of raw is built, whether it was before or not.
                let read: Vec<i32> =
                    self.ingested.keys().copied().filter(|a| *a >= first.max(from - 1)).collect();
                self.built_through(read);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TestCaseError> {
        done(self.workspace.run(Dates::CatchUp, RuleChange::Refuse))?;
        self.all_ingested_are_built();
        if !self.built.is_empty() {
            self.workspace.assert_sorted();
        }
        let found = self.workspace.ods(&["kind", "note"]);
        let expected = self.ods();
        if found != expected {
            return Err(TestCaseError::fail(difference(&found, &expected)));
        }
        self.check_quarantine()
    }

    /// Quarantine holds what does not count. (Where retention removed a date, a later file of
    /// that date brings back its own rows alone.)
    fn check_quarantine(&self) -> Result<(), TestCaseError> {
        if self.configuration.raw_days < 14 {
            return Ok(());
        }
        let offset = self.configuration.offset();
        let rejected = self.built.values().flatten();
        let mut expected: Vec<(i32, String)> = rejected
            .filter_map(|row| Some((row.arrival, self.recorded.verdict(row, offset)?.to_owned())))
            .collect();
        expected.sort();
        prop_assert_eq!(self.workspace.quarantine(), expected, "quarantine");
        Ok(())
    }
}

fn done<T>(result: Result<T, JobError>) -> Result<T, TestCaseError> {
    result.map_err(|error| TestCaseError::fail(sessionlake::job::error_chain(&error)))
}

/// The first rows in which two tables differ, with their key's events.
fn difference(found: &[Expected], expected: &[Expected]) -> String {
    let only = |left: &[Expected], right: &[Expected]| {
        left.iter().filter(|row| !right.contains(row)).take(3).cloned().collect::<Vec<_>>()
    };
    format!(
        "{} rows found, {} expected\nonly found: {:#?}\nonly expected: {:#?}",
        found.len(),
        expected.len(),
        only(found, expected),
        only(expected, found)
    )
}

fn obeys_the_law(history: &History) -> Result<(), TestCaseError> {
    let mut happening = Happening {
        workspace: Workspace::new(),
        rng: ChaCha8Rng::seed_from_u64(history.order_seed),
        configuration: history.configuration,
        recorded: Recorded::first(&history.configuration),
        ingested: BTreeMap::new(),
        built: BTreeMap::new(),
        history,
    };
    happening.workspace.configure(&history.configuration.toml());
    let steps = happening.steps();
    let change_at = happening.rng.random_range(0..=steps.len());
    let mut at = 0;
    while at < steps.len() {
        if at == change_at {
            happening.change_rules()?;
        }
        let together = happening.rng.random_range(2..7).min(steps.len() - at);
        let crosses = at < change_at && change_at < at + together;
        let together = if crosses { change_at - at } else { together };
        happening.step(&steps[at..at + together])?;
        at += together;
    }
    if change_at == steps.len() {
        happening.change_rules()?;
    }
    happening.finish()
}

fn check(name: &str, changes: bool) {
    let histories = std::env::var("SESSIONLAKE_LAW_HISTORIES")
        .map_or(100, |number| number.parse().expect("SESSIONLAKE_LAW_HISTORIES is a number"));
    let config = Config {
        cases: histories,
        max_shrink_iters: std::env::var("SESSIONLAKE_LAW_SHRINKS")
            .map_or(30, |number| number.parse().expect("SESSIONLAKE_LAW_SHRINKS is a number")),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    eprintln!("{name}: {histories} histories of at least {KEYS} keys");
    if let Err(failure) = runner.run(&history(changes), |history| obeys_the_law(&history)) {
        panic!("{name}: {failure}");
    }
}

#[test]
fn ods_is_a_function_of_what_was_delivered() {
    check("the law", false);
}

#[test]
fn ods_is_a_function_of_the_recorded_rules_too() {
    check("the law with rule changes", true);
}
