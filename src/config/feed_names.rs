//! The names of feeds, and with them of their tables: `events` in `raw/events`, `acme/events` in
//! `acme/raw/events`.

use super::problems::Problems;
use super::reason::Reason;

/// Folders of tables at the root of the lake, where a client has a folder of its own.
const TABLE_FOLDERS: [&str; 6] = ["raw", "quarantine", "ods", "sessions", "runs", "files"];

/// Names must be well formed, unique, and lead to tables that do not lie inside one another.
pub(crate) fn check(names: &[Option<String>], problems: &mut Problems) {
    for (index, name) in names.iter().enumerate() {
        let Some(name) = name.as_deref().filter(|name| !name.trim().is_empty()) else {
            continue;
        };
        if let Some(reason) = unusable(name, &names[..index], names) {
            problems.add(&format!("feed[{index}].name"), reason);
        }
    }
}

/// The client of a feed, where it has one, and the feed's name within.
pub(crate) fn client_and_name(feed: &str) -> (Option<&str>, &str) {
    match feed.split_once('/') {
        Some((client, name)) => (Some(client), name),
        None => (None, feed),
    }
}

/// Why a name cannot be used, given the feeds `before` it and `all` of them.
fn unusable(name: &str, before: &[Option<String>], all: &[Option<String>]) -> Option<Reason> {
    let is_feed = |wanted: &str| all.iter().flatten().any(|other| other == wanted);
    let (client, _) = client_and_name(name);
    let first = before.iter().position(|other| other.as_deref() == Some(name));
    if !is_feed_name(name) {
        Some(Reason::BadFeedName { name: name.to_owned() })
    } else if let Some(first) = first {
        Some(Reason::FeedNameTaken { name: name.to_owned(), first })
    } else {
        let client = client?.to_owned();
        if TABLE_FOLDERS.contains(&client.as_str()) {
            Some(Reason::ClientNameTaken { client, other: "a folder of tables" })
        } else if is_feed(&client) {
            Some(Reason::ClientNameTaken { client, other: "a feed" })
        } else {
            None
        }
    }
}

/// `feed` or `client/feed`, each of `[a-z0-9_-]+`.
fn is_feed_name(name: &str) -> bool {
    name.split('/').count() <= 2 && name.split('/').all(is_segment)
}

/// `[a-z0-9_-]+`: the name of a client, or of its feed.
pub(crate) fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-'))
}
