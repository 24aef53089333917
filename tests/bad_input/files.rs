//! Files of which nothing can be taken.

use super::{Expected, FOLDER, HEADER, Kind, around, gzip, parquet, parquet_of};

fn kind(
    ending: &'static str,
    name: &'static str,
    content: fn(&str) -> Vec<u8>,
    reason: &'static str,
    message: &'static str,
) -> Kind {
    Kind { name, ending, content, expected: Expected::FileRejected, reason, message }
}

fn csv(
    name: &'static str,
    content: fn(&str) -> Vec<u8>,
    reason: &'static str,
    message: &'static str,
) -> Kind {
    kind("csv", name, content, reason, message)
}

/// A CSV file of 40 MB that compresses to next to nothing.
fn dense() -> Vec<u8> {
    let line = [vec![b'x'; 1_000_000], b"\n".to_vec()].concat();
    [format!("{HEADER}\n").into_bytes(), line.repeat(40)].concat()
}

fn utf16(text: &str, little_endian: bool) -> Vec<u8> {
    text.encode_utf16()
        .flat_map(|unit| if little_endian { unit.to_le_bytes() } else { unit.to_be_bytes() })
        .collect()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

fn without_the_end(mut content: Vec<u8>) -> Vec<u8> {
    content.truncate(content.len() - 9);
    content
}

fn with_a_wrong_middle(mut content: Vec<u8>) -> Vec<u8> {
    let middle = content.len() / 2;
    content[middle..middle + 8].fill(0xFF);
    content
}

pub(super) fn kinds() -> Vec<Kind> {
    let all = [empty(), other_formats(), headers(), compressed(), parquet_files()];
    all.into_iter().flatten().collect()
}

fn empty() -> Vec<Kind> {
    vec![
        csv("a folder in its place", |_| FOLDER.to_vec(), "not_a_file", "is a folder"),
        csv("empty", |_| vec![], "empty", "is empty"),
        csv("only blank lines", |_| b"\n\r\n\n".to_vec(), "empty", "is blank"),
        csv("only a byte order mark", |_| b"\xEF\xBB\xBF".to_vec(), "empty", "is empty"),
        kind("jsonl", "empty", |_| vec![], "empty", "is empty"),
        kind("csv.gz", "empty", |_| vec![], "empty", "is empty"),
        kind("csv.gz", "nothing, compressed", |_| gzip(b""), "empty", "is empty"),
        kind("parquet", "empty", |_| vec![], "empty", "is empty"),
    ]
}

fn other_formats() -> Vec<Kind> {
    vec![
        csv(
            "UTF-16 with a byte order mark",
            |day| utf16(&format!("\u{FEFF}{HEADER}\n{day}"), true),
            "wrong_format",
            "is UTF-16 text",
        ),
        csv(
            "UTF-16 without a mark, big end first",
            |_| utf16(HEADER, false),
            "wrong_format",
            "is UTF-16 text",
        ),
        csv("NUL bytes and nothing else", |_| vec![0; 4096], "wrong_format", "made of NUL bytes"),
        csv(
            "gzip data under a name without .gz",
            |day| gzip(&around("csv", day, b"")),
            "wrong_format",
            "gzip data under a name without .gz",
        ),
        csv(
            "zstd data under a name without .zst",
            |day| zstd(&around("csv", day, b"")),
            "wrong_format",
            "zstd data under a name without .zst",
        ),
        csv(
            "an Excel workbook",
            |_| b"PK\x03\x04\x14\0\x06\0".to_vec(),
            "wrong_format",
            "a ZIP archive or an Excel workbook",
        ),
        csv("a Parquet file", parquet, "wrong_format", "is a Parquet file"),
        csv(
            "an error page",
            |_| b"<html><body>502 Bad Gateway</body></html>\n".to_vec(),
            "wrong_format",
            "an HTML or XML page",
        ),
        csv(
            "lines that end in a carriage return alone",
            |day| {
                String::from_utf8(around("csv", day, b"")).unwrap().replace('\n', "\r").into_bytes()
            },
            "wrong_format",
            "end in a carriage return alone",
        ),
        kind(
            "jsonl",
            "UTF-16 with a byte order mark",
            |_| utf16("\u{FEFF}{}\n", true),
            "wrong_format",
            "is UTF-16 text",
        ),
    ]
}

fn headers() -> Vec<Kind> {
    vec![
        csv(
            "a column is missing",
            |day| format!("user_id,event_id,note,price\nu1,e,{day},1\n").into_bytes(),
            "missing_column",
            "lacks `timestamp`",
        ),
        csv(
            "a column is misspelt",
            |_| b"userid,event_id,timestamp,note,price\n".to_vec(),
            "missing_column",
            "lacks `user_id` (is it `userid`?)",
        ),
        csv(
            "semicolons for commas",
            |_| HEADER.replace(',', ";").into_bytes(),
            "missing_column",
            "lacks `event_id`",
        ),
        csv(
            "no header",
            |day| format!("u1,e,{day}T10:00:00Z,n,1\n").into_bytes(),
            "missing_column",
            "it has `u1`",
        ),
        csv(
            "a column twice",
            |_| format!("{HEADER},note\n").into_bytes(),
            "duplicate_header",
            "repeats `note`",
        ),
        csv(
            "a header that is not UTF-8",
            |_| [HEADER.as_bytes(), b",caf\xE9\n"].concat(),
            "not_decodable",
            "it is not UTF-8 at byte offset 41",
        ),
        csv(
            "a NUL byte in the header",
            |_| format!("{HEADER},a\0\n").into_bytes(),
            "wrong_format",
            "it holds a NUL byte at byte offset 39",
        ),
        csv(
            "a quote that stays open in the header",
            |_| format!("{HEADER},\"more\nu1\n").into_bytes(),
            "wrong_format",
            "the quote opened in name 6 is not closed",
        ),
        csv(
            "a header of a million columns",
            |_| {
                let names: Vec<String> = (0..1_000_000).map(|at| format!("c{at}")).collect();
                format!("{}\n", names.join(",")).into_bytes()
            },
            "too_many_columns",
            "has 1000000 columns, 10000 are the most",
        ),
        csv(
            "a header of 20 MB",
            |_| [vec![b'x'; 20_000_000], b"\n".to_vec()].concat(),
            "wrong_format",
            "the line is longer than 16777216 bytes",
        ),
    ]
}

fn compressed() -> Vec<Kind> {
    vec![
        kind(
            "csv.gz",
            "plain text under a name in .gz",
            |day| around("csv", day, b""),
            "wrong_format",
            "is not gzip data",
        ),
        kind(
            "csv.gz",
            "cut short",
            |day| without_the_end(gzip(&around("csv", day, b""))),
            "truncated",
            "damaged or cut off",
        ),
        kind(
            "csv.gz",
            "damaged",
            |day| with_a_wrong_middle(gzip(&around("csv", day, b""))),
            "not_decodable",
            "damaged or cut off",
        ),
        kind(
            "csv.gz",
            "compressed twice",
            |day| gzip(&gzip(&around("csv", day, b""))),
            "wrong_format",
            "is compressed twice",
        ),
        kind(
            "csv.gz",
            "a bomb",
            |_| gzip(&dense()),
            "expands_too_far",
            "no more than 500 times its size",
        ),
        kind(
            "csv.zst",
            "plain text under a name in .zst",
            |day| around("csv", day, b""),
            "wrong_format",
            "is not zstd data",
        ),
        kind(
            "csv.zst",
            "cut short",
            |day| without_the_end(zstd(&around("csv", day, b""))),
            "truncated",
            "damaged or cut off",
        ),
        kind(
            "csv.zst",
            "a bomb",
            |_| zstd(&dense()),
            "expands_too_far",
            "no more than 500 times its size",
        ),
        kind(
            "jsonl.gz",
            "cut short",
            |day| without_the_end(gzip(&around("jsonl", day, b""))),
            "truncated",
            "damaged or cut off",
        ),
    ]
}

fn parquet_files() -> Vec<Kind> {
    vec![
        kind(
            "parquet",
            "text under a name in .parquet",
            |day| around("csv", day, b""),
            "wrong_format",
            "is not a Parquet file",
        ),
        kind("parquet", "cut short", |day| without_the_end(parquet(day)), "truncated", "cut off"),
        kind(
            "parquet",
            "a damaged footer",
            |day| {
                let mut content = parquet(day);
                let end = content.len() - 8;
                content[end - 60..end].fill(0xFF);
                content
            },
            "not_decodable",
            "damaged",
        ),
        kind(
            "parquet",
            "a column is missing",
            |day| {
                parquet_of(day, |columns| {
                    columns.into_iter().filter(|(name, _)| name != "note").collect()
                })
            },
            "missing_column",
            "lacks `note`",
        ),
        kind(
            "parquet",
            "a column twice",
            |day| {
                parquet_of(day, |mut columns| {
                    columns.push(columns[0].clone());
                    columns
                })
            },
            "duplicate_header",
            "repeats `user_id`",
        ),
        kind(
            "parquet",
            "a schema of 10,001 columns",
            |day| {
                parquet_of(day, |mut columns| {
                    let more: Vec<_> = (columns.len()..10_001)
                        .map(|at| (format!("c{at}"), columns[0].1.clone()))
                        .collect();
                    columns.extend(more);
                    columns
                })
            },
            "too_many_columns",
            "has 10001 columns",
        ),
    ]
}
