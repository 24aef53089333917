//! The events of a key as ODS holds them, judged anew.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, NaiveDate, Utc};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;

use super::super::columns::Columns;
use super::derivation::{Fact, Limits};
use super::error::ExplainError;
use crate::config::FeedConfig;
use crate::engine::{Engine, queries};
use crate::lake::contracts::{self, PDATE};
use crate::lake::rules::RuleBook;
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::events::within;
use crate::stages::facts::FactJudge;
use crate::stages::mapping::CompiledBook;
use crate::stages::raw_rows::scan;
use crate::stages::rules;

/// The table `ods/<feed>` as of one version, and the rules recorded in it.
pub(super) struct Ods {
    pub(super) name: TableName,
    pub(super) table: DeltaTable,
    pub(super) context: SessionContext,
    pub(super) book: RuleBook,
    compiled: Arc<CompiledBook>,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) user: &'k str,
    pub(super) product: &'k str,
}

impl Key<'_> {
    pub(super) fn condition(self) -> Expr {
        ident("user_id").eq(lit(self.user)).and(ident("product_code").eq(lit(self.product)))
    }
}

/// A date on which a key was active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ActiveDate {
    pub(super) product: String,
    pub(super) date: NaiveDate,
    pub(super) events: usize,
    /// Sessions that start on it.
    pub(super) sessions: usize,
    pub(super) first: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
}

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub(super) product: String,
    pub(super) timestamp_micros: i64,
}

impl Ods {
    pub(super) async fn open(
        lake: &Lake,
        engine: &Engine,
        feed: &FeedConfig,
    ) -> Result<Self, ExplainError> {
        let name = TableName::Ods(feed.name.clone());
        let Some(table) = lake.load(&name).await? else {
            return Err(ExplainError::NothingBuilt { table: name });
        };
        let book = RuleBook::read(&name, &table)?.unwrap_or_else(|| RuleBook::first(feed));
        let context = engine.context(rules::zone(&book));
        let stored = rules::stored_attributes(&name, &table)?;
        let compiled = Arc::new(CompiledBook::compile(&context, &feed.name, &book, &stored)?);
        Ok(Self { name, table, context, book, compiled })
    }

    /// The entries of the session rules.
    pub(super) fn limits(&self) -> Vec<Limits> {
        let entries = self.book.sessions.iter();
        let limits = entries.map(|entry| Limits {
            from: entry.from,
            timeout_micros: entry.rules.timeout_micros,
            max_duration_micros: entry.rules.max_duration_micros,
        });
        limits.collect()
    }

    /// The dates on which a user was active, by product and date.
    pub(super) async fn active_dates(&self, user: &str) -> Result<Vec<ActiveDate>, ExplainError> {
        let rows = async {
            let state = Arc::new(self.context.state());
            let provider = self.table.table_provider().with_session(state).await?;
            self.context.register_table("ods", provider)?;
            let frame = self.context.sql(queries::ACTIVE_DATES).await?;
            frame.with_param_values(vec![("user", ScalarValue::from(user))])?.collect().await
        };
        let batches = rows.await.map_err(|source| self.unread(source))?;
        let mut dates = Vec::new();
        for batch in &batches {
            let columns = self.columns(batch, &active_dates())?;
            dates.extend((0..batch.num_rows()).filter_map(|row| {
                Some(ActiveDate {
                    product: columns.text("product_code", row)?,
                    date: columns.date(PDATE, row)?,
                    events: usize::try_from(columns.integer("events", row)?).ok()?,
                    sessions: usize::try_from(columns.integer("sessions", row)?).ok()?,
                    first: columns.time("first_event", row)?,
                    last: columns.time("last_event", row)?,
                })
            }));
        }
        Ok(dates)
    }

    /// Events of an id, the newest first.
    pub(super) async fn occurrences(
        &self,
        user: &str,
        event: &str,
    ) -> Result<Vec<Occurrence>, ExplainError> {
        let condition = ident("user_id").eq(lit(user)).and(ident("event_id").eq(lit(event)));
        let mut found = Vec::new();
        for batch in &self.rows(condition).await? {
            let columns = self.columns(batch, &contracts::ods(&[]))?;
            found.extend((0..batch.num_rows()).filter_map(|row| {
                Some(Occurrence {
                    product: columns.text("product_code", row)?,
                    timestamp_micros: columns.micros("timestamp", row)?,
                })
            }));
        }
        found.sort_by(|left, right| {
            right
                .timestamp_micros
                .cmp(&left.timestamp_micros)
                .then(left.product.cmp(&right.product))
        });
        Ok(found)
    }

    /// The events of a key between two event dates, both included, in [`Fact::order`].
    pub(super) async fn facts(
        &self,
        key: Key<'_>,
        dates: (NaiveDate, NaiveDate),
    ) -> Result<Vec<Fact>, ExplainError> {
        let judge = FactJudge::new(&self.name, &self.book, &self.compiled);
        let mut facts = Vec::new();
        for batch in &self.rows(key.condition().and(within(PDATE, dates))).await? {
            let (opens, closes) = judge.opens_and_closes(batch)?;
            let columns = self.columns(batch, &contracts::ods(&[]))?;
            facts.extend((0..batch.num_rows()).filter_map(|row| {
                let pdate = columns.date(PDATE, row)?;
                Some(Fact {
                    timestamp_micros: columns.micros("timestamp", row)?,
                    event_id: columns.text("event_id", row)?,
                    is_user_action: columns.flag("is_user_action", row)?,
                    time_diff_ms: columns.integer("time_diff_ms", row),
                    session_start_micros: columns.micros("session_start", row),
                    session_id: columns.text("session_id", row),
                    pdate,
                    updated_at: columns.date(contracts::UPDATED_AT, row)?,
                    rules_entry: self.book.session_at(pdate),
                    opens: opens.value(row),
                    closes: closes.value(row),
                })
            }));
        }
        facts.sort_by(|left, right| left.order().cmp(&right.order()));
        Ok(facts)
    }

    async fn rows(&self, condition: Expr) -> Result<Vec<RecordBatch>, ExplainError> {
        let frame = scan(&self.context, &self.name, &self.table).await?;
        let frame = frame.filter(condition).map_err(|source| self.unread(source))?;
        Ok(frame.collect().await.map_err(|source| self.unread(source))?)
    }

    pub(super) fn unread(&self, source: DataFusionError) -> LakeError {
        LakeError::read(&self.name, source.into())
    }

    /// The columns of `schema` of rows that were read from the table.
    pub(super) fn columns(
        &self,
        batch: &RecordBatch,
        schema: &SchemaRef,
    ) -> Result<Columns, LakeError> {
        Columns::of(&self.name, batch, schema)
    }
}

/// The columns of [`queries::ACTIVE_DATES`].
fn active_dates() -> SchemaRef {
    let column = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("product_code", DataType::Utf8),
        column(PDATE, DataType::Date32),
        column("events", DataType::Int64),
        column("sessions", DataType::Int64),
        column("first_event", contracts::timestamp_type()),
        column("last_event", contracts::timestamp_type()),
    ]))
}

/// The columns of [`queries::QUARANTINE_OF_USER`].
pub(super) fn refused() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("stage", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("entries", DataType::Int64, true),
    ]))
}
