//! One key after the other: what ODS holds of it beside what the reference says.
//!
//! The two are compared by a digest, the sum of a hash of each row, which no order changes; only
//! where it differs are the rows laid side by side.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::Array;
use chrono::NaiveDate;
use chrono_tz::Tz;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use foldhash::quality::FixedState;
use futures::StreamExt as _;

use super::choice::OwnKey;
use super::counterexample::{Counterexample, Shown};
use super::rows::{AttributeFormat, FACT, PENDING, ROW, Rows, SESSION};
use super::sessions::differences;
use super::sources::Sources;
use crate::lake::rules::newest;
use crate::lake::sorted_files::days;
use crate::reference::{
    self, Delivered, Expected, ExpectedSession, Limits, expected_ods, expected_sessions,
};
use crate::stages::timestamps::date_in;

/// The attributes of a row in their format, one value for all of them.
pub(super) type Attributes = Arc<[u8]>;
pub(super) type Fact = Delivered<Attributes>;
pub(super) type OdsRow = Expected<Attributes>;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Keys whose context lies before what was read, as far as they are remembered; more, and all of
/// them are read again.
const MOST_FAR_KEYS: usize = 50_000;

/// The recorded rules as the reference takes them.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) limits: Vec<Limits>,
    /// First event date of each entry of the session rules, days since 1970.
    pub(super) session_starts: Vec<Option<i32>>,
    /// First arrival date of each mapping, and how far back a gap is measured under it.
    mappings: Vec<(Option<i32>, i64)>,
    pub(super) format: Arc<AttributeFormat>,
    zone: Tz,
    /// `sessions/<feed>`, where it is compared.
    sessions: Option<SessionsTable>,
    /// Rows from this event date on are compared, days since 1970.
    pub(super) from: Option<i32>,
    /// Where rows before an event date were left out: that date, and the first instant that they
    /// surely lie before.
    pub(super) unread: Option<(i32, i64)>,
}

/// What the rows of `sessions/<feed>` are made of.
#[derive(Debug)]
struct SessionsTable {
    /// The attribute whose values they list.
    distinct: Option<String>,
}

impl Judge {
    pub(super) fn new(sources: &Sources<'_>) -> Self {
        let book = &sources.book;
        let sessions = sources.sessions.following();
        let limits = book.sessions.iter().map(|entry| Limits {
            timeout_micros: entry.rules.timeout_micros,
            max_duration_micros: entry.rules.max_duration_micros,
        });
        let mappings = book.mappings.iter().map(|entry| {
            let lookback = i64::from(entry.window.lookback_days) * MICROS_PER_DAY;
            (entry.from.map(days), lookback)
        });
        Self {
            limits: limits.collect(),
            session_starts: book.sessions.iter().map(|entry| entry.from.map(days)).collect(),
            mappings: mappings.collect(),
            format: Arc::clone(&sources.format),
            zone: sources.compiled.zone,
            sessions: sessions
                .map(|sessions| SessionsTable { distinct: sessions.distinct.clone() }),
            from: None,
            unread: None,
        }
    }

    /// The entry of the session rules that an event date falls under.
    fn rules_entry(&self, date: i32) -> usize {
        newest(self.session_starts.iter().copied(), date)
    }

    fn lookback_micros(&self, arrival: i32) -> i64 {
        self.mappings[newest(self.mappings.iter().map(|(start, _)| *start), arrival)].1
    }

    fn is_compared(&self, date: i32) -> bool {
        self.from.is_none_or(|from| date >= from)
    }

    /// Whether the rows at hand tell the state in which the first one compared begins. They do
    /// under every entry that starts among them, and behind any silence longer than the timeout.
    fn is_decided(&self, facts: &[Fact]) -> bool {
        let Some((first_date, before)) = self.unread else {
            return true;
        };
        (0..self.limits.len()).all(|entry| {
            if self.session_starts[entry].is_some_and(|start| start >= first_date) {
                return true;
            }
            let of_entry = facts.iter().filter(|fact| fact.rules_entry == entry);
            let mut instants: Vec<(i64, bool)> = of_entry
                .map(|fact| (fact.timestamp_micros, self.is_compared(fact.pdate)))
                .collect();
            instants.sort_unstable();
            let mut previous = before;
            for (instant, is_compared) in instants {
                if instant - previous > self.limits[entry].timeout_micros {
                    return true;
                }
                if is_compared {
                    return false;
                }
                previous = previous.max(instant);
            }
            true
        })
    }
}

