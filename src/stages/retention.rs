//! Arrival dates leave raw and quarantine when they are old enough and fully built.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};

use super::error::BuildError;
use super::quarantine::date_predicate;
use super::{StageContext, StageOutcome, build};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::UPDATED_AT;
use crate::lake::files::{DataFile, FileTotals, by_date};
use crate::lake::ids::{self, Ids};
use crate::lake::{LakeError, TableName};

/// Partitions that are due, and those that must wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetentionPlan {
    /// Partitions to be removed: table, date, files, bytes.
    pub partitions: Vec<ExpiredPartition>,
    /// Old enough, but not fully built.
    pub kept_unbuilt: Vec<NaiveDate>,
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

/// What retention would remove with `_updated_at < as_of - raw_days`.
pub async fn plan(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
) -> Result<RetentionPlan, LakeError> {
    let Some(first_kept) = as_of.checked_sub_days(Days::new(raw_days.into())) else {
        return Ok(RetentionPlan::default());
    };
    let unbuilt: BTreeSet<NaiveDate> =
        build::pending(stage).await?.into_iter().map(|pending| pending.arrival_date).collect();
    let mut plan = RetentionPlan::default();
    for name in tables(stage) {
        let Some(table) = stage.lake.load(&name).await? else {
            continue;
        };
        for (date, files) in by_date(&name, &table, UPDATED_AT)?.range(..first_kept) {
            if unbuilt.contains(date) {
                plan.kept_unbuilt.push(*date);
                continue;
            }
            plan.partitions.push(ExpiredPartition {
                table: name.to_string(),
                arrival_date: *date,
                totals: FileTotals::of_files(files),
            });
        }
    }
    plan.kept_unbuilt.sort_unstable();
    plan.kept_unbuilt.dedup();
    Ok(plan)
}

fn tables(stage: &StageContext<'_>) -> [TableName; 2] {
    let feed = &stage.feed.name;
    [TableName::Raw(feed.clone()), TableName::Quarantine(feed.clone())]
}

/// Removes what [`plan`] names and records the newest removed date in raw. Quarantine goes first:
/// the record in raw says that both are gone.
pub async fn retain(
    stage: &StageContext<'_>,
    as_of: NaiveDate,
    raw_days: u32,
) -> Result<(RetentionPlan, StageOutcome), BuildError> {
    let plan = plan(stage, as_of, raw_days).await?;
    let mut outcome = StageOutcome { up_to_date: plan.partitions.is_empty(), ..Default::default() };
    let [raw, quarantine] = tables(stage);
    for name in [quarantine, raw] {
        let dates: BTreeSet<NaiveDate> = plan
            .partitions
            .iter()
            .filter(|partition| partition.table == name.to_string())
            .map(|partition| partition.arrival_date)
            .collect();
        if !dates.is_empty() {
            remove(stage, &name, &dates, &mut outcome).await?;
        }
    }
    Ok((plan, outcome))
}

async fn remove(
    stage: &StageContext<'_>,
    name: &TableName,
    dates: &BTreeSet<NaiveDate>,
    outcome: &mut StageOutcome,
) -> Result<(), BuildError> {
    let Some(table) = stage.lake.load(name).await? else {
        return Ok(());
    };
    let files = by_date(name, &table, UPDATED_AT)?;
    let expired: Vec<&DataFile> =
        dates.iter().filter_map(|date| files.get(date)).flatten().collect();
    let mut change = Change {
        removes: expired.iter().map(|file| file.remove.clone()).collect(),
        read_predicate: Some(date_predicate(dates)),
        ..Change::default()
    };
    let is_raw = matches!(name, TableName::Raw(_));
    if is_raw {
        change.ids = removed_through(stage, name, &table, dates).await?;
    }
    let totals = FileTotals::of_files(expired.iter().copied());
    outcome.removed.files += totals.files;
    outcome.removed.bytes += totals.bytes;
    fail::fail_point!("retention_before_commit", |_| std::process::abort());
    let version =
        commits::commit(name, &table, change, &stage.provenance("retention", vec![])).await?;
    fail::fail_point!("retention_after_commit", |_| std::process::abort());
    if is_raw {
        outcome.version_before = table.version();
        outcome.version_after = Some(version);
    }
    Ok(())
}

/// W: the newest arrival date ever removed.
async fn removed_through(
    stage: &StageContext<'_>,
    name: &TableName,
    table: &deltalake::DeltaTable,
    dates: &BTreeSet<NaiveDate>,
) -> Result<Vec<deltalake::kernel::Transaction>, LakeError> {
    let feed = &stage.feed.name;
    let before = Ids::read(name, table).await?.removed_through(feed);
    let newest = dates.iter().next_back().copied().max(before);
    Ok(newest
        .map(|date| ids::transaction(ids::retention(feed), ids::days_of_date(date)))
        .into_iter()
        .collect())
}
