//! Refusals of what only a feed has: its name, path, format, zone and columns.

use super::{refusal, replaced, two_feeds, with};

#[test]
fn an_unknown_zone_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal(&with("zone = \"Europe/Viena\"\n")),
        "feed[0] (events).event.zone: `Europe/Viena` is not an IANA time zone \
         (sessionlake.toml, line 9, column 8), did you mean `Europe/Vienna`?"
    );
}

#[test]
fn a_broken_timestamp_pattern_is_refused() {
    let message = refusal(&with("timestamp_format = \"%Y-%J\"\n"));
    assert!(
        message.contains("event.timestamp_format: `%Y-%J` is not a timestamp pattern"),
        "{message}"
    );
}

#[test]
fn a_path_must_hold_the_arrival_date_and_no_other_placeholder() {
    assert_eq!(
        refusal(&replaced("{arrival_date}.csv", "all.csv")),
        "feed[0] (events).path: `batches/all.csv` has no {arrival_date} in it \
         (sessionlake.toml, line 3, column 8), put {arrival_date} where a file's date stands"
    );
    assert_eq!(
        refusal(&replaced("{arrival_date}", "{date}")),
        "feed[0] (events).path: unknown placeholder `{date}` \
         (sessionlake.toml, line 3, column 8), the only one is {arrival_date}"
    );
}

#[test]
fn a_path_whose_ending_tells_no_format_asks_for_one() {
    assert_eq!(
        refusal(&replaced(".csv", ".txt")),
        "feed[0] (events).format: the ending of `/etc/lakes/batches/{arrival_date}.txt` does not \
         tell the format (sessionlake.toml, line 1, column 1), \
         add `format = \"csv\"`, `format = \"jsonl\"` or `format = \"parquet\"`"
    );
}

#[test]
fn an_unknown_choice_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal(&replaced("path =", "format = \"json\"\npath =")),
        "feed[0] (events).format: `json` is not csv, jsonl or parquet \
         (sessionlake.toml, line 3, column 10), did you mean `jsonl`?"
    );
    assert_eq!(
        refusal(&replaced("path =", "on_missing = \"skip\"\npath =")),
        "feed[0] (events).on_missing: `skip` is not fail or ok \
         (sessionlake.toml, line 3, column 14), write for example `on_missing = \"fail\"`"
    );
}

#[test]
fn feed_names_are_plain_and_unique() {
    assert_eq!(
        refusal(&replaced("\"events\"", "\"My Events\"")),
        "feed[0] (My Events).name: `My Events` is not a feed name \
         (sessionlake.toml, line 2, column 8), \
         use a-z, 0-9, `_` and `-`, with one `/` after the client's name if there is one"
    );
    assert_eq!(
        refusal(&two_feeds().replace("acme/clicks-2", "events")),
        "feed[1] (events).name: feed[0] is called `events` too \
         (sessionlake.toml, line 10, column 8), rename one"
    );
    for name in ["a/b/c", "/a", "a/", "a//b"] {
        assert!(refusal(&replaced("events", name)).contains("is not a feed name"), "{name}");
    }
}

#[test]
fn tables_of_one_feed_never_lie_inside_those_of_another() {
    assert_eq!(
        refusal(&two_feeds().replace("acme/", "events/")),
        "feed[1] (events/clicks-2).name: the client `events` is also the name of a feed \
         (sessionlake.toml, line 10, column 8), rename one"
    );
    for folder in ["raw", "files"] {
        let name = format!("\"{folder}/events\"");
        assert!(refusal(&replaced("\"events\"", &name)).contains("a folder of tables"));
    }
}

#[test]
fn an_attribute_that_is_an_expression_needs_a_name() {
    assert_eq!(
        refusal(&with("attributes = [\"cast(price as double)\"]\n")),
        "feed[0] (events).event.attributes[0]: `cast(price as double)` is an expression without a \
         name (sessionlake.toml, line 9, column 15), add a name: `expression as name`"
    );
}

#[test]
fn attribute_names_must_be_new() {
    let message = refusal(&with(
        "attributes = [\"page\", \"x as Page\", \"Timestamp\", \"_line\", 'y as \"\"', \"_updated_at\"]\n",
    ));
    for part in [
        "5 problems in the configuration:\n  - ",
        "attributes[1]: the name `Page` is taken by entry [0] (letters' case does not count)",
        "attributes[2]: the name `Timestamp` is a column of ODS already",
        "attributes[3]: the name `_line` starts with `_`, as only columns of the lake do",
        "attributes[4]: empty",
        "attributes[5]: the name `_updated_at` is a column of ODS already",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
}

#[test]
fn columns_must_be_new_and_not_those_of_the_raw_table() {
    let message = refusal(&replaced("path =", "columns = [\"a\", \"A\", \"_extra\"]\npath ="));
    assert!(message.contains("columns[1]: the name `A` is taken by entry [0]"), "{message}");
    assert!(
        message.contains("columns[2]: the name `_extra` is a column of raw already"),
        "{message}"
    );
    let message = refusal(&replaced("path =", "columns = []\npath ="));
    assert!(message.contains("feed[0] (events).columns: empty"), "{message}");
}
