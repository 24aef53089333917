//! The sliding window over the text of a file.
//!
//! A [`Window`] holds the part of the file that is being read, in blocks, so memory does not grow
//! with the file: a reader looks at [`Window::bytes`], asks for more with [`Window::grow`], and
//! gives back what it is done with through [`Window::consume`]. A window over one block of a file
//! that somebody else reads ([`Window::of_block`]) cannot grow.

use std::path::{Path, PathBuf};

use memchr::memchr;

use super::input::Input;
use super::limits::Limits;
use super::location::Location;
use super::reader::SourceError;

/// Behind what is wrong with a last record that no line end follows.
pub(super) const CUT_OFF: &str = "; the file ends here without a line end: was it cut off?";

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";
/// First bytes of a file that are looked at to tell what it is.
const LONGEST_MAGIC_BYTES: usize = 7;

/// The part of a decoded file between the first byte not consumed and the last byte read.
pub(super) struct Window {
    path: PathBuf,
    /// None where the window is one block.
    input: Option<Input>,
    /// Initialised once and reused; the window itself is `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    block_bytes: usize,
    /// No byte of the file is behind `end`.
    at_end: bool,
    /// Decoded bytes consumed so far.
    offset: u64,
    /// Physical line of the window's first byte, from 1.
    line: u64,
}

/// What [`Window::first_line`] finds at the window's start.
pub(super) enum PhysicalLine {
    /// A line of `content` bytes, and `consumed` bytes with its terminator (LF, CRLF or the end).
    Whole { content: usize, consumed: usize },
    /// A line of more than `max_bytes`; that many of them are in the window.
    TooLong,
}

/// Decoded bytes of a file and where they lie in it.
pub(super) struct Bytes {
    /// The bytes are the first `length`; the rest is room that was initialised before.
    pub(super) buffer: Vec<u8>,
    pub(super) length: usize,
    /// Physical line of the first byte, from 1.
    pub(super) line: u64,
    /// No byte of the file is behind them.
    pub(super) at_end: bool,
}

impl Window {
    /// Opens the file (decompressed by its ending) and skips a UTF-8 byte order mark.
    ///
    /// Fails when the file cannot be opened or decoded, is empty, and when its first bytes show
    /// anything but UTF-8 text: every row of such a file would be rejected one by one.
    pub(super) fn open(file: impl Into<Location>, limits: Limits) -> Result<Self, SourceError> {
        let input = Input::open(file, limits)?;
        input.check_name()?;
        let nothing = Bytes { buffer: Vec::new(), length: 0, line: 1, at_end: false };
        let mut window = Self::over(input, nothing, limits);
        window.skip_mark()?;
        Ok(window)
    }

    /// A window over `read` and what `input` still has behind it.
    pub(super) fn over(input: Input, read: Bytes, limits: Limits) -> Self {
        Self {
            path: input.path().to_owned(),
            input: Some(input),
            block_bytes: limits.block_bytes,
            ..Self::of_block(Path::new(""), read)
        }
    }

    /// A window over one block of the file at `path`.
    pub(super) fn of_block(path: &Path, block: Bytes) -> Self {
        Self {
            path: path.to_owned(),
            input: None,
            buffer: block.buffer,
            start: 0,
            end: block.length,
            block_bytes: 0,
            at_end: block.at_end,
            offset: 0,
            line: block.line,
        }
    }

    /// A window without anything to see.
    pub(super) fn closed() -> Self {
        let nothing = Bytes { buffer: Vec::new(), length: 0, line: 1, at_end: true };
        Self::of_block(Path::new(""), nothing)
    }

    /// The bytes that were not consumed, and the input behind them.
    pub(super) fn into_rest(mut self) -> (Option<Input>, Bytes) {
        self.buffer.copy_within(self.start..self.end, 0);
        let (length, line, at_end) = (self.end - self.start, self.line, self.at_end);
        (self.input, Bytes { buffer: self.buffer, length, line, at_end })
    }

    /// All bytes of a block, consumed or not.
    pub(super) fn block(&self) -> &[u8] {
        &self.buffer[..self.end]
    }

