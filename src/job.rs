//! The flow: ingest, build and retention for each arrival date, in order, then what follows from ODS
//! (`marts.rs`); and, in `recompute.rs`, ODS anew from a date on.

mod check;
mod ledger;
mod maintain;
mod marts;
mod recompute;
mod rejections;
mod replay;
mod side_by_side;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, NaiveDate, Utc};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::config::{Config, FeedConfig, OnMissing, StorageSettings, concealed, redacted};
use crate::engine::Engine;
use crate::error::JobError;
use crate::lake::ids::LatePolicy;
use crate::lake::upkeep::{Kept, Sweep};
use crate::lake::{self, Lake, LakeError};
use crate::record::{Outcome, RunLog, StageRecord};
use crate::sources::{Source, SourceFile};
use crate::stages::build::{self, Rebuild};
use crate::stages::ingest::{self, RejectedFile};
use crate::stages::retention::{self, RetentionPlan};
use crate::stages::rules::{self, RuleChange};
use crate::stages::{StageContext, StageOutcome};
use ledger::FilesOfDates;
use rejections::{Rejections, listed};
use side_by_side::Shares;
pub use side_by_side::SideBySide;

const CONFIG_HASH_CHARACTERS: usize = 16;

/// Which arrival dates a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// Whatever is not processed yet.
    CatchUp,
    /// One date, whose file is expected.
    One(NaiveDate),
    /// All dates with files from the first to the second, both included.
    Range(NaiveDate, NaiveDate),
}

impl Dates {
    /// The first and the last of them; none where no date is named.
    pub fn range(self) -> Option<(NaiveDate, NaiveDate)> {
        match self {
            Self::CatchUp => None,
            Self::One(date) => Some((date, date)),
            Self::Range(from, to) => Some((from, to)),
        }
    }
}

/// What a person watching the run is told.
pub trait Progress: Send + Sync {
    /// How many arrival dates a feed has to go.
    fn feed(&self, feed: &str, dates: u64);
    /// What is being done for a feed.
    fn stage(&self, feed: &str, stage: &str, arrival_date: NaiveDate);
    /// An arrival date of a feed is done.
    fn date_done(&self, feed: &str);
}

/// One run over some feeds of a lake.
pub struct Job<'a> {
    config: &'a Config,
    lake: Lake,
    engine: Engine,
    shares: Shares,
    log: RunLog,
    progress: &'a dyn Progress,
}

impl<'a> Job<'a> {
    /// Opens the lake and the engine.
    pub fn new(
        config: &'a Config,
        log: RunLog,
        progress: &'a dyn Progress,
    ) -> Result<Self, JobError> {
        let lake = Lake::of(&config.lake)?.keeping(Kept {
            removed_files_days: config.retention.removed_files_days,
            log_days: config.retention.log_days,
        });
        let engine = Engine::new(&config.engine)?;
        lake.serve(&engine.context(chrono_tz::Tz::UTC));
        let shares = Shares::of(&engine);
        Ok(Self { config, lake, engine, shares, log, progress })
    }

    /// The lake of the job.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Ingest, build and retention for each date of a feed, then its sessions.
    pub async fn run(
        &self,
        feed: &FeedConfig,
        dates: Dates,
        change: RuleChange,
    ) -> Result<(), JobError> {
        let ended = self.run_dates(feed, dates, change).await;
        self.with_marts(feed, ended).await
    }

    async fn run_dates(
        &self,
        feed: &FeedConfig,
        dates: Dates,
        change: RuleChange,
    ) -> Result<(), JobError> {
        // What earlier runs left unfinished does not wait for tonight's files.
        let (mut files, missing) = match self.files(feed, dates).await {
            Err(error @ JobError::NoFile { .. }) => (BTreeMap::new(), Some(error)),
            listed => (listed?, None),
        };
        let asked = match &missing {
            None => self.dates_to_run(feed, dates, &files).await?,
            Some(_) => BTreeSet::new(),
        };
        if let Err(error) = self.settle_rules(feed, asked.first().copied(), change).await {
            return Err(missing.unwrap_or(error));
        }
        let (unfinished, first) = self.unfinished(feed, &asked).await?;
        self.list_dates(feed, &first, &mut files).await?;
        let todo = asked.union(&first).copied().collect();
        self.see(feed, &todo, &files, LatePolicy::Bounded).await?;
        self.progress.feed(&feed.name, todo.len() as u64);
        // A date that cannot be finished does not keep those asked for from being run.
        let mut failed = missing;
        let mut rejected = Rejections::new(feed);
        for date in &first {
            if let Err(error) = self.run_date(feed, *date, &files, &mut rejected).await {
                failed.get_or_insert(error);
            }
        }
        self.recover(feed, unfinished).await;
        for date in asked.difference(&first) {
            if let Err(error) = self.run_date(feed, *date, &files, &mut rejected).await {
                return rejected.after(Err(failed.unwrap_or(error)));
            }
        }
        let ended = failed.map_or(Ok(()), Err);
        rejected.after(ended.and(self.move_rejected(feed, &files).await))
    }

