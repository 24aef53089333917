//! Data files of `ods/<feed>`, sorted by key: their footers, and reading one in order (that of
//! `sessions/<feed>`, too). They are written by [`super::sorted_writer`].
//!
//! | what | where it is recorded |
//! |---|---|
//! | rows are in the order (`user_id`, `product_code`, `timestamp`, `event_id`) | `sorting_columns` of every row group |
//! | users of the file are not before | `sessionlake.slice_from`, key-value metadata of the footer |
//!
//! A file of another writer, or of an older version, lacks the first mark; it is read all the
//! same, but its rows must be sorted first.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Date32Type, SchemaRef};
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::parquet::DecodeResult;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use deltalake::parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData, SortingColumn,
};
use deltalake::parquet::file::statistics::Statistics;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

use super::contracts::SORT_KEY;
use super::{Lake, LakeError, TableName};
use crate::config::Compression;

pub(super) const SLICE_FROM: &str = "sessionlake.slice_from";
/// One request brings the footer of most files.
const FOOTER_BYTES: u64 = 64 * 1024;

/// A data file whose footer is read.
#[derive(Debug, Clone)]
pub struct OpenFile {
    path: Path,
    metadata: Arc<ParquetMetaData>,
}

/// Where data files are and who fetches them.
#[derive(Debug, Clone)]
pub struct FileAccess {
    /// The table, for messages.
    pub table: TableName,
    /// The store, rooted at the table.
    pub store: Arc<dyn ObjectStore>,
    /// The codec of new files.
    pub compression: Compression,
    /// Runs the requests of threads that are not asynchronous themselves.
    pub runtime: Handle,
}

impl FileAccess {
    /// The files of a table; to be asked for on a runtime.
    pub fn of(lake: &Lake, name: &TableName, table: &DeltaTable) -> Self {
        Self {
            table: name.clone(),
            store: table.log_store().object_store(None),
            compression: lake.compression(),
            runtime: Handle::current(),
        }
    }

    /// Reads the footer of a file.
    pub async fn open(&self, path: Path, bytes: u64) -> Result<OpenFile, LakeError> {
        let metadata =
            self.footer(&path, bytes).await.map_err(|source| self.file_error(&path, source))?;
        Ok(OpenFile { path, metadata: Arc::new(metadata) })
    }

    async fn footer(&self, path: &Path, bytes: u64) -> Result<ParquetMetaData, ParquetError> {
        let mut decoder = ParquetMetaDataPushDecoder::try_new(bytes)?
            .with_page_index_policy(PageIndexPolicy::Skip);
        let tail = bytes.saturating_sub(FOOTER_BYTES)..bytes;
        let mut wanted = Vec::from([tail]);
        loop {
            let fetched = self.store.get_ranges(path, &wanted).await;
            let fetched = fetched.map_err(|source| ParquetError::External(Box::new(source)))?;
            decoder.push_ranges(wanted, fetched)?;
            match decoder.try_decode()? {
                DecodeResult::Data(metadata) => return Ok(metadata),
                DecodeResult::NeedsData(ranges) => wanted = ranges,
                DecodeResult::Finished => {
                    return Err(ParquetError::General("the footer has no metadata".to_owned()));
                }
            }
        }
    }

    pub(super) fn file_error(&self, path: &Path, source: ParquetError) -> LakeError {
        LakeError::File { table: self.table.clone(), path: path.to_string(), source }
    }
}