    /// The buffer, for another block.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn skip_mark(&mut self) -> Result<(), SourceError> {
        while self.bytes().len() < LONGEST_MAGIC_BYTES && self.grow()? {}
        let is_compressed = self.input.as_ref().is_some_and(Input::is_compressed);
        if let Some(encoding) = other_than_text(self.bytes(), is_compressed) {
            return Err(SourceError::Encoding { path: self.path.clone(), encoding });
        }
        if self.bytes().starts_with(UTF8_MARK) {
            self.consume(UTF8_MARK.len(), 0);
        }
        if self.bytes().is_empty() && !self.grow()? {
            return Err(SourceError::Empty { path: self.path.clone() });
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// True once [`Window::bytes`] reaches to the end of the file.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Drops the first `bytes`, which hold `newlines` line ends.
    pub(super) fn consume(&mut self, bytes: usize, newlines: u64) {
        self.start += bytes;
        self.offset += bytes as u64;
        self.line += newlines;
    }

    /// Reads one more block behind the bytes already here; false when there is none.
    pub(super) fn grow(&mut self) -> Result<bool, SourceError> {
        let Some(input) = self.input.as_mut().filter(|_| !self.at_end) else {
            return Ok(false);
        };
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let filled = self.end + self.block_bytes;
        if self.buffer.is_empty() {
            // Zeroed by the system, page by page as a file fills them: most files are small.
            self.buffer = vec![0; filled];
        } else if self.buffer.len() < filled {
            self.buffer.resize(filled, 0);
        }
        let read = input.fill(&mut self.buffer[self.end..filled], self.line)?;
        self.end += read;
        self.at_end = read < self.block_bytes;
        Ok(read > 0)
    }

    /// Finds the physical line at the window's start, whatever it holds; none at the end.
    pub(super) fn first_line(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<PhysicalLine>, SourceError> {
        let mut searched = 0;
        loop {
            let bytes = self.bytes();
            let newline = memchr(b'\n', &bytes[searched..]).map(|found| searched + found);
            searched = bytes.len();
            let (content, consumed) = match newline {
                Some(newline) => (content_end(bytes, newline), newline + 1),
                // One byte more than the limit may still be the CR of a line that fits.
                None if searched >= max_bytes.saturating_add(2) => {
                    return Ok(Some(PhysicalLine::TooLong));
                }
                None if self.grow()? => continue,
                None if searched == 0 => return Ok(None),
                None => (content_end(self.bytes(), searched), searched),
            };
            let line = if content > max_bytes {
                PhysicalLine::TooLong
            } else {
                PhysicalLine::Whole { content, consumed }
            };
            return Ok(Some(line));
        }
    }

    /// Drops everything up to and including the next LF, without buffering it.
    pub(super) fn skip_line(&mut self) -> Result<(), SourceError> {
        loop {
            if let Some(newline) = memchr(b'\n', self.bytes()) {
                self.consume(newline + 1, 1);
                return Ok(());
            }
            self.consume(self.bytes().len(), 0);
            if !self.grow()? {
                return Ok(());
            }
        }
    }
}

/// What a file is whose first decoded bytes show that it is no UTF-8 text.
fn other_than_text(first: &[u8], is_compressed: bool) -> Option<&'static str> {
    Some(match first {
        [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD, ..] if is_compressed => "compressed twice",
        [0x1F, 0x8B, ..] => "gzip data under a name without .gz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd data under a name without .zst",
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => "bzip2 data",
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => "xz data",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive or an Excel workbook",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [b'O', b'b', b'j', 1, ..] => "an Avro file",
        [b'O', b'R', b'C', 1..=0x1F, ..] => "an ORC file",
        [0xFF, 0xFE, ..]
        | [0xFE, 0xFF, ..]
        | [0, 1..=0xFF, 0, 1..=0xFF, ..]
        | [1..=0xFF, 0, 1..=0xFF, 0, ..] => "UTF-16 text",
        [0, 0, ..] => "made of NUL bytes at its start",
        [b'<', b'!' | b'?' | b'h' | b'H', ..] => "an HTML or XML page",
        _ => return None,
    })
}

/// Where the content of a line ends whose LF (or whose file) ends at `line_end`: before its CR.
pub(super) fn content_end(bytes: &[u8], line_end: usize) -> usize {
    if bytes[..line_end].ends_with(b"\r") { line_end - 1 } else { line_end }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn open(name: &str, content: &[u8], block_bytes: usize) -> Result<Window, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Window::open(&path, Limits { block_bytes, ..Limits::default() })
    }

