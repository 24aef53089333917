//! What a table takes on the store, by its log.

use serde::Serialize;

use crate::lake::{Lake, LakeError, TableName};

/// One table as of its newest version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableStatus {
    /// `ods/events`.
    pub table: String,
    /// The version.
    pub version: u64,
    /// Data files.
    pub files: usize,
    /// Their bytes.
    pub bytes: i64,
    /// Their rows; null where a file does not say.
    pub rows: Option<usize>,
}

impl TableStatus {
    /// Reads the log of a table; none where there is no such table.
    pub(super) async fn of(lake: &Lake, name: &TableName) -> Result<Option<Self>, LakeError> {
        let Some(table) = lake.load(name).await? else {
            return Ok(None);
        };
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        let (mut files, mut bytes, mut rows) = (0, 0, Some(0));
        for file in state.log_data().iter() {
            files += 1;
            bytes += file.size();
            rows = rows.zip(file.num_records()).map(|(rows, more)| rows + more);
        }
        Ok(Some(Self { table: name.to_string(), version: state.version(), files, bytes, rows }))
    }
}
