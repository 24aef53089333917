//! The facts that ODS keeps, judged again: candidate events in runs, for a session rule that
//! changes after raw has expired.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, TimestampMicrosecondType};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::StageContext;
use super::deliveries::Deliveries;
use super::error::BuildError;
use super::events::{column, date_literal};
use super::judgement::{Mapped, SessionJudge};
use super::mapping::CompiledBook;
use super::merge::{CLOSES, OPENS};
use super::raw_rows::scan;
use super::reject::Rejects;
use crate::engine::runs::RunWriter;
use crate::lake::TableName;
use crate::lake::contracts::{PDATE, UPDATED_AT, timestamp_type};
use crate::lake::rules::RuleBook;

/// Reads the events of ODS with `pdate >= from` as candidates, on all threads.
pub(crate) async fn read_facts(
    stage: &StageContext<'_>,
    context: &SessionContext,
    (name, ods): (&TableName, &DeltaTable),
    rule_book: &RuleBook,
    book: &Arc<CompiledBook>,
    from: NaiveDate,
) -> Result<Deliveries, BuildError> {
    let rows = |source| BuildError::Rows { table: name.clone(), source: Box::new(source) };
    let first = date_literal(from);
    let frame = scan(context, name, ods).await?.filter(ident(PDATE).gt_eq(first)).map_err(rows)?;
    let mut parts = JoinSet::new();
    for rows in frame.execute_stream_partitioned().await.map_err(rows)? {
        let part = Part {
            judge: FactJudge::new(name, rule_book, book),
            attributes: book.attributes.len(),
            writer: RunWriter::new(stage.engine.spill_target()),
            facts: Deliveries::default(),
        };
        parts.spawn(part.read(rows));
    }
    let mut facts = Deliveries::default();
    while let Some(part) = parts.join_next().await {
        facts.add(part.map_err(|_| BuildError::Stopped { table: name.clone() })??);
    }
    Ok(facts)
}

/// One stream of rows of ODS.
struct Part {
    judge: FactJudge,
    attributes: usize,
    writer: RunWriter,
    facts: Deliveries,
}

impl Part {
    async fn read(mut self, mut rows: SendableRecordBatchStream) -> Result<Deliveries, BuildError> {
        while let Some(batch) = rows.next().await {
            let ods = batch.map_err(|source| self.judge.error(source))?;
            self.facts.rows_read += i64::try_from(ods.num_rows()).unwrap_or(i64::MAX);
            let candidates = self.judge.judge(&ods)?;
            if candidates.num_rows() > 0 {
                self.facts.candidates.note(&candidates, self.attributes);
            }
            self.writer.push(candidates)?;
        }
        let runs = self.writer.finish()?;
        self.facts.candidates.runs = runs.into_iter().map(Arc::new).collect();
        Ok(self.facts)
    }
}

/// Judges events as ODS keeps them anew, under the rules of each one's event date.
pub(crate) struct FactJudge {
    table: TableName,
    book: Arc<CompiledBook>,
    judge: SessionJudge,
}

impl FactJudge {
    /// A judge under the rules that are recorded in the table.
    pub(crate) fn new(table: &TableName, rule_book: &RuleBook, book: &Arc<CompiledBook>) -> Self {
        let judge = SessionJudge::new(book, rule_book);
        Self { table: table.clone(), book: Arc::clone(book), judge }
    }

    /// Rows of ODS as candidates, in the same order.
    pub(crate) fn judge(&self, ods: &RecordBatch) -> Result<RecordBatch, BuildError> {
        let mapped = mapped(ods, &self.book.attributes).map_err(|source| self.error(source))?;
        let all: Vec<usize> = (0..ods.num_rows()).collect();
        let mut rejects = Rejects::new(ods.num_rows());
        let judged = self.judge.judge(&mapped, &all, &mut rejects);
        // Its row as delivered may be gone, so it cannot go to quarantine, and it must not vanish.
        if let Some((row, _, detail)) = rejects.iter().next() {
            return Err(BuildError::FactRefused {
                table: self.table.clone(),
                user_id: mapped.user_id.value(row).to_owned(),
                event_id: mapped.event_id.value(row).to_owned(),
                detail: detail.to_owned(),
            });
        }
        judged.map_err(|source| self.error(source))
    }

    /// Of each row of ODS, whether it may open a session and whether it ends one.
    pub(crate) fn opens_and_closes(
        &self,
        ods: &RecordBatch,
    ) -> Result<(BooleanArray, BooleanArray), BuildError> {
        let judged = self.judge(ods)?;
        let flags = |at: usize| judged.column(at + self.book.attributes.len()).as_boolean().clone();
        Ok((flags(OPENS), flags(CLOSES)))
    }

    fn error(&self, source: DataFusionError) -> BuildError {
        BuildError::Rows { table: self.table.clone(), source: Box::new(source) }
    }
}

/// Rows of ODS before they are judged. An attribute that the table does not have is null.
pub(crate) fn mapped(ods: &RecordBatch, attributes: &[Field]) -> Result<Mapped, DataFusionError> {
    let typed = |name: &str, data_type: &DataType| -> Result<ArrayRef, DataFusionError> {
        Ok(cast(column(ods, name)?, data_type)?)
    };
    let text =
        |name: &str| Ok::<_, DataFusionError>(typed(name, &DataType::Utf8)?.as_string().clone());
    let date = |name: &str| {
        let dates = typed(name, &DataType::Date32)?;
        Ok::<_, DataFusionError>(dates.as_primitive::<Date32Type>().clone())
    };
    let timestamp = typed("timestamp", &timestamp_type())?;
    let attributes = attributes.iter().map(|field| match ods.column_by_name(field.name()) {
        Some(values) => Ok(cast(values, field.data_type())?),
        None => Ok(new_null_array(field.data_type(), ods.num_rows())),
    });
    Ok(Mapped {
        user_id: text("user_id")?,
        product_code: text("product_code")?,
        event_id: text("event_id")?,
        timestamp: timestamp.as_primitive::<TimestampMicrosecondType>().clone(),
        pdate: date(PDATE)?,
        updated_at: date(UPDATED_AT)?,
        attributes: attributes.collect::<Result<_, DataFusionError>>()?,
    })
}
