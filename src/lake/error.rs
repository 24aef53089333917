//! What can go wrong with a table, and what to do about it.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use super::TableName;
use super::commits::CommitName;
use super::probe::ProbeError;
use crate::config::ConfigError;

/// A failure to read, write or describe a table of the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A credential of the store cannot be looked up.
    #[error(transparent)]
    Credential(#[from] ConfigError),
    /// The lake's URL cannot be parsed.
    #[error("the location `{location}` is not a URL; give a folder or s3://bucket/prefix")]
    BadLocation {
        /// What was given.
        location: String,
        /// Why it does not parse.
        source: url::ParseError,
    },
    /// A local lake must be absolute once the configuration is loaded.
    #[error("the lake `{location}` is not an absolute path")]
    RelativeLocation {
        /// What was given.
        location: String,
    },
    /// The store of the lake cannot be set up.
    #[error(
        "cannot open the store at {scheme}://; check lake.url, the paths of the feeds and the store's \
         settings in [lake.storage] or the environment"
    )]
    Store {
        /// `file`, `s3`, ...
        scheme: String,
        /// The library's reason.
        source: Box<DeltaTableError>,
    },
    /// A table asks more of its writers than we know.
    #[error(
        "{table} asks for the Delta protocol ({reader}, {writer}), which this version does not \
         know; take a newer sessionlake"
    )]
    Protocol {
        /// The table.
        table: TableName,
        /// The reader version.
        reader: i32,
        /// The writer version.
        writer: i32,
    },
    /// The store failed a request before anything was written.
    #[error("the store of the lake {location} cannot be used; no table was changed")]
    Unprobed {
        /// The root of the lake.
        location: String,
        /// The store's reason.
        source: object_store::Error,
    },
    /// The store loses commits.
    #[error("the lake {location} cannot be written safely; see `sessionlake doctor`")]
    UnsafeStore {
        /// The root of the lake.
        location: String,
        /// What the store did.
        source: ProbeError,
    },
    /// The folder of a table cannot be made.
    #[error("cannot create the folder {}; check that the lake's disk is writable", path.display())]
    CreateFolder {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A table cannot be read.
    #[error("cannot read the table {table}")]
    Read {
        /// The table.
        table: TableName,
        /// The library's reason.
        source: Box<DeltaTableError>,
    },
    /// A table that nothing has created yet is asked for its past.
    #[error("the table {table} is not there yet; the first run creates it")]
    NotThere {
        /// The table.
        table: TableName,
    },
    /// A version that no commit has made.
    #[error("{table} has no version {version} yet; its newest is {newest}")]
    NoVersionYet {
        /// The table.
        table: TableName,
        /// What was asked for.
        version: u64,
        /// What there is.
        newest: u64,
    },
    /// A version before what the log still tells.
    #[error(
        "version {version} of {table} is not kept any more; versions {oldest} to {newest} are \
         ([retention] log_days says how long)"
    )]
    VersionNotKept {
        /// The table.
        table: TableName,
        /// What was asked for.
        version: u64,
        /// The oldest that can be read.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// An instant before what the log still tells.
    #[error(
        "{table} as it was at {} is not kept any more, or it was not there yet; {}",
        time(*timestamp_micros), oldest_time(*oldest)
    )]
    TimeNotKept {
        /// The table.
        table: TableName,
        /// What was asked for, microseconds since 1970.
        timestamp_micros: i64,
        /// The oldest commit that the log holds: version and microseconds since 1970.
        oldest: Option<(u64, i64)>,
    },
    /// A commit of the log is garbage, or missing.
    #[error(
        "cannot read the commit {path} of {table}; put it back from a copy of the store, {way_out}"
    )]
    DamagedCommit {
        /// The table.
        table: TableName,
        /// Path within the table.
        path: String,
        /// What to do without a copy.
        way_out: &'static str,
        /// What failed.
        source: Box<LakeError>,
    },
    /// The newest checkpoint of the log is garbage.
    #[error("cannot read the checkpoint {path} of {table}; {way_out}")]
    DamagedCheckpoint {
        /// The table.
        table: TableName,
        /// Path within the table.
        path: String,
        /// What to do.
        way_out: &'static str,
        /// What failed.
        source: Box<LakeError>,
    },
    /// A data file that the log names is missing or has another size.
    #[error(
        "the data file {path} of {table} is {}; {}", found_bytes(*found), file_way_out(table)
    )]
    LostFile {
        /// The table.
        table: TableName,
        /// Path within the table.
        path: String,
        /// Bytes on the store; `None` when it is not there.
        found: Option<u64>,
    },
    /// A data file cannot be read.
    #[error(
        "cannot read the data file {path} of {table}; is the file still there and whole? If it is \
         not, {}",
        file_way_out(table)
    )]
    File {
        /// The table.
        table: TableName,
        /// Path within the table.
        path: String,
        /// The reader's reason.
        source: deltalake::parquet::errors::ParquetError,
    },
    /// A data file cannot be written.
    #[error("cannot write the data file {path} of {table}; is there space left, may we write?")]
    WriteFile {
        /// The table.
        table: TableName,
        /// Path within the table.
        path: String,
        /// The writer's reason.
        source: deltalake::parquet::errors::ParquetError,
    },
    /// A table cannot be written.
    #[error("cannot write the table {table}; run again, what did land is recognised by its id")]
    Write {
        /// The table.
        table: TableName,
        /// The library's reason.
        source: Box<DeltaTableError>,
    },
    /// An encoding thread ended without a result.
    #[error("writing the table {table} was interrupted; run again, and report it should it repeat")]
    Interrupted {
        /// The table.
        table: TableName,
    },
    /// Another commit came first and the two do not commute.
    #[error(
        "another commit to {table} came first ({}), which this one does not go with ({mine}); \
         run again",
        named(theirs)
    )]
    Conflict {
        /// The table.
        table: TableName,
        /// This commit, at the version it was planned on.
        mine: CommitName,
        /// Those that landed since.
        theirs: Vec<CommitName>,
        /// The library's reason.
        source: Box<DeltaTableError>,
    },
    /// A table contract cannot be expressed as a Delta schema.
    #[error("the columns of {table} cannot be stored in a Delta table")]
    Contract {
        /// The table.
        table: TableName,
        /// The library's reason.
        source: arrow::error::ArrowError,
    },
    /// A table was removed while it was created.
    #[error("the table {table} vanished while it was created; is somebody removing the lake?")]
    Vanished {
        /// The table.
        table: TableName,
    },
    /// The Delta log could not be replayed for its transaction ids.
    #[error("cannot read the transaction ids in the log of {table}")]
    Ids {
        /// The table.
        table: TableName,
        /// The kernel's reason.
        source: Box<delta_kernel::Error>,
    },
    /// A checkpoint of the log could not be written.
    #[error("cannot write a checkpoint of {table}; its commits stand, the next run tries again")]
    Checkpoint {
        /// The table.
        table: TableName,
        /// The kernel's reason.
        source: Box<delta_kernel::Error>,
    },
    /// Files that left a table, or its old log, could not be removed from the store.
    #[error(
        "cannot remove old files of {table}; its rows stand, the next run tries again; \
         is the store writable?"
    )]
    Clean {
        /// The table.
        table: TableName,
        /// The store's reason.
        source: object_store::Error,
    },
    /// What a killed writer left on a local disk cannot be listed or removed.
    #[error(
        "cannot tidy up {} of {table}; its rows stand, the next run tries again; may we write \
         there?", path.display()
    )]
    Unfinished {
        /// The table.
        table: TableName,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The rules recorded in a table cannot be read back.
    #[error("the rules recorded in {table} cannot be read; was the property `{property}` edited?")]
    Rules {
        /// The table.
        table: TableName,
        /// The table property.
        property: &'static str,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A partition value is not the date it should be.
    #[error("{table} has a file in the partition {column}={value}, which is not a date")]
    Partition {
        /// The table.
        table: TableName,
        /// The partition column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// Arrow data does not fit the table.
    #[error("rows do not fit the columns of {table}")]
    Rows {
        /// The table.
        table: TableName,
        /// Arrow's reason.
        source: arrow::error::ArrowError,
    },
}

fn found_bytes(found: Option<u64>) -> String {
    match found {
        None => "missing".to_owned(),
        Some(bytes) => format!("damaged, it has {bytes} bytes and not those that the log says"),
    }
}

/// What to do about a data file that is gone or damaged.
pub(crate) fn file_way_out(table: &TableName) -> &'static str {
    match table {
        TableName::Ods(_) => {
            "`sessionlake reprocess --from` its event date writes it anew from raw; or put the \
             file back from a copy of the store; or restore the table to a version before it and \
             `sessionlake build --force` what came since"
        }
        TableName::Sessions(_) => {
            "remove the folder of the table; the next run makes it anew from ods"
        }
        TableName::Raw(_) | TableName::Quarantine(_) => {
            "put the file back from a copy of the store, or restore the table to a version \
             before it and deliver its arrival date again; ods needs it for `build --force` and \
             `reprocess` only"
        }
        TableName::Files => {
            "put the file back from a copy of the store, or remove the folder files, a report alone"
        }
        TableName::Runs => "put the file back from a copy of the store, or remove the folder runs",
    }
}

impl LakeError {
    pub(crate) fn read(table: &TableName, source: DeltaTableError) -> Self {
        Self::Read { table: table.clone(), source: Box::new(source) }
    }

    pub(crate) fn write(table: &TableName, source: DeltaTableError) -> Self {
        Self::Write { table: table.clone(), source: Box::new(source) }
    }

    /// Sorts a failed commit: a conflict can be planned again, anything else cannot.
    pub(crate) fn commit(
        table: &TableName,
        mine: CommitName,
        theirs: Vec<CommitName>,
        source: DeltaTableError,
    ) -> Self {
        if is_conflict(&source) {
            Self::Conflict { table: table.clone(), mine, theirs, source: Box::new(source) }
        } else {
            Self::write(table, source)
        }
    }

    /// Whether planning the stage again on the newest version may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

fn time(micros: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_micros(micros);
    time.map_or_else(
        || micros.to_string(),
        |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

fn oldest_time(oldest: Option<(u64, i64)>) -> String {
    match oldest {
        Some((version, micros)) => {
            format!("its log begins with version {version} at {}", time(micros))
        }
        None => "its log tells no times".to_owned(),
    }
}

/// The newest of some commits, and how many there are.
fn named(commits: &[CommitName]) -> String {
    match commits {
        [] => "which has left the log".to_owned(),
        [only] => only.to_string(),
        [.., last] => format!("{} commits, the last {last}", commits.len()),
    }
}

fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::Transaction {
            source: TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::VersionAlreadyExists(_)
        } | DeltaTableError::VersionAlreadyExists(_)
    )
}
