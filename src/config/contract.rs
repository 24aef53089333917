//! `[feed.contract]`: what a feed's files and rows must hold.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Serialize;

use super::column_names::ColumnsOf;
use super::column_type::ColumnType;
use super::file::{Argument, ContractFile};
use super::location;
use super::problems::Problems;
use super::reason::Reason;
use super::schema::{Key, boolean, integer, text, text_list, values};
use super::units;
use super::validate::{accepted, one_of, optional, whole_number};

/// The keys of `[feed.contract]`.
pub(crate) const CONTRACT: &[Key] = &[
    text_list("mandatory", "[\"device\"]")
        .about("Columns that a CSV header or Parquet schema must have.")
        .default("[]"),
    text("on_missing_column", "\"reject\"")
        .about("What becomes of a file without a column that is named but not mandatory.")
        .default("\"reject\"")
        .one_of(&["reject", "fill_null"]),
    text("on_extra_column", "\"keep_in_extra\"")
        .about("What becomes of a column that nothing names.")
        .default("\"keep_in_extra\"")
        .one_of(&["keep_in_extra", "add_column", "reject"]),
    text_list("not_blank", "[\"user_id\"]")
        .about("Columns in which every row must have a value.")
        .default("[]"),
    text("on_bad_row", "\"quarantine\"")
        .about("What becomes of a row that cannot be read or breaks the contract.")
        .default("\"quarantine\"")
        .one_of(&["quarantine", "reject_file", "fail"]),
    integer("max_bad_rows", "100")
        .about("A file with more bad rows is rejected; unset: any number."),
    text("max_bad_share", "\"1%\"")
        .about("A file with a greater share of bad rows is rejected; unset: any share."),
    text("reject_to", "\"errors/\"")
        .about("Where rejected files are copied, a folder or s3://bucket/prefix; unset: nowhere."),
    boolean("reject_move", "false")
        .about("Whether rejected files leave their source once the copy is verified.")
        .default("false"),
    values("types", "{ price = \"number\", ts = \"epoch_millis\", day = \"%d/%m/%Y\" }")
        .about("Of a column, what its values must be, where there are any."),
    values("allowed", "{ country = [\"AT\", \"DE\"] }")
        .about("Of a column, the values it may have, where it has any."),
];

const MAX_BAD_ROWS: RangeInclusive<u32> = 0..=u32::MAX;

/// What a feed's files and rows must hold. Default: what the mapping names, and no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contract {
    /// Columns that a CSV header or a Parquet schema must have, whether or not any expression
    /// names them. Default: none.
    pub mandatory: Vec<String>,
    /// What becomes of a file without a column that an expression or `columns` names.
    pub on_missing_column: OnMissingColumn,
    /// What becomes of a column that neither the mapping nor `columns` nor the contract names.
    pub on_extra_column: OnExtraColumn,
    /// Columns in which a row must have more than white space. Default: none.
    pub not_blank: Vec<String>,
    /// What the values of a column must be, where there are any. Default: any text.
    pub types: BTreeMap<String, ColumnType>,
    /// The values that a column may have, where it has any. Default: any.
    pub allowed: BTreeMap<String, Vec<String>>,
    /// What becomes of a row that breaks the contract or its format.
    pub on_bad_row: OnBadRow,
    /// More bad rows than this, and the file is rejected. Default: any number.
    pub max_bad_rows: Option<u32>,
    /// The same as a share of the rows of the file, in parts per million.
    pub max_bad_share_ppm: Option<u32>,
    /// Where rejected files are copied to: an absolute folder or an URL as `s3://bucket/errors`.
    /// Default: nowhere.
    pub reject_to: Option<String>,
    /// Whether a rejected file leaves its source once it is copied. Default: no.
    pub reject_move: bool,
}

/// What becomes of a file without a column that an expression or `columns` names. One without a
/// mandatory column is rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum OnMissingColumn {
    /// It is rejected.
    #[default]
    Reject,
    /// The value is missing in all of its rows.
    FillNull,
}

/// What becomes of a column that nothing names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum OnExtraColumn {
    /// It is a field of the JSON text in `_extra`.
    #[default]
    KeepInExtra,
    /// It becomes a column of raw; a key of JSON lines, or a name that no column can have, does not.
    AddColumn,
    /// A CSV or Parquet file with one is rejected, and so is a row of JSON lines.
    Reject,
}

/// What becomes of a bad row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum OnBadRow {
    /// It goes to quarantine, the others are taken.
    #[default]
    Quarantine,
    /// Its file is rejected.
    RejectFile,
    /// The run fails.
    Fail,
}

impl OnMissingColumn {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Reject, Self::FillNull];

    /// The name as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::FillNull => "fill_null",
        }
    }
}

impl OnExtraColumn {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::KeepInExtra, Self::AddColumn, Self::Reject];

    /// The name as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepInExtra => "keep_in_extra",
            Self::AddColumn => "add_column",
            Self::Reject => "reject",
        }
    }
}

impl OnBadRow {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Quarantine, Self::RejectFile, Self::Fail];

    /// The name as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::RejectFile => "reject_file",
            Self::Fail => "fail",
        }
    }
}

