//! Whole configurations, from text and layers to values or messages.

mod clients;
mod defaults;
#[allow(clippy::print_stderr, reason = "a long run says how much it tried")]
mod fuzz;
mod json_schema;
mod layering;
mod overlays;
mod refusals;
mod refused_feeds;

use std::path::{Path, PathBuf};

use super::load::from_text;
use super::location::Roots;
use super::{Config, ConfigError, LoadOptions};

/// The shortest configuration there is.
const SHORTEST: &str = r#"[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
"#;

fn roots() -> Roots {
    Roots { base: PathBuf::from("/etc/lakes"), current: PathBuf::from("/home/ada") }
}

fn read_with(text: &str, options: &LoadOptions) -> Result<Config, ConfigError> {
    from_text(text, Path::new("sessionlake.toml"), None, &roots(), options)
}

/// `over` laid over `text`, as the file of the environment `prod`.
fn read_over(text: &str, over: &str) -> Result<Config, ConfigError> {
    let over = (Path::new("sessionlake.prod.toml"), over);
    let named = Path::new("sessionlake.toml");
    from_text(text, named, Some(over), &roots(), &LoadOptions::default())
}

fn read(text: &str) -> Config {
    read_with(text, &LoadOptions::default()).unwrap()
}

/// The whole message of a refused configuration.
fn refusal(text: &str) -> String {
    read_with(text, &LoadOptions::default()).unwrap_err().to_string()
}

/// [`SHORTEST`] and what follows its last line.
fn with(rest: &str) -> String {
    format!("{SHORTEST}{rest}")
}

/// [`SHORTEST`] with one piece of text replaced by another.
fn replaced(from: &str, to: &str) -> String {
    assert!(SHORTEST.contains(from));
    SHORTEST.replace(from, to)
}

/// [`SHORTEST`] with a second feed `acme/clicks-2`.
fn two_feeds() -> String {
    let second = SHORTEST.replace("\"events\"", "\"acme/clicks-2\"");
    format!("{SHORTEST}{second}")
}

fn set(arguments: &[&str]) -> LoadOptions {
    LoadOptions {
        set: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        ..LoadOptions::default()
    }
}

fn environment(variables: &[(&str, &str)]) -> LoadOptions {
    LoadOptions {
        environment: variables
            .iter()
            .map(|&(variable, value)| (variable.to_owned(), value.to_owned()))
            .collect(),
        ..LoadOptions::default()
    }
}
