//! Every kind of bad input that we know, each delivered beside good rows, through the program.
//!
//! The kinds are in `files`, `rows` and `odd`; `tests/README.md` lists them, and a test compares.
//! Each has an arrival date of its own, so that its exit code is its own.

mod files;
mod odd;
mod rows;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use deltalake::parquet::arrow::ArrowWriter;
use sessionlake::lake::TableName;

use crate::support::workspace::{Workspace, date};

/// Of a run that rejected a file.
const REJECTED: i32 = 3;
/// More than this no kind of input may take. Measured: 100 MB lines and bombs at about half.
const MAX_PEAK_KIB: u64 = 500 << 10;
/// 2026-01-05.
const FIRST_DAY: i32 = 20_458;

/// The content of a file that is a folder.
const FOLDER: &[u8] = b"a folder";

const ENDINGS: [&str; 6] = ["csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "parquet"];

const FEED: &str = r#"
[[feed]]
name = "NAME"
path = "batches/{arrival_date}/*.ENDING"
[feed.event]
user_id = "user_id"
product_code = "'web'"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["note", "cast(price as bigint) as price"]
[feed.session]
timeout = "5m"
"#;

/// What becomes of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Nothing of it is taken; the files beside it are.
    FileRejected,
    /// Its bad records go to quarantine, two good ones around them are taken.
    RowsRejected,
    /// Its bad records are read, kept in raw and refused by the build.
    InRaw,
    /// It is not bad at all: this many rows.
    Taken(usize),
}

/// One kind of bad input.
struct Kind {
    /// A sentence, also the key of the kind.
    name: &'static str,
    ending: &'static str,
    /// What the file holds, on the day of its delivery.
    content: fn(day: &str) -> Vec<u8>,
    expected: Expected,
    /// As `reason` in quarantine has it.
    reason: &'static str,
    /// A part of what the user is told.
    message: &'static str,
}

impl Kind {
    fn exit_code(&self) -> i32 {
        if self.expected == Expected::FileRejected { REJECTED } else { 0 }
    }

    fn feed(&self) -> String {
        self.ending.replace('.', "_")
    }

    fn listed(&self) -> String {
        let expected = match self.expected {
            Expected::FileRejected => "file rejected",
            Expected::RowsRejected => "rows rejected",
            Expected::InRaw => "rows refused by the build",
            Expected::Taken(_) => "taken",
        };
        let (name, ending) = (self.name, self.ending);
        format!("| {ending} | {name} | {expected} | {} | {} |\n", self.reason, self.exit_code())
    }
}

fn kinds() -> Vec<Kind> {
    files::kinds().into_iter().chain(rows::kinds()).chain(odd::kinds()).collect()
}

/// A record of the day in the form of a format, without its line end.
fn record(ending: &str, day: &str, note: &str) -> String {
    if ending.starts_with("jsonl") {
        format!(
            r#"{{"user_id":"u1","event_id":"e","timestamp":"{day}T10:00:00Z","note":"{note}","price":1}}"#
        )
    } else {
        format!("u1,e,{day}T10:00:00Z,{note},1")
    }
}

const HEADER: &str = "user_id,event_id,timestamp,note,price";

/// A good record, the bad ones, and another good record.
fn around(ending: &str, day: &str, bad: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    if ending.starts_with("csv") {
        content.extend(format!("{HEADER}\n").bytes());
    }
    content.extend(format!("{}\n", record(ending, day, "before")).bytes());
    content.extend(bad);
    content.extend(format!("{}\n", record(ending, day, "after")).bytes());
    content
}

