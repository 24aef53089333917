//! The references of a configuration: looked up where its check needs the value, left to the
//! credentials' own time where it does not, refused where the lake would record the value.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use toml::{Table, Value};

use super::concealed::conceal;
use super::reference::Reference;
use crate::config::location::Roots;
use crate::config::problems::Problems;
use crate::config::reason::Reason;
use crate::config::schema;

/// Keys whose value the check of the configuration needs.
const NEEDED: [&str; 10] = [
    "lake.url",
    "lake.compression",
    "lake.storage.endpoint",
    "lake.storage.region",
    "engine.memory_limit",
    "engine.spill_dir",
    "feed.path",
    "feed.format",
    "feed.on_missing",
    "feed.checks.folder",
];

/// Keys whose value waits until a store is opened.
const CREDENTIALS: [&str; 3] =
    ["lake.storage.access_key_id", "lake.storage.secret_access_key", "lake.storage.session_token"];

/// The references whose values stand in a [`Config`](crate::config::Config), by the paths of their
/// keys, such as `feed[0].path`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References(BTreeMap<String, Reference>);

impl References {
    /// The reference at a path, as written, or what there is in its place.
    pub(crate) fn shown(&self, path: &str, value: impl FnOnce() -> String) -> String {
        self.0.get(path).map_or_else(value, ToString::to_string)
    }

    pub(crate) fn at(&self, path: &str) -> Option<&Reference> {
        self.0.get(path)
    }
}

/// Whether the value at a path such as `lake.storage.session_token` is a secret by nature.
pub(crate) fn is_credential(path: &str) -> bool {
    CREDENTIALS.contains(&path)
}

/// Puts the values of references in their places. What cannot be looked up is reported and left out.
///
/// `environment` gives the value of a variable.
pub(crate) fn resolve(
    table: &mut Table,
    roots: &Roots,
    environment: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    Lookup { roots, environment, problems }.table(table, "");
}

struct Lookup<'a> {
    roots: &'a Roots,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Problems,
}

impl Lookup<'_> {
    fn table(&mut self, table: &mut Table, section: &str) {
        table.retain(|key, value| self.stays(value, &schema::join(section, key)));
    }

    /// Whether the value at `path` can be used; it may have been looked up then.
    fn stays(&mut self, value: &mut Value, path: &str) -> bool {
        match value {
            Value::Table(table) => self.table(table, path),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    // An item that goes would change the indices of the others.
                    let _ = self.stays(item, &format!("{path}[{index}]"));
                }
            }
            Value::String(text) => return self.text(text, path),
            _ => {}
        }
        true
    }

    fn text(&mut self, text: &mut String, path: &str) -> bool {
        let key = without_indices(path);
        if is_credential(&key) {
            return true;
        }
        let root = self.roots.of(&self.problems.origins.of_value(path));
        let Some(reference) = Reference::parse(text, root) else {
            return true;
        };
        let looked_up = if NEEDED.contains(&key.as_str()) {
            reference.map_err(Reason::BadReference).and_then(|reference| {
                let value = reference.value(self.environment).map_err(Reason::Unresolved)?;
                Ok((reference, value))
            })
        } else {
            Err(Reason::RecordedReference)
        };
        match looked_up {
            Ok((reference, value)) => {
                conceal(&value, &reference.in_messages());
                value.expose_secret().clone_into(text);
                self.problems.references.0.insert(path.to_owned(), reference);
                true
            }
            Err(reason) => {
                self.problems.add(path, reason);
                false
            }
        }
    }
}

/// `feed[0].path` as `feed.path`.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|letter| {
            inside = (inside || *letter == '[') && *letter != ']';
            !inside && *letter != ']'
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_named_here_is_a_text() {
        for path in NEEDED.iter().chain(&CREDENTIALS) {
            let names: Vec<&str> = path.split('.').collect();
            let key = schema::find(schema::ROOT, &names).unwrap();
            assert!(matches!(key.shape, schema::Shape::Text), "{path}");
        }
    }

    #[test]
    fn indices_are_no_part_of_a_key() {
        assert_eq!(without_indices("feed[12].checks.use[0].check"), "feed.checks.use.check");
        assert_eq!(without_indices("feed[1].columns[3]"), "feed.columns");
        assert_eq!(without_indices("lake.url"), "lake.url");
    }
}
