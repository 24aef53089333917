//! A check as it is written: one SQL file, its header in the comments at its top.
//!
//! | header | value |
//! |---|---|
//! | `severity` | `warn`, `error` or `quarantine` |
//! | `on` | `raw` or `ods` |
//! | `message` | what is wrong with the rows returned |
//! | `reads`, `returns` | for people; may be absent |
//! | `parameter` | `NAME KIND` and a description, once for each |
//!
//! A value goes on in the next line when that is indented: `--   like this`.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::check_fault::{CheckFault, Located};
use super::checks::{CheckedLayer, Severity};
use super::reason::nearest;

const HEADER_KEYS: [&str; 6] = ["severity", "on", "message", "reads", "returns", "parameter"];

/// What a parameter stands for in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    /// `$name` is one column.
    Column,
    /// `$name` is several columns, with commas between them.
    Columns,
    /// A relation of this name.
    Table,
    /// `$name` is a text.
    Text,
    /// `$name` is several texts, with commas between them.
    Texts,
    /// `$name` is a number.
    Number,
}

impl ParameterKind {
    const ALL: [Self; 6] =
        [Self::Column, Self::Columns, Self::Table, Self::Text, Self::Texts, Self::Number];

    /// The name as written in a header.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Column => "column",
            Self::Columns => "columns",
            Self::Table => "table",
            Self::Text => "text",
            Self::Texts => "texts",
            Self::Number => "number",
        }
    }

    /// What is expected for it, for a message.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Column => "the name of a column",
            Self::Columns => "a list of names of columns",
            Self::Table => "a table, such as `ods.orders` or `acme.raw.orders`",
            Self::Text => "text",
            Self::Texts => "a list of texts",
            Self::Number => "a whole number",
        }
    }
}

/// What one use of a check gives for a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replacement {
    Columns(Vec<String>),
    Table(Vec<String>),
    Texts(Vec<String>),
    Number(i64),
}

/// A check file, its header read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckFile {
    /// The name of the file without its ending.
    pub(crate) name: String,
    /// The file, as messages name it.
    pub(crate) file: String,
    pub(crate) severity: Severity,
    pub(crate) on: CheckedLayer,
    pub(crate) message: String,
    /// In the order of the header.
    pub(crate) parameters: Vec<(String, ParameterKind)>,
    text: String,
}

/// One line of the header.
struct HeaderLine {
    key: String,
    value: String,
    line: usize,
}

impl CheckFile {
    /// Reads the header and looks that one query follows, whatever its parameters stand for.
    pub(crate) fn parse(name: &str, file: &str, text: &str) -> Result<Self, Located> {
        let header = Header::read(text)?;
        let severity = header.choice("severity", &Severity::ALL, Severity::as_str)?;
        let on = header.choice("on", &CheckedLayer::ALL, CheckedLayer::as_str)?;
        let message = header.required("message")?.value.clone();
        let parsed = Self {
            name: name.to_owned(),
            file: file.to_owned(),
            severity,
            on,
            message,
            parameters: header.parameters()?,
            text: text.to_owned(),
        };
        let any = |kind: &ParameterKind| match kind {
            ParameterKind::Column | ParameterKind::Columns => {
                Replacement::Columns(vec!["value".to_owned()])
            }
            ParameterKind::Table => Replacement::Table(vec![]),
            ParameterKind::Text | ParameterKind::Texts => {
                Replacement::Texts(vec!["value".to_owned()])
            }
            ParameterKind::Number => Replacement::Number(0),
        };
        let arguments = parsed.parameters.iter().map(|(name, kind)| (name.clone(), any(kind)));
        parsed.query(&arguments.collect())?;
        Ok(parsed)
    }

