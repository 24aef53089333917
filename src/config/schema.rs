//! The keys there are, what each holds, and how each is written: for unknown keys, wrong types and
//! the examples in messages. A test holds it against the structs of `file.rs`.

use super::checks::{CHECK_USE, CHECKS};
use super::contract::CONTRACT;
use super::reason::{Reason, Suggestion, nearest};

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// The value in TOML, for messages.
    value: &'static str,
}

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    TextList,
    Section(&'static [Key]),
    /// `[[name]]`: a list of sections.
    Sections(&'static [Key]),
    /// A section of sections under names of one's own, each of the same shape.
    Each(&'static Key),
    /// A section of texts under names of one's own.
    Texts,
    /// A section whose keys are not known here.
    Values,
}

impl Shape {
    /// What is expected, for a message.
    pub(crate) const fn expected(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::TextList => "a list of texts",
            Self::Section(_) | Self::Each(_) | Self::Texts | Self::Values => "a section",
            Self::Sections(_) => "a list of sections",
        }
    }

    /// The keys inside it; empty for a value.
    pub(crate) const fn keys(&self) -> &'static [Key] {
        match self {
            Self::Section(keys) | Self::Sections(keys) => keys,
            Self::Each(key) => std::slice::from_ref(key),
            Self::Text
            | Self::Integer
            | Self::Boolean
            | Self::TextList
            | Self::Texts
            | Self::Values => &[],
        }
    }
}

pub(crate) const fn text(name: &'static str, value: &'static str) -> Key {
    Key { name, shape: Shape::Text, value }
}

pub(crate) const fn integer(name: &'static str, value: &'static str) -> Key {
    Key { name, shape: Shape::Integer, value }
}

pub(crate) const fn boolean(name: &'static str, value: &'static str) -> Key {
    Key { name, shape: Shape::Boolean, value }
}

pub(crate) const fn text_list(name: &'static str, value: &'static str) -> Key {
    Key { name, shape: Shape::TextList, value }
}

const fn section(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, shape: Shape::Section(keys), value: "" }
}

pub(crate) const fn sections(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, shape: Shape::Sections(keys), value: "" }
}

pub(crate) const fn values(name: &'static str, value: &'static str) -> Key {
    Key { name, shape: Shape::Values, value }
}

/// The keys at the top of the file.
pub(crate) static ROOT: &[Key] = &[
    section("lake", LAKE),
    section("engine", ENGINE),
    section("retention", RETENTION),
    sections("feed", FEED),
    section("template", TEMPLATE),
    sections("client", CLIENT),
];

/// Sections that are written out as feeds before anything else is laid over the file.
pub(crate) const EXPANDED: [&str; 2] = ["template", "client"];

const TEMPLATE: &[Key] = &[sections("feed", FEED)];

const CLIENT: &[Key] = &[
    text("name", "\"acme\""),
    Key { name: "values", shape: Shape::Texts, value: "" },
    Key { name: "feed", shape: Shape::Each(&section("NAME", FEED)), value: "" },
];

const LAKE: &[Key] =
    &[text("url", "\"./lake\""), text("compression", "\"snappy\""), section("storage", STORAGE)];

const STORAGE: &[Key] = &[
    text("endpoint", "\"http://127.0.0.1:9000\""),
    text("region", "\"eu-central-1\""),
    text("access_key_id", "\"env:LAKE_KEY_ID\""),
    text("secret_access_key", "\"env:LAKE_KEY\""),
    text("session_token", "\"env:LAKE_TOKEN\""),
    boolean("allow_http", "true"),
    boolean("path_style", "true"),
    integer("retries", "8"),
];

const ENGINE: &[Key] = &[
    text("memory_limit", "\"4GiB\""),
    text("spill_dir", "\"/var/tmp/sessionlake\""),
    integer("threads", "4"),
];

const RETENTION: &[Key] =
    &[integer("raw_days", "14"), integer("removed_files_days", "7"), integer("log_days", "30")];

/// The keys of one `[[feed]]`.
pub(crate) const FEED: &[Key] = &[
    text("name", "\"events\""),
    text("path", "\"batches/{arrival_date}.csv\""),
    text("format", "\"csv\""),
    text_list("columns", "[\"user_id\", \"event_id\"]"),
    text("on_missing", "\"fail\""),
    section("contract", CONTRACT),
    section("event", EVENT),
    section("session", SESSION),
    section("window", WINDOW),
    section("checks", CHECKS),
];

const EVENT: &[Key] = &[
    text("user_id", "\"user_id\""),
    text("product_code", "\"product_code\""),
    text("event_id", "\"event_id\""),
    text("timestamp", "\"timestamp\""),
    text("timestamp_format", "\"%d/%m/%Y %H:%M:%S\""),
    text("zone", "\"UTC\""),
    text_list("attributes", "[\"country\", \"cast(price as double) as price\"]"),
];

const SESSION: &[Key] = &[
    text("user_action", "\"event_id in ('view', 'click')\""),
    text("opens_on", "\"is_user_action\""),
    text("closes_on", "\"event_id = 'logout'\""),
    text("timeout", "\"5m\""),
    text("max_duration", "\"2h\""),
];

const WINDOW: &[Key] = &[integer("update_depth_days", "5"), integer("lookback_days", "1")];

/// Every section but the top, by its path.
pub(crate) const SECTIONS: [(&str, &[Key]); 11] = [
    ("lake", LAKE),
    ("lake.storage", STORAGE),
    ("engine", ENGINE),
    ("retention", RETENTION),
    ("feed", FEED),
    ("feed.contract", CONTRACT),
    ("feed.event", EVENT),
    ("feed.session", SESSION),
    ("feed.window", WINDOW),
    ("feed.checks", CHECKS),
    ("feed.checks.use", CHECK_USE),
];

