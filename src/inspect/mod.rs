//! The reading side: what people ask of a lake and of what is around it.

pub mod catalog;
pub mod doctor;
pub mod files;
pub mod plan;
pub mod quarantine;
pub mod report;
pub mod sql;
pub mod verify;

use crate::config::Config;
use crate::engine::Engine;
use crate::error::JobError;
use crate::lake::Lake;

/// The lake, and an engine whose contexts reach it.
fn open(config: &Config) -> Result<(Lake, Engine), JobError> {
    let lake = Lake::of(&config.lake)?;
    let engine = Engine::new(&config.engine)?;
    lake.serve(&engine.context(chrono_tz::Tz::UTC));
    Ok((lake, engine))
}
