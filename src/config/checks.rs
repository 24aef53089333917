//! `[feed.checks]`: which checks a feed is held to, each with its query.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use datafusion::sql::sqlparser::ast::Statement;

use super::check_fault::{CheckFault, Located};
use super::check_file::{CheckFile, ParameterKind, Replacement, is_name};
use super::check_rule::RowCheck;
use super::file::{Argument, CheckUseFile, ChecksFile};
use super::problems::Problems;
use super::reason::{Reason, nearest};
use super::schema;
use super::validate::{accepted, one_of, optional};
use crate::engine::shipped_checks::SHIPPED_CHECKS;

/// What happens when a check finds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is logged, and stands in the result of the run.
    Warn,
    /// Nothing is published.
    Error,
    /// Those rows stay out of ODS.
    Quarantine,
}

impl Severity {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Warn, Self::Error, Self::Quarantine];

    /// The name as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Quarantine => "quarantine",
        }
    }
}

/// Which table of a feed a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckedLayer {
    /// Delivered rows.
    Raw,
    /// Events.
    Ods,
}

impl CheckedLayer {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Ods];

    /// The name as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ods => "ods",
        }
    }
}

/// When a check is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// By every build, and by `sessionlake check`.
    Run,
    /// By `sessionlake check` alone.
    Command,
}

/// One check of a feed, its parameters filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Unique in its feed.
    pub name: String,
    /// What happens when it finds rows.
    pub severity: Severity,
    /// Which table it is about.
    pub on: CheckedLayer,
    /// What is wrong with the rows it finds.
    pub message: String,
    /// The file it stands in, as messages name it.
    pub file: String,
    /// The line of that file in which its query begins.
    pub line: usize,
    /// Its query.
    pub query: Statement,
    /// Tables that the query knows under other names, as their parts: `["ods", "orders"]`.
    pub tables: BTreeMap<String, Vec<String>>,
    /// When it is evaluated.
    pub asked_by: AskedBy,
}

/// `[feed.checks]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChecksConfig {
    /// Every check of the feed, by name.
    pub checks: Vec<Check>,
    /// Those of them that are rules of the mapping.
    pub(crate) rules: Vec<RowCheck>,
    pub(crate) written: ChecksFile,
}

/// Names and their checks, in the making.
struct Reading<'a> {
    at: String,
    problems: &'a mut Problems,
    files: Vec<CheckFile>,
    /// How many of the files are shipped.
    shipped: usize,
    checks: Vec<Check>,
}

/// The checks of the feed whose section is at the path `at`; a relative folder starts at `root`.
pub(crate) fn checks(
    file: ChecksFile,
    at: &str,
    root: &Path,
    problems: &mut Problems,
) -> Option<ChecksConfig> {
    let mut written = file;
    let mut reading =
        Reading { at: at.to_owned(), problems, files: vec![], shipped: 0, checks: vec![] };
    let mut is_good = reading.shipped_files();
    if let Some(folder) = optional(written.folder.take()) {
        let folder = super::location::tidy(&root.join(folder));
        is_good &= reading.own_files(&folder);
        written.folder = Some(folder.to_string_lossy().into_owned());
    }
    written.shipped = written.shipped.filter(|names| !names.is_empty());
    written.skip = written.skip.filter(|names| !names.is_empty());
    let asked = written.shipped.clone().unwrap_or_default();
    is_good &= reading.plain(&asked);
    for (index, of_use) in written.r#use.iter().flatten().enumerate() {
        is_good &= reading.used(index, of_use);
    }
    is_good &= reading.skip(written.skip.as_deref().unwrap_or_default());
    let mut checks = reading.checks;
    checks.sort_by(|left, right| left.name.cmp(&right.name));
    let mut rules = Vec::new();
    for check in checks.iter().filter(|check| check.severity == Severity::Quarantine) {
        match RowCheck::of(check) {
            Ok(rule) => rules.push(rule),
            Err(fault) => {
                let reason = Reason::BadCheck { file: check.file.clone(), line: check.line, fault };
                problems.add(&format!("{at}.folder"), reason);
                is_good = false;
            }
        }
    }
    is_good.then_some(ChecksConfig { checks, rules, written })
}

