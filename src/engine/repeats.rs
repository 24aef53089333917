//! `repeats(a, b, ...) over (partition by ... order by ...)`: whether a row equals the previous
//! one of its partition in all arguments, nulls being equal. False for the first row.
//!
//! Duplicates are neighbours in a total order, so this finds them in one pass, without a partition
//! for each event.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::compute::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};

/// The window function, to be registered with a context.
pub fn repeats_udwf() -> WindowUDF {
    WindowUDF::from(Repeats { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Repeats {
    signature: Signature,
}

impl WindowUDFImpl for Repeats {
    fn name(&self) -> &'static str {
        "repeats"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(RepeatsEvaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Boolean, false)))
    }
}

#[derive(Debug)]
struct RepeatsEvaluator;

impl PartitionEvaluator for RepeatsEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        if values.is_empty() {
            return exec_err!("repeats takes at least one argument");
        }
        let mut flags = BooleanBufferBuilder::new(num_rows);
        if num_rows > 0 {
            flags.append(false);
        }
        if num_rows > 1 {
            flags.append_buffer(equals_previous(values, num_rows)?.values());
        }
        Ok(Arc::new(BooleanArray::new(flags.finish(), None)))
    }
}

fn equals_previous(values: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
    let mut equal: Option<BooleanArray> = None;
    for column in values {
        let these = not_distinct(&column.slice(1, rows - 1), &column.slice(0, rows - 1))?;
        equal = Some(match equal {
            None => these,
            Some(others) => and(&others, &these)?,
        });
    }
    match equal {
        Some(equal) => Ok(equal),
        None => exec_err!("repeats takes at least one argument"),
    }
}
