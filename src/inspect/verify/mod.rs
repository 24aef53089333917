//! Is ODS what the recorded rules make of the facts? Each key is computed again by
//! [`crate::reference`], which knows nothing of the way in which ODS was built.
//!
//! | facts | which | what they tell |
//! |---|---|---|
//! | [`Facts::Ods`] | the events that ODS holds | whether they are judged and sessionized as the rules say |
//! | [`Facts::Raw`] | the deliveries that raw still holds, read as a build reads them; before them the events of ODS | besides: whether an event is missing, was never delivered, or has the attributes and `_updated_at` of another row |

mod balance;
mod choice;
mod counterexample;
mod error;
mod files;
mod keys;
mod rows;
mod sessions;
mod sources;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use chrono::{Days, NaiveDate};
use serde::Serialize;
use tokio::task::JoinSet;

use super::open;
use crate::config::{Config, FeedConfig};
use crate::error::JobError;
use crate::lake::sorted_files::days;
use crate::stages::StageContext;
use choice::Choice;
pub use counterexample::{Counterexample, Difference, RowPair, Values};
pub use error::VerifyError;
use keys::{FarKeys, Findings, Judge};
use sources::{Part, Sources};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What the reference computes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Facts {
    /// The events that ODS holds.
    Ods,
    /// The delivered rows that raw holds, and the events of ODS that arrived before.
    Raw,
}

impl Facts {
    /// The layer, as in the names of tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ods => "ods",
            Self::Raw => "raw",
        }
    }
}

/// What is verified of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// So many keys, the same ones every time.
    Sample(NonZeroUsize),
    /// The keys of these users.
    Users(BTreeSet<String>),
    /// The rows from this event date on.
    From(NaiveDate),
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub check: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

impl Check {
    fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into() }
    }

    fn failed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into() }
    }
}

/// What came of one feed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// The feed.
    pub feed: String,
    /// What was computed from.
    pub source: Facts,
    /// The version of ODS; none for a feed that was never built, of which nothing is said.
    pub ods_version: Option<u64>,
    /// Keys compared.
    pub keys: i64,
    /// Rows of ODS compared.
    pub events: i64,
    /// How long it took.
    pub seconds: f64,
    /// Keys with a difference.
    pub differing_keys: i64,
    /// Each thing that was looked at.
    pub checks: Vec<Check>,
    /// The first difference of the first of these keys.
    pub counterexample: Option<Counterexample>,
}

impl Verification {
    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.ok)
    }
}

/// Verifies a feed. Nothing is written to the lake.
pub async fn verify(
    config: &Config,
    feed: &FeedConfig,
    facts: Facts,
    extent: &Extent,
) -> Result<Verification, JobError> {
    let (lake, engine) = open(config)?;
    let stage = StageContext::reading(&lake, &engine, feed, &config.feeds);
    let verified = verify_feed(&stage, facts, extent).await;
    verified.map_err(|source| JobError::Verify { feed: feed.name.clone(), source })
}

async fn verify_feed(
    stage: &StageContext<'_>,
    facts: Facts,
    extent: &Extent,
) -> Result<Verification, VerifyError> {
    let clock = Instant::now();
    let mut verification = Verification {
        feed: stage.feed.name.clone(),
        source: facts,
        ods_version: None,
        keys: 0,
        events: 0,
        seconds: 0.0,
        differing_keys: 0,
        checks: vec![],
        counterexample: None,
    };
    let Some(sources) = Sources::open(stage, facts).await? else {
        return Ok(verification);
    };
    let mut findings = findings(&sources, extent).await?;
    verification.ods_version = sources.ods.version();
    verification.keys = findings.keys;
    verification.events = findings.rows;
    verification.differing_keys = findings.differing_keys;
    verification.counterexample = findings.counterexample.take();
    verification.checks = of_rows(&sources, &findings, verification.counterexample.as_ref());
    match extent {
        Extent::All => verification.checks.push(files::order(&sources, None).await?),
        Extent::From(from) => verification.checks.push(files::order(&sources, Some(*from)).await?),
        // Few keys are no reason to read all files.
        Extent::Sample(_) | Extent::Users(_) => {}
    }
    verification.checks.push(balance::balance(stage).await?);
    verification.seconds = clock.elapsed().as_secs_f64();
    Ok(verification)
}

