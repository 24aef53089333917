//! Where events live: one Delta table per layer and feed under one root.
//!
//! | table | contract | partition |
//! |---|---|---|
//! | `raw/<feed>` | [`contracts::raw`] | `_updated_at` |
//! | `quarantine/<feed>` | [`contracts::quarantine`] | `_updated_at` |
//! | `ods/<feed>` | [`contracts::ods`] | `pdate` |
//! | `sessions/<feed>` | [`contracts::sessions`] | `session_date` |
//! | `files` | [`contracts::files`] | none |
//! | `runs` | [`contracts::runs`] | none |
//!
//! Nothing but the Delta log decides what is in a table: ids of deliveries and builds are Delta
//! `txn` actions ([`ids`]), the rules are table properties of `ods/<feed>` ([`rules`]), and every
//! change is one commit ([`commits`]). What no version within reach needs any more leaves the store
//! ([`upkeep`]).

mod codec;
pub mod commits;
pub mod committed;
pub mod contracts;
mod damage;
mod encoding;
pub mod error;
pub mod files;
pub mod history;
pub mod ids;
mod loaded;
mod log_cache;
mod object_storage;
pub mod probe;
mod requests;
mod rle_hybrid;
pub mod row_groups;
pub mod rules;
mod s3_client;
pub mod sorted_files;
pub mod sorted_writer;
pub mod storage;
mod store;
mod text_chunk;
pub mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
use deltalake::kernel::transaction::{CommitProperties, PROTOCOL};
use deltalake::logstore::object_store_factories;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use object_store::ObjectStore;
use url::Url;

pub use error::LakeError;
pub use requests::Requests;

use crate::config::client_and_name;
use crate::config::{Compression, LakeConfig, StorageSettings};
use ids::Ids;
use loaded::LoadedTables;
use object_storage::ObjectStorage;
use s3_client::Known;
use store::MeteredStore;
use upkeep::Kept;

/// The newest protocol that the library knows.
const NEWEST_READER: i32 = 3;
const NEWEST_WRITER: i32 = 7;

/// One table of the lake, named as people say it: `ods/events`, `acme/ods/events` for the feed
/// `acme/events` of a client, `files` or `runs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TableName {
    /// Delivered rows as delivered.
    Raw(String),
    /// Rejected rows and records.
    Quarantine(String),
    /// Distinct events with their sessions.
    Ods(String),
    /// One row for each of those sessions.
    Sessions(String),
    /// What became of each file.
    Files,
    /// One row per stage of a run.
    Runs,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layer, feed) = match self {
            Self::Raw(feed) => ("raw", feed),
            Self::Quarantine(feed) => ("quarantine", feed),
            Self::Ods(feed) => ("ods", feed),
            Self::Sessions(feed) => ("sessions", feed),
            Self::Files => return f.write_str("files"),
            Self::Runs => return f.write_str("runs"),
        };
        match client_and_name(feed) {
            (Some(client), feed) => write!(f, "{client}/{layer}/{feed}"),
            (None, feed) => write!(f, "{layer}/{feed}"),
        }
    }
}

impl TableName {
    /// The feed whose table it is; none of `files` and `runs`.
    pub fn feed(&self) -> Option<&str> {
        match self {
            Self::Raw(feed) | Self::Quarantine(feed) | Self::Ods(feed) | Self::Sessions(feed) => {
                Some(feed)
            }
            Self::Files | Self::Runs => None,
        }
    }

    /// The tables of a feed, in the order in which events go through them.
    pub fn of_feed(feed: &str) -> [Self; 4] {
        let feed = || feed.to_owned();
        [Self::Raw(feed()), Self::Quarantine(feed()), Self::Ods(feed()), Self::Sessions(feed())]
    }

    /// The column that a table of a feed is partitioned by, a date; `None` for the others.
    pub fn partition_column(&self) -> Option<&'static str> {
        match self {
            Self::Raw(_) | Self::Quarantine(_) => Some(contracts::UPDATED_AT),
            Self::Ods(_) => Some(contracts::PDATE),
            Self::Sessions(_) => Some(contracts::SESSION_DATE),
            Self::Files | Self::Runs => None,
        }
    }
}

