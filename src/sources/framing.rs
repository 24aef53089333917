//! Where the records of a CSV file begin and end, and where their fields are.
//!
//! [`RecordScan`] is the automaton, one pass with `memchr` over the bytes. It keeps its place when
//! the window has to grow, so no byte of a record is looked at twice.
//!
//! | in the file | read as |
//! |---|---|
//! | a field whose first byte is a quote | quoted: commas and line ends are text, `""` is `"` |
//! | bytes between a closing quote and the next comma | appended to the field |
//! | a quote inside an unquoted field | text |
//! | LF or CRLF outside quotes | end of the record; a line with nothing else is skipped |
//! | a blank field, quoted or not | null |

use memchr::{memchr, memchr2};

use super::decode::{PhysicalLine, Window, content_end};
use super::reader::{RejectReason, SourceError};

/// Cuts records out of a window. The record at hand starts where the window starts.
pub(super) struct Framing {
    pub(super) window: Window,
    pub(super) scan: RecordScan,
    max_record_bytes: usize,
    /// How the last record that did not close was left, see [`OpenEnd`].
    open_end: Option<OpenEnd>,
}

/// Where the scan of a broken record stopped. All its line ends lay inside quotes, so a scan that
/// starts at a later line and is inside quotes at the end of one gets to the very same place.
/// It skips the way there; else every line of a file in which quotes never close would be
/// followed to the length limit.
#[derive(Clone, Copy)]
struct OpenEnd {
    /// Offset in the file.
    offset: u64,
    state: State,
}

pub(super) enum Frame {
    Record(RecordSize),
    Broken(Broken),
    /// Of the file; or of a block, whose last record may be in the window, cut off.
    End,
}

/// How long a whole record is.
pub(super) struct RecordSize {
    /// Bytes without the line end.
    pub(super) content: usize,
    /// Bytes with the line end.
    pub(super) consumed: usize,
    /// Line ends inside quotes and its own.
    pub(super) newlines: u64,
}

/// A record of which only the first physical line can be judged.
pub(super) struct Broken {
    pub(super) reason: RejectReason,
    /// Bytes of the line, or what of them is here.
    pub(super) content: usize,
    /// Index of the field whose quote was open at the end of the line.
    pub(super) field: usize,
    /// The file ended before the length limit was reached.
    at_end: bool,
}

impl Framing {
    pub(super) fn new(window: Window, max_record_bytes: usize) -> Self {
        let scan = RecordScan { max_fields: usize::MAX, ..RecordScan::default() };
        Self { window, scan, max_record_bytes, open_end: None }
    }

    /// The same limits, for blocks of the file.
    pub(super) fn for_blocks(&self) -> Self {
        let mut framing = Self::new(Window::closed(), self.max_record_bytes);
        framing.scan.max_fields = self.scan.max_fields;
        framing
    }

    /// Goes on with another window and returns the one before.
    pub(super) fn replace_window(&mut self, window: Window) -> Window {
        self.open_end = None;
        std::mem::replace(&mut self.window, window)
    }

    /// The next record or broken line; it stays in the window for the caller to consume.
    pub(super) fn frame(&mut self) -> Result<Frame, SourceError> {
        self.scan.restart(self.known_end());
        loop {
            let bytes = self.window.bytes();
            let size = match self.scan.advance(bytes, self.window.at_end()) {
                Progress::Ended(size) => size,
                // One byte more than the limit may still be the CR of a record that fits.
                Progress::Exhausted if bytes.len() < self.max_record_bytes.saturating_add(2) => {
                    if !self.window.grow()? && !self.window.at_end() {
                        // The block ends inside the record, which stays in the window.
                        return Ok(Frame::End);
                    }
                    continue;
                }
                Progress::Exhausted | Progress::Unclosed => return self.broken(),
            };
            if size.consumed == 0 {
                return Ok(Frame::End);
            } else if size.content == 0 {
                self.window.consume(size.consumed, size.newlines);
                self.scan.restart(self.known_end());
            } else if size.content > self.max_record_bytes {
                return self.broken();
            } else if self.scan.skipped {
                // It closes within the limit after all: its fields are needed.
                self.open_end = None;
                self.scan.restart(None);
            } else {
                return Ok(Frame::Record(size));
            }
        }
    }

