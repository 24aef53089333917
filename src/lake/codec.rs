//! How the pages of data files are compressed, where the library's own writer does not do it.

use deltalake::parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use deltalake::parquet::errors::{ParquetError, Result};

use crate::config::Compression;

/// The level of zstd: higher ones cost more time than the job has.
const ZSTD_LEVEL: i32 = 1;

/// The codec as the library names it.
pub(super) fn parquet(compression: Compression) -> Result<ParquetCompression> {
    Ok(match compression {
        Compression::Snappy => ParquetCompression::SNAPPY,
        Compression::Lz4Raw => ParquetCompression::LZ4_RAW,
        Compression::Zstd => ParquetCompression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
    })
}

/// The codec in the names of data files, as other engines write it.
pub(super) const fn in_file_names(compression: Compression) -> &'static str {
    match compression {
        Compression::Snappy => "snappy",
        Compression::Lz4Raw => "lz4raw",
        Compression::Zstd => "zstd",
    }
}

/// Compresses one page.
pub(super) fn compress(compression: Compression, page: &[u8]) -> Result<Vec<u8>> {
    match compression {
        Compression::Snappy => snap::raw::Encoder::new()
            .compress_vec(page)
            .map_err(|source| ParquetError::External(Box::new(source))),
        Compression::Lz4Raw => Ok(lz4_flex::block::compress(page)),
        Compression::Zstd => zstd::bulk::compress(page, ZSTD_LEVEL)
            .map_err(|source| ParquetError::External(Box::new(source))),
    }
}
