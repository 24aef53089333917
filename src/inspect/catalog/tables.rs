//! The tables by name, and how each is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::common::{ResolvedTableReference, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;

use super::read_only::ReadOnly;
use super::{LAYERS, Names, ROOT_CATALOG, ROOT_SCHEMA};
use crate::config::{FeedConfig, client_and_name};
use crate::engine::queries::NUMBERED_SESSIONS;
use crate::error::JobError;
use crate::lake::{Lake, LakeError, TableName, contracts};
use crate::stages::checks::columns_of;

type Provider = Arc<dyn TableProvider>;

/// The versions that a statement asked for, by the folder of their table.
type Travels = BTreeMap<String, (TableName, u64)>;

/// What every schema and function knows of the lake.
#[derive(Debug)]
pub(super) struct Tables {
    lake: Lake,
    feeds: Vec<FeedConfig>,
    catalogs: BTreeMap<String, BTreeMap<String, Names>>,
    /// The tables of the one feed that is meant, by layer alone.
    own: Names,
    /// The settings of scans. It knows no table, or it would know itself.
    reader: Arc<SessionState>,
    travelled: Mutex<Travels>,
}

impl Tables {
    pub(super) fn new(
        lake: Lake,
        feeds: &[FeedConfig],
        own: Option<&FeedConfig>,
        reader: Arc<SessionState>,
    ) -> Self {
        let mut catalogs = BTreeMap::<String, BTreeMap<String, Names>>::new();
        let root = [("runs", TableName::Runs), ("files", TableName::Files)];
        let root = root.map(|(name, table)| (name.to_owned(), table));
        catalogs
            .entry(ROOT_CATALOG.to_owned())
            .or_default()
            .insert(ROOT_SCHEMA.to_owned(), root.into());
        for feed in feeds {
            let (client, name) = client_and_name(&feed.name);
            let schemas = catalogs.entry(client.unwrap_or(ROOT_CATALOG).to_owned()).or_default();
            for (layer, table) in layers(feed) {
                schemas.entry(layer.to_owned()).or_default().insert(name.to_owned(), table);
            }
        }
        let own = own.into_iter().flat_map(layers);
        let own = own.map(|(layer, table)| (layer.to_owned(), table)).collect();
        Self { lake, feeds: feeds.to_vec(), catalogs, own, reader, travelled: Mutex::default() }
    }

    pub(super) fn schemas(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, Names>)> {
        self.catalogs.iter()
    }

    /// The tables known by their layer alone.
    pub(super) fn own(&self) -> &Names {
        &self.own
    }

    /// Every table with the shortest name that leads to it from everywhere.
    pub(super) fn all(&self) -> impl Iterator<Item = (TableReference, &TableName)> {
        self.catalogs.iter().flat_map(|(catalog, schemas)| {
            schemas.iter().flat_map(move |(schema, names)| {
                names.iter().map(move |(name, table)| {
                    let reference = match (catalog.as_str(), schema.as_str()) {
                        (ROOT_CATALOG, ROOT_SCHEMA) => TableReference::bare(name.as_str()),
                        (ROOT_CATALOG, schema) => TableReference::partial(schema, name.as_str()),
                        (catalog, schema) => TableReference::full(catalog, schema, name.as_str()),
                    };
                    (reference, table)
                })
            })
        })
    }

    pub(super) fn find(&self, resolved: &ResolvedTableReference) -> Option<&TableName> {
        let schema = self.catalogs.get(&*resolved.catalog)?.get(&*resolved.schema)?;
        let of_own = || (*resolved.schema == *ROOT_SCHEMA).then(|| self.own.get(&*resolved.table));
        schema.get(&*resolved.table).or_else(|| of_own().flatten())
    }

    /// The table that a text names: as in SQL, or as in the lake.
    pub(super) fn named(&self, text: &str) -> Option<&TableName> {
        let is_named = |(reference, table): &(TableReference, &TableName)| {
            reference.to_string() == text
                || reference.to_quoted_string() == text
                || table.to_string() == text
        };
        let own = self.own.get(text);
        own.or_else(|| self.all().find(is_named).map(|(_, table)| table))
    }