/// What was found, of some of the keys.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Keys compared.
    pub(super) keys: i64,
    /// Rows of ODS compared.
    pub(super) rows: i64,
    /// Keys whose rows differ from what the reference says.
    pub(super) differing_keys: i64,
    /// The first of them.
    pub(super) counterexample: Option<Counterexample>,
    /// Rows of an event that another row stands for.
    pub(super) repeated: Finding,
    /// Rows whose session id is not that of their key and session start.
    pub(super) foreign_ids: Finding,
    /// Rows of `sessions/<feed>` compared.
    pub(super) sessions: i64,
    /// Those of them that ODS does not make, and those that are not there.
    pub(super) wrong_sessions: Finding,
    /// Keys with a row of an arrival date that is built in part.
    pub(super) pending_keys: i64,
    /// Keys whose context lies before what was read.
    pub(super) far: FarKeys,
}

/// Rows with one fault: how many, and the first one in words.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) rows: i64,
    pub(super) first: Option<(OwnKey, String)>,
}

impl Finding {
    fn add(&mut self, key: (&str, &str), row: impl FnOnce() -> String) {
        self.rows += 1;
        self.first.get_or_insert_with(|| ((key.0.to_owned(), key.1.to_owned()), row()));
    }

    fn and(self, other: Self) -> Self {
        let first = self.first.into_iter().chain(other.first).min();
        Self { rows: self.rows + other.rows, first }
    }
}

/// Keys to be read again, with all rows before.
#[derive(Debug)]
pub(super) enum FarKeys {
    /// These.
    These(HashSet<OwnKey>),
    /// Too many to be remembered.
    Many,
}

impl Default for FarKeys {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl FarKeys {
    fn add(&mut self, key: OwnKey) {
        if let Self::These(keys) = self {
            keys.insert(key);
            if keys.len() > MOST_FAR_KEYS {
                *self = Self::Many;
            }
        }
    }
}

impl Findings {
    /// Those of other keys as well.
    pub(super) fn and(self, other: Self) -> Self {
        let examples = self.counterexample.into_iter().chain(other.counterexample);
        let mut far = self.far;
        match other.far {
            FarKeys::These(keys) => keys.into_iter().for_each(|key| far.add(key)),
            FarKeys::Many => far = FarKeys::Many,
        }
        Self {
            keys: self.keys + other.keys,
            rows: self.rows + other.rows,
            differing_keys: self.differing_keys + other.differing_keys,
            counterexample: examples.min_by(|left, right| left.key().cmp(&right.key())),
            repeated: self.repeated.and(other.repeated),
            foreign_ids: self.foreign_ids.and(other.foreign_ids),
            sessions: self.sessions + other.sessions,
            wrong_sessions: self.wrong_sessions.and(other.wrong_sessions),
            pending_keys: self.pending_keys + other.pending_keys,
            far,
        }
    }
}

/// Goes through a stream in which the rows of a key are together; memory holds those of one key.
pub(super) async fn compare(
    judge: Arc<Judge>,
    mut rows: SendableRecordBatchStream,
) -> Result<Findings, DataFusionError> {
    let mut findings = Findings::default();
    let mut key: Vec<(Arc<Rows>, Range<usize>)> = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = Arc::new(Rows::of(&batch?));
        let mut first = 0;
        while first < batch.len() {
            let is_next =
                key.first().is_some_and(|(rows, range)| rows.key(range.start) != batch.key(first));
            if is_next {
                findings.settle(&judge, &key)?;
                key.clear();
            }
            let end = batch.end_of_key(first);
            key.push((Arc::clone(&batch), first..end));
            first = end;
        }
    }
    if !key.is_empty() {
        findings.settle(&judge, &key)?;
    }
    Ok(findings)
}

