//! CSV as people export it: the header, and the fields of each record put into columns.
//!
//! What a record and a field are is told in [`super::framing`].

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::str;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use super::decode::{CUT_OFF, Window};
use super::framing::{Broken, Frame, Framing, RecordSize, plural};
use super::limits::ReadLimits;
use super::nested::{NestedColumns, is_given};
use super::raw_batch::{RawBatch, json_string};
use super::reader::{MissingColumn, RejectReason, SourceError};

/// The records of one CSV file behind its header.
pub(super) struct CsvRecords {
    framing: Framing,
    header: Arc<[HeaderColumn]>,
    nested: NestedColumns,
    /// Holds the field at hand when its value differs from its bytes.
    unquoted: String,
}

struct HeaderColumn {
    name: String,
    target: Target,
    /// Paths of declared columns begin in it.
    root: Option<usize>,
}

enum Target {
    /// Position among the declared columns.
    Column(usize),
    /// The name as a JSON string.
    Extra(String),
}

impl CsvRecords {
    /// Reads the header, which must hold every one of `required`.
    pub(super) fn open(
        window: Window,
        limits: ReadLimits,
        columns: &[String],
        required: &[String],
    ) -> Result<Self, SourceError> {
        let mut framing = Framing::new(window, limits.max_record_bytes);
        let (names, line) = read_header(&mut framing, limits.max_columns)?;
        check_header(framing.window.path(), line, &names, required)?;
        framing.scan.max_fields = names.len();
        let nested = NestedColumns::new(columns);
        let header = names.into_iter().map(|name| HeaderColumn::new(name, columns, &nested));
        Ok(Self { framing, header: header.collect(), nested, unquoted: String::new() })
    }