    async fn run_date(
        &self,
        feed: &FeedConfig,
        date: NaiveDate,
        files: &FilesOfDates,
        rejected: &mut Rejections<'_>,
    ) -> Result<(), JobError> {
        let files = files.get(&date).map_or(&[][..], Vec::as_slice);
        rejected.add(date, self.ingest_date(feed, date, files, LatePolicy::Bounded).await?);
        self.build_date(feed, date, Rebuild::WhenPending).await?;
        self.retain(feed, date, Sweep::Recent).await?;
        self.progress.date_done(&feed.name);
        Ok(())
    }

    /// Files of each date into raw.
    pub async fn ingest(
        &self,
        feed: &FeedConfig,
        dates: Dates,
        late: LatePolicy,
    ) -> Result<(), JobError> {
        self.settle_rules(feed, None, RuleChange::Refuse).await?;
        let files = self.files(feed, dates).await?;
        let todo = match dates {
            Dates::CatchUp => self.unseen(feed, &files, late).await?,
            _ => files.keys().copied().collect(),
        };
        self.see(feed, &todo, &files, late).await?;
        self.progress.feed(&feed.name, todo.len() as u64);
        let mut rejected = Rejections::new(feed);
        let each_date = async {
            for date in todo {
                let files = files.get(&date).map(Vec::as_slice).unwrap_or_default();
                rejected.add(date, self.ingest_date(feed, date, files, late).await?);
                self.keep_up(feed).await?;
                self.progress.date_done(&feed.name);
            }
            Ok(())
        };
        let ended = each_date.await;
        let ended = rejected.after(ended.and(self.move_rejected(feed, &files).await));
        self.with_marts(feed, ended).await
    }

    /// Raw into ODS, for the dates asked for that have something to build; then its sessions.
    pub async fn build(
        &self,
        feed: &FeedConfig,
        dates: Dates,
        rebuild: Rebuild,
        change: RuleChange,
    ) -> Result<(), JobError> {
        let todo = match dates {
            Dates::One(date) => BTreeSet::from([date]),
            Dates::CatchUp => self.pending(feed).await?,
            Dates::Range(from, to) => {
                let within = |date: &NaiveDate| (from..=to).contains(date);
                match rebuild {
                    Rebuild::WhenPending => {
                        self.pending(feed).await?.into_iter().filter(within).collect()
                    }
                    Rebuild::Always => from.iter_days().take_while(|date| *date <= to).collect(),
                }
            }
        };
        self.settle_rules(feed, todo.iter().next().copied(), change).await?;
        self.progress.feed(&feed.name, todo.len() as u64);
        let each_date = async {
            for date in todo {
                self.build_date(feed, date, rebuild).await?;
                self.keep_up(feed).await?;
                self.progress.date_done(&feed.name);
            }
            Ok(())
        };
        let ended = each_date.await;
        self.with_marts(feed, ended).await
    }

    /// What retention would do as of a date; the newest built arrival date by default.
    pub async fn retention_plan(
        &self,
        feed: &FeedConfig,
        as_of: Option<NaiveDate>,
    ) -> Result<RetentionPlan, JobError> {
        let Some(as_of) = self.as_of(feed, as_of).await? else {
            return Ok(RetentionPlan::default());
        };
        let stage = self.stage(feed);
        Ok(retention::plan(&stage, as_of, self.config.retention.raw_days).await?)
    }

    /// Removes what [`Job::retention_plan`] names.
    pub async fn retention(
        &self,
        feed: &FeedConfig,
        as_of: Option<NaiveDate>,
    ) -> Result<RetentionPlan, JobError> {
        let followed = self.follow_withdrawal(feed).await;
        self.with_marts(feed, followed).await?;
        match self.as_of(feed, as_of).await? {
            Some(as_of) => self.retain(feed, as_of, Sweep::All).await,
            None => Ok(RetentionPlan::default()),
        }
    }

    /// Notes in the log that a signal stopped the run; `None` where it was at work on what belongs
    /// to no feed.
    pub fn interrupted(&self, feed: Option<&FeedConfig>) {
        self.note(feed, "run", Outcome::Interrupted, None);
    }

    /// Notes in the log an error that came before or between the stages; that of a stage is
    /// there already.
    pub fn failed(&self, feed: &FeedConfig, error: &JobError) {
        let is_noted = |record: &StageRecord| {
            let is_failure = match error {
                JobError::Rejected { .. } => record.outcome == Outcome::Rejected,
                _ => record.outcome == Outcome::Failed,
            };
            record.feed == feed.name && is_failure
        };
        if !self.log.records().iter().any(is_noted) {
            self.note(Some(feed), error.stage(), Outcome::Failed, Some(error_chain(error)));
        }
    }

