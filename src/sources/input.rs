//! The bytes of a delivered file: opened, hashed as they are read, decompressed.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::reader::SourceError;

/// Bytes hashed at a time once nobody needs the content.
const HASH_BLOCK_BYTES: usize = 1 << 20;

/// An open file, gzip when its name ends in `.gz`, read from front to back exactly once: the
/// content hash comes from the same read as the records.
pub(super) struct Input {
    path: PathBuf,
    bytes: Decoder,
}

enum Decoder {
    Plain(Hashing<File>),
    Gzip(Box<MultiGzDecoder<BufReader<Hashing<File>>>>),
}

/// Hashes what passes through, as delivered.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

impl Input {
    pub(super) fn open(path: &Path, gzip_block_bytes: usize) -> Result<Self, SourceError> {
        let file = File::open(path)
            .map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        let file = Hashing { inner: file, hasher: Sha256::new() };
        let gzip = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
        let bytes = if gzip {
            let compressed = BufReader::with_capacity(gzip_block_bytes, file);
            Decoder::Gzip(Box::new(MultiGzDecoder::new(compressed)))
        } else {
            Decoder::Plain(file)
        };
        Ok(Self { path: path.to_owned(), bytes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` with decoded bytes; fewer than its length only at the end of the file.
    ///
    /// `line` is the first physical line that was not read, for the error.
    pub(super) fn fill(&mut self, buffer: &mut [u8], line: u64) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match &mut self.bytes {
                Decoder::Plain(file) => file.read(&mut buffer[filled..]),
                Decoder::Gzip(decoder) => decoder.read(&mut buffer[filled..]),
            };
            match read {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error, line)),
            }
        }
        Ok(filled)
    }

    fn read_error(&self, source: io::Error, line: u64) -> SourceError {
        let path = self.path.clone();
        match source.kind() {
            // What flate2 reports for damaged, foreign and cut off data.
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                if matches!(self.bytes, Decoder::Gzip(_)) =>
            {
                SourceError::Gzip { path, line, source }
            }
            _ => SourceError::Read { path, line, source },
        }
    }

    /// SHA-256 of the whole file as delivered (compressed, where it is), in hexadecimal; reads
    /// what was not read yet.
    pub(super) fn content_hash(self) -> Result<String, SourceError> {
        let path = self.path;
        let mut file = match self.bytes {
            Decoder::Plain(file) => file,
            Decoder::Gzip(decoder) => decoder.into_inner().into_inner(),
        };
        let mut block = vec![0; HASH_BLOCK_BYTES];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(format!("{:x}", file.hasher.finalize())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Open { path, source }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn hash_after_reading(name: &str, content: &[u8], bytes_read: usize) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut input = Input::open(&path, 7).unwrap();
        input.fill(&mut vec![0; bytes_read], 1).unwrap();
        input.content_hash().unwrap()
    }

    #[test]
    fn the_hash_is_that_of_the_delivered_bytes_however_far_they_were_read() {
        let plain = b"a,b\n1,2\n".repeat(50);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        let gzip = encoder.finish().unwrap();
        for (name, content) in [("a.csv", &plain), ("a.csv.gz", &gzip)] {
            let expected = format!("{:x}", Sha256::digest(content));
            for bytes_read in [0, 1, 100, 400, 1000] {
                assert_eq!(hash_after_reading(name, content, bytes_read), expected);
            }
        }
    }
}
