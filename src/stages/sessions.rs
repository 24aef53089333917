//! From candidate events to the rows of ODS that change.
//!
//! ```text
//! candidates + ods -> delivered -> changed_events -> scope -> changed_rows
//! ```
//!
//! Each step is a relation under `sql/sessions/`. What is re-read of a key begins `margin` before
//! its earliest changed event and has no upper bound; a key without a changed event is not read.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{Date32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{Expr, lit, when};
use datafusion::prelude::{DataFrame, SessionContext, ident};
use deltalake::DeltaTable;

use super::error::BuildError;
use super::events::candidate_schema;
use super::mapping::{CompiledBook, CompiledRules, judged_columns};
use super::timestamps::date_in;
use crate::engine::expressions::Expression;
use crate::engine::functions::rule_udf;
use crate::engine::queries::{self, Query};
use crate::lake::TableName;
use crate::lake::contracts;
use crate::lake::rules::RuleBook;

/// What a set of deliveries does to ODS.
#[derive(Debug, Default)]
pub struct Changes {
    /// Rows of ODS that are new or differ, in the columns of the table.
    pub rows: Vec<RecordBatch>,
    /// Number of them.
    pub changed: i64,
    /// Events that ODS did not hold.
    pub new: i64,
    /// Delivered rows equal to the event as known, or to a better duplicate.
    pub identical: i64,
    /// Delivered rows of a known or repeated event with other attributes.
    pub conflicting: i64,
}

/// One computation of changed rows, over one version of ODS.
pub struct SessionBuilder<'a> {
    /// Where the relations are registered; of one computation alone.
    pub context: &'a SessionContext,
    /// The feed, for messages.
    pub feed: &'a str,
    /// Its rules, compiled.
    pub book: &'a CompiledBook,
    /// Its rules, with the dates from which they hold.
    pub rule_book: &'a RuleBook,
}