    /// The one query of the file, `arguments` in the place of its parameters. They are put in as
    /// whole identifiers and literals, after the text was cut into tokens.
    pub(crate) fn query(
        &self,
        arguments: &BTreeMap<String, Replacement>,
    ) -> Result<Statement, Located> {
        let tokens = Tokenizer::new(&GenericDialect {}, &self.text).tokenize_with_location();
        let tokens =
            tokens.map_err(|cause| syntax(ParserError::TokenizerError(cause.to_string())))?;
        only_one_statement(&tokens)?;
        let mut filled = Vec::with_capacity(tokens.len());
        for token in tokens {
            match &token.token {
                Token::Placeholder(name) => fill(name, &token, arguments, &mut filled)?,
                Token::SemiColon => {}
                _ => filled.push(token),
            }
        }
        let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(filled);
        let mut statements = parser.parse_statements().map_err(syntax)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => only_a_query(statement, self.first_line()),
            (Some(_), false) => Err(CheckFault::SecondStatement.at(self.first_line())),
            (None, _) => Err(CheckFault::NoStatement.at(self.text.lines().count().max(1))),
        }
    }

    /// The first line that is no comment.
    pub(crate) fn first_line(&self) -> usize {
        let is_header = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with("--");
        self.text.lines().take_while(is_header).count() + 1
    }
}

fn fill(
    placeholder: &str,
    at: &TokenWithSpan,
    arguments: &BTreeMap<String, Replacement>,
    filled: &mut Vec<TokenWithSpan>,
) -> Result<(), Located> {
    let line = usize::try_from(at.span.start.line).unwrap_or(1);
    let name = placeholder.trim_start_matches('$');
    let values: Vec<Token> = match arguments.get(name) {
        Some(Replacement::Columns(columns)) => {
            columns.iter().map(|name| identifier(name)).collect()
        }
        Some(Replacement::Texts(texts)) => {
            texts.iter().map(|text| Token::SingleQuotedString(text.clone())).collect()
        }
        Some(Replacement::Number(number)) => vec![Token::Number(number.to_string(), false)],
        Some(Replacement::Table(_)) => {
            return Err(CheckFault::TableAsValue { name: name.to_owned() }.at(line));
        }
        None => {
            let known = arguments.keys().cloned().collect();
            return Err(CheckFault::UndeclaredParameter { name: name.to_owned(), known }.at(line));
        }
    };
    for (number, value) in values.into_iter().enumerate() {
        if number > 0 {
            filled.push(TokenWithSpan { token: Token::Comma, span: at.span });
        }
        filled.push(TokenWithSpan { token: value, span: at.span });
    }
    Ok(())
}

fn identifier(name: &str) -> Token {
    Token::Word(Word {
        value: name.to_owned(),
        quote_style: Some('"'),
        keyword: Keyword::NoKeyword,
    })
}

/// Nothing but comments may follow the first `;`.
fn only_one_statement(tokens: &[TokenWithSpan]) -> Result<(), Located> {
    let is_blank = |token: &&TokenWithSpan| {
        matches!(token.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF)
    };
    let behind = tokens
        .iter()
        .skip_while(is_blank)
        .skip_while(|token| token.token != Token::SemiColon)
        .find(|token| !is_blank(token));
    match behind {
        Some(second) => {
            let line = usize::try_from(second.span.start.line).unwrap_or(1);
            Err(CheckFault::SecondStatement.at(line))
        }
        None => Ok(()),
    }
}

fn only_a_query(statement: Statement, line: usize) -> Result<Statement, Located> {
    let writes = match &statement {
        Statement::Query(query) => !is_read_only(&query.body),
        _ => true,
    };
    if !writes {
        return Ok(statement);
    }
    let shown = statement.to_string();
    let found = shown.split_whitespace().next().unwrap_or_default().to_lowercase();
    Err(CheckFault::NotAQuery { found }.at(line))
}

fn is_read_only(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => is_read_only(&query.body),
        SetExpr::SetOperation { left, right, .. } => is_read_only(left) && is_read_only(right),
        SetExpr::Values(_) => true,
        _ => false,
    }
}

