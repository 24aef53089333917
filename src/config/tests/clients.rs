//! `[[client]]` times `[[template.feed]]`.

use super::super::{LoadOptions, show};
use super::{environment, read, read_with, refusal, set};

/// Two clients and two tables; one client differs in one setting of one table.
pub(super) const CLIENTS: &str = r#"
[[template.feed]]
name = "events"
path = "in/{client}/{folder}/{arrival_date}.csv"
[template.feed.event]
user_id = "user_id"
product_code = "'{client}'"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["page", "'{note}' as note"]

[[template.feed]]
name = "orders"
path = "in/{client}/orders-{arrival_date}.jsonl"
[template.feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "regexp_replace(event_id, '[0-9]{2}', '')"
timestamp = "timestamp"
[template.feed.session]
timeout = "7m"

[[client]]
name = "gardenia"
[client.values]
folder = "web"
note = "web"
[client.feed.events.session]
timeout = "10m"

[[client]]
name = "acme"
[client.values]
folder = "app"
note = "{app}"
"#;

fn edited(from: &str, to: &str) -> String {
    assert!(CLIENTS.contains(from));
    CLIENTS.replacen(from, to, 1)
}

fn names_and_minutes(text: &str, options: &LoadOptions) -> Vec<(String, i64)> {
    let feeds = read_with(text, options).unwrap().feeds;
    feeds.into_iter().map(|feed| (feed.name, feed.session.timeout_micros / 60_000_000)).collect()
}

#[test]
fn every_client_has_every_table() {
    let expected =
        [("gardenia/events", 10), ("gardenia/orders", 7), ("acme/events", 5), ("acme/orders", 7)];
    let expected = expected.map(|(name, minutes)| (name.to_owned(), minutes));
    assert_eq!(names_and_minutes(CLIENTS, &LoadOptions::default()), expected);
}

#[test]
fn placeholders_are_filled_in_everywhere_and_once() {
    let feeds = read(CLIENTS).feeds;
    assert_eq!(feeds[0].path, "/etc/lakes/in/gardenia/web/{arrival_date}.csv");
    assert_eq!(feeds[0].event.product_code, "'gardenia'");
    assert_eq!(feeds[0].event.attributes[1].expression, "'web'");
    assert_eq!(feeds[1].event.event_id, "regexp_replace(event_id, '[0-9]{2}', '')");
    assert_eq!(feeds[2].event.attributes[1].expression, "'{app}'");
}

#[test]
fn feeds_and_clients_stand_in_one_file() {
    let text = format!("{}{CLIENTS}", super::SHORTEST);
    assert_eq!(read(&text).feeds.len(), 5);
    let taken =
        text.replace("name = \"events\"\npath = \"batches", "name = \"acme\"\npath = \"batches");
    let message = refusal(&taken);
    assert!(message.contains("the client `acme` is also the name of a feed"), "{message}");
}

#[test]
fn the_layers_above_reach_the_feeds_of_clients() {
    let minutes = |options| -> Vec<i64> {
        names_and_minutes(CLIENTS, &options).into_iter().map(|(_, minutes)| minutes).collect()
    };
    assert_eq!(minutes(set(&["gardenia/events:session.timeout=9m"])), [9, 7, 5, 7]);
    assert_eq!(minutes(set(&["session.timeout=9m"])), [9, 9, 9, 9]);
    let variable = "SESSIONLAKE__FEED__ACME_ORDERS__SESSION__TIMEOUT";
    assert_eq!(minutes(environment(&[(variable, "9m")])), [10, 7, 5, 9]);
    let message =
        read_with(CLIENTS, &set(&["acme/orders:session.timeout=soon"])).unwrap_err().to_string();
    assert!(message.starts_with("feed[3] (acme/orders).session.timeout: "), "{message}");
    let message = read_with(CLIENTS, &set(&["client.name=x"])).unwrap_err().to_string();
    assert!(message.contains("[client] can only be written in a file"), "{message}");
}

#[test]
fn a_problem_names_the_template_once_or_the_client() {
    assert_eq!(
        refusal(&edited("timeout = \"7m\"", "timeout = \"soon\"")),
        "template.feed[1].session.timeout: `soon` is not a duration: expected number at 0 \
         (sessionlake.toml, line 21, column 11), write for example `timeout = \"5m\"`"
    );
    assert_eq!(
        refusal(&edited("timeout = \"10m\"", "timeout = \"soon\"")),
        "client[0].feed.events.session.timeout: `soon` is not a duration: expected number at 0 \
         (sessionlake.toml, line 29, column 11), write for example `timeout = \"5m\"`"
    );
    assert_eq!(
        refusal(&edited("timeout = \"7m\"", "timout = \"7m\"")),
        "template.feed[1].session.timout: unknown key `timout` in [template.feed.session] \
         (sessionlake.toml, line 21, column 1), did you mean `timeout`?"
    );
    assert_eq!(
        refusal(&edited("user_id = \"user_id\"\n", "")),
        "template.feed[0].event.user_id: missing (sessionlake.toml, line 5, column 1), \
         add for example `user_id = \"user_id\"`"
    );
}

#[test]
fn an_unknown_placeholder_is_refused_for_the_client_that_lacks_it() {
    let message = refusal(&edited("folder = \"web\"", "foldr = \"web\""));
    assert!(
        message.contains(
            "template.feed[0].path: unknown placeholder `{folder}` for the client gardenia \
             (sessionlake.toml, line 4, column 8), did you mean `{foldr}`?"
        ),
        "{message}"
    );
    assert!(!message.contains("client acme"), "{message}");
}

#[test]
fn what_cannot_be_a_client_is_refused() {
    for (from, to, said) in [
        (
            "name = \"acme\"",
            "name = \"gardenia\"",
            "client[1].name: client[0] is called `gardenia` too",
        ),
        ("name = \"acme\"", "name = \"Acme\"", "`Acme` is not the name of a client"),
        ("name = \"orders\"", "name = \"events\"", "template.feed[0] is called `events` too"),
        ("name = \"acme\"", "nam = \"acme\"", "unknown key `nam` in [[client]]"),
        ("client.feed.events.session", "client.feed.event.session", "did you mean `events`?"),
        ("folder = \"web\"", "client = \"web\"", "`{client}` is filled in by the program"),
        (
            "folder = \"web\"",
            "folder = 1",
            "client[0].values.folder: expected text, found the number 1",
        ),
        (
            "client.feed.events.session",
            "client.feed.events.sesion",
            "unknown key `sesion` in [client.feed.events]",
        ),
        (
            "[client.feed.events.session]",
            "[client.feed.events]\nname = \"x\"\n[client.feed.events.session]",
            "a client's feed is called as its template is",
        ),
    ] {
        let message = refusal(&edited(from, to));
        assert!(message.contains(said), "{to}: {message}");
    }
    let message = refusal("[[client]]\nname = \"acme\"\n");
    assert!(message.contains("there is no template"), "{message}");
}

#[test]
fn the_feeds_of_clients_show_written_out() {
    let config = read(CLIENTS);
    let shown = show(&config);
    assert!(shown.contains("name = \"acme/orders\""), "{shown}");
    assert_eq!(read(&shown), config);
}
