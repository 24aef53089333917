//! One arrival date from raw into ODS: candidate events, changed rows, one merge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use chrono::NaiveDate;
use deltalake::DeltaTable;

use super::checks::{self, Unpublished};
use super::deliveries::{Files, read_deliveries};
use super::error::BuildError;
use super::mapping::CompiledBook;
use super::merge::{Merge, Merged};
use super::quarantine::{Quarantine, withdrawn_files};
use super::{PendingDate, StageContext, StageOutcome, replanning, rules};
use crate::lake::commits::{self, Change, Provenance};
use crate::lake::contracts::{self, PDATE, RULES_PROPERTY};
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, Ids};
use crate::lake::rules::RuleBook;
use crate::lake::{LakeError, TableName};

/// Whether a date that is built already is built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Only dates with a delivery that is not built.
    WhenPending,
    /// Any date.
    Always,
}

/// Arrival dates of raw with deliveries that are not built, in order.
pub async fn pending(stage: &StageContext<'_>) -> Result<Vec<PendingDate>, LakeError> {
    let raw_name = TableName::Raw(stage.feed.name.clone());
    let Some(raw) = stage.lake.load(&raw_name).await? else {
        return Ok(vec![]);
    };
    pending_of(stage, &stage.lake.ids(&raw_name, &raw).await?).await
}

/// Those of the deliveries in `raw` that are not built.
pub(crate) async fn pending_of(
    stage: &StageContext<'_>,
    raw: &Ids,
) -> Result<Vec<PendingDate>, LakeError> {
    let feed = &stage.feed.name;
    let ods_name = TableName::Ods(feed.clone());
    let built = match stage.lake.load(&ods_name).await? {
        Some(ods) => stage.lake.ids(&ods_name, &ods).await?.built_dates(feed),
        None => BTreeMap::new(),
    };
    let dates =
        raw.delivery_dates(feed).into_iter().map(|(arrival_date, deliveries)| PendingDate {
            arrival_date,
            deliveries,
            built: built.get(&arrival_date).copied().unwrap_or_default(),
        });
    Ok(dates.filter(|date| date.built != date.deliveries).collect())
}

/// The newest arrival date that was built.
pub async fn newest_built(stage: &StageContext<'_>) -> Result<Option<NaiveDate>, LakeError> {
    let name = TableName::Ods(stage.feed.name.clone());
    let Some(table) = stage.lake.load(&name).await? else {
        return Ok(None);
    };
    let built = stage.lake.ids(&name, &table).await?.built_dates(&stage.feed.name);
    Ok(built.into_keys().next_back())
}

/// Builds one arrival date. A conflict with another run plans the stage again on the newest
/// version, a bounded number of times.
pub async fn build(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    rebuild: Rebuild,
) -> Result<StageOutcome, BuildError> {
    let once = async || build_once(stage, arrival_date, rebuild).await;
    replanning(BuildError::is_conflict, once).await
}

async fn build_once(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    rebuild: Rebuild,
) -> Result<StageOutcome, BuildError> {
    let feed = &stage.feed.name;
    // What is committed is opened first: a delivery that comes in between is then read by this
    // build, or its own build conflicts with this one.
    let quarantine = Quarantine::open(stage).await?;
    let (ods_name, ods, book) = open_ods(stage).await?;
    let built = stage.lake.ids(&ods_name, &ods).await?.version(&ids::build(feed, arrival_date));
    let (raw_name, raw) = open_raw(stage).await?;
    let raw_ids = stage.lake.ids(&raw_name, &raw).await?;
    let deliveries = raw_ids.deliveries(feed, arrival_date);
    let mut outcome = StageOutcome {
        version_before: ods.version(),
        version_after: ods.version(),
        up_to_date: true,
        ..StageOutcome::default()
    };
    if deliveries == 0 || (built == Some(deliveries) && rebuild == Rebuild::WhenPending) {
        return Ok(outcome);
    }
    outcome.up_to_date = false;
    let differences = book.differences(stage.feed);
    if !differences.is_empty() {
        return Err(BuildError::RulesDiffer { feed: feed.clone(), differences });
    }
    outcome.checks = checks::ask_of_arrival(stage, &book, arrival_date).await?;
    let context = stage.engine.context(rules::zone(&book));
    let stored = rules::stored_attributes(&ods_name, &ods)?;
    let compiled = Arc::new(CompiledBook::compile(&context, feed, &book, &stored)?);
    let dates = BTreeSet::from([arrival_date]);
    let clock = Instant::now();
    let read = read_deliveries(stage, &context, &raw, &book, &compiled, &dates, Files::All).await?;
    tracing::debug!(rows = read.rows_read, seconds = clock.elapsed().as_secs_f64(), "read raw");
    let clock = Instant::now();
    let merge = Merge::new(stage, &ods_name, &ods, &compiled, &book, &read.candidates, None)?;
    let merged = merge.run().await?;
    tracing::debug!(
        rows = merged.changed_rows,
        seconds = clock.elapsed().as_secs_f64(),
        "wrote the changed dates"
    );
    outcome.rows_read = Some(read.rows_read);
    outcome.quarantined.clone_from(&read.reasons);
    balance(stage, arrival_date, &mut outcome, &merged)?;
    let build = Unpublished {
        lake: stage.lake,
        name: &ods_name,
        ods: &ods,
        book: &compiled,
        merged: &merged,
    };
    outcome.checks.extend(checks::ask_of_build(stage, &book, &build).await?);
    let withdrawn = withdrawn_files(feed, &dates, &raw_ids);
    let (kept, rejected) = (&withdrawn, &read.rejected);
    quarantine.replace_build_rows(stage, &context, kept, rejected, vec![]).await?;
    let provenance = provenance(stage, "build", &[(&raw_name, &raw), (&ods_name, &ods)]);
    let change = Change {
        merged: Some(merged.counts_of_rows()),
        read_predicate: merged.predicate(),
        adds: merged.adds,
        removes: merged.removes,
        ids: vec![
            ids::transaction(ids::build(feed, arrival_date), deliveries),
            ids::transaction(ids::ods(feed), ids::days_of_date(arrival_date)),
        ],
        ..Change::default()
    };
    record_files(&change, &mut outcome);
    fail::fail_point!("ods_before_commit", |_| std::process::abort());
    let version = commits::commit(&ods_name, &ods, change, &provenance).await?;
    fail::fail_point!("ods_after_commit", |_| std::process::abort());
    outcome.version_after = Some(version);
    Ok(outcome)
}

