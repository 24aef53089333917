//! `reprocess --from P`: every row of ODS with `pdate >= P` again from raw, in one commit.
//!
//! ```text
//! raw, arrival dates >= P - 1 -> candidates ┐
//! ods, pdate < P, still valid -> known      ├-> pdate >= P anew, earlier dates where they change
//! ods, read under an old mapping -> removed ┘
//! ```
//!
//! Events may arrive one day early, hence P - 1. Rows delivered under a mapping that changes leave
//! ODS wherever their event date lies, and those that they now map to are merged there like late
//! rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use chrono::{Days, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use futures::StreamExt as _;

use super::build::{balance, open_ods, open_raw, provenance, record_files};
use super::deliveries::read_deliveries;
use super::error::BuildError;
use super::events::date32;
use super::mapping::CompiledBook;
use super::merge::{Candidates, Discard, Merge, Merged, candidate_schema, date_of_days};
use super::quarantine::Quarantine;
use super::raw_rows::scan;
use super::{StageContext, StageOutcome, replanning, rules};
use crate::engine::runs::RunWriter;
use crate::lake::TableName;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{PDATE, UPDATED_AT};
use crate::lake::ids::{self, Ids};
use crate::lake::rules::RuleBook;

/// What a reprocess did besides the counts of its stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reprocessed {
    /// The first event date that was replaced: P, or earlier where re-read rows fall before it.
    pub first_pdate: Option<NaiveDate>,
    /// Arrival dates read again.
    pub arrival_dates: Vec<NaiveDate>,
    /// Re-read rows that now fall before P and were merged there.
    pub rows_before: i64,
}

/// Recomputes ODS from event date `from` on, under the configured rules.
pub async fn reprocess(
    stage: &StageContext<'_>,
    from: NaiveDate,
) -> Result<(Reprocessed, StageOutcome), BuildError> {
    let once = async || reprocess_once(stage, from).await;
    let reprocessed = replanning(BuildError::is_conflict, once).await?;
    finish_quarantine(stage).await?;
    Ok(reprocessed)
}

/// Quarantine as the last reprocess left it: done again where that was cut short between its
/// commit to ODS and the one to quarantine.
pub async fn finish_quarantine(stage: &StageContext<'_>) -> Result<(), BuildError> {
    replanning(BuildError::is_conflict, async || finish_quarantine_once(stage).await).await
}

async fn finish_quarantine_once(stage: &StageContext<'_>) -> Result<(), BuildError> {
    let feed = &stage.feed.name;
    let ods_name = TableName::Ods(feed.clone());
    let Some(ods) = stage.lake.load(&ods_name).await? else {
        return Ok(());
    };
    let ods_ids = stage.lake.ids(&ods_name, &ods).await?;
    let Some(done) = ods_ids.version(&ids::reprocess(feed)) else {
        return Ok(());
    };
    let quarantine = Quarantine::open(stage).await?;
    let known = stage.lake.ids(&quarantine.name, &quarantine.table).await?;
    if known.version(&ids::reprocess(feed)) == Some(done) {
        return Ok(());
    }
    let (raw_name, raw) = open_raw(stage).await?;
    let raw_ids = stage.lake.ids(&raw_name, &raw).await?;
    let (_, _, book) = open_ods(stage).await?;
    let context = stage.engine.context(rules::zone(&book));
    let stored = rules::stored_attributes(&ods_name, &ods)?;
    let compiled = Arc::new(CompiledBook::compile(&context, feed, &book, &stored)?);
    let removed_through = raw_ids.removed_through(feed);
    let built = ods_ids.built_dates(feed);
    let dates: BTreeSet<NaiveDate> = raw_ids
        .delivery_dates(feed)
        .into_iter()
        .filter(|(date, deliveries)| built.get(date) == Some(deliveries))
        .map(|(date, _)| date)
        .filter(|date| removed_through.is_none_or(|gone| *date > gone))
        .collect();
    let read = read_deliveries(stage, &context, &raw, &book, &compiled, &dates).await?;
    let id = ids::transaction(ids::reprocess(feed), done);
    quarantine.replace_build_rows(stage, &context, &dates, &read.rejected, vec![id]).await
}

