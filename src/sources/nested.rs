//! Columns that are named by a path into a nested value: `event_details.event_name`.
//!
//! A record's own field of that very name comes first. Where it has none, or a blank one, the path
//! is followed: the field before the first dot, in it the key up to the next dot, and so on. A
//! value that is followed is a JSON object, or a text that holds one, so that it does not matter
//! whether the object came as such, as a JSON string, or in a field of a CSV file. Of a repeated
//! key the last one counts; there is no way into an array, and no key with a dot on the way.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::raw_batch::RawBatch;

/// The field in which a path begins, and the rest of the path.
pub(crate) fn path_of(column: &str) -> Option<(&str, &str)> {
    let is_path = column.contains('.') && column.split('.').all(|key| !key.is_empty());
    column.split_once('.').filter(|_| is_path)
}

/// The text at `path` in a text that holds a JSON object; none where there is none, or it is
/// blank or null.
pub(crate) fn text_at<'t>(text: &'t str, path: &str) -> Option<Cow<'t, str>> {
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    let value = text_of(last_of(text, key)?)?;
    let Some(rest) = rest else {
        return Some(value);
    };
    match value {
        Cow::Borrowed(value) => text_at(value, rest),
        Cow::Owned(value) => text_at(&value, rest).map(|text| Cow::Owned(text.into_owned())),
    }
}

/// What a JSON value means as text: the content of a string, any other value as it was delivered;
/// null and the empty string are missing.
pub(crate) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    match json {
        "null" | "\"\"" => None,
        text if text.starts_with('"') => match serde_json::from_str::<String>(text) {
            Ok(content) => Some(Cow::Owned(content)),
            // A lone surrogate has no text: the value stays as it was delivered.
            Err(_) => Some(Cow::Borrowed(text)),
        },
        other => Some(Cow::Borrowed(other)),
    }
}

/// The value of the last `key` of a text that is one JSON object.
fn last_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = json.deserialize_map(LastOf(key)).ok()?;
    json.end().ok()?;
    value.map(RawValue::get)
}

struct LastOf<'k>(&'k str);

impl<'t> Visitor<'t> for LastOf<'_> {
    type Value = Option<&'t RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut last = None;
        while let Some((key, value)) = fields.next_entry::<&RawValue, &RawValue>()? {
            let key = key.get();
            let is_it = if key.contains('\\') {
                serde_json::from_str::<String>(key).is_ok_and(|key| key == self.0)
            } else {
                key.trim_matches('"') == self.0
            };
            if is_it {
                last = Some(value);
            }
        }
        Ok(last)
    }
}

/// Whether a header has a column, or the field in which its path begins.
pub(super) fn is_given(column: &String, header: &HashSet<&String>) -> bool {
    let holds = |name: &str| header.contains(&name.to_owned());
    header.contains(column) || path_of(column).is_some_and(|(root, _)| holds(root))
}

/// The columns of a record that may be nested, and the values in which their paths begin.
pub(super) struct NestedColumns {
    columns: Arc<[NestedColumn]>,
    /// By name, the index of each field in which paths begin.
    roots: Arc<HashMap<String, usize>>,
    /// The texts of those fields in the record at hand.
    texts: Vec<String>,
}

struct NestedColumn {
    /// Position among the declared columns.
    column: usize,
    root: usize,
    path: String,
}

impl NestedColumns {
    pub(super) fn new(columns: &[String]) -> Self {
        let mut roots = HashMap::new();
        let mut nested = Vec::new();
        for (column, name) in columns.iter().enumerate() {
            if let Some((root, path)) = path_of(name) {
                let next = roots.len();
                let root = *roots.entry(root.to_owned()).or_insert(next);
                nested.push(NestedColumn { column, root, path: path.to_owned() });
            }
        }
        let texts = vec![String::new(); roots.len()];
        Self { columns: nested.into(), roots: Arc::new(roots), texts }
    }

    /// The same columns, for another reader of the file.
    pub(super) fn for_blocks(&self) -> Self {
        let (columns, roots) = (Arc::clone(&self.columns), Arc::clone(&self.roots));
        Self { columns, roots, texts: vec![String::new(); self.texts.len()] }
    }

    /// Whether paths begin in the field `name`, and under which index.
    pub(super) fn root(&self, name: &str) -> Option<usize> {
        if self.texts.is_empty() { None } else { self.roots.get(name).copied() }
    }

    /// Begins another record.
    pub(super) fn clear(&mut self) {
        self.texts.iter_mut().for_each(String::clear);
    }

    /// The text of a field of the record; a later one of the same name takes its place.
    pub(super) fn put(&mut self, root: usize, text: &str) {
        self.texts[root].clear();
        self.texts[root].push_str(text);
    }

    /// Sets those columns of the row that have no value of their own.
    pub(super) fn fill(&self, batch: &mut RawBatch) {
        for nested in self.columns.iter() {
            if !batch.is_set(nested.column)
                && let Some(text) = text_at(&self.texts[nested.root], &nested.path)
            {
                batch.set(nested.column, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_field_and_keys_without_blanks() {
        assert_eq!(path_of("a.b.c"), Some(("a", "b.c")));
        for none in ["a", "", ".", ".a", "a.", "a..b"] {
            assert_eq!(path_of(none), None, "{none}");
        }
    }

    #[test]
    fn a_path_is_followed_through_objects_and_texts_that_hold_them() {
        for (text, found) in [
            (r#"{"b":{"c":1.0}}"#, Some("1.0")),
            (r#" {"b" : {"x":[{}],"c": "y" } } "#, Some("y")),
            (r#"{"b":"{\"c\":\"\\u00e9\"}"}"#, Some("é")),
            (r#"{"b":{"c":0,"c":[1]}}"#, Some("[1]")),
            (r#"{"b":1,"\u0062":{"\u0063":true}}"#, Some("true")),
            (r#"{"b":{"c":"\ud800"}}"#, Some(r#""\ud800""#)),
            (r#"{"b":{"c":null}}"#, None),
            (r#"{"b":{"c":""}}"#, None),
            (r#"{"b":{"c":1},"b":2}"#, None),
            (r#"{"b.c":1}"#, None),
            (r#"{"b":[{"c":1}]}"#, None),
            (r#"{"b":{"c":1}} x"#, None),
            (r#"{"b":{"c":1}"#, None),
            ("b", None),
            ("", None),
        ] {
            assert_eq!(text_at(text, "b.c").as_deref(), found, "{text}");
        }
    }
}
