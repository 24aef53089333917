//! Reading one file on several threads, with exactly the result of reading it in sequence.
//!
//! The caller's thread reads, hashes and cuts ([`BlockCutter`]); a few threads put the records of
//! a block each into columns; the batches come out in file order. A block is taken to begin with
//! a record because the one before ended with one, which is checked before anything of it is
//! handed out. Where that turns out wrong (a quote that never closes), what was read from there
//! on is read again in sequence, and so is the rest of the file: such files are rare and broken,
//! and nothing that looks further than a block is needed to judge the others.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::blocks::{BlockCutter, Cut};
use super::decode::{Bytes, Window};
use super::limits::{Limits, ReadLimits};
use super::location::Location;
use super::raw_batch::RawBatch;
use super::reader::{ParsedBatch, RecordReader, Records, SourceError, TextFormat};

/// Rows of a batch where the file is read in sequence.
const SEQUENTIAL_BATCH_ROWS: usize = 16 * 1024;
/// Blocks that are cut before the first of them is waited for, beyond one for each thread.
const BLOCKS_AHEAD: usize = 2;

/// Reads one file from front to back, on several threads. Memory holds a few blocks, not the
/// file. After an error the reader is of no further use.
pub struct ParallelReader {
    /// Has read the header; reads on in sequence once there is no cutter.
    reader: RecordReader,
    limits: Limits,
    cutter: Option<BlockCutter>,
    parsers: Parsers,
    /// Blocks that are being read, in file order.
    in_flight: VecDeque<Receiver<Result<ParsedBlock, SourceError>>>,
    spare_buffers: Vec<Vec<u8>>,
    ready: VecDeque<ParsedBatch>,
}

/// The batches of one block, and what is left of it: a last record that the block cuts off.
struct ParsedBlock {
    batches: Vec<ParsedBatch>,
    window: Window,
}

impl ParallelReader {
    /// Opens `file` as [`RecordReader::open`] does.
    pub fn open(
        file: impl Into<Location>,
        format: TextFormat,
        columns: &[String],
        required: &[String],
        threads: NonZeroUsize,
        limits: ReadLimits,
    ) -> Result<Self, SourceError> {
        Self::open_within(file, format, columns, required, threads, limits.into())
    }

    pub(super) fn open_within(
        file: impl Into<Location>,
        format: TextFormat,
        columns: &[String],
        required: &[String],
        threads: NonZeroUsize,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let location = file.into();
        let mut reader = RecordReader::open_within(&location, format, columns, required, limits)?;
        let (input, behind) = reader.records.replace_window(Window::closed()).into_rest();
        let cutter = input.map(|input| BlockCutter::new(input, behind, format, limits));
        let parsers = Parsers::start(location.path(), columns, &reader.records, threads);
        Ok(Self {
            reader,
            limits,
            cutter,
            parsers,
            in_flight: VecDeque::new(),
            spare_buffers: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    /// The names of a CSV header, in its order.
    pub fn header(&self) -> Option<Vec<String>> {
        self.reader.records.header()
    }

    /// The next records, good and bad, in file order; none at the end of the file. A batch may
    /// have no row at all before the end is reached.
    pub fn next_batch(&mut self) -> Result<Option<ParsedBatch>, SourceError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.cutter.is_none() {
                return self.reader.next_batch(SEQUENTIAL_BATCH_ROWS);
            }
            let must_read_on = self.cut_ahead()?;
            match self.in_flight.pop_front() {
                Some(parsing) => {
                    let parsed = self.parsers.wait(&parsing)?;
                    self.take(parsed)?;
                }
                None if must_read_on => self.read_on_in_sequence(None)?,
                None => return Ok(None),
            }
        }
    }

    /// SHA-256 of the file as delivered, in hexadecimal; reads what was not read yet.
    pub fn content_hash(self) -> Result<String, SourceError> {
        let input = match self.cutter {
            Some(cutter) => Some(cutter.into_rest().0),
            None => self.reader.into_input(),
        };
        match input {
            Some(input) => input.content_hash(),
            None => Err(self.parsers.interrupted()),
        }
    }

    /// Keeps the threads busy; whether what follows cannot be cut.
    fn cut_ahead(&mut self) -> Result<bool, SourceError> {
        let Some(cutter) = &mut self.cutter else {
            return Ok(false);
        };
        while self.in_flight.len() < self.parsers.threads + BLOCKS_AHEAD {
            match cutter.cut(self.spare_buffers.pop().unwrap_or_default())? {
                Cut::Block(block) => self.in_flight.push_back(self.parsers.parse(block)?),
                Cut::Nowhere => return Ok(true),
                Cut::End => break,
            }
        }
        Ok(false)
    }

    fn take(&mut self, parsed: ParsedBlock) -> Result<(), SourceError> {
        self.ready.extend(parsed.batches);
        if parsed.window.bytes().is_empty() {
            self.spare_buffers.push(parsed.window.into_buffer());
            return Ok(());
        }
        self.read_on_in_sequence(Some(parsed.window))
    }

    /// From the record that `cut_off` begins with.
    fn read_on_in_sequence(&mut self, cut_off: Option<Window>) -> Result<(), SourceError> {
        let Some((input, behind)) = self.cutter.take().map(BlockCutter::into_rest) else {
            return Ok(());
        };
        let mut line = behind.line;
        let mut buffer = Vec::new();
        if let Some(window) = cut_off {
            line = window.line();
            buffer.extend_from_slice(window.bytes());
        }
        for parsing in std::mem::take(&mut self.in_flight) {
            buffer.extend_from_slice(self.parsers.wait(&parsing)?.window.block());
        }
        buffer.extend_from_slice(&behind.buffer[..behind.length]);
        let read = Bytes { length: buffer.len(), buffer, line, at_end: behind.at_end };
        self.reader.records.replace_window(Window::over(input, read, self.limits));
        self.spare_buffers.clear();
        Ok(())
    }
}

/// Threads that read blocks; they end when this is dropped.
struct Parsers {
    path: PathBuf,
    threads: usize,
    jobs: Sender<Job>,
}

struct Job {
    block: Bytes,
    result: SyncSender<Result<ParsedBlock, SourceError>>,
}

impl Parsers {
    fn start(path: &Path, columns: &[String], records: &Records, threads: NonZeroUsize) -> Self {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.get() {
            let parser = Parser {
                path: path.to_owned(),
                records: records.for_blocks(),
                batch: RawBatch::new(columns),
            };
            let queue = Arc::clone(&queue);
            thread::spawn(move || parser.run(&queue));
        }
        Self { path: path.to_owned(), threads: threads.get(), jobs }
    }

