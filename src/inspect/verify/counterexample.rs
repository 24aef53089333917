//! The smallest counterexample: the first row of the first key that differs, and the fewest events
//! from which the rules give the row that is due.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::error::ArrowError;
use serde::{Serialize, Serializer};

use super::keys::{Fact, Judge, OdsRow, attributes_of, identity, shown, shown_date};
use crate::reference::expected_ods;

/// How a row of ODS differs from what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is not there.
    Missing,
    /// No fact stands for it.
    Unexpected,
    /// The same event stands there twice.
    Repeated,
    /// It has other values.
    OtherValues,
}

impl Difference {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Repeated => "repeated",
            Self::OtherValues => "other values",
        }
    }
}

/// Values by their column, in the order of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(pub Vec<(String, Option<String>)>);

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(column, value)| (column, value)))
    }
}

/// A row as it is due beside the rows that ODS holds of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowPair {
    /// When it happened.
    pub timestamp: String,
    /// What happened.
    pub event_id: String,
    /// What the reference says.
    pub expected: Option<Values>,
    /// What ODS holds: one row, none, or several.
    pub found: Vec<Values>,
}

/// One difference, and all it takes to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// Whose event.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// When the event that differs happened.
    pub timestamp: String,
    /// What happened.
    pub event_id: String,
    /// What is wrong with its row.
    pub difference: Difference,
    /// The columns with other values.
    pub columns: Vec<String>,
    /// The facts, in the order in which they happened, judged by the recorded rules.
    pub facts: Vec<Values>,
    /// The rows of ODS of these events.
    pub rows: Vec<RowPair>,
}

impl Counterexample {
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.user_id, &self.product_code)
    }
}

/// A key that differs; both kinds of rows are in the order (`timestamp`, `event_id`).
pub(super) struct Shown<'k> {
    pub(super) judge: &'k Judge,
    pub(super) facts: &'k [Fact],
    pub(super) expected: &'k [OdsRow],
    pub(super) found: &'k [OdsRow],
}

/// Where the rows part.
struct Parting<'k> {
    difference: Difference,
    expected: Option<&'k OdsRow>,
    found: Option<&'k OdsRow>,
}

impl<'k> Shown<'k> {
    pub(super) fn counterexample(
        &self,
        (user, product): (&str, &str),
    ) -> Result<Counterexample, ArrowError> {
        let parting = self.parting();
        let (at, event) = parting.expected.or(parting.found).map(identity).unwrap_or_default();
        let facts = self.facts_that_show(at, event);
        let mut events: BTreeSet<(i64, &str)> =
            facts.iter().map(|fact| (fact.timestamp_micros, fact.event_id.as_str())).collect();
        events.insert((at, event));
        let (mut expected, mut found) = (None, None);
        if parting.difference == Difference::OtherValues {
            expected = parting.expected.map(|row| self.values(row)).transpose()?;
            found = parting.found.map(|row| self.values(row)).transpose()?;
        }
        let pairs = expected.unwrap_or_default().0.into_iter().zip(found.unwrap_or_default().0);
        let differing = pairs.filter(|(expected, found)| expected != found);
        Ok(Counterexample {
            user_id: user.to_owned(),
            product_code: product.to_owned(),
            timestamp: shown(at),
            event_id: event.to_owned(),
            difference: parting.difference,
            columns: differing.map(|((column, _), _)| column).collect(),
            facts: facts.into_iter().map(|fact| self.fact(fact)).collect::<Result<_, _>>()?,
            rows: events.into_iter().map(|event| self.pair(event)).collect::<Result<_, _>>()?,
        })
    }

