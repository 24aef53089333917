//! `reprocess --from P`: every row of ODS with `pdate >= P` again, in one commit.
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
//!
//! With [`Source::Ods`] the candidates are the facts that ODS itself keeps from P on: enough for
//! a session rule that changes, whatever raw still holds.

mod forecast;
mod quarantine;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use chrono::{Days, NaiveDate};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use futures::StreamExt as _;

use super::build::{balance, open_built_ods, open_ods, open_raw, provenance, record_files};
use super::deliveries::{Deliveries, Files, read_deliveries};
use super::error::BuildError;
use super::events::{date_literal, date32};
use super::facts::read_facts;
use super::mapping::CompiledBook;
use super::merge::{Candidates, Discard, Merge, Merged, candidate_schema, date_of_days};
use super::raw_rows::scan;
use super::{StageContext, StageOutcome, replanning, rules};
use crate::engine::runs::RunWriter;
use crate::lake::TableName;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{PDATE, UPDATED_AT};
use crate::lake::ids::{self, Ids};
use crate::lake::rules::RuleBook;
pub use forecast::{Forecast, forecast, session_changes};
pub use quarantine::finish_quarantine;

/// What ODS is recomputed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The rows as delivered.
    Raw,
    /// The events that ODS keeps.
    Ods,
}

/// The rules of a reprocess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// The configured ones, which are recorded from the first date on where they differ.
    Configured,
    /// The recorded ones, as they are: for a withdrawal, which changes what was delivered.
    Recorded,
}

/// What is recomputed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The first event date.
    pub from: NaiveDate,
    /// What it is recomputed from.
    pub source: Source,
    /// Under which rules.
    pub rules: Rules,
    /// The rows of raw that count.
    pub files: Files<'a>,
}

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

/// Recomputes ODS as requested; then quarantine follows.
pub async fn reprocess(
    stage: &StageContext<'_>,
    request: Request<'_>,
) -> Result<(Reprocessed, StageOutcome), BuildError> {
    let once = async || Attempt::open(stage, request).await?.run().await;
    let reprocessed = replanning(BuildError::is_conflict, once).await?;
    finish_quarantine(stage).await?;
    Ok(reprocessed)
}

/// One attempt, on one version of every table.
struct Attempt<'a> {
    stage: &'a StageContext<'a>,
    request: Request<'a>,
    context: SessionContext,
    /// Where it is the source.
    raw: Option<Raw>,
    ods_name: TableName,
    ods: DeltaTable,
    book: RuleBook,
    compiled: Arc<CompiledBook>,
    /// First arrival date whose mapping changed; those deliveries are read anew.
    remapped_from: Option<NaiveDate>,
}

struct Raw {
    name: TableName,
    table: DeltaTable,
    ids: Ids,
    /// Arrival dates that are read.
    dates: BTreeSet<NaiveDate>,
}

/// Raw must still hold every delivery that is read again: P >= W + 2. Deliveries are read under
/// a new mapping from arrival date P on at the earliest, which raw then holds as well.
pub(crate) fn check_coverage(feed: &str, from: NaiveDate, raw_ids: &Ids) -> Result<(), BuildError> {
    let Some(removed_through) = raw_ids.removed_through(feed) else {
        return Ok(());
    };
    let earliest = removed_through.checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX);
    if from >= earliest {
        return Ok(());
    }
    Err(BuildError::NotCovered { feed: feed.to_owned(), from, removed_through, earliest })
}

/// The recorded rules with what the request changes of them.
fn book_of(
    stage: &StageContext<'_>,
    request: Request<'_>,
    recorded: &RuleBook,
) -> Result<RuleBook, BuildError> {
    let recorded = recorded.clone();
    match (request.rules, request.source) {
        (Rules::Recorded, _) => Ok(recorded),
        (Rules::Configured, Source::Raw) => Ok(recorded.restart(stage.feed, request.from)),
        (Rules::Configured, Source::Ods) => {
            let differences = recorded.mapping_differences(stage.feed);
            if differences.is_empty() {
                return Ok(recorded.restart_sessions(stage.feed, request.from));
            }
            let (feed, from) = (stage.feed.name.clone(), request.from);
            Err(BuildError::MappingNeedsRaw { feed, from, differences })
        }
    }
}

impl<'a> Attempt<'a> {
    /// Opens every table; ODS is created where there is none.
    async fn open(stage: &'a StageContext<'a>, request: Request<'a>) -> Result<Self, BuildError> {
        match request.source {
            Source::Raw => Self::on(stage, request, open_ods(stage).await?).await,
            Source::Ods => Self::on_built(stage, request).await,
        }
    }

    /// Opens every table, none of which is created.
    async fn on_built(
        stage: &'a StageContext<'a>,
        request: Request<'a>,
    ) -> Result<Self, BuildError> {
        Self::on(stage, request, open_built_ods(stage).await?).await
    }

    /// ODS was opened first: a delivery that is built in between conflicts with this commit.
    async fn on(
        stage: &'a StageContext<'a>,
        request: Request<'a>,
        (ods_name, ods, recorded): (TableName, DeltaTable, RuleBook),
    ) -> Result<Self, BuildError> {
        let feed = &stage.feed.name;
        let book = book_of(stage, request, &recorded)?;
        let remapped_from =
            recorded.first_changed_mapping(&book).map(|start| start.unwrap_or(NaiveDate::MIN));
        let raw = match request.source {
            Source::Ods => None,
            Source::Raw => {
                let (name, table) = open_raw(stage).await?;
                let ids = stage.lake.ids(&name, &table).await?;
                check_coverage(feed, request.from, &ids)?;
                let dates = arrival_dates(feed, request.from, remapped_from, &ids);
                Some(Raw { name, table, ids, dates })
            }
        };
        let context = stage.engine.context(rules::zone(&book));
        let stored = rules::stored_attributes(&ods_name, &ods)?;
        let compiled = Arc::new(CompiledBook::compile(&context, feed, &book, &stored)?);
        Ok(Self { stage, request, context, raw, ods_name, ods, book, compiled, remapped_from })
    }