impl Reading<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    fn fault(&mut self, key: &str, file: &str, Located { line, fault }: Located) -> bool {
        let at = self.key(key);
        self.problems.add(&at, Reason::BadCheck { file: file.to_owned(), line, fault });
        // One file with a fault hides none of the next.
        self.problems.reopen(&at);
        false
    }

    fn shipped_files(&mut self) -> bool {
        let mut is_good = true;
        for (name, text) in SHIPPED_CHECKS {
            let file = format!("sql/checks/{name}.sql");
            match CheckFile::parse(name, &file, text) {
                Ok(parsed) => self.files.push(parsed),
                Err(located) => is_good = self.fault("shipped", &file, located),
            }
        }
        self.shipped = self.files.len();
        is_good
    }

    fn own_files(&mut self, folder: &Path) -> bool {
        let paths = match sql_files(folder) {
            Ok(paths) => paths,
            Err(kind) => {
                let reason = Reason::NoChecks { folder: folder.to_owned(), kind };
                let at = self.key("folder");
                self.problems.add(&at, reason);
                return false;
            }
        };
        let mut is_good = true;
        for path in paths {
            let shown = path.to_string_lossy().into_owned();
            match self.own_file(&path, &shown) {
                Ok(parsed) => self.files.push(parsed),
                Err(located) => is_good = self.fault("folder", &shown, located),
            }
        }
        is_good
    }

    fn own_file(&self, path: &Path, shown: &str) -> Result<CheckFile, Located> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !is_name(&name) {
            return Err(CheckFault::BadName { name: name.into_owned() }.at(1));
        }
        if let Some(other) = self.files.iter().find(|other| other.name == name) {
            let (name, other) = (name.into_owned(), other.file.clone());
            return Err(CheckFault::NameTaken { name, other }.at(1));
        }
        let text = fs::read_to_string(path)
            .map_err(|error| CheckFault::Unreadable { kind: error.kind() }.at(1))?;
        CheckFile::parse(&name, shown, &text)
    }

    /// Checks without parameters: those of the feed, and the shipped ones, which a build asks
    /// only where they are named.
    fn plain(&mut self, asked: &[String]) -> bool {
        let mut is_good = true;
        for (index, name) in asked.iter().enumerate() {
            let shipped = &self.files[..self.shipped];
            let reason = match shipped.iter().find(|file| file.name == *name) {
                None => Some(unknown(name, shipped.iter().map(|file| file.name.as_str()))),
                Some(file) if !file.parameters.is_empty() => {
                    Some(Reason::CheckNeedsParameters { check: name.clone() })
                }
                Some(_) => None,
            };
            if let Some(reason) = reason {
                let at = self.key(&format!("shipped[{index}]"));
                self.problems.add(&at, reason);
                is_good = false;
            }
        }
        for number in 0..self.files.len() {
            let file = &self.files[number];
            if !file.parameters.is_empty() {
                continue;
            }
            let is_asked = number >= self.shipped || asked.contains(&file.name);
            let asked_by = if is_asked { AskedBy::Run } else { AskedBy::Command };
            match file.check(file.name.clone(), &BTreeMap::new(), asked_by) {
                Ok(check) => self.checks.push(check),
                Err(located) => {
                    let shown = file.file.clone();
                    is_good = self.fault("folder", &shown, located);
                }
            }
        }
        is_good
    }

    /// One `[[feed.checks.use]]`.
    fn used(&mut self, index: usize, written: &CheckUseFile) -> bool {
        match self.check_of_use(index, written) {
            Ok(check) => {
                self.checks.push(check);
                true
            }
            Err(Unusable::Value(key, reason)) => {
                let at = self.key(&format!("use[{index}].{key}"));
                self.problems.add(&at, reason);
                false
            }
            Err(Unusable::File(file, located)) => {
                self.fault(&format!("use[{index}]"), &file, located)
            }
        }
    }

    fn check_of_use(&mut self, index: usize, written: &CheckUseFile) -> Result<Check, Unusable> {
        let value = |key: &str, reason| Unusable::Value(key.to_owned(), reason);
        let wanted = written.check.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let wanted = wanted.ok_or_else(|| value("check", Reason::Missing))?;
        let known = self.files.iter().map(|file| file.name.as_str());
        let file = self.files.iter().find(|file| file.name == wanted);
        let file = file.ok_or_else(|| value("check", unknown(wanted, known)))?;
        let name = optional(written.name.clone()).unwrap_or_else(|| wanted.to_owned());
        if !is_name(&name) {
            return Err(value("name", Reason::BadCheckName { name }));
        }
        if self.checks.iter().any(|check| check.name == name) {
            return Err(value("name", Reason::CheckNameTaken { name }));
        }
        let arguments = arguments(file, written.with.as_ref())?;
        let mut check = file
            .check(name, &arguments, AskedBy::Run)
            .map_err(|located| Unusable::File(file.file.clone(), located))?;
        if let Some(severity) = optional(written.severity.clone()) {
            let severity = one_of(&severity, &Severity::ALL, Severity::as_str);
            let at = format!("{}.use[{index}].severity", self.at);
            check.severity = accepted(self.problems, &at, severity).unwrap_or(check.severity);
        }
        if let Some(on) = optional(written.on.clone()) {
            let on = one_of(&on, &CheckedLayer::ALL, CheckedLayer::as_str);
            let at = format!("{}.use[{index}].on", self.at);
            check.on = accepted(self.problems, &at, on).unwrap_or(check.on);
        }
        Ok(check)
    }

    fn skip(&mut self, names: &[String]) -> bool {
        let mut is_good = true;
        for (index, name) in names.iter().enumerate() {
            let known = self.checks.iter().map(|check| check.name.as_str());
            if !self.checks.iter().any(|check| check.name == *name) {
                let (at, reason) = (self.key(&format!("skip[{index}]")), unknown(name, known));
                self.problems.add(&at, reason);
                is_good = false;
            }
        }
        self.checks.retain(|check| !names.contains(&check.name));
        is_good
    }
}