fn good(ending: &str, day: &str) -> Vec<u8> {
    let (format, compression) = ending.split_once('.').unwrap_or((ending, ""));
    let plain = around(format, day, b"");
    match (format, compression) {
        ("parquet", _) => parquet(day),
        (_, "gz") => gzip(&plain),
        (_, "zst") => zstd::encode_all(plain.as_slice(), 1).unwrap(),
        _ => plain,
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The two rows of a good file, with the columns that a change leaves.
fn parquet_of(
    day: &str,
    change: impl Fn(Vec<(String, ArrayRef)>) -> Vec<(String, ArrayRef)>,
) -> Vec<u8> {
    let text = |value: &str| Arc::new(StringArray::from(vec![value; 2])) as ArrayRef;
    let columns = vec![
        ("user_id".to_owned(), text("u1")),
        ("event_id".to_owned(), text("e")),
        ("timestamp".to_owned(), text(&format!("{day}T10:00:00Z"))),
        ("note".to_owned(), text("note")),
        ("price".to_owned(), text("1")),
    ];
    let columns = change(columns);
    let fields: Vec<Field> =
        columns.iter().map(|(name, _)| Field::new(name, DataType::Utf8, true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    content
}

fn parquet(day: &str) -> Vec<u8> {
    parquet_of(day, |columns| columns)
}

fn configuration() -> String {
    let feeds = ENDINGS
        .map(|ending| FEED.replace("NAME", &ending.replace('.', "_")).replace("ENDING", ending));
    format!("[retention]\nraw_days = 400\n{}", feeds.concat())
}

/// Exit code, standard error and peak memory in KiB of a run.
fn run(workspace: &Workspace, line: &str) -> (i32, String, u64) {
    let mut child = workspace.program(line).stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak_kib(&status).unwrap_or(peak);
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap_or(-1), stderr, peak)
}

fn peak_kib(status: &str) -> Option<u64> {
    let status = fs::read_to_string(Path::new(status)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Each line of `_file` and further columns, by commas.
fn lines_of(workspace: &Workspace, table: TableName, columns: &[&str], file: &str) -> Vec<String> {
    let lines = workspace.lines(&table, &[&["_file"], columns].concat());
    let of_file = lines.iter().filter_map(|line| line.strip_prefix(&format!("{file},")));
    of_file.map(str::to_owned).collect()
}

#[test]
fn each_kind_of_bad_input_has_its_verdict_and_the_good_rest_arrives() {
    let workspace = Workspace::new();
    workspace.configure(&configuration());
    let mut wrong = Vec::new();
    for (at, kind) in kinds().iter().enumerate() {
        let day = date(FIRST_DAY + i32::try_from(at).unwrap()).to_string();
        let bad = format!("{day}/bad.{}", kind.ending);
        let beside = format!("{day}/good.{}", kind.ending);
        for (name, content) in [(&bad, (kind.content)(&day)), (&beside, good(kind.ending, &day))] {
            let path = workspace.path("batches").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if content == FOLDER {
                fs::create_dir(path).unwrap();
            } else {
                fs::write(path, content).unwrap();
            }
        }
        let line = format!("run --feed {} --arrival-date {day}", kind.feed());
        let (code, stderr, peak) = run(&workspace, &line);
        let raw = |file| lines_of(&workspace, TableName::Raw(kind.feed()), &["_line"], file).len();
        let quarantine = TableName::Quarantine(kind.feed());
        let rejected = lines_of(&workspace, quarantine, &["reason", "detail"], &bad);
        let is_known = rejected
            .iter()
            .any(|line| line.split(',').next() == Some(kind.reason) && line.contains(kind.message));
        let rows_of_bad = match kind.expected {
            Expected::FileRejected => 0,
            Expected::RowsRejected => 2,
            Expected::InRaw => 3,
            Expected::Taken(rows) => rows,
        };
        let is_told = match kind.expected {
            Expected::FileRejected => {
                stderr.contains(kind.message)
                    && stderr.contains(&format!("bad.{}", kind.ending))
                    && is_known
            }
            Expected::RowsRejected | Expected::InRaw => is_known,
            Expected::Taken(_) => rejected.is_empty(),
        };
        let mut expect = |is_so: bool, what: &str| {
            if !is_so {
                let name = kind.name;
                wrong.push(format!(
                    "{} {name}: {what}: exit {code}, {peak} KiB, raw {} and {}\n  \
                     {rejected:?}\n  {stderr}\n",
                    kind.ending,
                    raw(&bad),
                    raw(&beside)
                ));
            }
        };
        expect(code == kind.exit_code(), "exit code");
        expect(is_told, "verdict");
        expect(raw(&bad) == rows_of_bad, "rows of the file");
        expect(raw(&beside) == 2, "rows of the good file");
        expect(peak <= MAX_PEAK_KIB, "memory");
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn the_list_of_kinds_in_the_readme_is_this_one() {
    let kinds = kinds();
    assert!(kinds.len() >= 40);
    let listed: String = kinds.iter().map(Kind::listed).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md");
    let readme = fs::read_to_string(path).unwrap();
    assert!(readme.contains(&listed), "tests/README.md should list:\n{listed}");
}
