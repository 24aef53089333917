//! What a configuration says when it says little, and how it shows.

use std::fs;
use std::path::Path;

use super::super::{
    Attribute, LoadOptions, OnMissing, RetentionConfig, SourceFormat, load, machine, show,
};
use super::{SHORTEST, read, read_with, set, with};

#[test]
fn the_lake_lies_beside_the_configuration() {
    assert_eq!(read(SHORTEST).lake.url, "/etc/lakes/lake");
    assert_eq!(read(SHORTEST).base_dir, Path::new("/etc/lakes"));
}

#[test]
fn the_engine_takes_half_of_the_memory_and_every_core() {
    let engine = read(SHORTEST).engine;
    assert_eq!(engine.memory_limit_bytes, machine::default_memory_limit_bytes());
    assert_eq!(engine.spill_dir, None);
    assert_eq!(engine.threads, None);
}

#[test]
fn raw_is_kept_for_fourteen_days_and_removed_files_for_seven() {
    assert_eq!(
        read(SHORTEST).retention,
        RetentionConfig { raw_days: 14, removed_files_days: 7, log_days: 30 }
    );
}

#[test]
fn a_feed_fails_without_a_file_and_keeps_the_columns_it_names() {
    let feed = &read(SHORTEST).feeds[0];
    assert_eq!(feed.on_missing, OnMissing::Fail);
    assert_eq!(feed.columns, None);
    assert_eq!(feed.format, SourceFormat::Csv);
    assert_eq!(feed.path, "/etc/lakes/batches/{arrival_date}.csv");
}

#[test]
fn events_are_in_utc_without_attributes() {
    let event = &read(SHORTEST).feeds[0].event;
    assert_eq!(event.zone, "UTC");
    assert_eq!(event.timestamp_format, None);
    assert_eq!(event.attributes, []);
}

#[test]
fn sessions_end_after_five_minutes_of_silence() {
    let session = &read(SHORTEST).feeds[0].session;
    assert_eq!(session.user_action, "true");
    assert_eq!(session.opens_on, "is_user_action");
    assert_eq!(session.closes_on, "false");
    assert_eq!(session.timeout_micros, 300_000_000);
    assert_eq!(session.max_duration_micros, None);
}

#[test]
fn the_window_is_five_days_deep_and_looks_back_one() {
    let window = &read(SHORTEST).feeds[0].window;
    assert_eq!(window.update_depth_days, 5);
    assert_eq!(window.lookback_days, 1);
}

#[test]
fn the_format_follows_from_the_ending_of_the_path() {
    for (ending, format) in [
        (".csv", SourceFormat::Csv),
        (".csv.gz", SourceFormat::Csv),
        (".CSV.GZ", SourceFormat::Csv),
        (".csv.zst", SourceFormat::Csv),
        (".jsonl", SourceFormat::Jsonl),
        (".jsonl.gz", SourceFormat::Jsonl),
        (".ndjson", SourceFormat::Jsonl),
        (".ndjson.gz", SourceFormat::Jsonl),
        (".jsonl.ZST", SourceFormat::Jsonl),
        (".Parquet", SourceFormat::Parquet),
    ] {
        let text = SHORTEST.replace(".csv", ending);
        assert_eq!(read(&text).feeds[0].format, format, "{ending}");
    }
}

#[test]
fn a_written_format_counts_more_than_the_ending() {
    let text = SHORTEST.replace("path =", "format = \"jsonl\"\npath =");
    assert_eq!(read(&text).feeds[0].format, SourceFormat::Jsonl);
}

#[test]
fn empty_text_leaves_an_optional_key_unset() {
    let text = with("timestamp_format = \"\"\n[feed.session]\nmax_duration = \"\"\n");
    let config = read(&format!("[engine]\nspill_dir = \"\"\nmemory_limit = \"\"\n{text}"));
    assert_eq!(config.engine.spill_dir, None);
    assert_eq!(config.engine.memory_limit_bytes, machine::default_memory_limit_bytes());
    assert_eq!(config.feeds[0].event.timestamp_format, None);
    assert_eq!(config.feeds[0].session.max_duration_micros, None);
}

#[test]
fn written_values_are_read_in_their_units() {
    let engine = "[engine]\nmemory_limit = \"512MB\"\nspill_dir = \"spill\"\nthreads = 2\n";
    let rest = "attributes = [\"country\", \"cast(price as double) as price\"]\n\
                [feed.session]\ntimeout = \"36h\"\nmax_duration = \"2h\"\n\
                [feed.window]\nupdate_depth_days = 0\nlookback_days = 2\n";
    let config = read(&format!("{engine}{}", with(rest)));
    assert_eq!(config.engine.memory_limit_bytes, 512_000_000);
    assert_eq!(config.engine.spill_dir.as_deref(), Some(Path::new("/etc/lakes/spill")));
    assert_eq!(config.engine.threads, Some(2));
    let feed = &config.feeds[0];
    assert_eq!(feed.session.timeout_micros, 36 * 3_600_000_000);
    assert_eq!(feed.session.max_duration_micros, Some(2 * 3_600_000_000));
    assert_eq!(feed.window.update_depth_days, 0);
    let price =
        Attribute { expression: "cast(price as double)".to_owned(), name: "price".to_owned() };
    assert_eq!(feed.event.attributes[1], price);
}