/// Why a use cannot be used: a key of it, or the file it names.
enum Unusable {
    Value(String, Reason),
    File(String, Located),
}

impl CheckFile {
    fn check(
        &self,
        name: String,
        arguments: &BTreeMap<String, Replacement>,
        asked_by: AskedBy,
    ) -> Result<Check, Located> {
        let query = self.query(arguments)?;
        let tables = arguments.iter().filter_map(|(name, argument)| match argument {
            Replacement::Table(parts) => Some((name.clone(), parts.clone())),
            _ => None,
        });
        Ok(Check {
            name,
            severity: self.severity,
            on: self.on,
            message: self.message.clone(),
            file: self.file.clone(),
            line: self.first_line(),
            query,
            tables: tables.collect(),
            asked_by,
        })
    }
}

fn arguments(
    file: &CheckFile,
    with: Option<&BTreeMap<String, Argument>>,
) -> Result<BTreeMap<String, Replacement>, Unusable> {
    let none = BTreeMap::new();
    let with = with.unwrap_or(&none);
    let at = |name: &str| format!("with.{name}");
    if let Some(name) = with.keys().find(|name| file.parameters.iter().all(|(p, _)| p != *name)) {
        let known: Vec<String> = file.parameters.iter().map(|(name, _)| name.clone()).collect();
        let reason = Reason::UnknownParameter { name: name.clone(), known };
        return Err(Unusable::Value(at(name), reason));
    }
    let mut arguments = BTreeMap::new();
    for (name, kind) in &file.parameters {
        let given = match with.get(name) {
            Some(value) => replacement(value, *kind),
            None => Err(Reason::MissingParameter { name: name.clone(), kind: kind.as_str() }),
        };
        let given = given.map_err(|reason| Unusable::Value(at(name), reason))?;
        arguments.insert(name.clone(), given);
    }
    Ok(arguments)
}

