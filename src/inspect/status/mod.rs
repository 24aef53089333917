//! How a lake is: what is built and what waits, what was refused, what it holds, and what somebody
//! should look at.
//!
//! Everything but the late share, quarantine and the records of runs and files comes from the logs
//! of the tables.

mod health;
mod late;
mod tables;

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use datafusion::logical_expr::lit;
use datafusion::prelude::ident;
use serde::Serialize;

use super::open;
use super::quarantine::counts_in;
use super::runs::{self, Run, runs};
use crate::clock;
use crate::config::{Config, FeedConfig};
use crate::engine::Engine;
use crate::error::JobError;
use crate::job::source_of;
use crate::lake::contracts::{PDATE, UPDATED_AT};
use crate::lake::files::by_date;
use crate::lake::ids::{Ids, LatePolicy};
use crate::lake::{Lake, LakeError, TableName};
use crate::record::file_facts::{FileFact, file_facts, unfinished};
use crate::stages::ingest::outcome::FileStatus;
use crate::stages::marts::{self, Behind};
use crate::stages::replay::Selection;
use crate::stages::{PendingDate, StageContext, build, ingest, withdraw};
pub use health::{Condition, Reason};
pub use late::LateShare;
pub use tables::TableStatus;

/// Failures of a feed that are told.
const FAILURES: usize = 3;
/// Arrival dates that the next so many dates will push out of raw.
const SOON_DAYS: u64 = 3;

/// How a lake is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether there is nothing to look at.
    pub healthy: bool,
    /// What to look at.
    pub reasons: Vec<Reason>,
    /// Feed by feed.
    pub feeds: Vec<FeedStatus>,
    /// `files` and `runs`.
    pub tables: Vec<TableStatus>,
}

/// How a feed is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeedStatus {
    /// The feed.
    pub feed: String,
    /// The newest arrival date that is built.
    pub built_through: Option<NaiveDate>,
    /// Arrival dates with deliveries that are not built.
    pub pending: Vec<PendingDate>,
    /// The first event date of which ODS still holds what was withdrawn.
    pub withdrawn_from: Option<NaiveDate>,
    /// What `sessions/<feed>` does not follow yet; null where it is as new as ODS.
    pub sessions_behind: Option<Behind>,
    /// Files that no run has seen; null where the source was not listed.
    pub unseen_files: Option<Vec<UnseenFiles>>,
    /// Rejected files of arrival dates that raw keeps, without a good one under the same name.
    pub rejected_files: Vec<OpenFile>,
    /// Files of runs that did not come to their end, or are still at work.
    pub unfinished_files: Vec<OpenFile>,
    /// Events that came after their date, of the last arrival dates built.
    pub late: Vec<LateShare>,
    /// Rows in quarantine by stage and reason.
    pub quarantine: Vec<Refused>,
    /// ODS by its log.
    pub ods: Dates,
    /// Raw by its log.
    pub raw: Dates,
    /// The newest arrival date that retention removed.
    pub removed_through: Option<NaiveDate>,
    /// Arrival dates that are about to leave raw.
    pub expiring: Vec<Expiring>,
    /// Its last run that did something.
    pub last_run: Option<LastRun>,
    /// Its last stages that failed, the newest first.
    pub failures: Vec<Failure>,
    /// Its tables.
    pub tables: Vec<TableStatus>,
}

/// Dates of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dates {
    /// The first.
    pub first: Option<NaiveDate>,
    /// The last.
    pub last: Option<NaiveDate>,
    /// How many.
    pub dates: usize,
    /// Rows on them; null where a file does not say.
    pub rows: Option<usize>,
}

/// Files of an arrival date that no run has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnseenFiles {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Their names.
    pub files: Vec<String>,
}

/// A file that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenFile {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Its name.
    pub file: String,
    /// Why, where it is known.
    pub error: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Rows in quarantine of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Who refused them: `ingest` or `build`.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub entries: i64,
}

/// An arrival date that is about to leave raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// The arrival date whose run removes it.
    pub removed_by: NaiveDate,
}

/// The last run of a feed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastRun {
    /// Its id.
    pub run_id: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// The worst outcome of its stages of the feed.
    pub outcome: String,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The run.
    pub run_id: String,
    /// The stage.
    pub stage: String,
    /// The arrival date.
    pub arrival_date: Option<NaiveDate>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// The error with its causes.
    pub error: String,
}

