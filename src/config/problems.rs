//! The problems found so far, each tied to the place where the value was written.

use super::error::{ConfigError, Origin, Problem};
use super::reason::{Reason, Suggestion};
use super::schema;
use super::written::Origins;

/// Collects problems under the paths of their keys, such as `feed[0].session.timeout`.
#[derive(Debug)]
pub(crate) struct Problems {
    pub(crate) origins: Origins,
    /// The name of each feed where it is known, to show beside its index.
    feed_names: Vec<Option<String>>,
    found: Vec<Problem>,
    /// Paths about which something was said, so that nothing follows from it is said again.
    settled: Vec<String>,
}

impl Problems {
    pub(crate) fn new(origins: Origins, feed_names: Vec<Option<String>>) -> Self {
        Self { origins, feed_names, found: Vec::new(), settled: Vec::new() }
    }

    /// The names of the feeds, once those of the clients are among them.
    pub(crate) fn name_feeds(&mut self, feed_names: Vec<Option<String>>) {
        self.feed_names = feed_names;
    }

    /// The name of each feed, `None` where it was not written as text.
    pub(crate) fn feed_names(&self) -> &[Option<String>] {
        &self.feed_names
    }

    /// Records what is wrong with the value at `path`, unless a problem with it (or with what it
    /// is a part of) is known: the value was then left out, and this follows from that.
    pub(crate) fn add(&mut self, path: &str, reason: Reason) {
        let written = self.origins.written_at(path);
        if !self.is_settled(path) && !written.is_some_and(|written| self.is_settled(&written)) {
            self.add_from(path, self.origins.of_value(path), reason);
        }
    }

    /// Records what is wrong with a value that came from `origin`.
    pub(crate) fn add_from(&mut self, path: &str, origin: Origin, reason: Reason) {
        self.settled.push(path.to_owned());
        let example = schema::example(path);
        let problem = Problem { key: self.shown(path), origin, reason, example };
        // What is wrong with a template is wrong with the feed of each client.
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Records a key that does not exist. The key it was probably meant to be is not missing then.
    pub(crate) fn add_unknown_key(&mut self, section: &str, origin: Origin, unknown: Reason) {
        let Reason::UnknownKey { key, suggestion, .. } = &unknown else {
            return;
        };
        if let Some(meant) = suggestion {
            self.settled.push(meant_path(section, meant));
        }
        self.add_from(&schema::join(section, key), origin, unknown);
    }

    /// Lets more be said about `path`, which stands for several things.
    pub(crate) fn reopen(&mut self, path: &str) {
        self.settled.retain(|settled| settled != path);
    }

    /// Whether any problem is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error that reports everything found: the file from top to bottom, then the other
    /// layers.
    pub(crate) fn into_error(mut self) -> ConfigError {
        self.found.sort_by(|left, right| left.origin.cmp(&right.origin));
        ConfigError::Invalid { problems: self.found }
    }

    fn is_settled(&self, path: &str) -> bool {
        self.settled.iter().any(|settled| {
            path.strip_prefix(settled.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// The path with the feed's name after its index; for what comes from a template or a client,
    /// the path there.
    fn shown(&self, path: &str) -> String {
        if let Some(written) = self.origins.written_at(path) {
            return written;
        }
        let name = path
            .strip_prefix("feed[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)))
            .and_then(|(index, rest)| Some((index, self.feed_names.get(index)?.as_ref()?, rest)));
        match name {
            Some((index, name, rest)) => format!("feed[{index}] ({name}){rest}"),
            None => path.to_owned(),
        }
    }
}

/// The path of the key that was meant by one in `section`, in the same feed.
fn meant_path(section: &str, meant: &Suggestion) -> String {
    let feed = section.find("feed[").and_then(|at| Some(at + section[at..].find(']')? + 1));
    let section = match (meant.section, feed) {
        (Some(other), Some(end)) => other.replacen("feed", &section[..end], 1),
        (Some(other), None) => other.to_owned(),
        (None, _) => section.to_owned(),
    };
    schema::join(&section, &meant.key)
}
