//! `--feed` and `--client`: which feeds a command is about.

use glob::Pattern;

use super::args::WhichFeeds;
use crate::config::{Config, FeedConfig};
use crate::error::JobError;

/// The feeds asked for, in the order of the configuration. A name or pattern that selects nothing
/// is an error.
pub(super) fn select<'c>(
    config: &'c Config,
    args: &WhichFeeds,
) -> Result<Vec<&'c FeedConfig>, JobError> {
    let clients = patterns(&args.client)?;
    let names = patterns(&args.feed)?;
    let all: Vec<&FeedConfig> = config.feeds.iter().collect();
    for client in &clients {
        if !all.iter().any(|feed| is_of(feed, client)) {
            let known = listed(all.iter().filter_map(|feed| parts(feed).0));
            return Err(JobError::UnknownClient { name: client.to_string(), known });
        }
    }
    let of_clients: Vec<&FeedConfig> = all
        .into_iter()
        .filter(|feed| clients.is_empty() || clients.iter().any(|client| is_of(feed, client)))
        .collect();
    let is_called = |feed: &FeedConfig, name: &Pattern| {
        name.matches(&feed.name) || (!clients.is_empty() && name.matches(parts(feed).1))
    };
    for name in &names {
        if !of_clients.iter().any(|feed| is_called(feed, name)) {
            let known = listed(of_clients.iter().map(|feed| feed.name.as_str()));
            return Err(JobError::UnknownFeed { name: name.to_string(), known });
        }
    }
    Ok(of_clients
        .into_iter()
        .filter(|feed| names.is_empty() || names.iter().any(|name| is_called(feed, name)))
        .collect())
}

fn patterns(written: &[String]) -> Result<Vec<Pattern>, JobError> {
    let pattern = |text: &String| {
        Pattern::new(text).map_err(|source| JobError::BadPattern { pattern: text.clone(), source })
    };
    written.iter().map(pattern).collect()
}

/// A feed's client, where it has one, and its name within.
fn parts(feed: &FeedConfig) -> (Option<&str>, &str) {
    match feed.name.split_once('/') {
        Some((client, name)) => (Some(client), name),
        None => (None, &feed.name),
    }
}

fn is_of(feed: &FeedConfig, client: &Pattern) -> bool {
    parts(feed).0.is_some_and(|name| client.matches(name))
}

/// `acme, gardenia`, each once.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
