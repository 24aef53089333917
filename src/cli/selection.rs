//! `--feed` and `--client`: which feeds a command is about.

use std::collections::BTreeSet;

use glob::Pattern;

use super::args::WhichFeeds;
use crate::config::{Config, FeedConfig, client_and_name, nearest};
use crate::error::JobError;

/// The feeds asked for, in the order of the configuration. A name or pattern that selects nothing
/// is an error.
pub(super) fn select<'c>(
    config: &'c Config,
    args: &WhichFeeds,
) -> Result<Vec<&'c FeedConfig>, JobError> {
    let clients = patterns(&args.client)?;
    let names = patterns(&args.feed)?;
    for client in &clients {
        if !config.feeds.iter().any(|feed| is_of(feed, client)) {
            let known =
                config.feeds.iter().filter_map(|feed| client_and_name(&feed.name).0).collect();
            let (name, suggestion) = (client.to_string(), meant(client, &known));
            return Err(JobError::UnknownClient { name, suggestion, known: listed(&known) });
        }
    }
    let is_of_clients =
        |feed: &&FeedConfig| clients.is_empty() || clients.iter().any(|client| is_of(feed, client));
    let of_clients: Vec<&FeedConfig> = config.feeds.iter().filter(is_of_clients).collect();
    let is_called = |feed: &FeedConfig, name: &Pattern| {
        name.matches(&feed.name)
            || (!clients.is_empty() && name.matches(client_and_name(&feed.name).1))
    };
    for name in &names {
        if !of_clients.iter().any(|feed| is_called(feed, name)) {
            let known: BTreeSet<&str> = of_clients.iter().map(|feed| feed.name.as_str()).collect();
            let short = of_clients.iter().map(|feed| client_and_name(&feed.name).1);
            let short = short.filter(|_| !clients.is_empty());
            let suggestion = meant(name, &known.iter().copied().chain(short).collect());
            let name = name.to_string();
            return Err(JobError::UnknownFeed { name, suggestion, known: listed(&known) });
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

fn is_of(feed: &FeedConfig, client: &Pattern) -> bool {
    client_and_name(&feed.name).0.is_some_and(|name| client.matches(name))
}

/// The nearest of the known names; of `*/order` the part behind the client, as `*/orders`.
fn meant(pattern: &Pattern, known: &BTreeSet<&str>) -> Option<String> {
    let with_client = |client: &str| -> Vec<String> {
        let names = known.iter().filter_map(|name| name.split_once('/'));
        names.map(|(_, name)| format!("{client}/{name}")).collect()
    };
    let selects = |name: &String| {
        Pattern::new(name).is_ok_and(|name| known.iter().any(|known| name.matches(known)))
    };
    let patterns = pattern.as_str().split_once('/').map(|(client, _)| with_client(client));
    let patterns: Vec<String> = patterns.into_iter().flatten().filter(selects).collect();
    let known = known.iter().copied().chain(patterns.iter().map(String::as_str));
    nearest(pattern.as_str(), known).map(ToOwned::to_owned)
}

/// `acme, gardenia`.
fn listed(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().copied().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
