//! The machinery: the DataFusion context and its memory, rows in key order and the runs they are
//! sorted in, rows gathered by key, the functions `session_start` and `session_id`, the feeds' expressions, and the
//! queries of `sql/`.

pub(crate) mod by_key;
pub mod context;
pub mod expressions;
pub mod functions;
pub mod identifiers;
pub mod keyed;
pub mod queries;
pub mod questions;
pub mod report_queries;
pub mod runs;
pub mod session_id;
pub mod session_start;
pub mod shipped_checks;

pub use context::{Engine, EngineError};
