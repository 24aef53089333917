//! The names a feed gives to columns of its tables, beside those the tables have of their own.

use std::collections::BTreeMap;

use super::problems::Problems;
use super::reason::Reason;

/// Columns of the raw table that every feed has.
const RAW: [&str; 6] = ["_extra", "_updated_at", "_file", "_line", "_accept_late", "_ingested_at"];

/// Columns of ODS that every feed has, in the order of the table.
const ODS: [&str; 10] = [
    "user_id",
    "product_code",
    "event_id",
    "timestamp",
    "is_user_action",
    "time_diff_ms",
    "session_start",
    "session_id",
    "pdate",
    "_updated_at",
];

/// The table a list of names is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ColumnsOf {
    /// `columns`, as delivered.
    Raw,
    /// `attributes`, named by the configuration.
    Ods,
}

impl ColumnsOf {
    /// Whether every name of the list at the path `at` can be used; reports those that cannot.
    /// `None` stands for an entry whose name could not be read.
    pub(crate) fn check_names(
        self,
        at: &str,
        names: &[Option<&str>],
        problems: &mut Problems,
    ) -> bool {
        let mut first_of: BTreeMap<String, usize> = BTreeMap::new();
        let mut is_usable = true;
        for (index, name) in names.iter().enumerate() {
            let Some(name) = *name else { continue };
            let first = *first_of.entry(name.to_lowercase()).or_insert(index);
            let taken = (first < index).then(|| Reason::NameTaken { name: name.to_owned(), first });
            if let Some(reason) = self.unusable(name).or(taken) {
                problems.add(&format!("{at}[{index}]"), reason);
                is_usable = false;
            }
        }
        is_usable
    }

    /// Why a name cannot be used at all. The case of letters does not count, because it does not
    /// in a Delta table.
    fn unusable(self, name: &str) -> Option<Reason> {
        let (table, own): (&'static str, &[&str]) = match self {
            Self::Raw => ("raw", &RAW),
            Self::Ods => ("ODS", &ODS),
        };
        if name.trim().is_empty() {
            return Some(Reason::Empty);
        }
        if own.iter().any(|column| column.eq_ignore_ascii_case(name)) {
            return Some(Reason::ReservedName { name: name.to_owned(), table });
        }
        // A delivered column is called what it is called; an attribute's name is a choice.
        match self {
            Self::Ods if name.starts_with('_') => {
                Some(Reason::NameStartsWithUnderscore { name: name.to_owned() })
            }
            Self::Raw | Self::Ods => None,
        }
    }
}