    /// Every event that ODS will hold from P on, and those that leave it before.
    async fn facts(&self) -> Result<Deliveries, BuildError> {
        let (stage, context) = (self.stage, &self.context);
        let Some(Raw { table, dates, .. }) = &self.raw else {
            let (ods, from) = ((&self.ods_name, &self.ods), self.request.from);
            return read_facts(stage, context, ods, &self.book, &self.compiled, from).await;
        };
        let files = self.request.files;
        let mut read =
            read_deliveries(stage, context, table, &self.book, &self.compiled, dates, files)
                .await?;
        self.add_removed(&mut read.candidates).await?;
        Ok(read)
    }

    fn merge<'c>(&'c self, candidates: &'c Candidates) -> Result<Merge<'c>, BuildError> {
        let discard = Discard { from: self.request.from, delivered_from: self.remapped_from };
        let (name, ods) = (&self.ods_name, &self.ods);
        Merge::new(self.stage, name, ods, &self.compiled, &self.book, candidates, Some(discard))
    }

    async fn run(&self) -> Result<(Reprocessed, StageOutcome), BuildError> {
        let from = self.request.from;
        let mut outcome = StageOutcome { version_before: self.ods.version(), ..Default::default() };
        let read = self.facts().await?;
        let merged = self.merge(&read.candidates)?.run().await?;
        outcome.rows_read = Some(read.rows_read);
        outcome.quarantined = read.reasons;
        balance(self.stage, from, &mut outcome, &merged)?;
        let first = read.candidates.dates.first().copied().and_then(date_of_days);
        let first = first.map_or(from, |first| first.min(from));
        let before = merged.changed_dates.range(..date32(from));
        let dates = self.raw.as_ref().map(|raw| raw.dates.iter().copied().collect());
        let report = Reprocessed {
            first_pdate: Some(first),
            arrival_dates: dates.unwrap_or_default(),
            rows_before: before.map(|(_, rows)| rows).sum(),
        };
        let change = self.change(first, merged).await?;
        record_files(&change, &mut outcome);
        outcome.version_after = Some(self.commit(change).await?);
        Ok((report, outcome))
    }

    /// Rows before P that were read under a mapping that changed: they leave ODS and so touch
    /// their keys. Those from P on leave with their dates.
    async fn add_removed(&self, candidates: &mut Candidates) -> Result<(), BuildError> {
        let Some(start) = self.remapped_from else {
            return Ok(());
        };
        let gone = ident(PDATE)
            .lt(date_literal(self.request.from))
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

    /// The new dates, with the rules and the ids.
    async fn change(&self, first: NaiveDate, merged: Merged) -> Result<Change, BuildError> {
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
            ids: self.ids().await?,
            read_predicate: Some(format!("{PDATE} >= '{first}'")),
            merged: None,
        })
    }

    /// Of raw: all dates that were read are built, quarantine is to follow, and withdrawals from
    /// the first date on are done.
    async fn ids(&self) -> Result<Vec<Transaction>, BuildError> {
        let feed = &self.stage.feed.name;
        let Some(raw) = &self.raw else {
            let days = ids::days_of_date(self.request.from);
            return Ok(vec![ids::transaction(ids::ods(feed), days)]);
        };
        let newest = raw.dates.iter().next_back().copied().unwrap_or(self.request.from);
        let known = self.stage.lake.ids(&self.ods_name, &self.ods).await?;
        let reprocesses = known.version(&ids::reprocess(feed)).unwrap_or_default();
        let mut commit_ids: Vec<_> = raw
            .dates
            .iter()
            .map(|date| ids::transaction(ids::build(feed, *date), raw.ids.deliveries(feed, *date)))
            .collect();
        commit_ids.push(ids::transaction(ids::ods(feed), ids::days_of_date(newest)));
        commit_ids.push(ids::transaction(ids::reprocess(feed), reprocesses + 1));
        let withdrawal = raw.ids.withdrawal(feed);
        if let Some(withdrawal) = withdrawal.filter(|last| last.from >= self.request.from) {
            commit_ids.push(ids::transaction(ids::withdrawals(feed), withdrawal.number));
        }
        Ok(commit_ids)
    }

    async fn commit(&self, change: Change) -> Result<u64, BuildError> {
        let mut inputs = vec![(&self.ods_name, &self.ods)];
        inputs.extend(self.raw.as_ref().map(|raw| (&raw.name, &raw.table)));
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

/// Arrival dates whose rows may fall on `from` or later, or whose mapping changed.
fn arrival_dates(
    feed: &str,
    from: NaiveDate,
    remapped_from: Option<NaiveDate>,
    raw_ids: &Ids,
) -> BTreeSet<NaiveDate> {
    let first = from.pred_opt().unwrap_or(from);
    let first = remapped_from.map_or(first, |remapped| remapped.min(first));
    let removed_through = raw_ids.removed_through(feed);
    raw_ids
        .delivery_dates(feed)
        .into_keys()
        .filter(|date| *date >= first)
        .filter(|date| removed_through.is_none_or(|gone| *date > gone))
        .collect()
}
