//! What the program is told: `sessionlake.toml`, the environment, `--set` and `--lake`, read into
//! one checked [`Config`].
//!
//! Each layer overrides the one before it:
//!
//! | layer | form | a relative path starts at |
//! |---|---|---|
//! | file | `[lake] url = "./lake"` | the folder of the file |
//! | environment's file | the same, in `sessionlake.prod.toml` for `--env prod` | the folder of the file |
//! | environment | `SESSIONLAKE__LAKE__URL`, `SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOUT` | the current directory |
//! | `--set` | `lake.url=...`, `session.timeout=10m` (every feed), `events:session.timeout=10m` | the current directory |
//! | `--lake` | a path or `s3://bucket/prefix` | the current directory |
//!
//! Every problem is collected before any is reported, and each names the place where it was
//! written. SQL expressions stay text here: the engine parses them against the feed's columns.

mod attribute;
mod check_fault;
mod check_file;
mod check_rule;
pub mod checks;
mod clients;
mod column_names;
mod column_type;
mod contract;
mod error;
mod feed;
mod feed_names;
mod file;
mod json_schema;
mod layers;
mod load;
mod location;
mod machine;
mod overlay;
mod problems;
mod reason;
mod rules;
mod schema;
mod secret;
mod show;
mod storage;
#[cfg(test)]
mod tests;
mod units;
mod validate;
mod written;

use std::fmt;
use std::path::PathBuf;

pub use attribute::Attribute;
pub use check_rule::RowCheck;
pub use column_type::ColumnType;
pub use contract::{Contract, OnBadRow, OnExtraColumn, OnMissingColumn};
pub use error::{ConfigError, Origin, Position, Problem};
pub(crate) use feed_names::client_and_name;
pub use json_schema::json_schema;
pub use load::{LoadOptions, load};
pub(crate) use location::redacted;
pub(crate) use reason::nearest;
pub use rules::{Difference, EventMapping, SessionRules, WindowRules};
pub use secret::{IDENTITY_FILE, Reference, References, Secret, encrypted};
pub(crate) use secret::{conceal, concealed};
pub use show::show;
pub use storage::StorageSettings;
pub(crate) use units::format_ppm;

/// The placeholder of a feed's path that stands for the arrival date, as `2026-01-08`.
pub const ARRIVAL_DATE: &str = "{arrival_date}";

/// The whole configuration, checked, with every default filled in and every path absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the configuration file, absolute; relative paths written in the file start here.
    pub base_dir: PathBuf,
    /// The values that were looked up elsewhere.
    pub references: References,
    /// `[lake]`: where the tables live.
    pub lake: LakeConfig,
    /// `[engine]`: what a run may use of the machine.
    pub engine: EngineConfig,
    /// `[retention]`: how long deliveries are kept.
    pub retention: RetentionConfig,
    /// `[[feed]]`, in the order written; at least one, with unique names.
    pub feeds: Vec<FeedConfig>,
}

/// Where the tables live.
#[derive(Clone, PartialEq, Eq)]
pub struct LakeConfig {
    /// An absolute path or `s3://bucket/prefix`, without a trailing slash. May hold credentials:
    /// print [`LakeConfig::redacted_url`] instead. Default: `lake` beside the configuration file.
    pub url: String,
    /// How data files of raw and ODS are compressed. Default: [`Compression::Snappy`].
    pub compression: Compression,
    /// `[lake.storage]`: how an object store is reached.
    pub storage: StorageSettings,
}

impl LakeConfig {
    /// The URL with any credentials replaced by `***`, fit for logs and messages.
    pub fn redacted_url(&self) -> String {
        location::redacted(&self.url)
    }
}

impl fmt::Debug for LakeConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LakeConfig")
            .field("url", &self.redacted_url())
            .field("compression", &self.compression)
            .field("storage", &self.storage)
            .finish()
    }
}

/// How the pages of data files are compressed; every Parquet reader of today knows all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Fast both ways.
    #[default]
    Snappy,
    /// As fast, and files as large.
    Lz4Raw,
    /// At its fastest level as fast, and files a seventh smaller.
    Zstd,
}

impl Compression {
    /// Every codec, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Snappy, Self::Lz4Raw, Self::Zstd];

    /// The name as written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Lz4Raw => "lz4_raw",
            Self::Zstd => "zstd",
        }
    }
}

/// What a run may use of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Memory the engine may use before it spills, in bytes. Default: half of the machine's
    /// memory (of the container's, where a control group limits it), or 4 GiB when unknown.
    pub memory_limit_bytes: u64,
    /// Absolute folder for spilled data; `None` means the operating system's temporary folder.
    pub spill_dir: Option<PathBuf>,
    /// Number of worker threads, at least 1; `None` means one per core.
    pub threads: Option<usize>,
}

/// How long deliveries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Calendar days of arrival dates kept in raw and quarantine. Default: 14.
    pub raw_days: u32,
    /// Days that a data file stays on the store after it left its table, for those who still read
    /// an older version; 0 suits a lake that one process at a time works on. Default: 7.
    pub removed_files_days: u32,
    /// Days that a commit stays in a table's log, for those who look at history. Default: 30.
    pub log_days: u32,
}

/// One source of events and the rules that turn them into sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedConfig {
    /// `feed` or `client/feed`, each of `[a-z0-9_-]+`; unique in the configuration.
    pub name: String,
    /// Absolute path or `s3://` URL holding [`ARRIVAL_DATE`] at least once. Glob characters
    /// (`*`, `?`, `[..]`) select several files; those of the configuration file's own folder are
    /// escaped as `[*]`.
    pub path: String,
    /// How the files are written; inferred from the path's ending when not given.
    pub format: SourceFormat,
    /// Columns kept as columns of the raw table; `None` means those the feed's expressions name.
    pub columns: Option<Vec<String>>,
    /// What an explicit arrival date without any file means. Default: [`OnMissing::Fail`].
    pub on_missing: OnMissing,
    /// `[feed.contract]`: what its files and rows must hold.
    pub contract: Contract,
    /// `[feed.event]`: how a delivered row becomes an event.
    pub event: EventMapping,
    /// `[feed.session]`: how events become sessions.
    pub session: SessionRules,
    /// `[feed.window]`: which dates a delivery may change.
    pub window: WindowRules,
    /// `[feed.marts]`: what the tables that follow from ODS hold.
    pub marts: MartsConfig,
    /// `[feed.checks]`: what its rows are held to.
    pub checks: checks::ChecksConfig,
}

/// What the tables that follow from ODS hold. It is no rule of ODS: where it changes, the next run
/// makes them anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MartsConfig {
    /// The attribute whose distinct values each row of `sessions/<feed>` lists.
    pub distinct: Option<String>,
}

/// How the files of a feed are written. CSV and JSON lines may be compressed with gzip (`.gz`) or
/// zstd (`.zst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// Parquet, whose values become text.
    Parquet,
}

impl SourceFormat {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Csv, Self::Jsonl, Self::Parquet];

    /// The name as written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What an explicit arrival date without any file means for a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The run fails: a file was expected every day.
    Fail,
    /// The run goes on with nothing delivered for that date.
    Ok,
}

impl OnMissing {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Fail, Self::Ok];

    /// The name as written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Ok => "ok",
        }
    }
}

impl fmt::Display for OnMissing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
