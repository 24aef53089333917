//! The table `files`: what became of every file that a run has seen.
//!
//! Facts are appended, one commit when a run has found its files and one when it ends; the newest
//! fact about a file holds. It is a report: what was delivered is decided by the ids of raw alone.
//!
//! A run that has found files takes a *place* of its feed, an id whose version is odd until the run
//! ends. An odd one left behind tells the next run that there is something to look for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use deltalake::DeltaTable;

use super::append::Append;
use super::file_facts::FileFact;
use super::{Outcome, StageRecord};
use crate::clock;
use crate::lake::commits::Provenance;
use crate::lake::ids::Ids;
use crate::lake::{Lake, LakeError, TableName, contracts, ids};
use crate::stages::ingest::outcome::FileOutcome;

/// A place that a run has taken, and the version of its id since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    id: String,
    version: i64,
}

impl Place {
    /// Places of a feed whose run has not ended.
    pub(super) fn taken(ids: &Ids, feed: &str) -> Vec<Self> {
        let versions = ids.places(feed).into_iter().enumerate();
        let taken = versions.filter(|(_, version)| is_taken(*version));
        taken.map(|(number, version)| Self { id: ids::place(feed, number), version }).collect()
    }

    /// The first free place of a feed, taken.
    fn next(ids: &Ids, feed: &str) -> Self {
        let versions = ids.places(feed);
        let free = versions.iter().position(|version| !is_taken(*version));
        let number = free.unwrap_or(versions.len());
        let version = versions.get(number).copied().unwrap_or_default() + 1;
        Self { id: ids::place(feed, number), version }
    }
}

fn is_taken(version: i64) -> bool {
    version % 2 == 1
}

/// What one run knows of files, filled as it goes.
#[derive(Debug, Clone, Default)]
pub(super) struct FileLog {
    state: Arc<Mutex<State>>,
    /// Feeds side by side commit one after the other: conflicts with oneself would use up the
    /// attempts.
    commits: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<FileFact>,
    /// What became of files that an earlier run had found.
    recovered: Vec<(String, FileOutcome)>,
    /// Places to be left when the run ends: its own, and those that it found taken.
    places: Vec<Place>,
}

impl FileLog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recover(&self, feed: &str, outcomes: Vec<FileOutcome>, left: Vec<Place>) {
        let mut state = self.lock();
        state.recovered.extend(outcomes.into_iter().map(|outcome| (feed.to_owned(), outcome)));
        state.places.extend(left);
    }

    /// One commit: these files were found. Nothing for none.
    pub(super) async fn see(
        &self,
        lake: &Lake,
        provenance: &Provenance,
        feed: &str,
        files: Vec<FileOutcome>,
    ) -> Result<(), LakeError> {
        if files.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let fact = |outcome| FileFact {
            feed: feed.to_owned(),
            outcome,
            run_id: provenance.run_id.clone(),
            first_seen: now,
            updated: now,
        };
        let facts: Vec<FileFact> = files.into_iter().map(fact).collect();
        let _turn = self.commits.lock().await;
        let append = write(lake, &facts).await?;
        fail::fail_point!("seen_before_commit", |_| std::process::abort());
        // Two runs that commit at once must not take the same place: the table's id sees to that.
        let take_place = async |table: &DeltaTable| {
            let place = Place::next(&lake.ids(&TableName::Files, table).await?, feed);
            Ok((vec![ids::transaction(&place.id, place.version)], place))
        };
        let place = append.commit(provenance, take_place).await?;
        fail::fail_point!("seen_after_commit", |_| std::process::abort());
        let mut state = self.lock();
        state.places.push(place);
        state.seen.extend(facts);
        Ok(())
    }

    /// One commit: what became of the files, and the places of the run are free. Nothing where no
    /// file was new.
    pub(super) async fn write(
        &self,
        lake: &Lake,
        provenance: &Provenance,
        records: &[StageRecord],
    ) -> Result<(), LakeError> {
        let state = std::mem::take(&mut *self.lock());
        let facts = facts(&state, &provenance.run_id, records);
        if facts.is_empty() && state.places.is_empty() {
            return Ok(());
        }
        let append = write(lake, &facts).await?;
        fail::fail_point!("outcome_before_commit", |_| std::process::abort());
        let leave_places = async |table: &DeltaTable| {
            let known = lake.ids(&TableName::Files, table).await?;
            let is_ours = |place: &&Place| known.version(&place.id) == Some(place.version);
            let ours = state.places.iter().filter(is_ours);
            Ok((ours.map(|place| ids::transaction(&place.id, place.version + 1)).collect(), ()))
        };
        append.commit(provenance, leave_places).await?;
        fail::fail_point!("outcome_after_commit", |_| std::process::abort());
        Ok(())
    }
}