    /// The newest version; of a table that nothing has created yet its columns.
    pub(super) async fn newest(&self, name: &TableName) -> Result<Provider, DataFusionError> {
        let table = self.lake.load(name).await.map_err(external)?;
        let provider = match table {
            Some(table) => self.provider(name, &table).await?,
            None => Arc::new(EmptyTable::new(self.columns(name).map_err(external)?)),
        };
        self.shown(name, provider).await
    }

    /// A table as it is asked: sessions have their number.
    async fn shown(
        &self,
        name: &TableName,
        provider: Provider,
    ) -> Result<Provider, DataFusionError> {
        match name {
            TableName::Sessions(_) => self.numbered(provider).await,
            _ => Ok(provider),
        }
    }

    /// Sessions with `session_seq`, which no table holds.
    async fn numbered(&self, sessions: Provider) -> Result<Provider, DataFusionError> {
        let config = self.reader.config().clone().with_create_default_catalog_and_schema(true);
        let state = SessionStateBuilder::new_from_existing(self.reader.as_ref().clone())
            .with_config(config)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_table("sessions", sessions)?;
        Ok(context.sql(NUMBERED_SESSIONS).await?.into_view())
    }

    /// The columns of a table that is not there yet.
    fn columns(&self, name: &TableName) -> Result<SchemaRef, JobError> {
        let context = SessionContext::new_with_state(self.reader.as_ref().clone());
        match self.feeds.iter().find(|feed| name.feed() == Some(&*feed.name)) {
            Some(feed) => columns_of(&context, feed, name)
                .map_err(|source| JobError::Rules { feed: feed.name.clone(), source }),
            None if *name == TableName::Files => Ok(contracts::files()),
            None => Ok(contracts::runs()),
        }
    }

    /// An older version.
    pub(super) async fn past(
        &self,
        name: &TableName,
        moment: Moment,
    ) -> Result<Provider, DataFusionError> {
        let table = match moment {
            Moment::Version(version) => self.lake.at_version(name, version).await,
            Moment::Time(micros) => self.lake.at_time(name, micros).await,
        }
        .map_err(external)?;
        self.remember(name, table.version().unwrap_or_default())?;
        self.shown(name, self.provider(name, &table).await?).await
    }

    fn remember(&self, name: &TableName, version: u64) -> Result<(), DataFusionError> {
        let folder = self.lake.location(name).map_err(external)?;
        let folder = match folder.to_file_path() {
            Ok(folder) => folder.display().to_string(),
            Err(()) => folder.path().to_owned(),
        };
        self.travels().insert(folder.trim_matches('/').to_owned(), (name.clone(), version));
        Ok(())
    }

    pub(super) fn begin(&self) {
        self.travels().clear();
    }

    pub(super) fn travelled(&self, message: &str) -> Option<(TableName, u64)> {
        let travels = self.travels();
        travels.iter().find(|(folder, _)| message.contains(&**folder)).map(|(_, at)| at.clone())
    }

    fn travels(&self) -> MutexGuard<'_, Travels> {
        self.travelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lake(&self) -> &Lake {
        &self.lake
    }

    async fn provider(
        &self,
        name: &TableName,
        table: &DeltaTable,
    ) -> Result<Provider, DataFusionError> {
        let scan = table.table_provider().with_session(Arc::clone(&self.reader)).build().await;
        let scan = scan.map_err(|source| external(LakeError::read(name, source.into())))?;
        Ok(Arc::new(ReadOnly::new(Arc::new(scan))))
    }
}

/// A point in the past of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Version(u64),
    /// Microseconds since 1970.
    Time(i64),
}

/// The tables of a feed by their layer.
fn layers(feed: &FeedConfig) -> impl Iterator<Item = (&'static str, TableName)> {
    LAYERS.into_iter().zip(TableName::of_feed(&feed.name))
}

/// What a statement fails with where the lake is why.
pub(super) fn external(error: impl Into<JobError>) -> DataFusionError {
    DataFusionError::External(Box::new(error.into()))
}
