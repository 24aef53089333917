//! The queries of `sql/`, each of one relation.

/// The newest fact about each file: see its header for what it reads and returns.
pub const NEWEST_FILES: &str = include_str!("../../sql/inspect/files.sql");
