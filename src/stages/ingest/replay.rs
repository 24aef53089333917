//! Files of which ingest refused something, read again under the configuration of today.
//!
//! A file that was rejected whole is taken in like any other. Of one that was taken in, the rows
//! that were refused then and are good now are appended to raw; the others are there. Then the
//! entries of the file leave quarantine, but for rows that are still bad. A run that is killed in
//! between leaves the entries, and replaying them again appends rows that are in raw already: they
//! are identical duplicates, of which ODS knows nothing.

use std::collections::BTreeSet;
use std::slice;

use chrono::NaiveDate;

use super::delivery::Delivery;
use super::outcome::FileStatus;
use super::rejection::content_hash;
use super::{NewFile, open};
use crate::lake::ids::{self, LatePolicy};
use crate::sources::SourceFile;
use crate::stages::error::IngestError;
use crate::stages::quarantine::Quarantine;
use crate::stages::{StageContext, StageOutcome, replanning};

/// What ingest refused of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// The name of the file.
    pub file: String,
    /// The first physical lines of its entries.
    pub lines: BTreeSet<i64>,
    /// How many there are; of a file that was rejected whole, one.
    pub entries: usize,
}

/// Reads one of `files`, those of the arrival date, again.
pub async fn replay(
    stage: &StageContext<'_>,
    refused: &Refused,
    files: &[SourceFile],
) -> Result<StageOutcome, IngestError> {
    let once = async || replay_once(stage, refused, files).await;
    replanning(IngestError::is_conflict, once).await
}

async fn replay_once(
    stage: &StageContext<'_>,
    refused: &Refused,
    files: &[SourceFile],
) -> Result<StageOutcome, IngestError> {
    let (feed, arrival_date) = (&stage.feed.name, refused.arrival_date);
    let Some(file) = files.iter().find(|file| file.name == refused.file) else {
        return Err(IngestError::Gone { file: refused.file.clone(), arrival_date });
    };
    let (name, table, held_to) = open(stage, arrival_date).await?;
    let known = stage.lake.ids(&name, &table).await?;
    let hash = content_hash(file).await?;
    let is_here = |mark: &LatePolicy| {
        let id = ids::delivery(feed, arrival_date, &file.name, &hash, *mark);
        known.contains(&id) && !known.is_withdrawn(&id)
    };
    let taken_as = LatePolicy::ALL.into_iter().find(is_here);
    let is_rejected = known.contains(&ids::rejected(feed, arrival_date, &file.name, &hash));
    if taken_as.is_none() && !is_rejected {
        return Err(IngestError::OtherContent { path: file.path.clone(), arrival_date });
    }
    let new = NewFile {
        file,
        content_hash: Some(hash),
        status: FileStatus::Loaded,
        refused_lines: taken_as.map(|_| &refused.lines),
    };
    let late = taken_as.unwrap_or(LatePolicy::Bounded);
    let delivery =
        Delivery { stage, name, table, arrival_date, late, held_to, known, reject_folder: None };
    delivery.replay(&new, refused.entries).await
}

impl Delivery<'_> {
    async fn replay(&self, new: &NewFile<'_>, entries: usize) -> Result<StageOutcome, IngestError> {
        let version = self.table.version();
        let mut outcome = StageOutcome {
            version_before: version,
            version_after: version,
            ..StageOutcome::default()
        };
        let mut taken = self.take(slice::from_ref(new)).await?;
        taken.account(&mut outcome);
        outcome.rejected_files = taken.rejected_files;
        let Some(decided) = taken.decided.into_iter().next() else {
            return Ok(outcome);
        };
        let bad_lines: BTreeSet<i64> = decided.bad.iter().map(|row| row.line).collect();
        let is_same = decided.bad.len() == entries && new.refused_lines == Some(&bad_lines);
        if taken.rows == 0 && is_same {
            outcome.up_to_date = true;
            return Ok(outcome);
        }
        let id = match new.refused_lines {
            None => {
                self.quarantine(slice::from_ref(&decided)).await?;
                ids::transaction(&decided.id, 1)
            }
            Some(_) => {
                let (feed, hash) = (&self.stage.feed.name, &decided.content_hash);
                let id = ids::replayed(feed, self.arrival_date, &decided.file, hash);
                let replays = self.known.version(&id).unwrap_or_default();
                ids::transaction(id, replays + 1)
            }
        };
        if taken.rows > 0 || new.refused_lines.is_none() {
            outcome.version_after = Some(self.commit(taken.adds, vec![id]).await?);
        }
        let quarantine = Quarantine::open(self.stage).await?;
        let replaced = BTreeSet::from([decided.file.as_str()]);
        quarantine
            .append_rejected(self.stage, self.arrival_date, &decided.bad, &replaced, vec![])
            .await
            .map_err(IngestError::of_quarantine)?;
        Ok(outcome)
    }
}
