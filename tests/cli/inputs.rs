//! Files as people export them, end to end, and rows that do not count.

use std::fs;
use std::io::Write as _;

use super::{CONFIGURATION, SHORT, batch, empty_workspace};
use crate::support::workspace::Workspace;

const REJECTED: [&str; 6] = ["_line", "stage", "reason", "_file", "_updated_at", "row_text"];

/// `text` as a gzip file.
pub(super) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// `text` as a zstd file of two frames.
pub(super) fn zstd(text: &str) -> Vec<u8> {
    let (front, back) = text.as_bytes().split_at(text.len() / 2);
    [front, back].map(|part| zstd::encode_all(part, 1).unwrap()).concat()
}

#[test]
fn a_csv_file_with_quotes_line_breaks_and_a_mark_is_read_as_written() {
    let workspace = empty_workspace();
    let text = "\u{feff}note,timestamp,\"user_id\",event_id,product_code\r\n\
        \"two\nlines, \"\"quoted\"\"\",2026-01-05T10:00:00Z,u1,click,web\r\n\
        ,2026-01-05 10:01:00,u1,scroll,web\r\n\
        last,2026-01-05T12:02:00+02:00,u1,scroll,web";
    workspace.write_batch("2026-01-05.csv", text);
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.ods_lines(&SHORT),
        [
            "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,two\nlines, \"quoted\"",
            "u1,2026-01-05T10:01:00Z,2026-01-05T10:00:00Z,",
            "u1,2026-01-05T10:02:00Z,2026-01-05T10:00:00Z,last",
        ]
    );
    // The first record takes two physical lines.
    assert_eq!(
        workspace.raw_lines(&["_line", "note"]),
        ["2,two\nlines, \"quoted\"", "4,", "5,last"]
    );
}

#[test]
fn a_compressed_csv_file_is_read() {
    let rows = batch(&["u1,click,2026-01-05T10:00:00Z,a", "u1,scroll,2026-01-05T10:01:00Z,b"]);
    for (ending, content) in [("csv.gz", gzip(&rows)), ("csv.zst", zstd(&rows))] {
        let workspace = Workspace::new();
        workspace.configure(&CONFIGURATION.replace(".csv\"", &format!(".{ending}\"")));
        fs::write(workspace.path(&format!("batches/2026-01-05.{ending}")), content).unwrap();
        workspace.exec("run --arrival-date 2026-01-05").code(0);
        assert_eq!(
            workspace.ods_lines(&SHORT),
            [
                "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,a",
                "u1,2026-01-05T10:01:00Z,2026-01-05T10:00:00Z,b",
            ]
        );
    }
}

#[test]
fn a_jsonl_file_is_read_plain_and_compressed() {
    let lines = concat!(
        r#"{"user_id":"u1","product_code":"web","event_id":"click","timestamp":"2026-01-05T10:00:00Z","note":"a, \"b\"","more":{"x":1}}"#,
        "\n",
        r#"{"event_id":"scroll","user_id":"u1","timestamp":"2026-01-05T10:01:00Z","product_code":"web"}"#,
        "\n",
    );
    let plain = lines.as_bytes().to_vec();
    for (ending, content) in
        [("jsonl", plain), ("jsonl.gz", gzip(lines)), ("jsonl.zst", zstd(lines))]
    {
        let workspace = Workspace::new();
        workspace.configure(&CONFIGURATION.replace(".csv\"", &format!(".{ending}\"")));
        fs::write(workspace.path(&format!("batches/2026-01-05.{ending}")), content).unwrap();
        workspace.exec("run --arrival-date 2026-01-05").code(0);
        assert_eq!(
            workspace.ods_lines(&SHORT),
            [
                "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,a, \"b\"",
                "u1,2026-01-05T10:01:00Z,2026-01-05T10:00:00Z,",
            ]
        );
        assert_eq!(workspace.raw_lines(&["_line", "_extra"]), [r#"1,{"more":{"x":1}}"#, "2,"]);
    }
}

#[test]
fn a_column_that_no_expression_names_is_kept_in_raw() {
    let workspace = empty_workspace();
    let text = batch(&["u1,click,2026-01-05T10:00:00Z,a"]).replace('\n', ",\n").replacen(
        ",\n",
        ",referrer\n",
        1,
    );
    workspace.write_batch("2026-01-05.csv", &text.replace("Z,a,", "Z,a,from afar"));
    workspace.exec("run").code(0);
    assert_eq!(workspace.raw_lines(&["_extra"]), [r#"{"referrer":"from afar"}"#]);
}

#[test]
fn records_that_cannot_be_read_go_to_quarantine_as_they_stood() {
    let workspace = empty_workspace();
    let text = batch(&[
        "u1,click,2026-01-05T10:00:00Z,a",
        "u1,click,2026-01-05T10:01:00Z,b,one field more",
        "u1,click",
        "u1,click,2026-01-05T10:02:00Z,\"two\nlines\"",
        "u1,click,2026-01-05T10:03:00Z,c",
    ]);
    workspace.write_batch("2026-01-05.csv", &text);
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.quarantine_lines(&REJECTED),
        [
            "3,ingest,field_count,2026-01-05.csv,2026-01-05,\
         u1,web,click,2026-01-05T10:01:00Z,b,one field more",
            "4,ingest,field_count,2026-01-05.csv,2026-01-05,u1,web,click",
        ]
    );
    assert_eq!(workspace.raw_lines(&["_line", "note"]), ["2,a", "5,two\nlines", "7,c"]);
}

#[test]
fn bytes_that_are_no_text_go_to_quarantine() {
    let workspace = empty_workspace();
    let mut bytes = batch(&["u1,click,2026-01-05T10:00:00Z,a"]).into_bytes();
    bytes.extend(b"u1,web,click,2026-01-05T10:01:00Z,caf\xE9\n");
    fs::write(workspace.path("batches/2026-01-05.csv"), bytes).unwrap();
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.quarantine_lines(&REJECTED),
        ["3,ingest,invalid_utf8,2026-01-05.csv,2026-01-05,\
         u1,web,click,2026-01-05T10:01:00Z,caf\u{fffd}"]
    );
}

#[test]
fn lines_that_are_no_json_objects_go_to_quarantine() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace(".csv\"", ".jsonl\""));
    let good = r#"{"user_id":"u1","product_code":"web","event_id":"click","timestamp":"2026-01-05T10:00:00Z"}"#;
    workspace.write_batch("2026-01-05.jsonl", &format!("{{\"user_id\":\n{good}\n[1]\n"));
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.quarantine_lines(&REJECTED),
        [
            "1,ingest,invalid_json,2026-01-05.jsonl,2026-01-05,{\"user_id\":",
            "3,ingest,not_an_object,2026-01-05.jsonl,2026-01-05,[1]",
        ]
    );
    assert_eq!(workspace.ods_lines(&["event_id"]), ["click"]);
}

