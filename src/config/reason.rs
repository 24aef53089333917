//! What can be wrong with a value, and what to do next about each.

use std::io;
use std::path::PathBuf;

use super::check_fault::CheckFault;
use super::secret::{BadReference, Unresolved};
use super::{schema, units};

/// What is wrong with one value. The message of each variant says what its fields hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("unknown key `{key}` in {section}")]
    UnknownKey {
        key: String,
        section: String,
        suggestion: Option<Suggestion>,
        known: Vec<&'static str>,
    },
    #[error("no feed is called `{name}`")]
    UnknownFeed { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("the feeds {} share this name in the environment", feeds.join(" and "))]
    AmbiguousFeed { feeds: Vec<String> },
    #[error("this is a section, not a key")]
    IsSection { keys: Vec<&'static str> },
    #[error("there is no `=` in it")]
    NoEqualsSign,
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: String },
    #[error("cannot be read: {}", cause.message())]
    DoesNotFit { cause: Box<toml::de::Error> },
    #[error("missing")]
    Missing,
    #[error("empty")]
    Empty,
    #[error("{value} is out of range")]
    OutOfRange { value: i64, least: i64, most: i64 },
    #[error("`{value}` is not {}", either(allowed))]
    NotOneOf { value: String, allowed: Vec<&'static str>, suggestion: Option<String> },
    #[error("`{value}` is not a duration: {cause}")]
    NotADuration { value: String, cause: humantime::DurationError },
    #[error("`{value}` is not a positive number of whole microseconds that a timestamp can hold")]
    UnusableDuration { value: String },
    #[error(
        "{} is longer than lookback_days = {lookback_days} x 24 h",
        units::format_micros(*timeout_micros)
    )]
    TimeoutBeyondLookback { timeout_micros: i64, lookback_days: u32, days_needed: i64 },
    #[error("`{value}` is not a size")]
    NotASize { value: String },
    #[error("`{value}` is not a share")]
    NotAShare { value: String },
    #[error("`{value}` is less than {}", units::format_bytes(*least_bytes))]
    TooSmall { value: String, least_bytes: u64 },
    #[error("`{value}` is not an IANA time zone")]
    UnknownZone { value: String, suggestion: Option<String> },
    #[error("`{value}` is not a timestamp pattern")]
    BadTimestampFormat { value: String },
    #[error("the ending of `{path}` does not tell the format")]
    FormatNotInferred { path: String },
    #[error("`{path}` has no {{arrival_date}} in it")]
    NoArrivalDate { path: String },
    #[error("unknown placeholder `{placeholder}`")]
    UnknownPlaceholder { placeholder: String },
    #[error("`{scheme}://` is not a kind of location that is known")]
    UnknownScheme { scheme: String },
    #[error("`{url}` names no bucket")]
    NoBucket { url: String },
    #[error("`{name}` is not a feed name")]
    BadFeedName { name: String },
    #[error("feed[{first}] is called `{name}` too")]
    FeedNameTaken { name: String, first: usize },
    #[error("the client `{client}` is also the name of {other}")]
    ClientNameTaken { client: String, other: &'static str },
    #[error("`{name}` is not the name of a client or a template")]
    BadClientName { name: String },
    #[error("{first} is called `{name}` too")]
    ClientTaken { name: String, first: String },
    #[error("there is no template for the feeds of clients")]
    NoTemplate,
    #[error("no [[template.feed]] is called `{name}`")]
    UnknownTemplate { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("a client's feed is called as its template is")]
    NameInOverride,
    #[error("`{{{key}}}` is filled in by the program")]
    ReservedPlaceholder { key: String },
    #[error("unknown placeholder `{placeholder}` for the client {client}")]
    UnknownClientValue {
        placeholder: String,
        client: String,
        suggestion: Option<String>,
        known: Vec<String>,
    },
    #[error("[{section}] can only be written in a file")]
    OnlyInFile { section: String },
    #[error("there is no feed")]
    NoFeed,
    #[error("`{entry}` is an expression without a name")]
    NamelessAttribute { entry: String },
    #[error("`{name}` is no attribute of the feed")]
    UnknownAttribute { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("the name `{name}` starts with `_`, as only columns of the lake do")]
    NameStartsWithUnderscore { name: String },
    #[error("the name `{name}` is a column of {table} already")]
    ReservedName { name: String, table: &'static str },
    #[error("the name `{name}` is taken by entry [{first}] (letters' case does not count)")]
    NameTaken { name: String, first: usize },
    #[error("{file}, line {line}: {fault}")]
    BadCheck { file: String, line: usize, fault: CheckFault },
    #[error("cannot read the folder {}: {kind}", folder.display())]
    NoChecks { folder: PathBuf, kind: io::ErrorKind },
    #[error("no check is called `{name}`")]
    UnknownCheck { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("the check `{check}` has parameters")]
    CheckNeedsParameters { check: String },
    #[error("`{name}` is not a name for a check")]
    BadCheckName { name: String },
    #[error("another check is called `{name}`")]
    CheckNameTaken { name: String },
    #[error("the check has no parameter `{name}`")]
    UnknownParameter { name: String, known: Vec<String> },
    #[error("the parameter `{name}` ({kind}) is missing")]
    MissingParameter { name: String, kind: &'static str },
    #[error(transparent)]
    BadReference(BadReference),
    #[error(transparent)]
    Unresolved(Unresolved),
    #[error(
        "the lake records names, columns and rules for all who read it, so no secret can stand here"
    )]
    RecordedReference,
    #[error("the value `{key}` of the client {client} is a reference, and no part of a text")]
    ReferenceInText { key: String, client: String },
    #[error("the value of {reference} cannot be used here")]
    UnusableReferenced { reference: String },
    #[error("a credential is text in quotation marks")]
    CredentialNotText,
    #[error("this is no credential: it has more than printable ASCII in it")]
    NoCredential,
    #[error("everyone on this machine can see a credential in an argument")]
    CredentialInArgument,
}

