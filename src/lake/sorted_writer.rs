//! Writing data files of a table in key order, `ods/<feed>` or `sessions/<feed>`: the rows of one
//! date.
//!
//! Files and their [`Add`] actions are like those of any writer; they are invisible until the
//! actions are committed, and a crash leaves them to a full vacuum.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Schema, SchemaRef};
use bytes::Bytes;
use chrono::DateTime;
use deltalake::kernel::Add;
use deltalake::parquet::arrow::ArrowSchemaConverter;
use deltalake::parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use deltalake::parquet::basic::Encoding;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::file::statistics::Statistics;
use deltalake::parquet::file::writer::SerializedFileWriter;
use deltalake::parquet::schema::types::ColumnPath;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::LakeError;
use super::codec;
use super::contracts::SortedFiles;
use super::sorted_files::{FileAccess, SLICE_FROM};
use super::text_chunk::{Repeats, TextChunk};
use crate::clock;
use crate::config::Compression;

/// Bytes beyond which a file ends with its row group.
const TARGET_FILE_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of one part of an upload.
const UPLOAD_PART_BYTES: usize = 8 * 1024 * 1024;
/// Columns whose values come in runs that do not come back: rows are sorted by the first, and the
/// second follows the order of the sessions of a key.
const COLUMNS_IN_RUNS: [&str; 2] = ["user_id", "session_id"];

/// Writes rows of one date in key order. All methods wait for the store, so they are called
/// from threads of their own.
pub struct SortedWriter {
    access: FileAccess,
    layout: &'static SortedFiles,
    schema: SchemaRef,
    date: i32,
    properties: Arc<WriterProperties>,
    group_rows: usize,
    id: Uuid,
    file: Option<FileInProgress>,
    adds: Vec<Add>,
}

/// The file at hand.
struct FileInProgress {
    path: Path,
    parquet: SerializedFileWriter<Vec<u8>>,
    upload: BufWriter,
    columns: Vec<ColumnInProgress>,
    group_rows: usize,
}

enum ColumnInProgress {
    Text(Box<TextChunk>),
    Other(Box<ArrowColumnWriter>),
}

impl SortedWriter {
    /// A writer for the rows of `date`, days since 1970, in the slice that begins with the user `slice_from`, in
    /// row groups of about `group_rows`. `schema` has no partition column.
    pub fn new(
        access: &FileAccess,
        layout: &'static SortedFiles,
        schema: &SchemaRef,
        date: i32,
        slice_from: Option<&str>,
        group_rows: usize,
    ) -> Result<Self, LakeError> {
        let properties = properties(layout, schema, slice_from, access.compression)
            .map_err(|source| LakeError::write(&access.table, source.into()))?;
        Ok(Self {
            access: access.clone(),
            layout,
            schema: Arc::clone(schema),
            date,
            properties: Arc::new(properties),
            group_rows,
            id: Uuid::new_v4(),
            file: None,
            adds: Vec::new(),
        })
    }

