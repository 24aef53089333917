//! What `sessionlake.toml` may hold, exactly as written: nothing checked, no default filled in.
//!
//! Scalars stand before sections in each struct, because they must in TOML.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) lake: LakeFile,
    pub(crate) engine: EngineFile,
    pub(crate) retention: RetentionFile,
    pub(crate) feed: Vec<FeedFile>,
}

/// `[lake]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LakeFile {
    pub(crate) url: Option<String>,
    pub(crate) compression: Option<String>,
    #[serde(skip_serializing_if = "StorageFile::is_empty")]
    pub(crate) storage: StorageFile,
}

/// `[lake.storage]`
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StorageFile {
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) allow_http: Option<bool>,
    pub(crate) path_style: Option<bool>,
    pub(crate) retries: Option<i64>,
}

impl StorageFile {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `[engine]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineFile {
    pub(crate) memory_limit: Option<String>,
    pub(crate) spill_dir: Option<String>,
    pub(crate) threads: Option<i64>,
}

/// `[retention]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionFile {
    pub(crate) raw_days: Option<i64>,
    pub(crate) removed_files_days: Option<i64>,
    pub(crate) log_days: Option<i64>,
}

/// `[[feed]]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FeedFile {
    pub(crate) name: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) on_missing: Option<String>,
    #[serde(skip_serializing_if = "ContractFile::is_empty")]
    pub(crate) contract: ContractFile,
    pub(crate) event: EventFile,
    pub(crate) session: SessionFile,
    pub(crate) window: WindowFile,
    pub(crate) marts: MartsFile,
    #[serde(skip_serializing_if = "ChecksFile::is_empty")]
    pub(crate) checks: ChecksFile,
}

/// `[feed.contract]`
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContractFile {
    pub(crate) mandatory: Option<Vec<String>>,
    pub(crate) on_missing_column: Option<String>,
    pub(crate) on_extra_column: Option<String>,
    pub(crate) not_blank: Option<Vec<String>>,
    pub(crate) on_bad_row: Option<String>,
    pub(crate) max_bad_rows: Option<i64>,
    pub(crate) max_bad_share: Option<String>,
    pub(crate) reject_to: Option<String>,
    pub(crate) reject_move: Option<bool>,
    pub(crate) types: Option<BTreeMap<String, Argument>>,
    pub(crate) allowed: Option<BTreeMap<String, Argument>>,
}

impl ContractFile {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `[feed.event]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventFile {
    pub(crate) user_id: Option<String>,
    pub(crate) product_code: Option<String>,
    pub(crate) event_id: Option<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) timestamp_format: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) attributes: Option<Vec<String>>,
}

/// `[feed.session]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionFile {
    pub(crate) user_action: Option<String>,
    pub(crate) opens_on: Option<String>,
    pub(crate) closes_on: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) max_duration: Option<String>,
}

/// `[feed.window]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WindowFile {
    pub(crate) update_depth_days: Option<i64>,
    pub(crate) lookback_days: Option<i64>,
}

/// `[feed.marts]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MartsFile {
    pub(crate) distinct: Option<String>,
}

/// `[feed.checks]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ChecksFile {
    pub(crate) folder: Option<String>,
    pub(crate) shipped: Option<Vec<String>>,
    pub(crate) skip: Option<Vec<String>>,
    pub(crate) r#use: Option<Vec<CheckUseFile>>,
}

impl ChecksFile {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `[[feed.checks.use]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CheckUseFile {
    pub(crate) check: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) on: Option<String>,
    pub(crate) with: Option<BTreeMap<String, Argument>>,
}

/// A value of `with`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Argument {
    Text(String),
    Number(i64),
    Texts(Vec<String>),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "the text `{text}`"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Texts(_) => f.write_str("a list"),
        }
    }
}