impl SessionBuilder<'_> {
    /// The rows of ODS that `candidates` change. `known` holds the events known so far (see
    /// [`SessionBuilder::judged`]); `removed` those that leave ODS and so touch their keys.
    pub async fn changes(
        &self,
        known: DataFrame,
        candidates: Vec<RecordBatch>,
        removed: Vec<RecordBatch>,
    ) -> Result<Changes, BuildError> {
        if rows_of(&candidates) + rows_of(&removed) == 0 {
            return Ok(Changes::default());
        }
        let schema = candidate_schema(&self.book.attributes);
        self.register("ods", known.into_view())?;
        self.register_rows("removed_events", &schema, vec![removed])?;
        let mut changes = self.deliver(candidates, &schema).await?;
        self.materialize("changed_events", queries::CHANGED_EVENTS, vec![]).await?;
        self.deregister("delivered")?;
        let margin = ScalarValue::Int64(Some(self.book.margin_micros()));
        self.materialize("scope", queries::SCOPE, vec![("margin_micros", margin)]).await?;
        if let Some(first_pdate) = self.first_pdate_of_scope().await? {
            let clock = Instant::now();
            let rows = queries::CHANGED_ROWS
                .collect(self.context, vec![("first_pdate", first_pdate)])
                .await?;
            changes.rows = self.flatten(&rows)?;
            changes.changed = rows_of(&changes.rows);
            let (query, rows) = (queries::CHANGED_ROWS.name, changes.changed);
            tracing::debug!(query, rows, seconds = clock.elapsed().as_secs_f64());
        }
        Ok(changes)
    }

    /// Compares the candidates with what ODS knows of them, and counts.
    async fn deliver(
        &self,
        candidates: Vec<RecordBatch>,
        schema: &SchemaRef,
    ) -> Result<Changes, BuildError> {
        let (first, last) = date_range(&candidates);
        self.register_rows("candidates", schema, vec![candidates])?;
        let parameters = vec![("first_pdate", first), ("last_pdate", last)];
        self.materialize("delivered", queries::DELIVERED, parameters).await?;
        self.deregister("candidates")?;
        let counts = queries::DELIVERY_COUNTS.collect(self.context, vec![]).await?;
        let count = |column: usize| {
            let values = counts.iter().map(|batch| batch.column(column));
            values
                .filter_map(|values| values.as_primitive_opt::<Int64Type>())
                .flat_map(|values| values.iter().flatten())
                .sum()
        };
        Ok(Changes {
            new: count(0),
            identical: count(1),
            conflicting: count(2),
            ..Changes::default()
        })
    }

    /// The first event date at which context may lie, or `None` when nothing changes.
    async fn first_pdate_of_scope(&self) -> Result<Option<ScalarValue>, BuildError> {
        let batches = queries::SCOPE_DATES.collect(self.context, vec![]).await?;
        let from = batches.iter().find_map(|batch| {
            let column = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>()?;
            (column.len() == 1 && column.is_valid(0)).then(|| column.value(0))
        });
        Ok(from.map(|micros| {
            // A zone whose clocks went back across midnight repeats a date: begin a day early.
            let date = date_in(micros, self.book.zone).map_or(i32::MIN, |date| date - 1);
            ScalarValue::Date32(Some(date))
        }))
    }

    /// The rows of an ODS table as the relations under `sql/sessions/` read them: attributes as
    /// one struct, and each row judged by the rules of its event date.
    pub fn judged(&self, ods: DataFrame) -> Result<DataFrame, BuildError> {
        let named = judged_columns(&self.book.attributes, true);
        let flag = |rule: &dyn Fn(&CompiledRules) -> &Expression| {
            self.by_event_date(|entry| {
                let rule = rule(&self.book.sessions[entry]).clone();
                let inputs = named.fields().iter().map(|field| ident(field.name())).collect();
                Ok(rule_udf(rule, &named).call(inputs))
            })
        };
        let mut columns: Vec<Expr> =
            contracts::ODS_COLUMNS.iter().map(|name| ident(*name)).collect();
        columns.push(self.attributes_struct().alias("attributes"));
        columns.push(flag(&|rules| &rules.opens_on)?.alias("opens"));
        columns.push(flag(&|rules| &rules.closes_on)?.alias("closes"));
        let written = |entry: usize| &self.book.sessions[entry].written;
        columns.push(
            self.by_event_date(|entry| Ok(lit(i32::try_from(entry).unwrap_or(i32::MAX))))?
                .alias("rules_entry"),
        );
        columns.push(
            self.by_event_date(|entry| Ok(duration(Some(written(entry).timeout_micros))))?
                .alias("timeout"),
        );
        columns.push(
            self.by_event_date(|entry| Ok(duration(written(entry).max_duration_micros)))?
                .alias("max_duration"),
        );
        columns.push(self.lookback().alias("lookback"));
        ods.select(columns).map_err(|source| self.rows_error(source))
    }

    fn attributes_struct(&self) -> Expr {
        if self.book.attributes.is_empty() {
            return named_struct(vec![lit("_none"), lit(ScalarValue::Boolean(None))]);
        }
        let fields = &self.book.attributes;
        named_struct(
            fields
                .iter()
                .flat_map(|field| [lit(field.name().as_str()), ident(field.name())])
                .collect(),
        )
    }

    fn by_event_date(
        &self,
        value: impl Fn(usize) -> Result<Expr, BuildError>,
    ) -> Result<Expr, BuildError> {
        let starts = self.rule_book.sessions.iter().map(|entry| entry.from).enumerate();
        let mut expression = value(0)?;
        for (entry, from) in starts.skip(1) {
            expression = since(contracts::PDATE, from, value(entry)?, expression)
                .map_err(|source| self.rows_error(source))?;
        }
        Ok(expression)
    }

    fn lookback(&self) -> Expr {
        let value = |entry: usize| duration(Some(self.book.mappings[entry].lookback_micros));
        let starts = self.rule_book.mappings.iter().map(|entry| entry.from).enumerate();
        starts.skip(1).fold(value(0), |earlier, (entry, from)| {
            since(contracts::UPDATED_AT, from, value(entry), earlier.clone()).unwrap_or(earlier)
        })
    }

    /// The `attributes` struct back as columns, in the types of the table.
    fn flatten(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, BuildError> {
        let schema = contracts::ods(&self.book.attributes);
        let flat = batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| {
            let columns = schema.fields().iter().map(|field| {
                let column = column_or_attribute(batch, field.name())?;
                Ok(if column.data_type() == field.data_type() {
                    column
                } else {
                    cast(&column, field.data_type())?
                })
            });
            let columns = columns.collect::<Result<Vec<ArrayRef>, DataFusionError>>()?;
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        });
        flat.collect::<Result<_, _>>().map_err(|source| self.rows_error(source))
    }

    async fn materialize(
        &self,
        name: &str,
        query: Query,
        parameters: Vec<(&str, ScalarValue)>,
    ) -> Result<(), BuildError> {
        let clock = Instant::now();
        let frame = query.plan(self.context, parameters).await?;
        let schema: SchemaRef = Arc::clone(frame.schema().inner());
        let partitions = frame
            .collect_partitioned()
            .await
            .map_err(crate::engine::EngineError::query(query.name))?;
        let rows: i64 = partitions.iter().map(|batches| rows_of(batches)).sum();
        tracing::debug!(query = query.name, rows, seconds = clock.elapsed().as_secs_f64());
        self.register_rows(name, &schema, partitions)
    }

    fn register_rows(
        &self,
        name: &str,
        schema: &SchemaRef,
        partitions: Vec<Vec<RecordBatch>>,
    ) -> Result<(), BuildError> {
        let table = MemTable::try_new(Arc::clone(schema), partitions)
            .map_err(|source| self.rows_error(source))?;
        self.register(name, Arc::new(table))
    }

    fn register(
        &self,
        name: &str,
        table: Arc<dyn datafusion::catalog::TableProvider>,
    ) -> Result<(), BuildError> {
        self.context.register_table(name, table).map_err(|source| self.rows_error(source))?;
        Ok(())
    }

    fn deregister(&self, name: &str) -> Result<(), BuildError> {
        self.context.deregister_table(name).map_err(|source| self.rows_error(source))?;
        Ok(())
    }

    fn rows_error(&self, source: DataFusionError) -> BuildError {
        BuildError::Rows { table: TableName::Ods(self.feed.to_owned()), source: Box::new(source) }
    }
}

