//! Which events of a key are shown: those asked for, with some before and behind them.

use std::ops::Range;

use chrono::NaiveDate;

use super::derivation::{Derived, Fact, derive};
use super::error::ExplainError;
use super::facts::{ActiveDate, Key, Ods};
use super::{Moment, Question, ShownEvents, rfc_3339};
use crate::stages::merge::date_of_days;
use crate::stages::timestamps::date_in;

/// The newest events of an id that are shown.
const MOST_OCCURRENCES: usize = 3;

/// An event that is shown.
pub(super) type Shown = (Fact, Derived);

/// What is looked for among the events of some dates.
#[derive(Debug, Clone, Copy)]
enum Target<'q> {
    /// All events of a date.
    Date(NaiveDate),
    /// The session of the event nearest to an instant.
    Nearest(i64),
    /// A session.
    Session(&'q str),
}

/// Events found: where they are, and which of them stays when there are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Focus {
    events: Range<usize>,
    anchor: usize,
}

/// The events that answer a question, by their position among all events of the key. `dates` are
/// those of the key, in order, at least one; `occurrences` when the event happened that is asked for,
/// the newest first.
pub(super) async fn shown_of(
    ods: &Ods,
    key: Key<'_>,
    dates: &[ActiveDate],
    occurrences: &[i64],
    question: &Question,
) -> Result<ShownEvents, ExplainError> {
    let mut shown = ShownEvents::new();
    for (target, around) in targets(ods, dates, occurrences, question) {
        shown.extend(look(ods, key, dates, target, around, question).await?);
    }
    if let (true, Moment::Session { id, start_micros }) = (shown.is_empty(), &question.moment) {
        return Err(ExplainError::UnknownSession {
            table: ods.name.clone(),
            id: id.clone(),
            start: rfc_3339(*start_micros),
        });
    }
    Ok(shown)
}

/// What to look for, each with the positions in `dates` between which it begins.
fn targets<'q>(
    ods: &Ods,
    dates: &[ActiveDate],
    occurrences: &[i64],
    question: &'q Question,
) -> Vec<(Target<'q>, Range<usize>)> {
    let last = dates.len() - 1;
    let around = |micros: i64| {
        let date = date_of(ods, micros);
        let behind = dates.partition_point(|active| active.date <= date);
        let before = dates.partition_point(|active| active.date < date);
        before.saturating_sub(1)..(behind + 1).min(dates.len())
    };
    match &question.moment {
        Moment::LastDate => vec![(Target::Date(dates[last].date), last..dates.len())],
        Moment::At(micros) => vec![(Target::Nearest(*micros), around(*micros))],
        Moment::Session { id, start_micros } => {
            vec![(Target::Session(id), around(*start_micros))]
        }
        Moment::Event(_) => {
            let newest = occurrences.iter().take(MOST_OCCURRENCES);
            newest.map(|micros| (Target::Nearest(*micros), around(*micros))).collect()
        }
    }
}

/// Reads the dates `around`, and more as long as the session found goes on beyond them.
async fn look(
    ods: &Ods,
    key: Key<'_>,
    dates: &[ActiveDate],
    target: Target<'_>,
    mut around: Range<usize>,
    question: &Question,
) -> Result<Vec<(usize, Shown)>, ExplainError> {
    loop {
        let read = with_context(dates, &around, question.context);
        let facts = ods.facts(key, (dates[read.start].date, dates[read.end - 1].date)).await?;
        let derived = derive(&facts, &ods.limits(), read.start > 0);
        let Some(focus) = focus(&facts, &derived, target) else {
            return Ok(vec![]);
        };
        let wider = wider(ods, dates, &facts, &focus, target, (&around, &read));
        if wider != around {
            around = wider;
            continue;
        }
        let before: usize = dates[..read.start].iter().map(|date| date.events).sum();
        let visible = visible(&focus, facts.len(), question);
        let explained = facts.into_iter().zip(derived).enumerate();
        return Ok(explained
            .filter(|(at, _)| visible.contains(at))
            .filter_map(|(at, (fact, derived))| Some((before + at, (fact, derived?))))
            .collect());
    }
}