/// The key that was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suggestion {
    pub(crate) key: String,
    /// The section it belongs in, such as `feed.session`, when that is another one.
    pub(crate) section: Option<&'static str>,
}

impl Reason {
    /// What to do about it; `example` shows how the key is written.
    pub(crate) fn next_step(&self, example: &str) -> String {
        match self {
            Self::UnknownKey { suggestion, known, .. } => match suggestion {
                Some(Suggestion { key, section: Some(section) }) => {
                    format!("did you mean `{key}` in {}?", schema::header(section))
                }
                Some(Suggestion { key, section: None }) => format!("did you mean `{key}`?"),
                None => format!("the keys there are {}", joined(known)),
            },
            Self::UnknownFeed { suggestion, known, .. } => {
                did_you_mean(suggestion.as_ref(), || format!("the feeds are {}", joined(known)))
            }
            Self::UnknownTemplate { suggestion, known, .. } => {
                did_you_mean(suggestion.as_ref(), || format!("the templates are {}", joined(known)))
            }
            Self::UnknownClientValue { suggestion, known, .. } => {
                did_you_mean(suggestion.as_ref(), || {
                    format!("add it to [client.values]; there are {}", joined(known))
                })
            }
            Self::NotOneOf { suggestion, .. } | Self::UnknownZone { suggestion, .. } => {
                did_you_mean(suggestion.as_ref(), || format!("write for example `{example}`"))
            }
            Self::UnknownAttribute { known, .. } if known.is_empty() => {
                "declare it in `attributes` of [feed.event]".to_owned()
            }
            Self::UnknownAttribute { suggestion, known, .. } => {
                did_you_mean(suggestion.as_ref(), || {
                    format!("the attributes are {}", joined(known))
                })
            }
            Self::BadCheck { fault, .. } => fault.next_step(),
            Self::UnknownCheck { suggestion, known, .. } => {
                did_you_mean(suggestion.as_ref(), || format!("the checks are {}", joined(known)))
            }
            Self::UnknownParameter { known, .. } if known.is_empty() => {
                "it has none: leave `with` out".to_owned()
            }
            Self::UnknownParameter { known, .. } => {
                format!("its parameters are {}", joined(known))
            }
            Self::MissingParameter { name, .. } => format!("add it to `with = {{ {name} = ... }}`"),
            Self::AmbiguousFeed { .. } => "use --set NAME:KEY=VALUE or rename one".to_owned(),
            Self::IsSection { keys } => format!("name one of its keys: {}", joined(keys)),
            Self::NoEqualsSign => "write for example `--set session.timeout=10m`".to_owned(),
            Self::Missing => format!("add for example `{example}`"),
            Self::OutOfRange { least, most, .. } => {
                format!("write a whole number from {least} to {most}")
            }
            Self::TimeoutBeyondLookback { days_needed, .. } => longer_lookback(*days_needed),
            Self::BadTimestampFormat { .. } => format!(
                "write for example `{example}`; \
                 the parts are listed at https://docs.rs/chrono/latest/chrono/format/strftime/"
            ),
            Self::BadReference(bad) => bad.next_step().to_owned(),
            Self::Unresolved(unresolved) => unresolved.next_step(),
            _ => self.fixed_step(example),
        }
    }

