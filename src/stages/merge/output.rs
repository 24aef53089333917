//! The successor of one event date in one slice: runs of rows copied from the files it replaces,
//! and the changed rows between them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBufferBuilder, MutableArrayData, PrimitiveArray, RecordBatch,
    make_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use deltalake::kernel::Add;

use crate::engine::keyed::{ATTRIBUTES, KeyedBatch, PRODUCT_CODE, UPDATED_AT, USER_ID};
use crate::engine::session_id::session_ids;
use crate::lake::sorted_writer::SortedWriter;
use crate::lake::{LakeError, TableName};
use crate::stages::sessions::Session;

/// Rows handed to the encoder at a time.
const BATCH_ROWS: usize = 16 * 1024;

/// Consecutive rows of one batch.
#[derive(Debug, Clone, Copy)]
struct Segment {
    source: usize,
    first: usize,
    end: usize,
}

/// Numbers of a column in the making, some of them null.
#[derive(Default)]
struct Numbers {
    values: Vec<i64>,
    valid: Option<BooleanBufferBuilder>,
}

impl Numbers {
    fn valid(&mut self) -> &mut BooleanBufferBuilder {
        self.valid.get_or_insert_with(|| BooleanBufferBuilder::new(BATCH_ROWS))
    }

    fn push(&mut self, value: Option<i64>) {
        self.values.push(value.unwrap_or_default());
        self.valid().append(value.is_some());
    }

    fn extend<T>(&mut self, array: &PrimitiveArray<T>, first: usize, end: usize)
    where
        T: ArrowPrimitiveType<Native = i64>,
    {
        self.values.extend_from_slice(&array.values()[first..end]);
        match array.nulls() {
            None => self.valid().append_n(end - first, true),
            Some(nulls) => {
                let (bits, offset) = (nulls.validity(), nulls.offset());
                self.valid().append_packed_range(offset + first..offset + end, bits);
            }
        }
    }

    fn finish<T>(&mut self) -> PrimitiveArray<T>
    where
        T: ArrowPrimitiveType<Native = i64>,
    {
        let values = ScalarBuffer::from(std::mem::take(&mut self.values));
        let nulls = self.valid.as_mut().map(|valid| NullBuffer::new(valid.finish()));
        PrimitiveArray::new(values, nulls.filter(|nulls| nulls.null_count() > 0))
    }
}

/// What becomes of the rows of one event date.
pub(super) enum DateOutput {
    /// They are written.
    Files(Box<FileOutput>),
    /// They are compared elsewhere.
    Nowhere,
}

impl DateOutput {
    /// Copies rows of ODS as they are: the stored columns, then `time_diff_ms`, `session_start`.
    pub(super) fn copy(
        &mut self,
        batch: &Arc<KeyedBatch>,
        first: usize,
        end: usize,
    ) -> Result<(), LakeError> {
        match self {
            Self::Files(output) => output.copy(batch, first, end),
            Self::Nowhere => Ok(()),
        }
    }

    /// Writes the stored columns of one row with the given session.
    pub(super) fn push(
        &mut self,
        batch: &Arc<KeyedBatch>,
        row: usize,
        session: Session,
    ) -> Result<(), LakeError> {
        match self {
            Self::Files(output) => output.push(batch, row, session),
            Self::Nowhere => Ok(()),
        }
    }

    /// Finishes the files.
    pub(super) fn close(self) -> Result<Vec<Add>, LakeError> {
        match self {
            Self::Files(output) => output.close(),
            Self::Nowhere => Ok(Vec::new()),
        }
    }

    /// Gives the files up.
    pub(super) fn abort(self) {
        if let Self::Files(output) = self {
            output.writer.abort();
        }
    }
}

/// Rows on their way to the files of one event date.
pub(super) struct FileOutput {
    table: TableName,
    schema: SchemaRef,
    writer: SortedWriter,
    sources: Vec<Arc<KeyedBatch>>,
    segments: Vec<Segment>,
    time_diffs: Numbers,
    starts: Numbers,
    rows: usize,
}