/// The table `ods/<feed>` and the rules it is built with; created by the first build.
pub(crate) async fn open_ods(
    stage: &StageContext<'_>,
) -> Result<(TableName, DeltaTable, RuleBook), BuildError> {
    let name = TableName::Ods(stage.feed.name.clone());
    let first = RuleBook::first(stage.feed);
    let table = match stage.lake.load(&name).await? {
        Some(table) => table,
        None => {
            let compiled = rules::compile(stage, &first, &[])?;
            let record = |source| BuildError::Record { table: name.clone(), source };
            let json = first.to_json().map_err(record)?;
            let properties = HashMap::from([(RULES_PROPERTY.to_owned(), json)]);
            let schema = contracts::ods(&compiled.attributes);
            stage.lake.load_or_create(&name, &schema, &[PDATE], properties).await?
        }
    };
    let book = RuleBook::read(&name, &table)?.unwrap_or(first);
    Ok((name, table, book))
}

/// The table `ods/<feed>` and the rules it is built with, where it was built before.
pub(crate) async fn open_built_ods(
    stage: &StageContext<'_>,
) -> Result<(TableName, DeltaTable, RuleBook), BuildError> {
    let feed = &stage.feed.name;
    let name = TableName::Ods(feed.clone());
    let Some(table) = stage.lake.load(&name).await? else {
        return Err(BuildError::NothingBuilt { feed: feed.clone() });
    };
    let book = RuleBook::read(&name, &table)?.unwrap_or_else(|| RuleBook::first(stage.feed));
    Ok((name, table, book))
}

/// The table `raw/<feed>`.
pub(crate) async fn open_raw(
    stage: &StageContext<'_>,
) -> Result<(TableName, DeltaTable), BuildError> {
    let feed = &stage.feed.name;
    let name = TableName::Raw(feed.clone());
    match stage.lake.load(&name).await? {
        Some(table) => Ok((name, table)),
        None => Err(BuildError::NothingIngested { feed: feed.clone() }),
    }
}

/// Rows read = new + identical duplicates + conflicting duplicates + quarantined, each counted
/// where it occurs.
pub(crate) fn balance(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    outcome: &mut StageOutcome,
    merged: &Merged,
) -> Result<(), BuildError> {
    let counts = merged.counts;
    outcome.rows_new = Some(counts.new);
    outcome.rows_identical_duplicates = Some(counts.identical);
    outcome.rows_conflicting_duplicates = Some(counts.conflicting);
    outcome.conflicting_examples.clone_from(&merged.conflicts);
    outcome.rows_changed = Some(merged.changed_rows);
    let read = outcome.rows_read.unwrap_or_default();
    let quarantined = outcome.rows_quarantined();
    let accounted = counts.new + counts.identical + counts.conflicting + quarantined;
    if read == accounted {
        return Ok(());
    }
    Err(BuildError::Imbalance {
        feed: stage.feed.name.clone(),
        arrival_date,
        read,
        accounted,
        detail: format!(
            "{} new, {} identical, {} conflicting, {quarantined} quarantined",
            counts.new, counts.identical, counts.conflicting
        ),
    })
}

pub(crate) fn provenance(
    stage: &StageContext<'_>,
    name: &'static str,
    inputs: &[(&TableName, &DeltaTable)],
) -> Provenance {
    let versions = inputs
        .iter()
        .map(|(name, table)| (name.to_string(), table.version().unwrap_or_default()))
        .collect();
    stage.provenance(name, versions)
}

/// Files that a commit adds and removes.
pub(crate) fn record_files(change: &Change, outcome: &mut StageOutcome) {
    outcome.added = FileTotals::of_adds(&change.adds);
    let bytes = change.removes.iter().filter_map(|remove| remove.size).sum();
    let files = i64::try_from(change.removes.len()).unwrap_or(i64::MAX);
    outcome.removed = FileTotals { files, bytes };
}
