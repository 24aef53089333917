//! Batch files into raw: one commit for the new files of an arrival date, each exactly once.
//!
//! ```text
//! plan       which files raw does not hold yet
//! reading    file -> records in columns, in file order    (several threads, one pass: hash too)
//! contract   which rows break the contract of the feed
//! taking     records -> raw row groups; a file that is rejected leaves nothing in them
//! delivery   quarantine, raw -> one commit each
//! ```

mod bad_rows;
mod columns;
mod contract;
mod delivery;
pub mod outcome;
mod quarantine;
mod reading;
pub mod recovery;
mod reject_folder;
mod rejection;
pub mod replay;
mod taking;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use deltalake::DeltaTable;

use super::error::IngestError;
use super::mapping::named_columns;
use super::{StageContext, StageOutcome, replanning};
use crate::config::OnExtraColumn;
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::ids::{self, Ids, LatePolicy};
use crate::lake::rules::RuleBook;
use crate::lake::{LakeError, TableName};
use crate::sources::SourceFile;
use contract::HeldTo;
use delivery::Delivery;
use outcome::{FileOutcome, FileStatus};
pub use reject_folder::{RejectFolder, move_rejected};
pub use rejection::RejectedFile;
use rejection::content_hash;

/// Of a file that comes again with another time.
const REJECTED_BEFORE: &str = "the same content was rejected before; quarantine says why";

/// A file that raw does not hold yet.
struct NewFile<'f> {
    file: &'f SourceFile,
    /// None where the file cannot be known, so that reading it once is enough.
    content_hash: Option<String>,
    /// What it is when its rows are in raw.
    status: FileStatus,
    /// Of a file that was taken in, the lines of rows that were refused then; the others are in raw.
    refused_lines: Option<&'f BTreeSet<i64>>,
}

impl NewFile<'_> {
    /// What was read is what the file still holds and what was planned with.
    fn check_unchanged(&self, hash: &str) -> Result<(), IngestError> {
        let is_as_planned = self.content_hash.as_ref().is_none_or(|planned| planned == hash);
        if is_as_planned && self.file.is_unchanged()? {
            Ok(())
        } else {
            Err(IngestError::ChangedWhileRead { path: self.file.path.clone() })
        }
    }
}

/// What raw and the files say of each other.
#[derive(Default)]
struct Plan<'f> {
    new: Vec<NewFile<'f>>,
    /// Ids of files whose size and time are to be remembered.
    seen: Vec<String>,
    /// Files of which nothing is taken in.
    skipped: Vec<FileOutcome>,
}

/// Appends those of `files` that were not delivered under `arrival_date` yet. A file that is
/// rejected is copied to `reject_folder`.
pub async fn ingest(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    files: &[SourceFile],
    late: LatePolicy,
    reject_folder: Option<&RejectFolder>,
) -> Result<StageOutcome, IngestError> {
    let once = async || ingest_once(stage, arrival_date, files, late, reject_folder).await;
    replanning(IngestError::is_conflict, once).await
}

async fn ingest_once(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    files: &[SourceFile],
    late: LatePolicy,
    reject_folder: Option<&RejectFolder>,
) -> Result<StageOutcome, IngestError> {
    let (name, mut table, held_to) = open(stage, arrival_date).await?;
    let known = stage.lake.ids(&name, &table).await?;
    let plan = plan(&stage.feed.name, arrival_date, files, late, &known).await?;
    let mut outcome = StageOutcome {
        version_before: table.version(),
        version_after: table.version(),
        up_to_date: plan.new.is_empty(),
        rows_read: Some(0),
        rows_new: Some(0),
        ..StageOutcome::default()
    };
    if plan.new.is_empty() && plan.seen.is_empty() {
        return Ok(outcome);
    }
    outcome.files.clone_from(&plan.skipped);
    if stage.feed.contract.on_extra_column == OnExtraColumn::AddColumn {
        table = columns::add(stage, &name, table, &plan.new).await?;
    }
    let delivery =
        Delivery { stage, name, table, arrival_date, late, held_to, known, reject_folder };
    delivery.append(&plan, &mut outcome).await?;
    Ok(outcome)
}

/// The table `raw/<feed>`, created the first time, and what a delivery is held to.
async fn open(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
) -> Result<(TableName, DeltaTable, HeldTo), IngestError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let named = columns_named(stage, arrival_date).await?;
    let columns = stage.feed.columns.clone().unwrap_or_else(|| named.iter().cloned().collect());
    let table = stage
        .lake
        .load_or_create(&name, &contracts::raw(&columns), &[UPDATED_AT], stage.table_properties())
        .await?;
    Ok((name, table, HeldTo::of(stage.feed, named)))
}

/// Columns that the mapping of the arrival date names, and those that the feed declares.
async fn columns_named(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
) -> Result<BTreeSet<String>, IngestError> {
    let feed = &stage.feed.name;
    let ods_name = TableName::Ods(feed.clone());
    let recorded = match stage.lake.load(&ods_name).await? {
        Some(ods) => RuleBook::read(&ods_name, &ods)?,
        None => None,
    };
    let book = recorded.unwrap_or_else(|| RuleBook::first(stage.feed));
    let mapping = &book.mappings[book.mapping_at(arrival_date)].event;
    let mut named = named_columns(feed, mapping).map_err(Box::new)?;
    named.extend(stage.feed.columns.iter().flatten().cloned());
    Ok(named)
}

