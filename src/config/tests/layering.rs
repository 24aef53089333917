//! File, environment, `--set`, `--lake`: each over the one before.

use super::super::LoadOptions;
use super::{SHORTEST, environment, read_with, set, two_feeds, with};

const MINUTE_MICROS: i64 = 60_000_000;

fn timeouts(text: &str, options: &LoadOptions) -> Vec<i64> {
    let config = read_with(text, options).unwrap();
    config.feeds.iter().map(|feed| feed.session.timeout_micros / MINUTE_MICROS).collect()
}

fn message(text: &str, options: &LoadOptions) -> String {
    read_with(text, options).unwrap_err().to_string()
}

#[test]
fn each_layer_overrides_the_one_before() {
    let text = format!("[lake]\nurl = \"from-file\"\n{SHORTEST}");
    let mut options = LoadOptions::default();
    let url = |options: &LoadOptions| read_with(&text, options).unwrap().lake.url;
    assert_eq!(url(&options), "/etc/lakes/from-file");
    options.environment = vec![("SESSIONLAKE__LAKE__URL".to_owned(), "from-env".to_owned())];
    assert_eq!(url(&options), "/home/ada/from-env");
    options.set = vec!["lake.url=from-set".to_owned()];
    assert_eq!(url(&options), "/home/ada/from-set");
    options.lake = Some("from-lake".to_owned());
    assert_eq!(url(&options), "/home/ada/from-lake");
}

