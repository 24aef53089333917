//! Refusals of files, keys, types and bounds, each with its message.

use std::fs;

use super::super::{LoadOptions, load};
use super::{SHORTEST, refusal, replaced, with};

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessionlake.toml");
    let options = LoadOptions { file: Some(file.clone()), ..LoadOptions::default() };
    assert_eq!(
        load(&options).unwrap_err().to_string(),
        format!(
            "no configuration file: looked for {}; \
             write one there or name another with --config FILE",
            file.display()
        )
    );
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessionlake.toml");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let options = LoadOptions { file: Some(file), ..LoadOptions::default() };
    let message = load(&options).unwrap_err().to_string();
    assert!(
        message.ends_with("make it a readable UTF-8 text file or name another with --config FILE")
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let message = refusal("[lake]\nurl = lake\n");
    assert!(
        message.starts_with("sessionlake.toml, line 2, column 7: not valid TOML: "),
        "{message}"
    );
    assert!(message.ends_with("; mend that line and run again"), "{message}");
    let message = refusal("[lake]\nurl = \"a\"\nurl = \"b\"\n");
    assert!(
        message.starts_with("sessionlake.toml, line 3, column 1: not valid TOML: duplicate key"),
        "{message}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal(&with("[feed.session]\ntimout = \"10m\"\n")),
        "feed[0] (events).session.timout: unknown key `timout` in [feed.session] \
         (sessionlake.toml, line 10, column 1), did you mean `timeout`?"
    );
}

#[test]
fn a_key_below_the_wrong_header_is_shown_its_own() {
    assert_eq!(
        refusal(&with("columns = [\"a\"]\n")),
        "feed[0] (events).event.columns: unknown key `columns` in [feed.event] \
         (sessionlake.toml, line 9, column 1), did you mean `columns` in [[feed]]?"
    );
}

#[test]
fn an_unknown_key_near_to_none_is_told_the_keys_there_are() {
    assert_eq!(
        refusal(&with("[retention]\nforever = true\n")),
        "retention.forever: unknown key `forever` in [retention] \
         (sessionlake.toml, line 10, column 1), the keys there are raw_days, removed_files_days, \
         log_days"
    );
}

