//! One Parquet row group of many text columns: how each is encoded, and the columns in which every
//! row has the same value, which are encoded once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use deltalake::parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use deltalake::parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use deltalake::parquet::basic::Encoding;
use deltalake::parquet::column::writer::ColumnCloseResult;
use deltalake::parquet::errors::{ParquetError, Result};
use deltalake::parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
};
use deltalake::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use deltalake::parquet::schema::types::{ColumnPath, TypePtr};

use super::codec;
use crate::config::Compression;

/// Values looked at to tell whether a column repeats itself.
const SAMPLE_VALUES: usize = 2048;
/// A column with fewer distinct values among its sample than one in this many gets a dictionary.
const REPEATS: usize = 4;

/// Encodes row groups of one table, on any thread.
pub(super) struct RowGroupEncoder {
    properties: WriterPropertiesPtr,
    root: TypePtr,
    /// The columns of the batches, in file order.
    varying: SchemaRef,
    columns: ArrowRowGroupWriterFactory,
    /// Where each column of the file comes from, in order.
    sources: Vec<ColumnSource>,
    /// Those of the row group before: nearly all row groups have the same.
    constants: Mutex<Option<Arc<EncodedConstants>>>,
}

/// Consecutive rows of a row group that have some columns in common.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// The columns that vary from row to row.
    pub(super) rows: RecordBatch,
    /// One row: the columns that do not.
    pub(super) constants: Arc<RecordBatch>,
}

#[derive(Debug, Clone, Copy)]
enum ColumnSource {
    Varying,
    /// Index of the constant.
    Constant(usize),
}

/// A row group that is ready to be put into a file.
pub(super) struct EncodedRowGroup {
    pub(super) rows: usize,
    columns: Vec<ArrowColumnChunk>,
    constants: Arc<EncodedConstants>,
}

/// The constants of some runs, as the only columns and row group of a Parquet file.
struct EncodedConstants {
    /// The constants, and the number of rows that have them.
    runs: Vec<(Arc<RecordBatch>, usize)>,
    file: Bytes,
    columns: Vec<ColumnCloseResult>,
}

impl RowGroupEncoder {
    /// An encoder for files of `schema`; `sample` are some of their rows.
    pub(super) fn new(
        schema: &SchemaRef,
        sample: &[Run],
        compression: Compression,
    ) -> Result<Self> {
        let mut properties = properties(schema, sample, compression)?;
        add_encoded_arrow_schema_to_metadata(schema, &mut properties);
        let properties = Arc::new(properties);
        let constant_at = |name: &str| sample.first()?.constants.schema().index_of(name).ok();
        let varying = schema.fields().iter().filter(|field| constant_at(field.name()).is_none());
        let varying = Arc::new(Schema::new(varying.cloned().collect::<Vec<_>>()));
        let sources = schema.fields().iter().map(|field| {
            constant_at(field.name()).map_or(ColumnSource::Varying, ColumnSource::Constant)
        });
        let sources = sources.collect();
        let columns = file_writer(&varying, &properties)?;
        let columns = ArrowRowGroupWriterFactory::new(&columns, Arc::clone(&varying));
        let root = root(schema)?;
        Ok(Self { properties, root, varying, columns, sources, constants: Mutex::new(None) })
    }

    /// A file without any row group yet.
    pub(super) fn start_file(&self) -> Result<SerializedFileWriter<Vec<u8>>> {
        SerializedFileWriter::new(Vec::new(), Arc::clone(&self.root), Arc::clone(&self.properties))
    }

    /// Encodes the rows of `runs`, in order.
    pub(super) fn encode(&self, runs: &[Run]) -> Result<EncodedRowGroup> {
        let rows = runs.iter().map(|run| run.rows.num_rows()).sum();
        let mut writers = self.columns.create_column_writers(0)?;
        for (field, writer) in self.varying.fields().iter().zip(&mut writers) {
            for run in runs {
                for leaf in compute_leaves(field, column(&run.rows, field.name())?)? {
                    writer.write(&leaf)?;
                }
            }
        }
        let columns = writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<_>>()?;
        Ok(EncodedRowGroup { rows, columns, constants: self.constants_of(runs)? })
    }

