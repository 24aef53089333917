//! One arrival date from raw into ODS: candidate events, changed rows, one merge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use chrono::NaiveDate;
use datafusion::logical_expr::lit;
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use futures::StreamExt as _;

use super::error::BuildError;
use super::events::{EventReader, column, date32};
use super::mapping::CompiledBook;
use super::quarantine::{Quarantine, QuarantinedRow, RejectedBy, to_batch};
use super::raw_rows::row_text;
use super::reject::Rejects;
use super::sessions::{Changes, SessionBuilder, rows_of, scan};
use super::{PendingDate, StageContext, StageOutcome, merge, replanning, rules};
use crate::lake::commits::Provenance;
use crate::lake::contracts::{self, PDATE, RULES_PROPERTY, UPDATED_AT};
use crate::lake::files::{FileTotals, by_date};
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
    let deliveries = stage.lake.ids(&raw_name, &raw).await?.deliveries(feed, arrival_date);
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
    let context = stage.engine.context(rules::zone(&book));
    let stored = rules::stored_attributes(&ods_name, &ods)?;
    let compiled = CompiledBook::compile(&context, feed, &book, &stored)?;
    let clock = Instant::now();
    let deliveries_read =
        read_deliveries(stage, &context, &raw, &book, &compiled, arrival_date).await?;
    tracing::debug!(
        rows = deliveries_read.rows_read,
        seconds = clock.elapsed().as_secs_f64(),
        "read raw"
    );
    let builder = SessionBuilder { context: &context, feed, book: &compiled, rule_book: &book };
    let known = builder.judged(scan(&context, &ods_name, &ods).await?)?;
    let changes = builder.changes(known, deliveries_read.candidates, vec![]).await?;
    outcome.rows_read = Some(deliveries_read.rows_read);
    outcome.quarantined.clone_from(&deliveries_read.reasons);
    balance(stage, arrival_date, &mut outcome, &changes)?;
    let dates = BTreeSet::from([arrival_date]);
    let rejected = BTreeMap::from([(arrival_date, deliveries_read.rejected)]);
    quarantine.replace_build_rows(stage, &context, &dates, &rejected, vec![]).await?;
    let commit_ids = vec![
        ids::transaction(ids::build(feed, arrival_date), deliveries),
        ids::transaction(ids::ods(feed), ids::days_of_date(arrival_date)),
    ];
    let provenance = provenance(stage, "build", &[(&raw_name, &raw), (&ods_name, &ods)]);
    fail::fail_point!("ods_before_commit", |_| std::process::abort());
    let clock = Instant::now();
    let merged =
        merge::merge(&context, &ods_name, &ods, changes.rows, commit_ids, &provenance).await?;
    fail::fail_point!("ods_after_commit", |_| std::process::abort());
    tracing::debug!(rows = outcome.rows_changed, seconds = clock.elapsed().as_secs_f64(), "merged");
    outcome.version_after = Some(merged.version);
    record_files(stage, &ods_name, &ods, &mut outcome).await?;
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

/// Deliveries of one arrival date, read and judged.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) rows_read: i64,
    pub(crate) candidates: Vec<RecordBatch>,
    pub(crate) rejected: Vec<RecordBatch>,
    pub(crate) reasons: BTreeMap<String, i64>,
}

