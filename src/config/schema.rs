//! The keys there are, what each holds, and how each is written: for unknown keys, wrong types, the
//! examples in messages and `config schema`. A test holds it against the structs of `file.rs`.

use super::checks::{CHECK_USE, CHECKS};
use super::contract::CONTRACT;
use super::reason::{Reason, Suggestion, nearest};

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// The value in TOML, for messages.
    pub(crate) value: &'static str,
    /// What it is, in a few words.
    pub(crate) about: &'static str,
    /// The value in TOML that stands for none.
    pub(crate) default: Option<&'static str>,
    /// The texts it may be; empty for any.
    pub(crate) one_of: &'static [&'static str],
    pub(crate) is_required: bool,
}

impl Key {
    const fn new(name: &'static str, shape: Shape, value: &'static str) -> Self {
        Self { name, shape, value, about: "", default: None, one_of: &[], is_required: false }
    }

    pub(crate) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    pub(crate) const fn one_of(self, one_of: &'static [&'static str]) -> Self {
        Self { one_of, ..self }
    }

    pub(crate) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }
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
    Key::new(name, Shape::Text, value)
}

pub(crate) const fn integer(name: &'static str, value: &'static str) -> Key {
    Key::new(name, Shape::Integer, value)
}

pub(crate) const fn boolean(name: &'static str, value: &'static str) -> Key {
    Key::new(name, Shape::Boolean, value)
}

pub(crate) const fn text_list(name: &'static str, value: &'static str) -> Key {
    Key::new(name, Shape::TextList, value)
}

const fn section(name: &'static str, keys: &'static [Key]) -> Key {
    Key::new(name, Shape::Section(keys), "")
}

pub(crate) const fn sections(name: &'static str, keys: &'static [Key]) -> Key {
    Key::new(name, Shape::Sections(keys), "")
}

pub(crate) const fn values(name: &'static str, value: &'static str) -> Key {
    Key::new(name, Shape::Values, value)
}

/// The keys at the top of the file.
pub(crate) static ROOT: &[Key] = &[
    section("lake", LAKE).about("Where the tables live."),
    section("engine", ENGINE).about("What a run may use of the machine."),
    section("retention", RETENTION).about("How long things are kept."),
    sections("feed", FEED).about("One source of events and its rules; written [[feed]]."),
    section("template", TEMPLATE).about("What the clients have in common."),
    sections("client", CLIENT)
        .about("A client that has a feed of each template; written [[client]]."),
];

/// Sections that are written out as feeds before anything else is laid over the file.
pub(crate) const EXPANDED: [&str; 2] = ["template", "client"];

const TEMPLATE: &[Key] = &[sections("feed", FEED).about(
    "A feed of every client, named CLIENT/NAME; {client} and the client's own values in braces \
     stand in any text. Written [[template.feed]].",
)];

const CLIENT: &[Key] = &[
    text("name", "\"acme\"")
        .about("Name of the client, of a-z, 0-9, `_` and `-`; its tables live under it.")
        .required(),
    Key::new("values", Shape::Texts, "").about("What names in braces stand for in the templates."),
    Key::new("feed", Shape::Each(&section("NAME", FEED)), "")
        .about("Keys of a template that differ for this client, by the template's name."),
];

const LAKE: &[Key] = &[
    text("url", "\"./lake\"")
        .about("Where the tables live: a folder, or s3://bucket/prefix.")
        .default("\"./lake\""),
    text("compression", "\"snappy\"")
        .about("Codec of new data files; zstd makes them a seventh smaller.")
        .default("\"snappy\"")
        .one_of(&["snappy", "lz4_raw", "zstd"]),
    section("storage", STORAGE)
        .about("The server of an s3:// lake; what is not set comes from AWS_* in the environment."),
];

const STORAGE: &[Key] = &[
    text("endpoint", "\"http://127.0.0.1:9000\"").about("URL of the server; unset: AWS."),
    text("region", "\"eu-central-1\"").about("Region of the bucket; unset: us-east-1."),
    text("access_key_id", "\"env:LAKE_KEY_ID\"")
        .about("Whose requests these are; with its secret, or neither."),
    text("secret_access_key", "\"env:LAKE_KEY\"").about("The secret of access_key_id."),
    text("session_token", "\"env:LAKE_TOKEN\"").about("Token of temporary credentials."),
    boolean("allow_http", "true").about("A server without TLS."),
    boolean("path_style", "true").about("The bucket in the path, not in the name of the host."),
    integer("retries", "8").about("How often a busy or unreachable store is asked again."),
];

