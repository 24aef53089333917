//! `reprocess --from P`: every row of ODS with `pdate >= P` again from raw, in one commit.
//!
//! ```text
//! raw, arrival dates >= P - 1 -> candidates ┐
//! ods, pdate < P, still valid -> known      ├-> changed rows -> replace pdate >= P0
//! ods, read under an old mapping -> removed ┘
//! ```
//!
//! Events may arrive one day early, hence P - 1. Rows delivered under a mapping that changes leave
//! ODS wherever their event date lies, and those that they now map to are merged there like late
//! rows; P0 is the earliest event date so touched, else P.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Date32Type;
use chrono::{Days, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, JoinType, lit};
use datafusion::prelude::{DataFrame, SessionContext, ident};
use deltalake::DeltaTable;
use futures::StreamExt as _;
use std::sync::Arc;

use super::build::{balance, open_ods, open_raw, provenance, read_deliveries, record_files};
use super::error::BuildError;
use super::events::{candidate_schema, date32};
use super::mapping::CompiledBook;
use super::quarantine::Quarantine;
use super::raw_rows::conform;
use super::sessions::{Changes, SessionBuilder, scan};
use super::{StageContext, StageOutcome, replanning, rules};
use crate::lake::TableName;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, PDATE, UPDATED_AT};
use crate::lake::files::by_date;
use crate::lake::ids::{self, Ids};
use crate::lake::rules::RuleBook;
use crate::lake::storage::FileWriter;

