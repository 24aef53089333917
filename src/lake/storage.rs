//! Writing data files, in a stream: memory holds one row group a partition, not the table.

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::DeltaTable;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::properties::WriterProperties;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{LakeError, TableName, codec};
use crate::config;

/// Bytes beyond which a data file is followed by another.
pub(super) const TARGET_FILE_BYTES: u64 = 128 * 1024 * 1024;
/// Rows of a row group where memory allows.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Parquet settings of every table.
pub fn writer_properties() -> WriterProperties {
    properties(Compression::SNAPPY)
}

fn properties(compression: Compression) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("sessionlake ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// Removes files that nobody will commit; one that stays is an orphan for a full vacuum.
pub(crate) async fn discard_files<'f>(
    store: &Arc<dyn ObjectStore>,
    adds: impl IntoIterator<Item = &'f Add>,
) {
    for add in adds {
        let path = Path::from_url_path(&add.path).unwrap_or_default();
        if let Err(error) = store.delete(&path).await {
            tracing::debug!(path = add.path, %error, "could not remove an unneeded file");
        }
    }
}

/// Writes the rows of one commit to new data files of `table`. The files are invisible until
/// their [`Add`] actions are committed; a crash leaves them to a full vacuum.
pub struct FileWriter {
    name: TableName,
    writer: DeltaWriter,
    rows: i64,
}

impl FileWriter {
    /// A writer for batches of `schema`, partition columns included.
    pub fn new(
        name: &TableName,
        table: &DeltaTable,
        schema: &SchemaRef,
    ) -> Result<Self, LakeError> {
        Self::with_properties(name, table, schema, writer_properties())
    }

    /// The same with a codec of its own.
    pub fn compressed(
        name: &TableName,
        table: &DeltaTable,
        schema: &SchemaRef,
        compression: config::Compression,
    ) -> Result<Self, LakeError> {
        let codec = codec::parquet(compression);
        let codec = codec.map_err(|source| LakeError::write(name, source.into()))?;
        Self::with_properties(name, table, schema, properties(codec))
    }

    fn with_properties(
        name: &TableName,
        table: &DeltaTable,
        schema: &SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, LakeError> {
        let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
        let config = WriterConfig::new(
            SchemaRef::clone(schema),
            state.metadata().partition_columns().to_vec(),
            Some(properties),
            NonZeroU64::new(TARGET_FILE_BYTES),
            None,
            DataSkippingNumIndexedCols::NumColumns(32),
            None,
        );
        let store = table.log_store().object_store(None);
        Ok(Self { name: name.clone(), writer: DeltaWriter::new(store, config), rows: 0 })
    }

    /// Appends a batch.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.writer.write(batch).await.map_err(|source| LakeError::write(&self.name, source))?;
        self.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Finishes the files.
    pub async fn close(self) -> Result<Vec<Add>, LakeError> {
        fail::fail_point!("file_before_end", |_| std::process::abort());
        let adds = self.writer.close().await;
        fail::fail_point!("file_after_end", |_| std::process::abort());
        adds.map_err(|source| LakeError::write(&self.name, source))
    }

    /// Gives the files up, after a failure of the source.
    pub async fn abort(self) {
        if let Err(error) = self.writer.abort().await {
            tracing::warn!(table = %self.name, %error, "could not remove unfinished files");
        }
    }
}
