//! Any part of a delivered file, read in blocks of which the last few are kept.
//!
//! A Parquet file is read column by column, each in pages: a block holds several of them, and a
//! column goes on in the block that it was in. Memory follows the number of columns, not the
//! size of a row group.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::reader::{ChunkReader, Length};

use super::super::location::{Location, StoredObject};
use super::super::reader::SourceError;

/// The first and the last bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";
/// Bytes of all blocks that are kept.
const KEPT_BYTES: usize = 32 << 20;
/// The largest block.
const MAX_BLOCK_BYTES: usize = 1 << 20;
/// The smallest one, of a file with very many columns.
const MIN_BLOCK_BYTES: usize = 64 << 10;

/// An open file; clones share it.
#[derive(Clone)]
pub(super) struct FileBytes(Arc<Shared>);

struct Shared {
    bytes_of: BytesOf,
    bytes: u64,
    block_bytes: usize,
    max_blocks: usize,
    /// Number and content of the blocks last used, the newest at the back.
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
    /// Why the file itself could not be read: what its reader says then is no damage.
    failure: Mutex<Option<io::Error>>,
}

enum BytesOf {
    File(Mutex<File>),
    Object(StoredObject),
}

impl FileBytes {
    /// Opens a file, to be read in `columns` places at a time.
    pub(super) fn open(location: &Location, columns: usize) -> Result<Self, SourceError> {
        let path = location.path();
        let open = || match location.object() {
            Some(object) => Ok((BytesOf::Object(object.clone()), object.bytes())),
            None => {
                let file = File::open(path)?;
                let bytes = file.metadata()?.len();
                Ok((BytesOf::File(Mutex::new(file)), bytes))
            }
        };
        let (bytes_of, bytes) =
            open().map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        // One block more than columns: the footer, or the header of the next page.
        let max_blocks = columns + 2;
        let block_bytes = (KEPT_BYTES / max_blocks).clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES);
        Ok(Self(Arc::new(Shared {
            bytes_of,
            bytes,
            block_bytes,
            max_blocks: max_blocks.min(KEPT_BYTES / block_bytes),
            blocks: Mutex::default(),
            failure: Mutex::default(),
        })))
    }

    /// Why the file could not be read, once.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the first bytes are those of a Parquet file.
    pub(super) fn begins_with_magic(&self) -> io::Result<bool> {
        Ok(self.block(0)?.starts_with(MAGIC))
    }

    /// Whether the last ones are.
    pub(super) fn ends_with_magic(&self) -> io::Result<bool> {
        let magic_bytes = MAGIC.len() as u64;
        let start = self.0.bytes.saturating_sub(magic_bytes);
        // The four bytes may lie in two blocks.
        let mut end = self.bytes_at(start)?.to_vec();
        if end.len() < MAGIC.len() {
            end.extend_from_slice(&self.bytes_at(start + end.len() as u64)?);
        }
        Ok(self.0.bytes >= 2 * magic_bytes && end.as_slice() == MAGIC)
    }

    /// The block of that number; shorter at the end of the file, empty behind it.
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().rposition(|(kept, _)| *kept == number)
            && let Some(block) = blocks.remove(at)
        {
            let content = block.1.clone();
            blocks.push_back(block);
            return Ok(content);
        }
        let start = number.saturating_mul(self.0.block_bytes as u64);
        let length = self.0.bytes.saturating_sub(start).min(self.0.block_bytes as u64);
        let content = self.fetch(start, length).map_err(|failure| {
            let shown = io::Error::new(failure.kind(), failure.to_string());
            *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            shown
        })?;
        if blocks.len() >= self.0.max_blocks {
            blocks.pop_front();
        }
        blocks.push_back((number, content.clone()));
        Ok(content)
    }

    fn fetch(&self, start: u64, length: u64) -> io::Result<Bytes> {
        let file = match &self.0.bytes_of {
            BytesOf::Object(_) if length == 0 => return Ok(Bytes::new()),
            BytesOf::Object(object) => return object.read_part(start..start + length),
            BytesOf::File(file) => file,
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        let mut content = Vec::new();
        Read::by_ref(&mut *file).take(length).read_to_end(&mut content)?;
        Ok(content.into())
    }

    /// What the file has at `start`, up to the end of a block.
    fn bytes_at(&self, start: u64) -> io::Result<Bytes> {
        let block_bytes = self.0.block_bytes as u64;
        let block = self.block(start / block_bytes)?;
        let skipped = usize::try_from(start % block_bytes).unwrap_or(usize::MAX);
        Ok(block.slice(skipped.min(block.len())..))
    }
}

impl Length for FileBytes {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for FileBytes {
    type T = BytesFrom;

    fn get_read(&self, start: u64) -> Result<BytesFrom, ParquetError> {
        Ok(BytesFrom { file: self.clone(), position: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // The length is what the file says: a damaged one may say anything.
        let rest = self.0.bytes.saturating_sub(start);
        if rest < length as u64 {
            return Err(ParquetError::EOF(format!("{length} bytes at {start}, {rest} are there")));
        }
        let first = self.bytes_at(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut content = Vec::with_capacity(length);
        content.extend_from_slice(&first);
        while content.len() < length {
            let more = self.bytes_at(start + content.len() as u64)?;
            if more.is_empty() {
                let read = content.len();
                return Err(ParquetError::EOF(format!("{length} bytes at {start}, read {read}")));
            }
            content.extend_from_slice(&more[..more.len().min(length - content.len())]);
        }
        Ok(content.into())
    }
}

/// The file from a place on.
pub(super) struct BytesFrom {
    file: FileBytes,
    position: u64,
}

impl Read for BytesFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.bytes_at(self.position)?;
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        self.position += read as u64;
        Ok(read)
    }
}