async fn findings(sources: &Sources<'_>, extent: &Extent) -> Result<Findings, VerifyError> {
    let judge = Judge::new(sources);
    let choice = match extent {
        Extent::All => Choice::All,
        Extent::Sample(keys) => Choice::sample(sources, *keys).await?,
        Extent::Users(users) => Choice::Users(Arc::new(users.clone())),
        Extent::From(from) => return findings_from(sources, judge, *from).await,
    };
    compare(sources, judge, &Part { choice, first: None }).await
}

/// The rows from an event date on: a window before it tells of nearly every key how it begins; keys
/// of which it does not are read again, from their beginning.
async fn findings_from(
    sources: &Sources<'_>,
    judge: Judge,
    from: NaiveDate,
) -> Result<Findings, VerifyError> {
    let margin_days = sources.compiled.margin_micros() / MICROS_PER_DAY;
    // One date for what is left of the division, one for what lies before a midnight, and one for a
    // zone whose clocks go back across it.
    let window = Days::new(u64::try_from(margin_days).unwrap_or_default() + 3);
    let first = from.checked_sub_days(window).unwrap_or(NaiveDate::MIN);
    let latest_offset_micros = MICROS_PER_DAY;
    let before = i64::from(days(first)) * MICROS_PER_DAY + latest_offset_micros;
    let mut near = judge;
    near.from = Some(days(from));
    near.unread = Some((days(first), before));
    let near_part = Part { choice: Choice::All, first: Some(first) };
    let mut findings = compare(sources, near, &near_part).await?;
    let choice = match std::mem::take(&mut findings.far) {
        FarKeys::These(keys) if keys.is_empty() => return Ok(findings),
        FarKeys::These(keys) => Choice::Keys(Arc::new(keys)),
        FarKeys::Many => Choice::All,
    };
    let is_all = matches!(choice, Choice::All);
    let mut far = Judge::new(sources);
    far.from = Some(days(from));
    let far = compare(sources, far, &Part { choice, first: None }).await?;
    Ok(if is_all { far } else { findings.and(far) })
}

async fn compare(
    sources: &Sources<'_>,
    judge: Judge,
    part: &Part,
) -> Result<Findings, VerifyError> {
    let judge = Arc::new(judge);
    let mut parts = JoinSet::new();
    for rows in sources.by_key(part).await? {
        parts.spawn(keys::compare(Arc::clone(&judge), rows));
    }
    let mut findings = Findings::default();
    while let Some(part) = parts.join_next().await {
        let table = || sources.name.clone();
        let part = part.map_err(|_| VerifyError::Stopped { table: table() })?;
        findings = findings.and(part.map_err(|source| sources.error(source))?);
    }
    Ok(findings)
}

/// What the keys tell.
fn of_rows(
    sources: &Sources<'_>,
    findings: &Findings,
    counterexample: Option<&Counterexample>,
) -> Vec<Check> {
    let Findings { keys, rows, differing_keys, pending_keys, .. } = findings;
    let mut detail = match counterexample {
        None => format!("{rows} rows of {keys} keys are what the rules make of the facts"),
        Some(example) => {
            let Counterexample { user_id, product_code, timestamp, event_id, difference, .. } =
                example;
            let columns = example.columns.join(", ");
            let of = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
            format!(
                "{differing_keys} of {keys} keys differ; the first is user {user_id}, product \
                 {product_code}: {event_id} at {timestamp}, {}{of}",
                difference.as_str()
            )
        }
    };
    if let Some(removed) = sources.removed_through() {
        let _ = write!(detail, "; what arrived up to {removed} was taken from ODS");
    }
    let pending: Vec<String> = sources.pending_dates().map(|date| date.to_string()).collect();
    if !pending.is_empty() {
        let dates = pending.join(", ");
        let _ = write!(
            detail,
            "; {pending_keys} keys with rows of {dates} were not compared, it is not built in full"
        );
    }
    let check = if *differing_keys == 0 { Check::passed } else { Check::failed };
    let mut checks = vec![check("rows", detail)];
    checks.push(match &findings.repeated.first {
        None => Check::passed("row identity", "no event stands there twice"),
        Some(((user, product), event)) => Check::failed(
            "row identity",
            format!(
                "{} rows too many, such as {event}, user {user}, product {product}",
                findings.repeated.rows
            ),
        ),
    });
    checks.push(match &findings.foreign_ids.first {
        None => Check::passed("session ids", "each belongs to one key and one start"),
        Some(((user, product), said)) => Check::failed(
            "session ids",
            format!(
                "{} rows have another's, such as {said}, user {user}, product {product}",
                findings.foreign_ids.rows
            ),
        ),
    });
    checks.push(sources.sessions.check(findings));
    checks
}

/// `1 file`, `2 files`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
