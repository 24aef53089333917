//! The only reader of wall time: what a run records of itself, never what it computes.

use chrono::{DateTime, Utc};

/// The present instant.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads wall time")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
