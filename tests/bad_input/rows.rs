//! Records that cannot be read or do not count: quarantined alone, with two good ones around.

use super::{Expected, HEADER, Kind, around, record};

fn csv(
    name: &'static str,
    content: fn(&str) -> Vec<u8>,
    reason: &'static str,
    message: &'static str,
) -> Kind {
    Kind { name, ending: "csv", content, expected: Expected::RowsRejected, reason, message }
}

fn jsonl(
    name: &'static str,
    content: fn(&str) -> Vec<u8>,
    reason: &'static str,
    message: &'static str,
) -> Kind {
    Kind { ending: "jsonl", ..csv(name, content, reason, message) }
}

/// Two good records, then what is cut off.
fn cut_off(ending: &str, day: &str, rest: &str) -> Vec<u8> {
    [around(ending, day, b"").as_slice(), rest.as_bytes()].concat()
}

pub(super) fn kinds() -> Vec<Kind> {
    [as_csv(), as_jsonl(), of_the_build()].into_iter().flatten().collect()
}

fn as_csv() -> Vec<Kind> {
    vec![
        csv(
            "too few fields",
            |day| around("csv", day, b"u1,e\n"),
            "field_count",
            "found 2 fields, the header has 5",
        ),
        csv(
            "too many fields",
            |day| around("csv", day, b"u1,e,t,n,1,more\n"),
            "field_count",
            "found 6 fields",
        ),
        csv(
            "bytes that are not UTF-8",
            |day| around("csv", day, b"u1,e,t,caf\xE9,1\n"),
            "invalid_utf8",
            "column `note` is not UTF-8 at byte offset 10",
        ),
        csv(
            "a NUL byte",
            |day| around("csv", day, b"u1,e,t,\0,1\n"),
            "nul_byte",
            "column `note` holds a NUL byte",
        ),
        csv(
            "a quote that stays open",
            |day| around("csv", day, b"u1,e,t,\"x,1\n"),
            "unclosed_quote",
            "the quote opened in column `note`",
        ),
        csv(
            "a quote that stays open in the last line",
            |day| cut_off("csv", day, "u1,e,t,\"x"),
            "unclosed_quote",
            "not closed before the end of the file",
        ),
        csv(
            "a last line that is cut off",
            |day| cut_off("csv", day, "u1,e"),
            "field_count",
            "was it cut off?",
        ),
        csv(
            "a carriage return alone between two records",
            |day| {
                let both = [record("csv", day, "x"), record("csv", day, "y")].join("\r");
                around("csv", day, format!("{both}\n").as_bytes())
            },
            "field_count",
            "it holds a carriage return alone",
        ),
        csv(
            "a line of 100 MB",
            |day| {
                around(
                    "csv",
                    day,
                    &[b"u1,e,t,".to_vec(), vec![b'x'; 100_000_000], b",1\n".to_vec()].concat(),
                )
            },
            "record_too_long",
            "the line is longer than 16777216 bytes",
        ),
        csv(
            "a quoted field of 100 MB on one line",
            |day| {
                around(
                    "csv",
                    day,
                    &[b"u1,e,t,\"".to_vec(), vec![b'x'; 100_000_000], b"\",1\n".to_vec()].concat(),
                )
            },
            "record_too_long",
            "the line is longer than 16777216 bytes",
        ),
    ]
}

fn as_jsonl() -> Vec<Kind> {
    vec![
        jsonl(
            "no JSON",
            |day| around("jsonl", day, b"{\"user_id\":\n"),
            "invalid_json",
            "EOF while parsing a value at column 11",
        ),
        jsonl(
            "a last line that is cut off",
            |day| cut_off("jsonl", day, "{\"user_id\":\"u"),
            "invalid_json",
            "was it cut off?",
        ),
        jsonl(
            "something behind the object",
            |day| around("jsonl", day, b"{} x\n"),
            "invalid_json",
            "trailing characters at column 4",
        ),
        jsonl(
            "an array",
            |day| around("jsonl", day, b"[{\"user_id\":\"u1\"}]\n"),
            "not_an_object",
            "found an array, not an object",
        ),
        jsonl(
            "a bare value",
            |day| around("jsonl", day, b"\"text\"\n"),
            "not_an_object",
            "found a string, not an object",
        ),
        jsonl(
            "bytes that are not UTF-8",
            |day| around("jsonl", day, b"{\"note\":\"\xFF\"}\n"),
            "invalid_utf8",
            "not UTF-8 at byte offset 9",
        ),
        jsonl(
            "a NUL byte in a string",
            |day| around("jsonl", day, b"{\"note\":\"\0\"}\n"),
            "invalid_json",
            "control character",
        ),
        jsonl(
            "half of a surrogate pair",
            |day| around("jsonl", day, b"{\"note\":\"\\ud800\"}\n"),
            "invalid_json",
            "hex escape",
        ),
        jsonl(
            "an object of 10,001 keys",
            |day| {
                let keys: Vec<String> = (0..10_001).map(|key| format!("\"k{key}\":1")).collect();
                around("jsonl", day, format!("{{{}}}\n", keys.join(",")).as_bytes())
            },
            "too_many_columns",
            "more than 10000 keys",
        ),
        jsonl(
            "a line of 100 MB",
            |day| {
                around(
                    "jsonl",
                    day,
                    &[b"{\"note\":\"".to_vec(), vec![b'x'; 100_000_000], b"\"}\n".to_vec()]
                        .concat(),
                )
            },
            "record_too_long",
            "the line is longer than 16777216 bytes",
        ),
        jsonl(
            "a carriage return alone between two objects",
            |day| around("jsonl", day, b"{}\r{}\n"),
            "invalid_json",
            "it holds a carriage return alone",
        ),
        jsonl(
            "a file that is one pretty array",
            |day| around("jsonl", day, b"[\n"),
            "invalid_json",
            "EOF while parsing",
        ),
    ]
}

/// Read, but refused by the build, while raw keeps them.
fn of_the_build() -> Vec<Kind> {
    let build = |name, content, reason, message| Kind {
        expected: Expected::InRaw,
        ..csv(name, content, reason, message)
    };
    vec![
        build(
            "no user",
            |day| around("csv", day, format!(",e,{day}T10:00:00Z,n,1\n").as_bytes()),
            "missing_key",
            "user_id",
        ),
        build("no timestamp", |day| around("csv", day, b"u1,e,,n,1\n"), "missing_timestamp", ""),
        build(
            "a timestamp that is none",
            |day| around("csv", day, b"u1,e,05.01.2026,n,1\n"),
            "bad_timestamp",
            "05.01.2026",
        ),
        build(
            "the header again in the middle",
            |day| around("csv", day, format!("{HEADER}\n").as_bytes()),
            "bad_timestamp",
            "timestamp",
        ),
        build(
            "an event of long ago",
            |day| around("csv", day, b"u1,e,2020-01-01T00:00:00Z,n,1\n"),
            "beyond_update_depth",
            "",
        ),
        build(
            "an event of the future",
            |day| around("csv", day, b"u1,e,2099-01-01T00:00:00Z,n,1\n"),
            "in_the_future",
            "",
        ),
        build(
            "a number that is none",
            |day| around("csv", day, format!("u1,e,{day}T10:00:00Z,n,twelve\n").as_bytes()),
            "expression_failed",
            "twelve",
        ),
    ]
}
