//! Checks: queries that return offending rows.
//!
//! | `on` | `rows` in a build | `rows` in `sessionlake check` |
//! |---|---|---|
//! | `raw` | the delivered rows of the arrival date | the same, for one kept arrival date after the other |
//! | `ods` | the rows that are new or changed | every row, or those that the arrival dates brought |

mod error;
mod published;
mod query;
mod relations;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use datafusion::logical_expr::lit;
use datafusion::prelude::{DataFrame, SessionContext, ident};
use serde::Serialize;
use serde_json::{Map, Value};

pub use error::CheckError;
pub(crate) use published::Unpublished;
pub(crate) use relations::columns_of;
use relations::{Relation, Relations};

use super::StageContext;
use super::error::BuildError;
use super::events::within;
use super::raw_rows::scan;
use crate::config::FeedConfig;
use crate::config::checks::{AskedBy, Check, CheckedLayer, Severity};
use crate::engine::Engine;
use crate::lake::TableName;
use crate::lake::contracts::UPDATED_AT;
use crate::lake::files::by_date;
use crate::lake::rules::RuleBook;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// The check.
    pub check: String,
    /// What follows where it found rows.
    pub severity: Severity,
    /// Which table it is about.
    pub on: CheckedLayer,
    /// What is wrong with the rows.
    pub message: String,
    /// How many there are.
    pub rows: i64,
    /// Some of them, column by column as text.
    pub examples: Vec<Map<String, Value>>,
}

impl CheckResult {
    /// Whether nothing may be published.
    pub fn is_failure(&self) -> bool {
        self.rows > 0 && self.severity == Severity::Error
    }

    /// The examples in one line each, for people.
    pub fn example_lines(&self) -> impl Iterator<Item = String> {
        self.examples.iter().map(|example| {
            let columns = example.iter().map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text}"),
                other => format!("{name}={other}"),
            });
            format!("{}: {}", self.check, columns.collect::<Vec<_>>().join(", "))
        })
    }
}

/// Arrival dates from the first to the second, both included.
pub type DateRange = (NaiveDate, NaiveDate);

/// Plans every check of a feed over empty tables: what is wrong with one is found before anything
/// is read or written.
pub async fn validate(
    engine: &Engine,
    feed: &FeedConfig,
    feeds: &[FeedConfig],
) -> Result<(), BuildError> {
    let book = RuleBook::first(feed);
    let relations = Relations { feed, feeds, lake: None, own: BTreeMap::new(), book: &book };
    for check in &feed.checks.checks {
        // What is shipped is planned where it is asked for.
        if check.asked_by == AskedBy::Run && check.severity != Severity::Quarantine {
            query::plan(&query::context(engine, &relations), check, &relations).await?;
        }
    }
    Ok(())
}

/// The feeds whose tables a build of `feed` reads for its checks, by name; itself included.
pub(crate) fn feeds_read(
    engine: &Engine,
    feed: &FeedConfig,
    feeds: &[FeedConfig],
) -> Result<BTreeSet<String>, BuildError> {
    let book = RuleBook::first(feed);
    let relations = Relations { feed, feeds, lake: None, own: BTreeMap::new(), book: &book };
    let mut read = BTreeSet::new();
    for check in
        [CheckedLayer::Raw, CheckedLayer::Ods].iter().flat_map(|on| asked_by_run(feed, *on))
    {
        read.extend(relations.feeds(&query::context(engine, &relations), check)?);
    }
    Ok(read)
}

/// Asks the checks of a feed that `is_asked` of what the lake holds, at any time. Writes nothing.
pub async fn ask_all(
    stage: &StageContext<'_>,
    is_asked: impl Fn(&Check) -> bool,
    dates: Option<DateRange>,
) -> Result<Vec<CheckResult>, BuildError> {
    let name = TableName::Ods(stage.feed.name.clone());
    let recorded = match stage.lake.load(&name).await? {
        Some(ods) => RuleBook::read(&name, &ods)?,
        None => None,
    };
    let book = recorded.unwrap_or_else(|| RuleBook::first(stage.feed));
    let mut results = Vec::new();
    for check in stage.feed.checks.checks.iter().filter(|check| is_asked(check)) {
        let results_of_parts = match check.on {
            _ if check.severity == Severity::Quarantine => {
                vec![quarantined(stage, check, &book, dates).await?]
            }
            CheckedLayer::Raw => ask_of_raw(stage, check, &book, dates).await?,
            CheckedLayer::Ods => vec![ask_of_rows(stage, check, &book, dates).await?],
        };
        let mut parts = results_of_parts.into_iter();
        if let Some(mut result) = parts.next() {
            parts.for_each(|part| result.add(part));
            results.push(result);
        }
    }
    Ok(results)
}

/// Before a build: the checks on the rows that arrived.
pub(crate) async fn ask_of_arrival(
    stage: &StageContext<'_>,
    book: &RuleBook,
    arrival_date: NaiveDate,
) -> Result<Vec<CheckResult>, BuildError> {
    let mut results = Vec::new();
    for check in asked_by_run(stage.feed, CheckedLayer::Raw) {
        let dates = Some((arrival_date, arrival_date));
        results.push(ask_of_rows(stage, check, book, dates).await?);
    }
    published(stage, &results)?;
    Ok(results)
}

