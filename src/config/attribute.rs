//! Entries of `attributes`: `country`, `"Unit Price"` or `expression as name`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A further column carried from a delivery to ODS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// SQL expression over the delivered columns.
    pub expression: String,
    /// Name of the ODS column, as written (without its quotes).
    pub name: String,
}

impl Attribute {
    /// Reads one entry; `None` when it is an expression without a name.
    ///
    /// The name follows the last ` as ` outside quotes, parentheses and brackets, in any case of
    /// letters. An entry without one is a column's plain or quoted name, and names itself.
    pub(crate) fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if let Some(name) = identifier(entry) {
            return Some(Self { expression: entry.to_owned(), name });
        }
        let (expression, written_name) = split_at_last_as(entry)?;
        let name = identifier(written_name.trim())?;
        let expression = expression.trim();
        (!expression.is_empty()).then(|| Self { expression: expression.to_owned(), name })
    }
}

/// The entry as it would be written: the expression alone where it names itself.
impl fmt::Display for Attribute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.expression)?;
        if identifier(&self.expression).as_deref() == Some(self.name.as_str()) {
            return Ok(());
        }
        if is_plain(&self.name) {
            write!(formatter, " as {}", self.name)
        } else {
            write!(formatter, " as \"{}\"", self.name.replace('"', "\"\""))
        }
    }
}

/// The name an SQL identifier stands for, plain or in double quotes; `None` for anything else.
fn identifier(text: &str) -> Option<String> {
    if is_plain(text) {
        return Some(text.to_owned());
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let without_pairs = inner.replace("\"\"", "");
    let is_one_name = !without_pairs.contains('"');
    is_one_name.then(|| inner.replace("\"\"", "\""))
}

fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Splits at the last `as` between white space, outside quotes, parentheses and brackets.
fn split_at_last_as(entry: &str) -> Option<(&str, &str)> {
    let bytes = entry.as_bytes();
    let mut open_quote = None;
    let mut depth = 0_i32;
    let mut found = None;
    for (at, &byte) in bytes.iter().enumerate() {
        match (open_quote, byte) {
            (Some(quote), _) if byte == quote => open_quote = None,
            (None, b'\'' | b'"') => open_quote = Some(byte),
            (None, b'(' | b'[') => depth += 1,
            (None, b')' | b']') => depth -= 1,
            (None, _) if depth == 0 && is_as_at(bytes, at) => found = Some(at),
            _ => {}
        }
    }
    let at = found?;
    Some((&entry[..at], &entry[at + 4..]))
}

/// Whether ` as ` stands at this offset, with any white space and in any case of letters.
fn is_as_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 4).is_some_and(|word| {
        word[0].is_ascii_whitespace()
            && word[1..3].eq_ignore_ascii_case(b"as")
            && word[3].is_ascii_whitespace()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expression and the name of an entry.
    fn parsed(entry: &str) -> Option<[String; 2]> {
        Attribute::parse(entry).map(|attribute| [attribute.expression, attribute.name])
    }

    fn pair(expression: &str, name: &str) -> [String; 2] {
        [expression.to_owned(), name.to_owned()]
    }

    #[test]
    fn a_plain_column_names_itself() {
        assert_eq!(parsed(" country "), Some(pair("country", "country")));
        assert_eq!(parsed("Country_2"), Some(pair("Country_2", "Country_2")));
    }

    #[test]
    fn a_quoted_column_keeps_its_quotes_in_the_expression_only() {
        assert_eq!(parsed("\"Unit Price\""), Some(pair("\"Unit Price\"", "Unit Price")));
        assert_eq!(parsed("\"a \"\"b\"\"\""), Some(pair("\"a \"\"b\"\"\"", "a \"b\"")));
    }

    #[test]
    fn the_name_follows_as_in_any_case_and_with_any_white_space() {
        assert_eq!(parsed("lower(page) as page"), Some(pair("lower(page)", "page")));
        assert_eq!(parsed("lower(page)\tAS\n page"), Some(pair("lower(page)", "page")));
        assert_eq!(parsed("price as \"Unit Price\""), Some(pair("price", "Unit Price")));
    }

    #[test]
    fn as_inside_parentheses_and_quotes_does_not_name_anything() {
        assert_eq!(
            parsed("cast(price as double) as price"),
            Some(pair("cast(price as double)", "price"))
        );
        assert_eq!(parsed("x || ' as y' as z"), Some(pair("x || ' as y'", "z")));
        assert_eq!(parsed("\"a as b\" as c"), Some(pair("\"a as b\"", "c")));
        assert_eq!(parsed("'it''s as x' as z"), Some(pair("'it''s as x'", "z")));
        assert_eq!(parsed("cast(price as double)"), None);
        assert_eq!(parsed("'x as y'"), None);
    }

    #[test]
    fn the_last_as_names_the_attribute() {
        assert_eq!(parsed("a as b as c"), Some(pair("a as b", "c")));
    }

    #[test]
    fn an_expression_without_a_usable_name_is_refused() {
        for entry in ["", "a + b", "lower(page)", "price as", "as price", "a as b c", "a as 1"] {
            assert_eq!(parsed(entry), None, "{entry}");
        }
        assert_eq!(parsed("cast(price as double as price"), None);
        assert_eq!(parsed("\"a\" || \"b\""), None);
    }

    #[test]
    fn text_beyond_ascii_is_read_whole() {
        assert_eq!(parsed("'é as è' as name"), Some(pair("'é as è'", "name")));
    }

    #[test]
    fn an_attribute_shows_as_it_would_be_written() {
        for entry in [
            "page",
            "\"Unit Price\"",
            "cast(price as double) as price",
            "a as \"Unit \"\"Price\"\"\"",
        ] {
            assert_eq!(Attribute::parse(entry).unwrap().to_string(), entry);
        }
    }
}
