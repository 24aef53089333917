//! What happens to events, in order: [`ingest`], [`build`] ([`deliveries`], [`events`],
//! [`judgement`], [`merge`], [`sessions`]), [`marts`], [`retention`]; [`reprocess`], which rebuilds
//! from raw or from the [`facts`] of ODS; [`replay`], which brings entries of quarantine back;
//! [`withdraw`], which takes a delivery back; and [`maintain`], which tidies up.

pub mod build;
pub mod checks;
mod compaction;
pub mod deliveries;
pub mod error;
pub mod events;
pub mod facts;
pub mod ingest;
pub mod judgement;
pub mod maintain;
pub mod mapping;
pub mod marts;
pub mod merge;
pub mod quarantine;
pub mod raw_rows;
pub mod reject;
pub mod replay;
pub mod reprocess;
pub mod retention;
pub mod rules;
pub mod sessions;
pub mod timestamps;
pub mod withdraw;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};

use crate::clock;
use crate::config::FeedConfig;
use crate::engine::Engine;
use crate::lake::Lake;
use crate::lake::commits::{Provenance, replanning};
use crate::lake::files::FileTotals;
use checks::CheckResult;
use ingest::RejectedFile;
use ingest::outcome::FileOutcome;
use merge::ConflictExample;
use withdraw::Withdrawn;

/// What every stage of one run of one feed works with.
#[derive(Debug, Clone)]
pub struct StageContext<'a> {
    /// Where the tables are.
    pub lake: &'a Lake,
    /// Runs the queries.
    pub engine: &'a Engine,
    /// What is run.
    pub feed: &'a FeedConfig,
    /// Every feed of the configuration: checks may read the tables of others.
    pub feeds: &'a [FeedConfig],
    /// Id of the run, as in `runs`.
    pub run_id: &'a str,
    /// Hash of the feed's effective configuration.
    pub config_hash: String,
    /// When the run began: `_ingested_at` of its rows.
    pub started: DateTime<Utc>,
}

impl<'a> StageContext<'a> {
    /// What reading a feed takes: nothing is committed, so there is no run to name.
    pub fn reading(
        lake: &'a Lake,
        engine: &'a Engine,
        feed: &'a FeedConfig,
        feeds: &'a [FeedConfig],
    ) -> Self {
        let (run_id, config_hash) = ("", String::new());
        Self { lake, engine, feed, feeds, run_id, config_hash, started: clock::now() }
    }

    /// What the commits of one stage say of themselves.
    pub fn provenance(
        &self,
        stage: &'static str,
        input_versions: Vec<(String, u64)>,
    ) -> Provenance {
        Provenance {
            run_id: self.run_id.to_owned(),
            config_hash: self.config_hash.clone(),
            stage,
            input_versions,
        }
    }

    /// Properties of a table that has none of its own.
    pub fn table_properties(&self) -> HashMap<String, String> {
        HashMap::new()
    }
}

/// What one stage did; `None` is a term that the stage does not have.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct StageOutcome {
    /// Rows or records read.
    pub rows_read: Option<i64>,
    /// Ingest: rows appended to raw. Build: events that ODS did not hold.
    pub rows_new: Option<i64>,
    /// Delivered rows equal to a known event.
    pub rows_identical_duplicates: Option<i64>,
    /// Delivered rows of a known event with other attributes.
    pub rows_conflicting_duplicates: Option<i64>,
    /// Some of those, with what is kept and what is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicting_examples: Vec<ConflictExample>,
    /// Quarantined rows by reason.
    pub quarantined: BTreeMap<String, i64>,
    /// Rows of ODS written: new, replaced or re-sessionized. Of the stage sessions: its rows written.
    pub rows_changed: Option<i64>,
    /// Source files read.
    pub read: FileTotals,
    /// Data files added to the lake.
    pub added: FileTotals,
    /// Data files removed from the lake.
    pub removed: FileTotals,
    /// Version of the stage's table before.
    pub version_before: Option<u64>,
    /// Version after; the same when there was nothing to do.
    pub version_after: Option<u64>,
    /// Nothing was left to do.
    pub up_to_date: bool,
    /// Source files of which nothing was taken, because of what they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_files: Vec<RejectedFile>,
    /// What became of each file that was not known before; `files` holds it.
    #[serde(skip)]
    pub files: Vec<FileOutcome>,
    /// What the checks found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// What was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
}

impl StageOutcome {
    /// Total of quarantined rows.
    pub fn rows_quarantined(&self) -> i64 {
        self.quarantined.values().sum()
    }
}

/// An arrival date with deliveries that are not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PendingDate {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Its deliveries in raw.
    pub deliveries: i64,
    /// How many of them are built.
    pub built: i64,
}
