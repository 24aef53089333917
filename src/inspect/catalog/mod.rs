//! Every table of a lake by its name in SQL.
//!
//! | table of the lake | name |
//! |---|---|
//! | `ods/events` | `ods.events` |
//! | `gardenia/ods/events`, of the client `gardenia` | `gardenia.ods.events` |
//! | `runs`, `files` | `runs`, `files` |
//! | those of one feed, where only one is meant | `raw`, `quarantine`, `ods`, `sessions` |
//!
//! `sessions` also has `session_seq`, the number of a session within its key.
//! A statement reads the log of the tables that it names, and sees their newest versions. A table
//! that nothing has created yet has its columns and no rows. None of them can be written to.
//!
//! | function | rows |
//! |---|---|
//! | `at_version('ods.events', 12)` | the table as it was at a version |
//! | `at_time('ods.events', '2026-01-03T00:00:00Z')` | the table as it was at an instant |
//! | `history('ods.events')` | one per commit, see [`history`] |

mod functions;
pub mod history;
mod place;
mod read_only;
mod schema;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::open;
use crate::config::{Config, FeedConfig};
use crate::error::JobError;
use crate::lake::TableName;
use functions::{History, TimeTravel};
use schema::{LakeSchema, Place};
use tables::Tables;

/// The catalog of the tables without a client. No client can have this name, as theirs are in
/// small letters.
pub const ROOT_CATALOG: &str = "Lake";
/// The schema of the tables without a layer.
pub const ROOT_SCHEMA: &str = "public";
/// The layers of a feed, in the order of [`TableName::of_feed`]: schemas, and words that stand for a
/// table of one feed.
pub(super) const LAYERS: [&str; 4] = ["raw", "quarantine", "ods", "sessions"];

/// The tables of a lake, and a context in which SQL finds them.
pub struct Catalog {
    context: SessionContext,
    tables: Arc<Tables>,
}

impl Catalog {
    /// The tables of every feed of the configuration. Those of `own` are also known by their
    /// layer alone. Nothing is read.
    pub fn open(config: &Config, own: Option<&FeedConfig>) -> Result<Self, JobError> {
        let (lake, engine) = open(config)?;
        let state = engine.context(chrono_tz::Tz::UTC).state();
        let names = state
            .config()
            .clone()
            .with_information_schema(true)
            .with_default_catalog_and_schema(ROOT_CATALOG, ROOT_SCHEMA)
            .with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new_from_existing(state)
            .with_config(names)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let reader = SessionStateBuilder::new_from_existing(state.clone())
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let tables = Arc::new(Tables::new(lake, &config.feeds, own, Arc::new(reader)));
        let context = SessionContext::new_with_state(state);
        register(&context, &tables).map_err(|source| JobError::Catalog(Box::new(source)))?;
        for travel in [TimeTravel::AtVersion, TimeTravel::AtTime] {
            context.register_udtf(travel.name(), Arc::new(travel.of(&tables)));
        }
        context.register_udtf("history", Arc::new(History::of(&tables)));
        Ok(Self { context, tables })
    }

    /// Where to ask.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Every table: its name in SQL, quoted where it must be, and in the lake.
    pub fn tables(&self) -> impl Iterator<Item = (String, &TableName)> {
        self.tables.all().map(|(reference, name)| (reference.to_quoted_string(), name))
    }

    /// The table of the lake behind a name in SQL.
    pub fn table(&self, reference: &TableReference) -> Option<&TableName> {
        let config = self.context.copied_config();
        let defaults = &config.options().catalog;
        self.tables
            .find(&reference.clone().resolve(&defaults.default_catalog, &defaults.default_schema))
    }

    /// Whether a catalog and schema are of the lake.
    pub fn has_schema(&self, catalog: &str, schema: &str) -> bool {
        self.tables
            .schemas()
            .any(|(known, schemas)| known == catalog && schemas.contains_key(schema))
    }

    /// Whether a path or URL lies within the lake.
    pub fn holds_place(&self, location: &str) -> bool {
        place::is_within(self.tables.lake().root(), location)
    }

    /// A statement begins: it has asked for no past yet.
    pub fn begin(&self) {
        self.tables.begin();
    }

    /// The table and version that this statement asked for and whose folder `message` names.
    pub fn travelled(&self, message: &str) -> Option<(TableName, u64)> {
        self.tables.travelled(message)
    }
}

fn register(context: &SessionContext, tables: &Arc<Tables>) -> Result<(), DataFusionError> {
    for (catalog, schemas) in tables.schemas() {
        let provider = Arc::new(MemoryCatalogProvider::new());
        for (schema, names) in schemas {
            let is_root = (catalog.as_str(), schema.as_str()) == (ROOT_CATALOG, ROOT_SCHEMA);
            let place = if is_root { Place::Root } else { Place::Layer };
            let of_schema = LakeSchema::new(Arc::clone(tables), names.clone(), place);
            provider.register_schema(schema, Arc::new(of_schema))?;
        }
        context.register_catalog(catalog, provider);
    }
    Ok(())
}

/// Tables by name, within a schema.
type Names = BTreeMap<String, TableName>;