/// Dates with enough events around those asked for: one more than is shown, as the first instant
/// that is read is not explained.
fn with_context(dates: &[ActiveDate], around: &Range<usize>, context: usize) -> Range<usize> {
    let events =
        |range: Range<usize>| -> usize { dates[range].iter().map(|date| date.events).sum() };
    let (mut start, mut end) = (around.start, around.end);
    while start > 0 && events(start..around.start) <= context {
        start -= 1;
    }
    while end < dates.len() && events(around.end..end) <= context {
        end += 1;
    }
    start..end
}

/// `around`, and the dates on which the session found begins and may go on.
fn wider(
    ods: &Ods,
    dates: &[ActiveDate],
    facts: &[Fact],
    focus: &Focus,
    target: Target<'_>,
    (around, read): (&Range<usize>, &Range<usize>),
) -> Range<usize> {
    if matches!(target, Target::Date(_)) {
        return around.clone();
    }
    let start = facts[focus.events.start].session_start_micros.and_then(|start| {
        let date = date_of(ods, start);
        dates.iter().position(|active| active.date >= date)
    });
    let goes_on = focus.events.end == facts.len() && read.end < dates.len();
    // Twice as many, so that a session of many dates is read a few times only.
    let end = if goes_on { (read.end + read.len()).min(dates.len()) } else { around.end };
    start.unwrap_or(around.start).min(around.start)..end
}

fn date_of(ods: &Ods, micros: i64) -> NaiveDate {
    let zone = crate::stages::rules::zone(&ods.book);
    date_in(micros, zone).and_then(date_of_days).unwrap_or_default()
}

fn focus(facts: &[Fact], derived: &[Option<Derived>], target: Target<'_>) -> Option<Focus> {
    match target {
        Target::Date(date) => {
            let first = facts.iter().position(|fact| fact.pdate == date)?;
            let last = facts.iter().rposition(|fact| fact.pdate == date)?;
            Some(Focus { events: first..last + 1, anchor: last })
        }
        Target::Session(id) => {
            let is_of = |fact: &Fact| fact.session_id.as_deref() == Some(id);
            let first = facts.iter().position(is_of)?;
            let last = facts.iter().rposition(is_of)?;
            Some(Focus { events: first..last + 1, anchor: first })
        }
        Target::Nearest(micros) => {
            let nearest =
                (0..facts.len()).min_by_key(|at| facts[*at].timestamp_micros.abs_diff(micros))?;
            Some(Focus { events: session_around(facts, derived, nearest), anchor: nearest })
        }
    }
}

/// The events of the session of one of them; for an event without a session, those since the break
/// that have none either.
fn session_around(facts: &[Fact], derived: &[Option<Derived>], at: usize) -> Range<usize> {
    let is_break = |at: usize| derived[at].as_ref().is_some_and(|event| event.is_break.is_some());
    let goes_with = |left: usize, right: usize| {
        facts[left].session_start_micros == facts[right].session_start_micros
            && (facts[left].session_start_micros.is_some() || !is_break(right))
    };
    let (mut start, mut end) = (at, at + 1);
    while start > 0 && goes_with(start - 1, start) {
        start -= 1;
    }
    while end < facts.len() && goes_with(end - 1, end) {
        end += 1;
    }
    start..end
}

/// The events found with those around them, or as many as may be shown.
fn visible(focus: &Focus, events: usize, question: &Question) -> Range<usize> {
    let start = focus.events.start.saturating_sub(question.context);
    let end = (focus.events.end + question.context).min(events);
    if end - start <= question.limit {
        return start..end;
    }
    let first = focus.anchor.saturating_sub(question.limit / 2).max(start);
    let first = first.min(end - question.limit);
    first..first + question.limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(context: usize, limit: usize) -> Question {
        Question { user: String::new(), product: None, moment: Moment::LastDate, context, limit }
    }

    #[test]
    fn what_is_shown_stays_around_what_was_asked_for() {
        let focus = Focus { events: 10..20, anchor: 12 };
        assert_eq!(visible(&focus, 100, &question(3, 50)), 7..23);
        assert_eq!(visible(&focus, 21, &question(30, 50)), 0..21);
        assert_eq!(visible(&focus, 100, &question(3, 4)), 10..14);
        let last = Focus { events: 10..20, anchor: 19 };
        assert_eq!(visible(&last, 20, &question(3, 4)), 16..20);
        assert_eq!(visible(&Focus { events: 0..20, anchor: 0 }, 20, &question(0, 4)), 0..4);
    }
}
