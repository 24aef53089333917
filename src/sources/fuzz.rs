//! The text readers under random files: bytes, and well-formed files with a few bytes changed.
//!
//! Every file of `tests/corpus` is read first. The plain tests try a second of random files each;
//! `SESSIONLAKE_FUZZ_SECONDS=1200 cargo test --release fuzz` tries longer, and says how many. A
//! file that breaks a promise is written to `tests/corpus`, where every later run reads it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::limits::Limits;
use super::reader::testing::{Outcome, limits, read};
use super::reader::{SourceError, TextFormat};

/// Seconds that a plain test takes.
const PLAIN_SECONDS: u64 = 1;
const COLUMNS: [&str; 4] = ["a", "b", "n.x", "d.k.k"];
const FUZZ_SECONDS: &str = "SESSIONLAKE_FUZZ_SECONDS";

fn duration() -> Duration {
    let seconds = std::env::var(FUZZ_SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(PLAIN_SECONDS))
}

fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder)
}

/// What holds of any file. `read` itself holds one thread to be like two.
fn check(format: TextFormat, content: &[u8], small: Limits) {
    let columns = match format {
        TextFormat::Csv => &COLUMNS[..1],
        TextFormat::Jsonl => &COLUMNS[..],
    };
    let mut large = small;
    (large.block_bytes, large.cut_bytes) = (1 << 16, 1 << 16);
    let outcomes = [small, large].map(|limits| read(format, content, columns, limits));
    match outcomes {
        [Ok(small_blocks), Ok(large_blocks)] => {
            assert_eq!(small_blocks, large_blocks, "the size of blocks matters");
            account_for_lines(format, content, &small_blocks);
        }
        [Err(small_blocks), Err(large_blocks)] => {
            assert_eq!(kind(&small_blocks), kind(&large_blocks));
        }
        [small_blocks, large_blocks] => panic!("{small_blocks:?} is not {large_blocks:?}"),
    }
}

/// Without the folder that the file was read from, which is another each time.
fn kind(error: &SourceError) -> String {
    let message = error.to_string();
    message.split_whitespace().filter(|word| !word.contains("/batch")).collect()
}

/// Rows and rejected records are all there are, each on a line of its own.
fn account_for_lines(format: TextFormat, content: &[u8], outcome: &Outcome) {
    let rows = outcome.rows.iter().map(|(line, _)| u64::try_from(*line).unwrap());
    let mut lines: Vec<u64> =
        rows.chain(outcome.rejected.iter().map(|record| record.first_line)).collect();
    lines.sort_unstable();
    assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "a line is read twice: {lines:?}");
    if format == TextFormat::Jsonl {
        let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
        let blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
        let physical = content.split(|byte| *byte == b'\n').enumerate();
        let expected: Vec<u64> =
            physical.filter(|(_, line)| !blank(line)).map(|(at, _)| at as u64 + 1).collect();
        // A blank line may be too long to be told from others.
        let is_expected = |line: &u64| lines.binary_search(line).is_ok();
        assert!(expected.iter().all(is_expected), "{expected:?} is not {lines:?}");
    }
}

fn random_file(format: TextFormat, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut content = Vec::new();
    if random.random_bool(0.1) {
        content.resize(random.random_range(0..200), 0);
        random.fill(&mut content[..]);
        return content;
    }
    if random.random_bool(0.1) {
        content.extend(b"\xEF\xBB\xBF");
    }
    if format == TextFormat::Csv {
        content.extend(b"a,b\n");
    }
    for _ in 0..random.random_range(0..12) {
        let line = match format {
            TextFormat::Csv => format!("{},{}", csv_field(random), csv_field(random)),
            TextFormat::Jsonl => json_object(random, 0),
        };
        content.extend(line.bytes());
        content.extend(if random.random_bool(0.2) { &b"\r\n"[..] } else { b"\n" });
    }
    for _ in 0..random.random_range(0..4) {
        mutate(&mut content, random);
    }
    content
}

