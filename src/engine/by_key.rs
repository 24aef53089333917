//! Rows gathered by key: hashed by key into as many parts as there are threads, each part sorted.
//! Sort and repartition take from the pool of the engine and spill beyond it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::EmptyRecordBatchStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, Partitioning, execute_stream_partitioned};
use datafusion::prelude::SessionContext;

use super::Engine;

/// What part of the memory limit the sorts keep for merging what they have spilled.
const MERGE_SHARE: usize = 16;

/// The rows of `streams`, all of `schema`, in as many streams as there are threads: all rows of one
/// value of the columns `key` are in one of them, and each is in the order of `key`, texts by their
/// bytes.
pub(crate) fn by_key(
    engine: &Engine,
    context: &SessionContext,
    schema: &SchemaRef,
    streams: Vec<SendableRecordBatchStream>,
    key: &[&str],
) -> Result<Vec<SendableRecordBatchStream>> {
    if streams.is_empty() {
        return Ok(vec![]);
    }
    let sources = streams.into_iter().map(|stream| {
        let source = Source { schema: Arc::clone(schema), stream: Mutex::new(Some(stream)) };
        Arc::new(source) as Arc<dyn PartitionStream>
    });
    let source = StreamingTableExec::try_new(
        Arc::clone(schema),
        sources.collect(),
        None,
        Vec::<LexOrdering>::new(),
        false,
        None,
    )?;
    let columns = key.iter().map(|name| col(name, schema)).collect::<Result<Vec<_>>>()?;
    let ascending = |column: &PhysicalExprRef| PhysicalSortExpr::new_default(Arc::clone(column));
    let order = LexOrdering::new(columns.iter().map(ascending)).ok_or_else(|| {
        DataFusionError::Internal("rows cannot be gathered by no column at all".to_owned())
    })?;
    let parts = engine.threads().max(1);
    let hashed = RepartitionExec::try_new(Arc::new(source), Partitioning::Hash(columns, parts))?;
    let sorted = SortExec::new(order, Arc::new(hashed)).with_preserve_partitioning(true);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(sorted);
    let mut config = context.copied_config();
    let execution = &mut config.options_mut().execution;
    let merge_bytes = engine.memory_limit_bytes() / MERGE_SHARE / parts;
    execution.sort_spill_reservation_bytes =
        execution.sort_spill_reservation_bytes.min(merge_bytes);
    let task = TaskContext::default().with_session_config(config);
    execute_stream_partitioned(plan, Arc::new(task.with_runtime(context.runtime_env())))
}

/// A stream as a part of a plan, which runs once.
struct Source {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.unwrap_or_else(|| Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.schema))))
    }
}