    fn note(
        &self,
        feed: Option<&FeedConfig>,
        stage: &'static str,
        outcome: Outcome,
        error: Option<String>,
    ) {
        self.log.push(StageRecord {
            feed: feed.map_or_else(String::new, |feed| feed.name.clone()),
            arrival_date: None,
            stage,
            started: clock::now(),
            seconds: 0.0,
            outcome,
            error,
            config_hash: feed.map_or_else(String::new, config_hash),
            did: StageOutcome::default(),
        });
    }

    async fn settle_rules(
        &self,
        feed: &FeedConfig,
        arrival_date: Option<NaiveDate>,
        change: RuleChange,
    ) -> Result<(), JobError> {
        rules::settle(&self.stage(feed), arrival_date, change)
            .await
            .map_err(|source| JobError::Rules { feed: feed.name.clone(), source })?;
        self.follow_withdrawal(feed).await
    }

    async fn ingest_date(
        &self,
        feed: &FeedConfig,
        arrival_date: NaiveDate,
        files: &[SourceFile],
        late: LatePolicy,
    ) -> Result<Vec<RejectedFile>, JobError> {
        self.progress.stage(&feed.name, "ingest", arrival_date);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = match self.reject_folder(feed) {
            Ok(folder) => ingest::ingest(&stage, arrival_date, files, late, folder.as_ref()).await,
            Err(error) => Err(error.into()),
        };
        let result = result.map(|did| (did.rejected_files.clone(), did)).map_err(|source| {
            let feed = feed.name.clone();
            JobError::Ingest { feed, arrival_date, source }
        });
        self.record(&stage, arrival_date, "ingest", &timer, result)
    }

    async fn build_date(
        &self,
        feed: &FeedConfig,
        arrival_date: NaiveDate,
        rebuild: Rebuild,
    ) -> Result<(), JobError> {
        self.progress.stage(&feed.name, "build", arrival_date);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let result = build::build(&stage, arrival_date, rebuild).await;
        let result = result.map(|outcome| ((), outcome)).map_err(|source| {
            let feed = feed.name.clone();
            JobError::Build { feed, arrival_date, source }
        });
        self.record(&stage, arrival_date, "build", &timer, result)
    }

    async fn retain(
        &self,
        feed: &FeedConfig,
        as_of: NaiveDate,
        sweep: Sweep,
    ) -> Result<RetentionPlan, JobError> {
        self.progress.stage(&feed.name, "retention", as_of);
        let (stage, timer) = (self.stage(feed), Timer::start());
        let raw_days = self.config.retention.raw_days;
        let result = retention::retain(&stage, as_of, raw_days, sweep).await;
        let result =
            result.map_err(|source| JobError::Retention { feed: feed.name.clone(), source });
        self.record(&stage, as_of, "retention", &timer, result)
    }

    /// The files of the dates asked for. None at all is an error, unless the feed says otherwise,
    /// or a catch-up finds that earlier files were taken in: then the path was right once.
    async fn files(&self, feed: &FeedConfig, dates: Dates) -> Result<FilesOfDates, JobError> {
        let source = source_of(feed, &self.config.lake.storage)?;
        let (files, asked) = match dates {
            Dates::One(date) => {
                let files = source.files_of(date).await?;
                let of_date = (!files.is_empty()).then_some((date, files));
                (of_date.into_iter().collect(), date.to_string())
            }
            Dates::Range(from, to) => {
                let mut files = source.all_files().await?;
                files.retain(|date, _| (from..=to).contains(date));
                (files, format!("{from} to {to}"))
            }
            Dates::CatchUp => (source.all_files().await?, "any date".to_owned()),
        };
        if !files.is_empty() || feed.on_missing == OnMissing::Ok {
            return Ok(files);
        }
        if dates == Dates::CatchUp && ingest::has_deliveries(&self.stage(feed)).await? {
            return Ok(files);
        }
        let is_asked = |date| dates.range().is_none_or(|(from, to)| (from..=to).contains(&date));
        let may_be_moved = feed.contract.reject_move;
        if may_be_moved && ingest::has_rejections(&self.stage(feed), is_asked).await? {
            return Ok(files);
        }
        let (feed, path) = (feed.name.clone(), redacted(&feed.path));
        Err(JobError::NoFile { feed, dates: asked, path })
    }

    /// After a stage that is run without retention: a load of years of history needs checkpoints.
    async fn keep_up(&self, feed: &FeedConfig) -> Result<(), JobError> {
        retention::keep_up(&self.stage(feed), Sweep::Recent).await.map(|_| ()).map_err(|source| {
            JobError::Retention { feed: feed.name.clone(), source: source.into() }
        })
    }