/// What became of every file that the run took in, found or recovered. A file that it has found and
/// another run has taken in meanwhile is that run's to tell of.
fn facts(state: &State, run_id: &str, records: &[StageRecord]) -> Vec<FileFact> {
    let now = clock::now();
    let first_seen = |feed: &str, outcome: &FileOutcome| {
        let mut seen = state.seen.iter().filter(|seen| seen.feed == feed);
        seen.find(|seen| seen.outcome.is_same_file(outcome)).map_or(now, |seen| seen.first_seen)
    };
    let known = records
        .iter()
        .flat_map(|record| record.did.files.iter().map(|file| (record.feed.as_str(), file)))
        .chain(state.recovered.iter().map(|(feed, file)| (feed.as_str(), file)));
    let fact = |(feed, outcome): (&str, &FileOutcome)| FileFact {
        feed: feed.to_owned(),
        first_seen: first_seen(feed, outcome),
        outcome: outcome.clone(),
        run_id: run_id.to_owned(),
        updated: now,
    };
    let mut facts: Vec<FileFact> = known.map(fact).collect();
    let mut left = Vec::new();
    for (feed, error) in errors(records) {
        let is_known = |seen: &&FileFact| {
            seen.feed != feed || facts.iter().any(|known| known.is_same_file(seen))
        };
        for seen in state.seen.iter().filter(|seen| !is_known(seen)) {
            let mut seen = FileFact { updated: now, ..seen.clone() };
            seen.outcome.error = Some(error.clone());
            left.push(seen);
        }
    }
    facts.append(&mut left);
    facts
}

/// Why each feed that did not come to its end did not.
fn errors(records: &[StageRecord]) -> BTreeMap<&str, String> {
    let mut errors = BTreeMap::new();
    for record in records {
        let error = match record.outcome {
            Outcome::Failed => record.error.clone().unwrap_or_default(),
            Outcome::Interrupted => "the run was stopped by a signal".to_owned(),
            Outcome::Done | Outcome::Rejected | Outcome::UpToDate => continue,
        };
        errors.entry(record.feed.as_str()).or_insert(error);
    }
    errors
}

async fn write<'l>(lake: &'l Lake, facts: &[FileFact]) -> Result<Append<'l>, LakeError> {
    let name = TableName::Files;
    let rows = to_batch(facts).map_err(|source| LakeError::Rows { table: name.clone(), source })?;
    Append::write(lake, name, rows).await
}

fn to_batch(facts: &[FileFact]) -> Result<RecordBatch, ArrowError> {
    let text = |value: &dyn Fn(&FileFact) -> Option<String>| -> ArrayRef {
        Arc::new(facts.iter().map(value).collect::<StringArray>())
    };
    let count = |value: &dyn Fn(&FileOutcome) -> Option<i64>| -> ArrayRef {
        Arc::new(facts.iter().map(|fact| value(&fact.outcome)).collect::<Int64Array>())
    };
    let time = |value: &dyn Fn(&FileFact) -> DateTime<Utc>| -> ArrayRef {
        let micros = facts.iter().map(|fact| Some(value(fact).timestamp_micros()));
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let dates: Date32Array = facts
        .iter()
        .map(|fact| Some(crate::stages::events::date32(fact.outcome.arrival_date)))
        .collect();
    let late: BooleanArray = facts.iter().map(|fact| Some(fact.outcome.accept_late)).collect();
    let reasons = |fact: &FileFact| {
        let reasons = &fact.outcome.reasons;
        if reasons.is_empty() { None } else { serde_json::to_string(reasons).ok() }
    };
    RecordBatch::try_new(
        contracts::files(),
        vec![
            text(&|fact| Some(fact.feed.clone())),
            Arc::new(dates),
            text(&|fact| Some(fact.outcome.file.clone())),
            text(&|fact| Some(fact.outcome.url.clone())),
            count(&|outcome| Some(outcome.bytes)),
            text(&|fact| Some(fact.outcome.version.clone())),
            text(&|fact| fact.outcome.content_hash.clone()),
            Arc::new(late),
            text(&|fact| Some(fact.outcome.status.as_str().to_owned())),
            count(&|outcome| outcome.rows),
            count(&|outcome| outcome.rows_rejected),
            text(&reasons),
            text(&|fact| fact.outcome.error.clone()),
            text(&|fact| Some(fact.run_id.clone())),
            time(&|fact| fact.first_seen),
            time(&|fact| fact.updated),
        ],
    )
}
