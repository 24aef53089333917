//! A feed's SQL expressions: parsed and type-checked before anything is written, evaluated batch
//! by batch, and, where a batch fails, row by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;

/// Why an expression of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// It does not parse, names an unknown column, or its types do not fit.
    #[error("feed {feed}: {key} = \"{sql}\" is not a valid expression over the columns {columns}")]
    Invalid {
        /// The feed.
        feed: String,
        /// The configuration key.
        key: String,
        /// The expression.
        sql: String,
        /// What it may name.
        columns: String,
        /// DataFusion's reason.
        source: Box<DataFusionError>,
    },
    /// Its value would differ from one run to the next.
    #[error(
        "feed {feed}: {key} = \"{sql}\" calls `{function}`, whose value changes from run to run; \
         a rebuild could not give the same result, use a column instead"
    )]
    Volatile {
        /// The feed.
        feed: String,
        /// The configuration key.
        key: String,
        /// The expression.
        sql: String,
        /// The function.
        function: String,
    },
    /// It looks at more than one row.
    #[error("feed {feed}: {key} = \"{sql}\" must look at one row alone, without {construct}")]
    NotRowWise {
        /// The feed.
        feed: String,
        /// The configuration key.
        key: String,
        /// The expression.
        sql: String,
        /// What it holds.
        construct: &'static str,
    },
    /// It has a type that cannot stand there.
    #[error("feed {feed}: {key} = \"{sql}\" gives {found}, but {expected} is needed")]
    WrongType {
        /// The feed.
        feed: String,
        /// The configuration key.
        key: String,
        /// The expression.
        sql: String,
        /// Its type.
        found: DataType,
        /// What may stand there.
        expected: &'static str,
    },
}

/// Where an expression comes from, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The feed.
    pub feed: &'a str,
    /// The configuration key.
    pub key: &'a str,
    /// The expression.
    pub sql: &'a str,
}

/// An expression bound to the columns it is evaluated over.
#[derive(Debug, Clone)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    key: String,
    sql: String,
}

/// A row on which an expression failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRow {
    /// Index in the batch.
    pub row: usize,
    /// The configuration key, and the engine's message with the value.
    pub detail: String,
}

/// Parses and type-checks an expression over `schema`; it must be row-wise and immutable.
fn parse(
    context: &SessionContext,
    origin: Origin<'_>,
    schema: &DFSchema,
) -> Result<Expr, ExpressionError> {
    let invalid = |source: DataFusionError| ExpressionError::Invalid {
        feed: origin.feed.to_owned(),
        key: origin.key.to_owned(),
        sql: origin.sql.to_owned(),
        columns: schema.field_names().join(", "),
        source: Box::new(source),
    };
    let expr = context.state().create_logical_expr(origin.sql, schema).map_err(invalid)?;
    reject_unstable(origin, &expr)?;
    expr.get_type(schema).map_err(invalid)?;
    Ok(expr)
}

/// Calls such as `coalesce` in the form that the engine evaluates: left as they are, they plan but
/// fail on every row.
fn written_out(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let expr = ExprSimplifier::new(context.clone()).coerce(expr, schema)?;
    let written_out = expr.transform_up(|part| match part {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            Ok(match func.simplify(args, &context)? {
                ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
                ExprSimplifyResult::Original(args) => {
                    Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
                }
            })
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(written_out.data)
}

fn reject_unstable(origin: Origin<'_>, expr: &Expr) -> Result<(), ExpressionError> {
    let mut found = None;
    let walk = expr.apply(|part| {
        found = forbidden(origin, part);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walk.is_ok(), "the closure never fails");
    found.map_or(Ok(()), Err)
}

fn forbidden(origin: Origin<'_>, part: &Expr) -> Option<ExpressionError> {
    let construct = match part {
        Expr::ScalarFunction(call) => {
            let volatility = call.func.signature().volatility;
            return (volatility != Volatility::Immutable).then(|| ExpressionError::Volatile {
                feed: origin.feed.to_owned(),
                key: origin.key.to_owned(),
                sql: origin.sql.to_owned(),
                function: call.func.name().to_owned(),
            });
        }
        Expr::AggregateFunction(_) => "an aggregate",
        Expr::WindowFunction(_) => "a window function",
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => "a subquery",
        Expr::Placeholder(_) => "a parameter",
        _ => return None,
    };
    Some(ExpressionError::NotRowWise {
        feed: origin.feed.to_owned(),
        key: origin.key.to_owned(),
        sql: origin.sql.to_owned(),
        construct,
    })
}

impl Expression {
    /// Binds an expression to batches of `schema`.
    pub fn compile(
        context: &SessionContext,
        origin: Origin<'_>,
        schema: &SchemaRef,
    ) -> Result<Self, ExpressionError> {
        let invalid = |source: DataFusionError| ExpressionError::Invalid {
            feed: origin.feed.to_owned(),
            key: origin.key.to_owned(),
            sql: origin.sql.to_owned(),
            columns: column_names(schema),
            source: Box::new(source),
        };
        let df_schema = DFSchema::try_from(Schema::clone(schema)).map_err(invalid)?;
        let expr = parse(context, origin, &df_schema)?;
        let expr = written_out(expr, &df_schema).map_err(invalid)?;
        let physical = context.create_physical_expr(expr, &df_schema).map_err(invalid)?;
        let data_type = physical.data_type(schema).map_err(invalid)?;
        Ok(Self { physical, data_type, key: origin.key.to_owned(), sql: origin.sql.to_owned() })
    }

    /// As written.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Its type.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Values for every row of `batch` as `target` type; null on the rows that failed, which are
    /// listed. A failing batch is split until the rows are found.
    pub fn evaluate(
        &self,
        batch: &RecordBatch,
        target: &DataType,
    ) -> Result<(ArrayRef, Vec<FailedRow>), DataFusionError> {
        let mut pieces = Vec::new();
        let mut failed = Vec::new();
        self.evaluate_into(batch, 0, target, &mut pieces, &mut failed);
        let values = match pieces.as_slice() {
            [] => new_null_array(target, 0),
            [single] => Arc::clone(single),
            several => {
                let arrays: Vec<&dyn Array> = several.iter().map(AsRef::as_ref).collect();
                concat(&arrays)?
            }
        };
        Ok((values, failed))
    }

    fn evaluate_into(
        &self,
        batch: &RecordBatch,
        offset: usize,
        target: &DataType,
        pieces: &mut Vec<ArrayRef>,
        failed: &mut Vec<FailedRow>,
    ) {
        let rows = batch.num_rows();
        if rows == 0 {
            return;
        }
        match self.evaluate_whole(batch, target) {
            Ok(values) => pieces.push(values),
            Err(error) if rows == 1 => {
                pieces.push(new_null_array(target, 1));
                failed.push(FailedRow { row: offset, detail: format!("{}: {error}", self.key) });
            }
            Err(_) => {
                let half = rows / 2;
                let (head, tail) = (batch.slice(0, half), batch.slice(half, rows - half));
                self.evaluate_into(&head, offset, target, pieces, failed);
                self.evaluate_into(&tail, offset + half, target, pieces, failed);
            }
        }
    }

    fn evaluate_whole(
        &self,
        batch: &RecordBatch,
        target: &DataType,
    ) -> Result<ArrayRef, DataFusionError> {
        let values = self.physical.evaluate(batch)?.into_array(batch.num_rows())?;
        if values.data_type() == target { Ok(values) } else { Ok(cast(&values, target)?) }
    }
}

fn column_names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}
