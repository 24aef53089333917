//! Why a delivered row does not count.

use std::fmt;
use std::sync::Arc;

/// Reasons of the build; those of the sources are `sources::RejectReason`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// One of the three ids is null or empty.
    MissingKey,
    /// There is no timestamp.
    MissingTimestamp,
    /// The timestamp is not in the declared format.
    BadTimestamp,
    /// The local time was skipped when the zone's clocks went forward.
    NonexistentLocalTime,
    /// An expression of the feed failed on the row.
    ExpressionFailed,
    /// The event is older than the update depth allows.
    BeyondUpdateDepth,
    /// The event is later than the day after its arrival.
    InTheFuture,
    /// A check of the feed, by its reason `check_<name>`.
    Check(Arc<str>),
}

impl Reason {
    /// The name in the table `quarantine/<feed>`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::MissingKey => "missing_key",
            Self::MissingTimestamp => "missing_timestamp",
            Self::BadTimestamp => "bad_timestamp",
            Self::NonexistentLocalTime => "nonexistent_local_time",
            Self::ExpressionFailed => "expression_failed",
            Self::BeyondUpdateDepth => "beyond_update_depth",
            Self::InTheFuture => "in_the_future",
            Self::Check(reason) => reason,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rejected rows of one batch; the first reason found for a row stays.
#[derive(Debug)]
pub struct Rejects {
    by_row: Vec<Option<(Reason, String)>>,
}

impl Rejects {
    /// None rejected yet, of `rows`.
    pub fn new(rows: usize) -> Self {
        Self { by_row: vec![None; rows] }
    }

    /// Rejects a row, unless it is already.
    pub fn reject(&mut self, row: usize, reason: Reason, detail: String) {
        if let Some(slot @ None) = self.by_row.get_mut(row) {
            *slot = Some((reason, detail));
        }
    }

    /// Rejects every row for which `is_bad`.
    pub fn reject_where(&mut self, reason: &Reason, detail: &str, is_bad: impl Fn(usize) -> bool) {
        self.reject_where_with(reason, |row| is_bad(row).then(|| detail.to_owned()));
    }

    /// Rejects every row for which `bad` gives a detail.
    pub fn reject_where_with(&mut self, reason: &Reason, bad: impl Fn(usize) -> Option<String>) {
        for (row, slot) in self.by_row.iter_mut().enumerate() {
            if slot.is_none() {
                *slot = bad(row).map(|detail| (reason.clone(), detail));
            }
        }
    }

    /// Whether a row is rejected.
    pub fn is_rejected(&self, row: usize) -> bool {
        self.by_row.get(row).is_some_and(Option::is_some)
    }

    /// Whether every row is good.
    pub fn is_empty(&self) -> bool {
        self.by_row.iter().all(Option::is_none)
    }

    /// Rejected rows with reason and detail, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Reason, &str)> {
        self.by_row.iter().enumerate().filter_map(|(row, slot)| {
            slot.as_ref().map(|(reason, detail)| (row, reason, detail.as_str()))
        })
    }
}