/// What one attempt works on.
struct Reprocess<'a> {
    stage: &'a StageContext<'a>,
    context: SessionContext,
    raw_name: TableName,
    raw: DeltaTable,
    ods_name: TableName,
    ods: DeltaTable,
    book: RuleBook,
    compiled: Arc<CompiledBook>,
    /// First arrival date whose mapping changed; those deliveries are read anew.
    remapped_from: Option<NaiveDate>,
    from: NaiveDate,
}

async fn reprocess_once(
    stage: &StageContext<'_>,
    from: NaiveDate,
) -> Result<(Reprocessed, StageOutcome), BuildError> {
    let feed = &stage.feed.name;
    // ODS first: a delivery that is built in between conflicts with this commit.
    let (ods_name, ods, recorded) = open_ods(stage).await?;
    let (raw_name, raw) = open_raw(stage).await?;
    let raw_ids = stage.lake.ids(&raw_name, &raw).await?;
    let book = recorded.clone().restart(stage.feed, from);
    let remapped_from =
        recorded.first_changed_mapping(&book).map(|start| start.unwrap_or(NaiveDate::MIN));
    check_coverage(feed, from, remapped_from, &raw_ids)?;
    let context = stage.engine.context(rules::zone(&book));
    let stored = rules::stored_attributes(&ods_name, &ods)?;
    let compiled = Arc::new(CompiledBook::compile(&context, feed, &book, &stored)?);
    let attempt = Reprocess {
        stage,
        context,
        raw_name,
        raw,
        ods_name,
        ods,
        book,
        compiled,
        remapped_from,
        from,
    };
    attempt.run(&raw_ids).await
}

/// Raw must still hold every delivery that is read again: P >= W + 2, and a mapping cannot change
/// for deliveries that are gone.
fn check_coverage(
    feed: &str,
    from: NaiveDate,
    remapped_from: Option<NaiveDate>,
    raw_ids: &Ids,
) -> Result<(), BuildError> {
    let Some(removed_through) = raw_ids.removed_through(feed) else {
        return Ok(());
    };
    let earliest = removed_through.checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX);
    let mapping_covered = remapped_from.is_none_or(|start| start > removed_through);
    if from >= earliest && mapping_covered {
        return Ok(());
    }
    Err(BuildError::NotCovered { feed: feed.to_owned(), from, removed_through, earliest })
}