    /// Appends rows that are not before those written so far.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.begin()?,
        };
        file.write(batch).map_err(|source| self.error(&file.path, source))?;
        if file.group_rows >= self.group_rows {
            self.end_group(&mut file)?;
        }
        if file.parquet.bytes_written() >= TARGET_FILE_BYTES {
            self.end(file)
        } else {
            self.file = Some(file);
            Ok(())
        }
    }

    /// Finishes the files.
    pub fn close(mut self) -> Result<Vec<Add>, LakeError> {
        if let Some(file) = self.file.take() {
            self.end(file)?;
        }
        Ok(self.adds)
    }

    /// Gives the file at hand up.
    pub fn abort(mut self) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        if let Err(error) = self.access.runtime.block_on(file.upload.abort()) {
            tracing::warn!(path = %file.path, %error, "could not remove an unfinished file");
        }
    }

    fn error(&self, path: &Path, source: ParquetError) -> LakeError {
        LakeError::WriteFile { table: self.access.table.clone(), path: path.to_string(), source }
    }

    fn begin(&self) -> Result<FileInProgress, LakeError> {
        let date = Date32Type::to_naive_date_opt(self.date).unwrap_or_default();
        let (part, id, partition) = (self.adds.len(), self.id, self.layout.partition);
        let codec = codec::in_file_names(self.access.compression);
        let path =
            Path::from(format!("{partition}={date}/part-{part:05}-{id}-c000.{codec}.parquet"));
        let parquet = ArrowSchemaConverter::new()
            .convert(&self.schema)
            .and_then(|schema| {
                let root = schema.root_schema_ptr();
                SerializedFileWriter::new(Vec::new(), root, Arc::clone(&self.properties))
            })
            .map_err(|source| self.error(&path, source))?;
        let store = Arc::clone(&self.access.store);
        let upload = BufWriter::with_capacity(store, path.clone(), UPLOAD_PART_BYTES);
        let columns = columns(self.layout, &self.schema, &parquet, self.access.compression)
            .map_err(|source| self.error(&path, source))?;
        Ok(FileInProgress { path, parquet, upload, columns, group_rows: 0 })
    }

    fn end_group(&self, file: &mut FileInProgress) -> Result<(), LakeError> {
        let bytes = file
            .end_group(self.layout, &self.schema, self.access.compression)
            .map_err(|source| self.error(&file.path, source))?;
        self.upload(file, bytes)
    }

    fn upload(&self, file: &mut FileInProgress, bytes: Bytes) -> Result<(), LakeError> {
        let put = self.access.runtime.block_on(file.upload.put(bytes));
        put.map_err(|source| self.error(&file.path, ParquetError::External(Box::new(source))))
    }

    fn end(&mut self, mut file: FileInProgress) -> Result<(), LakeError> {
        if file.group_rows > 0 {
            self.end_group(&mut file)?;
        }
        fail::fail_point!("ods_file_before_end", |_| std::process::abort());
        let metadata = file.parquet.finish().map_err(|source| self.error(&file.path, source))?;
        let bytes = file.parquet.bytes_written();
        let rest = Bytes::from(mem::take(file.parquet.inner_mut()));
        self.upload(&mut file, rest)?;
        self.access
            .runtime
            .block_on(file.upload.shutdown())
            .map_err(|source| self.error(&file.path, ParquetError::External(Box::new(source))))?;
        fail::fail_point!("ods_file_after_end", |_| std::process::abort());
        let add = self.add(&file.path, bytes, &metadata);
        self.adds.push(add);
        Ok(())
    }

    fn add(&self, path: &Path, bytes: usize, metadata: &ParquetMetaData) -> Add {
        let date = Date32Type::to_naive_date_opt(self.date).unwrap_or_default();
        let partition = (self.layout.partition.to_owned(), Some(date.to_string()));
        Add {
            path: path.to_string(),
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
            partition_values: HashMap::from([partition]),
            modification_time: clock::now().timestamp_millis(),
            data_change: true,
            stats: Some(statistics(self.layout, metadata).to_string()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }
}

impl FileInProgress {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let schema = batch.schema();
        let columns = self.columns.iter_mut().zip(schema.fields()).zip(batch.columns());
        for ((column, field), values) in columns {
            match column {
                ColumnInProgress::Text(chunk) => chunk.write(values.as_string::<i32>())?,
                ColumnInProgress::Other(writer) => {
                    for leaf in compute_leaves(field, values)? {
                        writer.write(&leaf)?;
                    }
                }
            }
        }
        self.group_rows += batch.num_rows();
        Ok(())
    }

    /// Ends the row group, and gives back the bytes that are to be uploaded.
    fn end_group(
        &mut self,
        layout: &SortedFiles,
        schema: &SchemaRef,
        compression: Compression,
    ) -> Result<Bytes, ParquetError> {
        let mut group = self.parquet.next_row_group()?;
        for column in mem::take(&mut self.columns) {
            match column {
                ColumnInProgress::Text(mut chunk) => {
                    let (bytes, close) = chunk.finish()?;
                    group.append_column(&Bytes::from(bytes), close)?;
                }
                ColumnInProgress::Other(writer) => {
                    writer.close()?.append_to_row_group(&mut group)?;
                }
            }
        }
        group.close()?;
        self.group_rows = 0;
        self.columns = columns(layout, schema, &self.parquet, compression)?;
        self.parquet.flush()?;
        Ok(Bytes::from(mem::take(self.parquet.inner_mut())))
    }
}