    fn rest(mut window: Window) -> Result<Vec<u8>, SourceError> {
        while window.grow()? {}
        Ok(window.bytes().to_vec())
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// With a checksum, as the command line tool writes it.
    fn zstd(content: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_byte_order_mark_is_skipped_whatever_the_block_size() {
        for block_bytes in [1, 2, 3, 100] {
            let window = open("a.csv", b"\xEF\xBB\xBFid\n", block_bytes).unwrap();
            assert_eq!(rest(window).unwrap(), b"id\n");
        }
    }

    #[test]
    fn a_gzip_file_of_several_members_is_one_stream() {
        let members = [gzip(b"id\n1\n"), gzip(b"2\n")].concat();
        let window = open("a.csv.GZ", &members, 4).unwrap();
        assert_eq!(rest(window).unwrap(), b"id\n1\n2\n");
    }

    #[test]
    fn a_zstd_file_of_several_frames_is_one_stream() {
        // What a parallel compressor writes: frames, one that is to be skipped, an empty one.
        let skipped = b"\x50\x2A\x4D\x18\x03\0\0\0xyz".to_vec();
        let frames = [zstd(b"id\n1\n"), skipped, zstd(b""), zstd(b"2\n")].concat();
        for block_bytes in [1, 4, 1000] {
            let window = open("a.csv.ZST", &frames, block_bytes).unwrap();
            assert_eq!(rest(window).unwrap(), b"id\n1\n2\n");
        }
    }

    #[test]
    fn a_cut_off_compressed_file_is_an_error() {
        let plain = b"1,2,3\n".repeat(1000);
        for (name, whole) in [("a.csv.gz", gzip(&plain)), ("a.csv.zst", zstd(&plain))] {
            for kept in [0, 5, whole.len() - 1] {
                let error = open(name, &whole[..kept], 64).and_then(rest).unwrap_err();
                let is_expected = match kept {
                    0 => matches!(error, SourceError::Empty { .. }),
                    _ => matches!(error, SourceError::Compressed { .. }),
                };
                assert!(is_expected, "{kept}: {error}");
            }
        }
    }

    #[test]
    fn a_damaged_zstd_file_is_an_error() {
        let whole = zstd(&b"1,2,3\n".repeat(1000));
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 0x55;
        let followed = [whole, b"no frame".to_vec()].concat();
        for content in [changed, followed] {
            let error = open("a.csv.zst", &content, 64).and_then(rest).unwrap_err();
            assert!(error.to_string().contains("the zstd data of"), "{error}");
        }
    }

    #[test]
    fn compressed_data_without_its_ending_parquet_and_utf_16_are_named() {
        for content in
            [gzip(b"id\n"), zstd(b"id\n"), b"PAR1\x15".to_vec(), b"\xFF\xFEi\0d\0".to_vec()]
        {
            let error = open("a.csv", &content, 64).err().unwrap();
            assert!(matches!(error, SourceError::Encoding { .. }), "{error}");
        }
        for (content, encoding) in [
            (&b"i\0d\0\n\0"[..], "UTF-16 text"),
            (b"\0i\0d\0\n", "UTF-16 text"),
            (b"\0\0\0\0", "made of NUL bytes at its start"),
            (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
            (b"BZh91AY&SY", "bzip2 data"),
            (b"\xFD7zXZ\0\0", "xz data"),
            (b"Obj\x01", "an Avro file"),
            (b"<!DOCTYPE html>", "an HTML or XML page"),
        ] {
            let error = open("a.csv", content, 64).err().unwrap().to_string();
            assert!(error.contains(&format!("is {encoding}; deliver UTF-8")), "{error}");
        }
        let twice = open("a.csv.gz", &gzip(&gzip(b"id\n")), 64).err().unwrap().to_string();
        assert!(twice.contains("is compressed twice;"), "{twice}");
    }

    #[test]
    fn a_name_that_claims_a_compression_and_an_empty_file_are_named() {
        for (name, compression) in [("a.csv.gz", "gzip"), ("a.csv.zst", "zstd")] {
            let error = open(name, b"id\n1\n", 64).err().unwrap().to_string();
            assert!(error.contains(&format!("is not {compression} data")), "{error}");
        }
        for (name, content) in
            [("a.csv", vec![]), ("a.csv", UTF8_MARK.to_vec()), ("a.csv.gz", gzip(b""))]
        {
            let error = open(name, &content, 64).err().unwrap();
            assert!(matches!(error, SourceError::Empty { .. }), "{error}");
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Window::open(&folder.path().join("no.csv"), Limits::default());
        assert!(matches!(missing.err().unwrap(), SourceError::Open { .. }));
        let not_a_file = Window::open(folder.path(), Limits::default());
        assert!(matches!(not_a_file.err().unwrap(), SourceError::Read { .. }));
    }

    #[test]
    fn a_line_of_exactly_the_limit_fits_with_any_terminator() {
        for (content, fits) in [
            (&b"abc"[..], true),
            (b"abc\n", true),
            (b"abc\r\n", true),
            (b"abcd", false),
            (b"abcd\r\nx", false),
        ] {
            for block_bytes in [1, 2, 64] {
                let mut window = open("a.csv", content, block_bytes).unwrap();
                let line = window.first_line(3).unwrap().unwrap();
                assert_eq!(matches!(line, PhysicalLine::Whole { content: 3, .. }), fits);
            }
        }
    }
}
