//! One memory pool, one spill folder and our functions, for every query of a run.

use std::path::PathBuf;
use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::functions::session_id_udf;
use super::runs::SpillTarget;
use super::session_start::session_start_udwf;
use crate::config::EngineConfig;

/// A query that cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The runtime (memory pool, spill folder) cannot be set up.
    #[error("cannot set up the query engine; check [engine] memory_limit and spill_dir")]
    Setup(#[source] Box<DataFusionError>),
}

/// What part of the memory limit the pool gives away: to queries, and to sorted runs before they
/// go to disk. The row groups that are written take a quarter of the limit, and what is decoded
/// at a time the rest.
const POOL_SHARE: usize = 2;

/// The query engine of one process.
#[derive(Debug, Clone)]
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    threads: usize,
    memory_limit_bytes: usize,
    spill_folder: PathBuf,
}

impl Engine {
    /// Sets up the memory pool and the spill folder.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let limit = usize::try_from(config.memory_limit_bytes).unwrap_or(usize::MAX);
        let spill = match &config.spill_dir {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limit / POOL_SHARE)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(spill))
            .build_arc()
            .map_err(|source| EngineError::Setup(Box::new(source)))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            runtime,
            threads: config.threads.unwrap_or(cores),
            memory_limit_bytes: limit,
            spill_folder: config.spill_dir.clone().unwrap_or_else(std::env::temp_dir),
        })
    }

    /// The engine of one of several feeds at work: its part of the threads and of the limit. The
    /// pool stays the one of all, as it takes from whoever asks for more than is there.
    #[must_use]
    pub fn share(&self, feeds: usize) -> Self {
        Self {
            threads: (self.threads / feeds.max(1)).max(1),
            memory_limit_bytes: self.memory_limit_bytes / feeds.max(1),
            ..self.clone()
        }
    }

    /// Threads that work side by side.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// What the whole process, or a share of it, is to stay near, bytes.
    pub fn memory_limit_bytes(&self) -> usize {
        self.memory_limit_bytes
    }

    /// Where sorted runs go.
    pub fn spill_target(&self) -> SpillTarget {
        SpillTarget {
            pool: Arc::clone(&self.runtime.memory_pool),
            folder: self.spill_folder.clone(),
        }
    }

    /// A context in which timestamps without a zone are in `zone` and names stand as written
    /// (a column `CustomerID` needs no quotes).
    pub fn context(&self, zone: Tz) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.threads)
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.time_zone = Some(zone.name().to_owned());
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_udwf(session_start_udwf());
        context.register_udf(session_id_udf());
        context
    }
}