#[test]
fn rows_that_do_not_count_go_to_quarantine_with_their_reason() {
    let workspace = empty_workspace();
    let text = batch(&[
        "u1,click,2026-01-05T10:00:00Z,good",
        ",click,2026-01-05T10:00:00Z,a",
        "u1,click,,b",
        "u1,click,05.01.2026,c",
        "u1,click,2026-01-07T00:00:00Z,d",
        "u1,click,2025-12-30T23:59:59Z,e",
        "u1,click,2026-01-06T23:59:59Z,early",
    ]);
    workspace.write_batch("2026-01-05.csv", &text);
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.quarantine_lines(&["_line", "stage", "reason", "_file"]),
        [
            "3,build,missing_key,2026-01-05.csv",
            "4,build,missing_timestamp,2026-01-05.csv",
            "5,build,bad_timestamp,2026-01-05.csv",
            "6,build,in_the_future,2026-01-05.csv",
            "7,build,beyond_update_depth,2026-01-05.csv",
        ]
    );
    assert_eq!(workspace.ods_lines(&["note"]), ["early", "good"]);
    let texts = workspace.quarantine_lines(&["row_text"]);
    assert!(texts.iter().any(|text| text.contains("05.01.2026")), "{texts:?}");
    let details = workspace.quarantine_lines(&["detail"]);
    assert!(details.iter().any(|detail| detail.contains("05.01.2026")), "{details:?}");
}

#[test]
fn a_row_on_which_an_expression_fails_is_quarantined_alone() {
    let workspace = Workspace::new();
    workspace.configure(&CONFIGURATION.replace("[\"note\"]", "[\"cast(note as double) as note\"]"));
    let rows = [
        "u1,click,2026-01-05T10:00:00Z,1.5",
        "u1,click,2026-01-05T10:01:00Z,twelve",
        "u1,click,2026-01-05T10:02:00Z,",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("run").code(0);
    assert_eq!(
        workspace.quarantine_lines(&["_line", "reason", "_file"]),
        ["3,expression_failed,2026-01-05.csv"]
    );
    let detail = workspace.quarantine_lines(&["detail"]).remove(0);
    assert!(detail.contains("twelve") && detail.contains("note"), "{detail}");
    assert_eq!(workspace.ods_lines(&["note"]), ["", "1.5"]);
}

#[test]
fn a_mended_file_replaces_what_the_build_had_refused() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,click,not a time,a"]));
    workspace.exec("run").code(0);
    assert_eq!(workspace.quarantine_lines(&["reason"]), ["bad_timestamp"]);
    workspace.exec("build --arrival-date 2026-01-05 --force").code(0);
    assert_eq!(workspace.quarantine_lines(&["reason"]), ["bad_timestamp"]);
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    workspace.exec("run").code(0);
    // The first delivery stays in raw, and so does its refusal.
    assert_eq!(workspace.quarantine_lines(&["reason"]), ["bad_timestamp"]);
    assert_eq!(workspace.ods_lines(&["note"]), ["a"]);
}

#[test]
fn times_of_a_zone_and_a_pattern_are_read() {
    let workspace = Workspace::new();
    let settings = "timestamp = \"timestamp\"\n\
        timestamp_format = \"%d/%m/%Y %H:%M:%S\"\nzone = \"Europe/Berlin\"";
    workspace.configure(&CONFIGURATION.replace("timestamp = \"timestamp\"", settings));
    let rows = [
        "u1,click,06/01/2026 00:30:00,winter",
        // The clocks went back at three: the earlier of the two is meant.
        "u2,click,25/10/2026 02:30:00,twice",
        // The clocks went forward at two.
        "u3,click,29/03/2026 02:30:00,never",
    ];
    workspace.write_batch("2026-01-06.csv", &batch(&rows[..1]));
    workspace.write_batch("2026-10-25.csv", &batch(&rows[1..2]));
    workspace.write_batch("2026-03-29.csv", &batch(&rows[2..]));
    workspace.exec("run --set retention.raw_days=365").code(0);
    assert_eq!(
        workspace.ods_lines(&["timestamp", "pdate", "note"]),
        ["2026-01-05T23:30:00Z,2026-01-06,winter", "2026-10-25T00:30:00Z,2026-10-25,twice",]
    );
    assert_eq!(workspace.quarantine_lines(&["reason"]), ["nonexistent_local_time"]);
}