    fn constants_of(&self, runs: &[Run]) -> Result<Arc<EncodedConstants>> {
        let mut lengths: Vec<(Arc<RecordBatch>, usize)> = Vec::new();
        for Run { rows, constants } in runs {
            match lengths.last_mut().filter(|(last, _)| Arc::ptr_eq(last, constants)) {
                Some((_, length)) => *length += rows.num_rows(),
                None => lengths.push((Arc::clone(constants), rows.num_rows())),
            }
        }
        let mut last = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoded) = last.as_ref().filter(|encoded| encoded.is_of(&lengths)) {
            return Ok(Arc::clone(encoded));
        }
        let encoded = Arc::new(EncodedConstants::new(lengths, &self.properties)?);
        Ok(Arc::clone(last.insert(encoded)))
    }

    /// Puts a row group behind those that `file` has.
    pub(super) fn append(
        &self,
        group: EncodedRowGroup,
        file: &mut SerializedFileWriter<Vec<u8>>,
    ) -> Result<()> {
        let mut into: SerializedRowGroupWriter<'_, _> = file.next_row_group()?;
        let mut varying = group.columns.into_iter();
        for source in &self.sources {
            match source {
                ColumnSource::Constant(at) => {
                    let close = group.constants.columns[*at].clone();
                    into.append_column(&group.constants.file, close)?;
                }
                ColumnSource::Varying => {
                    if let Some(column) = varying.next() {
                        column.append_to_row_group(&mut into)?;
                    }
                }
            }
        }
        into.close()?;
        Ok(())
    }
}

impl EncodedConstants {
    fn new(runs: Vec<(Arc<RecordBatch>, usize)>, properties: &WriterPropertiesPtr) -> Result<Self> {
        let schema = match runs.first() {
            Some((constants, _)) => constants.schema(),
            None => Arc::new(Schema::empty()),
        };
        let mut file = file_writer(&schema, properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        let mut writers = factory.create_column_writers(0)?;
        for (constants, length) in &runs {
            let first = UInt32Array::from(vec![0; *length]);
            let columns = schema.fields().iter().zip(constants.columns());
            for ((field, value), writer) in columns.zip(&mut writers) {
                for leaf in compute_leaves(field, &take(value, &first, None)?)? {
                    writer.write(&leaf)?;
                }
            }
        }
        let mut group = file.next_row_group()?;
        for writer in writers {
            writer.close()?.append_to_row_group(&mut group)?;
        }
        let metadata = group.close()?;
        file.finish()?;
        let rows_written = metadata.num_rows().unsigned_abs();
        let columns = metadata.columns().iter().map(|column| ColumnCloseResult {
            bytes_written: column.compressed_size().unsigned_abs(),
            rows_written,
            metadata: column.clone(),
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        });
        let columns = columns.collect();
        Ok(Self { runs, columns, file: std::mem::take(file.inner_mut()).into() })
    }

    fn is_of(&self, runs: &[(Arc<RecordBatch>, usize)]) -> bool {
        let is_same = |((a, a_length), (b, b_length)): (&(Arc<_>, usize), &(Arc<_>, usize))| {
            Arc::ptr_eq(a, b) && a_length == b_length
        };
        self.runs.len() == runs.len() && self.runs.iter().zip(runs).all(is_same)
    }
}

fn file_writer(
    schema: &Schema,
    properties: &WriterPropertiesPtr,
) -> Result<SerializedFileWriter<Vec<u8>>> {
    SerializedFileWriter::new(Vec::new(), root(schema)?, Arc::clone(properties))
}

fn root(schema: &Schema) -> Result<TypePtr> {
    Ok(ArrowSchemaConverter::new().convert(schema)?.root_schema_ptr())
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ParquetError::General(format!("the rows lack the column {name}")))
}

/// Nobody looks for rows by the values of these columns, so none has statistics. A dictionary
/// costs a look-up for each value, and pays off only where values repeat.
fn properties(
    schema: &Schema,
    sample: &[Run],
    compression: Compression,
) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_compression(codec::parquet(compression)?)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_created_by(concat!("sessionlake ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields() {
        let values: Vec<&ArrayRef> =
            sample.iter().filter_map(|run| run.rows.column_by_name(field.name())).collect();
        properties = match field.data_type() {
            DataType::Int64 => encoded(properties, field.name(), Encoding::DELTA_BINARY_PACKED),
            DataType::Utf8 if !values.is_empty() && !repeats(&values) => {
                encoded(properties, field.name(), Encoding::PLAIN)
            }
            _ => properties,
        };
    }
    Ok(properties.build())
}

fn encoded(
    properties: WriterPropertiesBuilder,
    column: &str,
    encoding: Encoding,
) -> WriterPropertiesBuilder {
    let path = ColumnPath::new(vec![column.to_owned()]);
    properties
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, encoding)
}

/// Whether values taken from all over a text column are few distinct ones.
fn repeats(column: &[&ArrayRef]) -> bool {
    let values: usize = column.iter().map(|array| array.len() - array.null_count()).sum();
    let texts = column.iter().flat_map(|array| array.as_string::<i32>().iter().flatten());
    let sample: Vec<&str> = texts.step_by((values / SAMPLE_VALUES).max(1)).collect();
    let distinct: HashSet<&str> = sample.iter().copied().collect();
    distinct.len() * REPEATS <= sample.len()
}
