//! One set of values laid over another: an environment's file over the main one, a client's own
//! keys over a template.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::schema;
use super::written::Origins;

/// Lists of sections that are told apart by their names.
const NAMED: [&str; 3] = ["feed", "client", "template.feed"];

/// Where values come from that are put elsewhere.
pub(crate) struct Graft<'o> {
    /// Where each of them was written.
    pub(crate) from: &'o Origins,
    /// Whether problems name the key that was written, or the one it became.
    pub(crate) shown: bool,
}

/// Lays the section `over` over `base`: sections key by key, lists of named sections by name;
/// anything else is replaced.
pub(crate) fn lay(
    base: &mut Table,
    base_at: &str,
    over: &Table,
    over_at: &str,
    graft: &Graft<'_>,
    origins: &mut Origins,
) {
    for (key, value) in over {
        let (to, at) = (schema::join(base_at, key), schema::join(over_at, key));
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => {
                lay(base, &to, over, &at, graft, origins);
            }
            (Some(Value::Array(base)), Value::Array(over)) if NAMED.contains(&to.as_str()) => {
                lay_named(base, &to, over, graft, origins);
            }
            _ => {
                origins.graft(graft, &at, &to);
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn lay_named(
    base: &mut Vec<Value>,
    list: &str,
    over: &[Value],
    graft: &Graft<'_>,
    origins: &mut Origins,
) {
    for (index, item) in over.iter().enumerate() {
        let at = format!("{list}[{index}]");
        let name = item.get("name");
        let same = base.iter().position(|other| name.is_some() && other.get("name") == name);
        let same = same.and_then(|same| Some((same, base.get_mut(same)?.as_table_mut()?)));
        if let (Some((same, base)), Value::Table(over)) = (same, item) {
            lay(base, &format!("{list}[{same}]"), over, &at, graft, origins);
        } else {
            origins.graft(graft, &at, &format!("{list}[{}]", base.len()));
            base.push(item.clone());
        }
    }
}

/// `sessionlake.prod.toml` beside `sessionlake.toml`.
pub(crate) fn file_of(file: &Path, environment: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}.{environment}.toml"))
}