/// Before the commit of a build: the checks on the rows that it would publish. Where one fails,
/// the files that were written are removed.
pub(crate) async fn ask_of_build(
    stage: &StageContext<'_>,
    book: &RuleBook,
    build: &Unpublished<'_>,
) -> Result<Vec<CheckResult>, BuildError> {
    let checks: Vec<&Check> = asked_by_run(stage.feed, CheckedLayer::Ods).collect();
    if checks.is_empty() {
        return Ok(vec![]);
    }
    let asked = async {
        let mut relations = Relations::of(stage, book);
        let (rows, ods) = build.relations(&query::context(stage.engine, &relations)).await?;
        relations.own.extend([("rows", rows), ("ods", ods)]);
        let mut results = Vec::new();
        for check in checks {
            results.push(query::ask(stage.engine, check, &relations).await?);
        }
        published(stage, &results)?;
        Ok(results)
    };
    let asked = asked.await;
    if asked.is_err() {
        build.merged.discard(build.ods).await;
    }
    asked
}

fn asked_by_run(feed: &FeedConfig, on: CheckedLayer) -> impl Iterator<Item = &Check> {
    let checks = feed.checks.checks.iter();
    checks.filter(move |check| {
        check.on == on && check.asked_by == AskedBy::Run && check.severity != Severity::Quarantine
    })
}

/// Whether the rows may be published; what was found is logged.
fn published(stage: &StageContext<'_>, results: &[CheckResult]) -> Result<(), BuildError> {
    let feed = &stage.feed.name;
    for result in results.iter().filter(|result| result.rows > 0 && !result.is_failure()) {
        let examples: Vec<String> = result.example_lines().collect();
        let (check, rows, message) = (&result.check, result.rows, &result.message);
        tracing::warn!(feed, check, rows, examples = examples.join("; "), "{message}");
    }
    if !results.iter().any(CheckResult::is_failure) {
        return Ok(());
    }
    Err(BuildError::ChecksFailed { feed: feed.clone(), results: results.to_vec() })
}

/// Each arrival date by itself, as a build sees them; no date at all where raw is empty.
async fn ask_of_raw(
    stage: &StageContext<'_>,
    check: &Check,
    book: &RuleBook,
    dates: Option<DateRange>,
) -> Result<Vec<CheckResult>, BuildError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let kept = match stage.lake.load(&name).await? {
        Some(raw) => by_date(&name, &raw, UPDATED_AT)?.into_keys().collect(),
        None => vec![],
    };
    let within = |date: &NaiveDate| dates.is_none_or(|(from, to)| (from..=to).contains(date));
    let mut results = Vec::new();
    for date in kept.into_iter().filter(within) {
        results.push(ask_of_rows(stage, check, book, Some((date, date))).await?);
    }
    if results.is_empty() {
        // A query over nothing may find something: a category that does not occur.
        results
            .push(ask_of_rows(stage, check, book, Some((NaiveDate::MIN, NaiveDate::MIN))).await?);
    }
    Ok(results)
}

/// What a check of severity quarantine keeps out of ODS: the rows are in quarantine already.
async fn quarantined(
    stage: &StageContext<'_>,
    check: &Check,
    book: &RuleBook,
    dates: Option<DateRange>,
) -> Result<CheckResult, BuildError> {
    let name = TableName::Quarantine(stage.feed.name.clone());
    let Some(table) = stage.lake.load(&name).await? else {
        return Ok(CheckResult::of(check));
    };
    let relations = Relations::of(stage, book);
    let context = query::context(stage.engine, &relations);
    let mut is_of_check = ident("reason").eq(lit(format!("check_{}", check.name)));
    if let Some(dates) = dates {
        is_of_check = is_of_check.and(within(UPDATED_AT, dates));
    }
    let rows = scan(&context, &name, &table).await?.filter(is_of_check);
    let rows = rows.map_err(|source| relations.unplannable(check, source))?;
    query::count(check, &relations, rows).await
}

/// Asks of the rows that some arrival dates brought.
async fn ask_of_rows(
    stage: &StageContext<'_>,
    check: &Check,
    book: &RuleBook,
    dates: Option<DateRange>,
) -> Result<CheckResult, BuildError> {
    let mut relations = Relations::of(stage, book);
    if let Some(dates) = dates {
        let context = query::context(stage.engine, &relations);
        let table = relations.own_table(&context, check.on).await?;
        let rows = of_dates(&context, check, &relations, table, dates)?;
        relations.own.insert("rows", rows);
    }
    query::ask(stage.engine, check, &relations).await
}

fn of_dates(
    context: &SessionContext,
    check: &Check,
    relations: &Relations<'_>,
    table: Relation,
    dates: DateRange,
) -> Result<Relation, BuildError> {
    let of_dates = within(UPDATED_AT, dates);
    let rows = context.read_table(table).and_then(|frame| frame.filter(of_dates));
    rows.map(DataFrame::into_view).map_err(|source| relations.unplannable(check, source))
}