/// The root under which every table lives.
///
/// A lake remembers the tables it has loaded: loading one again reads no more than what was
/// committed since. Clones share that memory and the count of requests.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Url,
    store: Arc<MeteredStore>,
    loaded: Arc<LoadedTables>,
    kept: Kept,
    compression: Compression,
}

impl Lake {
    /// Opens the lake of a configuration.
    pub fn of(config: &LakeConfig) -> Result<Self, LakeError> {
        let lake = Self::open_with(&config.url, &config.storage)?;
        Ok(lake.compressing(config.compression))
    }

    /// Opens the lake at `url`: an absolute local path, or `s3://bucket/prefix`. A local folder
    /// is created with the first table, not here.
    pub fn open(url: &str) -> Result<Self, LakeError> {
        Self::open_with(url, &StorageSettings::default())
    }

    fn open_with(url: &str, storage: &StorageSettings) -> Result<Self, LakeError> {
        let root = if url.contains("://") {
            root_of_store(url)?
        } else {
            Url::from_directory_path(without_parents(Path::new(url)))
                .map_err(|()| LakeError::RelativeLocation { location: url.to_owned() })?
        };
        let store = Arc::new(metered_store(&root, storage)?);
        Ok(Self {
            root,
            store,
            loaded: Arc::default(),
            kept: Kept::default(),
            compression: Compression::default(),
        })
    }

    /// The same lake, with its own times for what has left a table and for the log.
    #[must_use]
    pub fn keeping(mut self, kept: Kept) -> Self {
        self.kept = kept;
        self
    }

    /// The same lake, writing raw and ODS with that codec; files that are there stay as they are.
    #[must_use]
    pub fn compressing(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The codec of new data files of raw and ODS.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// What this lake has asked of its store so far.
    pub fn requests(&self) -> Requests {
        self.store.requests()
    }

    /// Lets the queries of `context`, and of every other on its runtime, read this lake through
    /// its own store; the engine would make one for local files by itself, which nobody meters.
    pub fn serve(&self, context: &SessionContext) {
        let mut host = self.root.clone();
        host.set_path("");
        context.register_object_store(&host, Arc::clone(&self.store) as Arc<dyn ObjectStore>);
    }

    /// Where the lake is.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The location of one table.
    pub fn location(&self, name: &TableName) -> Result<Url, LakeError> {
        self.root
            .join(&format!("{name}/"))
            .map_err(|source| LakeError::BadLocation { location: name.to_string(), source })
    }

    /// Loads the newest version of a table, or `None` when it was never created.
    pub async fn load(&self, name: &TableName) -> Result<Option<DeltaTable>, LakeError> {
        if let Some(mut table) = self.loaded.table(name) {
            match table.update_state().await {
                Ok(()) => {
                    self.loaded.remember(name, &table);
                    return Ok(Some(table));
                }
                // Another process may have cleaned the log below the version remembered, or the
                // table may be gone: a load from the start tells.
                Err(error) => {
                    tracing::debug!(table = %name, %error, "loading the table from the start");
                    self.loaded.forget(name);
                }
            }
        }
        // The kernel takes a missing local folder for a mistake.
        if self.location(name)?.to_file_path().is_ok_and(|folder| !folder.exists()) {
            return Ok(None);
        }
        let mut table = self.unloaded(name)?;
        match table.load().await {
            Ok(()) => {
                self.loaded.remember(name, &table);
                Ok(Some(table))
            }
            Err(DeltaTableError::NotATable(_)) => Ok(None),
            Err(source) => Err(damage::located(name, &table, LakeError::read(name, source)).await),
        }
    }

    /// A table as this process has loaded it last, if it has.
    pub(crate) fn remembered(&self, name: &TableName) -> Option<DeltaTable> {
        self.loaded.table(name)
    }

    /// The protocol that a table asks of its readers and writers, where we meet it; `None` when
    /// the table is not there yet.
    pub async fn protocol(&self, name: &TableName) -> Result<Option<String>, LakeError> {
        let Some(table) = self.load(name).await? else {
            return Ok(None);
        };
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        PROTOCOL
            .can_write_to(state)
            .map_err(|source| LakeError::read(name, DeltaTableError::from(source)))?;
        let protocol = state.protocol();
        let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
        // The library looks at the features of a protocol, and not at a version it cannot know.
        if reader > NEWEST_READER || writer > NEWEST_WRITER {
            return Err(LakeError::Protocol { table: name.clone(), reader, writer });
        }
        Ok(Some(format!("version {}, protocol ({reader}, {writer})", state.version())))
    }

    /// The ids known to the loaded version of `table`: those remembered, and those of the commits
    /// since.
    pub async fn ids(&self, name: &TableName, table: &DeltaTable) -> Result<Ids, LakeError> {
        let newer = match self.loaded.ids(name) {
            Some((version, ids)) => ids.advanced(table, version).await,
            None => None,
        };
        let ids = match newer {
            Some(ids) => ids,
            None => match Ids::read(name, table).await {
                Ok(ids) => ids,
                Err(error) => return Err(damage::located(name, table, error).await),
            },
        };
        if let Some(version) = table.version() {
            self.loaded.remember_ids(name, version, &ids);
        }
        Ok(ids)
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
        fail::fail_point!("table_before_creation", |_| std::process::abort());
        self.create_root(name)?;
        let columns = contracts::kernel_columns(name, schema)?;
        let properties = properties.into_iter().chain(self.kept.properties());
        let created = self
            .unloaded(name)?
            .create()
            .with_columns(columns.fields().cloned())
            .with_partition_columns(partition_columns.iter().copied())
            .with_configuration(properties.map(|(key, value)| (key, Some(value))))
            .with_raise_if_key_not_exists(false)
            .with_save_mode(SaveMode::Ignore)
            // Version 0 or nothing: a retry would commit the metadata a second time, on top of
            // the table that another run has just created.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        fail::fail_point!("table_after_creation", |_| std::process::abort());
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
        let location = self.location(name)?;
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        DeltaTableBuilder::from_url(location.clone())
            .map(|builder| builder.with_storage_backend(store, location))
            .and_then(DeltaTableBuilder::build)
            .map_err(|source| LakeError::read(name, source))
    }
}

/// The path without `..`, which stores refuse: each leads where the system would go, so a link is
/// followed before it.
pub(crate) fn without_parents(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |resolved, component| match component {
        Component::ParentDir => {
            let mut folder = resolved.canonicalize().unwrap_or(resolved);
            folder.pop();
            folder
        }
        other => resolved.join(other),
    })
}

