//! A row of a batch, and its text as CSV or JSONL.

use std::io::{self, Write};

use super::GenerateFormat;

/// Milliseconds of a day.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

const CSV_HEADER: &[u8] = b"user_id,product_code,event_id,timestamp,page,price\n";
const PRODUCTS: [&str; 4] = ["web", "ios", "android", "tv"];
const SEARCHES: [&str; 6] =
    ["shoes", "\"red, blue\"", "hats, gloves", "12\" vinyl", "café", "gift"];

/// How many product codes there are.
pub(super) const PRODUCT_COUNT: u8 = 4;
/// How many searches `Page::Search` can name.
pub(super) const SEARCH_COUNT: u32 = 6;

/// What happened, where and when; one line of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) timestamp_millis: i64,
    pub(super) user: u64,
    /// Index of the product code, below `PRODUCT_COUNT`.
    pub(super) product: u8,
    pub(super) event: Event,
    pub(super) page: Page,
    pub(super) price_cents: Option<u32>,
}

/// The values of `event_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    View,
    Click,
    Scroll,
    Heartbeat,
    AddToCart,
    Purchase,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Click => "click",
            Self::Scroll => "scroll",
            Self::Heartbeat => "heartbeat",
            Self::AddToCart => "add_to_cart",
            Self::Purchase => "purchase",
        }
    }
}

/// The values of `page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Blank,
    Home,
    Product(u32),
    Category(u32),
    /// One of `SEARCH_COUNT` searches, some with a comma or a quote.
    Search(u32),
    Cart,
    Checkout,
}

impl Page {
    fn append_text(self, text: &mut Vec<u8>) {
        match self {
            Self::Blank => {}
            Self::Home => text.extend_from_slice(b"/home"),
            Self::Cart => text.extend_from_slice(b"/cart"),
            Self::Checkout => text.extend_from_slice(b"/checkout"),
            Self::Product(number) => {
                text.extend_from_slice(b"/product/");
                append_number(text, u64::from(number), 1);
            }
            Self::Category(number) => {
                text.extend_from_slice(b"/category/");
                append_number(text, u64::from(number), 1);
            }
            Self::Search(number) => {
                text.extend_from_slice(b"/search?q=");
                let search = SEARCHES[number as usize % SEARCHES.len()];
                text.extend_from_slice(search.as_bytes());
            }
        }
    }
}

/// Writes rows as text, and counts their bytes.
pub(super) struct RowSink<W> {
    out: W,
    format: GenerateFormat,
    line: Vec<u8>,
    page: Vec<u8>,
    bytes: u64,
}

impl<W: Write> RowSink<W> {
    /// Starts a file; a CSV file with its header.
    pub(super) fn new(out: W, format: GenerateFormat) -> io::Result<Self> {
        let mut sink = Self { out, format, line: Vec::new(), page: Vec::new(), bytes: 0 };
        if format == GenerateFormat::Csv {
            sink.line.extend_from_slice(CSV_HEADER);
            sink.end_line()?;
        }
        Ok(sink)
    }

    pub(super) fn write(&mut self, row: &Row) -> io::Result<()> {
        self.page.clear();
        row.page.append_text(&mut self.page);
        match self.format {
            GenerateFormat::Csv => append_csv(&mut self.line, row, &self.page),
            GenerateFormat::Jsonl => append_json(&mut self.line, row, &self.page),
        }
        self.end_line()
    }

    /// Flushes, and returns the size of the file.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.out.write_all(&self.line)?;
        self.bytes += self.line.len() as u64;
        self.line.clear();
        Ok(())
    }
}

fn append_csv(line: &mut Vec<u8>, row: &Row, page: &[u8]) {
    append_user(line, row.user);
    line.push(b',');
    line.extend_from_slice(product_code(row).as_bytes());
    line.push(b',');
    line.extend_from_slice(row.event.name().as_bytes());
    line.push(b',');
    append_timestamp(line, row.timestamp_millis);
    line.push(b',');
    append_csv_field(line, page);
    line.push(b',');
    if let Some(cents) = row.price_cents {
        append_price(line, cents);
    }
    line.push(b'\n');
}

fn append_json(line: &mut Vec<u8>, row: &Row, page: &[u8]) {
    line.extend_from_slice(b"{\"user_id\":\"");
    append_user(line, row.user);
    line.extend_from_slice(b"\",\"product_code\":\"");
    line.extend_from_slice(product_code(row).as_bytes());
    line.extend_from_slice(b"\",\"event_id\":\"");
    line.extend_from_slice(row.event.name().as_bytes());
    line.extend_from_slice(b"\",\"timestamp\":\"");
    append_timestamp(line, row.timestamp_millis);
    line.push(b'"');
    if !page.is_empty() {
        line.extend_from_slice(b",\"page\":\"");
        append_escaped(line, page, b'\\');
        line.push(b'"');
    }
    if let Some(cents) = row.price_cents {
        line.extend_from_slice(b",\"price\":");
        append_price(line, cents);
    }
    line.extend_from_slice(b"}\n");
}

fn product_code(row: &Row) -> &'static str {
    PRODUCTS[usize::from(row.product) % PRODUCTS.len()]
}

fn append_user(line: &mut Vec<u8>, user: u64) {
    line.push(b'u');
    append_number(line, user, 6);
}

/// Quoted only where a comma or a quote asks for it (no page holds a line break).
fn append_csv_field(line: &mut Vec<u8>, field: &[u8]) {
    if !field.iter().any(|byte| matches!(byte, b',' | b'"')) {
        line.extend_from_slice(field);
        return;
    }
    line.push(b'"');
    append_escaped(line, field, b'"');
    line.push(b'"');
}

/// Puts `escape` before every quote; no page holds a backslash or a control character.
fn append_escaped(line: &mut Vec<u8>, text: &[u8], escape: u8) {
    for byte in text {
        if *byte == b'"' {
            line.push(escape);
        }
        line.push(*byte);
    }
}

fn append_price(line: &mut Vec<u8>, cents: u32) {
    append_number(line, u64::from(cents / 100), 1);
    line.push(b'.');
    append_number(line, u64::from(cents % 100), 2);
}

/// RFC 3339 in UTC with milliseconds, for the years 0 to 9999.
///
/// Written by hand because it is most of a row's cost otherwise. The civil date is the algorithm
/// of <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
pub(super) fn append_timestamp(line: &mut Vec<u8>, timestamp_millis: i64) {
    let days = timestamp_millis.div_euclid(DAY_MILLIS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097).unsigned_abs();
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era.unsigned_abs() * 400 + u64::from(month <= 2);

    let millis = timestamp_millis.rem_euclid(DAY_MILLIS).unsigned_abs();
    append_number(line, year, 4);
    line.push(b'-');
    append_number(line, month, 2);
    line.push(b'-');
    append_number(line, day, 2);
    line.push(b'T');
    append_number(line, millis / 3_600_000, 2);
    line.push(b':');
    append_number(line, millis / 60_000 % 60, 2);
    line.push(b':');
    append_number(line, millis / 1_000 % 60, 2);
    line.push(b'.');
    append_number(line, millis % 1_000, 3);
    line.push(b'Z');
}

/// Decimal, with leading zeros up to `width` digits.
fn append_number(line: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut start = digits.len();
    while rest > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    line.extend_from_slice(&digits[start.min(digits.len() - width)..]);
}
