//! `withdraw`: a wrong delivery is taken back, as if it had never come.
//!
//! ```text
//! raw         its rows leave, its ids say that it was withdrawn             (one commit)
//! ods         recomputed from the first event date that it touches          (one commit)
//! quarantine  follows: its records leave                                    (one commit)
//! ```
//!
//! The first two are counted in raw and in ODS: whatever command finds ODS behind raw, recomputes
//! first. The ids of the delivery stay, so that a file that still lies in its folder is not taken
//! in again.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use deltalake::DeltaTable;
use deltalake::kernel::Add;
use futures::StreamExt as _;

use super::build::{open_raw, provenance, record_files};
use super::deliveries::{DeliveredFile, Files, read_deliveries};
use super::error::BuildError;
use super::mapping::CompiledBook;
use super::merge::date_of_days;
use super::raw_rows::{conform, scan};
use super::reprocess::{self, Forecast, Request, Rules, Source};
use super::{StageContext, StageOutcome, replanning, rules};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::by_date;
use crate::lake::ids::{self, Ids, Withdrawal};
use crate::lake::row_groups::RowGroupWriter;
use crate::lake::rules::RuleBook;
use crate::lake::{LakeError, TableName};

/// What was taken back, or would be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Withdrawn {
    /// The file as it was delivered.
    #[serde(flatten)]
    pub file: DeliveredFile,
    /// The content of each delivery under that name and date, SHA-256: all of them go.
    pub contents: Vec<String>,
    /// Its rows in raw.
    pub rows: i64,
    /// The first event date that is recomputed: that of its first row that counts, else the last
    /// one that it could have brought.
    pub from: NaiveDate,
}

/// What one attempt works on.
struct Plan {
    withdrawn: Withdrawn,
    ids: Vec<String>,
    raw_name: TableName,
    raw: DeltaTable,
    raw_ids: Ids,
}

/// Takes `file` out of raw; ODS is to follow, see [`pending`]. Nothing is left to do for a file
/// that was withdrawn before.
pub async fn withdraw(
    stage: &StageContext<'_>,
    file: &DeliveredFile,
) -> Result<StageOutcome, BuildError> {
    let once = async || withdraw_once(stage, file).await;
    replanning(BuildError::is_conflict, once).await
}

/// What [`withdraw`] would take back, and what that changes in ODS. Writes nothing.
pub async fn forecast(
    stage: &StageContext<'_>,
    file: &DeliveredFile,
) -> Result<(Option<Withdrawn>, Forecast), BuildError> {
    let Some(plan) = plan(stage, file).await? else {
        return Ok((None, Forecast::default()));
    };
    let request = Request { files: Files::Without(file), ..request(plan.withdrawn.from) };
    let forecast = match reprocess::forecast(stage, request).await {
        Err(BuildError::NothingBuilt { .. }) => Forecast::default(),
        other => other?,
    };
    Ok((Some(plan.withdrawn), forecast))
}

/// The withdrawal that ODS has not followed yet.
pub async fn pending(stage: &StageContext<'_>) -> Result<Option<Withdrawal>, LakeError> {
    let raw_name = TableName::Raw(stage.feed.name.clone());
    match stage.lake.load(&raw_name).await? {
        Some(raw) => pending_of(stage, &stage.lake.ids(&raw_name, &raw).await?).await,
        None => Ok(None),
    }
}

/// The same for the ids of raw at hand. An ODS that was never built has nothing to follow.
pub(crate) async fn pending_of(
    stage: &StageContext<'_>,
    raw_ids: &Ids,
) -> Result<Option<Withdrawal>, LakeError> {
    let feed = &stage.feed.name;
    let name = TableName::Ods(feed.clone());
    let Some(last) = raw_ids.withdrawal(feed) else {
        return Ok(None);
    };
    let Some(ods) = stage.lake.load(&name).await? else {
        return Ok(None);
    };
    let followed = stage.lake.ids(&name, &ods).await?.version(&ids::withdrawals(feed));
    Ok(Some(last).filter(|last| followed != Some(last.number)))
}

/// What ODS is to be recomputed with after a withdrawal.
pub fn request(from: NaiveDate) -> Request<'static> {
    Request { from, source: Source::Raw, rules: Rules::Recorded, files: Files::All }
}

async fn withdraw_once(
    stage: &StageContext<'_>,
    file: &DeliveredFile,
) -> Result<StageOutcome, BuildError> {
    let Some(plan) = plan(stage, file).await? else {
        return Ok(StageOutcome { up_to_date: true, ..StageOutcome::default() });
    };
    let (feed, name, raw) = (&stage.feed.name, &plan.raw_name, &plan.raw);
    let files = by_date(name, raw, UPDATED_AT)?.remove(&file.arrival_date).unwrap_or_default();
    let number = plan.raw_ids.version(&ids::withdrawals(feed)).unwrap_or_default() + 1;
    let from = plan.withdrawn.from;
    let mut commit_ids: Vec<_> =
        plan.ids.iter().map(|id| ids::transaction(id, ids::WITHDRAWN)).collect();
    commit_ids.push(ids::transaction(ids::withdrawals(feed), number));
    commit_ids.push(ids::transaction(ids::withdrawn_from(feed), ids::days_of_date(from)));
    let change = Change {
        adds: rewrite(stage, &plan, file).await?,
        removes: files.into_iter().map(|file| file.remove).collect(),
        ids: commit_ids,
        // ODS will be recomputed from these dates: none of them may leave raw in the meantime.
        read_predicate: Some(format!("{UPDATED_AT} >= '{}'", from.pred_opt().unwrap_or(from))),
        ..Change::default()
    };
    let mut outcome = StageOutcome { version_before: raw.version(), ..StageOutcome::default() };
    record_files(&change, &mut outcome);
    fail::fail_point!("withdraw_before_commit", |_| std::process::abort());
    let provenance = provenance(stage, "withdraw", &[(name, raw)]);
    outcome.version_after = Some(commits::commit(name, raw, change, &provenance).await?);
    fail::fail_point!("withdraw_after_commit", |_| std::process::abort());
    outcome.withdrawn = Some(plan.withdrawn);
    Ok(outcome)
}

