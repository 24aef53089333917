//! Where the rows come from: one version of ODS, and of raw the deliveries that it was built from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{DataFrame, SessionContext, ident};
use deltalake::DeltaTable;
use futures::{StreamExt, stream};

use super::Facts;
use super::choice::Choice;
use super::error::VerifyError;
use super::rows::{AttributeFormat, FACT, KEY, PENDING, RowReader, schema};
use super::sessions::{Following, Sessions, rows_of};
use crate::engine::by_key::by_key;
use crate::lake::TableName;
use crate::lake::contracts::{ODS_COLUMNS, PDATE, SESSION_DATE};
use crate::lake::rules::RuleBook;
use crate::stages::StageContext;
use crate::stages::build::open_raw;
use crate::stages::deliveries::Files;
use crate::stages::events::{EventReader, date_literal, date32};
use crate::stages::mapping::CompiledBook;
use crate::stages::raw_rows::scan;
use crate::stages::{rules, withdraw};

/// The part of all rows that is read.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Of these keys.
    pub(super) choice: Choice,
    /// From this event date on.
    pub(super) first: Option<NaiveDate>,
}

/// One version of every table, and the rules recorded there.
pub(super) struct Sources<'a> {
    pub(super) stage: &'a StageContext<'a>,
    pub(super) name: TableName,
    pub(super) ods: DeltaTable,
    pub(super) book: RuleBook,
    pub(super) compiled: Arc<CompiledBook>,
    pub(super) format: Arc<AttributeFormat>,
    pub(super) sessions: Sessions,
    context: SessionContext,
    raw: Option<Raw>,
}

/// The deliveries that are facts.
struct Raw {
    name: TableName,
    table: DeltaTable,
    removed_through: Option<NaiveDate>,
    /// Arrival dates that are built, and the role of their rows.
    dates: BTreeMap<NaiveDate, u8>,
}

impl<'a> Sources<'a> {
    /// Opens the tables; `None` for a feed that was never built. ODS is opened first: a delivery
    /// that comes in between is one that it was not built from.
    pub(super) async fn open(
        stage: &'a StageContext<'a>,
        facts: Facts,
    ) -> Result<Option<Self>, VerifyError> {
        let name = TableName::Ods(stage.feed.name.clone());
        let Some(ods) = stage.lake.load(&name).await? else {
            return Ok(None);
        };
        let book = RuleBook::read(&name, &ods)?.unwrap_or_else(|| RuleBook::first(stage.feed));
        let raw = match facts {
            Facts::Ods => None,
            Facts::Raw => Some(Raw::open(stage, &name, &ods).await?),
        };
        let sessions = Sessions::open(stage, &name, &ods).await?;
        let context = stage.engine.context(rules::zone(&book));
        let stored = rules::stored_attributes(&name, &ods)?;
        let compiled = CompiledBook::compile(&context, &stage.feed.name, &book, &stored)?;
        let format = AttributeFormat::new(&compiled.attributes)
            .map_err(|source| VerifyError::rows(&name, source.into()))?;
        let (compiled, format) = (Arc::new(compiled), Arc::new(format));
        Ok(Some(Self { stage, name, ods, book, compiled, format, sessions, context, raw }))
    }

    /// Arrival dates of which some deliveries are built and others are not.
    pub(super) fn pending_dates(&self) -> impl Iterator<Item = NaiveDate> {
        let dates = self.raw.iter().flat_map(|raw| &raw.dates);
        dates.filter(|(_, role)| **role & PENDING != 0).map(|(date, _)| *date)
    }

    /// The newest arrival date that retention removed from raw, whose facts are rows of ODS.
    pub(super) fn removed_through(&self) -> Option<NaiveDate> {
        self.raw.as_ref().and_then(|raw| raw.removed_through)
    }

    /// The rows of a part, those of a key together: in as many streams as there are threads.
    pub(super) async fn by_key(
        &self,
        part: &Part,
    ) -> Result<Vec<SendableRecordBatchStream>, VerifyError> {
        let rows = self.rows(part).await?;
        let streams = rows.into_iter().map(|rows| {
            let rows = RecordBatchStreamAdapter::new(schema(), rows);
            Box::pin(rows) as SendableRecordBatchStream
        });
        by_key(self.stage.engine, &self.context, &schema(), streams.collect(), &KEY)
            .map_err(|source| self.error(source))
    }

    /// The keys of all rows, again and again, in batches that begin with the columns of [`KEY`].
    pub(super) async fn keys(&self) -> Result<Vec<BatchStream>, VerifyError> {
        let all = Part { choice: Choice::All, first: None };
        let frame = self.ods_frame(&all).await?.select_columns(&KEY);
        let frame = frame.map_err(|source| self.error(source))?;
        let of_ods = self.execute(frame).await?.into_iter();
        let mut keys: Vec<BatchStream> = of_ods.map(StreamExt::boxed).collect();
        for (at, rows) in self.delivered(&all).await?.into_iter().enumerate() {
            chain(&mut keys, at, rows);
        }
        Ok(keys)
    }

