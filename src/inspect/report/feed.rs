//! What the report says of one feed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionContext};
use deltalake::DeltaTable;
use serde::Serialize;

use super::browser::{self, Browser};
use super::relation::Relation;
use super::{Asked, DATES_BY_DEFAULT, MOST_DATES, ReportError};
use crate::config::FeedConfig;
use crate::engine::{Engine, queries, report_queries};
use crate::inspect::plan::Plan;
use crate::inspect::rows_of;
use crate::lake::contracts::{self, PDATE};
use crate::lake::files::by_date;
use crate::lake::rules::{RuleBook, SessionEntry};
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::events::date32;

/// A feed as the page reads it.
#[derive(Debug, Serialize)]
pub(super) struct FeedReport {
    name: String,
    zone: String,
    #[serde(flatten)]
    dates: Dates,
    last_arrival_date: Option<NaiveDate>,
    arrival_dates: usize,
    rules: Vec<Rules>,
    runs: Relation,
    arrivals: Relation,
    session_lengths: Relation,
    gaps: Relation,
    quarantine: Relation,
    key_sizes: Relation,
    browser: Browser,
    /// What the configured session rules would change.
    pub(super) plan: Option<Plan>,
    /// The configured session rules are not the newest recorded ones, the mapping is.
    #[serde(skip)]
    pub(super) has_other_rules: bool,
}

/// The event dates that are shown, and those that ODS has; none where it has no event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Dates {
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    first_date: Option<NaiveDate>,
    last_date: Option<NaiveDate>,
    /// Dates with events before `from` that were not asked to be left out.
    dates_left_out: usize,
}

/// Session rules as recorded.
#[derive(Debug, Serialize)]
struct Rules {
    from: Option<NaiveDate>,
    timeout_seconds: f64,
    max_duration_seconds: Option<f64>,
    user_action: String,
    opens_on: String,
    closes_on: String,
}

/// Reads all that is shown of a feed, query by query.
pub(super) async fn read(
    (lake, engine): &(Lake, Engine),
    feed: &FeedConfig,
    asked: &Asked,
) -> Result<FeedReport, ReportError> {
    let name = TableName::Ods(feed.name.clone());
    let ods = lake.load(&name).await?;
    let book = match &ods {
        Some(table) => RuleBook::read(&name, table)?,
        None => None,
    };
    let book = book.unwrap_or_else(|| RuleBook::first(feed));
    let built = match &ods {
        Some(table) => lake.ids(&name, table).await?.built_dates(&feed.name),
        None => BTreeMap::new(),
    };
    let dates = Dates::shown(&name, ods.as_ref(), asked)?;
    let source = Source::open(lake, engine, feed, &dates).await?;
    let keys = source.query("keys", report_queries::KEYS).await?;
    source.register("keys", keys.into_view())?;
    Ok(FeedReport {
        zone: book.mappings.first().map(|entry| entry.event.zone.clone()).unwrap_or_default(),
        last_arrival_date: built.keys().next_back().copied(),
        arrival_dates: built.len(),
        rules: book.sessions.iter().map(Rules::of).collect(),
        runs: source.relation("runs", report_queries::RUNS).await?,
        arrivals: source.relation("arrivals", report_queries::ARRIVALS).await?,
        session_lengths: source
            .relation("session_lengths", report_queries::SESSION_LENGTHS)
            .await?,
        gaps: source.relation("gaps", report_queries::GAPS).await?,
        quarantine: source.relation("quarantine", queries::QUARANTINE_COUNTS).await?,
        key_sizes: source.relation("key_sizes", report_queries::KEY_SIZES).await?,
        browser: browser::read(&source, asked).await?,
        name: feed.name.clone(),
        dates,
        plan: None,
        has_other_rules: !book.differences(feed).is_empty()
            && book.mapping_differences(feed).is_empty(),
    })
}

impl Rules {
    #[expect(clippy::cast_precision_loss, reason = "seconds for people, far below 2^52")]
    fn of(entry: &SessionEntry) -> Self {
        let seconds = |micros: i64| micros as f64 / 1e6;
        Self {
            from: entry.from,
            timeout_seconds: seconds(entry.rules.timeout_micros),
            max_duration_seconds: entry.rules.max_duration_micros.map(seconds),
            user_action: entry.rules.user_action.clone(),
            opens_on: entry.rules.opens_on.clone(),
            closes_on: entry.rules.closes_on.clone(),
        }
    }
}

impl Dates {
    /// Partitions tell the dates; no row is read.
    fn shown(name: &TableName, ods: Option<&DeltaTable>, asked: &Asked) -> Result<Self, LakeError> {
        let files = match ods {
            Some(table) => by_date(name, table, PDATE)?,
            None => BTreeMap::new(),
        };
        let dates: Vec<NaiveDate> = files.into_keys().collect();
        Ok(Self::of(&dates, asked))
    }