impl Findings {
    fn settle(
        &mut self,
        judge: &Judge,
        rows: &[(Arc<Rows>, Range<usize>)],
    ) -> Result<(), DataFusionError> {
        let all = || rows.iter().flat_map(|(rows, range)| range.clone().map(move |at| (rows, at)));
        let Some((first, at)) = all().next() else {
            return Ok(());
        };
        let key = first.key(at);
        let held = || {
            all().filter(|(rows, at)| rows.is(*at, ROW) && judge.is_compared(rows.date.value(*at)))
        };
        if all().any(|(rows, at)| rows.is(at, PENDING)) {
            self.pending_keys += 1;
            return Ok(());
        }
        let of_facts = all().filter(|(rows, at)| rows.is(*at, FACT));
        let facts: Vec<Fact> = of_facts.map(|(rows, at)| fact(judge, rows, at)).collect();
        let is_compared = facts.iter().any(|fact| judge.is_compared(fact.pdate));
        let has_sessions =
            all().any(|(rows, at)| rows.is(at, SESSION) && judge.is_compared(rows.date.value(at)));
        if !is_compared && !has_sessions && held().next().is_none() {
            return Ok(());
        }
        if !judge.is_decided(&facts) {
            self.far.add((key.0.to_owned(), key.1.to_owned()));
            return Ok(());
        }
        let mut expected = expected_ods(&facts, &judge.limits);
        expected.retain(|row| judge.is_compared(row.pdate));
        self.keys += 1;
        let (mut found_digest, mut found_rows) = (0_u128, 0_i64);
        let mut known_id: Option<(i64, String)> = None;
        for (rows, at) in held() {
            found_digest = found_digest.wrapping_add(digest(&seen(rows, at)));
            found_rows += 1;
            let start = rows.start.is_valid(at).then(|| rows.start.value(at));
            let id = rows.session_id.is_valid(at).then(|| rows.session_id.value(at));
            if known_id.as_ref().map(|(start, _)| *start) != start {
                known_id = start.map(|start| (start, reference::session_id(key.0, key.1, start)));
            }
            let own = start.and(known_id.as_ref()).map(|(_, id)| id.as_str());
            if own != id {
                let said = || format!("{} where it is {}", or_none(id), or_none(own));
                self.foreign_ids.add(key, said);
            }
        }
        self.rows += found_rows;
        if let Some(table) = &judge.sessions {
            self.compare_sessions(judge, key, table.distinct.as_deref(), rows)?;
        }
        let expected_digest =
            expected.iter().fold(0_u128, |sum, row| sum.wrapping_add(digest(&due(row))));
        if found_digest == expected_digest && i64::try_from(expected.len()) == Ok(found_rows) {
            return Ok(());
        }
        self.differing_keys += 1;
        let mut found: Vec<OdsRow> = held().map(|(rows, at)| row(rows, at)).collect();
        found.sort();
        for pair in found.windows(2) {
            if identity(&pair[0]) == identity(&pair[1]) {
                let said =
                    || format!("{} at {}", pair[1].event_id, shown(pair[1].timestamp_micros));
                self.repeated.add(key, said);
            }
        }
        if self.counterexample.is_none() {
            let shown = Shown { judge, facts: &facts, expected: &expected, found: &found };
            self.counterexample = Some(shown.counterexample(key)?);
        }
        Ok(())
    }
}

impl Findings {
    /// `sessions/<feed>` beside the rows of ODS as they are.
    fn compare_sessions(
        &mut self,
        judge: &Judge,
        key: (&str, &str),
        distinct: Option<&str>,
        rows: &[(Arc<Rows>, Range<usize>)],
    ) -> Result<(), DataFusionError> {
        let all = || rows.iter().flat_map(|(rows, range)| range.clone().map(move |at| (rows, at)));
        // A session has no event before its start, so that these have all of theirs at hand.
        let is_compared =
            |start: i64| date_in(start, judge.zone).is_some_and(|date| judge.is_compared(date));
        let held = all().filter(|(rows, at)| {
            rows.is(*at, ROW) && rows.start.is_valid(*at) && is_compared(rows.start.value(*at))
        });
        let held: Vec<(&Arc<Rows>, usize)> = held.collect();
        let values = match distinct {
            Some(attribute) => {
                let values = held.iter().map(|(rows, at)| rows.attributes.value(*at));
                judge.format.texts(attribute, values)?
            }
            None => vec![None; held.len()],
        };
        let events: Vec<Expected> = held
            .iter()
            .zip(values)
            .map(|((rows, at), value)| with_attributes(rows, *at, vec![value]))
            .collect();
        let expected = expected_sessions(&events, Some(0));
        let found = all()
            .filter(|(rows, at)| rows.is(*at, SESSION) && judge.is_compared(rows.date.value(*at)));
        let found = found.map(|(rows, at)| serde_json::from_slice(rows.attributes.value(at)));
        let found: Vec<ExpectedSession> = found
            .collect::<Result<_, _>>()
            .map_err(|source| DataFusionError::External(Box::new(source)))?;
        self.sessions += i64::try_from(found.len()).unwrap_or(i64::MAX);
        for said in differences(&expected, &found) {
            self.wrong_sessions.add(key, || said);
        }
        Ok(())
    }
}