    /// The names of the header, in its order.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.iter().map(|column| column.name.clone()).collect()
    }

    /// The same header, for blocks of the file.
    pub(super) fn for_blocks(&self) -> Self {
        let header = Arc::clone(&self.header);
        let (framing, nested) = (self.framing.for_blocks(), self.nested.for_blocks());
        Self { framing, header, nested, unquoted: String::new() }
    }

    /// Goes on with another window and returns the one before.
    pub(super) fn replace_window(&mut self, window: Window) -> Window {
        self.framing.replace_window(window)
    }

    /// Reads records into `batch` until it is full, or the file or block ends.
    pub(super) fn fill(
        &mut self,
        batch: &mut RawBatch,
        max_rows: usize,
    ) -> Result<(), SourceError> {
        while batch.has_room(max_rows) {
            match self.framing.frame()? {
                Frame::Record(size) => {
                    self.append(batch, &size);
                    self.framing.window.consume(size.consumed, size.newlines);
                }
                Frame::Broken(broken) => self.reject(batch, &broken)?,
                Frame::End => break,
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &mut RawBatch, size: &RecordSize) {
        let line = self.framing.window.line();
        let record = &self.framing.window.bytes()[..size.content];
        let scan = &self.framing.scan;
        if let Some(offset) = memchr(0, record) {
            let detail = self.at_offset("holds a NUL byte", offset);
            return batch.reject(line, record, RejectReason::NulByte, detail);
        }
        let text = match str::from_utf8(record) {
            Ok(text) if scan.field_count == self.header.len() => text,
            Ok(_) => {
                let detail = self.field_count(record, size);
                return batch.reject(line, record, RejectReason::FieldCount, detail);
            }
            Err(error) => {
                let detail = self.at_offset("is not UTF-8", error.valid_up_to());
                return batch.reject(line, record, RejectReason::InvalidUtf8, detail);
            }
        };
        self.nested.clear();
        for (field, column) in scan.fields.iter().zip(self.header.iter()) {
            let value = field.value(text, &mut self.unquoted);
            if let Some(root) = column.root {
                self.nested.put(root, value);
            }
            match &column.target {
                Target::Column(column) => batch.set(*column, value),
                Target::Extra(_) if value.is_empty() => {}
                Target::Extra(key) => batch.extra.push_text(key, value),
            }
        }
        self.nested.fill(batch);
        batch.end_row(line, size.content);
    }

    fn at_offset(&self, fault: &str, offset: usize) -> String {
        let fields = &self.framing.scan.fields;
        let index = fields.partition_point(|field| field.end < offset);
        format!("{} {fault} at byte offset {offset} of the record", self.column_name(index))
    }

    fn field_count(&self, record: &[u8], size: &RecordSize) -> String {
        let found = plural(self.framing.scan.field_count, "field");
        let mut detail = format!("found {found}, the header has {}", self.header.len());
        if lone_cr(record).is_some() {
            detail.push_str("; it holds a carriage return alone: lines end in LF or CRLF");
        } else if size.consumed == size.content {
            detail.push_str(CUT_OFF);
        }
        detail
    }

    fn column_name(&self, index: usize) -> String {
        match self.header.get(index) {
            Some(column) => format!("column `{}`", column.name),
            None => "a field beyond the header".to_owned(),
        }
    }

    fn reject(&mut self, batch: &mut RawBatch, broken: &Broken) -> Result<(), SourceError> {
        let detail = match broken.reason {
            RejectReason::RecordTooLong => self.framing.too_long(),
            _ => self.framing.unclosed(broken, &self.column_name(broken.field)),
        };
        let window = &mut self.framing.window;
        batch.reject(window.line(), &window.bytes()[..broken.content], broken.reason, detail);
        window.skip_line()
    }
}

impl HeaderColumn {
    fn new(name: String, columns: &[String], nested: &NestedColumns) -> Self {
        let target = match columns.iter().position(|column| *column == name) {
            Some(column) => Target::Column(column),
            None => Target::Extra(json_string(&name)),
        };
        let root = nested.root(&name);
        Self { name, target, root }
    }
}

/// Where a CR is that no LF follows.
fn lone_cr(record: &[u8]) -> Option<usize> {
    memchr_iter(b'\r', record).find(|at| record.get(at + 1) != Some(&b'\n'))
}

/// The names in the first record, and its line.
fn read_header(
    framing: &mut Framing,
    max_columns: usize,
) -> Result<(Vec<String>, u64), SourceError> {
    // Those behind are only counted: there may be millions of them.
    framing.scan.max_fields = max_columns;
    let frame = framing.frame()?;
    let (path, line) = (framing.window.path().to_owned(), framing.window.line());
    let content = match &frame {
        Frame::Record(size) => size.content,
        Frame::Broken(broken) => broken.content,
        Frame::End => 0,
    };
    // A name over several lines has none but CRLF.
    if let Some(offset) = lone_cr(&framing.window.bytes()[..content]) {
        return Err(SourceError::LineEnds { path, line, offset });
    }
    let size = match frame {
        Frame::Record(size) => size,
        Frame::End => return Err(SourceError::NoHeader { path }),
        Frame::Broken(broken) => {
            let detail = match broken.reason {
                RejectReason::RecordTooLong => framing.too_long(),
                _ => framing.unclosed(&broken, &format!("name {}", broken.field + 1)),
            };
            return Err(SourceError::Header { path, line, reason: broken.reason, detail });
        }
    };
    let record = &framing.window.bytes()[..size.content];
    let broken = |reason, fault: &str, offset: usize| {
        let detail = format!("it {fault} at byte offset {offset}");
        SourceError::Header { path: path.clone(), line, reason, detail }
    };
    let text = str::from_utf8(record)
        .map_err(|error| broken(RejectReason::InvalidUtf8, "is not UTF-8", error.valid_up_to()))?;
    if let Some(offset) = memchr(0, record) {
        return Err(broken(RejectReason::NulByte, "holds a NUL byte", offset));
    }
    if framing.scan.field_count > max_columns {
        let found = framing.scan.field_count;
        return Err(SourceError::TooManyColumns { path, line, found, limit: max_columns });
    }
    let mut unquoted = String::new();
    let fields = framing.scan.fields.iter();
    let names = fields.map(|field| field.value(text, &mut unquoted).to_owned()).collect();
    framing.window.consume(size.consumed, size.newlines);
    Ok((names, line))
}

fn check_header(
    path: &Path,
    line: u64,
    names: &[String],
    required: &[String],
) -> Result<(), SourceError> {
    let path = path.to_owned();
    let mut seen = HashSet::new();
    let repeated: BTreeSet<&String> = names.iter().filter(|name| !seen.insert(*name)).collect();
    if !repeated.is_empty() {
        let names = repeated.into_iter().cloned().collect();
        return Err(SourceError::DuplicateHeader { path, line, names });
    }
    let missing = required.iter().filter(|column| !is_given(column, &seen));
    let missing: Vec<_> = missing.map(|column| MissingColumn::new(column, names)).collect();
    if !missing.is_empty() {
        let header = names.to_owned();
        return Err(SourceError::MissingColumns { path, line, missing, header });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::decode::content_end;
    use super::super::limits::Limits;
    use super::super::reader::RejectedRecord;
    use super::super::reader::TextFormat;
    use super::super::reader::testing::{Outcome, limits, read};
    use super::*;

    fn csv(content: &str, columns: &[&str]) -> Outcome {
        read(TextFormat::Csv, content.as_bytes(), columns, Limits::default()).unwrap()
    }

    #[test]
    fn columns_are_found_by_name_and_the_rest_becomes_extra() {
        let outcome = csv("\u{FEFF}x,\"a\",b,\"y \"\"z\"\"\"\n1,2,3,4\n5,6,,\n", &["b", "a"]);
        assert_eq!(
            outcome.values(),
            [["3", "2", r#"{"x":"1","y \"z\"":"4"}"#], ["-", "6", r#"{"x":"5"}"#]]
        );
        assert_eq!(csv("a\n1\n", &["a"]).values(), [["1", "-"]]);
    }

    #[test]
    fn a_column_may_be_a_path_into_a_field_with_json() {
        let content = "k,d\n1,\"{\"\"name\"\":\"\"x\"\"}\"\n2,plain\n3,\n";
        let extra = r#"{"d":"{\"name\":\"x\"}"}"#;
        assert_eq!(
            csv(content, &["k", "d.name"]).values(),
            [["1", "x", extra], ["2", "-", r#"{"d":"plain"}"#], ["3", "-", "-"]]
        );
        let own = "d.name,d\nown,\"{\"\"name\"\":1}\"\n,\"{\"\"name\"\":1}\"\n";
        let own = csv(own, &["d.name"]);
        assert_eq!([own.values()[0][0], own.values()[1][0]], ["own", "1"]);
    }

    #[test]
    fn quotes_are_read_as_exported() {
        for (field, value) in [
            ("\"a,b\"", "a,b"),
            ("\"a\"\"b\"", "a\"b"),
            ("\"\"\"\"", "\""),
            ("\"\"", "-"),
            ("5\" disk", "5\" disk"),
            ("\"a\" b", "a b"),
            ("\"a\"b\"c\"", "ab\"c\""),
            ("\"a\"\"b\"c\"\"", "a\"bc\"\""),
            (" \"a\"", " \"a\""),
            ("\"a\r\"", "a\r"),
            ("\"a\r\nb\n\"", "a\r\nb\n"),
            ("a\rb", "a\rb"),
        ] {
            for end in ["", "\n", "\r\n"] {
                let outcome = csv(&format!("a,b\n{field},{field}{end}"), &["a", "b"]);
                assert_eq!(outcome.values(), [[value, value, "-"]], "{field}{end:?}");
            }
        }
    }

    #[test]
    fn lines_are_physical_and_blank_ones_are_no_records() {
        let outcome = csv("\n\r\na,b\n\n1,\"x\ny\r\n\"\r\n\n\r\n3,4\n,\n \n5,6", &["a"]);
        assert_eq!(outcome.lines(), [5, 10, 11, 13]);
        assert_eq!(outcome.rejects(), [(12, RejectReason::FieldCount, " ")]);
        assert_eq!(csv("a\n1\n\"\"\n\n2\n", &["a"]).lines(), [2, 3, 5]);
    }

    #[test]
    fn records_of_another_width_are_rejected() {
        let outcome = csv("a,b\n1\n1,2\r\n1,\"2\n\",3\r\n", &["a"]);
        assert_eq!(outcome.lines(), [3]);
        let (few, many) = ((2, RejectReason::FieldCount, "1"), "1,\"2\n\",3");
        assert_eq!(outcome.rejects(), [few, (4, RejectReason::FieldCount, many)]);
        assert_eq!(outcome.rejected[0].detail, "found 1 field, the header has 2");
        assert_eq!(outcome.rejected[1].detail, "found 3 fields, the header has 2");
    }

    #[test]
    fn invalid_utf8_is_rejected_with_its_column() {
        let content = b"a,b\nx,y\xFF\nx,\"\xE9\"\n\xC3\xA9,\"q\"\"\"\x80\n\xFF\nx,y\n1,2,\xFF\n";
        let outcome = read(TextFormat::Csv, content, &["a", "b"], Limits::default()).unwrap();
        assert_eq!(outcome.lines(), [6]);
        let details: Vec<_> = outcome.rejected.iter().map(|r| r.detail.as_str()).collect();
        assert_eq!(
            details,
            [
                "column `b` is not UTF-8 at byte offset 3 of the record",
                "column `b` is not UTF-8 at byte offset 3 of the record",
                "column `b` is not UTF-8 at byte offset 8 of the record",
                "column `a` is not UTF-8 at byte offset 0 of the record",
                "a field beyond the header is not UTF-8 at byte offset 4 of the record",
            ]
        );
        assert_eq!(outcome.rejected[0].text, "x,y\u{FFFD}");
    }

    #[test]
    fn nul_bytes_carriage_returns_and_a_cut_off_end_are_named() {
        let content = "a,b\n1,2\n3,\0\n4,5\r6,7\n8,9\n1";
        let outcome = csv(content, &["a"]);
        assert_eq!(outcome.lines(), [2, 5]);
        let details: Vec<_> = outcome.rejected.iter().map(|r| r.detail.as_str()).collect();
        assert_eq!(
            details,
            [
                "column `b` holds a NUL byte at byte offset 2 of the record",
                "found 3 fields, the header has 2; it holds a carriage return alone: lines end in \
                 LF or CRLF",
                "found 1 field, the header has 2; the file ends here without a line end: was it \
                 cut off?",
            ]
        );
        let nul = (3, RejectReason::NulByte, "3,\0");
        assert_eq!(outcome.rejects()[0], nul);
    }

    #[test]
    fn a_header_of_carriage_returns_or_nul_bytes_is_an_error_of_the_file() {
        for (content, max_record_bytes) in [("a,b\r1,2\r", 100), ("a,b\r1,2\r3,4\r", 9)] {
            let limits = limits(4, max_record_bytes);
            let error = read(TextFormat::Csv, content.as_bytes(), &["a"], limits).unwrap_err();
            assert!(matches!(error, SourceError::LineEnds { offset: 3, line: 1, .. }), "{error}");
        }
        let fine = csv("\"a\r\nb\",c\r\n1,2\r\n", &["c"]);
        assert_eq!(fine.lines(), [3]);
        let nul = read(TextFormat::Csv, b"abcd,\0\n", &[], Limits::default()).unwrap_err();
        assert!(nul.to_string().contains("it holds a NUL byte at byte offset 5"), "{nul}");
    }

    #[test]
    fn an_unclosed_quote_costs_one_line_only() {
        let outcome = csv("a,b\n1,2\n3,\"x\n5,6\r\n7,8\n", &["a"]);
        assert_eq!(outcome.lines(), [2, 4, 5]);
        assert_eq!(outcome.rejects(), [(3, RejectReason::UnclosedQuote, "3,\"x")]);
        let detail = "the quote opened in column `b` is not closed before the end of the file";
        assert_eq!(outcome.rejected[0].detail, detail);
    }

    #[test]
    fn a_record_over_the_limit_costs_its_first_line_only() {
        let content = "a,b\n1,\"x\n3,4\n5,6\n7,\"\n8,9\n\n0123456789\n1,2\n";
        for block_bytes in [1, 5, 1000] {
            let outcome = read(TextFormat::Csv, content.as_bytes(), &["a"], limits(block_bytes, 9));
            let outcome = outcome.unwrap();
            assert_eq!(outcome.lines(), [3, 4, 6, 9]);
            let open = RejectReason::UnclosedQuote;
            let long = (8, RejectReason::RecordTooLong, "012345678");
            assert_eq!(outcome.rejects(), [(2, open, "1,\"x"), (5, open, "7,\""), long]);
        }
    }

    #[test]
    fn a_file_in_which_no_quote_ever_closes_is_read_in_linear_time() {
        let line = "5\"b,\"c\n";
        let content = format!("a,b\n{}", line.repeat(200_000));
        let outcome = read(TextFormat::Csv, content.as_bytes(), &["a"], limits(1 << 16, 1 << 20));
        assert_eq!(outcome.unwrap().rejected.len(), 200_000);
    }

    /// A table as CSV: its bytes and, for each row, the first line.
    fn written(rows: &[Vec<(String, bool)>], crlf: &[bool], last_end: bool) -> (String, Vec<i64>) {
        let mut text = String::new();
        let mut lines = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            lines.push(1 + i64::try_from(text.matches('\n').count()).unwrap());
            let fields = row.iter().map(|(value, quote)| {
                let needed = value.contains(['"', ',', '\n', '\r']) || row.len() == 1;
                if needed || *quote {
                    format!("\"{}\"", value.replace('"', "\"\""))
                } else {
                    value.clone()
                }
            });
            text.push_str(&fields.collect::<Vec<_>>().join(","));
            if index + 1 < rows.len() || last_end {
                text.push_str(if crlf[index % crlf.len()] { "\r\n" } else { "\n" });
            }
        }
        (text, lines)
    }

    fn table() -> impl Strategy<Value = Vec<Vec<(String, bool)>>> {
        let value = prop_oneof![any::<String>(), "[a\",\r\n]{0,6}"];
        (1..5_usize)
            .prop_flat_map(move |width| vec(vec((value.clone(), any::<bool>()), width), 0..12))
    }

    proptest! {
        #[test]
        fn a_written_table_is_read_back_whatever_the_block_size(
            table in table(),
            crlf in vec(any::<bool>(), 1..4),
            last_end in any::<bool>(),
            block_bytes in 1..200_usize,
        ) {
            let width = table.first().map_or(2, Vec::len);
            let names: Vec<String> = (0..width).map(|index| format!("c{index}")).collect();
            let header = names.iter().map(|name| (name.clone(), false)).collect();
            let (text, lines) = written(&[vec![header], table.clone()].concat(), &crlf, last_end);
            // All but the first column, backwards; the first is `_extra`.
            let columns: Vec<&str> = names[1..].iter().rev().map(String::as_str).collect();
            let outcome = read(TextFormat::Csv, text.as_bytes(), &columns, limits(block_bytes, 1 << 20));
            let outcome = outcome.unwrap();
            prop_assert_eq!(&outcome.rejected, &[]);
            prop_assert_eq!(outcome.lines(), &lines[1..]);
            for ((_, values), row) in outcome.rows.iter().zip(&table) {
                let some = |(value, _): &(String, bool)| Some(value.clone()).filter(|v| !v.is_empty());
                let mut expected: Vec<_> = row[1..].iter().rev().map(some).collect();
                expected.push(some(&row[0]).map(|v| serde_json::json!({ "c0": v }).to_string()));
                prop_assert_eq!(json_free(values), json_free(&expected));
            }
        }

        #[test]
        fn random_bytes_never_panic(content in vec(any::<u8>(), 0..300), block_bytes in 1..50_usize) {
            let _ = read(TextFormat::Csv, &content, &["a"], limits(block_bytes, 40));
            let content = [&b"a,b\n"[..], &content].concat();
            prop_assert!(read(TextFormat::Csv, &content, &["a"], limits(block_bytes, 40)).is_ok());
        }
    }

    proptest! {
        // Records that close after a broken one was skipped over turn up once in a thousand.
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn any_bytes_are_read_like_the_plain_loop_reads_them(
            body in vec(prop::sample::select(b"\"\"\",,\n\n\ra\xFF".to_vec()), 0..80),
            block_bytes in 1..30_usize,
            max_record_bytes in 3..30_usize,
        ) {
            let content = [b"a,b\n", &body[..]].concat();
            let limits = limits(block_bytes, max_record_bytes);
            let outcome = read(TextFormat::Csv, &content, &["a", "b"], limits).unwrap();
            prop_assert_eq!(summary(&outcome), plain_loop(&content, max_record_bytes));
        }
    }

    /// `_extra` decoded, because JSON may escape one text in several ways.
    fn json_free(values: &[Option<String>]) -> (Vec<Option<String>>, Option<serde_json::Value>) {
        let (extra, columns) = values.split_last().unwrap();
        (columns.to_vec(), extra.as_ref().map(|text| serde_json::from_str(text).unwrap()))
    }

    type Summary = (Vec<(i64, Vec<Option<String>>)>, Vec<(u64, RejectReason, String)>);

    fn summary(outcome: &Outcome) -> Summary {
        let short = |r: &RejectedRecord| (r.first_line, r.reason, r.text.clone());
        let rows = outcome.rows.iter().map(|(line, values)| (*line, values[..2].to_vec()));
        (rows.collect(), outcome.rejected.iter().map(short).collect())
    }

    /// The rules of this module without blocks, skipping or borrowed fields.
    fn plain_loop(content: &[u8], max_record_bytes: usize) -> Summary {
        let (mut rows, mut rejected) = (Vec::new(), Vec::new());
        let (mut start, mut line) = (4, 2);
        while start < content.len() {
            let bytes = &content[start..];
            let lossy = |end: usize| String::from_utf8_lossy(&bytes[..end]).into_owned();
            let newline = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            let record =
                plain_record(bytes).filter(|(_, end)| content_end(bytes, *end) <= max_record_bytes);
            let Some((fields, end)) = record else {
                let end = content_end(bytes, newline);
                rejected.push(if end > max_record_bytes {
                    (line, RejectReason::RecordTooLong, lossy(max_record_bytes))
                } else {
                    (line, RejectReason::UnclosedQuote, lossy(end))
                });
                (start, line) = (start + newline + 1, line + 1);
                continue;
            };
            let record_end = content_end(bytes, end);
            if str::from_utf8(&bytes[..record_end]).is_err() {
                rejected.push((line, RejectReason::InvalidUtf8, lossy(record_end)));
            } else if record_end > 0 && fields.len() != 2 {
                rejected.push((line, RejectReason::FieldCount, lossy(record_end)));
            } else if record_end > 0 {
                let texts = fields.into_iter().map(|field| String::from_utf8(field).unwrap());
                let values = texts.map(|text| Some(text).filter(|text| !text.is_empty()));
                rows.push((i64::try_from(line).unwrap(), values.collect()));
            }
            line += 1 + memchr::memchr_iter(b'\n', &bytes[..end]).count() as u64;
            start += end + 1;
        }
        (rows, rejected)
    }

    /// The fields of the first record and where its line ends; none when a quote stays open.
    fn plain_record(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
        let (mut fields, mut field) = (Vec::new(), Vec::new());
        let (mut field_start, mut quoted, mut at) = (true, false, 0);
        loop {
            let byte = bytes.get(at).copied();
            match byte {
                None if quoted => return None,
                Some(b'"') if quoted && bytes.get(at + 1) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                Some(b'"') if quoted => quoted = false,
                Some(b'"') if field_start => quoted = true,
                Some(b',') if !quoted => fields.push(std::mem::take(&mut field)),
                None | Some(b'\n') if !quoted => {
                    // Of a closed quote and of an unquoted field alike.
                    if at > 0 && bytes[at - 1] == b'\r' {
                        field.pop();
                    }
                    fields.push(field);
                    return Some((fields, at));
                }
                Some(byte) => field.push(byte),
                None => return None,
            }
            field_start = byte == Some(b',') && !quoted;
            at += 1;
        }
    }
}
