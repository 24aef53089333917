//! One schema: a layer of a client, or what is at the root.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;

use super::Names;
use super::tables::Tables;

/// Where a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where there is no layer: the tables of the one feed that is meant are known here by their
    /// layer, and a session may add tables of its own.
    Root,
    Layer,
}

/// Reads a table when a statement names it.
#[derive(Debug)]
pub(super) struct LakeSchema {
    tables: Arc<Tables>,
    names: Names,
    /// What a session adds; at the root alone.
    added: Option<MemorySchemaProvider>,
}

impl LakeSchema {
    pub(super) fn new(tables: Arc<Tables>, names: Names, place: Place) -> Self {
        let added = (place == Place::Root).then(MemorySchemaProvider::new);
        Self { tables, names, added }
    }

    fn is_of_lake(&self, name: &str) -> bool {
        self.names.contains_key(name)
            || (self.added.is_some() && self.tables.own().contains_key(name))
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    /// A feed's tables are listed by their full names alone.
    fn table_names(&self) -> Vec<String> {
        let added = self.added.as_ref().map(SchemaProvider::table_names);
        self.names.keys().cloned().chain(added.into_iter().flatten()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = self.names.get(name) {
            return self.tables.newest(table).await.map(Some);
        }
        let Some(added) = &self.added else {
            return Ok(None);
        };
        match self.tables.own().get(name) {
            Some(table) => self.tables.newest(table).await.map(Some),
            None => added.table(name).await,
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        match &self.added {
            _ if self.is_of_lake(name) => Ok(Some(TableType::Base)),
            Some(added) => added.table_type(name).await,
            None => Ok(None),
        }
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        match &self.added {
            Some(added) if !self.is_of_lake(&name) => added.register_table(name, table),
            _ => exec_err!("{name} cannot be made here: this is a place of the lake's own tables"),
        }
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match &self.added {
            Some(added) if !self.is_of_lake(name) => added.deregister_table(name),
            _ => exec_err!("{name} is a table of the lake and stays"),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.is_of_lake(name) || self.added.as_ref().is_some_and(|added| added.table_exist(name))
    }
}