/// Reads the raw rows of `arrival_date` as events.
pub(crate) async fn read_deliveries(
    stage: &StageContext<'_>,
    context: &SessionContext,
    raw: &DeltaTable,
    book: &RuleBook,
    compiled: &CompiledBook,
    arrival_date: NaiveDate,
) -> Result<Deliveries, BuildError> {
    let name = TableName::Raw(stage.feed.name.clone());
    let rows = |source| BuildError::Rows { table: name.clone(), source: Box::new(source) };
    let starts: Vec<_> = book.sessions.iter().map(|entry| entry.from).collect();
    let mapping = &compiled.mappings[book.mapping_at(arrival_date)];
    let reader = EventReader::new(compiled, mapping, &starts, arrival_date);
    let date = lit(datafusion::common::ScalarValue::Date32(Some(date32(arrival_date))));
    let mut batches = scan(context, &name, raw)
        .await?
        .filter(ident(UPDATED_AT).eq(date))
        .map_err(rows)?
        .execute_stream()
        .await
        .map_err(rows)?;
    let mut deliveries = Deliveries::default();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(rows)?;
        deliveries.rows_read += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let (candidates, rejects) = reader.read(&batch).map_err(rows)?;
        let rejected = quarantined(&batch, &rejects, &mut deliveries.reasons).map_err(rows)?;
        if !rejected.is_empty() {
            let batch = to_batch(&rejected, arrival_date, RejectedBy::Build)
                .map_err(|source| rows(source.into()))?;
            deliveries.rejected.push(batch);
        }
        if candidates.num_rows() > 0 {
            deliveries.candidates.push(candidates);
        }
    }
    Ok(deliveries)
}

fn quarantined(
    raw: &RecordBatch,
    rejects: &Rejects,
    reasons: &mut BTreeMap<String, i64>,
) -> Result<Vec<QuarantinedRow>, datafusion::error::DataFusionError> {
    let files = arrow::compute::cast(column(raw, "_file")?, &arrow::datatypes::DataType::Utf8)?;
    let (files, lines) = (files.as_string::<i32>(), column(raw, "_line")?);
    let lines = lines.as_primitive::<Int64Type>();
    rejects
        .iter()
        .map(|(row, reason, detail)| {
            *reasons.entry(reason.as_str().to_owned()).or_default() += 1;
            Ok(QuarantinedRow {
                reason: reason.as_str(),
                detail: detail.to_owned(),
                file: files.value(row).to_owned(),
                line: if lines.is_valid(row) { lines.value(row) } else { 0 },
                text: Some(row_text(raw, row)?),
            })
        })
        .collect()
}

/// Rows read = new + identical duplicates + conflicting duplicates + quarantined, each counted
/// where it occurs.
pub(crate) fn balance(
    stage: &StageContext<'_>,
    arrival_date: NaiveDate,
    outcome: &mut StageOutcome,
    changes: &Changes,
) -> Result<(), BuildError> {
    outcome.rows_new = Some(changes.new);
    outcome.rows_identical_duplicates = Some(changes.identical);
    outcome.rows_conflicting_duplicates = Some(changes.conflicting);
    outcome.rows_changed = Some(rows_of(&changes.rows));
    let read = outcome.rows_read.unwrap_or_default();
    let quarantined = outcome.rows_quarantined();
    let accounted = changes.new + changes.identical + changes.conflicting + quarantined;
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
            changes.new, changes.identical, changes.conflicting
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

/// Files that a commit of ODS added and removed.
pub(crate) async fn record_files(
    stage: &StageContext<'_>,
    name: &TableName,
    before: &DeltaTable,
    outcome: &mut StageOutcome,
) -> Result<(), BuildError> {
    let Some(after) = stage.lake.load(name).await? else {
        return Ok(());
    };
    let files = |table: &DeltaTable| -> Result<HashMap<String, i64>, LakeError> {
        let dates = by_date(name, table, PDATE)?;
        Ok(dates.into_values().flatten().map(|file| (file.remove.path, file.bytes)).collect())
    };
    let (old, new) = (files(before)?, files(&after)?);
    let totals = |these: &HashMap<String, i64>, but: &HashMap<String, i64>| {
        let others = these.iter().filter(|(path, _)| !but.contains_key(*path));
        others.fold(FileTotals::default(), |total, (_, bytes)| FileTotals {
            files: total.files + 1,
            bytes: total.bytes + bytes,
        })
    };
    outcome.added = totals(&new, &old);
    outcome.removed = totals(&old, &new);
    Ok(())
}
