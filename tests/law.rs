//! The law, through the real job on Delta tables: whatever the cut of the deliveries into files
//! and runs, their order and repetition, with rule changes and retention in between, ODS is what
//! the reference computes from everything delivered, and sessions what it computes from ODS.
//!
//! `SESSIONLAKE_LAW_HISTORIES` sets the number of histories of each test, `PROPTEST_RNG_SEED` the
//! seed; a failing history is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sessionlake::error::JobError;
use sessionlake::inspect::verify::Extent;
use sessionlake::job::Dates;
use sessionlake::lake::ids::LatePolicy;
use sessionlake::reference::{Expected, expected_sessions};
use sessionlake::stages::build::Rebuild;
use sessionlake::stages::deliveries::DeliveredFile;
use sessionlake::stages::error::BuildError;
use sessionlake::stages::reprocess::Source;
use sessionlake::stages::rules::RuleChange;

use crate::support::changes::{changes, session_changes};
use crate::support::model::{Configuration, Recorded, Row, batch, pdate};
use crate::support::workspace::{Workspace, date};

mod history;

use history::{Change, History, Kind, history};

/// 2026-01-10, around which all histories happen.
const FIRST_DAY: i32 = 20_463;
const KEYS: usize = 52;
/// Longer than any calendar: retention removes nothing.
const RAW_DAYS: u32 = 40;

