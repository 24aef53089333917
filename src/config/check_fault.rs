//! What can be wrong with a check file, and what to do next about each.

use std::io;

use datafusion::sql::sqlparser::parser::ParserError;

/// A fault and its line, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Located {
    pub(crate) line: usize,
    pub(crate) fault: CheckFault,
}

/// What is wrong with a check. The message of each variant says what its fields hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum CheckFault {
    #[error("cannot be read: {kind}")]
    Unreadable { kind: io::ErrorKind },
    #[error("`{name}` is not a name for a check")]
    BadName { name: String },
    #[error("a check called `{name}` is there already: {other}")]
    NameTaken { name: String, other: String },
    #[error("`{text}` is no line of a header")]
    NoHeaderLine { text: String },
    #[error("unknown header `{key}`")]
    UnknownHeader { key: String, suggestion: Option<String> },
    #[error("the header `{key}` stands there twice")]
    RepeatedHeader { key: String },
    #[error("the header `{key}` is missing")]
    MissingHeader { key: &'static str },
    #[error("`{value}` is no {key}")]
    BadHeader { key: &'static str, value: String, allowed: Vec<&'static str> },
    #[error("`{declaration}` declares no parameter")]
    BadParameter { declaration: String },
    #[error("the parameter `{name}` is declared twice")]
    RepeatedParameter { name: String },
    #[error("`${name}` is no parameter of this check")]
    UndeclaredParameter { name: String, known: Vec<String> },
    #[error("the parameter `{name}` is a table, and stands where a value is needed")]
    TableAsValue { name: String },
    #[error("there is no query")]
    NoStatement,
    #[error("a second statement begins here")]
    SecondStatement,
    #[error("this is no query, it begins with `{found}`")]
    NotAQuery { found: String },
    #[error("a check of severity quarantine looks at one row alone, and this one has {holds}")]
    NotOneRow { holds: &'static str },
    #[error("not valid SQL: {cause}")]
    Syntax { cause: ParserError },
}

impl CheckFault {
    /// The fault in its place.
    pub(crate) fn at(self, line: usize) -> Located {
        Located { line, fault: self }
    }

    /// What to do about it.
    pub(crate) fn next_step(&self) -> String {
        match self {
            Self::Unreadable { .. } => "make it a readable UTF-8 text file".to_owned(),
            Self::BadName { .. } => {
                "name the file with a-z, 0-9 and `_`, a letter first, and the ending .sql"
                    .to_owned()
            }
            Self::NameTaken { .. } => "give one of them another name".to_owned(),
            Self::NoHeaderLine { .. } => {
                "write `-- key: value`, indent what belongs to the line above, or put a blank line \
                 before comments that are no header"
                    .to_owned()
            }
            Self::UnknownHeader { suggestion: Some(meant), .. } => {
                format!("did you mean `{meant}`?")
            }
            Self::UnknownHeader { suggestion: None, .. } => {
                "the headers are severity, on, message, reads, returns and parameter".to_owned()
            }
            Self::RepeatedHeader { .. } | Self::RepeatedParameter { .. } => "remove one".to_owned(),
            Self::MissingHeader { key: "severity" } => {
                "add `-- severity: warn`, `error` or `quarantine`".to_owned()
            }
            Self::MissingHeader { key: "on" } => "add `-- on: raw` or `-- on: ods`".to_owned(),
            Self::MissingHeader { .. } => {
                "add `-- message: ` and what is wrong with the rows returned".to_owned()
            }
            Self::BadHeader { allowed, .. } => format!("write {}", allowed.join(" or ")),
            Self::BadParameter { .. } => {
                "write `-- parameter: NAME KIND, description`, the kind one of column, columns, \
                 table, text, texts and number"
                    .to_owned()
            }
            Self::UndeclaredParameter { known, .. } if known.is_empty() => {
                "declare it with `-- parameter: NAME KIND, description`".to_owned()
            }
            Self::UndeclaredParameter { known, .. } => {
                format!("its parameters are {}", known.join(", "))
            }
            Self::TableAsValue { name } => format!("write it as a relation: `from {name}`"),
            Self::NoStatement => "write a query that returns the offending rows".to_owned(),
            Self::SecondStatement => "keep one query in each file".to_owned(),
            Self::NotAQuery { .. } => "a check only reads: write a `select`".to_owned(),
            Self::NotOneRow { .. } => {
                "write `select * from rows where ...`, for what looks at other rows would make ODS \
                 depend on what ran first; or make it a warn or an error"
                    .to_owned()
            }
            Self::Syntax { .. } => "mend it; names of functions are in lower case".to_owned(),
        }
    }
}