#[test]
fn a_misspelt_required_key_is_one_problem_not_two() {
    assert_eq!(
        refusal(&replaced("user_id = ", "user_di = ")),
        "feed[0] (events).event.user_di: unknown key `user_di` in [feed.event] \
         (sessionlake.toml, line 5, column 1), did you mean `user_id`?"
    );
    let moved =
        SHORTEST.replace("user_id = \"user_id\"\n", "").replace("path", "user_id = \"u\"\npath");
    assert_eq!(
        refusal(&moved),
        "feed[0] (events).user_id: unknown key `user_id` in [[feed]] \
         (sessionlake.toml, line 3, column 1), did you mean `user_id` in [feed.event]?"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_an_example() {
    assert_eq!(
        refusal(&with("[feed.session]\ntimeout = 5\n")),
        "feed[0] (events).session.timeout: expected text, found the number 5 \
         (sessionlake.toml, line 10, column 11), write for example `timeout = \"5m\"`"
    );
    assert_eq!(
        refusal(&with("attributes = [\"page\", 7]\n")),
        "feed[0] (events).event.attributes[1]: expected text, found the number 7 \
         (sessionlake.toml, line 9, column 23), write for example \
         `attributes = [\"country\", \"cast(price as double) as price\"]`"
    );
}

#[test]
fn a_single_feed_table_is_told_to_be_a_list() {
    assert_eq!(
        refusal("[feed]\nname = \"events\"\n"),
        "feed: expected a list of sections, found a section \
         (sessionlake.toml, line 1, column 1), write for example `[[feed]]`"
    );
}

#[test]
fn a_configuration_needs_a_feed() {
    assert_eq!(
        refusal(""),
        "feed: there is no feed (sessionlake.toml), \
         add a [[feed]] section with name, path and [feed.event]"
    );
}

#[test]
fn required_keys_are_named_where_their_section_stands() {
    assert_eq!(
        refusal(&replaced("event_id = \"event_id\"\n", "")),
        "feed[0] (events).event.event_id: missing (sessionlake.toml, line 4, column 1), \
         add for example `event_id = \"event_id\"`"
    );
    assert_eq!(
        refusal(&replaced("name = \"events\"\n", "")),
        "feed[0].name: missing (sessionlake.toml, line 1, column 1), \
         add for example `name = \"events\"`"
    );
}

#[test]
fn an_empty_expression_is_refused() {
    assert_eq!(
        refusal(&with("[feed.session]\nopens_on = \" \"\n")),
        "feed[0] (events).session.opens_on: empty (sessionlake.toml, line 10, column 12), \
         write for example `opens_on = \"is_user_action\"`"
    );
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    assert_eq!(
        refusal(&with("[feed.window]\nupdate_depth_days = -1\n")),
        "feed[0] (events).window.update_depth_days: -1 is out of range \
         (sessionlake.toml, line 10, column 21), write a whole number from 0 to 400"
    );
    let message = refusal(&with("[feed.window]\nupdate_depth_days = 401\nlookback_days = 0\n"));
    assert!(message.contains("401 is out of range"), "{message}");
    assert!(message.contains("write a whole number from 1 to 31"), "{message}");
    assert!(refusal(&with("[engine]\nthreads = 0\n")).contains("a whole number from 1 to 1024"));
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    assert_eq!(
        refusal(&with("[feed.session]\nmax_duration = \"2\"\n")),
        "feed[0] (events).session.max_duration: `2` is not a duration: time unit needed, \
         for example 2sec or 2ms (sessionlake.toml, line 10, column 16), \
         write for example `max_duration = \"2h\"`"
    );
}

#[test]
fn a_timeout_of_nothing_is_refused() {
    assert_eq!(
        refusal(&with("[feed.session]\ntimeout = \"0s\"\n")),
        "feed[0] (events).session.timeout: `0s` is not a positive number of whole microseconds \
         that a timestamp can hold (sessionlake.toml, line 10, column 11), \
         write for example `timeout = \"5m\"`"
    );
}

#[test]
fn a_timeout_longer_than_the_lookback_is_refused_with_the_lookback_it_needs() {
    assert_eq!(
        refusal(&with("[feed.session]\ntimeout = \"24h 1us\"\n")),
        "feed[0] (events).session.timeout: 1d 1us is longer than lookback_days = 1 x 24 h \
         (sessionlake.toml, line 10, column 11), \
         shorten it or set `lookback_days = 2` in [feed.window]"
    );
    assert!(
        refusal(&with("[feed.session]\ntimeout = \"32d\"\n"))
            .ends_with("shorten it: the longest lookback_days is 31")
    );
    super::read(&with("[feed.session]\ntimeout = \"24h\"\n"));
}

#[test]
fn a_size_that_is_none_or_has_no_unit_is_refused() {
    assert_eq!(
        refusal(&with("[engine]\nmemory_limit = \"lots\"\n")),
        "engine.memory_limit: `lots` is not a size (sessionlake.toml, line 10, column 16), \
         write for example `memory_limit = \"4GiB\"`"
    );
    assert_eq!(
        refusal(&with("[engine]\nmemory_limit = \"512\"\n")),
        "engine.memory_limit: `512` is less than 1MiB (sessionlake.toml, line 10, column 16), \
         give it more, with a unit such as MB or GiB"
    );
}

#[test]
fn every_problem_is_reported_at_once_from_top_to_bottom() {
    let text =
        with("[feed.session]\ntimeout = 5\nopens = \"true\"\n[feed.window]\nlookback_days = 99\n")
            .replace("\"events\"", "\"Events\"");
    let message = refusal(&text);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "4 problems in the configuration:");
    assert!(lines[1].contains("line 2, column 8"), "{message}");
    assert!(lines[2].contains("session.timeout: expected text"), "{message}");
    assert!(lines[3].contains("did you mean `opens_on`?"), "{message}");
    assert!(lines[4].contains("99 is out of range"), "{message}");
}

#[test]
fn a_lake_in_an_unknown_store_or_without_a_bucket_is_refused() {
    assert_eq!(
        refusal(&with("[lake]\nurl = \"gs://bucket/x\"\n")),
        "lake.url: `gs://` is not a kind of location that is known \
         (sessionlake.toml, line 10, column 7), write a path or s3://bucket/prefix"
    );
    assert_eq!(
        refusal(&with("[lake]\nurl = \"s3:///x\"\n")),
        "lake.url: `s3:///x` names no bucket \
         (sessionlake.toml, line 10, column 7), write s3://bucket/prefix"
    );
}

#[test]
fn an_unknown_codec_is_told_the_nearest() {
    assert_eq!(
        refusal(&with("[lake]\ncompression = \"lz4\"\n")),
        "lake.compression: `lz4` is not snappy, lz4_raw or zstd \
         (sessionlake.toml, line 10, column 15), did you mean `lz4_raw`?"
    );
}