async fn plan(stage: &StageContext<'_>, file: &DeliveredFile) -> Result<Option<Plan>, BuildError> {
    let feed = &stage.feed.name;
    let (raw_name, raw) = open_raw(stage).await?;
    let raw_ids = stage.lake.ids(&raw_name, &raw).await?;
    let of_date = raw_ids.deliveries_of(feed, file.arrival_date);
    let of_file = || of_date.iter().filter(|delivery| delivery.file == file.file);
    if of_file().next().is_none() {
        let known: BTreeSet<String> =
            of_date.iter().map(|delivery| delivery.file.clone()).collect();
        return Err(BuildError::UnknownDelivery {
            feed: feed.clone(),
            file: file.clone(),
            known: known.into_iter().collect(),
        });
    }
    let live: Vec<_> = of_file().filter(|delivery| !delivery.is_withdrawn).collect();
    if live.is_empty() {
        return Ok(None);
    }
    if let Some(removed_through) =
        raw_ids.removed_through(feed).filter(|gone| *gone >= file.arrival_date)
    {
        let (feed, file) = (feed.clone(), file.clone());
        return Err(BuildError::DeliveryExpired { feed, file, removed_through });
    }
    let (rows, first) = reach(stage, &raw, file).await?;
    let from = first.or_else(|| file.arrival_date.succ_opt()).unwrap_or(file.arrival_date);
    reprocess::check_coverage(feed, from, &raw_ids)?;
    let unfollowed = pending_of(stage, &raw_ids).await?;
    let withdrawn = Withdrawn {
        file: file.clone(),
        contents: live.iter().map(|delivery| delivery.content_hash.clone()).collect(),
        rows,
        from: unfollowed.map_or(from, |before| before.from.min(from)),
    };
    let ids = live.iter().map(|delivery| delivery.id.clone()).collect();
    Ok(Some(Plan { withdrawn, ids, raw_name, raw, raw_ids }))
}

/// Number of rows of the file in raw, and the first event date of those that count.
async fn reach(
    stage: &StageContext<'_>,
    raw: &DeltaTable,
    file: &DeliveredFile,
) -> Result<(i64, Option<NaiveDate>), BuildError> {
    let name = TableName::Ods(stage.feed.name.clone());
    let (book, stored) = match stage.lake.load(&name).await? {
        Some(ods) => (RuleBook::read(&name, &ods)?, rules::stored_attributes(&name, &ods)?),
        None => (None, Vec::new()),
    };
    let book = book.unwrap_or_else(|| RuleBook::first(stage.feed));
    let context = stage.engine.context(rules::zone(&book));
    let compiled = Arc::new(CompiledBook::compile(&context, &stage.feed.name, &book, &stored)?);
    let dates = BTreeSet::from([file.arrival_date]);
    let files = Files::Only(file);
    let read = read_deliveries(stage, &context, raw, &book, &compiled, &dates, files).await?;
    Ok((read.rows_read, read.candidates.dates.first().copied().and_then(date_of_days)))
}

/// The raw rows of the arrival date without those of the file, in new data files.
async fn rewrite(
    stage: &StageContext<'_>,
    plan: &Plan,
    file: &DeliveredFile,
) -> Result<Vec<Add>, BuildError> {
    let (name, raw) = (&plan.raw_name, &plan.raw);
    let state = raw.snapshot().map_err(|source| LakeError::read(name, source))?;
    let stored = state.snapshot().arrow_schema();
    let schema = contracts::raw(&contracts::delivered_columns(&stored));
    let rows = |source: DataFusionError| BuildError::Rows {
        table: name.clone(),
        source: Box::new(source),
    };
    let context = stage.engine.context(chrono_tz::Tz::UTC);
    let kept = Files::Without(file).condition(file.arrival_date);
    let frame = scan(&context, name, raw).await?.filter(kept).map_err(rows)?;
    let mut batches = frame.execute_stream().await.map_err(rows)?;
    let mut writer = RowGroupWriter::new(
        name,
        raw,
        &schema,
        (UPDATED_AT, file.arrival_date.to_string()),
        NonZeroUsize::new(stage.engine.threads()).unwrap_or(NonZeroUsize::MIN),
        stage.lake.compression(),
    );
    let arrow = |source| BuildError::Arrow { table: name.clone(), source };
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let no_constants = Arc::new(Schema::empty());
    let no_constants =
        Arc::new(RecordBatch::try_new_with_options(no_constants, vec![], &one_row).map_err(arrow)?);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(rows).and_then(|batch| conform(&batch, &schema).map_err(arrow));
        let written = match batch {
            Ok(batch) => writer.write(&batch, &no_constants).await.map_err(BuildError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            writer.abort().await;
            return Err(error);
        }
    }
    Ok(writer.close().await?)
}
