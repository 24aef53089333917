//! What can be wrong with a check beyond what its text shows.

use datafusion::error::DataFusionError;

/// A check that cannot be planned, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It names something that is not there, or its types do not fit.
    #[error(
        "feed {feed}: the check {check} cannot be used ({file}, line {line}); mend its query \
         (names stand as written, functions in lower case; raw has as columns what the feed's \
         `columns` or expressions name)"
    )]
    Unplannable {
        /// The feed.
        feed: String,
        /// The check.
        check: String,
        /// Its file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// DataFusion's reason.
        source: Box<DataFusionError>,
    },
    /// There is no such relation.
    #[error(
        "feed {feed}: the check {check} reads `{relation}`, which does not exist ({file}, line \
         {line}); there are {known}"
    )]
    UnknownRelation {
        /// The feed.
        feed: String,
        /// The check.
        check: String,
        /// What it reads.
        relation: String,
        /// Its file.
        file: String,
        /// The line where its query begins.
        line: usize,
        /// What it may read.
        known: String,
    },
    /// The same rows would be judged otherwise the next time.
    #[error(
        "feed {feed}: the check {check} calls `{function}`, whose value changes from run to run \
         ({file}, line {line}); compare with a column instead"
    )]
    Unstable {
        /// The feed.
        feed: String,
        /// The check.
        check: String,
        /// The function.
        function: String,
        /// Its file.
        file: String,
        /// The line where its query begins.
        line: usize,
    },
    /// It does more than read.
    #[error(
        "feed {feed}: the check {check} does more than read ({file}, line {line}); write one query"
    )]
    Writes {
        /// The feed.
        feed: String,
        /// The check.
        check: String,
        /// Its file.
        file: String,
        /// The line where its query begins.
        line: usize,
    },
    /// It failed on the rows at hand.
    #[error(
        "feed {feed}: the check {check} failed on the rows it reads ({file}, line {line}); write \
         it so that it holds for every row, such as with try_cast"
    )]
    Failed {
        /// The feed.
        feed: String,
        /// The check.
        check: String,
        /// Its file.
        file: String,
        /// The line where its query begins.
        line: usize,
        /// DataFusion's reason.
        source: Box<DataFusionError>,
    },
}

impl CheckError {
    /// Whether the check itself must be mended, whatever the rows.
    pub fn is_of_configuration(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}
