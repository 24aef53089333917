//! Rows sorted by key in runs, which stay in memory while the pool allows and are spilled to disk
//! beyond that. A run is sorted; several runs are merged by who reads them.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use super::keyed::{EVENT_ID, KeyedBatch, PRODUCT_CODE, TIMESTAMP, USER_ID};

/// Rows of a batch of a spilled run.
const SPILLED_BATCH_ROWS: usize = 4096;
/// Rows of a run; more only make its sort slower.
const RUN_ROWS: usize = 128 * 1024;

/// Why rows cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The spill folder is not writable, or full.
    #[error("cannot spill to {}; check [engine] spill_dir and the free space there", .folder.display())]
    Spill {
        /// The folder.
        folder: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A spilled run cannot be written or read back.
    #[error("cannot write or read sorted rows under {}; check the free space there", .folder.display())]
    Rows {
        /// The folder.
        folder: PathBuf,
        /// Arrow's reason.
        source: ArrowError,
    },
    /// The memory limit leaves no room at all.
    #[error("the memory limit is too small to sort a batch; raise [engine] memory_limit")]
    Memory(#[source] Box<DataFusionError>),
}

/// Where runs go.
#[derive(Debug, Clone)]
pub struct SpillTarget {
    /// What the runs in memory are taken from.
    pub pool: Arc<dyn MemoryPool>,
    /// Folder of those on disk.
    pub folder: PathBuf,
}

impl SpillTarget {
    fn rows_error(&self, source: ArrowError) -> RunError {
        RunError::Rows { folder: self.folder.clone(), source }
    }
}

/// Rows in key order.
#[derive(Debug)]
pub struct SortedRun {
    batches: Batches,
    rows: usize,
}

#[derive(Debug)]
enum Batches {
    Memory { batch: Arc<KeyedBatch>, _reservation: MemoryReservation },
    Spilled(Spilled),
}

#[derive(Debug)]
struct Spilled {
    file: tempfile::NamedTempFile,
    target: SpillTarget,
    /// The first user of each batch.
    first_users: Vec<String>,
}

impl SortedRun {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the run is on disk.
    pub fn is_spilled(&self) -> bool {
        matches!(self.batches, Batches::Spilled(_))
    }

    /// About `count` users spread evenly over the rows, in order.
    pub fn sample_users(&self, count: usize) -> Vec<String> {
        match &self.batches {
            Batches::Memory { batch, .. } => {
                let step = (self.rows / count.max(1)).max(1);
                (0..self.rows).step_by(step).map(|row| batch.user(row).to_owned()).collect()
            }
            Batches::Spilled(spilled) => spilled.first_users.clone(),
        }
    }

    /// Reads the rows whose user lies in `[from, to)`; an open end is `None`.
    pub fn read(
        self: &Arc<Self>,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<RunReader, RunError> {
        let mut reader = RunReader {
            run: Arc::clone(self),
            file: None,
            to: to.map(str::to_owned),
            batch: None,
            row: 0,
            end: 0,
        };
        match &self.batches {
            Batches::Memory { batch, .. } => {
                let first = from.map_or(0, |user| batch.first_of_user(0, user));
                reader.show(Arc::clone(batch), first);
            }
            Batches::Spilled(spilled) => {
                let first = from.map_or(0, |user| {
                    spilled.first_users.partition_point(|first| first.as_str() < user)
                });
                let mut file = spilled.open()?;
                file.set_index(first.saturating_sub(1))
                    .map_err(|source| spilled.target.rows_error(source))?;
                reader.file = Some(file);
                reader.next_batch()?;
                while let (Some(batch), Some(user)) = (reader.batch.clone(), from) {
                    let first = batch.first_of_user(0, user);
                    if first < batch.rows() {
                        reader.show(batch, first);
                        break;
                    }
                    reader.next_batch()?;
                }
            }
        }
        Ok(reader)
    }
}

impl Spilled {
    fn open(&self) -> Result<FileReader<BufReader<File>>, RunError> {
        let file = self
            .file
            .reopen()
            .map_err(|source| RunError::Spill { folder: self.target.folder.clone(), source })?;
        FileReader::try_new_buffered(file, None).map_err(|source| self.target.rows_error(source))
    }
}

/// A position in a run.
pub struct RunReader {
    run: Arc<SortedRun>,
    file: Option<FileReader<BufReader<File>>>,
    to: Option<String>,
    batch: Option<Arc<KeyedBatch>>,
    row: usize,
    end: usize,
}

impl RunReader {
    /// The current batch and row, or `None` behind the last row.
    pub fn current(&self) -> Option<(&Arc<KeyedBatch>, usize)> {
        self.batch.as_ref().map(|batch| (batch, self.row))
    }

    /// Rows of the current batch up to here are still to be read.
    pub fn batch_end(&self) -> usize {
        self.end
    }

    /// Goes on to `row` of the current batch, or to the next batch when it is the batch's end.
    pub fn advance_to(&mut self, row: usize) -> Result<(), RunError> {
        self.row = row;
        if self.row < self.end {
            return Ok(());
        }
        self.next_batch()
    }

    fn next_batch(&mut self) -> Result<(), RunError> {
        self.batch = None;
        let Batches::Spilled(spilled) = &self.run.batches else {
            return Ok(());
        };
        let target = &spilled.target;
        let Some(batch) = self.file.as_mut().and_then(Iterator::next) else {
            return Ok(());
        };
        let batch = batch
            .and_then(|batch| KeyedBatch::try_new(&batch))
            .map_err(|source| target.rows_error(source))?;
        self.show(Arc::new(batch), 0);
        Ok(())
    }

    /// Shows `batch` from `row` on, as far as the range of users goes.
    fn show(&mut self, batch: Arc<KeyedBatch>, row: usize) {
        let end = match &self.to {
            Some(user) => batch.first_of_user(row, user),
            None => batch.rows(),
        };
        self.row = row;
        self.end = end;
        self.batch = (row < end).then_some(batch);
    }
}

/// Collects rows and cuts them into runs.
pub struct RunWriter {
    target: SpillTarget,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    runs: Vec<SortedRun>,
}

impl RunWriter {
    /// A writer without rows.
    pub fn new(target: SpillTarget) -> Self {
        Self { target, pending: Vec::new(), pending_rows: 0, runs: Vec::new() }
    }

    /// Adds rows in any order; all batches have the same columns.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), RunError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.pending_rows += batch.num_rows();
        self.pending.push(batch);
        if self.pending_rows >= RUN_ROWS { self.cut() } else { Ok(()) }
    }

    /// The runs, in no particular order.
    pub fn finish(mut self) -> Result<Vec<SortedRun>, RunError> {
        self.cut()?;
        Ok(self.runs)
    }

    fn cut(&mut self) -> Result<(), RunError> {
        let batches = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        if rows == 0 {
            return Ok(());
        }
        let order = key_order(&batches).map_err(|source| self.target.rows_error(source))?;
        let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let reservation =
            MemoryConsumer::new("sorted runs").with_can_spill(true).register(&self.target.pool);
        let batches = if reservation.try_grow(bytes).is_ok() {
            let sorted = take_rows(&batches, &order)
                .and_then(|batch| KeyedBatch::try_new(&batch))
                .map_err(|source| self.target.rows_error(source))?;
            Batches::Memory { batch: Arc::new(sorted), _reservation: reservation }
        } else {
            Batches::Spilled(self.spill(&batches, &order)?)
        };
        self.runs.push(SortedRun { batches, rows });
        Ok(())
    }

    fn spill(
        &self,
        batches: &[RecordBatch],
        order: &[(usize, usize)],
    ) -> Result<Spilled, RunError> {
        let folder = || self.target.folder.clone();
        let file = tempfile::Builder::new()
            .prefix("sessionlake-run-")
            .tempfile_in(&self.target.folder)
            .map_err(|source| RunError::Spill { folder: folder(), source })?;
        let rows_error = |source| self.target.rows_error(source);
        let schema: Arc<Schema> = batches[0].schema();
        let mut writer =
            FileWriter::try_new_buffered(file.as_file(), &schema).map_err(rows_error)?;
        let mut first_users = Vec::new();
        for rows in order.chunks(SPILLED_BATCH_ROWS) {
            let batch = take_rows(batches, rows).map_err(rows_error)?;
            first_users.push(batch.column(USER_ID).as_string::<i32>().value(0).to_owned());
            writer.write(&batch).map_err(rows_error)?;
        }
        writer.finish().map_err(rows_error)?;
        drop(writer);
        tracing::debug!(rows = order.len(), "spilled a sorted run");
        Ok(Spilled { file, target: self.target.clone(), first_users })
    }
}

fn take_rows(batches: &[RecordBatch], rows: &[(usize, usize)]) -> Result<RecordBatch, ArrowError> {
    let references: Vec<&RecordBatch> = batches.iter().collect();
    interleave_record_batch(&references, rows)
}

/// Positions of all rows, in key order. Users and products are ranked first, so that most
/// comparisons look at one number.
fn key_order(batches: &[RecordBatch]) -> Result<Vec<(usize, usize)>, ArrowError> {
    let mut ranked: Vec<Ranked> = Vec::new();
    let users = ranks(batches, USER_ID);
    let products = ranks(batches, PRODUCT_CODE);
    let keyed = batches.iter().map(KeyedBatch::try_new).collect::<Result<Vec<_>, _>>()?;
    let mut at = 0;
    for (index, batch) in batches.iter().enumerate() {
        let timestamps = batch.column(TIMESTAMP).as_primitive::<TimestampMicrosecondType>();
        for (row, timestamp) in timestamps.values().iter().enumerate() {
            let key = (u64::from(users[at]) << 32) | u64::from(products[at]);
            ranked.push(Ranked { key, timestamp: *timestamp, position: (index, row) });
            at += 1;
        }
    }
    debug_assert_eq!(EVENT_ID, 2, "ties are broken by the event id");
    ranked.sort_unstable_by(|left, right| {
        (left.key, left.timestamp).cmp(&(right.key, right.timestamp)).then_with(|| {
            let event = |ranked: &Ranked| keyed[ranked.position.0].event_id(ranked.position.1);
            event(left).cmp(event(right)).then_with(|| left.position.cmp(&right.position))
        })
    });
    Ok(ranked.into_iter().map(|ranked| ranked.position).collect())
}

struct Ranked {
    key: u64,
    timestamp: i64,
    position: (usize, usize),
}

/// For each row of all batches, the rank of its text among the distinct ones.
fn ranks(batches: &[RecordBatch], column: usize) -> Vec<u32> {
    let mut numbers: HashMap<&str, u32, foldhash::fast::RandomState> = HashMap::default();
    let mut texts: Vec<&str> = Vec::new();
    let mut number_of_row: Vec<u32> = Vec::new();
    for batch in batches {
        for text in batch.column(column).as_string::<i32>().iter().map(Option::unwrap_or_default) {
            let number = *numbers.entry(text).or_insert_with(|| {
                texts.push(text);
                u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
            });
            number_of_row.push(number);
        }
    }
    let mut order: Vec<u32> = (0..).take(texts.len()).collect();
    order.sort_unstable_by_key(|number| texts[*number as usize]);
    let mut rank_of_number = vec![0; texts.len()];
    for (rank, number) in (0..).zip(order) {
        rank_of_number[number as usize] = rank;
    }
    number_of_row.into_iter().map(|number| rank_of_number[number as usize]).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, StringArray, TimestampMicrosecondArray,
    };
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// User, product, timestamp, event.
    type Row = (String, String, i64, String);

    fn batch(rows: &[Row]) -> RecordBatch {
        let text = |value: fn(&Row) -> &String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2));
        RecordBatch::try_from_iter([
            ("user_id", text(|row| &row.0)),
            ("product_code", text(|row| &row.1)),
            ("event_id", text(|row| &row.3)),
            ("timestamp", Arc::new(times.with_timezone("UTC")) as ArrayRef),
            ("is_user_action", Arc::new(BooleanArray::from(vec![true; rows.len()]))),
            ("_updated_at", Arc::new(Date32Array::from(vec![0; rows.len()]))),
        ])
        .unwrap()
    }

    fn sorted(batches: &[Vec<Row>], pool_bytes: usize) -> Vec<Arc<SortedRun>> {
        let pool = Arc::new(GreedyMemoryPool::new(pool_bytes));
        let mut writer = RunWriter::new(SpillTarget { pool, folder: std::env::temp_dir() });
        for rows in batches {
            writer.push(batch(rows)).unwrap();
            writer.cut().unwrap();
        }
        writer.finish().unwrap().into_iter().map(Arc::new).collect()
    }

    fn read(run: &Arc<SortedRun>, from: Option<&str>, to: Option<&str>) -> Vec<Row> {
        let mut reader = run.read(from, to).unwrap();
        let mut rows = Vec::new();
        while let Some((batch, row)) = reader.current() {
            let key = batch.key(row);
            rows.push((
                key.user.to_owned(),
                key.product.to_owned(),
                batch.timestamp_micros(row),
                batch.event_id(row).to_owned(),
            ));
            reader.advance_to(row + 1).unwrap();
        }
        rows
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = "[ab]{0,3}|é|user-00[0-9]";
        vec((text, "[xy]", 0..4_i64, "[a-c]"), 1..200)
    }

    proptest! {
        #[test]
        fn a_run_holds_its_rows_in_order_in_memory_and_on_disk(
            batches in vec(rows(), 1..4),
            from in prop::option::of("[ab]{0,3}"),
            to in prop::option::of("[ab]{0,3}|user-005"),
        ) {
            for (pool_bytes, spilled) in [(usize::MAX, false), (1, true)] {
                let runs = sorted(&batches, pool_bytes);
                prop_assert_eq!(runs.len(), batches.len());
                for (run, rows) in runs.iter().zip(&batches) {
                    prop_assert_eq!(run.is_spilled(), spilled);
                    let mut expected: Vec<Row> = rows
                        .iter()
                        .filter(|row| from.as_ref().is_none_or(|from| row.0 >= *from))
                        .filter(|row| to.as_ref().is_none_or(|to| row.0 < *to))
                        .cloned()
                        .collect();
                    expected.sort();
                    prop_assert_eq!(read(run, from.as_deref(), to.as_deref()), expected);
                }
            }
        }
    }

    #[test]
    fn a_spilled_run_is_read_across_its_batches() {
        let rows: Vec<Row> = (0..3 * SPILLED_BATCH_ROWS)
            .map(|row| (format!("u{:03}", row % 500), String::new(), 0, row.to_string()))
            .collect();
        let run = &sorted(std::slice::from_ref(&rows), 1)[0];
        let mut expected = rows;
        expected.sort();
        assert_eq!(read(run, None, None), expected);
        expected.retain(|row| ("u100".."u400").contains(&row.0.as_str()));
        assert_eq!(read(run, Some("u100"), Some("u400")), expected);
        assert_eq!(read(run, Some("v"), None), []);
    }
}