fn columns(
    layout: &SortedFiles,
    schema: &SchemaRef,
    parquet: &SerializedFileWriter<Vec<u8>>,
    compression: Compression,
) -> Result<Vec<ColumnInProgress>, ParquetError> {
    let factory = ArrowRowGroupWriterFactory::new(parquet, Arc::clone(schema));
    let writers = factory.create_column_writers(parquet.flushed_row_groups().len())?;
    let descriptors = parquet.schema_descr().columns();
    Ok(writers
        .into_iter()
        .zip(schema.fields())
        .zip(descriptors)
        .map(|((writer, field), descriptor)| {
            let name = field.name().as_str();
            match field.data_type() {
                DataType::Utf8 => {
                    let in_runs = COLUMNS_IN_RUNS.contains(&name);
                    let repeats = if in_runs { Repeats::InRuns } else { Repeats::Anywhere };
                    let descriptor = Arc::clone(descriptor);
                    let has_statistics = layout.bounded.contains(&name);
                    let chunk = TextChunk::new(descriptor, repeats, has_statistics, compression);
                    ColumnInProgress::Text(Box::new(chunk))
                }
                _ => ColumnInProgress::Other(Box::new(writer)),
            }
        })
        .collect())
}

/// Times are stored as differences, everything else by dictionary. Few columns have statistics: no
/// other would let a reader skip anything in this order.
fn properties(
    layout: &SortedFiles,
    schema: &Schema,
    slice_from: Option<&str>,
    compression: Compression,
) -> Result<WriterProperties, ParquetError> {
    let key = layout.key.iter().filter_map(|name| {
        let column_idx = i32::try_from(schema.index_of(name).ok()?).ok()?;
        Some(SortingColumn { column_idx, descending: false, nulls_first: false })
    });
    let marks = slice_from
        .map(|user| vec![KeyValue { key: SLICE_FROM.to_owned(), value: Some(user.to_owned()) }]);
    let mut builder = WriterProperties::builder()
        .set_compression(codec::parquet(compression)?)
        .set_statistics_enabled(EnabledStatistics::None)
        // All columns have an index of their pages or none has.
        .set_offset_index_disabled(true)
        .set_sorting_columns(Some(key.collect()))
        .set_key_value_metadata(marks)
        .set_created_by(concat!("sessionlake ", env!("CARGO_PKG_VERSION")).to_owned());
    for name in layout.bounded {
        let column = ColumnPath::from(*name);
        builder = builder.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    for field in schema.fields() {
        if matches!(field.data_type(), DataType::Timestamp(..) | DataType::Int64) {
            let column = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(builder.build())
}

/// Statistics of a file as the Delta protocol writes them: of the bounded columns, from those of its
/// row groups; a column that a row group has no bounds for is left out.
fn statistics(layout: &SortedFiles, metadata: &ParquetMetaData) -> Value {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for &name in layout.bounded {
        let chunks = metadata.row_groups().iter().map(|group| {
            group
                .columns()
                .iter()
                .find(|column| column.column_path().string() == name)?
                .statistics()
        });
        let Some(chunks) = chunks.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let bounds = chunks.iter().map(|chunk| bounds_of(chunk)).collect::<Option<Vec<_>>>();
        let Some((first, last)) = bounds.and_then(|bounds| bounds.into_iter().reduce(widest))
        else {
            continue;
        };
        least.insert(name.to_owned(), first.into_json());
        greatest.insert(name.to_owned(), last.into_json());
        nulls.insert(name.to_owned(), json!(0));
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    })
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Micros(i64),
    Text(String),
}

impl Bound {
    fn into_json(self) -> Value {
        match self {
            Self::Text(text) => Value::from(text),
            Self::Micros(micros) => DateTime::from_timestamp_micros(micros)
                .map(|instant| instant.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
                .into(),
        }
    }
}

fn bounds_of(statistics: &Statistics) -> Option<(Bound, Bound)> {
    let text = |bytes: &[u8]| Some(Bound::Text(String::from_utf8(bytes.to_vec()).ok()?));
    match statistics {
        Statistics::ByteArray(texts) => {
            Some((text(texts.min_bytes_opt()?)?, text(texts.max_bytes_opt()?)?))
        }
        Statistics::Int64(micros) => {
            Some((Bound::Micros(*micros.min_opt()?), Bound::Micros(*micros.max_opt()?)))
        }
        _ => None,
    }
}

fn widest(left: (Bound, Bound), right: (Bound, Bound)) -> (Bound, Bound) {
    (left.0.min(right.0), left.1.max(right.1))
}
