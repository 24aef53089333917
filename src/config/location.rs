//! Paths and URLs: made absolute, and shown without the credentials they may hold.

use std::path::{Path, PathBuf};

use url::Url;

use super::error::Origin;
use super::reason::Reason;

/// Parts of a query key that mark its value as a secret.
const SECRET_MARKS: [&str; 5] = ["secret", "password", "token", "key_id", "signature"];

/// Where relative paths start, by the layer they were written in; both absolute and UTF-8.
#[derive(Debug)]
pub(crate) struct Roots {
    /// The folder of the configuration file.
    pub(crate) base: PathBuf,
    /// The current directory.
    pub(crate) current: PathBuf,
}

impl Roots {
    /// The folder a relative path from this origin starts at.
    pub(crate) fn of(&self, origin: &Origin) -> &Path {
        match origin {
            Origin::File { .. } => &self.base,
            Origin::Environment { .. } | Origin::Set { .. } | Origin::Lake => &self.current,
        }
    }
}

/// A location as an absolute path or a URL of a store.
pub(crate) fn absolute(written: &str, root: &Path) -> Result<String, Reason> {
    match store_url(written)? {
        Some(url) => Ok(url),
        None => Ok(text(&tidy(&root.join(written)))),
    }
}

/// As [`absolute`], for a path with glob characters: those of `root` are meant literally.
pub(crate) fn absolute_template(written: &str, root: &Path) -> Result<String, Reason> {
    match store_url(written)? {
        Some(url) => Ok(url),
        None => Ok(text(&tidy(&Path::new(&glob_escaped(&text(root))).join(written)))),
    }
}

/// The URL when the location names a store, `None` when it is a path.
fn store_url(written: &str) -> Result<Option<String>, Reason> {
    let Some((scheme, _)) = written.split_once("://") else {
        return Ok(None);
    };
    if scheme != "s3" {
        return Err(Reason::UnknownScheme { scheme: scheme.to_owned() });
    }
    let has_bucket = Url::parse(written).is_ok_and(|url| url.has_host());
    if has_bucket {
        Ok(Some(written.trim_end_matches('/').to_owned()))
    } else {
        Err(Reason::NoBucket { url: redacted(written) })
    }
}

/// The path without `.` and repeated slashes; `..` stays, since a folder may be a link.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The roots are UTF-8 and so is what is written, so nothing is lost here.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn glob_escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for letter in path.chars() {
        match letter {
            '*' | '?' | '[' | ']' => escaped.extend(['[', letter, ']']),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A location fit for messages: user, password and secret query values become `***`.
pub(crate) fn redacted(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else {
        return location.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let rest = match end_of_user_info(rest) {
        Some(at) => format!("***{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let query = query.map_or_else(String::new, |query| format!("?{}", redacted_query(query)));
    format!("{scheme}://{rest}{query}")
}

/// The offset of the `@` after user and password. A password may hold an unescaped `/`, so with a
/// `:` before the first `@` the last one counts.
fn end_of_user_info(rest: &str) -> Option<usize> {
    let first = rest.find('@')?;
    if rest[..first].contains(':') {
        rest.rfind('@')
    } else {
        (!rest[..first].contains('/')).then_some(first)
    }
}

fn redacted_query(query: &str) -> String {
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    pairs.join("&")
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_MARKS.iter().any(|mark| key.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_without_dots() {
        let root = Path::new("/data/etc");
        assert_eq!(absolute("./lake/", root).unwrap(), "/data/etc/lake");
        assert_eq!(absolute("/lake", root).unwrap(), "/lake");
        assert_eq!(absolute("../lake", root).unwrap(), "/data/etc/../lake");
        assert_eq!(absolute("s3://bucket/prefix/", root).unwrap(), "s3://bucket/prefix");
    }

    #[test]
    fn glob_characters_of_the_root_are_meant_literally() {
        let root = Path::new("/data/[old]");
        assert_eq!(absolute_template("*.csv", root).unwrap(), "/data/[[]old[]]/*.csv");
        assert_eq!(absolute_template("/[ab]/*.csv", root).unwrap(), "/[ab]/*.csv");
    }

    #[test]
    fn credentials_are_never_shown() {
        for (written, shown) in [
            ("s3://key:secret@bucket/prefix", "s3://***@bucket/prefix"),
            ("s3://key:se/cr@et@bucket/p", "s3://***@bucket/p"),
            ("s3://key@bucket/p", "s3://***@bucket/p"),
            ("s3://bucket/mail@home", "s3://bucket/mail@home"),
            (
                "s3://b/p?region=x&aws_Secret_key=1&token=2",
                "s3://b/p?region=x&aws_Secret_key=***&token=***",
            ),
            ("/data/a@b", "/data/a@b"),
        ] {
            assert_eq!(redacted(written), shown);
        }
    }
}