const ENGINE: &[Key] = &[
    text("memory_limit", "\"4GiB\"").about(
        "What the engine may use before it spills; unset: half of the memory of the machine.",
    ),
    text("spill_dir", "\"/var/tmp/sessionlake\"")
        .about("Folder where it spills; unset: the system's temporary folder."),
    integer("threads", "4").about("Worker threads; unset: one per core."),
];

const RETENTION: &[Key] = &[
    integer("raw_days", "14")
        .about("Days of arrival dates kept in raw and quarantine.")
        .default("14"),
    integer("removed_files_days", "7")
        .about("Days a data file stays on the store after it left its table.")
        .default("7"),
    integer("log_days", "30").about("Days a commit stays in a table's log.").default("30"),
];

/// The keys of one `[[feed]]`.
pub(crate) const FEED: &[Key] = &[
    text("name", "\"events\"")
        .about("Names the feed's tables, raw/events and so on; of a-z, 0-9, `_` and `-`.")
        .required(),
    text("path", "\"batches/{arrival_date}.csv\"")
        .about("One or more files per arrival date, globs allowed, s3:// too.")
        .required(),
    text("format", "\"csv\"")
        .about("How the files are written; unset: as the ending of path says.")
        .one_of(&["csv", "jsonl", "parquet"]),
    text_list("columns", "[\"user_id\", \"event_id\"]")
        .about("Columns raw keeps as columns; unset: those the expressions name."),
    text("on_missing", "\"fail\"")
        .about("What a date without any file means.")
        .default("\"fail\"")
        .one_of(&["fail", "ok"]),
    section("contract", CONTRACT)
        .about("What files and rows must hold; what breaks it is rejected, kept and named."),
    section("event", EVENT)
        .about("How a delivered row becomes an event: SQL expressions over its columns.")
        .required(),
    section("session", SESSION)
        .about("How events become sessions: SQL expressions over the columns of ODS."),
    section("window", WINDOW).about("Which event dates a delivery may change."),
    section("marts", MARTS).about("What the tables that follow from ODS hold."),
    section("checks", CHECKS).about("Queries that return offending rows."),
];

const EVENT: &[Key] = &[
    text("user_id", "\"user_id\"").about("Whose event it is.").required(),
    text("product_code", "\"product_code\"")
        .about("Where it happened, or a literal such as \"'web'\".")
        .required(),
    text("event_id", "\"event_id\"").about("What happened.").required(),
    text("timestamp", "\"timestamp\"")
        .about("When it happened: RFC 3339, SQL or timestamp_format, or an expression.")
        .required(),
    text("timestamp_format", "\"%d/%m/%Y %H:%M:%S\"")
        .about("Pattern of the timestamp's text; unset: RFC 3339 or SQL."),
    text("zone", "\"UTC\"")
        .about("Time zone of timestamps without one, and of the event date.")
        .default("\"UTC\""),
    text_list("attributes", "[\"country\", \"cast(price as double) as price\"]")
        .about("Further columns to carry through.")
        .default("[]"),
];

const SESSION: &[Key] = &[
    text("user_action", "\"event_id in ('view', 'click')\"")
        .about("Which events are the user's own doing.")
        .default("\"true\""),
    text("opens_on", "\"is_user_action\"")
        .about("Which events open a session; \"true\": any.")
        .default("\"is_user_action\""),
    text("closes_on", "\"event_id = 'logout'\"")
        .about("Which events end their session.")
        .default("\"false\""),
    text("timeout", "\"5m\"")
        .about("Longest silence inside a session; at most lookback_days x 24 h.")
        .default("\"5m\""),
    text("max_duration", "\"2h\"").about("Longest session; \"\": without a limit.").default("\"\""),
];

const WINDOW: &[Key] = &[
    integer("update_depth_days", "5")
        .about("Oldest event date a delivery may bring, in days before its arrival.")
        .default("5"),
    integer("lookback_days", "1")
        .about("How far back a user's previous event is looked for, in days of 24 h.")
        .default("1"),
];

const MARTS: &[Key] = &[text("distinct", "\"country\"")
    .about("An attribute whose distinct values each row of sessions lists; \"\": none.")
    .default("\"\"")];

/// Every section but the top, by its path.
pub(crate) const SECTIONS: [(&str, &[Key]); 12] = [
    ("lake", LAKE),
    ("lake.storage", STORAGE),
    ("engine", ENGINE),
    ("retention", RETENTION),
    ("feed", FEED),
    ("feed.contract", CONTRACT),
    ("feed.event", EVENT),
    ("feed.session", SESSION),
    ("feed.window", WINDOW),
    ("feed.marts", MARTS),
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
