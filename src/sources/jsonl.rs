//! JSON lines: one object per line, its values kept as they were delivered.
//!
//! | value | in a column | in `_extra` |
//! |---|---|---|
//! | string | its content; null when empty | as delivered |
//! | number, true, false, object, array | its JSON text as delivered | as delivered |
//! | null, or no such key | null | left out |
//!
//! Of a repeated key the last one counts. A column may be a path into a value ([`super::nested`]);
//! the value itself stays whole. A blank line is no record.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str;

use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::{CUT_OFF, PhysicalLine, Window};
use super::limits::ReadLimits;
use super::nested::NestedColumns;
use super::raw_batch::RawBatch;
use super::reader::{RejectReason, SourceError};

const JSON_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The records of one JSON lines file.
pub(super) struct JsonlRecords {
    window: Window,
    limits: ReadLimits,
    object: Object,
}

impl JsonlRecords {
    pub(super) fn open(window: Window, limits: ReadLimits, columns: &[String]) -> Self {
        Self { window, limits, object: Object::new(columns, limits.max_columns) }
    }

    /// The same columns, for blocks of the file.
    pub(super) fn for_blocks(&self) -> Self {
        let (columns, nested) = (self.object.columns.clone(), self.object.nested.for_blocks());
        let object = Object { columns, nested, ..Object::new(&[], self.limits.max_columns) };
        Self { window: Window::closed(), limits: self.limits, object }
    }

    /// Goes on with another window and returns the one before.
    pub(super) fn replace_window(&mut self, window: Window) -> Window {
        std::mem::replace(&mut self.window, window)
    }

