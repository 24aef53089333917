//! `[[client]]` times `[[template.feed]]`: each client's feeds, written out as `[[feed]]` would be.
//!
//! The rest of the program sees feeds alone. What it reports about one of these is reported about
//! the place where it was written: the template, or the client's own section.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use toml::{Table, Value};

use super::overlay::{self, Graft};
use super::problems::Problems;
use super::reason::{Reason, nearest};
use super::secret::Reference;
use super::written::Origins;
use super::{ARRIVAL_DATE, feed_names, schema};

/// Placeholders that the program fills in, so that no value of a client can be called so.
const RESERVED: [&str; 2] = ["client", "arrival_date"];

static PLACEHOLDER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{([A-Za-z_][A-Za-z0-9_]*)\}").ok());

/// Writes out the feeds of every client and takes the clients and templates out of `table`, whose
/// shapes were checked before.
pub(crate) fn expand(table: &mut Table, problems: &mut Problems) {
    let clients = tables(table.remove("client"));
    let templates = table
        .remove("template")
        .and_then(|mut section| section.as_table_mut().and_then(|section| section.remove("feed")));
    let templates = templates_of(tables(templates), problems);
    if clients.is_empty() {
        return;
    }
    if templates.is_empty() {
        problems.add("client", Reason::NoTemplate);
        return;
    }
    let mut feeds = match table.remove("feed") {
        Some(Value::Array(feeds)) => feeds,
        _ => Vec::new(),
    };
    let written = problems.origins.clone();
    for client in clients_of(clients, &templates, problems) {
        for template in &templates {
            let at = format!("feed[{}]", feeds.len());
            feeds.push(Value::Table(client.feed(template, &at, &written, problems)));
        }
    }
    table.insert("feed".to_owned(), Value::Array(feeds));
}

struct Template {
    at: String,
    name: String,
    feed: Table,
}

struct Client {
    at: String,
    name: String,
    values: BTreeMap<String, String>,
    overrides: Table,
}

impl Client {
    /// The feed that the template gives for this client, standing at the path `at` from now on.
    fn feed(
        &self,
        template: &Template,
        at: &str,
        written: &Origins,
        problems: &mut Problems,
    ) -> Table {
        let mut feed = template.feed.clone();
        let graft = Graft { from: written, shown: true };
        problems.origins.graft(&graft, &template.at, at);
        if let Some(Value::Table(own)) = self.overrides.get(&template.name) {
            let own_at = format!("{}.feed.{}", self.at, template.name);
            overlay::lay(&mut feed, at, own, &own_at, &graft, &mut problems.origins);
        }
        self.fill_table(&mut feed, at, problems);
        let name = Value::String(format!("{}/{}", self.name, template.name));
        feed.insert("name".to_owned(), name);
        problems.origins.graft(&graft, &format!("{}.name", self.at), &format!("{at}.name"));
        feed
    }

    fn fill_table(&self, table: &mut Table, at: &str, problems: &mut Problems) {
        for (key, value) in table.iter_mut() {
            self.fill(value, &schema::join(at, key), problems);
        }
    }

    fn fill(&self, value: &mut Value, at: &str, problems: &mut Problems) {
        match value {
            Value::String(text) => match self.filled(text) {
                Ok(filled) => *text = filled,
                Err(reason) => problems.add(at, reason),
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.fill(item, &format!("{at}[{index}]"), problems);
                }
            }
            Value::Table(table) => self.fill_table(table, at, problems),
            _ => {}
        }
    }

    /// The text with the client's values in the place of their placeholders. What is in a value is
    /// not looked at again.
    fn filled(&self, text: &str) -> Result<String, Reason> {
        let Some(placeholder) = PLACEHOLDER.as_ref() else {
            return Ok(text.to_owned());
        };
        let mut filled = String::with_capacity(text.len());
        let mut end = 0;
        for found in placeholder.captures_iter(text) {
            let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else { continue };
            filled.push_str(&text[end..whole.start()]);
            filled.push_str(match name.as_str() {
                "client" => &self.name,
                "arrival_date" => ARRIVAL_DATE,
                key => self.value(key, whole.as_str() == text)?,
            });
            end = whole.end();
        }
        filled.push_str(&text[end..]);
        Ok(filled)
    }

    /// A value, which may name another only where it is the whole text.
    fn value(&self, key: &str, is_whole: bool) -> Result<&str, Reason> {
        let value = self.values.get(key).ok_or_else(|| self.unknown(key))?;
        if is_whole || Reference::parse(value, Path::new("")).is_none() {
            Ok(value)
        } else {
            Err(Reason::ReferenceInText { key: key.to_owned(), client: self.name.clone() })
        }
    }

    fn unknown(&self, key: &str) -> Reason {
        let known = RESERVED.into_iter().chain(self.values.keys().map(String::as_str));
        Reason::UnknownClientValue {
            placeholder: format!("{{{key}}}"),
            client: self.name.clone(),
            suggestion: nearest(key, known.clone()).map(|key| format!("{{{key}}}")),
            known: known.map(|key| format!("{{{key}}}")).collect(),
        }
    }
}

