//! A text of statements, cut into its parts.

/// One part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The statement without its `;`, or the line of a command such as `\d`.
    pub text: String,
    /// The line of the script on which it begins, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQL, ended by `;` or by the end of the script.
    Statement,
    /// A line that begins with `\`, between two statements.
    Command,
}

/// The parts of a script, comments between them left out.
pub fn parts(script: &str) -> Vec<Part> {
    let mut scanner = Scanner { text: script, at: 0 };
    let mut parts = Vec::new();
    while let Some((part, _)) = scanner.part() {
        parts.push(part);
    }
    parts
}

/// Whether the last statement of a text has come to its `;`, or is a command, or there is none.
pub fn is_complete(text: &str) -> bool {
    let mut scanner = Scanner { text, at: 0 };
    let mut complete = true;
    while let Some((_, ended)) = scanner.part() {
        complete = ended;
    }
    complete
}

/// The command interpreter line of a script that is a program.
const INTERPRETER: &str = "#!";

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next part, and whether its end was seen.
    fn part(&mut self) -> Option<(Part, bool)> {
        self.skip_blank();
        let start = self.at;
        let line = 1 + self.text.get(..start)?.matches('\n').count();
        let first = self.rest().chars().next()?;
        if first == '\\' {
            self.at += line_length(self.rest());
            let text = self.text.get(start..self.at)?.trim_end().to_owned();
            return Some((Part { text, line, kind: Kind::Command }, true));
        }
        let (end, ended) = self.statement();
        let text = self.text.get(start..end)?.trim_end().to_owned();
        Some((Part { text, line, kind: Kind::Statement }, ended))
    }

    /// White space, comments and lone `;`.
    fn skip_blank(&mut self) {
        if self.at == 0 && self.text.starts_with(INTERPRETER) {
            self.at = line_length(self.text);
        }
        loop {
            let rest = self.rest();
            let length = match rest.chars().next() {
                Some(letter) if letter.is_whitespace() || letter == ';' => letter.len_utf8(),
                Some(_) => comment_length(rest).unwrap_or(0),
                None => 0,
            };
            if length == 0 {
                return;
            }
            self.at += length;
        }
    }

    /// Where the statement ends, and whether a `;` is there, behind which the next part begins.
    fn statement(&mut self) -> (usize, bool) {
        let mut before = ' ';
        let mut is_escape = false;
        while let Some(letter) = self.rest().chars().next() {
            if letter == ';' {
                let end = self.at;
                self.at += 1;
                return (end, true);
            }
            let length = comment_length(self.rest())
                .or_else(|| quoted_length(self.rest(), is_escape))
                .or_else(|| dollar_quoted_length(self.rest(), before))
                .unwrap_or(letter.len_utf8());
            is_escape = matches!(letter, 'e' | 'E') && !is_of_word(before);
            before = letter;
            self.at += length;
        }
        (self.at, false)
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

fn line_length(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return Some(line_length(text));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// A text or a name in quotes; a quote within is doubled, or follows `\` in `E'...'`.
fn quoted_length(text: &str, is_escape: bool) -> Option<usize> {
    let quote = text.chars().next().filter(|letter| matches!(letter, '\'' | '"' | '`'))?;
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && is_escape && quote == '\'' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// `$$...$$` and `$tag$...$tag$`.
fn dollar_quoted_length(text: &str, before: char) -> Option<usize> {
    if is_of_word(before) {
        return None;
    }
    let name = text.strip_prefix('$')?;
    let length = name.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'))?;
    if !name.get(length..)?.starts_with('$') || name.starts_with(|first: char| first.is_numeric()) {
        return None;
    }
    let tag = text.get(..length + 2)?;
    let body = text.get(tag.len()..)?;
    Some(body.find(tag).map_or(text.len(), |end| tag.len() + end + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        parts(script).into_iter().map(|part| part.text).collect()
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        assert_eq!(texts("select 1; select 2"), ["select 1", "select 2"]);
        assert_eq!(texts("select ';', \"a;b\", `c;`; x"), ["select ';', \"a;b\", `c;`", "x"]);
        assert_eq!(texts("select 'it''s;'; x"), ["select 'it''s;'", "x"]);
        assert_eq!(texts("select e'it\\'s;'; x"), ["select e'it\\'s;'", "x"]);
        assert_eq!(texts("select the'\\'; x"), ["select the'\\'", "x"]);
        assert_eq!(texts("select 1 -- a; b\n, 2; x"), ["select 1 -- a; b\n, 2", "x"]);
        assert_eq!(texts("select /* a; /* b; */ ; */ 1; x"), ["select /* a; /* b; */ ; */ 1", "x"]);
        assert_eq!(texts("select $q$ ; $$ ; $q$, $1; x"), ["select $q$ ; $$ ; $q$, $1", "x"]);
        assert_eq!(texts("select 'ä;€'; x"), ["select 'ä;€'", "x"]);
    }

    #[test]
    fn what_is_left_open_goes_to_the_end() {
        for open in ["select 'a;", "select \"a;", "select /* a;", "select $$a;"] {
            assert_eq!(texts(open), [open]);
            assert!(!is_complete(open), "{open}");
        }
    }

    #[test]
    fn parts_know_their_line() {
        let script = "#!/usr/bin/env sql\n-- header\n\nselect 1;\n\\d ods.events\n;;\nselect\n2;";
        let found: Vec<(usize, String)> =
            parts(script).into_iter().map(|part| (part.line, part.text)).collect();
        let expected = [(4, "select 1"), (5, "\\d ods.events"), (7, "select\n2")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(parts(script)[1].kind, Kind::Command);
    }

    #[test]
    fn a_text_is_complete_with_its_semicolon() {
        for complete in ["select 1;", "select 1; -- done", "\\d", "", "-- only a comment", " \n "] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["select 1", "select 1;\nselect 2", "select ';'"] {
            assert!(!is_complete(open), "{open}");
        }
    }
}