    /// Reads records into `batch` until it is full, or the file or block ends.
    pub(super) fn fill(
        &mut self,
        batch: &mut RawBatch,
        max_rows: usize,
    ) -> Result<(), SourceError> {
        while batch.has_room(max_rows) {
            match self.window.first_line(self.limits.max_record_bytes)? {
                Some(PhysicalLine::Whole { content, consumed }) => {
                    self.append(batch, content, content == consumed);
                    self.window.consume(consumed, 1);
                }
                Some(PhysicalLine::TooLong) => {
                    let start = &self.window.bytes()[..self.limits.max_record_bytes];
                    let detail = format!("the line is longer than {} bytes", start.len());
                    batch.reject(self.window.line(), start, RejectReason::RecordTooLong, detail);
                    self.window.skip_line()?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &mut RawBatch, content: usize, is_last: bool) {
        let line = self.window.line();
        let record = &self.window.bytes()[..content];
        let text = match str::from_utf8(record) {
            Ok(text) if text.trim_matches(JSON_SPACE).is_empty() => return,
            Ok(text) => text,
            Err(error) => {
                let offset = error.valid_up_to();
                let detail = format!("not UTF-8 at byte offset {offset} of the record");
                return batch.reject(line, record, RejectReason::InvalidUtf8, detail);
            }
        };
        match self.object.read(text) {
            Ok(()) => {
                self.object.write(text, batch);
                batch.end_row(line, content);
            }
            Err(Fault { reason, mut detail }) => {
                if reason == RejectReason::InvalidJson {
                    detail.push_str(if memchr(b'\r', record).is_some() {
                        "; it holds a carriage return alone: lines end in LF or CRLF"
                    } else if is_last {
                        CUT_OFF
                    } else {
                        ""
                    });
                }
                batch.reject(line, record, reason, detail);
            }
        }
    }
}

/// The fields of the object at hand, as places in its line, so that nothing is allocated for a
/// record without escapes.
struct Object {
    columns: HashMap<String, usize>,
    nested: NestedColumns,
    max_keys: usize,
    keys: usize,
    /// One per column.
    values: Vec<Text>,
    extras: Vec<ExtraField>,
    /// Indices of `extras` in the order of their names.
    by_name: Vec<usize>,
}

/// What is wrong with a line.
struct Fault {
    reason: RejectReason,
    detail: String,
}

struct ExtraField {
    name: Text,
    /// The name as delivered, quotes and escapes included.
    key: Span,
    value: Span,
    /// The same name comes again behind it.
    superseded: bool,
}

/// A part of the line.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

/// A text that is a part of the line, or was decoded from one with escapes.
enum Text {
    Missing,
    InLine(Span),
    Decoded(String),
}

impl Object {
    fn new(columns: &[String], max_keys: usize) -> Self {
        let positions = columns.iter().cloned().enumerate().map(|(at, name)| (name, at));
        Self {
            columns: positions.collect(),
            nested: NestedColumns::new(columns),
            max_keys,
            keys: 0,
            values: Vec::new(),
            extras: Vec::new(),
            by_name: Vec::new(),
        }
    }

    /// Takes in the fields of `line`, which must be one JSON object.
    fn read(&mut self, line: &str) -> Result<(), Fault> {
        if !line.trim_start_matches(JSON_SPACE).starts_with('{') {
            let value = serde_json::from_str::<&RawValue>(line).map_err(|e| invalid_json(&e))?;
            let detail = format!("found {}, not an object", kind(value.get()));
            return Err(Fault { reason: RejectReason::NotAnObject, detail });
        }
        self.keys = 0;
        self.values.clear();
        self.values.resize_with(self.columns.len(), || Text::Missing);
        self.extras.clear();
        self.nested.clear();
        let mut json = serde_json::Deserializer::from_str(line);
        let read = FieldVisitor { line, object: self }.deserialize(&mut json);
        let read = read.and_then(|()| json.end());
        if self.keys > self.max_keys {
            let detail = format!("the object has more than {} keys", self.max_keys);
            return Err(Fault { reason: RejectReason::TooManyColumns, detail });
        }
        read.map_err(|e| invalid_json(&e))?;
        self.mark_superseded(line);
        Ok(())
    }

    fn put(&mut self, line: &str, key: &str, value: &str) -> Result<(), serde_json::Error> {
        let name = Text::of_json(line, key)?;
        if let Some(root) = self.nested.root(name.in_line(line)) {
            let text = Text::of_json(line, value)?;
            self.nested.put(root, text.in_line(line));
        }
        if let Some(column) = self.columns.get(name.in_line(line)) {
            self.values[*column] = Text::of_json(line, value)?;
        } else {
            // What has no text is refused wherever it would stand.
            if value.starts_with('"') && value.contains("\\u") {
                Text::of_json(line, value)?;
            }
            let (key, value) = (Span::of(line, key), Span::of(line, value));
            self.extras.push(ExtraField { name, key, value, superseded: false });
        }
        Ok(())
    }

    /// Sorts instead of comparing every pair: an object may have a million keys.
    fn mark_superseded(&mut self, line: &str) {
        let extras = &mut self.extras;
        self.by_name.clear();
        self.by_name.extend(0..extras.len());
        self.by_name.sort_unstable_by(|a, b| {
            let names = (extras[*a].name.in_line(line), extras[*b].name.in_line(line));
            names.0.cmp(names.1).then(a.cmp(b))
        });
        for pair in self.by_name.windows(2) {
            if extras[pair[0]].name.in_line(line) == extras[pair[1]].name.in_line(line) {
                extras[pair[0]].superseded = true;
            }
        }
    }

    fn write(&self, line: &str, batch: &mut RawBatch) {
        for (column, value) in self.values.iter().enumerate() {
            batch.set(column, value.in_line(line));
        }
        self.nested.fill(batch);
        for field in &self.extras {
            let value = field.value.in_line(line);
            if !field.superseded && value != "null" {
                batch.extra.push_json(field.key.in_line(line), value);
            }
        }
    }
}

impl Span {
    /// The place of `part`, which is borrowed from `line`.
    fn of(line: &str, part: &str) -> Self {
        let start = part.as_ptr().addr() - line.as_ptr().addr();
        Self { start, end: start + part.len() }
    }

    fn in_line(self, line: &str) -> &str {
        &line[self.start..self.end]
    }
}

impl Text {
    /// What a JSON value means as text; `json` is borrowed from `line`.
    fn of_json(line: &str, json: &str) -> Result<Self, serde_json::Error> {
        let Span { start, end } = Span::of(line, json);
        Ok(match json.as_bytes().first() {
            Some(b'"') if memchr(b'\\', json.as_bytes()).is_some() => {
                Self::Decoded(serde_json::from_str(json)?)
            }
            Some(b'"') => Self::InLine(Span { start: start + 1, end: end - 1 }),
            Some(b'n') => Self::Missing,
            _ => Self::InLine(Span { start, end }),
        })
    }

    fn in_line<'t>(&'t self, line: &'t str) -> &'t str {
        match self {
            Self::Missing => "",
            Self::InLine(span) => span.in_line(line),
            Self::Decoded(text) => text,
        }
    }
}

/// Hands the fields of a JSON object to [`Object::put`], keys and values undecoded.
struct FieldVisitor<'o, 'line> {
    line: &'line str,
    object: &'o mut Object,
}

impl<'line> DeserializeSeed<'line> for FieldVisitor<'_, 'line> {
    type Value = ();

    fn deserialize<D: Deserializer<'line>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'line> Visitor<'line> for FieldVisitor<'_, 'line> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'line>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some((key, value)) = fields.next_entry::<&RawValue, &RawValue>()? {
            self.object.keys += 1;
            if self.object.keys > self.object.max_keys {
                return Err(A::Error::custom("too many keys"));
            }
            let put = self.object.put(self.line, key.get(), value.get());
            put.map_err(|error| A::Error::custom(message(&error)))?;
        }
        Ok(())
    }
}

fn invalid_json(error: &serde_json::Error) -> Fault {
    let detail = format!("{} at column {}", message(error), error.column());
    Fault { reason: RejectReason::InvalidJson, detail }
}

/// The message without the position, which counts a record as line 1.
fn message(error: &serde_json::Error) -> String {
    let full = error.to_string();
    match full.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => full,
    }
}

fn kind(json: &str) -> Cow<'_, str> {
    match json.as_bytes().first() {
        Some(b'[') => "an array".into(),
        Some(b'"') => "a string".into(),
        Some(b'0'..=b'9' | b'-') => "a number".into(),
        _ => json.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::limits::Limits;
    use super::super::reader::TextFormat;
    use super::super::reader::testing::{Outcome, limits, read};
    use super::*;

    fn jsonl(content: &str, columns: &[&str]) -> Outcome {
        read(TextFormat::Jsonl, content.as_bytes(), columns, Limits::default()).unwrap()
    }

    fn detail(content: &str) -> String {
        jsonl(content, &["a"]).rejected.remove(0).detail
    }

    #[test]
    fn values_are_kept_as_delivered() {
        for (json, text) in [
            (r#""x""#, "x"),
            (r#""""#, "-"),
            ("null", "-"),
            ("1.0", "1.0"),
            ("12345678901234567890", "12345678901234567890"),
            ("-1E+5", "-1E+5"),
            ("true", "true"),
            (r#"{ "n" : [1, 2.0] }"#, r#"{ "n" : [1, 2.0] }"#),
            ("[]", "[]"),
            (r#""\u00e9\n\"""#, "é\n\""),
            (r#""\ud83d\ude00""#, "😀"),
        ] {
            let outcome = jsonl(&format!("{{\"b\": 1, \"a\" : {json} }}\n"), &["a"]);
            assert_eq!(outcome.values(), [[text, r#"{"b":1}"#]], "{json}");
        }
    }

    #[test]
    fn extra_holds_the_other_values_in_order_without_nulls() {
        let outcome = jsonl(
            "{\"z\":1.0,\"a\":\"x\",\"n\":null,\"\\u0062\":{\"a\": 1},\"e\":\"\"}\r\n{}\n{\"a\":2}",
            &["missing", "a"],
        );
        assert_eq!(
            outcome.values(),
            [["-", "x", r#"{"z":1.0,"\u0062":{"a": 1},"e":""}"#], ["-", "-", "-"], ["-", "2", "-"]]
        );
    }

    #[test]
    fn the_last_of_repeated_keys_wins_however_it_is_escaped() {
        let line = r#"{"a":1,"x":1,"y":0,"a":2,"\u0078":2,"\u0061":3,"z":1,"z":null}"#;
        assert_eq!(jsonl(line, &["a"]).values(), [["3", r#"{"y":0,"\u0078":2}"#]]);
        assert_eq!(jsonl(r#"{"a":1,"a":null}"#, &["a"]).values(), [["-", "-"]]);
    }

    #[test]
    fn a_column_may_be_a_path_into_a_value_that_stays_whole() {
        let content = concat!(
            r#"{"d":{"name":"x","n":1},"e":2}"#,
            "\n",
            r#"{"d.name":"own","d":{"name":"x"}}"#,
            "\n",
            r#"{"d.name":null,"d":"{\"name\":7}"}"#,
            "\n",
            r#"{"d":{"name":"x"},"d":null}"#,
            "\n",
        );
        assert_eq!(
            jsonl(content, &["d.name"]).values(),
            [
                ["x", r#"{"d":{"name":"x","n":1},"e":2}"#],
                ["own", r#"{"d":{"name":"x"}}"#],
                ["7", r#"{"d":"{\"name\":7}"}"#],
                ["-", "-"],
            ]
        );
        let both = jsonl(content, &["d", "d.name"]);
        assert_eq!(both.values()[0], [r#"{"name":"x","n":1}"#, "x", r#"{"e":2}"#]);
        assert_eq!(both.values()[2], [r#"{"name":7}"#, "7", "-"]);
    }

    #[test]
    fn a_text_that_is_none_is_refused_wherever_it_stands() {
        for line in [r#"{"a":"\ud800"}"#, r#"{"x":"\ud800"}"#, r#"{"\ud800":1}"#] {
            assert_eq!(jsonl(line, &["a"]).rejects()[0].1, RejectReason::InvalidJson, "{line}");
        }
    }

    #[test]
    fn bad_lines_are_rejected_between_good_ones() {
        let content =
            "\u{FEFF}{\"a\":1}\r\n\n  \t\r\n{\"a\":}\n[1]\n\"s\"\n-2\nnull\n{} x\nabc\n{\"a\":2}";
        let outcome = jsonl(content, &["a"]);
        assert_eq!(outcome.lines(), [1, 11]);
        let (json, object) = (RejectReason::InvalidJson, RejectReason::NotAnObject);
        assert_eq!(
            outcome.rejects(),
            [
                (4, json, "{\"a\":}"),
                (5, object, "[1]"),
                (6, object, "\"s\""),
                (7, object, "-2"),
                (8, object, "null"),
                (9, json, "{} x"),
                (10, json, "abc"),
            ]
        );
    }

    #[test]
    fn details_say_what_was_found_and_where() {
        assert_eq!(detail("{\"a\":}\n"), "expected value at column 6");
        let cut_off = "EOF while parsing a string at column 8; the file ends here without a line \
                       end: was it cut off?";
        assert_eq!(detail("{\"a\":\"un"), cut_off);
        assert_eq!(detail("{\"a\":\"un\n"), "EOF while parsing a string at column 8");
        let old_mac = detail("{\"a\":1}\r{\"a\":2}\n");
        assert!(old_mac.starts_with("trailing characters at column 9; it holds a carriage return"));
        assert_eq!(detail("[1]"), "found an array, not an object");
        assert_eq!(detail("true"), "found true, not an object");
        assert_eq!(detail("{\"b\":1}}\n"), "trailing characters at column 8");
        assert!(detail("{\"a\":\"\\ud800\"}").starts_with("unexpected end of hex escape"));
    }

    #[test]
    fn a_deeply_nested_value_is_kept() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(jsonl(&format!("{{\"a\":{deep}}}"), &["a"]).values(), [[deep.as_str(), "-"]]);
    }

    #[test]
    fn invalid_utf8_and_lines_over_the_limit_are_rejected() {
        let content = b"{\"a\":\"\xFF\"}\n{\"a\":  12345}\n{\"a\":1}\n{\"a\":\"unended";
        for block_bytes in [1, 7, 1000] {
            let limits = limits(block_bytes, 12);
            let outcome = read(TextFormat::Jsonl, content, &["a"], limits).unwrap();
            assert_eq!(outcome.lines(), [3]);
            assert_eq!(
                outcome.rejects(),
                [
                    (1, RejectReason::InvalidUtf8, "{\"a\":\"\u{FFFD}\"}"),
                    (2, RejectReason::RecordTooLong, "{\"a\":  12345"),
                    (4, RejectReason::RecordTooLong, "{\"a\":\"unende"),
                ]
            );
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_back_whatever_the_block_size(
            records in vec((any::<String>(), any::<String>(), any::<i64>()), 1..10),
            block_bytes in 1..100_usize,
        ) {
            let line = |(a, b, n): &(String, String, i64)| {
                format!("{}\n", serde_json::json!({ "a": a, "b": b, "n": n }))
            };
            let content: String = records.iter().map(line).collect();
            let limits = limits(block_bytes, 1 << 20);
            let outcome = read(TextFormat::Jsonl, content.as_bytes(), &["n", "a"], limits).unwrap();
            prop_assert_eq!(&outcome.rejected, &[]);
            prop_assert_eq!(outcome.rows.len(), records.len());
            for ((_, values), (a, b, n)) in outcome.rows.iter().zip(&records) {
                prop_assert_eq!(&values[0], &Some(n.to_string()));
                prop_assert_eq!(values[1].as_deref().unwrap_or(""), a);
                let extra = serde_json::json!({ "b": b }).to_string();
                prop_assert_eq!(values[2].as_ref(), Some(&extra));
            }
        }

        #[test]
        fn bytes_are_read_alike_whatever_the_block_size(
            content in vec(prop::sample::select(b"{}{}\"\"::,[]a1\\\n\n\r \xFF".to_vec()), 1..120),
            block_bytes in 1..30_usize,
        ) {
            let small = read(TextFormat::Jsonl, &content, &["a"], limits(block_bytes, 20));
            let large = read(TextFormat::Jsonl, &content, &["a"], limits(4096, 20));
            prop_assert_eq!(small.unwrap(), large.unwrap());
        }

        #[test]
        fn random_bytes_never_panic(content in vec(any::<u8>(), 0..300)) {
            let _ = read(TextFormat::Jsonl, &content, &["a"], limits(16, 40));
        }
    }
}