/// The marks under which a file may be known: one taken in as a load of history is not delivered
/// again by an ordinary run.
fn marks_known(late: LatePolicy) -> &'static [LatePolicy] {
    match late {
        LatePolicy::Bounded => &LatePolicy::ALL,
        LatePolicy::Accepted => &[LatePolicy::Accepted],
    }
}

/// A file is known by its size and time, else by its content.
///
/// The content is looked at ahead only where raw has a delivery of that name and date, or where one
/// was rejected: any other file is new whatever it holds.
async fn plan<'f>(
    feed: &str,
    arrival_date: NaiveDate,
    files: &'f [SourceFile],
    late: LatePolicy,
    known: &Ids,
) -> Result<Plan<'f>, IngestError> {
    let marks = marks_known(late);
    let mut plan = Plan::default();
    for file in files {
        let seen = |mark| ids::seen(feed, arrival_date, &file.name, &file.stat(), mark);
        if marks.iter().any(|mark| known.contains(&seen(*mark))) {
            continue;
        }
        plan.seen.push(seen(late));
        let is_named = known.contains_delivery_of(feed, arrival_date, &file.name)
            || !known.rejections_of(feed, arrival_date, &file.name).is_empty();
        if !is_named {
            let status = FileStatus::Loaded;
            plan.new.push(NewFile { file, content_hash: None, status, refused_lines: None });
            continue;
        }
        let hash = content_hash(file).await?;
        let delivery = |mark| ids::delivery(feed, arrival_date, &file.name, &hash, mark);
        let is_known = marks.iter().any(|mark| known.contains(&delivery(*mark)));
        // What was withdrawn stays away, under whatever mark it would come now.
        let is_withdrawn =
            LatePolicy::ALL.into_iter().any(|mark| known.is_withdrawn(&delivery(mark)));
        let is_rejected = known.contains(&ids::rejected(feed, arrival_date, &file.name, &hash));
        let of_before = if is_known || is_withdrawn {
            Some((FileStatus::SkippedDuplicate, None))
        } else {
            is_rejected.then(|| (FileStatus::Rejected, Some(REJECTED_BEFORE.to_owned())))
        };
        if let Some((status, error)) = of_before {
            plan.skipped.push(FileOutcome {
                status,
                error,
                content_hash: Some(hash),
                ..FileOutcome::seen(file, arrival_date, late)
            });
            continue;
        }
        let status = status_of_known(&known.deliveries_of(feed, arrival_date), file, &hash);
        plan.new.push(NewFile { file, content_hash: Some(hash), status, refused_lines: None });
    }
    Ok(plan)
}

/// A file of which other content was delivered before has changed; one whose own content was, is
/// taken in again as a load of history.
fn status_of_known(deliveries: &[ids::Delivery], file: &SourceFile, hash: &str) -> FileStatus {
    let mut of_file = deliveries.iter().filter(|delivery| delivery.file == file.name).peekable();
    if of_file.peek().is_some() && of_file.all(|delivery| delivery.content_hash != hash) {
        FileStatus::Changed
    } else {
        FileStatus::Loaded
    }
}

/// Those of the files of `dates` whose size and time raw has not seen under that date.
pub async fn unseen<'f>(
    stage: &StageContext<'_>,
    dates: impl IntoIterator<Item = (&'f NaiveDate, &'f Vec<SourceFile>)>,
    late: LatePolicy,
) -> Result<BTreeMap<NaiveDate, Vec<&'f SourceFile>>, LakeError> {
    let known = known_ids(stage).await?;
    let is_seen = |date: NaiveDate, file: &SourceFile| {
        marks_known(late).iter().any(|mark| {
            known.contains(&ids::seen(&stage.feed.name, date, &file.name, &file.stat(), *mark))
        })
    };
    let unseen = dates.into_iter().map(|(date, files)| {
        let unseen: Vec<_> = files.iter().filter(|file| !is_seen(*date, file)).collect();
        (*date, unseen)
    });
    Ok(unseen.filter(|(_, files)| !files.is_empty()).collect())
}

/// Whether a file of one of some arrival dates was rejected.
pub async fn has_rejections(
    stage: &StageContext<'_>,
    is_asked: impl Fn(NaiveDate) -> bool,
) -> Result<bool, LakeError> {
    let rejections = known_ids(stage).await?.rejections(&stage.feed.name);
    Ok(rejections.keys().any(|(date, _)| is_asked(*date)))
}

/// Whether any file of the feed was ever taken in.
pub async fn has_deliveries(stage: &StageContext<'_>) -> Result<bool, LakeError> {
    Ok(!known_ids(stage).await?.delivery_dates(&stage.feed.name).is_empty())
}

async fn known_ids(stage: &StageContext<'_>) -> Result<Ids, LakeError> {
    let name = TableName::Raw(stage.feed.name.clone());
    match stage.lake.load(&name).await? {
        Some(table) => stage.lake.ids(&name, &table).await,
        None => Ok(Ids::default()),
    }
}
