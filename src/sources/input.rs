//! The bytes of a delivered file: opened, hashed as they are read, decompressed.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::limits::Limits;
use super::location::{Location, is_change};
use super::reader::SourceError;

/// Bytes hashed at a time once nobody needs the content.
const HASH_BLOCK_BYTES: usize = 1 << 20;

/// An open file, decompressed when its name ends in `.gz` or `.zst`, read from front to back
/// exactly once: the content hash comes from the same read as the records.
pub(super) struct Input {
    location: Location,
    bytes: Decoder,
    limits: Limits,
    /// Size of the file, as delivered.
    file_bytes: u64,
    /// Bytes that came out of the decoder.
    decoded_bytes: u64,
}

/// What the ending of a name says of its file.
#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

/// Both decoders go on behind the first member or frame: a file may be several, one after another.
enum Decoder {
    Plain(Hashing),
    Gzip(Box<MultiGzDecoder<BufReader<Hashing>>>),
    Zstd(Box<ZstdDecoder<'static, BufReader<Hashing>>>),
    /// Not what its name says.
    Miscalled(Compression, BufReader<Hashing>),
}

/// Hashes what passes through, as delivered.
struct Hashing {
    inner: Box<dyn Read + Send>,
    hasher: Sha256,
    /// The file itself could not be read: not its decoder is to blame.
    failed: bool,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.failed = read.is_err();
        let bytes = read?;
        self.hasher.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// First bytes that tell what is compressed.
const MAGIC_BYTES: usize = 4;

impl Compression {
    fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?;
        if ending.eq_ignore_ascii_case("gz") {
            Some(Self::Gzip)
        } else {
            ending.eq_ignore_ascii_case("zst").then_some(Self::Zstd)
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Whether a file that begins like this is something else; one that is shorter than what
    /// would tell is cut off.
    fn is_not(self, first: &[u8]) -> bool {
        match (self, first) {
            (Self::Gzip, [0x1F, 0x8B, ..]) => false,
            // A frame, or one that is to be skipped.
            (Self::Zstd, [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]) => {
                false
            }
            _ => first.len() >= MAGIC_BYTES,
        }
    }
}

impl Decoder {
    /// A decoder by the ending of the file's name.
    fn new(path: &Path, file: Hashing, block_bytes: usize) -> io::Result<Self> {
        let Some(compression) = Compression::of_name(path) else {
            return Ok(Self::Plain(file));
        };
        // Room enough to see the first bytes at once.
        let mut compressed = BufReader::with_capacity(block_bytes.max(MAGIC_BYTES), file);
        if compression.is_not(compressed.fill_buf()?) {
            return Ok(Self::Miscalled(compression, compressed));
        }
        Ok(match compression {
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(compressed))),
            Compression::Zstd => Self::Zstd(Box::new(ZstdDecoder::with_buffer(compressed)?)),
        })
    }

    /// The compression and the file beneath.
    fn compressed(&self) -> Option<(Compression, &Hashing)> {
        match self {
            Self::Plain(_) | Self::Miscalled(..) => None,
            Self::Gzip(decoder) => Some((Compression::Gzip, decoder.get_ref().get_ref())),
            Self::Zstd(decoder) => Some((Compression::Zstd, decoder.get_ref().get_ref())),
        }
    }

    fn into_file(self) -> Hashing {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
            Self::Zstd(decoder) => decoder.finish().into_inner(),
            Self::Miscalled(_, file) => file.into_inner(),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Miscalled(_, file) => file.read(buffer),
        }
    }
}

impl Input {
    /// Opens the file; a compressed one is read a block at a time.
    pub(super) fn open(location: impl Into<Location>, limits: Limits) -> Result<Self, SourceError> {
        let location = location.into();
        let path = location.path();
        let (inner, file_bytes) = location
            .stream()
            .map_err(|source| SourceError::Open { path: path.to_owned(), source })?;
        let file = Hashing { inner, hasher: Sha256::new(), failed: false };
        let bytes = Decoder::new(path, file, limits.block_bytes)
            .map_err(|source| SourceError::reading_failed(path.to_owned(), source))?;
        Ok(Self { location, bytes, limits, file_bytes, decoded_bytes: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        self.location.path()
    }

    /// Refuses a file that cannot be decoded as its name says, and one without a byte.
    pub(super) fn check_name(&self) -> Result<(), SourceError> {
        let path = || self.path().to_owned();
        match &self.bytes {
            Decoder::Miscalled(compression, _) => {
                Err(SourceError::NotCompressed { path: path(), compression: compression.name() })
            }
            _ if self.file_bytes == 0 => Err(SourceError::Empty { path: path() }),
            _ => Ok(()),
        }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.bytes.compressed().is_some()
    }

    /// Fills `buffer` with decoded bytes; fewer than its length only at the end of the file.
    ///
    /// `line` is the first physical line that was not read, for the error.
    pub(super) fn fill(&mut self, buffer: &mut [u8], line: u64) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.bytes.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error, line)),
            }
        }
        self.decoded_bytes += filled as u64;
        self.check_expansion()?;
        Ok(filled)
    }

    /// Compared with the whole file, so that it depends on the file alone where this ends.
    fn check_expansion(&self) -> Result<(), SourceError> {
        let Some((compression, _)) = self.bytes.compressed() else {
            return Ok(());
        };
        let limit_bytes = self.limits.max_decoded_bytes(self.file_bytes);
        if self.decoded_bytes <= limit_bytes {
            return Ok(());
        }
        Err(SourceError::Expansion {
            path: self.path().to_owned(),
            compression: compression.name(),
            bytes: self.file_bytes,
            limit_bytes,
            max_expansion: self.limits.read.max_expansion,
        })
    }

    fn read_error(&self, source: io::Error, line: u64) -> SourceError {
        let path = self.path().to_owned();
        if is_change(&source) {
            return SourceError::Changed { path };
        }
        match self.bytes.compressed() {
            Some((compression, file)) if !file.failed => {
                SourceError::Compressed { path, compression: compression.name(), line, source }
            }
            _ => SourceError::Read { path, line, source },
        }
    }

    /// SHA-256 of the whole file as delivered (compressed, where it is), in hexadecimal; reads
    /// what was not read yet.
    pub(super) fn content_hash(self) -> Result<String, SourceError> {
        let path = self.location.path().to_owned();
        let mut file = self.bytes.into_file();
        let mut block = vec![0; HASH_BLOCK_BYTES];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(format!("{:x}", file.hasher.finalize())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::reading_failed(path, source)),
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
        let mut input = Input::open(&path, Limits { block_bytes: 7, ..Limits::default() }).unwrap();
        input.fill(&mut vec![0; bytes_read], 1).unwrap();
        input.content_hash().unwrap()
    }

    #[test]
    fn the_hash_is_that_of_the_delivered_bytes_however_far_they_were_read() {
        let plain = b"a,b\n1,2\n".repeat(50);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        let gzip = encoder.finish().unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for (name, content) in [("a.csv", &plain), ("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
            let expected = format!("{:x}", Sha256::digest(content));
            for bytes_read in [0, 1, 100, 400, 1000] {
                assert_eq!(hash_after_reading(name, content, bytes_read), expected);
            }
        }
    }
}
