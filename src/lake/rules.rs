//! The rules that ODS is a function of, recorded as a property of `ods/<feed>`.
//!
//! Session rules are a list by event date: a row falls under the newest entry whose start is not
//! after its `pdate`. Mappings are a list by arrival date: a delivery is read under the newest
//! entry whose start is not after its arrival date. The first entry of each list has no start.

use chrono::{Days, NaiveDate};
use deltalake::DeltaTable;
use serde::{Deserialize, Serialize};

use super::contracts::RULES_PROPERTY;
use super::{LakeError, TableName};
use crate::config::{Difference, EventMapping, FeedConfig, SessionRules, WindowRules};

/// Session rules from one event date on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEntry {
    /// First `pdate` under these rules; `None` for the first entry.
    pub from: Option<NaiveDate>,
    /// The rules.
    pub rules: SessionRules,
}

/// How deliveries are read from one arrival date on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingEntry {
    /// First arrival date under this mapping; `None` for the first entry.
    pub from: Option<NaiveDate>,
    /// How columns become an event.
    pub event: EventMapping,
    /// How late a row may come, and how far back a gap is measured.
    pub window: WindowRules,
}

/// Both lists, never empty, in the order of their starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleBook {
    /// By event date.
    pub sessions: Vec<SessionEntry>,
    /// By arrival date.
    pub mappings: Vec<MappingEntry>,
}

impl RuleBook {
    /// The book of a feed that was never built.
    pub fn first(feed: &FeedConfig) -> Self {
        Self {
            sessions: vec![SessionEntry { from: None, rules: feed.session.clone() }],
            mappings: vec![mapping_entry(None, feed)],
        }
    }

    /// The book recorded in the loaded version of `ods/<feed>`.
    pub fn read(name: &TableName, table: &DeltaTable) -> Result<Option<Self>, LakeError> {
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        state
            .metadata()
            .configuration()
            .get(RULES_PROPERTY)
            .map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|source| LakeError::Rules {
                table: name.clone(),
                property: RULES_PROPERTY,
                source,
            })
    }

    /// The form in which the book is recorded.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The mapping under which a delivery of `arrival_date` is read.
    pub fn mapping_at(&self, arrival_date: NaiveDate) -> usize {
        newest(self.mappings.iter().map(|entry| entry.from), arrival_date)
    }

    /// The session rules under which an event of `pdate` falls.
    pub fn session_at(&self, pdate: NaiveDate) -> usize {
        newest(self.sessions.iter().map(|entry| entry.from), pdate)
    }

    /// How the configuration differs from the newest entries.
    pub fn differences(&self, feed: &FeedConfig) -> Vec<Difference> {
        let mut differences = self.session_differences(feed);
        differences.extend(self.mapping_differences(feed));
        differences
    }

    fn session_differences(&self, feed: &FeedConfig) -> Vec<Difference> {
        self.sessions.last().map(|entry| entry.rules.differences(&feed.session)).unwrap_or_default()
    }

    /// How the configured mapping differs from the newest one.
    pub fn mapping_differences(&self, feed: &FeedConfig) -> Vec<Difference> {
        let Some(newest) = self.mappings.last() else {
            return Vec::new();
        };
        let mut differences = newest.event.differences(&feed.event);
        differences.extend(newest.window.differences(&feed.window));
        differences
    }

    /// The configuration holds for what is yet to come: session rules start after the newest
    /// event date, the mapping at `arrival_date`. Nothing built so far changes.
    #[must_use]
    pub fn accept(
        mut self,
        feed: &FeedConfig,
        newest_pdate: Option<NaiveDate>,
        arrival_date: NaiveDate,
    ) -> Self {
        if !self.session_differences(feed).is_empty() {
            let from = newest_pdate.and_then(|date| date.checked_add_days(Days::new(1)));
            self.sessions = start_at(
                self.sessions,
                from,
                |entry| entry.from,
                |from| SessionEntry { from, rules: feed.session.clone() },
            );
        }
        if !self.mapping_differences(feed).is_empty() {
            self.mappings = start_at(
                self.mappings,
                Some(arrival_date),
                |entry| entry.from,
                |from| mapping_entry(from, feed),
            );
        }
        self
    }

    /// The configuration holds from `date` on, for event dates and arrival dates alike. An entry
    /// starts only where the rules change: a start is a break.
    #[must_use]
    pub fn restart(self, feed: &FeedConfig, date: NaiveDate) -> Self {
        let mut book = self.restart_sessions(feed, date);
        book.mappings.retain(|entry| entry.from.is_none_or(|from| from < date));
        if !book.mapping_differences(feed).is_empty() {
            book.mappings.push(mapping_entry(Some(date), feed));
        }
        book
    }

    /// The same for the session rules alone: deliveries are read as they were.
    #[must_use]
    pub fn restart_sessions(mut self, feed: &FeedConfig, date: NaiveDate) -> Self {
        self.sessions.retain(|entry| entry.from.is_none_or(|from| from < date));
        if !self.session_differences(feed).is_empty() {
            self.sessions.push(SessionEntry { from: Some(date), rules: feed.session.clone() });
        }
        self
    }

    /// First arrival date whose reading differs between two books, or `None`. `Some(None)` means
    /// all of them.
    pub fn first_changed_mapping(&self, other: &Self) -> Option<Option<NaiveDate>> {
        let same = self
            .mappings
            .iter()
            .zip(&other.mappings)
            .take_while(|(left, right)| left == right)
            .count();
        let next = |book: &Self| book.mappings.get(same).map(|entry| entry.from);
        match (next(self), next(other)) {
            (None, None) => None,
            (Some(from), None) | (None, Some(from)) => Some(from),
            (Some(left), Some(right)) => Some(left.min(right)),
        }
    }
}

fn mapping_entry(from: Option<NaiveDate>, feed: &FeedConfig) -> MappingEntry {
    MappingEntry { from, event: feed.event.clone(), window: feed.window.clone() }
}

/// The newest of the entries with these starts that begins at `date` or before; the first one has no
/// start.
pub(crate) fn newest<D: PartialOrd + Copy>(
    starts: impl IntoIterator<Item = Option<D>>,
    date: D,
) -> usize {
    let starts = starts.into_iter();
    starts.skip(1).take_while(|from| from.is_some_and(|from| from <= date)).count()
}

/// Replaces the entries that start at `from` or later (they cover nothing yet) by one new entry.
/// Without `from` there are no rows at all, and the newest entry is simply replaced.
fn start_at<E>(
    mut entries: Vec<E>,
    from: Option<NaiveDate>,
    start_of: impl Fn(&E) -> Option<NaiveDate>,
    make: impl FnOnce(Option<NaiveDate>) -> E,
) -> Vec<E> {
    let Some(from) = from else {
        let start = entries.pop().as_ref().and_then(&start_of);
        entries.push(make(start));
        return entries;
    };
    entries.retain(|entry| start_of(entry).is_none_or(|start| start < from));
    entries.push(make(Some(from)));
    entries
}
