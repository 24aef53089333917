//! Whether a place is within the lake.

use std::path::{Path, PathBuf};

use url::Url;

use crate::lake::without_parents;

/// Whether a path or URL, as a statement names it, lies at or below `root`. What is a URL and where it
/// leads is decided as the writer does, `ListingTableUrl::parse`: `file:/a` is one, and its path is
/// decoded.
pub(super) fn is_within(root: &Url, location: &str) -> bool {
    let is_path = Path::new(location).is_absolute();
    let local = match Url::parse(location) {
        Ok(url) if !is_path => {
            let Ok(place) = place_of(&url) else {
                return false;
            };
            if url.scheme() != "file" {
                let below = place_of(root).is_ok_and(|root| place.prefix_matches(&root));
                return is_same_store(root, &url) && below;
            }
            Path::new("/").join(place.as_ref())
        }
        _ => PathBuf::from(location),
    };
    let Ok(root) = root.to_file_path() else {
        return false;
    };
    real(&local).starts_with(real(&root))
}

/// Where a URL leads within its store.
fn place_of(url: &Url) -> Result<object_store::path::Path, object_store::path::Error> {
    let segments: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    object_store::path::Path::from_url_path(segments.join("/"))
}

fn is_same_store(root: &Url, url: &Url) -> bool {
    let scheme = |url: &Url| url.scheme().trim_end_matches('a').to_owned();
    scheme(root) == scheme(url) && root.host_str() == url.host_str()
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let absolute = without_parents(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let there = absolute.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match there {
        Some((part, real)) => match absolute.strip_prefix(part) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => absolute,
        },
        None => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_within_the_lake_is_known_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        std::fs::create_dir_all(lake.join("ods")).unwrap();
        std::os::unix::fs::symlink(&lake, folder.path().join("link")).unwrap();
        let root = Url::from_directory_path(&lake).unwrap();
        let at = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();
        for within in ["lake", "lake/", "lake/ods/new/x.csv", "link/x.csv", "other/../lake/x.csv"] {
            assert!(is_within(&root, &at(within)), "{within}");
        }
        assert!(is_within(&root, Url::from_file_path(at("lake/x.csv")).unwrap().as_str()));
        assert!(is_within(&root, &format!("file:{}", at("lake/x.csv"))));
        assert!(is_within(&root, &format!("FILE:{}", at("l%61ke/x.csv"))));
        for outside in ["lake2/x.csv", "x.csv", "lake/../x.csv"] {
            assert!(!is_within(&root, &at(outside)), "{outside}");
        }
    }

    #[test]
    fn a_bucket_is_told_from_another() {
        let root = Url::parse("s3://bucket/a/lake/").unwrap();
        for within in ["s3://bucket/a/lake/ods", "s3://bucket/a/lake", "s3a://bucket//a/lake/x"]
            .into_iter()
            .chain(["s3://bucket/a/l%61ke/x"])
        {
            assert!(is_within(&root, within), "{within}");
        }
        for outside in ["s3://other/a/lake/x", "s3://bucket/a/lakes/x", "s3://bucket/x", "a/lake"] {
            assert!(!is_within(&root, outside), "{outside}");
        }
    }
}
