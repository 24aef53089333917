//! Arrival dates leave raw and quarantine when they are old enough and fully built; files that left
//! a table leave the store in their turn, see [`crate::lake::upkeep`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;

use super::error::BuildError;
use super::quarantine::date_predicate;
use super::{StageContext, StageOutcome, build, replanning, withdraw};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::UPDATED_AT;
use crate::lake::files::{DataFile, FileTotals, by_date};
use crate::lake::ids;
use crate::lake::upkeep::Sweep;
use crate::lake::{LakeError, TableName};

/// Partitions that are due, and those that must wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetentionPlan {
    /// Partitions to be removed: table, date, files, bytes.
    pub partitions: Vec<ExpiredPartition>,
    /// Old enough, but not fully built.
    pub kept_unbuilt: Vec<NaiveDate>,
    /// Files that left their table long enough ago to leave the store.
    pub removed_files: Vec<RemovedFiles>,
}

/// Data files that no version within reach shows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RemovedFiles {
    /// `raw/<feed>`, `quarantine/<feed>` or `ods/<feed>`.
    pub table: String,
    /// Data files and their bytes.
    #[serde(flatten)]
    pub totals: FileTotals,
}

/// One partition past its time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExpiredPartition {
    /// `raw/<feed>` or `quarantine/<feed>`.
    pub table: String,
    /// Its arrival date.
    pub arrival_date: NaiveDate,
    /// Data files and their bytes.
    #[serde(flatten)]
    pub totals: FileTotals,
}

/// A table and its partitions that are due, as of one version.
struct Due {
    name: TableName,
    table: DeltaTable,
    dates: BTreeMap<NaiveDate, Vec<DataFile>>,
}

/// What is due, decided on the versions that the removal is then committed on: a delivery that
/// comes in between conflicts with it.
struct Decision {
    quarantine: Option<Due>,
    raw: Option<Due>,
    removed_through: Option<NaiveDate>,
    /// How many there were: a withdrawal and a removal in raw exclude each other.
    withdrawals: i64,
    plan: RetentionPlan,
}

/// What retention would remove with `_updated_at < as_of - raw_days`, and the files whose time on
/// the store is over.
pub async fn plan(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
) -> Result<RetentionPlan, LakeError> {
    let mut plan = decide(stage, as_of, raw_days).await?.plan;
    for name in TableName::of_feed(&stage.feed.name) {
        let totals = stage.lake.expired_files(&name).await?;
        plan.removed_files.extend(removed_files(&name, totals));
    }
    Ok(plan)
}

/// Looks after the feed's tables: files that left them, checkpoints, old log.
pub async fn keep_up(
    stage: &StageContext<'_>,
    sweep: Sweep,
) -> Result<Vec<RemovedFiles>, LakeError> {
    let mut removed = Vec::new();
    for name in TableName::of_feed(&stage.feed.name) {
        let provenance = stage.provenance("retention", vec![]);
        let upkept = stage.lake.keep_up(&name, &provenance, sweep).await?;
        removed.extend(removed_files(&name, upkept.removed));
    }
    Ok(removed)
}

fn removed_files(name: &TableName, totals: FileTotals) -> Option<RemovedFiles> {
    (totals.files > 0).then(|| RemovedFiles { table: name.to_string(), totals })
}

async fn decide(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
) -> Result<Decision, LakeError> {
    let feed = &stage.feed.name;
    let mut decision = Decision {
        quarantine: None,
        raw: None,
        removed_through: None,
        withdrawals: 0,
        plan: RetentionPlan::default(),
    };
    let first_kept = as_of.checked_sub_days(Days::new(raw_days.into()));
    let quarantine_name = TableName::Quarantine(feed.clone());
    let quarantine = stage.lake.load(&quarantine_name).await?;
    let raw_name = TableName::Raw(feed.clone());
    let (Some(first_kept), Some(raw)) = (first_kept, stage.lake.load(&raw_name).await?) else {
        return Ok(decision);
    };
    let known = stage.lake.ids(&raw_name, &raw).await?;
    decision.removed_through = known.removed_through(feed);
    let pending = build::pending_of(stage, &known).await?;
    let mut unbuilt: BTreeSet<NaiveDate> =
        pending.into_iter().map(|pending| pending.arrival_date).collect();
    // ODS is yet to be recomputed from them.
    if let Some(withdrawal) = withdraw::pending_of(stage, &known).await? {
        let first = withdrawal.from.pred_opt().unwrap_or(withdrawal.from);
        unbuilt.extend(known.delivery_dates(feed).into_keys().filter(|date| *date >= first));
    }
    decision.withdrawals = known.version(&ids::withdrawals(feed)).unwrap_or_default();
    if let Some(table) = quarantine {
        decision.quarantine =
            Some(due(quarantine_name, table, first_kept, &unbuilt, &mut decision.plan)?);
    }
    decision.raw = Some(due(raw_name, raw, first_kept, &unbuilt, &mut decision.plan)?);
    decision.plan.kept_unbuilt.sort_unstable();
    decision.plan.kept_unbuilt.dedup();
    Ok(decision)
}

