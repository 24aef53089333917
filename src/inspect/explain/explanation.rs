//! What `explain` answers, the shape of its JSON.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::derivation::{Break, Effect};

/// A user's events explained. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The feed.
    pub feed: String,
    /// The user.
    pub user_id: String,
    /// Where the user has events, by product code.
    pub products: Vec<Product>,
    /// The events; none where there are several products and none was chosen.
    pub timeline: Option<Timeline>,
    /// Rows in quarantine whose text holds the user's id, by stage and reason.
    pub quarantine: Vec<Refused>,
}

/// A product in which the user has events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Product {
    /// Its code.
    pub product_code: String,
    /// How many events.
    pub events: usize,
    /// In how many sessions.
    pub sessions: usize,
    /// The first event.
    pub first: DateTime<Utc>,
    /// The last one.
    pub last: DateTime<Utc>,
}

/// Rows in quarantine of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Who refused them: `ingest` or `build`.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub entries: i64,
}

/// Events of one key in time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The product.
    pub product_code: String,
    /// The zone of event dates.
    pub zone: String,
    /// The session rules of the events shown, by their first event date.
    pub rules: Vec<Rules>,
    /// Events without others between them, in time.
    pub stretches: Vec<Stretch>,
    /// Events of the key behind the last stretch.
    pub events_after: usize,
    /// Events shown whose session in ODS is not the one that the rules give.
    pub disagreements: usize,
    /// How far back changes of the events shown are known.
    pub past: Past,
}

/// Session rules that hold from an event date on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// The first event date; none for the first entry.
    pub from: Option<NaiveDate>,
    /// A longer silence is a break, microseconds.
    pub timeout_micros: i64,
    /// The longest session, microseconds.
    pub max_duration_micros: Option<i64>,
    /// Which events are the user's own doing.
    pub user_action: String,
    /// Which events open a session.
    pub opens_on: String,
    /// Which events end theirs.
    pub closes_on: String,
}

/// Consecutive events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stretch {
    /// Events of the key between the stretch before, or the key's first event, and this one.
    pub events_before: usize,
    /// The events.
    pub events: Vec<ExplainedEvent>,
}

/// An event, its session and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedEvent {
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// What happened.
    pub event_id: String,
    /// Whether it is the user's own doing.
    pub is_user_action: bool,
    /// Whether it ends its session.
    pub closes: bool,
    /// Whole milliseconds since the event before it: `time_diff_ms` of ODS, or counted where that is
    /// beyond the lookback; null for the first event of a key, or of a set of rules.
    pub gap_ms: Option<i64>,
    /// Why no session goes on from the event before, if none does.
    #[serde(rename = "break")]
    pub is_break: Option<Break>,
    /// What it does to its session.
    pub effect: Effect,
    /// Both in words.
    pub rule: String,
    /// Its session as ODS holds it; null for an empty one.
    pub session: Option<SessionOfEvent>,
    /// The start that the rules give, where ODS holds another: a difference for `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_start: Option<ExpectedStart>,
    /// Its date in the feed's zone.
    pub pdate: NaiveDate,
    /// The arrival date that brought it.
    pub arrival_date: NaiveDate,
    /// Days from the event date to the arrival date.
    pub late_days: i64,
    /// What runs did to it, the newest first; the last one brought it, where that is still known.
    pub changes: Vec<Change>,
}

/// A session that an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionOfEvent {
    /// Its number among the sessions shown, from 1.
    pub number: usize,
    /// Its id.
    pub session_id: String,
    /// Its start.
    pub session_start: DateTime<Utc>,
}

/// What the rules give where ODS holds something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExpectedStart {
    /// The start of the session; null for an empty one.
    pub session_start: Option<DateTime<Utc>>,
}

/// A version of ODS that changed an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The version.
    pub version: u64,
    /// The stage of the run; the operation of another program.
    pub stage: String,
    /// The run, if it was one of ours.
    pub run_id: Option<String>,
    /// When it was committed.
    pub time: Option<DateTime<Utc>>,
    /// What the event was in the version before; null where it was not there.
    pub before: Option<Before>,
}

/// An event in an earlier version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Before {
    /// The id of its session; null for an empty one.
    pub session_id: Option<String>,
    /// The start of its session.
    pub session_start: Option<DateTime<Utc>>,
    /// The arrival date that had brought it.
    pub arrival_date: NaiveDate,
}

/// How far back the versions of ODS could be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Past {
    /// The version that is explained.
    pub version: u64,
    /// Whether every event shown was followed to the run that brought it.
    pub is_complete: bool,
    /// Why not, where it was not.
    pub gone: Option<Gone>,
}

/// Why older versions are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gone {
    /// The commits up to a version have left the log (`retention.log_days`).
    Log {
        /// The newest version that is gone.
        through: u64,
    },
    /// The data files of the versions before one have left the store
    /// (`retention.removed_files_days`).
    Files {
        /// The oldest version of which the rows are there.
        before: u64,
    },
}