fn templates_of(tables: Vec<Table>, problems: &mut Problems) -> Vec<Template> {
    let mut templates: Vec<Template> = Vec::new();
    for (index, feed) in tables.into_iter().enumerate() {
        let at = format!("template.feed[{index}]");
        let taken = templates.iter().map(|template| (template.name.as_str(), &template.at));
        if let Some(name) = name_of(&feed, &at, taken, problems) {
            templates.push(Template { at, name, feed });
        }
    }
    templates
}

fn clients_of(tables: Vec<Table>, templates: &[Template], problems: &mut Problems) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for (index, mut table) in tables.into_iter().enumerate() {
        let at = format!("client[{index}]");
        let taken = clients.iter().map(|client| (client.name.as_str(), &client.at));
        let name = name_of(&table, &at, taken, problems);
        let values = values(table.remove("values"), &at, problems);
        let overrides = match table.remove("feed") {
            Some(Value::Table(overrides)) => overrides,
            _ => Table::new(),
        };
        for (wanted, own) in &overrides {
            check_override(wanted, own, &format!("{at}.feed.{wanted}"), templates, problems);
        }
        if let Some(name) = name {
            clients.push(Client { at, name, values, overrides });
        }
    }
    clients
}

/// The name of a client or template, which no other one has.
fn name_of<'t>(
    table: &Table,
    at: &str,
    mut taken: impl Iterator<Item = (&'t str, &'t String)>,
    problems: &mut Problems,
) -> Option<String> {
    let name = table.get("name").and_then(Value::as_str);
    let reason = match name {
        None => Reason::Missing,
        Some(name) if !feed_names::is_segment(name) => {
            Reason::BadClientName { name: name.to_owned() }
        }
        Some(name) => match taken.find(|(other, _)| *other == name) {
            None => return Some(name.to_owned()),
            Some((_, first)) => Reason::ClientTaken { name: name.to_owned(), first: first.clone() },
        },
    };
    problems.add(&format!("{at}.name"), reason);
    None
}

fn values(section: Option<Value>, at: &str, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some(Value::Table(section)) = section else {
        return values;
    };
    for (key, value) in section {
        let at = format!("{at}.values.{key}");
        match value {
            _ if RESERVED.contains(&key.as_str()) => {
                problems.add(&at, Reason::ReservedPlaceholder { key });
            }
            Value::String(text) => {
                values.insert(key, text);
            }
            _ => {}
        }
    }
    values
}

/// A client's own keys must be those of a template that exists.
fn check_override(
    wanted: &str,
    own: &Value,
    at: &str,
    templates: &[Template],
    problems: &mut Problems,
) {
    let known: Vec<String> = templates.iter().map(|template| template.name.clone()).collect();
    if !known.iter().any(|name| name == wanted) {
        let suggestion = nearest(wanted, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        problems.add(at, Reason::UnknownTemplate { name: wanted.to_owned(), suggestion, known });
    }
    if own.get("name").is_some() {
        problems.add(&format!("{at}.name"), Reason::NameInOverride);
    }
}

fn tables(list: Option<Value>) -> Vec<Table> {
    let Some(Value::Array(items)) = list else {
        return Vec::new();
    };
    items.into_iter().map(|item| item.try_into().unwrap_or_default()).collect()
}