/// What makes an event of a key.
pub(super) fn identity(row: &OdsRow) -> (i64, &str) {
    (row.timestamp_micros, &row.event_id)
}

fn or_none(id: Option<&str>) -> &str {
    id.unwrap_or("none")
}

/// An instant as people read it.
pub(super) fn shown(micros: i64) -> String {
    use chrono::SecondsFormat::AutoSi;
    let instant = chrono::DateTime::from_timestamp_micros(micros);
    instant.map_or_else(|| micros.to_string(), |instant| instant.to_rfc3339_opts(AutoSi, true))
}

/// A date as people read it.
pub(super) fn shown_date(days: i32) -> String {
    let date = crate::stages::merge::date_of_days(days);
    date.as_ref().map_or_else(|| days.to_string(), NaiveDate::to_string)
}

/// The columns of a row of a key but for those of the key.
#[derive(Hash)]
struct Columns<'r> {
    timestamp_micros: i64,
    event_id: &'r str,
    pdate: i32,
    updated_at: i32,
    is_user_action: bool,
    time_diff_ms: Option<i64>,
    start_micros: Option<i64>,
    session_id: Option<&'r str>,
    attributes: &'r [u8],
}

fn digest(columns: &Columns<'_>) -> u128 {
    let half = |seed: u64| u128::from(FixedState::with_seed(seed).hash_one(columns));
    (half(0x9e37_79b9) << 64) | half(0x85eb_ca6b)
}

fn seen(rows: &Rows, at: usize) -> Columns<'_> {
    Columns {
        timestamp_micros: rows.timestamp.value(at),
        event_id: rows.event_id.value(at),
        pdate: rows.partition.value(at),
        updated_at: rows.arrival.value(at),
        is_user_action: rows.action.value(at),
        time_diff_ms: rows.time_diff.is_valid(at).then(|| rows.time_diff.value(at)),
        start_micros: rows.start.is_valid(at).then(|| rows.start.value(at)),
        session_id: rows.session_id.is_valid(at).then(|| rows.session_id.value(at)),
        attributes: rows.attributes.value(at),
    }
}

fn due(row: &OdsRow) -> Columns<'_> {
    Columns {
        timestamp_micros: row.timestamp_micros,
        event_id: &row.event_id,
        pdate: row.pdate,
        updated_at: row.updated_at,
        is_user_action: row.is_user_action,
        time_diff_ms: row.time_diff_ms,
        start_micros: row.session_start_micros,
        session_id: row.session_id.as_deref(),
        attributes: attributes_of(row),
    }
}

/// The attributes of a row in their format.
pub(super) fn attributes_of(row: &OdsRow) -> &[u8] {
    row.attributes.first().and_then(Option::as_deref).unwrap_or_default()
}

fn row(rows: &Rows, at: usize) -> OdsRow {
    with_attributes(rows, at, vec![Some(rows.attributes.value(at).into())])
}

fn with_attributes<V>(rows: &Rows, at: usize, attributes: Vec<Option<V>>) -> Expected<V> {
    let (user, product) = rows.key(at);
    let columns = seen(rows, at);
    Expected {
        user_id: user.to_owned(),
        product_code: product.to_owned(),
        timestamp_micros: columns.timestamp_micros,
        event_id: columns.event_id.to_owned(),
        pdate: columns.pdate,
        updated_at: columns.updated_at,
        attributes,
        is_user_action: columns.is_user_action,
        time_diff_ms: columns.time_diff_ms,
        session_start_micros: columns.start_micros,
        session_id: columns.session_id.map(str::to_owned),
    }
}

fn fact(judge: &Judge, rows: &Rows, at: usize) -> Fact {
    let (user, product) = rows.key(at);
    let (pdate, arrival) = (rows.date.value(at), rows.arrival.value(at));
    Fact {
        user_id: user.to_owned(),
        product_code: product.to_owned(),
        event_id: rows.event_id.value(at).to_owned(),
        timestamp_micros: rows.timestamp.value(at),
        pdate,
        arrival,
        attributes: vec![Some(rows.attributes.value(at).into())],
        is_user_action: rows.judged.value(at),
        opens: rows.opens.value(at),
        closes: rows.closes.value(at),
        rules_entry: judge.rules_entry(pdate),
        lookback_micros: judge.lookback_micros(arrival),
    }
}
