//! A check as a query: planned, guarded, and asked.

use arrow::array::{Array as _, RecordBatch};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt as _;
use serde_json::{Map, Value};

use super::CheckResult;
use super::error::CheckError;
use super::relations::Relations;
use crate::config::checks::Check;
use crate::engine::Engine;
use crate::stages::error::BuildError;
use crate::stages::rules;

/// Offending rows that are shown.
const EXAMPLES: usize = 5;

/// A context for one check: its joins spill, and its errors know their line.
pub(crate) fn context(engine: &Engine, relations: &Relations<'_>) -> SessionContext {
    let mut state = engine.context(rules::zone(relations.book)).state();
    let options = state.config_mut().options_mut();
    options.sql_parser.collect_spans = true;
    options.optimizer.prefer_hash_join = false;
    SessionContext::new_with_state(state)
}

/// Plans the check over `relations`, and looks that it only reads and always gives the same.
pub(crate) async fn plan(
    context: &SessionContext,
    check: &Check,
    relations: &Relations<'_>,
) -> Result<LogicalPlan, BuildError> {
    relations.register(context, check).await?;
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(check.query.clone()));
    let plan = context.state().statement_to_plan(statement).await;
    let plan = plan.map_err(|source| relations.unplannable(check, source))?;
    guard(check, relations, &plan)?;
    Ok(plan)
}

/// Counts the offending rows, and shows some.
pub(crate) async fn ask(
    engine: &Engine,
    check: &Check,
    relations: &Relations<'_>,
) -> Result<CheckResult, BuildError> {
    let context = context(engine, relations);
    let plan = plan(&context, check, relations).await?;
    let frame = context.execute_logical_plan(plan).await;
    count(check, relations, frame.map_err(|source| relations.unplannable(check, source))?).await
}

/// Counts the rows of `frame`, and shows some.
pub(crate) async fn count(
    check: &Check,
    relations: &Relations<'_>,
    frame: DataFrame,
) -> Result<CheckResult, BuildError> {
    let failed = |source: DataFusionError| CheckError::Failed {
        feed: relations.feed.name.clone(),
        check: check.name.clone(),
        file: check.file.clone(),
        line: check.line,
        source: Box::new(source),
    };
    let mut batches = frame.execute_stream().await.map_err(failed)?;
    let mut result = CheckResult::of(check);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(failed)?;
        result.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let wanted = EXAMPLES.saturating_sub(result.examples.len()).min(batch.num_rows());
        let shown = examples(&batch.slice(0, wanted)).map_err(|source| failed(source.into()))?;
        result.examples.extend(shown);
    }
    Ok(result)
}

impl CheckResult {
    pub(crate) fn of(check: &Check) -> Self {
        Self {
            check: check.name.clone(),
            severity: check.severity,
            on: check.on,
            message: check.message.clone(),
            rows: 0,
            examples: vec![],
        }
    }

    /// The same check asked of further rows.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
    }
}

/// Rows as objects of texts.
fn examples(rows: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let options = FormatOptions::default();
    let mut shown = vec![Map::new(); rows.num_rows()];
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let formatter = ArrayFormatter::try_new(column, &options)?;
        for (row, object) in shown.iter_mut().enumerate() {
            let value = if column.is_null(row) {
                Value::Null
            } else {
                Value::from(formatter.value(row).to_string())
            };
            object.insert(field.name().clone(), value);
        }
    }
    Ok(shown)
}

fn guard(check: &Check, relations: &Relations<'_>, plan: &LogicalPlan) -> Result<(), CheckError> {
    let mut fault = None;
    let walk = plan.apply_with_subqueries(|node| {
        if writes(node) {
            fault = Some(CheckError::Writes {
                feed: relations.feed.name.clone(),
                check: check.name.clone(),
                file: check.file.clone(),
                line: check.line,
            });
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                let Some(function) = unstable(part) else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                fault = Some(CheckError::Unstable {
                    feed: relations.feed.name.clone(),
                    check: check.name.clone(),
                    function,
                    file: check.file.clone(),
                    line: check.line,
                });
                Ok(TreeNodeRecursion::Stop)
            })
        })
    });
    debug_assert!(walk.is_ok(), "the closure never fails");
    fault.map_or(Ok(()), Err)
}

fn writes(node: &LogicalPlan) -> bool {
    matches!(
        node,
        LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
    )
}

fn unstable(part: &Expr) -> Option<String> {
    match part {
        Expr::ScalarFunction(call) => {
            let volatility = call.func.signature().volatility;
            (volatility != Volatility::Immutable).then(|| call.func.name().to_owned())
        }
        _ => None,
    }
}