    /// The steps that depend on nothing the reason holds.
    fn fixed_step(&self, example: &str) -> String {
        match self {
            Self::TooSmall { .. } => "give it more, with a unit such as MB or GiB".to_owned(),
            Self::NotAShare { .. } => {
                "write a percentage from 0% to 100%, such as \"0.5%\"".to_owned()
            }
            Self::FormatNotInferred { .. } => {
                "add `format = \"csv\"`, `format = \"jsonl\"` or `format = \"parquet\"`".to_owned()
            }
            Self::NoArrivalDate { .. } => {
                "put {arrival_date} where a file's date stands".to_owned()
            }
            Self::UnknownPlaceholder { .. } => "the only one is {arrival_date}".to_owned(),
            Self::UnknownScheme { .. } => "write a path or s3://bucket/prefix".to_owned(),
            Self::NoBucket { .. } => "write s3://bucket/prefix".to_owned(),
            Self::BadFeedName { .. } => {
                "use a-z, 0-9, `_` and `-`, with one `/` after the client's name if there is one"
                    .to_owned()
            }
            Self::FeedNameTaken { .. }
            | Self::ClientNameTaken { .. }
            | Self::ClientTaken { .. } => "rename one".to_owned(),
            Self::BadClientName { .. } => "use a-z, 0-9, `_` and `-`".to_owned(),
            Self::NoTemplate => "add a [[template.feed]] section".to_owned(),
            Self::NameInOverride => "remove it".to_owned(),
            Self::ReservedPlaceholder { .. } => "choose another name for the value".to_owned(),
            Self::OnlyInFile { .. } => "for one feed use --set CLIENT/FEED:KEY=VALUE".to_owned(),
            Self::NoFeed => "add a [[feed]] section with name, path and [feed.event]".to_owned(),
            Self::NamelessAttribute { .. } => "add a name: `expression as name`".to_owned(),
            Self::NameStartsWithUnderscore { .. } | Self::ReservedName { .. } => {
                "choose another name: `expression as name`".to_owned()
            }
            Self::NameTaken { .. } => "rename or remove one".to_owned(),
            Self::NoChecks { .. } => "create it, or remove `folder`".to_owned(),
            Self::CheckNeedsParameters { .. } => {
                "give them in a [[feed.checks.use]] section".to_owned()
            }
            Self::BadCheckName { .. } => "use a-z, 0-9 and `_`, a letter first".to_owned(),
            Self::ReferenceInText { .. } => {
                "let the placeholder be the whole text, or write the value itself".to_owned()
            }
            Self::RecordedReference => "write the value itself".to_owned(),
            Self::CredentialInArgument => "give `env:NAME` or `file:PATH` in its place".to_owned(),
            Self::CheckNameTaken { .. } => "add another `name` to this use of it".to_owned(),
            _ => format!("write for example `{example}`"),
        }
    }
}

fn did_you_mean(suggestion: Option<&String>, otherwise: impl FnOnce() -> String) -> String {
    suggestion.map_or_else(otherwise, |suggestion| format!("did you mean `{suggestion}`?"))
}

fn longer_lookback(days_needed: i64) -> String {
    if days_needed > 31 {
        "shorten it: the longest lookback_days is 31".to_owned()
    } else {
        format!("shorten it or set `lookback_days = {days_needed}` in [feed.window]")
    }
}

fn joined<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

/// `snappy, lz4_raw or zstd`
fn either(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", joined(first)),
        _ => names.concat(),
    }
}

/// The known name nearest to a mistyped one, if one is near. The case of letters does not count.
///
/// One slip is always near; beyond it the beginning of a name weighs more than its end, so that
/// `memory` is near to `memory_limit`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.82;
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|other| {
            let lower = other.to_lowercase();
            let is_one_slip = strsim::damerau_levenshtein(&name, &lower) <= 1;
            (is_one_slip, strsim::jaro_winkler(&name, &lower), other)
        })
        .filter(|(is_one_slip, similarity, _)| *is_one_slip || *similarity >= NEAR)
        .max_by(|left, right| left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)))
        .map(|(_, _, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_it_is_near() {
        let known = ["user_action", "opens_on", "closes_on", "timeout", "max_duration"];
        assert_eq!(nearest("Max_Duraton", known), Some("max_duration"));
        assert_eq!(nearest("opens", known), Some("opens_on"));
        assert_eq!(nearest("ulr", ["url"]), Some("url"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("keep", known), None);
    }

    #[test]
    fn any_one_slip_in_any_key_suggests_that_key() {
        for (_, keys) in schema::SECTIONS {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            for key in &known {
                for at in 1..key.len() {
                    let left_out = format!("{}{}", &key[..at], &key[at + 1..]);
                    let doubled = format!("{}{}", &key[..at], &key[at - 1..]);
                    let swapped = format!(
                        "{}{}{}{}",
                        &key[..at - 1],
                        &key[at..=at],
                        &key[at - 1..at],
                        &key[at + 1..]
                    );
                    for slip in [left_out, doubled, swapped] {
                        assert_eq!(nearest(&slip, known.iter().copied()), Some(*key), "{slip}");
                    }
                }
            }
        }
    }
}