    fn known_end(&self) -> Option<(usize, State)> {
        let end = self.open_end?;
        let ahead = end.offset.checked_sub(self.window.offset())?;
        Some((usize::try_from(ahead).ok()?, end.state))
    }

    fn broken(&mut self) -> Result<Frame, SourceError> {
        let scan = &self.scan;
        let field = scan.first_open.unwrap_or(scan.field_count);
        let offset = self.window.offset() + scan.position as u64;
        self.open_end = Some(OpenEnd { offset, state: scan.state });
        let at_end = self.window.at_end() && self.window.bytes().len() <= self.max_record_bytes;
        let (reason, content) = match self.window.first_line(self.max_record_bytes)? {
            Some(PhysicalLine::Whole { content, .. }) => (RejectReason::UnclosedQuote, content),
            Some(PhysicalLine::TooLong) => (RejectReason::RecordTooLong, self.max_record_bytes),
            None => return Ok(Frame::End),
        };
        Ok(Frame::Broken(Broken { reason, content, field, at_end }))
    }

    pub(super) fn too_long(&self) -> String {
        format!("the line is longer than {}", plural(self.max_record_bytes, "byte"))
    }

    pub(super) fn unclosed(&self, broken: &Broken, column: &str) -> String {
        let limit = if broken.at_end {
            "before the end of the file".to_owned()
        } else {
            format!("within a record of {}", plural(self.max_record_bytes, "byte"))
        };
        format!("the quote opened in {column} is not closed {limit}")
    }
}

/// The automaton over the bytes of one record. Positions count from the record's first byte.
#[derive(Default)]
pub(super) struct RecordScan {
    state: State,
    /// The next byte to look at.
    position: usize,
    field_start: usize,
    quoting: Quoting,
    /// The last quote that may close the field at hand.
    close: usize,
    pub(super) field_count: usize,
    /// The first `max_fields` of them.
    pub(super) fields: Vec<FieldSpan>,
    /// Those behind the header's last are only counted: there may be millions of them.
    pub(super) max_fields: usize,
    /// Line ends inside quotes.
    newlines: u64,
    /// Index of the field that was open at the first of them.
    first_open: Option<usize>,
    known_end: Option<(usize, State)>,
    /// The scan went straight to `known_end`: its fields are incomplete.
    skipped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    FieldStart,
    /// In an unquoted field, or behind the closing quote of a quoted one.
    Plain,
    Quoted,
    /// Behind a quote that either closes the field or is the first of two.
    AfterQuote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Quoting {
    #[default]
    Unquoted,
    Quoted,
    /// Quoted, with two quotes in a row inside.
    Doubled,
}

enum Progress {
    /// The record ends, at its LF or with the file.
    Ended(RecordSize),
    /// The file ends inside quotes.
    Unclosed,
    /// More bytes are needed.
    Exhausted,
}

enum Step {
    On,
    LineEnd,
    Exhausted,
}

/// Where the value of a field is.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldSpan {
    start: usize,
    pub(super) end: usize,
    /// The span holds quotes, the value is what they mean.
    quotes: bool,
}

impl RecordScan {
    fn restart(&mut self, known_end: Option<(usize, State)>) {
        self.state = State::FieldStart;
        self.position = 0;
        self.field_start = 0;
        self.quoting = Quoting::Unquoted;
        self.field_count = 0;
        self.fields.clear();
        self.newlines = 0;
        self.first_open = None;
        self.known_end = known_end;
        self.skipped = false;
    }

