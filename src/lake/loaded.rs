//! The tables and ids that this process has read, so that a stage reads only what is newer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use deltalake::DeltaTable;

use super::TableName;
use super::ids::Ids;

#[derive(Debug, Default)]
pub(crate) struct LoadedTables(Mutex<HashMap<TableName, Loaded>>);

#[derive(Debug, Default)]
struct Loaded {
    table: Option<DeltaTable>,
    /// The ids as of a version, which may be older than the table's.
    ids: Option<(u64, Ids)>,
}

impl LoadedTables {
    pub(crate) fn table(&self, name: &TableName) -> Option<DeltaTable> {
        self.lock().get(name)?.table.clone()
    }

    pub(crate) fn remember(&self, name: &TableName, table: &DeltaTable) {
        self.lock().entry(name.clone()).or_default().table = Some(table.clone());
    }

    pub(crate) fn ids(&self, name: &TableName) -> Option<(u64, Ids)> {
        self.lock().get(name)?.ids.clone()
    }

    pub(crate) fn remember_ids(&self, name: &TableName, version: u64, ids: &Ids) {
        self.lock().entry(name.clone()).or_default().ids = Some((version, ids.clone()));
    }

    /// Forgets the table and its ids: whatever was remembered no longer fits the log.
    pub(crate) fn forget(&self, name: &TableName) {
        self.lock().remove(name);
    }

    /// Forgets the table alone, whose log now begins with another checkpoint. Its ids hold.
    pub(crate) fn forget_log(&self, name: &TableName) {
        if let Some(loaded) = self.lock().get_mut(name) {
            loaded.table = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TableName, Loaded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
