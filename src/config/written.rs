//! The file as text: its values, where each of them stands, and whether each has the shape its key
//! asks for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Origin, Position};
use super::overlay::Graft;
use super::problems::Problems;
use super::reason::Reason;
use super::schema::{self, Key, Shape};

/// Where each key and value was written, by paths such as `feed[0].session.timeout`.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    file: PathBuf,
    written: BTreeMap<String, Written>,
}

#[derive(Debug, Clone)]
struct Written {
    key: Origin,
    value: Origin,
    /// The path under which it was written, where problems are to name that one.
    path: Option<String>,
}

impl Origins {
    /// Where the value at `path` was written; for one that was not, its section.
    pub(crate) fn of_value(&self, path: &str) -> Origin {
        self.nearest(path).map_or_else(|| self.file_itself(), |written| written.value.clone())
    }

    /// Where the key at `path` was written; for one that was not, its section.
    pub(crate) fn of_key(&self, path: &str) -> Origin {
        self.nearest(path).map_or_else(|| self.file_itself(), |written| written.key.clone())
    }

    /// A later layer wrote the value at `path`: whatever stood there is gone.
    pub(crate) fn overwrite(&mut self, path: &str, origin: Origin) {
        self.written.retain(|other, _| inside(other, path).is_none());
        let written = Written { key: origin.clone(), value: origin, path: None };
        self.written.insert(path.to_owned(), written);
    }

    /// What was written at `from` stands at `to` from now on, in the place of what stood there.
    pub(crate) fn graft(&mut self, graft: &Graft<'_>, from: &str, to: &str) {
        self.written.retain(|other, _| inside(other, to).is_none());
        for (path, written) in &graft.from.written {
            let Some(rest) = inside(path, from) else { continue };
            let mut written = written.clone();
            if graft.shown {
                written.path = Some(path.clone());
            }
            self.written.insert(format!("{to}{rest}"), written);
        }
    }

    /// The path under which problems name what stands at `path`, where that is another one.
    pub(crate) fn written_at(&self, path: &str) -> Option<String> {
        let mut above = path;
        loop {
            if let Some(written) = self.written.get(above) {
                return Some(format!("{}{}", written.path.as_ref()?, &path[above.len()..]));
            }
            above = &above[..above.rfind(['.', '['])?];
        }
    }