impl FileOutput {
    /// Nothing yet; `schema` is that of a data file.
    pub(super) fn new(table: TableName, schema: SchemaRef, writer: SortedWriter) -> Self {
        Self {
            table,
            schema,
            writer,
            sources: Vec::new(),
            segments: Vec::new(),
            time_diffs: Numbers::default(),
            starts: Numbers::default(),
            rows: 0,
        }
    }

    fn copy(
        &mut self,
        batch: &Arc<KeyedBatch>,
        mut first: usize,
        end: usize,
    ) -> Result<(), LakeError> {
        let behind_stored = ATTRIBUTES + self.attributes();
        while first < end {
            let rows = (end - first).min(BATCH_ROWS - self.rows);
            let diffs = batch.column(behind_stored).as_primitive::<Int64Type>();
            self.time_diffs.extend(diffs, first, first + rows);
            let starts = batch.column(behind_stored + 1).as_primitive::<TimestampMicrosecondType>();
            self.starts.extend(starts, first, first + rows);
            self.extend(batch, first, first + rows)?;
            first += rows;
        }
        Ok(())
    }

    fn push(
        &mut self,
        batch: &Arc<KeyedBatch>,
        row: usize,
        session: Session,
    ) -> Result<(), LakeError> {
        self.time_diffs.push(session.time_diff_ms);
        self.starts.push(session.start_micros);
        self.extend(batch, row, row + 1)
    }

    fn close(mut self) -> Result<Vec<Add>, LakeError> {
        if let Err(error) = self.flush() {
            self.writer.abort();
            return Err(error);
        }
        self.writer.close()
    }

    fn attributes(&self) -> usize {
        // Beside the stored columns there are the three that follow from the neighbours.
        self.schema.fields().len() - (ATTRIBUTES + 3)
    }

    fn extend(
        &mut self,
        batch: &Arc<KeyedBatch>,
        first: usize,
        end: usize,
    ) -> Result<(), LakeError> {
        let source = self.source(batch);
        match self.segments.last_mut() {
            Some(last) if last.source == source && last.end == first => last.end = end,
            _ => self.segments.push(Segment { source, first, end }),
        }
        self.rows += end - first;
        if self.rows >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn source(&mut self, batch: &Arc<KeyedBatch>) -> usize {
        let known = self.sources.iter().rposition(|source| Arc::ptr_eq(source, batch));
        known.unwrap_or_else(|| {
            self.sources.push(Arc::clone(batch));
            self.sources.len() - 1
        })
    }

    fn flush(&mut self) -> Result<(), LakeError> {
        if self.rows == 0 {
            return Ok(());
        }
        let batch =
            self.batch().map_err(|source| LakeError::Rows { table: self.table.clone(), source })?;
        self.sources.clear();
        self.segments.clear();
        self.rows = 0;
        self.writer.write(&batch)
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let stored: Vec<ArrayRef> = (0..ATTRIBUTES + self.attributes())
            .map(|column| self.gather(column))
            .collect::<Result<_, _>>()?;
        let starts = self.starts.finish::<TimestampMicrosecondType>().with_timezone("UTC");
        let ids =
            session_ids(stored[USER_ID].as_string(), stored[PRODUCT_CODE].as_string(), &starts);
        // As in the contract of the table: what is computed stands before `_updated_at`.
        let mut columns = stored[..UPDATED_AT].to_vec();
        columns.push(Arc::new(self.time_diffs.finish::<Int64Type>()));
        columns.push(Arc::new(starts));
        columns.push(Arc::new(ids));
        columns.extend_from_slice(&stored[UPDATED_AT..]);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn gather(&self, column: usize) -> Result<ArrayRef, ArrowError> {
        let data: Vec<_> =
            self.sources.iter().map(|source| source.column(column).to_data()).collect();
        let mut gathered = MutableArrayData::new(data.iter().collect(), false, self.rows);
        for segment in &self.segments {
            gathered.try_extend(segment.source, segment.first, segment.end)?;
        }
        Ok(make_array(gathered.freeze()))
    }
}