const KEY: [&str; 4] = ["user_id", "product_code", "timestamp", "event_id"];

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
    let compiled = CompiledBook::compile(&context, feed, &book, &stored)?;
    let removed_through = raw_ids.removed_through(feed);
    let built = ods_ids.built_dates(feed);
    let dates: BTreeSet<NaiveDate> = raw_ids
        .delivery_dates(feed)
        .into_iter()
        .filter(|(date, deliveries)| built.get(date) == Some(deliveries))
        .map(|(date, _)| date)
        .filter(|date| removed_through.is_none_or(|gone| *date > gone))
        .collect();
    let mut rejected = BTreeMap::new();
    for date in &dates {
        let read = read_deliveries(stage, &context, &raw, &book, &compiled, *date).await?;
        rejected.insert(*date, read.rejected);
    }
    let id = ids::transaction(ids::reprocess(feed), done);
    quarantine.replace_build_rows(stage, &context, &dates, &rejected, vec![id]).await
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
    compiled: CompiledBook,
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
    let compiled = CompiledBook::compile(&context, feed, &book, &stored)?;
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
        let candidates = self.read(&dates, &mut outcome).await?;
        let known = self.known().await?;
        let removed = self.removed().await?;
        let removed_first = first_date(&removed, "pdate");
        let builder = SessionBuilder {
            context: &self.context,
            feed: &self.stage.feed.name,
            book: &self.compiled,
            rule_book: &self.book,
        };
        let judged = builder.judged(known.clone())?;
        let removed_events = self.removed_events(&builder, &removed)?;
        let changes = builder.changes(judged, candidates, removed_events.await?).await?;
        let changed_first = first_date(&changes.rows, "pdate");
        let first = [Some(date32(self.from)), removed_first, changed_first]
            .into_iter()
            .flatten()
            .min()
            .and_then(Date32Type::to_naive_date_opt)
            .unwrap_or(self.from);
        balance(self.stage, self.from, &mut outcome, &changes)?;
        let report = Reprocessed {
            first_pdate: Some(first),
            arrival_dates: dates.iter().copied().collect(),
            rows_before: rows_before(&changes.rows, self.from),
        };
        outcome.version_after = Some(self.replace(first, known, changes, &dates, raw_ids).await?);
        record_files(self.stage, &self.ods_name, &self.ods, &mut outcome).await?;
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

    async fn read(
        &self,
        dates: &BTreeSet<NaiveDate>,
        outcome: &mut StageOutcome,
    ) -> Result<Vec<RecordBatch>, BuildError> {
        let mut candidates = Vec::new();
        let mut rows_read = 0;
        for date in dates {
            let read = read_deliveries(
                self.stage,
                &self.context,
                &self.raw,
                &self.book,
                &self.compiled,
                *date,
            );
            let mut deliveries = read.await?;
            rows_read += deliveries.rows_read;
            candidates.append(&mut deliveries.candidates);
            for (reason, rows) in deliveries.reasons {
                *outcome.quarantined.entry(reason).or_default() += rows;
            }
        }
        outcome.rows_read = Some(rows_read);
        Ok(candidates)
    }

    /// ODS in the columns of the new rules, before it is written: attributes that it does not
    /// have yet are null.
    async fn ods(&self) -> Result<DataFrame, BuildError> {
        let frame = scan(&self.context, &self.ods_name, &self.ods).await?;
        let schema = contracts::ods(&self.compiled.attributes);
        let columns: Vec<Expr> = schema
            .fields()
            .iter()
            .map(|field| {
                if frame.schema().has_column_with_unqualified_name(field.name()) {
                    return Ok(ident(field.name()));
                }
                let null = ScalarValue::try_from(field.data_type())?;
                Ok(lit(null).alias(field.name()))
            })
            .collect::<Result<_, DataFusionError>>()
            .map_err(|source| self.rows_error(source))?;
        frame.select(columns).map_err(|source| self.rows_error(source))
    }

    fn before_from(&self) -> Expr {
        ident(PDATE).lt(date_literal(self.from))
    }

    fn delivered_under_old_mapping(&self) -> Expr {
        match self.remapped_from {
            Some(start) => ident(UPDATED_AT).gt_eq(date_literal(start)),
            None => lit(false),
        }
    }

    /// Rows of ODS that stay what they are, but for their sessions.
    async fn known(&self) -> Result<DataFrame, BuildError> {
        let kept = self.before_from().and(!self.delivered_under_old_mapping());
        self.ods().await?.filter(kept).map_err(|source| self.rows_error(source))
    }

    /// Rows before P that were read under a mapping that changed.
    async fn removed(&self) -> Result<Vec<RecordBatch>, BuildError> {
        let gone = self.before_from().and(self.delivered_under_old_mapping());
        let frame = self.ods().await?.filter(gone).map_err(|source| self.rows_error(source))?;
        frame.collect().await.map_err(|source| self.rows_error(source))
    }

    /// The removed rows as the relations under `sql/sessions/` read them.
    fn removed_events(
        &self,
        builder: &SessionBuilder<'_>,
        removed: &[RecordBatch],
    ) -> Result<impl Future<Output = Result<Vec<RecordBatch>, BuildError>>, BuildError> {
        let schema = contracts::ods(&self.compiled.attributes);
        let conformed: Vec<RecordBatch> = removed
            .iter()
            .map(|batch| conform(batch, &schema))
            .collect::<Result<_, _>>()
            .map_err(|source| self.rows_error(source.into()))?;
        let frame = self.memory(&schema, conformed)?;
        let judged = builder.judged(frame)?;
        let target = candidate_schema(&self.compiled.attributes);
        let names: Vec<&str> = target
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| *name != "attributes_key")
            .collect();
        let key = lit(ScalarValue::Binary(Some(vec![]))).alias("attributes_key");
        let columns = names.iter().map(|name| ident(*name)).chain([key]).collect::<Vec<_>>();
        let selected = judged.select(columns).map_err(|source| self.rows_error(source))?;
        Ok(async move {
            let batches = selected.collect().await.map_err(|source| self.rows_error(source))?;
            batches
                .iter()
                .map(|batch| conform(batch, &target))
                .collect::<Result<_, _>>()
                .map_err(|source| self.rows_error(source.into()))
        })
    }

    /// Writes dates `first` and later anew and commits, with the rules and the ids of all builds.
    async fn replace(
        &self,
        first: NaiveDate,
        known: DataFrame,
        changes: Changes,
        dates: &BTreeSet<NaiveDate>,
        raw_ids: &Ids,
    ) -> Result<u64, BuildError> {
        let schema = contracts::ods(&self.compiled.attributes);
        let adds = self.write(first, known, changes, &schema).await?;
        let replaced = by_date(&self.ods_name, &self.ods, PDATE)?;
        let removes =
            replaced.range(first..).flat_map(|(_, files)| files).map(|file| file.remove.clone());
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
        let change = Change {
            adds,
            removes: removes.collect(),
            metadata,
            ids: commit_ids,
            read_predicate: Some(format!("{PDATE} >= '{first}'")),
        };
        let inputs = [(&self.raw_name, &self.raw), (&self.ods_name, &self.ods)];
        let provenance = provenance(self.stage, "reprocess", &inputs);
        fail::fail_point!("reprocess_before_commit", |_| std::process::abort());
        let version = commits::commit(&self.ods_name, &self.ods, change, &provenance).await?;
        fail::fail_point!("reprocess_after_commit", |_| std::process::abort());
        Ok(version)
    }

    async fn write(
        &self,
        first: NaiveDate,
        known: DataFrame,
        changes: Changes,
        schema: &arrow::datatypes::SchemaRef,
    ) -> Result<Vec<deltalake::kernel::Add>, BuildError> {
        let rows = |source| self.rows_error(source);
        let changed = self.memory(schema, changes.rows)?;
        let unchanged = known
            .filter(ident(PDATE).gt_eq(date_literal(first)))
            .and_then(|frame| frame.join(changed.clone(), JoinType::LeftAnti, &KEY, &KEY, None))
            .map_err(rows)?;
        let all = unchanged.union(changed).map_err(rows)?;
        let mut batches = all.execute_stream().await.map_err(rows)?;
        let mut writer = FileWriter::new(&self.ods_name, &self.ods, schema)?;
        while let Some(batch) = batches.next().await {
            match batch.and_then(|batch| Ok(conform(&batch, schema)?)) {
                Ok(batch) => writer.write(&batch).await?,
                Err(source) => {
                    writer.abort().await;
                    return Err(rows(source));
                }
            }
        }
        Ok(writer.close().await?)
    }

    fn memory(
        &self,
        schema: &arrow::datatypes::SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<DataFrame, BuildError> {
        MemTable::try_new(Arc::clone(schema), vec![batches])
            .and_then(|table| self.context.read_table(Arc::new(table)))
            .map_err(|source| self.rows_error(source))
    }

    fn rows_error(&self, source: DataFusionError) -> BuildError {
        BuildError::Rows { table: self.ods_name.clone(), source: Box::new(source) }
    }
}

fn date_literal(date: NaiveDate) -> Expr {
    lit(ScalarValue::Date32(Some(date32(date))))
}

fn first_date(batches: &[RecordBatch], column: &str) -> Option<i32> {
    batches
        .iter()
        .filter_map(|batch| batch.column_by_name(column)?.as_primitive_opt::<Date32Type>())
        .flat_map(|dates| dates.values().iter().copied())
        .min()
}

fn rows_before(batches: &[RecordBatch], from: NaiveDate) -> i64 {
    let from = date32(from);
    let before = batches
        .iter()
        .filter_map(|batch| batch.column_by_name(PDATE)?.as_primitive_opt::<Date32Type>())
        .flat_map(|dates| dates.values().iter())
        .filter(|date| **date < from)
        .count();
    i64::try_from(before).unwrap_or(i64::MAX)
}