#[test]
fn a_shown_configuration_reads_back_as_itself() {
    let rest = "attributes = ['\"Unit Price\"', \"a || ' as b' as c\"]\n\
                timestamp_format = \"%d/%m/%Y\"\nzone = \"Europe/Vienna\"\n\
                [feed.session]\nuser_action = \"event_id in ('a','b')\"\ntimeout = \"90s\"\n\
                max_duration = \"1h 30m\"\n[feed.window]\nlookback_days = 2\n";
    let text = with(rest).replace("path =", "columns = [\"a\", \"b\"]\npath =");
    let options = set(&["engine.spill_dir=/spill", "engine.threads=3", "lake.url=s3://b/p"]);
    let config = read_with(&text, &options).unwrap();
    assert_eq!(read(&show(&config)), config);
}

#[test]
fn credentials_are_not_shown() {
    let options = set(&["lake.url=s3://key:plain-text@bucket/prefix"]);
    let config = read_with(SHORTEST, &options).unwrap();
    assert_eq!(config.lake.url, "s3://key:plain-text@bucket/prefix");
    assert_eq!(config.lake.redacted_url(), "s3://***@bucket/prefix");
    for shown in [show(&config), format!("{config:?}")] {
        assert!(shown.contains("s3://***@bucket/prefix"), "{shown}");
        assert!(!shown.contains("plain-text"), "{shown}");
    }
}

#[test]
fn the_shown_configuration_holds_every_default() {
    let options = set(&["engine.memory_limit=1GiB"]);
    let shown = show(&read_with(SHORTEST, &options).unwrap());
    let expected = r#"[lake]
url = "/etc/lakes/lake"
compression = "snappy"

[engine]
memory_limit = "1GiB"

[retention]
raw_days = 14
removed_files_days = 7
log_days = 30

[[feed]]
name = "events"
path = "/etc/lakes/batches/{arrival_date}.csv"
format = "csv"
on_missing = "fail"

[feed.contract]
mandatory = []
on_missing_column = "reject"
on_extra_column = "keep_in_extra"
not_blank = []
on_bad_row = "quarantine"
reject_move = false

[feed.contract.types]

[feed.contract.allowed]

[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
zone = "UTC"
attributes = []

[feed.session]
user_action = "true"
opens_on = "is_user_action"
closes_on = "false"
timeout = "5m"
max_duration = ""

[feed.window]
update_depth_days = 5
lookback_days = 1

[feed.marts]
distinct = ""
"#;
    assert_eq!(shown, expected);
}

#[test]
fn a_file_is_loaded_from_disk_with_its_folder_as_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.toml");
    fs::write(&file, SHORTEST).unwrap();
    let config = load(&LoadOptions { file: Some(file), ..LoadOptions::default() }).unwrap();
    assert_eq!(config.base_dir, folder.path());
    assert_eq!(Path::new(&config.lake.url), folder.path().join("lake"));
}

#[test]
fn the_sample_configuration_is_accepted_and_tells_the_defaults_truly() {
    let sample = include_str!("../../../sessionlake.toml");
    let config = read(sample);
    let mut plain = read(SHORTEST);
    let feed = &mut plain.feeds[0];
    feed.event.attributes = ["page", "cast(price as double) as price"]
        .map(|entry| Attribute::parse(entry).unwrap())
        .to_vec();
    feed.session.user_action = "event_id in ('view','click','add_to_cart','purchase')".to_owned();
    assert_eq!(config, plain);
}

#[test]
fn the_keys_commented_out_in_the_sample_can_be_used() {
    let sample = include_str!("../../../sessionlake.toml");
    let lines: Vec<&str> = sample
        .lines()
        .map(|line| {
            let is_toml = |rest: &&str| rest.contains(" = ") || rest.starts_with('[');
            line.strip_prefix("# ").filter(is_toml).unwrap_or(line)
        })
        .collect();
    let config = read(&lines.join("\n"));
    assert_eq!(config.engine.threads, Some(4));
    assert_eq!(config.feeds[0].columns.as_ref().map(Vec::len), Some(2));
    assert!(config.feeds[0].event.timestamp_format.is_some());
    assert_eq!(config.feeds[1].name, "acme/orders");
    assert_eq!(config.feeds[1].path, "/etc/lakes/in/acme/orders-{arrival_date}.csv");
    assert_eq!(config.feeds[1].session.timeout_micros, 600_000_000);
}
