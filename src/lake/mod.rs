//! Where events live: one Delta table per layer and feed under one root.
//!
//! | table | contract | partition |
//! |---|---|---|
//! | `raw/<feed>` | [`contracts::raw`] | `_updated_at` |
//! | `quarantine/<feed>` | [`contracts::quarantine`] | `_updated_at` |
//! | `ods/<feed>` | [`contracts::ods`] | `pdate` |
//! | `runs` | [`contracts::runs`] | none |
//!
//! Nothing but the Delta log decides what is in a table: ids of deliveries and builds are Delta
//! `txn` actions ([`ids`]), the rules are table properties of `ods/<feed>` ([`rules`]), and every
//! change is one commit ([`commits`]).

pub mod commits;
pub mod contracts;
mod encoding;
pub mod error;
pub mod files;
pub mod ids;
pub mod row_groups;
pub mod rules;
pub mod storage;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder};
use url::Url;

pub use error::LakeError;

/// One table of the lake, named as people say it: `ods/events`, `acme/ods/events` for the feed
/// `acme/events` of a client, or `runs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TableName {
    /// Delivered rows as delivered.
    Raw(String),
    /// Rejected rows and records.
    Quarantine(String),
    /// Distinct events with their sessions.
    Ods(String),
    /// One row per stage of a run.
    Runs,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layer, feed) = match self {
            Self::Raw(feed) => ("raw", feed),
            Self::Quarantine(feed) => ("quarantine", feed),
            Self::Ods(feed) => ("ods", feed),
            Self::Runs => return f.write_str("runs"),
        };
        match feed.split_once('/') {
            Some((client, feed)) => write!(f, "{client}/{layer}/{feed}"),
            None => write!(f, "{layer}/{feed}"),
        }
    }
}

/// The root under which every table lives.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Url,
}

impl Lake {
    /// Opens the lake at `url`: an absolute local path, or `s3://bucket/prefix`. A local folder
    /// is created with the first table, not here.
    pub fn open(url: &str) -> Result<Self, LakeError> {
        let root = if url.contains("://") {
            deltalake::aws::register_handlers(None);
            let with_slash = format!("{}/", url.trim_end_matches('/'));
            Url::parse(&with_slash)
                .map_err(|source| LakeError::BadLocation { location: url.to_owned(), source })?
        } else {
            Url::from_directory_path(Path::new(url))
                .map_err(|()| LakeError::RelativeLocation { location: url.to_owned() })?
        };
        Ok(Self { root })
    }

    /// The location of one table.
    pub fn location(&self, name: &TableName) -> Result<Url, LakeError> {
        self.root
            .join(&format!("{name}/"))
            .map_err(|source| LakeError::BadLocation { location: name.to_string(), source })
    }

    /// Loads the newest version of a table, or `None` when it was never created.
    pub async fn load(&self, name: &TableName) -> Result<Option<DeltaTable>, LakeError> {
        let mut table = self.unloaded(name)?;
        let exists = table
            .verify_deltatable_existence()
            .await
            .map_err(|source| LakeError::read(name, source))?;
        if !exists {
            return Ok(None);
        }
        table.load().await.map_err(|source| LakeError::read(name, source))?;
        Ok(Some(table))
    }

    /// Loads a table, creating it with `schema` when there is none yet. Two creators may race:
    /// the second finds the table of the first.
    pub async fn load_or_create(
        &self,
        name: &TableName,
        schema: &SchemaRef,
        partition_columns: &[&str],
        properties: HashMap<String, String>,
    ) -> Result<DeltaTable, LakeError> {
        if let Some(table) = self.load(name).await? {
            return Ok(table);
        }
        self.create_root(name)?;
        let columns: StructType = schema
            .as_ref()
            .try_into_kernel()
            .map_err(|source| LakeError::Contract { table: name.clone(), source })?;
        let created = self
            .unloaded(name)?
            .create()
            .with_columns(columns.fields().cloned())
            .with_partition_columns(partition_columns.iter().copied())
            .with_configuration(properties.into_iter().map(|(key, value)| (key, Some(value))))
            .with_raise_if_key_not_exists(false)
            .with_save_mode(SaveMode::Ignore)
            // Version 0 or nothing: a retry would commit the metadata a second time, on top of
            // the table that another run has just created.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        match (self.load(name).await?, created) {
            (Some(table), _) => Ok(table),
            (None, Err(source)) => Err(LakeError::write(name, source)),
            (None, Ok(_)) => Err(LakeError::Vanished { table: name.clone() }),
        }
    }

    fn create_root(&self, name: &TableName) -> Result<(), LakeError> {
        let location = self.location(name)?;
        if let Ok(path) = location.to_file_path() {
            std::fs::create_dir_all(&path)
                .map_err(|source| LakeError::CreateFolder { path, source })?;
        }
        Ok(())
    }

    fn unloaded(&self, name: &TableName) -> Result<DeltaTable, LakeError> {
        DeltaTableBuilder::from_url(self.location(name)?)
            .and_then(DeltaTableBuilder::build)
            .map_err(|source| LakeError::read(name, source))
    }
}
