//! One HTML page that shows a lake: what runs did, what came when, sessions, quarantine and keys.
//!
//! The page is self-contained: style, scripts, d3 and Observable Plot ([`page`]) and one JSON
//! document with the data. Everything in it is bounded: [`Bounds`], which the page states.

mod browser;
mod error;
mod feed;
pub mod page;
mod relation;
mod timeline;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::open;
use super::plan::plan_in;
use crate::clock;
use crate::config::{Config, FeedConfig};
use crate::error::JobError;
pub use error::ReportError;
use feed::FeedReport;

/// Event dates of a report that was not asked for others: the newest.
pub const DATES_BY_DEFAULT: u64 = 60;
/// Most event dates of a report: the newest of those asked for.
const MOST_DATES: u64 = 400;
/// Most stages of runs; as `sql/report/runs.sql` has it.
const MOST_STAGES: usize = 240;
/// Most keys of the users that were asked for.
const MOST_KEYS_OF_USERS: usize = 1000;
/// Most sessions in the session browser of a feed. A key takes at most half of what is left.
const MOST_SESSIONS: usize = 200_000;
/// Most events in the session browser of a feed. A key takes at most half of what is left.
const MOST_EVENTS: usize = 800_000;

/// What a report is about.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// First event date; by default the newest [`DATES_BY_DEFAULT`] are shown.
    pub from: Option<NaiveDate>,
    /// Last event date; by default the newest.
    pub to: Option<NaiveDate>,
    /// How many of the most active keys are in the session browser.
    pub keys: usize,
    /// Users whose keys are in it, too.
    pub users: Vec<String>,
}

/// What the page shows, and what it holds for that.
#[derive(Debug, Serialize)]
pub struct Report {
    made: DateTime<Utc>,
    version: &'static str,
    lake: String,
    bounds: Bounds,
    feeds: Vec<FeedReport>,
}

/// Most of what a report holds of each feed.
#[derive(Debug, Serialize)]
struct Bounds {
    dates: u64,
    stages: usize,
    keys: usize,
    sessions: usize,
    events: usize,
}

/// Reads what the report of these feeds shows; nothing is written.
pub async fn report(
    config: &Config,
    feeds: &[&FeedConfig],
    asked: &Asked,
) -> Result<Report, JobError> {
    let opened = open(config)?;
    let mut reports = Vec::new();
    for feed in feeds {
        let mut of_feed = feed::read(&opened, feed, asked).await?;
        if of_feed.has_other_rules {
            of_feed.plan = Some(plan_in(&opened, config, feed, asked.from).await?);
        }
        reports.push(of_feed);
    }
    let keys = asked.keys + if asked.users.is_empty() { 0 } else { MOST_KEYS_OF_USERS };
    Ok(Report {
        made: clock::now(),
        version: env!("CARGO_PKG_VERSION"),
        lake: config.lake.redacted_url(),
        bounds: Bounds {
            dates: MOST_DATES,
            stages: MOST_STAGES,
            keys,
            sessions: MOST_SESSIONS,
            events: MOST_EVENTS,
        },
        feeds: reports,
    })
}
