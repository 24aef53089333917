//! The record of runs, run by run.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::prelude::SessionContext;
use serde::Serialize;

use super::columns::Columns;
use super::{open, rows_of};
use crate::config::Config;
use crate::error::JobError;
use crate::lake::{Lake, LakeError, TableName, contracts};

/// Outcomes of stages from the worst to the best, as `runs` names them.
const OUTCOMES: [&str; 5] = ["failed", "interrupted", "rejected", "done", "up_to_date"];
/// How many of them are no good end.
const BAD: usize = 3;

/// One run: its stages, in the order in which they began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its id.
    pub run_id: String,
    /// When its first stage began.
    pub started: DateTime<Utc>,
    /// From then to the end of its last stage.
    pub seconds: f64,
    /// The worst outcome of a stage: `failed`, `interrupted`, `rejected` (files), `done` or
    /// `up_to_date`.
    pub outcome: String,
    /// The feeds that it worked on.
    pub feeds: Vec<String>,
    /// What it did.
    pub stages: Vec<StageOfRun>,
}

/// One stage of a run, as the table `runs` has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageOfRun {
    /// The feed; empty where it was at work on none.
    pub feed: String,
    /// The arrival date; for `reprocess` the first event date.
    pub arrival_date: Option<NaiveDate>,
    /// Its name.
    pub stage: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: String,
    /// The error with its causes, or the files that were rejected.
    pub error: Option<String>,
    /// Rows or records read.
    pub rows_read: Option<i64>,
    /// Rows that the table did not hold.
    pub rows_new: Option<i64>,
    /// Rows equal to a known event.
    pub rows_identical_duplicates: Option<i64>,
    /// Rows of a known event with other attributes.
    pub rows_conflicting_duplicates: Option<i64>,
    /// Rows refused.
    pub rows_quarantined: Option<i64>,
    /// Rows of ODS written; of the stage `sessions` rows of that table.
    pub rows_changed: Option<i64>,
}

impl Run {
    /// Whether a stage failed, was interrupted, or rejected files.
    pub fn is_bad(&self) -> bool {
        OUTCOMES[..BAD].contains(&self.outcome.as_str())
    }

    /// The worst outcome of its stages of a feed.
    pub fn outcome_of(&self, feed: &str) -> Option<&str> {
        worst(self.stages.iter().filter(|stage| stage.feed == feed))
    }

    /// The sum of a count over the stages of some name; none where no stage has it.
    pub fn total(
        &self,
        is_counted: impl Fn(&StageOfRun) -> bool,
        count: impl Fn(&StageOfRun) -> Option<i64>,
    ) -> Option<i64> {
        let counts = self.stages.iter().filter(|stage| is_counted(stage)).filter_map(count);
        counts.fold(None, |sum, count| Some(sum.unwrap_or_default() + count))
    }
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// That worked on one of these feeds; on any, or on none, where there are none.
    pub feeds: Vec<String>,
    /// That began on this date (UTC) or later.
    pub from: Option<NaiveDate>,
    /// That began on this date (UTC) or earlier.
    pub to: Option<NaiveDate>,
    /// That did not end well.
    pub only_bad: bool,
    /// The newest of them.
    pub limit: Option<usize>,
}

/// The runs asked for, the newest first.
pub async fn history(config: &Config, asked: &Asked) -> Result<Vec<Run>, JobError> {
    let (lake, engine) = open(config)?;
    Ok(runs(&lake, &engine.context(chrono_tz::Tz::UTC), asked).await?)
}

pub(super) async fn runs(
    lake: &Lake,
    context: &SessionContext,
    asked: &Asked,
) -> Result<Vec<Run>, LakeError> {
    let mut stages = stages(lake, context).await?;
    // A run is one commit, and its id begins with the time: the stages of one are neighbours.
    stages.sort_by(|(left_id, left), (right_id, right)| {
        right_id.cmp(left_id).then(left.started.cmp(&right.started))
    });
    let of_run = stages.chunk_by(|(left, _), (right, _)| left == right);
    let mut runs: Vec<Run> = of_run.filter_map(run).filter(|run| asked.is_met(run)).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.started));
    runs.truncate(asked.limit.unwrap_or(usize::MAX));
    Ok(runs)
}

impl Asked {
    fn is_met(&self, run: &Run) -> bool {
        let is_of_feed =
            self.feeds.is_empty() || run.feeds.iter().any(|feed| self.feeds.contains(feed));
        let date = run.started.date_naive();
        is_of_feed
            && self.from.is_none_or(|from| from <= date)
            && self.to.is_none_or(|to| date <= to)
            && (!self.only_bad || run.is_bad())
    }
}

fn worst<'s>(stages: impl IntoIterator<Item = &'s StageOfRun>) -> Option<&'s str> {
    let rank = |outcome: &&str| {
        OUTCOMES.iter().position(|known| known == outcome).unwrap_or(OUTCOMES.len())
    };
    stages.into_iter().map(|stage| stage.outcome.as_str()).min_by_key(rank)
}

fn run(stages: &[(String, StageOfRun)]) -> Option<Run> {
    let (run_id, first) = stages.first()?;
    let stages: Vec<StageOfRun> = stages.iter().map(|(_, stage)| stage.clone()).collect();
    let end = |stage: &StageOfRun| {
        let since = stage.started.signed_duration_since(first.started);
        since.as_seconds_f64() + stage.seconds
    };
    let feeds: BTreeSet<&String> =
        stages.iter().map(|stage| &stage.feed).filter(|feed| !feed.is_empty()).collect();
    Some(Run {
        run_id: run_id.clone(),
        started: first.started,
        seconds: stages.iter().map(end).fold(0.0, f64::max),
        outcome: worst(&stages)?.to_owned(),
        feeds: feeds.into_iter().cloned().collect(),
        stages,
    })
}

async fn stages(
    lake: &Lake,
    context: &SessionContext,
) -> Result<Vec<(String, StageOfRun)>, LakeError> {
    let name = TableName::Runs;
    let Some(frame) = rows_of(lake, context, &name).await? else {
        return Ok(vec![]);
    };
    let batches = frame.collect().await.map_err(|source| LakeError::read(&name, source.into()))?;
    let mut stages = Vec::new();
    for batch in &batches {
        let columns = Columns::of(&name, batch, &contracts::runs())?;
        stages.extend((0..batch.num_rows()).filter_map(|row| stage(&columns, row)));
    }
    Ok(stages)
}

fn stage(columns: &Columns, row: usize) -> Option<(String, StageOfRun)> {
    let count = |name: &str| columns.integer(name, row);
    let stage = StageOfRun {
        feed: columns.text("feed", row)?,
        arrival_date: columns.date("arrival_date", row),
        stage: columns.text("stage", row)?,
        started: columns.time("started", row)?,
        seconds: columns.float("seconds", row)?,
        outcome: columns.text("outcome", row)?,
        error: columns.text("error", row),
        rows_read: count("rows_read"),
        rows_new: count("rows_new"),
        rows_identical_duplicates: count("rows_identical_duplicates"),
        rows_conflicting_duplicates: count("rows_conflicting_duplicates"),
        rows_quarantined: count("rows_quarantined"),
        rows_changed: count("rows_changed"),
    };
    Some((columns.text("run_id", row)?, stage))
}