fn syntax(cause: ParserError) -> Located {
    let line = line_in(&cause.to_string()).unwrap_or(1);
    CheckFault::Syntax { cause }.at(line)
}

/// The parser says where it stopped in the words `at Line: 3, Column: 5`.
fn line_in(message: &str) -> Option<usize> {
    let (_, rest) = message.rsplit_once("Line: ")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

struct Header {
    lines: Vec<HeaderLine>,
}

impl Header {
    fn read(text: &str) -> Result<Self, Located> {
        let mut lines: Vec<HeaderLine> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.strip_prefix("--") else {
                break;
            };
            let is_indented = comment.starts_with("  ") || comment.starts_with('\t');
            let (comment, line) = (comment.trim(), number + 1);
            match (comment.split_once(':'), lines.last_mut()) {
                _ if comment.is_empty() => {}
                (_, Some(last)) if is_indented => {
                    last.value.push(' ');
                    last.value.push_str(comment);
                }
                (Some((key, value)), _) => {
                    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                    lines.push(HeaderLine { key, value, line });
                }
                (None, _) => {
                    return Err(CheckFault::NoHeaderLine { text: comment.to_owned() }.at(line));
                }
            }
        }
        Self { lines }.known()
    }

    fn known(self) -> Result<Self, Located> {
        for (at, HeaderLine { key, line, .. }) in self.lines.iter().enumerate() {
            if !HEADER_KEYS.contains(&key.as_str()) {
                let suggestion = nearest(key, HEADER_KEYS).map(ToOwned::to_owned);
                return Err(CheckFault::UnknownHeader { key: key.clone(), suggestion }.at(*line));
            }
            let is_repeated = self.lines[..at].iter().any(|before| before.key == *key);
            if is_repeated && key != "parameter" {
                return Err(CheckFault::RepeatedHeader { key: key.clone() }.at(*line));
            }
        }
        Ok(self)
    }

    fn required(&self, key: &'static str) -> Result<&HeaderLine, Located> {
        match self.lines.iter().find(|line| line.key == key) {
            Some(found) if !found.value.is_empty() => Ok(found),
            Some(found) => Err(CheckFault::MissingHeader { key }.at(found.line)),
            None => Err(CheckFault::MissingHeader { key }.at(1)),
        }
    }

    fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[T],
        shown: impl Fn(T) -> &'static str,
    ) -> Result<T, Located> {
        let HeaderLine { value, line, .. } = self.required(key)?;
        choices.iter().copied().find(|choice| shown(*choice) == value).ok_or_else(|| {
            let allowed = choices.iter().map(|choice| shown(*choice)).collect();
            CheckFault::BadHeader { key, value: value.clone(), allowed }.at(*line)
        })
    }

    fn parameters(&self) -> Result<Vec<(String, ParameterKind)>, Located> {
        let mut parameters: Vec<(String, ParameterKind)> = Vec::new();
        for HeaderLine { value, line, .. } in
            self.lines.iter().filter(|line| line.key == "parameter")
        {
            let declaration = value.split_once(',').map_or(value.as_str(), |(first, _)| first);
            let words: Vec<&str> = declaration.split_whitespace().collect();
            let kind_of =
                |word: &str| ParameterKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            let parsed = match words.as_slice() {
                [name, kind] if is_name(name) => {
                    kind_of(kind).map(|kind| ((*name).to_owned(), kind))
                }
                _ => None,
            };
            let Some((name, kind)) = parsed else {
                return Err(CheckFault::BadParameter { declaration: value.clone() }.at(*line));
            };
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(CheckFault::RepeatedParameter { name }.at(*line));
            }
            parameters.push((name, kind));
        }
        Ok(parameters)
    }
}

/// Names of checks and parameters: they stand in reasons of quarantine and in SQL.
pub(crate) fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    starts_well && name.chars().all(plain)
}