/// Whether the sources of the feeds are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// They are, for files that no run has seen.
    Listed,
    /// They are not: a bucket of many files takes its time.
    Left,
}

/// Looks at the lake and at some of its feeds.
pub async fn status(
    config: &Config,
    feeds: &[&FeedConfig],
    sources: Sources,
) -> Result<Status, JobError> {
    let opened = open(config)?;
    let (lake, engine) = &opened;
    let records = runs(lake, &engine.context(chrono_tz::Tz::UTC), &runs::Asked::default()).await?;
    let mut statuses = Vec::new();
    for feed in feeds {
        let look = Look { config, feed, opened: &opened, records: &records };
        statuses.push(look.feed(sources).await?);
    }
    let mut tables = Vec::new();
    for name in [TableName::Files, TableName::Runs] {
        tables.extend(TableStatus::of(lake, &name).await?);
    }
    let reasons = health::reasons(&statuses, clock::now());
    Ok(Status { healthy: reasons.is_empty(), reasons, feeds: statuses, tables })
}

/// One feed looked at.
struct Look<'a> {
    config: &'a Config,
    feed: &'a FeedConfig,
    opened: &'a (Lake, Engine),
    records: &'a [Run],
}

impl Look<'_> {
    async fn feed(&self, sources: Sources) -> Result<FeedStatus, JobError> {
        let (lake, engine) = self.opened;
        let feed = &self.feed.name;
        let stage = StageContext::reading(lake, engine, self.feed, &self.config.feeds);
        let names = TableName::of_feed(feed);
        let (raw, ods) = (TableName::Raw(feed.clone()), TableName::Ods(feed.clone()));
        let built = self.ids(&ods).await?.built_dates(feed);
        let built_through = built.keys().next_back().copied();
        let (raw_dates, ods_dates) =
            (self.dates(&raw, UPDATED_AT).await?, self.dates(&ods, PDATE).await?);
        let mut tables = Vec::new();
        for name in &names {
            tables.extend(TableStatus::of(lake, name).await?);
        }
        let facts = self.rejected().await?;
        let context = engine.context(chrono_tz::Tz::UTC);
        let unfinished = unfinished(lake, &context, feed).await?.files;
        Ok(FeedStatus {
            feed: feed.clone(),
            built_through,
            pending: build::pending(&stage).await?,
            withdrawn_from: withdraw::pending(&stage).await?.map(|withdrawal| withdrawal.from),
            sessions_behind: marts::behind(&stage).await?,
            unseen_files: match sources {
                Sources::Listed => Some(self.unseen(&stage).await?),
                Sources::Left => None,
            },
            rejected_files: self.still_rejected(&facts, built_through),
            unfinished_files: unfinished.iter().map(open_file).collect(),
            late: late::shares(lake, engine, self.feed, &built).await?,
            quarantine: self.refused().await?,
            expiring: self.expiring(&raw, built_through).await?,
            ods: ods_dates,
            raw: raw_dates,
            removed_through: self.ids(&raw).await?.removed_through(feed),
            last_run: self.last_run(),
            failures: self.failures(),
            tables,
        })
    }

    async fn ids(&self, name: &TableName) -> Result<Ids, LakeError> {
        let (lake, _) = self.opened;
        match lake.load(name).await? {
            Some(table) => lake.ids(name, &table).await,
            None => Ok(Ids::default()),
        }
    }

    async fn dates(&self, name: &TableName, column: &'static str) -> Result<Dates, LakeError> {
        let (lake, _) = self.opened;
        let Some(table) = lake.load(name).await? else {
            return Ok(Dates { rows: Some(0), ..Dates::default() });
        };
        let dates = by_date(name, &table, column)?;
        Ok(Dates {
            first: dates.keys().next().copied(),
            last: dates.keys().next_back().copied(),
            dates: dates.len(),
            rows: dates.values().flatten().map(|file| file.rows).sum(),
        })
    }

    async fn unseen(&self, stage: &StageContext<'_>) -> Result<Vec<UnseenFiles>, JobError> {
        let files = source_of(self.feed, &self.config.lake.storage)?.all_files().await?;
        let unseen = ingest::unseen(stage, &files, LatePolicy::Bounded).await?;
        let of_dates = unseen.into_iter().map(|(arrival_date, files)| UnseenFiles {
            arrival_date,
            files: files.into_iter().map(|file| file.name.clone()).collect(),
        });
        Ok(of_dates.collect())
    }

    /// Rejected files, and the good ones that may have taken their place.
    async fn rejected(&self) -> Result<Vec<FileFact>, LakeError> {
        let (lake, engine) = self.opened;
        let context = engine.context(chrono_tz::Tz::UTC);
        let condition = ident("feed").eq(lit(self.feed.name.as_str()));
        file_facts(lake, &context, Some(condition)).await
    }

    fn still_rejected(
        &self,
        facts: &[FileFact],
        built_through: Option<NaiveDate>,
    ) -> Vec<OpenFile> {
        let days = Days::new(self.config.retention.raw_days.into());
        let first_kept = built_through.and_then(|date| date.checked_sub_days(days));
        let good = [FileStatus::Loaded, FileStatus::Changed, FileStatus::SkippedDuplicate];
        let is_replaced = |file: &FileFact| {
            facts.iter().any(|other| {
                good.contains(&other.outcome.status)
                    && other.updated >= file.updated
                    && other.outcome.arrival_date == file.outcome.arrival_date
                    && other.outcome.file == file.outcome.file
            })
        };
        facts
            .iter()
            .filter(|fact| fact.outcome.status == FileStatus::Rejected)
            .filter(|fact| first_kept.is_none_or(|first| fact.outcome.arrival_date >= first))
            .filter(|fact| !is_replaced(fact))
            .map(open_file)
            .collect()
    }

    async fn refused(&self) -> Result<Vec<Refused>, JobError> {
        let feeds = [self.feed.name.clone()];
        let counts = counts_in(self.opened, &feeds, &Selection::default()).await?;
        let mut reasons: BTreeMap<(String, String), i64> = BTreeMap::new();
        for count in counts {
            *reasons.entry((count.stage, count.reason)).or_default() += count.entries;
        }
        let refused = reasons.into_iter().map(|((stage, reason), entries)| Refused {
            stage,
            reason,
            entries,
        });
        Ok(refused.collect())
    }

    /// A date leaves raw with the run of the first arrival date that lies more than `raw_days` later.
    async fn expiring(
        &self,
        raw: &TableName,
        built_through: Option<NaiveDate>,
    ) -> Result<Vec<Expiring>, LakeError> {
        let (lake, _) = self.opened;
        let (Some(table), Some(built_through)) = (lake.load(raw).await?, built_through) else {
            return Ok(vec![]);
        };
        let kept = Days::new(u64::from(self.config.retention.raw_days) + 1);
        let soon = built_through.checked_add_days(Days::new(SOON_DAYS)).unwrap_or(built_through);
        let dates = by_date(raw, &table, UPDATED_AT)?.into_keys();
        let expiring = dates.filter_map(|arrival_date| {
            let removed_by = arrival_date.checked_add_days(kept)?;
            (removed_by <= soon).then_some(Expiring { arrival_date, removed_by })
        });
        Ok(expiring.collect())
    }

    fn last_run(&self) -> Option<LastRun> {
        let run = self.records.iter().find(|run| run.feeds.contains(&self.feed.name))?;
        Some(LastRun {
            run_id: run.run_id.clone(),
            started: run.started,
            seconds: run.seconds,
            outcome: run.outcome_of(&self.feed.name)?.to_owned(),
        })
    }

    fn failures(&self) -> Vec<Failure> {
        let stages = self
            .records
            .iter()
            .flat_map(|run| run.stages.iter().rev().map(move |stage| (run, stage)));
        let failed = stages
            .filter(|(_, stage)| stage.feed == self.feed.name && stage.outcome == "failed")
            .map(|(run, stage)| Failure {
                run_id: run.run_id.clone(),
                stage: stage.stage.clone(),
                arrival_date: stage.arrival_date,
                started: stage.started,
                error: stage.error.clone().unwrap_or_default(),
            });
        failed.take(FAILURES).collect()
    }
}

fn open_file(fact: &FileFact) -> OpenFile {
    OpenFile {
        arrival_date: fact.outcome.arrival_date,
        file: fact.outcome.file.clone(),
        error: fact.outcome.error.clone(),
        since: fact.updated,
    }
}
