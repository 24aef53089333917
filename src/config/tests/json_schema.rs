//! The JSON Schema against the table of keys, and against configurations that are accepted.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::json_schema;
use super::super::schema::{self, Key, Shape};
use super::{SHORTEST, read, two_feeds};

/// What of a value the schema refuses, for the words of it that we write.
fn refused(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let definition = root.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return refused(root, definition, value, at);
    }
    let is_type = match schema["type"].as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let is_allowed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let mut found = Vec::new();
    if !is_type || !is_allowed {
        found.push(format!("{at}: {value}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(refused(root, &schema["items"], item, &format!("{at}[{index}]")));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(at),
            (Value::Null, Value::Null) => {}
            (Value::Null, of_each) => found.extend(refused(root, of_each, inner, &at)),
            (of_key, _) => found.extend(refused(root, of_key, inner, &at)),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{at}.{} is missing", name.as_str().unwrap()));
        }
    }
    let any = |ways: &Vec<Value>| {
        ways.iter().any(|way| {
            let mut names = way["required"].as_array().unwrap().iter();
            names.all(|name| value.get(name.as_str().unwrap()).is_some())
        })
    };
    if schema["anyOf"].as_array().is_some_and(|ways| !any(ways)) {
        found.push(format!("{at}: none of anyOf"));
    }
    found
}

fn refused_of(text: &str) -> Vec<String> {
    let value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    let schema = json_schema();
    refused(&schema, &schema, &value, "")
}

#[test]
fn accepted_configurations_satisfy_the_schema() {
    let sample = include_str!("../../../sessionlake.toml");
    let uncommented: Vec<&str> = sample
        .lines()
        .map(|line| {
            let is_toml = |rest: &&str| rest.contains(" = ") || rest.starts_with('[');
            line.strip_prefix("# ").filter(is_toml).unwrap_or(line)
        })
        .collect();
    for text in [sample, &uncommented.join("\n"), SHORTEST, &two_feeds(), super::clients::CLIENTS] {
        assert_eq!(refused_of(text), Vec::<String>::new(), "{text}");
        read(text);
    }
}

#[test]
fn rules_of_test_cases_satisfy_the_schema() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut tried = 0;
    for case in fs::read_dir(cases).unwrap() {
        let Ok(text) = fs::read_to_string(case.unwrap().path().join("feed.toml")) else { continue };
        // Such a file holds what differs from a feed, as the keys of a client do.
        let rules = format!("\n{text}").replace("\n[", "\n[client.feed.events.");
        let text = format!("{SHORTEST}[[client]]\nname = \"acme\"\n{rules}");
        assert_eq!(refused_of(&text), Vec::<String>::new(), "{text}");
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn what_the_program_refuses_the_schema_refuses() {
    for (from, to, said) in [
        ("name = \"events\"\n", "", ".feed[0].name is missing"),
        ("user_id = \"user_id\"\n", "", ".feed[0].event.user_id is missing"),
        ("name = \"events\"", "name = 1", ".feed[0].name: 1"),
        ("name = \"events\"", "name = \"events\"\nformat = \"xml\"", ".feed[0].format: \"xml\""),
        ("name = \"events\"", "nam = \"events\"\nname = \"events\"", ".feed[0].nam"),
    ] {
        assert!(SHORTEST.contains(from), "{from}");
        assert_eq!(refused_of(&SHORTEST.replacen(from, to, 1)), [said]);
    }
    let of_client = super::clients::CLIENTS.replace("timeout = \"10m\"", "timeot = \"10m\"");
    assert_eq!(refused_of(&of_client), [".client[0].feed.events.session.timeot"]);
    assert_eq!(refused_of("[lake]\nurl = \"x\"\n"), [": none of anyOf"]);
}

/// Every key with the path of its schema.
fn keys(keys: &'static [Key], at: &str, all: &mut Vec<(String, &'static Key)>) {
    for key in keys {
        let path = format!("{at}/properties/{}", key.name);
        let inside = match &key.shape {
            Shape::Sections(_) if key.name == "feed" => "/$defs/feed".to_owned(),
            Shape::Sections(_) => format!("{path}/items"),
            _ => path.clone(),
        };
        if !matches!(key.shape, Shape::Each(_)) {
            self::keys(key.shape.keys(), &inside, all);
        }
        all.push((path, key));
    }
}

#[test]
fn every_key_is_there_with_what_it_is() {
    let schema = json_schema();
    let mut all = Vec::new();
    keys(schema::ROOT, "", &mut all);
    assert!(all.len() > 40);
    for (path, key) in all {
        let described = schema.pointer(&path).unwrap_or_else(|| panic!("{path}"));
        let about = described["description"].as_str().unwrap();
        assert!(about.ends_with('.') && !about.contains('\n'), "{path}: {about:?}");
        for default in key.default.iter().filter(|_| !key.one_of.is_empty()) {
            assert!(key.one_of.contains(&default.trim_matches('"')), "{path}");
        }
        let values = described["examples"].as_array().into_iter().flatten();
        for value in values.chain(described.get("default")) {
            assert_eq!(refused(&schema, described, value, &path), Vec::<String>::new());
        }
    }
}

#[test]
fn defaults_are_those_of_the_program() {
    let mut text = SHORTEST.to_owned();
    for (section, keys) in schema::SECTIONS {
        let of_feed = section.strip_prefix("feed.");
        if section == "feed.checks.use" || section == "feed" || section == "feed.event" {
            continue;
        }
        let defaults = keys.iter().filter_map(|key| Some((key.name, key.default?)));
        let lines: Vec<String> =
            defaults.map(|(name, value)| format!("{name} = {value}")).collect();
        let header = format!("[{section}]\n{}\n", lines.join("\n"));
        text =
            if of_feed.is_some() { format!("{text}\n{header}") } else { format!("{header}{text}") };
    }
    let of = |keys: &'static [Key]| {
        let written = keys.iter().filter(|key| !SHORTEST.contains(&format!("{} = ", key.name)));
        let defaults = written.filter_map(|key| Some(format!("{} = {}", key.name, key.default?)));
        defaults.collect::<Vec<_>>().join("\n")
    };
    let event = schema::named(schema::FEED, "event").unwrap().shape.keys();
    text =
        text.replace("[feed.event]", &format!("{}\n[feed.event]\n{}", of(schema::FEED), of(event)));
    assert_eq!(read(&text), read(SHORTEST), "{text}");
}