/// A name on the way that no key has.
#[derive(Debug)]
pub(crate) struct NoSuchKey<'n> {
    /// Path of the section it was looked for in; empty at the top.
    pub(crate) section: String,
    pub(crate) name: &'n str,
    pub(crate) known: &'static [Key],
}

/// Follows names such as `session`, `timeout` down from `keys`; `names` must not be empty.
pub(crate) fn find<'n>(
    keys: &'static [Key],
    names: &[&'n str],
) -> Result<&'static Key, NoSuchKey<'n>> {
    let (Some((&name, rest)), mut section) = (names.split_first(), String::new()) else {
        return Err(NoSuchKey { section: String::new(), name: "", known: keys });
    };
    let missing = |section, name, known| NoSuchKey { section, name, known };
    let mut key = named(keys, name).ok_or_else(|| missing(String::new(), name, keys))?;
    for &name in rest {
        section = join(&section, key.name);
        if let Shape::Each(each) = &key.shape {
            key = each;
            continue;
        }
        let known = key.shape.keys();
        key = named(known, name).ok_or_else(|| missing(section.clone(), name, known))?;
    }
    Ok(key)
}

/// The path of a name inside a section; either may be empty.
pub(crate) fn join(section: &str, name: &str) -> String {
    match (section, name) {
        ("", path) | (path, "") => path.to_owned(),
        _ => format!("{section}.{name}"),
    }
}

/// The key of that exact name.
pub(crate) fn named(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// How the key at a path such as `feed[0].session.timeout` is written; empty when there is none.
pub(crate) fn example(path: &str) -> String {
    let names: Vec<&str> =
        path.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect();
    match find(ROOT, &names) {
        Ok(Key { name, shape: Shape::Section(_), .. }) => format!("[{name}]"),
        Ok(Key { name, shape: Shape::Sections(_), .. }) => format!("[[{name}]]"),
        Ok(Key { name, value, .. }) => format!("{name} = {value}"),
        Err(_) => String::new(),
    }
}

/// Says that no key has this name, with the nearest that one does.
///
/// `section` is as a message shows it, such as `[feed.session]`.
pub(crate) fn unknown_key(name: &str, section: String, known: &[&'static Key]) -> Reason {
    let names: Vec<&'static str> = known.iter().map(|key| key.name).collect();
    let suggestion = elsewhere(name).or_else(|| {
        let key = nearest(name, names.iter().copied())?;
        Some(Suggestion { key: key.to_owned(), section: None })
    });
    Reason::UnknownKey { key: name.to_owned(), section, suggestion, known: names }
}

/// The section in which a key of this exact name does exist: in TOML a key written below the wrong
/// header is an easy slip.
fn elsewhere(name: &str) -> Option<Suggestion> {
    let (section, _) = SECTIONS.into_iter().find(|(_, keys)| named(keys, name).is_some())?;
    Some(Suggestion { key: name.to_owned(), section: Some(section) })
}

/// The header a section path such as `feed[0].session` has in the file.
pub(crate) fn header(section: &str) -> String {
    if section.is_empty() {
        return "the top level".to_owned();
    }
    let steps: Vec<&str> =
        section.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect();
    let names = steps.join(".");
    if section == "feed" || section.ends_with(']') || names.ends_with("feed.checks.use") {
        format!("[[{names}]]")
    } else {
        format!("[{names}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    /// The names the structs accept, from the message that refuses one they do not.
    fn accepted(document: &str) -> Vec<String> {
        let message = toml::from_str::<File>(document).unwrap_err().message().to_owned();
        let (_, list) = message.split_once("expected ").unwrap();
        list.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_keys_are_those_of_the_structs() {
        let sections = SECTIONS.map(|(section, keys)| match section.strip_prefix("feed.") {
            Some(_) => (format!("[[feed]]\n{}\nzzz = 1", header(section)), keys),
            None => (format!("{}\nzzz = 1", header(section)), keys),
        });
        for (document, keys) in sections.into_iter().chain([("zzz = 1".to_owned(), ROOT)]) {
            let names: Vec<&str> =
                keys.iter().map(|key| key.name).filter(|name| !EXPANDED.contains(name)).collect();
            assert_eq!(accepted(&document), names, "{document}");
        }
    }

    #[test]
    fn every_example_can_be_read() {
        let mut document = String::new();
        for (section, keys) in SECTIONS {
            document.push_str(&header(section));
            for key in keys.iter().filter(|key| key.shape.keys().is_empty()) {
                document.extend(["\n", key.name, " = ", key.value]);
            }
            document.push('\n');
        }
        toml::from_str::<File>(&document).unwrap();
    }

    #[test]
    fn examples_are_found_by_path() {
        assert_eq!(example("feed[3].session.timeout"), "timeout = \"5m\"");
        assert_eq!(example("feed[0]"), "[[feed]]");
        assert_eq!(example("nothing"), "");
    }

    #[test]
    fn headers_read_as_in_the_file() {
        assert_eq!(header(""), "the top level");
        assert_eq!(header("lake"), "[lake]");
        assert_eq!(header("lake.storage"), "[lake.storage]");
        assert_eq!(header("feed"), "[[feed]]");
        assert_eq!(header("feed[0]"), "[[feed]]");
        assert_eq!(header("feed[12].session"), "[feed.session]");
        assert_eq!(header("feed[0].checks.use[2]"), "[[feed.checks.use]]");
    }
}
