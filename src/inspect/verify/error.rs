//! Why a lake cannot be verified.

use datafusion::error::DataFusionError;

use crate::lake::{LakeError, TableName};
use crate::stages::error::BuildError;

/// A verification that came to no result.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The rules, or the rows that were delivered.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A table.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Rows cannot be read, or sorted by key.
    #[error(
        "cannot read the rows of {table} by key; they are sorted in [engine] spill_dir, check the \
         free space there and [engine] memory_limit"
    )]
    Rows {
        /// The table.
        table: TableName,
        /// The engine's reason.
        source: Box<DataFusionError>,
    },
    /// ODS does not follow raw.
    #[error(
        "{table} does not follow a withdrawal yet, which was cut short; `sessionlake run` finishes \
         it, then verify again"
    )]
    UnfinishedWithdrawal {
        /// The table.
        table: TableName,
    },
    /// A thread at work ended without a result.
    #[error("reading {table} was interrupted; verify again")]
    Stopped {
        /// The table.
        table: TableName,
    },
}
