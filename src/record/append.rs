//! Rows appended to `runs` or `files`, each time in one commit.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Transaction};

use crate::clock;
use crate::lake::commits::{self, Change, Provenance};
use crate::lake::storage::FileWriter;
use crate::lake::{Lake, LakeError, TableName, ids};

/// Rows that are written, and not committed yet.
pub(super) struct Append<'l> {
    lake: &'l Lake,
    name: TableName,
    rows: RecordBatch,
    table: DeltaTable,
    adds: Vec<Add>,
}

impl<'l> Append<'l> {
    /// Writes the rows to a file of the table, which is created the first time.
    pub(super) async fn write(
        lake: &'l Lake,
        name: TableName,
        rows: RecordBatch,
    ) -> Result<Self, LakeError> {
        let table = load(lake, &name, &rows).await?;
        let mut writer = FileWriter::new(&name, &table, &rows.schema())?;
        writer.write(&rows).await?;
        let adds = writer.close().await?;
        Ok(Self { lake, name, rows, table, adds })
    }

    /// Commits them with ids that may depend on what the table holds; again where another run came
    /// first.
    pub(super) async fn commit<T>(
        self,
        provenance: &Provenance,
        ids_of: impl AsyncFn(&DeltaTable) -> Result<(Vec<Transaction>, T), LakeError>,
    ) -> Result<T, LakeError> {
        let Self { lake, name, rows, table, adds } = self;
        let mut loaded = Some(table);
        commits::replanning(LakeError::is_conflict, async || {
            let table = match loaded.take() {
                Some(table) => table,
                None => load(lake, &name, &rows).await?,
            };
            let (mut commit_ids, told) = ids_of(&table).await?;
            // The id makes the library look at what was committed in between: without it, an append
            // that the store made but answered with an error would be made a second time.
            commit_ids.push(ids::transaction(&name, clock::now().timestamp_millis()));
            let change = Change { adds: adds.clone(), ids: commit_ids, ..Change::default() };
            commits::commit(&name, &table, change, provenance).await?;
            Ok(told)
        })
        .await
    }
}

async fn load(lake: &Lake, name: &TableName, rows: &RecordBatch) -> Result<DeltaTable, LakeError> {
    lake.load_or_create(name, &rows.schema(), &[], HashMap::new()).await
}
