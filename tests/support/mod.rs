//! A small language for batches, rules and expected rows.

pub mod buckets;
pub mod changes;
pub mod chromium;
pub mod corruption;
pub mod model;
pub mod program;
pub mod s3;
pub mod sessions;
pub mod workspace;

/// A feed of CSV files, several for each arrival date, with one attribute.
pub const CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}/*.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["note"]
[feed.session]
user_action = "event_id = 'click'"
timeout = "5m"
"#;

/// Tells on standard error, past the capture of the test runner, what was tried or skipped.
pub fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub const DAY: i64 = 24 * HOUR;