/// `value` where `column` is not before `from`, else `earlier`.
fn since(
    column: &str,
    from: Option<chrono::NaiveDate>,
    value: Expr,
    earlier: Expr,
) -> Result<Expr, DataFusionError> {
    let from = lit(ScalarValue::Date32(from.map(Date32Type::from_naive_date)));
    when(ident(column).gt_eq(from), value).otherwise(earlier)
}

fn duration(micros: Option<i64>) -> Expr {
    lit(ScalarValue::DurationMicrosecond(micros))
}

fn column_or_attribute(batch: &RecordBatch, name: &str) -> Result<ArrayRef, DataFusionError> {
    if let Some(column) = batch.column_by_name(name) {
        return Ok(Arc::clone(column));
    }
    let attributes = batch.column_by_name("attributes").and_then(|column| column.as_struct_opt());
    attributes
        .and_then(|attributes| attributes.column_by_name(name))
        .map(Arc::clone)
        .ok_or_else(|| DataFusionError::Internal(format!("the column {name} is missing")))
}

fn date_range(candidates: &[RecordBatch]) -> (ScalarValue, ScalarValue) {
    let mut range: Option<(i32, i32)> = None;
    for batch in candidates {
        let dates = batch.column_by_name("pdate").and_then(|c| c.as_primitive_opt::<Date32Type>());
        if let Some((low, high)) = dates.and_then(|dates| min(dates).zip(max(dates))) {
            range = Some(range.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
        }
    }
    let (first, last) = range.unzip();
    (ScalarValue::Date32(first), ScalarValue::Date32(last))
}

/// Rows of several batches.
pub(crate) fn rows_of(batches: &[RecordBatch]) -> i64 {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A plain scan of the loaded version of a table.
pub(crate) async fn scan(
    context: &SessionContext,
    name: &TableName,
    table: &DeltaTable,
) -> Result<DataFrame, BuildError> {
    let rows = |source| BuildError::Rows { table: name.clone(), source: Box::new(source) };
    let provider = table.table_provider().with_session(Arc::new(context.state())).await;
    context.read_table(provider.map_err(rows)?).map_err(rows)
}