/// Changes, inserts, removes or repeats some bytes, or cuts the file off.
fn mutate(content: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    const TELLING: &[u8] = b"\"\"\"\n\n\r,,{}[]:\\\\\0\xFF\xC3 1anu";
    let at = random.random_range(0..=content.len());
    let byte = TELLING[random.random_range(0..TELLING.len())];
    match random.random_range(0..5) {
        0 if at < content.len() => content[at] = byte,
        1 if at < content.len() => {
            content.remove(at);
        }
        2 => content.truncate(at),
        3 => {
            let end = (at + random.random_range(0..40)).min(content.len());
            let part = content[at..end].to_vec();
            content.extend(part);
        }
        _ => content.insert(at, byte),
    }
}

fn csv_field(random: &mut ChaCha8Rng) -> String {
    const FIELDS: [&str; 10] =
        ["", "1", "text", "\"\"", "\"a,b\"", "\"a\nb\"", "\"a\r\n\"\"b\"", "5\" disk", "é→", " "];
    FIELDS[random.random_range(0..FIELDS.len())].to_owned()
}

fn json_object(random: &mut ChaCha8Rng, depth: usize) -> String {
    const KEYS: [&str; 9] = ["a", "b", "n", "d", "k", "x", "n.x", "\\u0061", "é"];
    let field = |random: &mut ChaCha8Rng| {
        let key = KEYS[random.random_range(0..KEYS.len())];
        format!("\"{key}\":{}", json_value(random, depth + 1))
    };
    let fields: Vec<String> = (0..random.random_range(0..5)).map(|_| field(random)).collect();
    format!("{{{}}}", fields.join(","))
}

fn json_value(random: &mut ChaCha8Rng, depth: usize) -> String {
    const VALUES: [&str; 11] = [
        "null",
        "true",
        "1",
        "-1.50e+3",
        "\"\"",
        "\"text\"",
        "\"\\u00e9\\n\"",
        "\"\\ud800\"",
        "[]",
        "[1,{}]",
        "\"{\\\"x\\\":1}\"",
    ];
    if depth < 4 && random.random_bool(0.3) {
        return json_object(random, depth);
    }
    VALUES[random.random_range(0..VALUES.len())].to_owned()
}

/// Reads the corpus, then random files until the time is over.
fn fuzz(format: TextFormat, folder: &str) {
    for entry in fs::read_dir(corpus(folder)).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap();
        for (block_bytes, max_record_bytes) in [(1, 40), (7, 1000), (100, 9)] {
            check(format, &content, limits(block_bytes, max_record_bytes));
        }
    }
    let started = Instant::now();
    // A long run goes where no earlier one went.
    let seed = if duration().as_secs() > PLAIN_SECONDS { std::process::id() } else { 0 };
    let mut random = ChaCha8Rng::seed_from_u64(seed.into());
    let mut files = 0_u64;
    while started.elapsed() < duration() {
        let content = random_file(format, &mut random);
        let limits = limits(random.random_range(1..40), random.random_range(8..120));
        let keep = Keep { folder, content: &content };
        check(format, &content, limits);
        std::mem::forget(keep);
        files += 1;
    }
    eprintln!("{folder}: {files} random files in {:?}", started.elapsed());
}

/// Writes the file at hand into the corpus when a check fails.
struct Keep<'c> {
    folder: &'c str,
    content: &'c [u8],
}

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        let name = format!(
            "found-{:016x}",
            self.content.iter().fold(0_u64, |hash, byte| {
                hash.wrapping_mul(0x0100_0000_01B3) ^ u64::from(*byte)
            })
        );
        let _ = fs::write(corpus(self.folder).join(name), self.content);
    }
}

#[test]
fn csv_files_of_any_bytes_are_read_alike_and_accounted_for() {
    fuzz(TextFormat::Csv, "csv");
}

#[test]
fn json_lines_of_any_bytes_are_read_alike_and_accounted_for() {
    fuzz(TextFormat::Jsonl, "jsonl");
}