    fn parse(
        &self,
        block: Bytes,
    ) -> Result<Receiver<Result<ParsedBlock, SourceError>>, SourceError> {
        let (result, parsing) = mpsc::sync_channel(1);
        self.jobs.send(Job { block, result }).map_err(|_| self.interrupted())?;
        Ok(parsing)
    }

    fn wait(
        &self,
        parsing: &Receiver<Result<ParsedBlock, SourceError>>,
    ) -> Result<ParsedBlock, SourceError> {
        parsing.recv().unwrap_or_else(|_| Err(self.interrupted()))
    }

    fn interrupted(&self) -> SourceError {
        SourceError::Interrupted { path: self.path.clone() }
    }
}

struct Parser {
    path: PathBuf,
    records: Records,
    batch: RawBatch,
}

impl Parser {
    fn run(mut self, queue: &Mutex<Receiver<Job>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { block, result }) = next else {
                return;
            };
            // The reader may have been given up.
            let _ = result.send(self.parse(block));
        }
    }

    fn parse(&mut self, block: Bytes) -> Result<ParsedBlock, SourceError> {
        self.records.replace_window(Window::of_block(&self.path, block));
        let mut batches = Vec::new();
        loop {
            self.records.fill(&mut self.batch, usize::MAX)?;
            if self.batch.is_empty() {
                break;
            }
            let batch = self.batch.finish();
            batches.push(
                batch.map_err(|source| SourceError::Batch { path: self.path.clone(), source })?,
            );
        }
        Ok(ParsedBlock { batches, window: self.records.replace_window(Window::closed()) })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::reader::testing::limits;
    use super::*;

    /// Rows, rejected records, and whether the end was read in sequence.
    fn read(
        name: &str,
        content: &[u8],
        limits: Limits,
    ) -> Result<(usize, usize, bool), SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let columns = ["a".to_owned(), "b".to_owned()];
        let threads = NonZeroUsize::new(3).unwrap();
        let format = TextFormat::Csv;
        let mut reader =
            ParallelReader::open_within(&path, format, &columns, &columns, threads, limits)?;
        let (mut rows, mut rejected) = (0, 0);
        while let Some(batch) = reader.next_batch()? {
            rows += batch.rows.num_rows();
            rejected += batch.rejected.len();
        }
        Ok((rows, rejected, reader.cutter.is_none()))
    }

    #[test]
    fn closed_quotes_and_quotes_within_a_field_are_read_in_parallel() {
        let lines = "1,\"x\ny, \"\"z\"\"\n\"\n5,6\n".repeat(500);
        for mark in ["", "\u{FEFF}"] {
            let content = format!("{mark}a,b\n{lines}");
            let read = read("a.csv", content.as_bytes(), limits(64, 1 << 20)).unwrap();
            assert_eq!(read, (1000, 0, false));
        }
        let inches = format!("a,b\n{}", "5\" disk,x\n".repeat(500));
        assert_eq!(read("a.csv", inches.as_bytes(), limits(64, 1 << 20)).unwrap(), (500, 0, false));
    }

    #[test]
    fn a_quote_that_stays_open_is_read_on_in_sequence() {
        let good = "1,2\n".repeat(500);
        let content = format!("a,b\n{good}3,\"x\n{good}");
        let read = read("a.csv", content.as_bytes(), limits(64, 200)).unwrap();
        assert_eq!(read, (1000, 1, true));
    }

    #[test]
    fn a_record_longer_than_a_block_is_read_in_parallel_and_so_is_one_over_the_limit() {
        let long = "x".repeat(1000);
        let content = format!("a,b\n1,{long}\n2,3\n4,\"{long}\n\"\n");
        let limited = |max_record_bytes| {
            read("a.csv", content.as_bytes(), limits(64, max_record_bytes)).unwrap()
        };
        assert_eq!(limited(1010), (3, 0, false));
        assert_eq!(limited(900), (1, 3, false));
    }

    #[test]
    fn a_compressed_file_is_decoded_in_sequence_and_read_in_parallel() {
        let content = format!("a,b\n{}", "1,\"2\"\n".repeat(1000));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content.as_bytes()).unwrap();
        let gzip = encoder.finish().unwrap();
        let (front, back) = content.as_bytes().split_at(1000);
        let frames = [front, back].map(|part| zstd::encode_all(part, 1).unwrap()).concat();
        for (name, whole) in [("a.csv.gz", gzip), ("a.csv.zst", frames)] {
            assert_eq!(read(name, &whole, limits(64, 100)).unwrap(), (1000, 0, false));
            let cut_off = read(name, &whole[..whole.len() - 9], limits(64, 100)).unwrap_err();
            assert!(matches!(cut_off, SourceError::Compressed { .. }), "{cut_off}");
        }
    }
}
