//! What cannot be explained, and what to do instead.

use crate::lake::{LakeError, TableName};
use crate::stages::error::BuildError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Nothing was ever built.
    #[error("{table} does not exist yet; `sessionlake run` builds it")]
    NothingBuilt {
        /// The table.
        table: TableName,
    },
    /// A user without an event.
    #[error(
        "{table} has no event of the user `{user}`; upper and lower case count. Is the event in \
         quarantine (`sessionlake quarantine list`), or its arrival date not built yet \
         (`sessionlake status`)?"
    )]
    UnknownUser {
        /// The table.
        table: TableName,
        /// The user.
        user: String,
    },
    /// A product without an event of the user.
    #[error("{table} has no event of the user `{user}` in the product `{product}`; it has {known}")]
    UnknownProduct {
        /// The table.
        table: TableName,
        /// The user.
        user: String,
        /// The product.
        product: String,
        /// Those with events of the user.
        known: String,
    },
    /// A session without an event.
    #[error(
        "{table} has no session `{id}`: a late event may have joined it with another one, or split \
         it; look at the events of that time with --at {start}"
    )]
    UnknownSession {
        /// The table.
        table: TableName,
        /// The id.
        id: String,
        /// Its start.
        start: String,
    },
    /// An id that the user has no event of.
    #[error(
        "{table} has no event `{event}` of the user `{user}`; is it in quarantine \
         (`sessionlake quarantine list`), or its arrival date not built yet (`sessionlake status`)? \
         Without --event you see the events that there are"
    )]
    UnknownEvent {
        /// The table.
        table: TableName,
        /// The user.
        user: String,
        /// The event.
        event: String,
    },
    /// `--session` with something else.
    #[error(
        "`{id}` is no session id; one is user#product#start, as in u1#web#2026-01-05T10:00:00Z"
    )]
    NotASessionId {
        /// What was given.
        id: String,
    },
    /// `--session` of another key than `--user` and `--product` say.
    #[error("the session `{id}` is one of the user `{user}` in the product `{product}`")]
    OtherKey {
        /// The id.
        id: String,
        /// Whose session it is.
        user: String,
        /// Where.
        product: String,
    },
    /// Several feeds.
    #[error("a key is explained in one feed; say in which with --feed ({known})")]
    WhichFeed {
        /// What there is.
        known: String,
    },
    /// The rules recorded cannot be applied to the events.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A table cannot be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl ExplainError {
    /// Whether the command line is wrong.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::NotASessionId { .. } | Self::OtherKey { .. } | Self::WhichFeed { .. })
    }
}