fn due(
    name: TableName,
    table: DeltaTable,
    first_kept: NaiveDate,
    unbuilt: &BTreeSet<NaiveDate>,
    plan: &mut RetentionPlan,
) -> Result<Due, LakeError> {
    let mut dates = by_date(&name, &table, UPDATED_AT)?;
    dates.retain(|date, _| *date < first_kept);
    plan.kept_unbuilt.extend(dates.keys().filter(|date| unbuilt.contains(date)));
    dates.retain(|date, _| !unbuilt.contains(date));
    plan.partitions.extend(dates.iter().map(|(date, files)| ExpiredPartition {
        table: name.to_string(),
        arrival_date: *date,
        totals: FileTotals::of_files(files),
    }));
    Ok(Due { name, table, dates })
}

/// Removes what [`plan`] names and records the newest removed date in raw. Quarantine goes first:
/// the record in raw says that both are gone. Then looks after the feed's tables.
pub async fn retain(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
    sweep: Sweep,
) -> Result<(RetentionPlan, StageOutcome), BuildError> {
    let once = async || retain_once(stage, as_of, raw_days).await;
    let (mut plan, outcome) = replanning(BuildError::is_conflict, once).await?;
    plan.removed_files = keep_up(stage, sweep).await?;
    Ok((plan, outcome))
}

async fn retain_once(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
) -> Result<(RetentionPlan, StageOutcome), BuildError> {
    let decision = decide(stage, as_of, raw_days).await?;
    let mut outcome =
        StageOutcome { up_to_date: decision.plan.partitions.is_empty(), ..Default::default() };
    if let Some(quarantine) = decision.quarantine.filter(|due| !due.dates.is_empty()) {
        remove(stage, &quarantine, vec![], &mut outcome).await?;
    }
    if let Some(raw) = decision.raw.filter(|due| !due.dates.is_empty()) {
        let newest = raw.dates.keys().next_back().copied().max(decision.removed_through);
        let feed = &stage.feed.name;
        let newest =
            newest.map(|date| ids::transaction(ids::retention(feed), ids::days_of_date(date)));
        let withdrawals = ids::transaction(ids::withdrawals(feed), decision.withdrawals);
        let commit_ids = newest.into_iter().chain([withdrawals]).collect();
        outcome.version_before = raw.table.version();
        let version = remove(stage, &raw, commit_ids, &mut outcome).await?;
        outcome.version_after = Some(version);
    }
    Ok((decision.plan, outcome))
}

async fn remove(
    stage: &StageContext<'_>,
    due: &Due,
    commit_ids: Vec<Transaction>,
    outcome: &mut StageOutcome,
) -> Result<u64, BuildError> {
    let files: Vec<&DataFile> = due.dates.values().flatten().collect();
    let totals = FileTotals::of_files(files.iter().copied());
    outcome.removed.files += totals.files;
    outcome.removed.bytes += totals.bytes;
    let dates = due.dates.keys().copied().collect();
    let change = Change {
        removes: files.iter().map(|file| file.remove.clone()).collect(),
        read_predicate: Some(date_predicate(UPDATED_AT, &dates)),
        ids: commit_ids,
        ..Change::default()
    };
    fail::fail_point!("retention_before_commit", |_| std::process::abort());
    let provenance = stage.provenance("retention", vec![]);
    let version = commits::commit(&due.name, &due.table, change, &provenance).await?;
    fail::fail_point!("retention_after_commit", |_| std::process::abort());
    Ok(version)
}