    fn nearest(&self, path: &str) -> Option<&Written> {
        let mut path = path;
        loop {
            if let Some(written) = self.written.get(path) {
                return Some(written);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn file_itself(&self) -> Origin {
        Origin::File { file: self.file.clone(), position: None }
    }

    fn note_table(&mut self, text: &str, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = schema::join(section, key.get_ref());
            self.note(text, &path, &key.span(), &value.span());
            self.note_inside(text, &path, value.get_ref());
        }
    }

    fn note_inside(&mut self, text: &str, path: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.note_table(text, path, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.note(text, &path, &item.span(), &item.span());
                    self.note_inside(text, &path, item.get_ref());
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, text: &str, path: &str, key: &Range<usize>, value: &Range<usize>) {
        let at = |span: &Range<usize>| Origin::File {
            file: self.file.clone(),
            position: Some(Position::at(text, span.start)),
        };
        let written = Written { key: at(key), value: at(value), path: None };
        self.written.insert(path.to_owned(), written);
    }
}

/// What follows `section` in a path that is it or lies in it.
fn inside<'p>(path: &'p str, section: &str) -> Option<&'p str> {
    path.strip_prefix(section).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Reads the text of the configuration file: its values, and where each of them stands.
///
/// `file` is its name in messages.
pub(crate) fn read(file: &Path, text: &str) -> Result<(Table, Origins), ConfigError> {
    let syntax = |cause: toml::de::Error| ConfigError::Syntax {
        file: file.to_owned(),
        position: Position::at(text, cause.span().map_or(0, |span| span.start)),
        cause: Box::new(cause),
    };
    let spanned = DeTable::parse(text).map_err(syntax)?;
    let mut origins = Origins { file: file.to_owned(), written: BTreeMap::new() };
    origins.note_table(text, "", spanned.get_ref());
    let table = text.parse::<Table>().map_err(syntax)?;
    Ok((table, origins))
}

/// Reports every unknown key and every value of the wrong shape, and leaves them out of `table`.
pub(crate) fn check(
    table: &mut Table,
    section: &str,
    keys: &'static [Key],
    problems: &mut Problems,
) {
    let names: Vec<String> = table.keys().cloned().collect();
    for name in names {
        let path = schema::join(section, &name);
        let Some(key) = schema::named(keys, &name) else {
            let origin = problems.origins.of_key(&path);
            let known: Vec<&Key> = keys.iter().collect();
            let unknown = schema::unknown_key(&name, schema::header(section), &known);
            problems.add_unknown_key(section, origin, unknown);
            table.remove(&name);
            continue;
        };
        if let Some(value) = table.get_mut(&name)
            && !check_value(value, &path, &key.shape, problems)
        {
            table.remove(&name);
        }
    }
}

/// Whether a value has the shape asked for; reports what in it has not.
fn check_value(value: &mut Value, path: &str, shape: &Shape, problems: &mut Problems) -> bool {
    match (shape, value) {
        (Shape::Text, Value::String(_))
        | (Shape::Integer, Value::Integer(_))
        | (Shape::Boolean, Value::Boolean(_)) => true,
        (Shape::TextList, Value::Array(items)) => {
            check_items(items, path, &Shape::Text, problems);
            true
        }
        (Shape::Values, Value::Table(table)) => {
            check_arguments(table, path, problems);
            true
        }
        (Shape::Section(keys), Value::Table(table)) => {
            check(table, path, keys, problems);
            true
        }
        (Shape::Sections(keys), Value::Array(items)) => {
            check_items(items, path, &Shape::Section(keys), problems);
            true
        }
        (Shape::Each(key), Value::Table(table)) => {
            table.retain(|name, value| {
                check_value(value, &schema::join(path, name), &key.shape, problems)
            });
            true
        }
        (Shape::Texts, Value::Table(table)) => {
            table.retain(|name, value| {
                check_value(value, &schema::join(path, name), &Shape::Text, problems)
            });
            true
        }
        (_, value) => {
            problems.add(path, wrong_type(shape, value));
            false
        }
    }
}

/// Checks the items of a list. One of the wrong shape becomes an empty one of the right shape, so
/// that the others keep their indices.
fn check_items(items: &mut [Value], path: &str, shape: &Shape, problems: &mut Problems) {
    for (index, item) in items.iter_mut().enumerate() {
        if !check_value(item, &format!("{path}[{index}]"), shape, problems) {
            *item = match shape {
                Shape::Section(_) => Value::Table(Table::new()),
                _ => Value::String(String::new()),
            };
        }
    }
}

/// Reports the values that are no text, whole number or list of texts, and leaves them out.
fn check_arguments(table: &mut Table, path: &str, problems: &mut Problems) {
    table.retain(|name, value| {
        let fits = match value {
            Value::String(_) | Value::Integer(_) => true,
            Value::Array(items) => items.iter().all(Value::is_str),
            _ => false,
        };
        if !fits {
            let expected = "text, a whole number or a list of texts";
            let found = value.to_string();
            problems.add(&schema::join(path, name), Reason::WrongType { expected, found });
        }
        fits
    });
}

/// Reads what the environment or `--set` gives for a key: text as it stands, anything else as TOML.
pub(crate) fn value_of(raw: &str, shape: &Shape) -> Result<Value, Reason> {
    if let Shape::Section(keys) | Shape::Sections(keys) = shape {
        return Err(Reason::IsSection { keys: keys.iter().map(|key| key.name).collect() });
    }
    if matches!(shape, Shape::Values | Shape::Texts | Shape::Each(_)) {
        return Err(Reason::IsSection { keys: vec![] });
    }
    let as_text = || Value::String(raw.to_owned());
    let value = match shape {
        Shape::Text => as_text(),
        _ => raw.trim().parse::<Value>().unwrap_or_else(|_| as_text()),
    };
    let fits = match (shape, &value) {
        (Shape::TextList, Value::Array(items)) => items.iter().all(Value::is_str),
        (Shape::Text, Value::String(_))
        | (Shape::Integer, Value::Integer(_))
        | (Shape::Boolean, Value::Boolean(_)) => true,
        _ => false,
    };
    if fits { Ok(value) } else { Err(wrong_type(shape, &value)) }
}

fn wrong_type(shape: &Shape, value: &Value) -> Reason {
    let found = match value {
        Value::String(text) => format!("the text `{text}`"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(truth) => format!("{truth}"),
        Value::Datetime(datetime) => format!("the date {datetime}"),
        Value::Array(_) if matches!(shape, Shape::TextList) => {
            "a list with other values in it".to_owned()
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a section".to_owned(),
    };
    Reason::WrongType { expected: shape.expected(), found }
}
