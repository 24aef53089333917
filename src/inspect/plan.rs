//! What would change under other session rules, before anything is changed: exactly what
//! `reprocess --from DATE --source ods` with the same configuration then does, by its own pass.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::NaiveDate;
use serde::Serialize;

use super::open;
use crate::config::{Config, FeedConfig};
use crate::engine::Engine;
use crate::error::JobError;
use crate::lake::contracts::PDATE;
use crate::lake::files::by_date;
use crate::lake::rules::RuleBook;
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::StageContext;
use crate::stages::deliveries::Files;
use crate::stages::error::BuildError;
use crate::stages::merge::{KeyChange, SessionChange, date_of_days};
use crate::stages::reprocess::{self, Request, Rules, Source};

/// How the sessions of a feed would differ, see [`SessionChange`] for what each count means.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The feed.
    pub feed: String,
    /// The version of ODS; none for a feed that has no event.
    pub ods_version: Option<u64>,
    /// The first event date under the planned rules: sessions with an event from there on count.
    pub from: Option<NaiveDate>,
    /// Where the planned rules differ from the newest recorded ones.
    pub rules: Vec<PlannedRule>,
    /// All of it.
    pub total: SessionChange,
    /// By date: an event on its own, a session on that of its start.
    pub dates: BTreeMap<NaiveDate, SessionChange>,
    /// By product; beyond ten thousand of them the rest is in `other_products`.
    pub products: BTreeMap<String, SessionChange>,
    /// The products that are not counted apart.
    pub other_products: SessionChange,
    /// The ten keys with the most events in another session.
    pub keys: Vec<KeyChange>,
    /// How long it took to tell.
    pub seconds: f64,
}

/// A rule that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedRule {
    /// The key, such as `session.timeout`.
    pub key: String,
    /// Its newest recorded value, as it would be written.
    pub recorded: String,
    /// Its planned one.
    pub planned: String,
}

/// Plans the configured session rules of `feed` from an event date on; from the earliest one of ODS
/// without. Nothing is written to the lake.
pub async fn plan(
    config: &Config,
    feed: &FeedConfig,
    from: Option<NaiveDate>,
) -> Result<Plan, JobError> {
    plan_in(&open(config)?, config, feed, from).await
}

/// The same in a lake that is open.
pub(super) async fn plan_in(
    (lake, engine): &(Lake, Engine),
    config: &Config,
    feed: &FeedConfig,
    from: Option<NaiveDate>,
) -> Result<Plan, JobError> {
    let clock = Instant::now();
    let mut plan = Plan { feed: feed.name.clone(), ..Plan::default() };
    let Some(known) = Known::of(lake, feed).await? else {
        return Ok(plan);
    };
    let from = from.unwrap_or(known.earliest);
    let stage = StageContext::reading(lake, engine, feed, &config.feeds);
    let request =
        Request { from, source: Source::Ods, rules: Rules::Configured, files: Files::All };
    let changes = reprocess::session_changes(&stage, request).await;
    let changes = changes.map_err(|source: BuildError| {
        let feed = feed.name.clone();
        JobError::Plan { feed, source }
    })?;
    plan.ods_version = known.version;
    plan.from = Some(from);
    plan.rules = known.rules;
    plan.total =
        changes.dates.values().fold(SessionChange::default(), |total, date| total.plus(*date));
    let dates = changes.dates.into_iter();
    plan.dates = dates.filter_map(|(days, change)| Some((date_of_days(days)?, change))).collect();
    plan.products = changes.products;
    plan.other_products = changes.other_products;
    plan.keys = changes.keys;
    plan.seconds = clock.elapsed().as_secs_f64();
    Ok(plan)
}

/// What ODS tells of itself.
struct Known {
    version: Option<u64>,
    earliest: NaiveDate,
    rules: Vec<PlannedRule>,
}

impl Known {
    /// `None` for a feed without an event.
    async fn of(lake: &Lake, feed: &FeedConfig) -> Result<Option<Self>, LakeError> {
        let name = TableName::Ods(feed.name.clone());
        let Some(ods) = lake.load(&name).await? else {
            return Ok(None);
        };
        let Some(earliest) = by_date(&name, &ods, PDATE)?.into_keys().next() else {
            return Ok(None);
        };
        let book = RuleBook::read(&name, &ods)?.unwrap_or_else(|| RuleBook::first(feed));
        let rules = book.differences(feed).into_iter().map(|difference| PlannedRule {
            key: difference.key,
            recorded: difference.recorded,
            planned: difference.configured,
        });
        Ok(Some(Self { version: ods.version(), earliest, rules: rules.collect() }))
    }
}
