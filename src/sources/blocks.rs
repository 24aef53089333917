//! A file cut into blocks of whole records, which can be read independently of each other.
//!
//! A block ends behind a line end outside of quotes. In JSON lines that is any line end. In CSV
//! it is guessed by counting quotes: right for every file whose quoted fields are closed, and for
//! every file without line ends inside of quotes. Whoever reads a block finds out whether the
//! guess was right, because then, and only then, its last record ends with the block; a wrong one
//! is undone by reading on in sequence ([`super::parallel`]).

use memchr::{memchr_iter, memrchr};

use super::decode::Bytes;
use super::input::Input;
use super::limits::Limits;
use super::reader::{SourceError, TextFormat};

/// Hands out the blocks of one file, in order.
pub(super) struct BlockCutter {
    input: Input,
    format: TextFormat,
    cut_bytes: usize,
    /// Longer than this no block becomes in search of its end.
    max_bytes: usize,
    /// What was read behind the last block.
    behind: Bytes,
}

/// What [`BlockCutter::cut`] comes to.
pub(super) enum Cut {
    /// Whole records, if the guess was right.
    Block(Bytes),
    /// No line end that can be the end of a record: read on in sequence.
    Nowhere,
    /// Of the file.
    End,
}

impl BlockCutter {
    /// Cuts `behind` and what `input` has behind it.
    pub(super) fn new(input: Input, behind: Bytes, format: TextFormat, limits: Limits) -> Self {
        let cut_bytes = limits.cut_bytes.max(1);
        let max_bytes = limits.read.max_record_bytes.saturating_add(cut_bytes);
        Self { input, format, cut_bytes, max_bytes, behind }
    }

    /// The next block; `spare` becomes the buffer of what is behind it.
    pub(super) fn cut(&mut self, mut spare: Vec<u8>) -> Result<Cut, SourceError> {
        let mut wanted = self.cut_bytes.max(self.behind.length);
        loop {
            self.read_up_to(wanted)?;
            let bytes = &self.behind.buffer[..self.behind.length];
            if bytes.is_empty() {
                return Ok(Cut::End);
            }
            let end = if self.behind.at_end {
                Some(bytes.len())
            } else {
                last_record_end(bytes, self.format)
            };
            let Some(end) = end else {
                if bytes.len() >= self.max_bytes {
                    return Ok(Cut::Nowhere);
                }
                wanted = bytes.len() + self.cut_bytes;
                continue;
            };
            let (block, tail) = bytes.split_at(end);
            let line = self.behind.line + memchr_iter(b'\n', block).count() as u64;
            if spare.len() < tail.len() {
                spare.resize(tail.len(), 0);
            }
            spare[..tail.len()].copy_from_slice(tail);
            let at_end = self.behind.at_end;
            let behind = Bytes { buffer: spare, length: tail.len(), line, at_end };
            let block = std::mem::replace(&mut self.behind, behind);
            return Ok(Cut::Block(Bytes { length: end, ..block }));
        }
    }

    fn read_up_to(&mut self, length: usize) -> Result<(), SourceError> {
        let behind = &mut self.behind;
        if behind.at_end || behind.length >= length {
            return Ok(());
        }
        if behind.buffer.len() < length {
            behind.buffer.resize(length, 0);
        }
        let room = &mut behind.buffer[behind.length..length];
        let read = self.input.fill(room, behind.line)?;
        behind.at_end = read < room.len();
        behind.length += read;
        Ok(())
    }

    /// The input, and what was read behind the last block.
    pub(super) fn into_rest(self) -> (Input, Bytes) {
        (self.input, self.behind)
    }
}

/// Where the last record of `bytes` that ends in a line end does; `bytes` starts with a record.
fn last_record_end(bytes: &[u8], format: TextFormat) -> Option<usize> {
    let mut end = bytes.len();
    // Whether the quotes before `end` are an odd number: `end` is inside of quotes.
    let mut is_quoted = match format {
        TextFormat::Csv => has_odd_quotes(bytes),
        TextFormat::Jsonl => return Some(memrchr(b'\n', bytes)? + 1),
    };
    loop {
        let newline = memrchr(b'\n', &bytes[..end])?;
        is_quoted ^= has_odd_quotes(&bytes[newline..end]);
        if !is_quoted {
            return Some(newline + 1);
        }
        end = newline;
    }
}

fn has_odd_quotes(bytes: &[u8]) -> bool {
    memchr_iter(b'"', bytes).count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of_csv(text: &str) -> Option<usize> {
        last_record_end(text.as_bytes(), TextFormat::Csv)
    }

    #[test]
    fn a_block_ends_behind_the_last_line_end_outside_of_quotes() {
        for (whole, cut_off) in [
            ("a,b\n", "c"),
            ("a\nb\r\n", ""),
            ("a,\"x\ny\"\n", "\"z\n\n"),
            ("\"a\"\"\nb\"\n", "c,\"\n"),
            ("\"\"\n", "\"\n\n\n"),
        ] {
            assert_eq!(end_of_csv(&format!("{whole}{cut_off}")), Some(whole.len()), "{whole:?}");
        }
        for nowhere in ["", "a,b", "\"\n\n\n", "\"a\nb\",c"] {
            assert_eq!(end_of_csv(nowhere), None, "{nowhere:?}");
        }
    }

    #[test]
    fn quotes_do_not_matter_in_json_lines() {
        assert_eq!(last_record_end(b"{\"a\n\"", TextFormat::Jsonl), Some(4));
    }
}
