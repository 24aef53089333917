//! Whether every row that a stage has read is accounted for in `runs`.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;

use super::Check;
use super::error::VerifyError;
use crate::lake::{LakeError, TableName};
use crate::record::Outcome;
use crate::stages::StageContext;
use crate::stages::raw_rows::scan;

/// The stages that read delivered rows into ODS.
const STAGES: [&str; 2] = ["build", "reprocess"];
/// What becomes of a row that is read.
const TERMS: [&str; 4] =
    ["rows_new", "rows_identical_duplicates", "rows_conflicting_duplicates", "rows_quarantined"];
const NAME: &str = "row balance of runs";

/// `rows_read` is the sum of its terms in every build and reprocess of the feed.
pub(super) async fn balance(stage: &StageContext<'_>) -> Result<Check, VerifyError> {
    let name = TableName::Runs;
    let Some(table) = stage.lake.load(&name).await? else {
        return Ok(Check::passed(NAME, "no run is recorded"));
    };
    let context = stage.engine.context(chrono_tz::Tz::UTC);
    let runs = scan(&context, &name, &table).await?;
    let error = |source: DataFusionError| LakeError::read(&name, source.into());
    let stages = STAGES.into_iter().map(lit).collect();
    let asked = ident("feed")
        .eq(lit(stage.feed.name.as_str()))
        .and(ident("stage").in_list(stages, false))
        .and(ident("outcome").eq(lit(Outcome::Done.as_str())))
        .and(ident("rows_read").is_not_null());
    let runs = runs.filter(asked).map_err(error)?;
    let recorded = runs.clone().count().await.map_err(error)?;
    let terms = TERMS.into_iter().map(|term| coalesce(vec![ident(term), lit(0_i64)]));
    let accounted: Expr = terms.reduce(|sum, term| sum + term).unwrap_or_else(|| lit(0_i64));
    let unbalanced = async || {
        let columns = ["run_id", "stage", "arrival_date", "rows_read"].map(ident);
        let columns = columns.into_iter().chain([accounted.clone().alias("accounted")]);
        let order = ["started", "run_id"].map(|column| ident(column).sort(true, false));
        let unbalanced = runs.filter(ident("rows_read").not_eq(accounted.clone()))?;
        unbalanced.sort(order.to_vec())?.select(columns.collect::<Vec<_>>())?.collect().await
    };
    let unbalanced = unbalanced().await.map_err(error)?;
    let rows: usize = unbalanced.iter().map(arrow::array::RecordBatch::num_rows).sum();
    let Some(first) = unbalanced.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(Check::passed(
            NAME,
            format!("{recorded} builds and reprocesses, every row read is accounted for"),
        ));
    };
    let text = |at: usize| {
        let text =
            cast(first.column(at), &DataType::Utf8).map_err(|source| error(source.into()))?;
        Ok::<_, LakeError>(text.as_string::<i32>().value(0).to_owned())
    };
    let count = |at: usize| {
        let counts = first.column(at).as_primitive_opt::<Int64Type>();
        counts.filter(|counts| counts.is_valid(0)).map_or(0, |counts| counts.value(0))
    };
    let (run, stage, date) = (text(0)?, text(1)?, text(2)?);
    let (read, accounted) = (count(3), count(4));
    Ok(Check::failed(
        NAME,
        format!(
            "{rows} of {recorded}: {stage} of {date} in run {run} has read {read} rows, of which \
             {accounted} are accounted for"
        ),
    ))
}
