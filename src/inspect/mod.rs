//! The reading side: what people ask of a lake and of what is around it.

pub mod catalog;
mod columns;
pub mod doctor;
pub mod explain;
pub mod files;
pub mod plan;
pub mod quarantine;
pub mod report;
pub mod runs;
pub mod sql;
pub mod status;
pub mod verify;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionContext};

use crate::config::Config;
use crate::engine::Engine;
use crate::error::JobError;
use crate::lake::{Lake, LakeError, TableName};

/// The lake, and an engine whose contexts reach it.
fn open(config: &Config) -> Result<(Lake, Engine), JobError> {
    let lake = Lake::of(&config.lake)?;
    let engine = Engine::new(&config.engine)?;
    lake.serve(&engine.context(chrono_tz::Tz::UTC));
    Ok((lake, engine))
}

/// The rows of a table; none where it does not exist.
async fn rows_of(
    lake: &Lake,
    context: &SessionContext,
    name: &TableName,
) -> Result<Option<DataFrame>, LakeError> {
    let Some(table) = lake.load(name).await? else {
        return Ok(None);
    };
    let failed = |source: DataFusionError| LakeError::read(name, source.into());
    let provider = table.table_provider().with_session(Arc::new(context.state())).await;
    context.read_table(provider.map_err(failed)?).map(Some).map_err(failed)
}
