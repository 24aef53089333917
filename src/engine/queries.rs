//! The queries of `sql/`, each of one relation.

/// The newest fact about each file: see its header for what it reads and returns.
pub const NEWEST_FILES: &str = include_str!("../../sql/inspect/files.sql");

/// Rows of quarantine by arrival date, stage and reason.
pub const QUARANTINE_COUNTS: &str = include_str!("../../sql/inspect/quarantine_counts.sql");

/// Rows of quarantine.
pub const QUARANTINE_ENTRIES: &str = include_str!("../../sql/inspect/quarantine_entries.sql");

/// Sessions with their number within the key.
pub const NUMBERED_SESSIONS: &str = include_str!("../../sql/marts/sessions.sql");

/// The event dates of a user, by product.
pub const ACTIVE_DATES: &str = include_str!("../../sql/inspect/active_dates.sql");

/// Rows of quarantine that hold a user's id, by stage and reason.
pub const QUARANTINE_OF_USER: &str = include_str!("../../sql/inspect/quarantine_of_user.sql");

/// Events and late ones by arrival date.
pub const LATE_EVENTS: &str = include_str!("../../sql/inspect/late_events.sql");
