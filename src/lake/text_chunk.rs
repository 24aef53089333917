//! One text column of one row group, encoded by dictionary.
//!
//! Rows sorted by key come in runs: the same user, the same session many times in a row. The
//! general encoder of the Parquet library looks every value up in a hash table; this one compares
//! it with its neighbour first, and for a column whose runs never come back it needs no table at
//! all. What it writes is plain Parquet: a dictionary page, then data pages of version 1.
//!
//! | part | layout |
//! |---|---|
//! | dictionary page | each value as its length (4 bytes, little endian) and bytes |
//! | data page | for a nullable column the definition levels (length, then the hybrid of runs and packed bits), then the bit width (1 byte) and the positions in the dictionary (the same hybrid) |
//! | data page beyond the dictionary's limit | definition levels, then the values themselves |

use arrow::array::{Array, StringArray};
use deltalake::parquet::basic::{Encoding, PageType};
use deltalake::parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter as _};
use deltalake::parquet::column::writer::ColumnCloseResult;
use deltalake::parquet::data_type::ByteArray;
use deltalake::parquet::errors::{ParquetError, Result};
use deltalake::parquet::file::metadata::ColumnChunkMetaData;
use deltalake::parquet::file::statistics::Statistics;
use deltalake::parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use deltalake::parquet::schema::types::ColumnDescPtr;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use super::codec;
use super::rle_hybrid::{bit_width, encode_hybrid, encode_run};
use crate::config::Compression;

/// Bytes of the dictionary of one row group.
const DICTIONARY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the longest value that statistics hold; longer ones leave the column without.
const STATISTICS_BYTES: usize = 128;

/// How the values of a column follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// A value that is over does not come back within a row group.
    InRuns,
    /// Any value may come at any time.
    Anywhere,
}

/// The column in the making.
pub(super) struct TextChunk {
    descriptor: ColumnDescPtr,
    repeats: Repeats,
    has_statistics: bool,
    compression: Compression,
    /// Bytes of the dictionary beyond which values are written as they are.
    dictionary_bytes: usize,
    dictionary: Dictionary,
    pages: Vec<(Page, usize)>,
    positions: Vec<u32>,
    rows: usize,
    nulls: usize,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
}

impl TextChunk {
    pub(super) fn new(
        descriptor: ColumnDescPtr,
        repeats: Repeats,
        has_statistics: bool,
        compression: Compression,
    ) -> Self {
        Self {
            descriptor,
            repeats,
            has_statistics,
            compression,
            dictionary_bytes: DICTIONARY_BYTES,
            dictionary: Dictionary::default(),
            pages: Vec::new(),
            positions: Vec::new(),
            rows: 0,
            nulls: 0,
            bounds: None,
        }
    }

    /// Adds the values as one page; a page without any would end the column for some readers.
    pub(super) fn write(&mut self, values: &StringArray) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let mut page = self.levels(values)?;
        let encoding = if self.dictionary.page.len() < self.dictionary_bytes {
            self.look_up(values);
            let width = bit_width(self.dictionary.len().saturating_sub(1));
            page.push(width);
            encode_hybrid(&self.positions, width, &mut page);
            Encoding::RLE_DICTIONARY
        } else {
            self.include(values.iter().flatten().map(str::as_bytes));
            for value in values.iter().flatten() {
                push_value(&mut page, value)?;
            }
            Encoding::PLAIN
        };
        self.rows += values.len();
        self.nulls += values.null_count();
        let (uncompressed_bytes, buf) =
            (page.len(), codec::compress(self.compression, &page)?.into());
        let page = Page::DataPage {
            buf,
            num_values: count(values.len())?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.pages.push((page, uncompressed_bytes));
        Ok(())
    }