    async fn dates_to_run(
        &self,
        feed: &FeedConfig,
        dates: Dates,
        files: &BTreeMap<NaiveDate, Vec<SourceFile>>,
    ) -> Result<BTreeSet<NaiveDate>, JobError> {
        match dates {
            Dates::One(date) => Ok(BTreeSet::from([date])),
            Dates::Range(..) => Ok(files.keys().copied().collect()),
            Dates::CatchUp => {
                let mut todo = self.unseen(feed, files, LatePolicy::Bounded).await?;
                todo.extend(self.pending(feed).await?);
                Ok(todo)
            }
        }
    }

    async fn unseen(
        &self,
        feed: &FeedConfig,
        files: &BTreeMap<NaiveDate, Vec<SourceFile>>,
        late: LatePolicy,
    ) -> Result<BTreeSet<NaiveDate>, JobError> {
        let unseen = ingest::unseen(&self.stage(feed), files, late).await?;
        Ok(unseen.into_keys().collect())
    }

    async fn pending(&self, feed: &FeedConfig) -> Result<BTreeSet<NaiveDate>, JobError> {
        let pending = build::pending(&self.stage(feed)).await?;
        Ok(pending.into_iter().map(|date| date.arrival_date).collect())
    }

    async fn as_of(
        &self,
        feed: &FeedConfig,
        as_of: Option<NaiveDate>,
    ) -> Result<Option<NaiveDate>, JobError> {
        match as_of {
            Some(date) => Ok(Some(date)),
            None => Ok(build::newest_built(&self.stage(feed)).await?),
        }
    }

    fn stage<'s>(&'s self, feed: &'s FeedConfig) -> StageContext<'s> {
        StageContext {
            lake: &self.lake,
            engine: self.shares.engine(),
            feed,
            feeds: &self.config.feeds,
            run_id: self.log.run_id(),
            config_hash: config_hash(feed),
            started: clock::now(),
        }
    }

    /// Adds the stage to the run's log, however it ended.
    fn record<T>(
        &self,
        stage: &StageContext<'_>,
        date: impl Into<Option<NaiveDate>>,
        name: &'static str,
        timer: &Timer,
        result: Result<(T, StageOutcome), JobError>,
    ) -> Result<T, JobError> {
        let (outcome, error, did, result) = match result {
            Ok((value, did)) if did.up_to_date => (Outcome::UpToDate, None, did, Ok(value)),
            Ok((value, did)) if !did.rejected_files.is_empty() => {
                (Outcome::Rejected, Some(listed(&did.rejected_files)), did, Ok(value))
            }
            Ok((value, did)) => (Outcome::Done, None, did, Ok(value)),
            Err(error) => {
                let chain = error_chain(&error);
                let checks = error.checks().to_vec();
                let did = StageOutcome { checks, ..StageOutcome::default() };
                (Outcome::Failed, Some(chain), did, Err(error))
            }
        };
        self.log.push(StageRecord {
            feed: stage.feed.name.clone(),
            arrival_date: date.into(),
            stage: name,
            started: timer.started,
            seconds: timer.clock.elapsed().as_secs_f64(),
            outcome,
            error,
            config_hash: stage.config_hash.clone(),
            did,
        });
        result
    }
}

/// Where the batches of a feed are; a bucket is reached as that of the lake is.
pub(crate) fn source_of<'f>(
    feed: &'f FeedConfig,
    storage: &StorageSettings,
) -> Result<Source<'f>, LakeError> {
    Ok(match Source::bucket(&feed.path) {
        Some(bucket) => Source::in_store(&feed.path, lake::bucket_store(bucket, storage)?),
        None => Source::on_disk(&feed.path),
    })
}

struct Timer {
    started: DateTime<Utc>,
    clock: Instant,
}

impl Timer {
    fn start() -> Self {
        Self { started: clock::now(), clock: Instant::now() }
    }
}

/// Hash of what decides a feed's result: mapping, rules, window, columns and format.
fn config_hash(feed: &FeedConfig) -> String {
    let effective = serde_json::json!({
        "name": feed.name,
        "format": feed.format.as_str(),
        "columns": feed.columns,
        "contract": feed.contract,
        "event": feed.event,
        "session": feed.session,
        "window": feed.window,
        "distinct": feed.marts.distinct,
    });
    let digest = Sha256::digest(effective.to_string());
    format!("{digest:x}").chars().take(CONFIG_HASH_CHARACTERS).collect()
}

/// An error and its causes in one line each, without repeating what a cause says already, and
/// without any secret that one of them quotes.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !chain.contains(&text) {
            chain.push_str("\n  because ");
            chain.push_str(&text);
        }
        cause = error.source();
    }
    concealed(&chain).into_owned()
}
