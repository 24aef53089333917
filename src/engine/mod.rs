//! The machinery: the DataFusion context and its memory, the functions `session_start`,
//! `repeats`, `session_id` and `attributes_key`, the feeds' expressions, and the only `include_str!` of SQL.

pub mod context;
pub mod expressions;
pub mod functions;
pub mod identifiers;
pub mod queries;
pub mod repeats;
pub mod session_start;

pub use context::{Engine, EngineError};
