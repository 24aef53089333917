//! What a file may ask of its reader, so that memory follows the configuration and not the file.

/// Bytes of the longest record.
const MAX_RECORD_BYTES: usize = 16 << 20;
/// Names of a header, fields of a schema or keys of an object.
const MAX_COLUMNS: usize = 10_000;
/// Decoded bytes for each byte of a compressed file. Logs come to 5 to 30, gzip ends at 1,030.
const MAX_EXPANSION: u64 = 500;
/// Decoded bytes that any compressed file may have, however small it is.
const FREE_EXPANSION_BYTES: u64 = 16 << 20;
/// Bytes read from a file at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes that one of several threads reads at a time.
const CUT_BYTES: usize = 1 << 20;

/// The limits of the files of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of the longest record that is read; also what an unclosed quote can hold in memory.
    pub max_record_bytes: usize,
    /// Columns of a CSV header or a Parquet schema, keys of a JSON object.
    pub max_columns: usize,
    /// How many times its size a compressed file may come to; 16 MiB are always free.
    pub max_expansion: u64,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_record_bytes: MAX_RECORD_BYTES,
            max_columns: MAX_COLUMNS,
            max_expansion: MAX_EXPANSION,
        }
    }
}

/// The sizes a reader keeps to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) block_bytes: usize,
    pub(super) cut_bytes: usize,
    pub(super) free_expansion_bytes: u64,
    pub(super) read: ReadLimits,
}

impl Limits {
    /// Decoded bytes that a compressed file of `bytes` may come to.
    pub(super) fn max_decoded_bytes(self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.read.max_expansion).max(self.free_expansion_bytes)
    }
}

impl From<ReadLimits> for Limits {
    fn from(read: ReadLimits) -> Self {
        Self {
            block_bytes: BLOCK_BYTES,
            cut_bytes: CUT_BYTES,
            free_expansion_bytes: FREE_EXPANSION_BYTES,
            read,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        ReadLimits::default().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::reader::testing::{limits, read, read_named};
    use super::super::reader::{RejectReason, SourceError, TextFormat};
    use super::*;

    fn with_columns(max_columns: usize) -> Limits {
        let mut limits = limits(7, 1 << 20);
        limits.read.max_columns = max_columns;
        limits
    }

    #[test]
    fn a_header_of_too_many_columns_is_an_error_of_the_file() {
        let fits = read(TextFormat::Csv, b"a,b\n1,2\n", &["a"], with_columns(2)).unwrap();
        assert_eq!(fits.values(), [["1", r#"{"b":"2"}"#]]);
        let wide = read(TextFormat::Csv, b"a,b,c\n1,2,3\n", &["a"], with_columns(2)).unwrap_err();
        assert!(
            matches!(wide, SourceError::TooManyColumns { found: 3, limit: 2, line: 1, .. }),
            "{wide}"
        );
    }

    #[test]
    fn an_object_of_too_many_keys_is_rejected_alone() {
        let content = b"{\"a\":1,\"b\":2}\n{\"a\":1,\"b\":2,\"b\":3}\n{\"a\":4}\n";
        let outcome = read(TextFormat::Jsonl, content, &["a"], with_columns(2)).unwrap();
        assert_eq!(outcome.lines(), [1, 3]);
        let text = "{\"a\":1,\"b\":2,\"b\":3}";
        assert_eq!(outcome.rejects(), [(2, RejectReason::TooManyColumns, text)]);
        assert_eq!(outcome.rejected[0].detail, "the object has more than 2 keys");
    }

    #[test]
    fn a_compressed_file_may_come_to_a_multiple_of_its_size_and_no_more() {
        let plain = [b"a\n".to_vec(), b"1\n".repeat(10_000)].concat();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain).unwrap();
        let gzip = encoder.finish().unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for (name, content) in [("a.csv.gz", gzip), ("a.csv.zst", zstd)] {
            let times = plain.len().div_ceil(content.len()) as u64;
            for (max_expansion, free_expansion_bytes, fits) in [
                (times, 0, true),
                (times - 1, 0, false),
                (1, plain.len() as u64, true),
                (1, plain.len() as u64 - 1, false),
            ] {
                let mut limits = limits(100, 1 << 20);
                limits.read.max_expansion = max_expansion;
                limits.free_expansion_bytes = free_expansion_bytes;
                match read_named(name, TextFormat::Csv, &content, &["a"], limits) {
                    Ok(outcome) => assert!(fits && outcome.rows.len() == 10_000, "{name}"),
                    Err(error) => {
                        assert!(matches!(error, SourceError::Expansion { .. }) && !fits, "{error}");
                    }
                }
            }
        }
    }
}