impl OpenFile {
    /// Whether every row group says that it is sorted by key.
    pub fn is_sorted(&self) -> bool {
        self.metadata.row_groups().iter().all(|group| {
            let schema = group.schema_descr();
            let key = SORT_KEY.iter().map(|name| sorting_column(schema.columns(), name));
            let key: Option<Vec<SortingColumn>> = key.collect();
            key.is_some() && group.sorting_columns() == key.as_ref()
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> i64 {
        self.metadata.file_metadata().num_rows()
    }

    /// The first user of the slice that the file was written for; `None` for the first slice, and
    /// for a file that was not written in slices.
    pub fn slice_from(&self) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == SLICE_FROM)?.value.as_deref()
    }

    /// Bounds of the users in the file, both included; `None` where they are not known.
    pub fn users(&self) -> Option<(String, String)> {
        let groups = self.metadata.row_groups();
        let bounds = groups.iter().map(users_of).collect::<Option<Vec<_>>>()?;
        let first = bounds.iter().map(|(first, _)| first).min()?.clone();
        let last = bounds.iter().map(|(_, last)| last).max()?.clone();
        Some((first, last))
    }

    /// The first user of each row group, where it is known.
    pub fn first_users(&self) -> Vec<String> {
        let groups = self.metadata.row_groups().iter();
        groups.filter_map(|group| users_of(group).map(|(first, _)| first)).collect()
    }

    /// Row groups that may hold users in `[from, to)`.
    fn groups_within(&self, from: Option<&str>, to: Option<&str>) -> Vec<usize> {
        let overlaps = |group: &RowGroupMetaData| {
            users_of(group).is_none_or(|(first, last)| {
                from.is_none_or(|from| last.as_str() >= from)
                    && to.is_none_or(|to| first.as_str() < to)
            })
        };
        let groups = self.metadata.row_groups().iter().enumerate();
        groups.filter(|(_, group)| overlaps(group)).map(|(index, _)| index).collect()
    }
}

fn sorting_column(
    columns: &[deltalake::parquet::schema::types::ColumnDescPtr],
    name: &str,
) -> Option<SortingColumn> {
    let position = columns.iter().position(|column| column.path().string() == name)?;
    let column_idx = i32::try_from(position).ok()?;
    Some(SortingColumn { column_idx, descending: false, nulls_first: false })
}

fn users_of(group: &RowGroupMetaData) -> Option<(String, String)> {
    let column = group.columns().iter().find(|column| column.column_path().string() == SORT_KEY[0]);
    let Some(Statistics::ByteArray(users)) = column?.statistics() else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some((text(users.min_bytes_opt()?)?, text(users.max_bytes_opt()?)?))
}

/// The rows of one file, in the order in which they stand there.
pub struct FileReader {
    access: FileAccess,
    path: Path,
    decoder: ParquetPushDecoder,
    schema: SchemaRef,
}

impl FileReader {
    /// Reads the columns of `schema` of the rows that may belong to users in `[from, to)`; a
    /// column that the file does not have yet is null.
    pub fn new(
        access: &FileAccess,
        file: &OpenFile,
        schema: &SchemaRef,
        users: (Option<&str>, Option<&str>),
        batch_rows: usize,
    ) -> Result<Self, LakeError> {
        let error = |source| access.file_error(&file.path, source);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata =
            ArrowReaderMetadata::try_new(Arc::clone(&file.metadata), options).map_err(error)?;
        let builder = ParquetPushDecoderBuilder::new_with_metadata(metadata);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let decoder = builder
            .with_projection(mask)
            .with_row_groups(file.groups_within(users.0, users.1))
            .with_batch_size(batch_rows)
            .build()
            .map_err(error)?;
        Ok(Self {
            access: access.clone(),
            path: file.path.clone(),
            decoder,
            schema: Arc::clone(schema),
        })
    }

    /// The next rows; never called from an asynchronous task, as it waits for the store.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        loop {
            let decoded = self.decoder.try_decode();
            match decoded.map_err(|source| self.access.file_error(&self.path, source))? {
                DecodeResult::NeedsData(ranges) => self.fetch(ranges)?,
                DecodeResult::Data(batch) => return self.conform(&batch).map(Some),
                DecodeResult::Finished => return Ok(None),
            }
        }
    }

    fn fetch(&mut self, ranges: Vec<Range<u64>>) -> Result<(), LakeError> {
        let fetched = self.access.store.get_ranges(&self.path, &ranges);
        self.access
            .runtime
            .block_on(fetched)
            .map_err(|source| ParquetError::External(Box::new(source)))
            .and_then(|bytes| self.decoder.push_ranges(ranges, bytes))
            .map_err(|source| self.access.file_error(&self.path, source))
    }

    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let rows = batch.num_rows();
        let columns =
            self.schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
                Some(column) => arrow::compute::cast(column, field.data_type()),
                None => Ok(arrow::array::new_null_array(field.data_type(), rows)),
            });
        columns
            .collect::<Result<Vec<_>, _>>()
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns))
            .map_err(|source| LakeError::Rows { table: self.access.table.clone(), source })
    }
}

/// Days since 1970, the form of event dates in the columns.
pub fn days(date: NaiveDate) -> i32 {
    Date32Type::from_naive_date(date)
}