    /// Goes on over `bytes`, which may have grown at their end since the last call.
    fn advance(&mut self, bytes: &[u8], at_end: bool) -> Progress {
        loop {
            let step = match self.state {
                State::FieldStart => self.field_start(bytes),
                State::Plain => self.plain(bytes),
                State::Quoted => self.quoted(bytes),
                State::AfterQuote => self.after_quote(bytes),
            };
            match step {
                Step::On => {}
                Step::LineEnd => return self.ended(bytes, 1),
                Step::Exhausted if !at_end => return Progress::Exhausted,
                Step::Exhausted if self.state == State::Quoted => return Progress::Unclosed,
                Step::Exhausted => return self.ended(bytes, 0),
            }
        }
    }

    /// Leaves `position` at the line end: it may become the `known_end` of a later scan.
    fn ended(&mut self, bytes: &[u8], line_end_bytes: usize) -> Progress {
        let content = content_end(bytes, self.position);
        self.push_field(content);
        let consumed = self.position + line_end_bytes;
        Progress::Ended(RecordSize { content, consumed, newlines: self.newlines + 1 })
    }

    fn field_start(&mut self, bytes: &[u8]) -> Step {
        match bytes.get(self.position) {
            None => return Step::Exhausted,
            Some(b'"') => {
                self.quoting = Quoting::Quoted;
                self.state = State::Quoted;
                self.position += 1;
            }
            Some(_) => self.state = State::Plain,
        }
        Step::On
    }

    fn plain(&mut self, bytes: &[u8]) -> Step {
        while let Some(found) = memchr2(b',', b'\n', &bytes[self.position..]) {
            self.position += found;
            if bytes[self.position] == b'\n' {
                return Step::LineEnd;
            }
            self.push_field(self.position);
            self.position += 1;
            self.field_start = self.position;
            if matches!(bytes.get(self.position), None | Some(b'"')) {
                self.state = State::FieldStart;
                return Step::On;
            }
        }
        self.position = bytes.len();
        Step::Exhausted
    }

    fn quoted(&mut self, bytes: &[u8]) -> Step {
        while let Some(found) = memchr2(b'"', b'\n', &bytes[self.position..]) {
            let at = self.position + found;
            self.position = at + 1;
            if bytes[at] == b'"' {
                self.close = at;
                self.state = State::AfterQuote;
                return Step::On;
            }
            self.newlines += 1;
            self.first_open.get_or_insert(self.field_count);
            if let Some((end, state)) = self.known_end.take_if(|(end, _)| at < *end) {
                self.position = end;
                self.state = state;
                self.skipped = true;
                return Step::On;
            }
        }
        self.position = bytes.len();
        Step::Exhausted
    }

    fn after_quote(&mut self, bytes: &[u8]) -> Step {
        match bytes.get(self.position) {
            None => return Step::Exhausted,
            Some(b'"') => {
                self.quoting = Quoting::Doubled;
                self.state = State::Quoted;
                self.position += 1;
            }
            Some(_) => self.state = State::Plain,
        }
        Step::On
    }

    fn push_field(&mut self, end: usize) {
        if self.field_count < self.max_fields {
            let start = self.field_start;
            let (start, end, quotes) = match self.quoting {
                Quoting::Unquoted => (start, end, false),
                Quoting::Quoted if self.close + 1 == end => (start + 1, self.close, false),
                Quoting::Quoted | Quoting::Doubled => (start, end, true),
            };
            self.fields.push(FieldSpan { start, end, quotes });
        }
        self.field_count += 1;
        self.quoting = Quoting::Unquoted;
    }
}

impl FieldSpan {
    /// The field's value in the text of its record; `unquoted` is scratch space.
    pub(super) fn value<'t>(self, record: &'t str, unquoted: &'t mut String) -> &'t str {
        let text = &record[self.start..self.end];
        if !self.quotes {
            return text;
        }
        unquoted.clear();
        let mut rest = &text[1..];
        while let Some(quote) = memchr(b'"', rest.as_bytes()) {
            unquoted.push_str(&rest[..quote]);
            rest = &rest[quote + 1..];
            let Some(behind) = rest.strip_prefix('"') else {
                break;
            };
            unquoted.push('"');
            rest = behind;
        }
        unquoted.push_str(rest);
        unquoted
    }
}

/// `count` and `noun`, for a message.
pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