    /// The first difference; there is one.
    fn parting(&self) -> Parting<'k> {
        let (mut due, mut held) = (self.expected.iter().peekable(), self.found.iter().peekable());
        let mut last = None;
        loop {
            let (expected, found) = (due.peek().copied(), held.peek().copied());
            let parting = |difference| Parting { difference, expected, found };
            if found.is_some_and(|found| last == Some(identity(found))) {
                return Parting { expected: None, ..parting(Difference::Repeated) };
            }
            match (expected, found) {
                (Some(expected), Some(found)) if expected == found => {
                    last = Some(identity(expected));
                    due.next();
                    held.next();
                }
                (Some(due), Some(held)) if identity(due) == identity(held) => {
                    return parting(Difference::OtherValues);
                }
                (Some(due), held) if held.is_none_or(|held| identity(due) < identity(held)) => {
                    return Parting { found: None, ..parting(Difference::Missing) };
                }
                (..) => return Parting { expected: None, ..parting(Difference::Unexpected) },
            }
        }
    }

    /// The fewest successive events up to the instant of the event that give its row; none for one
    /// that is not due.
    fn facts_that_show(&self, at: i64, event: &str) -> Vec<&'k Fact> {
        let own = |fact: &Fact| (fact.timestamp_micros, fact.event_id.as_str()) == (at, event);
        let Some(entry) = self.facts.iter().find(|fact| own(fact)).map(|fact| fact.rules_entry)
        else {
            return vec![];
        };
        let mut facts: Vec<&Fact> = self
            .facts
            .iter()
            .filter(|fact| fact.rules_entry == entry && fact.timestamp_micros <= at)
            .collect();
        facts.sort_by(|left, right| order(left).cmp(&order(right)));
        let due = self.row_of(&facts, at, event);
        let shows = |first: usize| self.row_of(&facts[first..], at, event) == due;
        let events = starts_of_events(&facts);
        let instant = facts.partition_point(|fact| fact.timestamp_micros < at);
        let instant = events.partition_point(|start| *start < instant);
        // Twice as many at a time, then as few of them as will do.
        let mut enough = instant;
        let mut step = 1;
        while enough > 0 && !shows(events[enough]) {
            enough = enough.saturating_sub(step);
            step *= 2;
        }
        let fewer = fewest(enough..instant, |start| shows(events[start]));
        facts.split_off(events[fewer])
    }

    fn row_of(&self, facts: &[&Fact], at: i64, event: &str) -> Option<OdsRow> {
        let facts: Vec<Fact> = facts.iter().map(|fact| (*fact).clone()).collect();
        let mut rows = expected_ods(&facts, &self.judge.limits).into_iter();
        rows.find(|row| identity(row) == (at, event))
    }

    fn pair(&self, event: (i64, &str)) -> Result<RowPair, ArrowError> {
        let of_event = |row: &&&OdsRow| identity(row) == event;
        let expected = self.expected.iter().find(|row| of_event(&row));
        let found = self.found.iter().filter(|row| of_event(&row));
        Ok(RowPair {
            timestamp: shown(event.0),
            event_id: event.1.to_owned(),
            expected: expected.map(|row| self.values(row)).transpose()?,
            found: found.map(|row| self.values(row)).collect::<Result<_, _>>()?,
        })
    }

    fn values(&self, row: &OdsRow) -> Result<Values, ArrowError> {
        let mut values = vec![
            ("is_user_action", Some(row.is_user_action.to_string())),
            ("time_diff_ms", row.time_diff_ms.map(|millis| millis.to_string())),
            ("session_start", row.session_start_micros.map(shown)),
            ("session_id", row.session_id.clone()),
            ("pdate", Some(shown_date(row.pdate))),
            ("_updated_at", Some(shown_date(row.updated_at))),
        ];
        self.with_attributes(&mut values, attributes_of(row))
    }

    fn fact(&self, fact: &Fact) -> Result<Values, ArrowError> {
        let rules_from = self.judge.session_starts[fact.rules_entry];
        let mut values = vec![
            ("timestamp", Some(shown(fact.timestamp_micros))),
            ("event_id", Some(fact.event_id.clone())),
            ("_updated_at", Some(shown_date(fact.arrival))),
            ("is_user_action", Some(fact.is_user_action.to_string())),
            ("opens", Some(fact.opens.to_string())),
            ("closes", Some(fact.closes.to_string())),
            ("rules_from", rules_from.map(shown_date)),
        ];
        let attributes = fact.attributes.first().and_then(Option::as_deref).unwrap_or_default();
        self.with_attributes(&mut values, attributes)
    }

    fn with_attributes(
        &self,
        values: &mut Vec<(&str, Option<String>)>,
        attributes: &[u8],
    ) -> Result<Values, ArrowError> {
        let fixed = values.drain(..).map(|(column, value)| (column.to_owned(), value));
        Ok(Values(fixed.chain(self.judge.format.decode(attributes)?).collect()))
    }
}

fn order(fact: &Fact) -> (i64, &str, i32) {
    (fact.timestamp_micros, &fact.event_id, fact.arrival)
}

/// The first fact of each event.
fn starts_of_events(facts: &[&Fact]) -> Vec<usize> {
    let event = |at: usize| (facts[at].timestamp_micros, facts[at].event_id.as_str());
    (0..facts.len()).filter(|at| *at == 0 || event(*at) != event(at - 1)).collect()
}

/// The last start that will do, by halves; the first one does.
fn fewest(starts: Range<usize>, does: impl Fn(usize) -> bool) -> usize {
    let (mut enough, mut too_few) = (starts.start, starts.end + 1);
    while too_few - enough > 1 {
        let middle = enough + (too_few - enough) / 2;
        if does(middle) { enough = middle } else { too_few = middle }
    }
    enough
}
