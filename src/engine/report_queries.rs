//! The queries of `sql/report/`, each of one relation; the header of each says what it reads and
//! returns.

/// Events by arrival date and event date.
pub const ARRIVALS: &str = include_str!("../../sql/report/arrivals.sql");

/// Sessions by event date and length.
pub const SESSION_LENGTHS: &str = include_str!("../../sql/report/session_lengths.sql");

/// Gaps by length and by where they lie.
pub const GAPS: &str = include_str!("../../sql/report/gaps.sql");

/// Keys with their activity.
pub const KEYS: &str = include_str!("../../sql/report/keys.sql");

/// Keys by number of events.
pub const KEY_SIZES: &str = include_str!("../../sql/report/key_sizes.sql");

/// The newest stages of runs.
pub const RUNS: &str = include_str!("../../sql/report/runs.sql");

/// The events of chosen keys.
pub const EVENTS_OF_KEYS: &str = include_str!("../../sql/report/events_of_keys.sql");