/// The store of a bucket such as `s3://bucket`, for whoever reads what is no table there. It is
/// reached as a lake is, and says as much of what goes wrong.
pub fn bucket_store(
    bucket: &str,
    storage: &StorageSettings,
) -> Result<Arc<dyn ObjectStore>, LakeError> {
    Ok(Arc::new(metered_store(&root_of_store(bucket)?, storage)?))
}

fn root_of_store(url: &str) -> Result<Url, LakeError> {
    deltalake::aws::register_handlers(None);
    let with_slash = format!("{}/", url.trim_end_matches('/'));
    Url::parse(&with_slash)
        .map_err(|source| LakeError::BadLocation { location: url.to_owned(), source })
}

/// The store of `root`, metered. One client serves every table.
fn metered_store(root: &Url, storage: &StorageSettings) -> Result<MeteredStore, LakeError> {
    // A disk asks for no credentials, so that none are looked up.
    let nothing = StorageSettings::default();
    let known = Known::here(if root.scheme() == "file" { &nothing } else { storage })?;
    let store: Arc<dyn ObjectStore> = match known.client(root) {
        Some(client) => client.map(|client| Arc::new(client) as _).map_err(DeltaTableError::from),
        None => store_of_factory(root, &known),
    }
    .map_err(|source| LakeError::Store {
        scheme: root.scheme().to_owned(),
        source: source.into(),
    })?;
    Ok(MeteredStore::new(store, ObjectStorage::of(root, &known)))
}

/// The store that the library makes for `root`.
fn store_of_factory(root: &Url, known: &Known) -> Result<Arc<dyn ObjectStore>, DeltaTableError> {
    let invalid = || DeltaTableError::InvalidTableLocation(root.to_string());
    let scheme = Url::parse(&format!("{}://", root.scheme())).map_err(|_| invalid())?;
    let factory = object_store_factories().get(&scheme).ok_or_else(invalid)?.clone();
    factory.parse_url_opts(root, &known.options()).map(|(store, _)| store)
}
