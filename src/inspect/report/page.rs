//! The HTML page around the data of a report.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Report, ReportError};
use crate::config::concealed;

/// With `{{name}}` where each of [`PIECES`] and the data go.
const PAGE: &str = include_str!("page/page.html");

/// What stands in the page; the scripts share one scope, in this order.
const PIECES: [(&str, &[&str]); 7] = [
    ("style", &[include_str!("page/style.css")]),
    ("errors", &[include_str!("page/errors.js")]),
    ("d3_licence", &[include_str!("assets/d3.LICENSE")]),
    ("d3", &[include_str!("assets/d3.min.js")]),
    ("plot_licence", &[include_str!("assets/plot.LICENSE")]),
    ("plot", &[include_str!("assets/plot.umd.min.js")]),
    (
        "script",
        &[
            include_str!("page/words.js"),
            include_str!("page/figures.js"),
            include_str!("page/plots.js"),
            include_str!("page/shapes.js"),
            include_str!("page/plan.js"),
            include_str!("page/list.js"),
            include_str!("page/browser.js"),
            include_str!("page/page.js"),
        ],
    ),
];

/// Writes the page to `path`, whole or not at all, and returns its bytes. A link is followed; what is
/// no file, such as a pipe, is written to and not replaced.
pub fn write(report: &Report, path: &Path) -> Result<u64, ReportError> {
    let failed = |source| ReportError::Write { path: path.to_owned(), source };
    let there = path.canonicalize();
    let path = there.as_deref().unwrap_or(path);
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let mut out = File::options().write(true).open(path).map_err(failed)?;
        return render(report, &mut out).map_err(failed);
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // As any other new file: the umask takes away what it takes away.
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    let bytes = render(report, &mut file).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(bytes)
}

/// Writes the page and returns its bytes.
pub fn render(report: &Report, out: &mut impl Write) -> io::Result<u64> {
    let data = embeddable(&concealed(&serde_json::to_string(report)?));
    let mut bytes = 0;
    for part in parts(&data) {
        out.write_all(part.as_bytes())?;
        bytes += part.len() as u64;
    }
    out.flush()?;
    Ok(bytes)
}

/// JSON in which nothing ends the script that it stands in, or opens a comment.
fn embeddable(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The parts of the page in order. What is put in is not looked through for marks again.
fn parts<'d>(data: &'d str) -> Vec<&'d str> {
    let mut marked = PAGE.split("{{");
    let mut parts: Vec<&'d str> = marked.next().into_iter().collect();
    for after_mark in marked {
        let (name, text) = after_mark.split_once("}}").unwrap_or(("", after_mark));
        match PIECES.iter().find(|(piece, _)| *piece == name) {
            Some((_, texts)) => parts.extend(*texts),
            None => parts.push(data),
        }
        parts.push(text);
    }
    parts
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn nothing_that_is_put_in_ends_its_element_and_everything_is_put_in() {
        let hostile = embeddable("{\"user\":\"</script><script>alert(1)</script><!--\"}");
        assert!(!hostile.contains('<'));
        let page = parts(&hostile).concat();
        for (name, texts) in PIECES {
            assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name} has no place");
            for text in texts {
                assert!(page.contains(text), "{name}");
                let text = text.to_lowercase();
                let ends = ["</script", "</style", "-->"].iter().find(|end| text.contains(**end));
                assert_eq!(ends, None, "{name}");
            }
        }
        assert!(page.contains(&hostile) && page.trim_end().ends_with("</html>"));
        assert_eq!(PAGE.matches("{{").count(), PIECES.len() + 1, "a mark without a piece");
    }

    #[test]
    fn the_libraries_are_those_that_the_readme_beside_them_names() {
        let readme = include_str!("assets/README.md");
        for (file, text) in [
            ("d3.min.js", include_str!("assets/d3.min.js")),
            ("plot.umd.min.js", include_str!("assets/plot.umd.min.js")),
        ] {
            let hash = format!("{:x}", Sha256::digest(text));
            let named = readme.lines().any(|line| line.contains(file) && line.contains(&hash));
            assert!(named, "{file} has SHA-256 {hash}");
        }
    }
}