/// A history while it happens.
struct Happening<'h> {
    history: &'h History,
    workspace: Workspace,
    rng: ChaCha8Rng,
    configuration: Configuration,
    recorded: Recorded,
    /// By arrival date, each row with its file.
    ingested: BTreeMap<i32, Vec<(u8, Row)>>,
    built: BTreeMap<i32, Vec<(u8, Row)>>,
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
        let name = self.file(step.arrival, step.file).file;
        self.workspace.write_batch(&name, &batch(&rows, self.configuration.jsonl));
    }

    fn file(&self, arrival: i32, file: u8) -> DeliveredFile {
        let ending = if self.configuration.jsonl { "jsonl" } else { "csv" };
        let arrival_date = date(arrival);
        DeliveredFile { arrival_date, file: format!("{arrival_date}/part-{file}.{ending}") }
    }

    fn ingested(&mut self, step: &Step) {
        let rows = step.rows.iter().map(|row| (step.file, row.clone()));
        self.ingested.entry(step.arrival).or_default().extend(rows);
    }

    fn built_through(&mut self, arrivals: impl IntoIterator<Item = i32>) {
        for arrival in arrivals {
            if let Some(rows) = self.ingested.get(&arrival) {
                self.built.insert(arrival, rows.clone());
            }
        }
    }

    /// Arrival dates with rows that are ingested and not built.
    fn pending(&self) -> Vec<i32> {
        let built = |arrival| self.built.get(arrival).map_or(&[][..], Vec::as_slice);
        let pending = self.ingested.iter().filter(|(arrival, rows)| built(arrival) != &rows[..]);
        pending.map(|(arrival, _)| *arrival).collect()
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
        // Of two versions of a file, only the one that is there at the time is delivered.
        let versions: BTreeMap<(i32, u8), &Step> =
            steps.iter().map(|step| ((step.arrival, step.file), step)).collect();
        let mut there: BTreeMap<i32, Vec<&Step>> = BTreeMap::new();
        for step in versions.into_values() {
            there.entry(step.arrival).or_default().push(step);
        }
        for arrival in there.keys().copied().collect::<Vec<_>>() {
            let one = Dates::One(date(arrival));
            let mut taken_in = vec![arrival];
            let is_built = !self.rng.random_bool(0.15);
            if is_built {
                // What was ingested before and is not built comes first, with the files that its
                // date has by now.
                taken_in.extend(self.pending());
                done(self.workspace.run(one, RuleChange::Refuse))?;
            } else {
                done(self.workspace.ingest(one, LatePolicy::Bounded))?;
            }
            for step in taken_in.iter().filter_map(|arrival| there.remove(arrival)).flatten() {
                self.ingested(step);
            }
            if is_built {
                self.all_ingested_are_built();
            }
        }
        self.repeat_something()
    }

    fn repeat_something(&mut self) -> Result<(), TestCaseError> {
        if self.rng.random_bool(0.1) {
            self.verify();
        }
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
        let built: Vec<Row> = self.built.values().flatten().map(|(_, row)| row.clone()).collect();
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
        self.all_ingested_are_built();
        Ok(())
    }

    /// From raw or from ODS; first it says what it is going to do, and writes nothing for that.
    fn reprocess(&mut self, from: i32) -> Result<(), TestCaseError> {
        if self.built.is_empty() {
            return Ok(());
        }
        let next = self.history.next;
        let source = if self.rng.random_bool(0.5) { Source::Ods } else { Source::Raw };
        self.workspace.configure(&next.toml());
        let before = self.workspace.ods(&["kind", "note"]);
        let bytes = self.workspace.lake_bytes();
        let forecast = self.workspace.forecast(date(from), source);
        let plan = self.workspace.plan(Some(date(from)));
        prop_assert!(bytes == self.workspace.lake_bytes(), "a dry run wrote to the lake");
        match self.workspace.reprocess(date(from), source) {
            Err(JobError::Reprocess { source: refused, .. }) => {
                prop_assert!(forecast.is_err(), "a dry run of what is refused");
                match refused {
                    BuildError::NotCovered { .. } => {
                        prop_assert_eq!(source, Source::Raw);
                        prop_assert!(next.raw_days < RAW_DAYS, "nothing was removed");
                    }
                    BuildError::MappingNeedsRaw { .. } => {
                        prop_assert_eq!(source, Source::Ods);
                        prop_assert!(self.recorded.mappings.last().unwrap().1 != next.mapping);
                    }
                    other => return Err(TestCaseError::fail(other.to_string())),
                }
                self.workspace.configure(&self.configuration.toml());
            }
            result => {
                done(result)?;
                self.reprocessed(from, source);
                let after = self.workspace.ods(&["kind", "note"]);
                let offset = self.configuration.offset();
                let found = changes(&before, &after, offset);
                prop_assert_eq!(done(forecast)?.dates, found, "the dry run said otherwise");
                if source == Source::Ods {
                    let (found, _) = session_changes(&before, &after, from, offset);
                    prop_assert_eq!(done(plan)?.dates, found, "the plan said otherwise");
                }
            }
        }
        Ok(())
    }

    fn reprocessed(&mut self, from: i32, source: Source) {
        let next = self.history.next;
        self.configuration = next;
        if source == Source::Ods {
            self.recorded.restart_sessions(&next, from);
            return;
        }
        let mappings = self.recorded.mappings.clone();
        self.recorded.restart(&next, from);
        let first = if mappings == self.recorded.mappings { from - 1 } else { i32::MIN };
        // What it reads of raw is built, whether it was before or not.
        let read: Vec<i32> =
            self.ingested.keys().copied().filter(|a| *a >= first.max(from - 1)).collect();
        self.built_through(read);
    }

    /// Takes one file back, all that was delivered under its name; first it says what it is going
    /// to do, and writes nothing for that.
    fn withdraw(&mut self) -> Result<(), TestCaseError> {
        let files: BTreeSet<(i32, u8)> = self
            .ingested
            .iter()
            .flat_map(|(arrival, rows)| rows.iter().map(|(file, _)| (*arrival, *file)))
            .collect();
        let files: Vec<(i32, u8)> = files.into_iter().collect();
        let Some((arrival, file)) = files.choose(&mut self.rng).copied() else { return Ok(()) };
        if self.built.is_empty() {
            return Ok(());
        }
        let delivered = self.file(arrival, file);
        let before = self.workspace.ods(&["kind", "note"]);
        let bytes = self.workspace.lake_bytes();
        let forecast = self.workspace.withdrawal_forecast(&delivered);
        prop_assert!(bytes == self.workspace.lake_bytes(), "a dry run wrote to the lake");
        match self.workspace.withdraw(&delivered) {
            Err(JobError::Withdraw { source: refused, .. }) => {
                prop_assert!(forecast.is_err(), "a dry run of what is refused");
                prop_assert!(self.configuration.raw_days < RAW_DAYS, "nothing was removed");
                let is_gone = matches!(
                    refused,
                    BuildError::NotCovered { .. } | BuildError::DeliveryExpired { .. }
                );
                prop_assert!(is_gone, "{refused}");
            }
            result => {
                done(result)?;
                self.withdrawn(arrival, file);
                let after = self.workspace.ods(&["kind", "note"]);
                let found = changes(&before, &after, self.configuration.offset());
                prop_assert_eq!(done(forecast)?.dates, found, "the dry run said otherwise");
            }
        }
        Ok(())
    }

    fn withdrawn(&mut self, arrival: i32, file: u8) {
        let offset = self.configuration.offset();
        let of_file = self.ingested[&arrival].iter().filter(|(of, _)| *of == file);
        let counted = of_file.filter(|(_, row)| self.recorded.verdict(row, offset).is_none());
        let first = counted.map(|(_, row)| pdate(row, offset)).min().unwrap_or(arrival + 1);
        for rows in [&mut self.ingested, &mut self.built] {
            if let Some(rows) = rows.get_mut(&arrival) {
                rows.retain(|(of, _)| *of != file);
            }
        }
        // What it reads of raw is built, whether it was before or not.
        let read: Vec<i32> = self.ingested.keys().copied().filter(|at| *at >= first - 1).collect();
        self.built_through(read);
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
        let found = self.workspace.sessions(Some("note"));
        let expected = expected_sessions(&expected, Some(1));
        if found != expected {
            return Err(TestCaseError::fail(difference(&found, &expected)));
        }
        if !self.built.is_empty() {
            self.workspace.assert_sessions_sorted();
        }
        self.verify();
        self.check_quarantine()
    }

    /// `verify` finds nothing in a lake that obeys the law.
    fn verify(&mut self) {
        let from = date(FIRST_DAY + self.rng.random_range(-1..12));
        self.workspace.verified(&Extent::From(from));
        self.workspace.verified(&Extent::All);
    }

    /// Quarantine holds what does not count. (Where retention removed a date, a later file of
    /// that date brings back its own rows alone.)
    fn check_quarantine(&self) -> Result<(), TestCaseError> {
        if self.configuration.raw_days < RAW_DAYS {
            return Ok(());
        }
        let offset = self.configuration.offset();
        let rejected = self.built.values().flatten().map(|(_, row)| row);
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
fn difference<R: Debug + Clone + PartialEq>(found: &[R], expected: &[R]) -> String {
    let only = |left: &[R], right: &[R]| {
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
        workspace: Workspace::in_memory(),
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
        if history.withdraws && happening.rng.random_bool(0.3) {
            happening.withdraw()?;
        }
    }
    if change_at == steps.len() {
        happening.change_rules()?;
    }
    if history.withdraws {
        happening.withdraw()?;
    }
    happening.finish()
}

fn check(name: &str, kind: Kind) {
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
    if let Err(failure) = runner.run(&history(kind), |history| obeys_the_law(&history)) {
        panic!("{name}: {failure}");
    }
}

#[test]
fn ods_is_a_function_of_what_was_delivered() {
    check("the law", Kind::Deliveries);
}

#[test]
fn ods_is_a_function_of_the_recorded_rules_too() {
    check("the law with rule changes", Kind::RuleChanges);
}

#[test]
fn what_is_withdrawn_never_came() {
    check("the law with withdrawals", Kind::Withdrawals);
}
