//! The layers above the file: the environment, `--set` and `--lake`.

use toml::{Table, Value};

use super::error::Origin;
use super::problems::Problems;
use super::reason::{Reason, nearest};
use super::schema::{self, FEED, Key, NoSuchKey, ROOT};
use super::written;

const PREFIX: &str = "SESSIONLAKE__";
const FEED_PREFIX: &str = "FEED__";

/// The values of the file, and the layers laid over them one after the other.
pub(crate) struct Layers<'a> {
    pub(crate) table: &'a mut Table,
    pub(crate) problems: &'a mut Problems,
}

/// Which part of the configuration a key path starts in.
#[derive(Clone, Copy)]
enum Scope {
    Root,
    Feed(usize),
}

impl Scope {
    const fn keys(self) -> &'static [Key] {
        match self {
            Self::Root => ROOT,
            Self::Feed(_) => FEED,
        }
    }

    fn path(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Feed(index) => format!("feed[{index}]"),
        }
    }
}

impl Layers<'_> {
    /// Lays the variables that start with `SESSIONLAKE__` over the file.
    pub(crate) fn environment(&mut self, environment: &[(String, String)]) {
        let mut ours: Vec<(&str, &str, &str)> = environment
            .iter()
            .filter_map(|(variable, raw)| {
                Some((variable.as_str(), variable.strip_prefix(PREFIX)?, raw.as_str()))
            })
            .collect();
        ours.sort_unstable();
        for (variable, key, raw) in ours {
            let origin = Origin::Environment { variable: variable.to_owned() };
            if let Some((scope, names)) = self.resolve_variable(key, &origin) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.set(scope, &names, raw, &origin);
            }
        }
    }

    /// Lays the `--set` arguments over the layers below, in the order given.
    pub(crate) fn set_arguments(&mut self, arguments: &[String]) {
        for argument in arguments {
            let (left, raw) = match argument.split_once('=') {
                Some((left, raw)) => (left.trim(), Some(raw)),
                None => (argument.trim(), None),
            };
            let origin = Origin::Set { key: left.to_owned() };
            let Some(raw) = raw else {
                self.problems.add_from(left, origin, Reason::NoEqualsSign);
                continue;
            };
            match left.split_once(':') {
                Some((feed, key)) => self.set_in_named_feed(feed, key, raw, &origin),
                None => self.set_anywhere(left, raw, &origin),
            }
        }
    }

    /// Lays the `--lake` argument over everything else.
    pub(crate) fn lake(&mut self, url: &str) {
        self.set(Scope::Root, &["lake", "url"], url, &Origin::Lake);
    }

    fn set_in_named_feed(&mut self, feed: &str, key: &str, raw: &str, origin: &Origin) {
        let names = self.problems.feed_names();
        match names.iter().position(|name| name.as_deref() == Some(feed)) {
            Some(index) => {
                self.set(Scope::Feed(index), &key.split('.').collect::<Vec<_>>(), raw, origin);
            }
            None => self.unknown_feed(feed, names_as(names, str::to_owned), origin),
        }
    }

    /// Sets a key of `[lake]`, `[engine]` or `[retention]`, or the same key in every feed.
    fn set_anywhere(&mut self, key: &str, raw: &str, origin: &Origin) {
        let names: Vec<&str> = key.split('.').collect();
        let first = names.first().copied().unwrap_or_default();
        let top: Vec<&Key> = ROOT.iter().filter(|key| key.name != "feed").collect();
        if top.iter().any(|key| key.name == first) {
            self.set(Scope::Root, &names, raw, origin);
        } else if schema::named(FEED, first).is_some() {
            // A misspelt key is one problem however many feeds there are.
            let feeds = match schema::find(FEED, &names) {
                Ok(_) => self.problems.feed_names().len(),
                Err(_) => 1,
            };
            for index in 0..feeds {
                self.set(Scope::Feed(index), &names, raw, origin);
            }
        } else {
            let known: Vec<&Key> = top.into_iter().chain(FEED).collect();
            let unknown = schema::unknown_key(first, schema::header(""), &known);
            self.problems.add_unknown_key("", origin.clone(), unknown);
        }
    }

    /// The scope and key path a variable's name stands for, without its prefix.
    fn resolve_variable(&mut self, key: &str, origin: &Origin) -> Option<(Scope, Vec<String>)> {
        let Some(of_feed) = key.strip_prefix(FEED_PREFIX) else {
            return Some((Scope::Root, split_variable(key)));
        };
        let names = self.problems.feed_names();
        match feeds_of_variable(of_feed, names).as_slice() {
            [(index, _, rest)] => Some((Scope::Feed(*index), split_variable(rest))),
            [] => {
                let name = of_feed.split("__").next().unwrap_or(of_feed);
                self.unknown_feed(name, names_as(names, environment_name), origin);
                None
            }
            several => {
                let feeds = several.iter().map(|(_, name, _)| (*name).to_owned()).collect();
                let reason = Reason::AmbiguousFeed { feeds };
                self.problems.add_from(of_feed, origin.clone(), reason);
                None
            }
        }
    }

    fn unknown_feed(&mut self, name: &str, known: Vec<String>, origin: &Origin) {
        let suggestion = nearest(name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        let reason = Reason::UnknownFeed { name: name.to_owned(), suggestion, known };
        self.problems.add_from(name, origin.clone(), reason);
    }

    fn set(&mut self, scope: Scope, names: &[&str], raw: &str, origin: &Origin) {
        if let (Scope::Root, [first, ..]) = (scope, names)
            && schema::EXPANDED.contains(first)
        {
            let reason = Reason::OnlyInFile { section: (*first).to_owned() };
            self.problems.add_from(&names.join("."), origin.clone(), reason);
            return;
        }
        let key = match schema::find(scope.keys(), names) {
            Ok(key) => key,
            Err(NoSuchKey { section, name, known }) => {
                let section = schema::join(&scope.path(), &section);
                let known: Vec<&Key> = known.iter().collect();
                let unknown = schema::unknown_key(name, schema::header(&section), &known);
                self.problems.add_unknown_key(&section, origin.clone(), unknown);
                return;
            }
        };
        let path = schema::join(&scope.path(), &names.join("."));
        match written::value_of(raw, &key.shape) {
            Ok(value) => {
                self.problems.origins.overwrite(&path, origin.clone());
                self.put(scope, names, value);
            }
            Err(reason) => self.problems.add_from(&path, origin.clone(), reason),
        }
    }

    /// Writes a value, with the sections on the way to it. Whatever is no section there was
    /// reported and left out before.
    fn put(&mut self, scope: Scope, names: &[&str], value: Value) {
        let start = match scope {
            Scope::Root => Some(&mut *self.table),
            Scope::Feed(index) => self
                .table
                .get_mut("feed")
                .and_then(|feeds| feeds.get_mut(index))
                .and_then(Value::as_table_mut),
        };
        let (Some(mut section), Some((last, sections))) = (start, names.split_last()) else {
            return;
        };
        for name in sections {
            let inner = section.entry(*name).or_insert_with(|| Value::Table(Table::new()));
            let Some(table) = inner.as_table_mut() else {
                return;
            };
            section = table;
        }
        section.insert((*last).to_owned(), value);
    }
}

/// The feeds a variable's name starts with, each as index, name and the rest of the variable's
/// name. Since a feed's name may continue another's with `__`, the longest is meant.
fn feeds_of_variable<'a>(
    variable: &'a str,
    names: &'a [Option<String>],
) -> Vec<(usize, &'a str, &'a str)> {
    let matching = names.iter().enumerate().filter_map(|(index, name)| {
        let name = name.as_deref()?;
        let rest = variable.strip_prefix(&environment_name(name))?.strip_prefix("__")?;
        Some((index, name, rest))
    });
    let mut matching: Vec<_> = matching.collect();
    let shortest_rest = matching.iter().map(|(_, _, rest)| rest.len()).min();
    matching.retain(|(_, _, rest)| Some(rest.len()) == shortest_rest);
    matching
}

/// A feed's name as it stands in a variable's name.
fn environment_name(feed: &str) -> String {
    feed.to_uppercase().replace(['-', '/'], "_")
}

fn split_variable(key: &str) -> Vec<String> {
    key.split("__").map(str::to_lowercase).collect()
}

fn names_as(names: &[Option<String>], shown: impl Fn(&str) -> String) -> Vec<String> {
    names.iter().flatten().map(|name| shown(name)).collect()
}