    async fn rows(&self, part: &Part) -> Result<Vec<BatchStream>, VerifyError> {
        // Without raw every row of ODS is a fact; with a raw of which nothing was removed, none is.
        let facts_through =
            self.raw.as_ref().map(|raw| raw.removed_through.map_or(i32::MIN, date32));
        let reader = RowReader::new(&self.compiled, &self.book, &self.format, facts_through);
        let stored = rules::stored_attributes(&self.name, &self.ods)?;
        let stored = stored.iter().map(|field| field.name().as_str());
        let columns: Vec<&str> = ODS_COLUMNS.into_iter().chain(stored).collect();
        let frame = self.ods_frame(part).await?.select_columns(&columns);
        let frame = frame.map_err(|source| self.error(source))?;
        let mut streams: Vec<BatchStream> = Vec::new();
        for rows in self.execute(frame).await? {
            let (reader, choice) = (reader.clone(), part.choice.clone());
            let rows = rows.map(move |batch| reader.of_ods(&choice.of(batch?, None)?));
            streams.push(rows.boxed());
        }
        let others = [self.delivered(part).await?, self.session_rows(part).await?];
        for others in others {
            for (at, rows) in others.into_iter().enumerate() {
                chain(&mut streams, at, rows);
            }
        }
        Ok(streams)
    }

    async fn session_rows(&self, part: &Part) -> Result<Vec<BatchStream>, VerifyError> {
        let Some(Following { name, table, distinct }) = self.sessions.following() else {
            return Ok(vec![]);
        };
        let frame = scan(&self.context, name, table).await?;
        let frame = narrowed(frame, part, SESSION_DATE).map_err(|source| self.error(source))?;
        let streams = self.execute(frame).await?.into_iter().map(|rows| {
            let (distinct, choice) = (distinct.clone(), part.choice.clone());
            let rows =
                rows.map(move |batch| rows_of(&choice.of(batch?, None)?, distinct.as_deref()));
            rows.boxed()
        });
        Ok(streams.collect())
    }

    async fn ods_frame(&self, part: &Part) -> Result<DataFrame, VerifyError> {
        let frame = scan(&self.context, &self.name, &self.ods).await?;
        narrowed(frame, part, PDATE).map_err(|source| self.error(source))
    }

    /// The delivered rows that are facts: date by date, so that few files are open at a time.
    async fn delivered(&self, part: &Part) -> Result<Vec<BatchStream>, VerifyError> {
        let Some(Raw { name, table, dates, .. }) = &self.raw else {
            return Ok(vec![]);
        };
        let rows = RowReader::new(&self.compiled, &self.book, &self.format, None);
        let error = |source| VerifyError::rows(name, source);
        let mut streams: Vec<BatchStream> = Vec::new();
        for (arrival_date, role) in dates {
            let frame = scan(&self.context, name, table).await?;
            let of_date = frame.filter(Files::All.condition(*arrival_date)).map_err(error)?;
            let read = of_date.execute_stream_partitioned().await.map_err(error)?;
            for (at, raw) in read.into_iter().enumerate() {
                let reader = EventReader::new(&self.compiled, &self.book, *arrival_date);
                let (rows, part, role) = (rows.clone(), part.clone(), *role);
                let events = raw.map(move |batch| {
                    let (candidates, _) = reader.read(&batch?)?;
                    rows.of_candidates(&part.choice.of(candidates, part.first)?, role)
                });
                chain(&mut streams, at, events.boxed());
            }
        }
        Ok(streams)
    }

    async fn execute(
        &self,
        frame: DataFrame,
    ) -> Result<Vec<SendableRecordBatchStream>, VerifyError> {
        frame.execute_stream_partitioned().await.map_err(|source| self.error(source))
    }

    pub(super) fn error(&self, source: DataFusionError) -> VerifyError {
        VerifyError::rows(&self.name, source)
    }
}

/// The rows of a table that may be of a part; `date` is the column of its partitions.
fn narrowed(frame: DataFrame, part: &Part, date: &str) -> Result<DataFrame, DataFusionError> {
    let first = part.first.map(|first| ident(date).gt_eq(date_literal(first)));
    let users = part.choice.users().map(|users| {
        let users: Vec<Expr> = users.into_iter().map(lit).collect();
        ident(KEY[0]).in_list(users, false)
    });
    first.into_iter().chain(users).try_fold(frame, DataFrame::filter)
}

/// Batches of rows as they are read.
pub(super) type BatchStream = stream::BoxStream<'static, Result<RecordBatch, DataFusionError>>;

/// Puts a stream behind the one at a position, where there is one.
fn chain(streams: &mut Vec<BatchStream>, at: usize, behind: BatchStream) {
    match streams.get_mut(at) {
        Some(before) => {
            let first = std::mem::replace(before, stream::empty().boxed());
            *before = first.chain(behind).boxed();
        }
        None => streams.push(behind),
    }
}

impl Raw {
    async fn open(
        stage: &StageContext<'_>,
        ods_name: &TableName,
        ods: &DeltaTable,
    ) -> Result<Self, VerifyError> {
        let feed = &stage.feed.name;
        let (name, table) = open_raw(stage).await?;
        let raw_ids = stage.lake.ids(&name, &table).await?;
        if withdraw::pending_of(stage, &raw_ids).await?.is_some() {
            return Err(VerifyError::UnfinishedWithdrawal { table: ods_name.clone() });
        }
        let built = stage.lake.ids(ods_name, ods).await?.built_dates(feed);
        let removed_through = raw_ids.removed_through(feed);
        let kept = raw_ids.delivery_dates(feed).into_iter();
        let kept = kept.filter(|(date, _)| removed_through.is_none_or(|removed| *date > removed));
        let dates = kept.filter_map(|(date, deliveries)| {
            let built = built.get(&date).copied().filter(|built| *built > 0)?;
            Some((date, if built == deliveries { FACT } else { FACT | PENDING }))
        });
        Ok(Self { name, table, removed_through, dates: dates.collect() })
    }
}

impl VerifyError {
    fn rows(table: &TableName, source: DataFusionError) -> Self {
        Self::Rows { table: table.clone(), source: Box::new(source) }
    }
}
