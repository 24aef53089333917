//! Writing many rows of one partition fast: row groups are encoded on several threads and put, in
//! order, into one data file after another.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::ObjectStore;
use deltalake::Path;
use deltalake::kernel::Add;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::writer::SerializedFileWriter;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt as _;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::codec;
use super::encoding::{EncodedRowGroup, RowGroupEncoder, Run};
use super::storage::discard_files;
use super::{LakeError, TableName};
use crate::clock;
use crate::config::Compression;

/// Bytes that one request of an upload carries; S3 accepts no part below 5 MiB but the last.
const UPLOAD_PART_BYTES: usize = 8 << 20;
/// Parts of one upload under way at a time.
const UPLOADS_AT_A_TIME: usize = 4;

/// When a row group and when a file is full.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    row_group_rows: usize,
    row_group_bytes: usize,
    file_bytes: usize,
}

/// What memory holds follows from the row group: one is filled, one for each thread is encoded.
const SIZES: Sizes =
    Sizes { row_group_rows: 128 * 1024, row_group_bytes: 16 << 20, file_bytes: 128 << 20 };

/// Writes the rows of one partition in the order in which they come. The files are invisible
/// until their [`Add`] actions are committed; a crash leaves them to a full vacuum. Memory holds
/// a row group for each thread and one more.
pub struct RowGroupWriter {
    name: TableName,
    store: Arc<dyn ObjectStore>,
    /// The columns of the files: those of the table without the partition column.
    schema: SchemaRef,
    /// Name and value of the only partition column.
    partition: (&'static str, String),
    threads: usize,
    compression: Compression,
    sizes: Sizes,
    /// Rows of the row group being filled.
    filling: Vec<Run>,
    filling_rows: usize,
    filling_bytes: usize,
    /// Made with the first row group, from which it learns.
    encoder: Option<Arc<RowGroupEncoder>>,
    encoding: VecDeque<JoinHandle<Result<EncodedRowGroup, ParquetError>>>,
    file: Option<DataFile>,
    adds: Vec<Add>,
    rows: i64,
}

/// A file being written.
struct DataFile {
    path: Path,
    writer: SerializedFileWriter<Vec<u8>>,
    upload: BufWriter,
    rows: usize,
}

impl RowGroupWriter {
    /// A writer for a table of `schema`, which is partitioned by the column of `partition`.
    pub fn new(
        name: &TableName,
        table: &DeltaTable,
        schema: &SchemaRef,
        partition: (&'static str, String),
        threads: NonZeroUsize,
        compression: Compression,
    ) -> Self {
        let store = table.log_store().object_store(None);
        Self::with_sizes(name, store, schema, partition, threads, compression, SIZES)
    }

    fn with_sizes(
        name: &TableName,
        store: Arc<dyn ObjectStore>,
        schema: &SchemaRef,
        partition: (&'static str, String),
        threads: NonZeroUsize,
        compression: Compression,
        sizes: Sizes,
    ) -> Self {
        let columns = schema.fields().iter().filter(|field| field.name() != partition.0);
        let schema = Arc::new(arrow::datatypes::Schema::new(columns.cloned().collect::<Vec<_>>()));
        Self {
            name: name.clone(),
            store,
            schema,
            partition,
            threads: threads.get(),
            compression,
            sizes,
            filling: Vec::new(),
            filling_rows: 0,
            filling_bytes: 0,
            encoder: None,
            encoding: VecDeque::new(),
            file: None,
            adds: Vec::new(),
            rows: 0,
        }
    }

    /// Appends rows. `constants` is one row with the columns in which they are all alike, `rows`
    /// has the others; both by name. The same `constants` for many rows cost nothing.
    pub async fn write(
        &mut self,
        rows: &RecordBatch,
        constants: &Arc<RecordBatch>,
    ) -> Result<(), LakeError> {
        self.rows += i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
        let mut done = 0;
        while done < rows.num_rows() {
            let room = self.sizes.row_group_rows - self.filling_rows;
            let taken = rows.slice(done, room.min(rows.num_rows() - done));
            done += taken.num_rows();
            self.filling_rows += taken.num_rows();
            self.filling_bytes +=
                taken.get_array_memory_size() * taken.num_rows() / rows.num_rows();
            self.filling.push(Run { rows: taken, constants: Arc::clone(constants) });
            let is_full = self.filling_rows >= self.sizes.row_group_rows
                || self.filling_bytes >= self.sizes.row_group_bytes;
            if is_full {
                self.encode().await?;
            }
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Hands the filled row group to another thread, once one is free.
    async fn encode(&mut self) -> Result<(), LakeError> {
        while self.encoding.len() >= self.threads {
            self.append_next().await?;
        }
        let runs = std::mem::take(&mut self.filling);
        (self.filling_rows, self.filling_bytes) = (0, 0);
        let encoder = self.encoder(&runs)?;
        self.encoding.push_back(spawn_blocking(move || encoder.encode(&runs)));
        Ok(())
    }

    fn encoder(&mut self, sample: &[Run]) -> Result<Arc<RowGroupEncoder>, LakeError> {
        if let Some(encoder) = &self.encoder {
            return Ok(Arc::clone(encoder));
        }
        let encoder = RowGroupEncoder::new(&self.schema, sample, self.compression)
            .map_err(|source| failed(&self.name, source))?;
        Ok(Arc::clone(self.encoder.insert(Arc::new(encoder))))
    }

    /// Puts the next encoded row group into the file at hand.
    async fn append_next(&mut self) -> Result<(), LakeError> {
        let (Some(encoder), Some(encoding)) = (self.encoder.clone(), self.encoding.pop_front())
        else {
            return Ok(());
        };
        let Ok(encoded) = encoding.await else {
            return Err(LakeError::Interrupted { table: self.name.clone() });
        };
        let group = encoded.map_err(|source| failed(&self.name, source))?;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.start_file(&encoder)?,
        };
        file.rows += group.rows;
        let appended = encoder.append(group, &mut file.writer);
        let is_full = file.writer.bytes_written() >= self.sizes.file_bytes;
        let file = self.file.insert(file);
        appended.map_err(|source| failed(&self.name, source))?;
        file.send().await.map_err(|source| LakeError::write(&self.name, source))?;
        if is_full { self.finish_file().await } else { Ok(()) }
    }

    fn start_file(&self, encoder: &RowGroupEncoder) -> Result<DataFile, LakeError> {
        let (column, value) = &self.partition;
        let part = self.adds.len();
        let codec = codec::in_file_names(self.compression);
        let file_name = format!("part-{part:05}-{}-c000.{codec}.parquet", Uuid::new_v4());
        let path = Path::from(format!("{column}={value}")).join(file_name);
        let store = Arc::clone(&self.store);
        let upload = BufWriter::with_capacity(store, path.clone(), UPLOAD_PART_BYTES)
            .with_max_concurrency(UPLOADS_AT_A_TIME);
        let writer = encoder.start_file().map_err(|source| failed(&self.name, source))?;
        Ok(DataFile { path, writer, upload, rows: 0 })
    }

    async fn finish_file(&mut self) -> Result<(), LakeError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        fail::fail_point!("raw_file_before_end", |_| std::process::abort());
        let size = file.finish().await.map_err(|source| LakeError::write(&self.name, source))?;
        fail::fail_point!("raw_file_after_end", |_| std::process::abort());
        let (column, value) = &self.partition;
        self.adds.push(Add {
            path: file.path.to_string(),
            partition_values: HashMap::from([((*column).to_owned(), Some(value.clone()))]),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: clock::now().timestamp_millis(),
            data_change: true,
            stats: Some(format!("{{\"numRecords\":{}}}", file.rows)),
            ..Add::default()
        });
        Ok(())
    }

    /// Finishes the files.
    pub async fn close(mut self) -> Result<Vec<Add>, LakeError> {
        let closed = self.finish().await;
        match closed {
            Ok(()) => Ok(self.adds),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn finish(&mut self) -> Result<(), LakeError> {
        if !self.filling.is_empty() {
            self.encode().await?;
        }
        while !self.encoding.is_empty() {
            self.append_next().await?;
        }
        self.finish_file().await
    }

    /// Gives the files up, after a failure of the source: also those that were finished leave the
    /// store. What cannot be removed is left to a full vacuum.
    pub async fn abort(self) {
        for encoding in self.encoding {
            encoding.abort();
        }
        let unfinished = match self.file {
            Some(mut file) => file.upload.abort().await,
            None => Ok(()),
        };
        if let Err(error) = unfinished {
            tracing::warn!(table = %self.name, %error, "could not remove unfinished files");
        }
        discard_files(&self.store, &self.adds).await;
    }
}

impl DataFile {
    /// Uploads what the writer has written.
    async fn send(&mut self) -> Result<(), DeltaTableError> {
        self.writer.flush().map_err(ParquetError::from)?;
        let written = std::mem::take(self.writer.inner_mut());
        Ok(self.upload.put(written.into()).await?)
    }

    /// Ends the file and returns its bytes.
    async fn finish(&mut self) -> Result<usize, DeltaTableError> {
        self.writer.finish()?;
        self.send().await?;
        let ended = self.upload.shutdown().await;
        ended.map_err(ParquetError::from)?;
        Ok(self.writer.bytes_written())
    }
}

fn failed(table: &TableName, source: ParquetError) -> LakeError {
    LakeError::write(table, source.into())
}

#[cfg(test)]
mod tests;
