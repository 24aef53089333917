//! How a statement is typed: colours, completion, and when it is whole.

use std::borrow::Cow;

use datafusion::config::Dialect;
use datafusion_cli::helper::CliHelper;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::inspect::sql::script::is_complete;

/// Words that a statement is made of.
const WORDS: [&str; 36] = [
    "and",
    "as",
    "asc",
    "at_time(",
    "at_version(",
    "avg(",
    "between",
    "by",
    "case",
    "cast(",
    "count(",
    "date",
    "desc",
    "describe",
    "distinct",
    "else",
    "end",
    "explain",
    "filter",
    "from",
    "group",
    "having",
    "history(",
    "in",
    "interval",
    "is",
    "join",
    "left",
    "limit",
    "not",
    "null",
    "order",
    "partition",
    "select",
    "union",
    "where",
];

/// Colours and hints are those of the DataFusion CLI. Tab completes names of tables and words, and
/// a line ends where the statement does: what does not parse is told when it is run.
pub(super) struct Editing {
    cli: CliHelper,
    names: Vec<String>,
}

impl Editing {
    pub(super) fn new(tables: Vec<String>, is_coloured: bool) -> Self {
        let mut editing =
            Self { cli: CliHelper::new(&Dialect::Generic, is_coloured), names: vec![] };
        editing.know(tables);
        editing
    }

    /// The tables of now.
    pub(super) fn know(&mut self, tables: Vec<String>) {
        self.names = tables;
        self.names.extend(WORDS.map(str::to_owned));
        self.names.sort();
        self.cli.reset_hint();
    }
}

impl Completer for Editing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        context: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        let before = line.get(..position).unwrap_or(line);
        let is_of_name =
            |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '"' | '-');
        let start = before.trim_end_matches(is_of_name).len();
        let typed = before.get(start..).unwrap_or_default();
        let fitting = self.names.iter().filter(|name| !typed.is_empty() && name.starts_with(typed));
        let pairs: Vec<Pair> =
            fitting.map(|name| Pair { display: name.clone(), replacement: name.clone() }).collect();
        // It knows paths of files, where a statement wants one.
        if pairs.is_empty() {
            self.cli.complete(line, position, context)
        } else {
            Ok((start, pairs))
        }
    }
}

impl Validator for Editing {
    fn validate(
        &self,
        context: &mut ValidationContext<'_>,
    ) -> Result<ValidationResult, ReadlineError> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Highlighter for Editing {
    fn highlight<'l>(&self, line: &'l str, position: usize) -> Cow<'l, str> {
        self.cli.highlight(line, position)
    }

    fn highlight_char(&self, line: &str, position: usize, kind: CmdKind) -> bool {
        self.cli.highlight_char(line, position, kind)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.cli.highlight_hint(hint)
    }
}

impl Hinter for Editing {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<String> {
        self.cli.hint(line, position, context)
    }
}

impl Helper for Editing {}
