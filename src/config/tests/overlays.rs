//! The file of an environment over the main one.

use super::{SHORTEST, read_over, two_feeds};

#[test]
fn sections_merge_key_by_key_and_feeds_by_name() {
    let over = format!(
        "[lake]\nurl = \"prod\"\n[[feed]]\nname = \"acme/clicks-2\"\n[feed.session]\ntimeout = \"9m\"\n{}",
        SHORTEST.replace("\"events\"", "\"new\"")
    );
    let text = format!("[lake]\nurl = \"dev\"\ncompression = \"zstd\"\n{}", two_feeds());
    let config = read_over(&text, &over).unwrap();
    assert_eq!(config.lake.url, "/etc/lakes/prod");
    assert_eq!(config.lake.compression.as_str(), "zstd");
    let feeds: Vec<(&str, i64)> = config
        .feeds
        .iter()
        .map(|feed| (feed.name.as_str(), feed.session.timeout_micros / 60_000_000))
        .collect();
    assert_eq!(feeds, [("events", 5), ("acme/clicks-2", 9), ("new", 5)]);
}

#[test]
fn templates_and_clients_merge_by_name() {
    let template =
        SHORTEST.replace("[[feed]]", "[[template.feed]]").replace("[feed.", "[template.feed.");
    let text = format!("{template}[[client]]\nname = \"acme\"\n");
    let over = "[[template.feed]]\nname = \"events\"\npath = \"{client}/{arrival_date}.csv\"\n\
                [[client]]\nname = \"acme\"\n[client.feed.events.session]\ntimeout = \"8m\"\n\
                [[client]]\nname = \"gardenia\"\n";
    let feeds = read_over(&text, over).unwrap().feeds;
    let told: Vec<(&str, &str, i64)> = feeds
        .iter()
        .map(|feed| {
            (feed.name.as_str(), feed.path.as_str(), feed.session.timeout_micros / 60_000_000)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("acme/events", "/etc/lakes/acme/{arrival_date}.csv", 8),
            ("gardenia/events", "/etc/lakes/gardenia/{arrival_date}.csv", 5),
        ]
    );
}

#[test]
fn a_problem_names_the_file_it_was_written_in() {
    let over =
        "[[feed]]\nname = \"events\"\n[feed.session]\ntimeout = \"soon\"\nclose_on = \"x\"\n";
    let message = read_over(SHORTEST, over).unwrap_err().to_string();
    assert!(message.contains("(sessionlake.prod.toml, line 4, column 11)"), "{message}");
    assert!(message.contains("(sessionlake.prod.toml, line 5, column 1)"), "{message}");
    let message = read_over(SHORTEST, "[lake\n").unwrap_err().to_string();
    assert!(message.starts_with("sessionlake.prod.toml, line 1"), "{message}");
    let text = SHORTEST.replace("\"user_id\"", "\"\"");
    let message = read_over(&text, "[lake]\nurl = \"x\"\n").unwrap_err().to_string();
    assert!(message.contains("(sessionlake.toml, line 5, column 11)"), "{message}");
}
