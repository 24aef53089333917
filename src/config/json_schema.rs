//! The JSON Schema of the configuration file, for editors and pipelines, from the table of keys.

use serde_json::{Map, Value, json};

use super::schema::{self, Key, Shape};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Which keys of a section must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// Those without a default.
    AsDeclared,
    /// None: what is left out stands in a template.
    Nothing,
}

/// The JSON Schema (draft 2020-12) of `sessionlake.toml`. A file that is laid over another one may
/// leave out what the schema requires.
pub fn json_schema() -> Value {
    let mut root = section(schema::ROOT, Needed::AsDeclared);
    root["$schema"] = json!(DIALECT);
    root["title"] = json!("sessionlake.toml");
    root["anyOf"] = json!([{ "required": ["feed"] }, { "required": ["template", "client"] }]);
    root["$defs"] = json!({
        "feed": section(schema::FEED, Needed::AsDeclared),
        "feed_of_client": section(schema::FEED, Needed::Nothing),
    });
    root
}

fn section(keys: &[Key], needed: Needed) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), described(key, needed))).collect();
    let mut section =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let required: Vec<&str> =
        keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
    if needed == Needed::AsDeclared && !required.is_empty() {
        section["required"] = json!(required);
    }
    section
}

fn described(key: &Key, needed: Needed) -> Value {
    let mut described = shape(&key.shape, needed);
    described["description"] = json!(key.about);
    if let Some(default) = key.default.and_then(read) {
        described["default"] = default;
    }
    if !key.one_of.is_empty() {
        described["enum"] = json!(key.one_of);
    }
    if let Some(example) = read(key.value) {
        described["examples"] = json!([example]);
    }
    described
}

fn shape(shape: &Shape, needed: Needed) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::TextList => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Section(keys) => one(keys, needed),
        Shape::Sections(keys) => json!({ "type": "array", "items": one(keys, needed) }),
        Shape::Each(key) => json!({
            "type": "object",
            "additionalProperties": self::shape(&key.shape, Needed::Nothing),
        }),
        Shape::Texts => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Shape::Values => json!({ "type": "object" }),
    }
}

/// A section; those of a feed stand under `$defs`, where the root puts them.
fn one(keys: &'static [Key], needed: Needed) -> Value {
    match needed {
        _ if !is_feed(keys) => section(keys, needed),
        Needed::AsDeclared => json!({ "$ref": "#/$defs/feed" }),
        Needed::Nothing => json!({ "$ref": "#/$defs/feed_of_client" }),
    }
}

fn is_feed(keys: &[Key]) -> bool {
    keys.iter().map(|key| key.name).eq(schema::FEED.iter().map(|key| key.name))
}

/// A value as TOML writes it.
fn read(value: &str) -> Option<Value> {
    let document: toml::Table = toml::from_str(&format!("value = {value}")).ok()?;
    serde_json::to_value(document.get("value")?).ok()
}