#[test]
fn the_environment_reaches_one_feed_by_its_name_in_upper_case() {
    let options = environment(&[
        ("SESSIONLAKE__FEED__ACME_CLICKS_2__SESSION__TIMEOUT", "10m"),
        ("SESSIONLAKE__ENGINE__MEMORY_LIMIT", "64MB"),
        ("SESSIONLAKE_LOG", "debug"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(timeouts(&two_feeds(), &options), [5, 10]);
    let config = read_with(&two_feeds(), &options).unwrap();
    assert_eq!(config.engine.memory_limit_bytes, 64_000_000);
}

#[test]
fn set_reaches_every_feed_or_the_one_it_names() {
    assert_eq!(timeouts(&two_feeds(), &set(&["session.timeout=10m"])), [10, 10]);
    assert_eq!(timeouts(&two_feeds(), &set(&["events:session.timeout=10m"])), [10, 5]);
    assert_eq!(timeouts(&two_feeds(), &set(&["acme/clicks-2:session.timeout=9m"])), [5, 9]);
}

#[test]
fn of_two_set_arguments_the_later_counts() {
    let options = set(&["session.timeout=10m", "events:session.timeout=20m"]);
    assert_eq!(timeouts(&two_feeds(), &options), [20, 10]);
    let options = set(&["events:session.timeout=20m", "session.timeout=10m"]);
    assert_eq!(timeouts(&two_feeds(), &options), [10, 10]);
}

#[test]
fn set_overrides_the_environment_for_a_feed() {
    let mut options = environment(&[("SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOUT", "10m")]);
    options.set = vec!["session.timeout=7m".to_owned()];
    assert_eq!(timeouts(SHORTEST, &options), [7]);
}

#[test]
fn numbers_and_lists_are_read_as_toml_and_text_as_it_stands() {
    let options = set(&[
        "window.lookback_days=2",
        "event.attributes=[\"page\", \"lower(x) as y\"]",
        "event.user_id=10",
        "session.user_action=event_id in ('a', 'b')",
        "session.opens_on=true",
        "session.closes_on=a = b",
    ]);
    let feed = read_with(SHORTEST, &options).unwrap().feeds.remove(0);
    assert_eq!(feed.window.lookback_days, 2);
    assert_eq!(feed.event.attributes.len(), 2);
    assert_eq!(feed.event.user_id, "10");
    assert_eq!(feed.session.user_action, "event_id in ('a', 'b')");
    assert_eq!(feed.session.opens_on, "true");
    assert_eq!(feed.session.closes_on, "a = b");
}

#[test]
fn a_relative_feed_path_starts_where_it_was_written() {
    let config = read_with(SHORTEST, &set(&["path=in/{arrival_date}/*.jsonl.gz"])).unwrap();
    assert_eq!(config.feeds[0].path, "/home/ada/in/{arrival_date}/*.jsonl.gz");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_key() {
    assert_eq!(
        message(SHORTEST, &environment(&[("SESSIONLAKE__LAKE__ULR", "x")])),
        "lake.ulr: unknown key `ulr` in [lake] \
         (environment variable SESSIONLAKE__LAKE__ULR), did you mean `url`?"
    );
    assert_eq!(
        message(SHORTEST, &environment(&[("SESSIONLAKE__COLOUR", "x")])),
        "colour: unknown key `colour` in the top level (environment variable \
         SESSIONLAKE__COLOUR), the keys there are lake, engine, retention, feed, template, client"
    );
}

#[test]
fn a_variable_for_an_unknown_feed_is_refused_with_the_nearest_feed() {
    let options = environment(&[("SESSIONLAKE__FEED__EVENT__SESSION__TIMEOUT", "10m")]);
    assert_eq!(
        message(SHORTEST, &options),
        "EVENT: no feed is called `EVENT` (environment variable \
         SESSIONLAKE__FEED__EVENT__SESSION__TIMEOUT), did you mean `EVENTS`?"
    );
}

#[test]
fn a_variable_that_could_mean_two_feeds_is_refused() {
    let text = two_feeds().replace("\"events\"", "\"acme_clicks_2\"");
    let options = environment(&[("SESSIONLAKE__FEED__ACME_CLICKS_2__SESSION__TIMEOUT", "10m")]);
    let message = message(&text, &options);
    assert!(
        message.contains("the feeds acme_clicks_2 and acme/clicks-2 share this name"),
        "{message}"
    );
}

#[test]
fn an_unknown_set_key_is_refused_once_however_many_feeds_there_are() {
    assert_eq!(
        message(&two_feeds(), &set(&["session.timout=10m"])),
        "feed[0] (events).session.timout: unknown key `timout` in [feed.session] \
         (--set session.timout), did you mean `timeout`?"
    );
    assert_eq!(
        message(SHORTEST, &set(&["sesion.timeout=10m"])),
        "sesion: unknown key `sesion` in the top level \
         (--set sesion.timeout), did you mean `session`?"
    );
}

#[test]
fn a_set_argument_for_an_unknown_feed_is_refused() {
    assert_eq!(
        message(SHORTEST, &set(&["evnts:session.timeout=10m"])),
        "evnts: no feed is called `evnts` (--set evnts:session.timeout), did you mean `events`?"
    );
}

#[test]
fn a_set_argument_without_a_value_is_refused() {
    assert_eq!(
        message(SHORTEST, &set(&["session.timeout"])),
        "session.timeout: there is no `=` in it (--set session.timeout), \
         write for example `--set session.timeout=10m`"
    );
}

#[test]
fn a_set_argument_for_a_whole_section_is_refused() {
    assert_eq!(
        message(SHORTEST, &set(&["lake=x"])),
        "lake: this is a section, not a key (--set lake), name one of its keys: url, compression, storage"
    );
}

#[test]
fn a_bad_value_names_the_layer_it_came_from() {
    assert_eq!(
        message(SHORTEST, &set(&["window.lookback_days=many"])),
        "feed[0] (events).window.lookback_days: expected a whole number, found the text `many` \
         (--set window.lookback_days), write for example `lookback_days = 1`"
    );
    let text = with("[feed.session]\ntimeout = \"5m\"\n");
    let options = environment(&[("SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOUT", "5x")]);
    assert!(
        message(&text, &options)
            .contains("(environment variable SESSIONLAKE__FEED__EVENTS__SESSION__TIMEOUT)")
    );
    let options = LoadOptions { lake: Some("gs://b".to_owned()), ..LoadOptions::default() };
    assert_eq!(
        message(&text, &options),
        "lake.url: `gs://` is not a kind of location that is known (--lake), \
         write a path or s3://bucket/prefix"
    );
}