impl Contract {
    /// The same without a limit on bad rows: they go to quarantine, however many there are.
    #[must_use]
    pub fn without_limits(&self) -> Self {
        let on_bad_row = OnBadRow::Quarantine;
        Self { on_bad_row, max_bad_rows: None, max_bad_share_ppm: None, ..self.clone() }
    }

    /// Every column that it names.
    pub fn columns(&self) -> impl Iterator<Item = &String> + Clone {
        let of_rows = self.not_blank.iter().chain(self.types.keys()).chain(self.allowed.keys());
        self.mandatory.iter().chain(of_rows)
    }
}

/// The contract at the path `at`, whose relative paths start at `root`, or `None` with the reasons among the problems.
pub(crate) fn contract(
    file: ContractFile,
    at: &str,
    root: &Path,
    problems: &mut Problems,
) -> Option<Contract> {
    let mut reading = Reading { at, problems };
    let mandatory = reading.names("mandatory", file.mandatory);
    let not_blank = reading.names("not_blank", file.not_blank);
    let on_missing_column = reading.choice(
        "on_missing_column",
        file.on_missing_column,
        &OnMissingColumn::ALL,
        OnMissingColumn::as_str,
    );
    let on_extra_column = reading.choice(
        "on_extra_column",
        file.on_extra_column,
        &OnExtraColumn::ALL,
        OnExtraColumn::as_str,
    );
    let on_bad_row =
        reading.choice("on_bad_row", file.on_bad_row, &OnBadRow::ALL, OnBadRow::as_str);
    let types = reading.types(file.types.unwrap_or_default());
    let allowed = reading.allowed(file.allowed.unwrap_or_default());
    let max_bad_rows = match file.max_bad_rows {
        None => Some(None),
        written => whole_number(problems, &format!("{at}.max_bad_rows"), written, 0, MAX_BAD_ROWS)
            .map(Some),
    };
    let max_bad_share_ppm = match optional(file.max_bad_share) {
        None => Some(None),
        Some(share) => {
            accepted(problems, &format!("{at}.max_bad_share"), units::parse_ppm(&share)).map(Some)
        }
    };
    let reject_to = match optional(file.reject_to) {
        None => Some(None),
        Some(written) => {
            let location = location::absolute(&written, root);
            accepted(problems, &format!("{at}.reject_to"), location).map(Some)
        }
    };
    let reject_move = file.reject_move.unwrap_or_default();
    if reject_move && reject_to == Some(None) {
        problems.add(&format!("{at}.reject_to"), Reason::Missing);
        return None;
    }
    Some(Contract {
        mandatory: mandatory?,
        on_missing_column: on_missing_column?,
        on_extra_column: on_extra_column?,
        not_blank: not_blank?,
        types: types?,
        allowed: allowed?,
        on_bad_row: on_bad_row?,
        max_bad_rows: max_bad_rows?,
        max_bad_share_ppm: max_bad_share_ppm?,
        reject_to: reject_to?,
        reject_move,
    })
}

struct Reading<'a> {
    at: &'a str,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    fn names(&mut self, key: &str, written: Option<Vec<String>>) -> Option<Vec<String>> {
        let columns = written.unwrap_or_default();
        let names: Vec<Option<&str>> = columns.iter().map(|name| Some(name.as_str())).collect();
        let at = format!("{}.{key}", self.at);
        ColumnsOf::Raw.check_names(&at, &names, self.problems).then_some(columns)
    }

    fn choice<T: Copy + Default>(
        &mut self,
        key: &str,
        written: Option<String>,
        choices: &[T],
        shown: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        match optional(written) {
            None => Some(T::default()),
            Some(value) => {
                let at = format!("{}.{key}", self.at);
                accepted(self.problems, &at, one_of(&value, choices, shown))
            }
        }
    }

    fn types(
        &mut self,
        written: BTreeMap<String, Argument>,
    ) -> Option<BTreeMap<String, ColumnType>> {
        let types = written.into_iter().map(|(column, value)| {
            let column_type = match &value {
                Argument::Text(name) => ColumnType::parse(name.trim()),
                other => Err(Reason::WrongType { expected: "text", found: other.to_string() }),
            };
            self.of_column("types", column, column_type)
        });
        types.collect::<Vec<_>>().into_iter().collect()
    }

    fn allowed(
        &mut self,
        written: BTreeMap<String, Argument>,
    ) -> Option<BTreeMap<String, Vec<String>>> {
        let allowed = written.into_iter().map(|(column, value)| {
            let values = match value {
                Argument::Texts(values) if values.is_empty() => Err(Reason::Empty),
                Argument::Texts(values) => Ok(values),
                other => {
                    Err(Reason::WrongType { expected: "a list of texts", found: other.to_string() })
                }
            };
            self.of_column("allowed", column, values)
        });
        allowed.collect::<Vec<_>>().into_iter().collect()
    }

    fn of_column<T>(
        &mut self,
        key: &str,
        column: String,
        value: Result<T, Reason>,
    ) -> Option<(String, T)> {
        let at = format!("{}.{key}.{column}", self.at);
        let is_usable = ColumnsOf::Raw.check_names(&at, &[Some(&column)], self.problems);
        let value = accepted(self.problems, &at, value)?;
        is_usable.then_some((column, value))
    }
}