/// What stands in the query for a value of `with`.
fn replacement(value: &Argument, kind: ParameterKind) -> Result<Replacement, Reason> {
    let is_full = |text: &String| !text.trim().is_empty();
    match (kind, value) {
        (ParameterKind::Column, Argument::Text(text)) if is_full(text) => {
            Ok(Replacement::Columns(vec![text.clone()]))
        }
        (ParameterKind::Columns, Argument::Texts(texts))
            if !texts.is_empty() && texts.iter().all(is_full) =>
        {
            Ok(Replacement::Columns(texts.clone()))
        }
        (ParameterKind::Text, Argument::Text(text)) => Ok(Replacement::Texts(vec![text.clone()])),
        (ParameterKind::Texts, Argument::Texts(texts)) if !texts.is_empty() => {
            Ok(Replacement::Texts(texts.clone()))
        }
        (ParameterKind::Number, Argument::Number(number)) => Ok(Replacement::Number(*number)),
        (ParameterKind::Table, Argument::Text(text)) if is_table(text) => {
            Ok(Replacement::Table(text.split('.').map(|part| part.trim().to_owned()).collect()))
        }
        _ => {
            let found = match value {
                Argument::Text(text) => format!("`{text}`"),
                Argument::Number(number) => number.to_string(),
                Argument::Texts(texts) => format!("[{}]", texts.join(", ")),
            };
            Err(Reason::WrongType { expected: kind.expected(), found })
        }
    }
}

/// `ods.orders`, or `acme.raw.orders` of a client.
fn is_table(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').map(str::trim).collect();
    matches!(parts.len(), 2 | 3) && parts.iter().all(|part| !part.is_empty())
}

fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Reason {
    let known: Vec<String> = known.map(ToOwned::to_owned).collect();
    let suggestion = nearest(name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
    Reason::UnknownCheck { name: name.to_owned(), suggestion, known }
}

/// The SQL files of a folder, by name.
fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, io::ErrorKind> {
    let entries = fs::read_dir(folder).map_err(|error| error.kind())?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.kind())?.path();
        if path.extension().is_some_and(|ending| ending == "sql") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The keys of `[feed.checks]`.
pub(crate) const CHECKS: &[schema::Key] = &[
    schema::text("folder", "\"checks/\"")
        .about("Folder of the feed's own checks, one SQL file each; \"\": none.")
        .default("\"\""),
    schema::text_list("shipped", "[\"session_start_after_event\"]")
        .about("Shipped checks that every build asks, too.")
        .default("[]"),
    schema::text_list("skip", "[\"break_inside_session\"]")
        .about("Names of checks that nobody asks.")
        .default("[]"),
    schema::sections("use", CHECK_USE)
        .about("A check with parameters; written [[feed.checks.use]]."),
];

/// The keys of `[[feed.checks.use]]`.
pub(crate) const CHECK_USE: &[schema::Key] = &[
    schema::text("check", "\"missing_values\"")
        .about("The check, shipped or of the folder.")
        .required(),
    schema::text("name", "\"users_missing\"").about("Its name; unset: that of the check."),
    schema::text("severity", "\"error\"")
        .about("What happens when it finds rows; unset: as the check says.")
        .one_of(&["warn", "error", "quarantine"]),
    schema::text("on", "\"ods\"")
        .about("Which table it is about; unset: as the check says.")
        .one_of(&["raw", "ods"]),
    schema::values("with", "{ columns = [\"user_id\"] }").about("Its parameters."),
];