impl Reprocess<'_> {
    async fn run(&self, raw_ids: &Ids) -> Result<(Reprocessed, StageOutcome), BuildError> {
        let dates = self.arrival_dates(raw_ids);
        let mut outcome = StageOutcome { version_before: self.ods.version(), ..Default::default() };
        let (stage, context) = (self.stage, &self.context);
        let mut read =
            read_deliveries(stage, context, &self.raw, &self.book, &self.compiled, &dates).await?;
        self.add_removed(&mut read.candidates).await?;
        let discard = Discard { from: self.from, delivered_from: self.remapped_from };
        let merge = Merge::new(
            stage,
            &self.ods_name,
            &self.ods,
            &self.compiled,
            &self.book,
            &read.candidates,
            Some(discard),
        )?;
        let merged = merge.run().await?;
        outcome.rows_read = Some(read.rows_read);
        outcome.quarantined = read.reasons;
        balance(stage, self.from, &mut outcome, &merged)?;
        let first = read.candidates.dates.first().copied().and_then(date_of_days);
        let first = first.map_or(self.from, |first| first.min(self.from));
        let before = merged.changed_dates.range(..date32(self.from));
        let report = Reprocessed {
            first_pdate: Some(first),
            arrival_dates: dates.iter().copied().collect(),
            rows_before: before.map(|(_, rows)| rows).sum(),
        };
        let change = self.change(first, merged, &dates, raw_ids).await?;
        record_files(&change, &mut outcome);
        outcome.version_after = Some(self.commit(change).await?);
        Ok((report, outcome))
    }

    /// Arrival dates whose rows may fall on P or later, or whose mapping changed.
    fn arrival_dates(&self, raw_ids: &Ids) -> BTreeSet<NaiveDate> {
        let first = self.from.pred_opt().unwrap_or(self.from);
        let first = self.remapped_from.map_or(first, |remapped| remapped.min(first));
        raw_ids
            .delivery_dates(&self.stage.feed.name)
            .into_keys()
            .filter(|date| *date >= first)
            .filter(|date| {
                raw_ids.removed_through(&self.stage.feed.name).is_none_or(|gone| *date > gone)
            })
            .collect()
    }

    /// Rows before P that were read under a mapping that changed: they leave ODS and so touch
    /// their keys. Those from P on leave with their dates.
    async fn add_removed(&self, candidates: &mut Candidates) -> Result<(), BuildError> {
        let Some(start) = self.remapped_from else {
            return Ok(());
        };
        let gone = ident(PDATE)
            .lt(date_literal(self.from))
            .and(ident(UPDATED_AT).gt_eq(date_literal(start)));
        let rows = |source| self.rows_error(source);
        let frame = scan(&self.context, &self.ods_name, &self.ods).await?.filter(gone);
        let mut batches = frame.map_err(rows)?.execute_stream().await.map_err(rows)?;
        let mut writer = RunWriter::new(self.stage.engine.spill_target());
        while let Some(batch) = batches.next().await {
            let removed = batch.and_then(|batch| self.removed(&batch)).map_err(rows)?;
            if removed.num_rows() > 0 {
                candidates.note(&removed, self.compiled.attributes.len());
            }
            writer.push(removed)?;
        }
        candidates.runs.extend(writer.finish()?.into_iter().map(Arc::new));
        Ok(())
    }

    /// Rows of ODS as candidates that are marked as removed.
    fn removed(&self, ods: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let rows = ods.num_rows();
        let schema = candidate_schema(&self.compiled.attributes);
        let flags = [false, false, true];
        let of_ods = schema.fields().len() - flags.len();
        let columns =
            schema.fields()[..of_ods].iter().map(|field| match ods.column_by_name(field.name()) {
                Some(column) => arrow::compute::cast(column, field.data_type()),
                None => Ok(arrow::array::new_null_array(field.data_type(), rows)),
            });
        let mut columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        columns
            .extend(flags.map(|flag| Arc::new(BooleanArray::from(vec![flag; rows])) as ArrayRef));
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The new dates, with the rules and the ids of all builds.
    async fn change(
        &self,
        first: NaiveDate,
        merged: Merged,
        dates: &BTreeSet<NaiveDate>,
        raw_ids: &Ids,
    ) -> Result<Change, BuildError> {
        let feed = &self.stage.feed.name;
        let newest = dates.iter().next_back().copied().unwrap_or(self.from);
        let mut commit_ids: Vec<_> = dates
            .iter()
            .map(|date| ids::transaction(ids::build(feed, *date), raw_ids.deliveries(feed, *date)))
            .collect();
        commit_ids.push(ids::transaction(ids::ods(feed), ids::days_of_date(newest)));
        let before =
            self.stage.lake.ids(&self.ods_name, &self.ods).await?.version(&ids::reprocess(feed));
        commit_ids.push(ids::transaction(ids::reprocess(feed), before.unwrap_or_default() + 1));
        let recorded = RuleBook::read(&self.ods_name, &self.ods)?;
        let metadata = if recorded.as_ref() == Some(&self.book) {
            None
        } else {
            Some(rules::metadata(&self.ods_name, &self.ods, &self.book, &self.compiled)?)
        };
        Ok(Change {
            adds: merged.adds,
            removes: merged.removes,
            metadata,
            ids: commit_ids,
            read_predicate: Some(format!("{PDATE} >= '{first}'")),
            merged: None,
        })
    }

    async fn commit(&self, change: Change) -> Result<u64, BuildError> {
        let inputs = [(&self.raw_name, &self.raw), (&self.ods_name, &self.ods)];
        let provenance = provenance(self.stage, "reprocess", &inputs);
        fail::fail_point!("reprocess_before_commit", |_| std::process::abort());
        let version = commits::commit(&self.ods_name, &self.ods, change, &provenance).await?;
        fail::fail_point!("reprocess_after_commit", |_| std::process::abort());
        Ok(version)
    }

    fn rows_error(&self, source: DataFusionError) -> BuildError {
        BuildError::Rows { table: self.ods_name.clone(), source: Box::new(source) }
    }
}

fn date_literal(date: NaiveDate) -> Expr {
    lit(ScalarValue::Date32(Some(date32(date))))
}