    fn of(dates: &[NaiveDate], asked: &Asked) -> Self {
        let (Some(first), Some(last)) = (dates.first().copied(), dates.last().copied()) else {
            return Self { from: asked.from, to: asked.to, ..Self::default() };
        };
        let to = asked.to.map_or(last, |to| to.min(last));
        let wanted = asked.from.map_or(first, |from| from.max(first));
        let most = if asked.from.is_some() { MOST_DATES } else { DATES_BY_DEFAULT };
        let from = to.checked_sub_days(Days::new(most - 1)).map_or(wanted, |from| from.max(wanted));
        let left_out = dates.iter().filter(|date| (wanted..from).contains(date)).count();
        Self {
            from: Some(from),
            to: Some(to),
            first_date: Some(first),
            last_date: Some(last),
            dates_left_out: left_out,
        }
    }
}

/// The tables of a feed, as its queries name them.
pub(super) struct Source<'a> {
    feed: &'a FeedConfig,
    context: SessionContext,
    parameters: Vec<(&'static str, ScalarValue)>,
}

impl<'a> Source<'a> {
    async fn open(
        lake: &Lake,
        engine: &Engine,
        feed: &'a FeedConfig,
        dates: &Dates,
    ) -> Result<Self, ReportError> {
        // One for each feed: they all call their tables by the same names.
        let context = engine.context(chrono_tz::Tz::UTC);
        // No date at all: no row is asked for.
        let date = |date: Option<NaiveDate>| ScalarValue::Date32(Some(date.map_or(0, date32)));
        let day_after = dates.to.and_then(|to| to.checked_add_days(Days::new(1)));
        let parameters = vec![
            ("from", date(dates.from)),
            ("to", date(dates.to)),
            ("day_after", date(day_after.or(dates.to))),
            ("feed", ScalarValue::from(feed.name.as_str())),
        ];
        let source = Self { feed, context, parameters };
        let of_feed = feed.name.clone();
        for (called, name, schema) in [
            ("ods", TableName::Ods(of_feed.clone()), contracts::ods(&[])),
            ("quarantine", TableName::Quarantine(of_feed), contracts::quarantine()),
            ("runs", TableName::Runs, contracts::runs()),
        ] {
            let table = source.table(lake, &name, schema).await?;
            source.register(called, table)?;
        }
        Ok(source)
    }

    /// The newest version of a table; an empty one where there is none yet.
    async fn table(
        &self,
        lake: &Lake,
        name: &TableName,
        schema: SchemaRef,
    ) -> Result<Arc<dyn TableProvider>, ReportError> {
        Ok(match rows_of(lake, &self.context, name).await? {
            Some(rows) => rows.into_view(),
            None => Arc::new(EmptyTable::new(schema)),
        })
    }

    /// Makes a relation known to the queries that follow.
    pub(super) fn register(
        &self,
        called: &'static str,
        table: Arc<dyn TableProvider>,
    ) -> Result<(), ReportError> {
        let registered = self.context.register_table(called, table);
        registered.map(|_| ()).map_err(|source| self.failed(called, source))
    }

    /// A query of `sql/`.
    pub(super) async fn query(
        &self,
        called: &'static str,
        sql: &str,
    ) -> Result<DataFrame, ReportError> {
        let frame = self.context.sql(sql).await;
        let frame = frame.and_then(|frame| frame.with_param_values(self.parameters.clone()));
        frame.map_err(|source| self.failed(called, source))
    }

    async fn relation(&self, called: &'static str, sql: &str) -> Result<Relation, ReportError> {
        let frame = self.query(called, sql).await?;
        let schema = frame.schema().clone();
        let batches = frame.collect().await.map_err(|source| self.failed(called, source))?;
        Relation::of(&schema, &batches).map_err(|source| self.failed(called, source.into()))
    }

    pub(super) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(super) fn failed(&self, relation: &'static str, source: DataFusionError) -> ReportError {
        ReportError::Relation { relation, feed: self.feed.name.clone(), source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn shown(dates: &[&str], from: Option<&str>, to: Option<&str>) -> (String, String, usize) {
        let dates: Vec<NaiveDate> = dates.iter().map(|text| date(text)).collect();
        let asked = Asked { from: from.map(date), to: to.map(date), ..Asked::default() };
        let shown = Dates::of(&dates, &asked);
        (shown.from.unwrap().to_string(), shown.to.unwrap().to_string(), shown.dates_left_out)
    }

    #[test]
    fn the_newest_dates_are_shown_and_those_asked_for_as_far_as_they_are_there() {
        let dates = ["2025-01-01", "2026-01-01", "2026-03-01"];
        let newest = ("2026-01-01".to_owned(), "2026-03-01".to_owned(), 1);
        assert_eq!(shown(&dates, None, None), newest);
        let asked = ("2025-12-31".to_owned(), "2026-01-31".to_owned(), 0);
        assert_eq!(shown(&dates, Some("2025-12-31"), Some("2026-01-31")), asked);
        let all = ("2025-01-26".to_owned(), "2026-03-01".to_owned(), 1);
        assert_eq!(shown(&dates, Some("2000-01-01"), Some("2030-01-01")), all);
    }

    #[test]
    fn a_lake_without_events_has_no_dates() {
        assert_eq!(Dates::of(&[], &Asked::default()), Dates::default());
    }
}
