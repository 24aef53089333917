//! What somebody should look at: the conditions under which `status` ends with exit code 1.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::FeedStatus;

/// A run that found files so many hours ago and has not ended is taken for dead.
const DEAD_AFTER_HOURS: i64 = 6;

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The last run of the feed that did something failed, or was interrupted.
    LastRunFailed,
    /// Arrival dates are delivered and not built.
    Pending,
    /// A delivery was withdrawn, and ODS still holds what came of it.
    WithdrawalPending,
    /// `sessions/<feed>` does not show what ODS holds.
    SessionsBehind,
    /// Files were rejected, and no good one has come under the same name.
    RejectedFiles,
    /// A run found files more than six hours ago and did not come to its end.
    UnfinishedRun,
    /// The source has files that no run has seen; asked for with `--sources` alone.
    UnseenFiles,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastRunFailed => "last_run_failed",
            Self::Pending => "pending",
            Self::WithdrawalPending => "withdrawal_pending",
            Self::SessionsBehind => "sessions_behind",
            Self::RejectedFiles => "rejected_files",
            Self::UnfinishedRun => "unfinished_run",
            Self::UnseenFiles => "unseen_files",
        })
    }
}

/// A condition that holds for a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The feed.
    pub feed: String,
    /// The condition.
    pub condition: Condition,
    /// What was found, and what to do about it.
    pub detail: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.feed, self.condition, self.detail)
    }
}

/// Every condition that holds, feed by feed.
pub(super) fn reasons(feeds: &[FeedStatus], now: DateTime<Utc>) -> Vec<Reason> {
    feeds.iter().flat_map(|feed| of_feed(feed, now)).collect()
}

fn of_feed(feed: &FeedStatus, now: DateTime<Utc>) -> Vec<Reason> {
    let dates = |dates: &mut dyn Iterator<Item = String>| dates.collect::<Vec<_>>().join(", ");
    let mut found = Vec::new();
    if let Some(run) = &feed.last_run
        && ["failed", "interrupted"].contains(&run.outcome.as_str())
    {
        let detail = format!(
            "run {} {}; see `sessionlake history --failed`",
            run.run_id,
            verb(&run.outcome)
        );
        found.push((Condition::LastRunFailed, detail));
    }
    if !feed.pending.is_empty() {
        let dates = dates(&mut feed.pending.iter().map(|date| date.arrival_date.to_string()));
        found.push((Condition::Pending, format!("{dates}; `sessionlake build` builds them")));
    }
    if let Some(from) = feed.withdrawn_from {
        let detail = format!("event dates from {from} on; `sessionlake build` recomputes them");
        found.push((Condition::WithdrawalPending, detail));
    }
    if let Some(behind) = feed.sessions_behind {
        let detail =
            format!("ODS is at version {}; the next run brings them up to it", behind.version);
        found.push((Condition::SessionsBehind, detail));
    }
    if !feed.rejected_files.is_empty() {
        let files = feed.rejected_files.iter();
        let files = dates(&mut files.map(|file| format!("{} of {}", file.file, file.arrival_date)));
        let detail = format!("{files}; see `sessionlake files --status rejected`");
        found.push((Condition::RejectedFiles, detail));
    }
    let dead = feed
        .unfinished_files
        .iter()
        .filter(|file| now - file.since > TimeDelta::hours(DEAD_AFTER_HOURS));
    let dead = dates(&mut dead.map(|file| format!("{} of {}", file.file, file.arrival_date)));
    if !dead.is_empty() {
        found.push((Condition::UnfinishedRun, format!("{dead}; the next run finishes them")));
    }
    let unseen = feed.unseen_files.iter().flatten();
    let unseen = dates(&mut unseen.map(|files| files.arrival_date.to_string()));
    if !unseen.is_empty() {
        let detail = format!("arrival dates {unseen}; `sessionlake run` takes them in");
        found.push((Condition::UnseenFiles, detail));
    }
    let reason = |(condition, detail)| Reason { feed: feed.feed.clone(), condition, detail };
    found.into_iter().map(reason).collect()
}

fn verb(outcome: &str) -> &'static str {
    if outcome == "failed" { "failed" } else { "was interrupted" }
}
