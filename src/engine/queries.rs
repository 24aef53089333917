//! The queries of `sql/`, each of one relation.

/// The newest fact about each file: see its header for what it reads and returns.
pub const NEWEST_FILES: &str = include_str!("../../sql/inspect/files.sql");

/// Rows of quarantine by arrival date, stage and reason.
pub const QUARANTINE_COUNTS: &str = include_str!("../../sql/inspect/quarantine_counts.sql");

/// Rows of quarantine.
pub const QUARANTINE_ENTRIES: &str = include_str!("../../sql/inspect/quarantine_entries.sql");

/// Sessions with their number within the key.
pub const NUMBERED_SESSIONS: &str = include_str!("../../sql/marts/sessions.sql");
