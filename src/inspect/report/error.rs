//! Why there is no report.

use std::path::PathBuf;

use datafusion::error::DataFusionError;

use crate::lake::LakeError;

/// A report that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A table cannot be loaded.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A query failed.
    #[error(
        "cannot read {relation} of {feed} for the report; where memory is short, raise \
         engine.memory_limit or ask for fewer dates with --from and --to"
    )]
    Relation {
        /// The query, as its file in `sql/report/` is called.
        relation: &'static str,
        /// The feed.
        feed: String,
        /// What the engine says.
        source: Box<DataFusionError>,
    },
    /// The file cannot be written.
    #[error("cannot write the report to {}; is the folder there, the disk full?", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}
