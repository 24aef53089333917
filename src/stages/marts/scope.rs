//! Which dates of `sessions/<feed>` a change of ODS concerns, and which event dates their sessions
//! are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::LocalResult;
use chrono_tz::Tz;

use crate::lake::contracts::timestamp_type;
use crate::lake::sorted_files::{FileAccess, FileReader};
use crate::stages::error::BuildError;
use crate::stages::merge::known_files::{KnownFile, READ_ROWS};
use crate::stages::timestamps::{date_in, midnight};

/// The session dates that are written anew, days since 1970, each with the event dates on which the
/// sessions that begin there may have events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scope(pub(super) BTreeMap<i32, RangeInclusive<i32>>);

impl Scope {
    /// The scope of a change of the rows of the event dates `changed`.
    ///
    /// A session whose row differs has, or had, an event on one of them. The sessions there are
    /// now begin on the dates that `starts` gives for each of these dates. Those there were are rows
    /// of the table: `ends` has the time of the last event of the sessions of each date, and one of
    /// them had an event on a changed date only if that lies between its start and its end. An event
    /// of a session of now lies on a changed date, or was one of that session before.
    pub(super) fn of(
        changed: &BTreeSet<i32>,
        starts: &BTreeMap<i32, BTreeSet<i32>>,
        ends: &BTreeMap<i32, i64>,
        zone: Tz,
    ) -> Self {
        let before: BTreeMap<i32, RangeInclusive<i32>> = ends
            .iter()
            .map(|(date, end)| (*date, first_event_date(*date, zone)..=last_event_date(*end, zone)))
            .collect();
        let touched =
            before.iter().filter(|(_, events)| changed.range((*events).clone()).next().is_some());
        let mut scope: BTreeMap<i32, RangeInclusive<i32>> =
            touched.map(|(date, events)| (*date, events.clone())).collect();
        for (event_date, dates) in starts {
            for date in dates {
                let events = scope.entry(*date).or_insert_with(|| {
                    let first = first_event_date(*date, zone);
                    before.get(date).cloned().unwrap_or(first..=*date)
                });
                *events = *events.start().min(event_date)..=*events.end().max(event_date);
            }
        }
        Self(scope)
    }

    /// The event dates on which sessions that begin on one of `dates` may have events.
    pub(super) fn event_dates(
        &self,
        dates: &BTreeSet<i32>,
        known: impl Iterator<Item = i32>,
    ) -> BTreeSet<i32> {
        let has_events = |event_date: &i32| {
            let mut spans = dates.iter().filter_map(|date| self.0.get(date));
            spans.any(|events| events.contains(event_date))
        };
        known.filter(has_events).collect()
    }
}

/// The first event date of sessions that begin on `date`: the day before, where the clocks go back
/// to it.
fn first_event_date(date: i32, zone: Tz) -> i32 {
    match midnight(date, zone) {
        LocalResult::Ambiguous(..) => date.saturating_sub(1),
        _ => date,
    }
}

/// The last event date of sessions that end at `end` at the latest: the day behind, where the clocks
/// have gone back from it.
fn last_event_date(end_micros: i64, zone: Tz) -> i32 {
    let Some(date) = date_in(end_micros, zone) else {
        return i32::MAX;
    };
    let next = date.saturating_add(1);
    match midnight(next, zone) {
        LocalResult::Ambiguous(..) => next,
        _ => date,
    }
}

/// The dates on which the sessions begin of which `file` has events; waits for the store.
pub(super) fn starts_in(
    access: &FileAccess,
    file: &KnownFile,
    event_date: i32,
    zone: Tz,
) -> Result<BTreeSet<i32>, BuildError> {
    let column = Field::new("session_start", timestamp_type(), true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![column]));
    let mut reader = FileReader::new(access, &file.open, &schema, (None, None), READ_ROWS)?;
    let mut dates = BTreeSet::new();
    let of_event_date = instants_of(event_date, zone);
    let mut last = None;
    while let Some(batch) = reader.next_batch()? {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        for row in (0..starts.len()).filter(|row| starts.is_valid(*row)) {
            let start = starts.value(row);
            if last == Some(start) {
                continue;
            }
            last = Some(start);
            let date = if of_event_date.contains(&start) {
                Some(event_date)
            } else {
                date_in(start, zone)
            };
            // Most rows give the date that the row before has given.
            if date != dates.last().copied() {
                dates.extend(date);
            }
        }
    }
    Ok(dates)
}

/// Instants that are of `date` alone: none where its clocks are moved at midnight.
fn instants_of(date: i32, zone: Tz) -> std::ops::Range<i64> {
    match (midnight(date, zone), midnight(date.saturating_add(1), zone)) {
        (LocalResult::Single(first), LocalResult::Single(end)) => first..end,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;
    const HOUR: i64 = DAY / 24;

    fn scope(
        changed: &[i32],
        starts: &[(i32, &[i32])],
        ends: &[(i32, i64)],
    ) -> Vec<(i32, RangeInclusive<i32>)> {
        let starts = starts.iter().map(|(date, of)| (*date, of.iter().copied().collect()));
        let changed = changed.iter().copied().collect();
        let ends = ends.iter().copied().collect();
        Scope::of(&changed, &starts.collect(), &ends, Tz::UTC).0.into_iter().collect()
    }

    #[test]
    fn a_date_is_in_scope_where_its_sessions_had_events_on_a_changed_one() {
        let ends = [(10, 10 * DAY + HOUR), (11, 12 * DAY), (12, 12 * DAY + HOUR)];
        assert_eq!(scope(&[12], &[], &ends), [(11, 11..=12), (12, 12..=12)]);
        assert_eq!(scope(&[10], &[], &ends), [(10, 10..=10)]);
        assert_eq!(scope(&[13], &[], &ends), []);
        assert_eq!(scope(&[], &[], &ends), []);
    }

    #[test]
    fn a_date_is_in_scope_where_its_sessions_have_events_on_a_changed_one() {
        assert_eq!(scope(&[12], &[(12, &[9, 12])], &[]), [(9, 9..=12), (12, 12..=12)]);
        // The sessions of before go on beyond it.
        let ends = [(9, 14 * DAY)];
        assert_eq!(scope(&[12], &[(12, &[9])], &ends), [(9, 9..=14)]);
        let short = [(9, 10 * DAY)];
        assert_eq!(scope(&[12], &[(12, &[9])], &short), [(9, 9..=12)]);
    }

    #[test]
    fn sessions_of_which_the_end_is_not_known_may_have_events_on_any_later_date() {
        let ends = [(9, i64::MAX), (13, i64::MAX)];
        assert_eq!(scope(&[12], &[], &ends), [(9, 9..=last_event_date(i64::MAX, Tz::UTC))]);
    }

    #[test]
    fn a_date_that_the_clocks_go_back_from_comes_again() {
        let st_johns: Tz = "America/St_Johns".parse().unwrap();
        // 2010-11-07, whose first minute is followed by the last hour of the day before.
        let date = 14_920;
        assert_eq!(first_event_date(date, st_johns), date - 1);
        assert_eq!(first_event_date(date - 1, st_johns), date - 1);
        let second_pass = i64::from(date) * DAY + 3 * HOUR;
        assert_eq!(date_in(second_pass, st_johns), Some(date - 1));
        assert_eq!(last_event_date(second_pass, st_johns), date);
        assert!(instants_of(date, st_johns).is_empty());
        assert!(instants_of(date + 1, st_johns).contains(&((i64::from(date) + 2) * DAY)));
    }
}