    /// The bytes of the chunk and what its footer says; the next chunk begins empty.
    pub(super) fn finish(&mut self) -> Result<(Vec<u8>, ColumnCloseResult)> {
        let dictionary = std::mem::take(&mut self.dictionary);
        self.include((0..dictionary.len()).map(|at| dictionary.value(position(at))));
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        let mut written = Written::default();
        let compressed = codec::compress(self.compression, &dictionary.page)?;
        let page = Page::DictionaryPage {
            buf: compressed.into(),
            num_values: count(dictionary.len())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        written.add(&writer.write_page(CompressedPage::new(page, dictionary.page.len()))?);
        for (page, uncompressed_bytes) in std::mem::take(&mut self.pages) {
            written.encodings.push(page.encoding());
            written.add(&writer.write_page(CompressedPage::new(page, uncompressed_bytes))?);
        }
        std::io::Write::flush(&mut sink)?;
        let close = self.close(written)?;
        Ok((sink.into_inner()?, close))
    }

    fn close(&mut self, mut written: Written) -> Result<ColumnCloseResult> {
        written.encodings.extend([Encoding::PLAIN, Encoding::RLE]);
        written.encodings.sort_unstable_by_key(|encoding| *encoding as i32);
        written.encodings.dedup();
        let rows = std::mem::take(&mut self.rows);
        let nulls = std::mem::take(&mut self.nulls) as u64;
        let bytes = |bytes: u64| {
            i64::try_from(bytes).map_err(|source| ParquetError::External(Box::new(source)))
        };
        let mut builder = ColumnChunkMetaData::builder(self.descriptor.clone())
            .set_compression(codec::parquet(self.compression)?)
            .set_encodings(written.encodings)
            .set_num_values(bytes(rows as u64)?)
            .set_total_compressed_size(bytes(written.compressed_bytes)?)
            .set_total_uncompressed_size(bytes(written.uncompressed_bytes)?)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(bytes(written.first_data_page)?);
        let bounds = self.bounds.take();
        if let Some((first, last)) = bounds.filter(|(_, last)| last.len() <= STATISTICS_BYTES) {
            let value = |bytes: Vec<u8>| Some(ByteArray::from(bytes));
            builder = builder.set_statistics(Statistics::new(
                value(first),
                value(last),
                None,
                Some(nulls),
                false,
            ));
        }
        Ok(ColumnCloseResult {
            bytes_written: written.compressed_bytes,
            rows_written: rows as u64,
            metadata: builder.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        })
    }

    /// Definition levels, where the column is nullable.
    fn levels(&self, values: &StringArray) -> Result<Vec<u8>> {
        let mut page = Vec::with_capacity(values.len() * 2);
        if self.descriptor.max_def_level() == 0 {
            return Ok(page);
        }
        let mut levels = Vec::new();
        match values.nulls() {
            None => encode_run(1, values.len(), 1, &mut levels),
            Some(nulls) => {
                let levels_of_rows: Vec<u32> = nulls.iter().map(u32::from).collect();
                encode_hybrid(&levels_of_rows, 1, &mut levels);
            }
        }
        page.extend(count(levels.len())?.to_le_bytes());
        page.extend(levels);
        Ok(page)
    }

    /// The position in the dictionary of each value that is not null.
    fn look_up(&mut self, values: &StringArray) {
        self.positions.clear();
        let mut previous: Option<(&str, u32)> = None;
        for value in values.iter().flatten() {
            let position = match previous {
                Some((same, position)) if same == value => position,
                _ => match self.repeats {
                    Repeats::InRuns => self.dictionary.append(value),
                    Repeats::Anywhere => self.dictionary.find_or_append(value),
                },
            };
            previous = Some((value, position));
            self.positions.push(position);
        }
    }

    /// Widens the bounds of the statistics.
    fn include<'v>(&mut self, values: impl Iterator<Item = &'v [u8]>) {
        if !self.has_statistics {
            return;
        }
        for value in values {
            match &mut self.bounds {
                None => self.bounds = Some((value.to_vec(), value.to_vec())),
                Some((first, _)) if value < first.as_slice() => *first = value.to_vec(),
                Some((_, last)) if value > last.as_slice() => *last = value.to_vec(),
                Some(_) => {}
            }
        }
    }
}

/// What the page writer says of the pages.
#[derive(Default)]
struct Written {
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    first_data_page: u64,
    encodings: Vec<Encoding>,
}

impl Written {
    fn add(&mut self, page: &PageWriteSpec) {
        if page.page_type == PageType::DICTIONARY_PAGE {
            self.first_data_page = page.bytes_written;
        }
        self.compressed_bytes += page.bytes_written;
        let header_bytes = page.bytes_written - page.compressed_size as u64;
        self.uncompressed_bytes += page.uncompressed_size as u64 + header_bytes;
    }
}

/// Distinct values in the order of their first row, as their page holds them.
#[derive(Default)]
struct Dictionary {
    page: Vec<u8>,
    /// Where each value begins in the page, behind its length.
    starts: Vec<usize>,
    positions: HashTable<u32>,
    hasher: FixedState,
}

impl Dictionary {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn append(&mut self, value: &str) -> u32 {
        if self.starts.last().is_some_and(|start| &self.page[*start..] == value.as_bytes()) {
            return position(self.starts.len() - 1);
        }
        // A value is never as long as 4 GiB: Arrow's own offsets end before that.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.page.extend(length.to_le_bytes());
        self.starts.push(self.page.len());
        self.page.extend(value.as_bytes());
        position(self.starts.len() - 1)
    }

    fn find_or_append(&mut self, value: &str) -> u32 {
        let hash = self.hasher.hash_one(value.as_bytes());
        let known = self.positions.find(hash, |at| self.value(*at) == value.as_bytes());
        if let Some(position) = known {
            return *position;
        }
        let position = self.append(value);
        let (page, starts, hasher) = (&self.page, &self.starts, &self.hasher);
        self.positions
            .insert_unique(hash, position, |at| hasher.hash_one(value_at(page, starts, *at)));
        position
    }

    fn value(&self, at: u32) -> &[u8] {
        value_at(&self.page, &self.starts, at)
    }
}

/// A value ends where the length of the next one begins.
fn value_at<'p>(page: &'p [u8], starts: &[usize], at: u32) -> &'p [u8] {
    let at = at as usize;
    let end = starts.get(at + 1).map_or(page.len(), |next| next - size_of::<u32>());
    &page[starts[at]..end]
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn push_value(page: &mut Vec<u8>, value: &str) -> Result<()> {
    page.extend(count(value.len())?.to_le_bytes());
    page.extend(value.as_bytes());
    Ok(())
}

fn count(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|source| ParquetError::External(Box::new(source)))
}

#[cfg(test)]
mod tests;
