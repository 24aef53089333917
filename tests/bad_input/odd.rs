//! Files that look odd and are not bad: every row of them is taken.

use super::{Expected, HEADER, Kind, around, gzip, record};

fn kind(
    name: &'static str,
    ending: &'static str,
    content: fn(&str) -> Vec<u8>,
    rows: usize,
) -> Kind {
    Kind { name, ending, content, expected: Expected::Taken(rows), reason: "", message: "" }
}

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        kind("a header and nothing else", "csv", |_| format!("{HEADER}\n").into_bytes(), 0),
        kind(
            "a byte order mark of UTF-8",
            "csv",
            |day| [b"\xEF\xBB\xBF", around("csv", day, b"").as_slice()].concat(),
            2,
        ),
        kind(
            "LF and CRLF mixed, blank lines, no line end at the end",
            "csv",
            |day| {
                let row = record("csv", day, "x");
                format!("\n{HEADER}\r\n{row}\n\r\n\n{row}\r\n{row}").into_bytes()
            },
            3,
        ),
        kind(
            "several gzip members",
            "csv.gz",
            |day| {
                let plain = around("csv", day, b"");
                let (front, back) = plain.split_at(30);
                [gzip(front), gzip(back)].concat()
            },
            2,
        ),
        kind(
            "several zstd frames",
            "csv.zst",
            |day| {
                let plain = around("csv", day, b"");
                let (front, back) = plain.split_at(30);
                [front, back].map(|part| zstd::encode_all(part, 1).unwrap()).concat()
            },
            2,
        ),
        kind(
            "blank lines, keys in any order, missing and repeated ones, other types",
            "jsonl",
            |day| {
                format!(
                "\n  \n{{\"timestamp\":\"{day}T10:00:00Z\",\"user_id\":1,\"event_id\":\"e\"}}\r\n\
                 {{\"price\":\"2\",\"event_id\":true,\"user_id\":\"u\",\"timestamp\":\"{day}T10:00:00Z\"}}\n\
                 {{\"event_id\":\"e\",\"user_id\":\"x\",\"user_id\":\"u\",\"timestamp\":\"{day}T10:00:00Z\",\
                 \"note\":{{\"a\":[1]}}}}"
            )
            .into_bytes()
            },
            3,
        ),
    ]
}
