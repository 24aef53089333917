//! Parts of scripts, run one after the other, and their rows on standard output.

use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Instant;

use datafusion_cli::command::Command;

use super::read;
use crate::inspect::sql::script::{Kind, Part, parts};
use crate::inspect::sql::{Format, Place, Printed, Session, SqlError, StatementError, cli_options};

/// What `\?` prints.
const HELP: &str = "\
\\d              list the tables
\\d NAME         describe a table
\\i FILE         run the statements of a file
\\pset           show the form of the rows
\\pset format F  change it: table, csv, tsv, json or nd-json
\\quiet on|off   print rows alone, or also how many and how long it took
\\h              list statements that have a help
\\h STATEMENT    show the help of one
\\?              this
\\q              leave

A statement ends with ; and may have several lines. Ctrl-C ends a statement, Ctrl-D leaves.
at_version('ods.events', 12), at_time('ods.events', '2026-01-03T00:00:00Z') and
history('ods.events') are a table as it was, and its commits.
";

/// Files that may include one another; one that includes itself would never end.
const MOST_INCLUDES: usize = 16;

/// A text of statements and what to call it.
pub(super) struct Script {
    pub(super) name: String,
    pub(super) text: String,
}

/// How many rows of a statement are printed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    Never,
    Always(usize),
    OfTables(usize),
}

/// How a script, or a part of it, came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    On,
    /// With `\q`.
    Left,
    /// Nobody reads the rows any more.
    Unread,
}

/// Where statements go and how their rows are shown.
pub(super) struct Console {
    pub(super) session: Session,
    pub(super) format: Format,
    pub(super) limit: Limit,
    pub(super) is_quiet: bool,
    /// Files that are being run because another one includes them.
    pub(super) including: usize,
}

impl Console {
    /// Runs a script up to its end or its first failure.
    pub(super) async fn run(&mut self, script: &Script) -> Result<Went, SqlError> {
        for (index, part) in parts(&script.text).iter().enumerate() {
            match self.part(part).await {
                Ok(Went::On) => {}
                Ok(went) => return Ok(went),
                Err(StatementError::ReaderGone) => return Ok(Went::Unread),
                Err(source) => {
                    let script = script.name.clone();
                    let place = Place { script, statement: index + 1, line: part.line };
                    return Err(SqlError::Statement { place, source: Box::new(source) });
                }
            }
        }
        Ok(Went::On)
    }

    /// Runs one statement or command.
    pub(super) async fn part(&mut self, part: &Part) -> Result<Went, StatementError> {
        match part.kind {
            Kind::Command => self.command(&part.text).await,
            Kind::Statement => {
                // Lines of errors are then those of the script.
                let above = "\n".repeat(part.line - 1);
                self.statement(&format!("{above}{}", part.text)).await.map(|()| Went::On)
            }
        }
    }

    async fn statement(&self, sql: &str) -> Result<(), StatementError> {
        let started = Instant::now();
        let rows = self.session.ask(sql, self.format).await?;
        let mut out = io::BufWriter::new(io::stdout());
        let limit = match self.limit {
            Limit::Always(rows) => Some(rows),
            Limit::OfTables(rows) if self.format == Format::Table => Some(rows),
            Limit::Never | Limit::OfTables(_) => None,
        };
        let printed = rows.print(&self.session, self.format, limit, &mut out).await?;
        // A limit that nobody asked for is always told.
        let is_cut = printed.more && matches!(self.limit, Limit::OfTables(_));
        if self.is_quiet && !is_cut {
            return Ok(());
        }
        tell(&format!("{}{:.3} s\n", summary(printed), started.elapsed().as_secs_f64()))
    }

    /// The commands of the DataFusion CLI.
    async fn command(&mut self, line: &str) -> Result<Went, StatementError> {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let unknown = || StatementError::UnknownCommand { command: words.clone() };
        let Ok(command) = Command::from_str(words.trim_start_matches('\\')) else {
            return Err(unknown());
        };
        match command {
            Command::Quit => return Ok(Went::Left),
            Command::Help => tell(HELP)?,
            Command::ListTables => tell(&self.tables())?,
            Command::DescribeTableStmt(name) => {
                self.statement(&format!("describe {name}")).await?;
            }
            Command::Include(Some(file)) => {
                if self.including == MOST_INCLUDES {
                    return Err(StatementError::TooManyIncludes { file, most: MOST_INCLUDES });
                }
                let script = read(Path::new(&file)).map_err(Box::new)?;
                self.including += 1;
                let went = Box::pin(self.run(&script)).await;
                self.including -= 1;
                return went.map_err(|error| Box::new(error).into());
            }
            Command::QuietMode(quiet) => {
                self.is_quiet = quiet.unwrap_or(self.is_quiet);
                tell(&format!("quiet is {}\n", if self.is_quiet { "on" } else { "off" }))?;
            }
            Command::OutputFormat(setting) => self.shape(setting.as_deref())?,
            Command::ListFunctions | Command::SearchFunctions(_) => {
                let context = self.session.context();
                let done = command.execute(context, &mut cli_options(Format::Table)).await;
                done.map_err(|source| self.session.failed(source))?;
            }
            Command::Include(None) | Command::ObjectStoreProfileMode(_) => return Err(unknown()),
        }
        Ok(Went::On)
    }

    fn shape(&mut self, setting: Option<&str>) -> Result<(), StatementError> {
        if let Some(setting) = setting {
            let wanted = setting.strip_prefix("format").unwrap_or(setting).trim();
            let Some((_, format)) = Format::ALL.iter().find(|(name, _)| *name == wanted) else {
                let known = Format::ALL.map(|(name, _)| name).join(", ");
                return Err(StatementError::UnknownFormat { format: wanted.to_owned(), known });
            };
            self.format = *format;
        }
        let name = Format::ALL.iter().find(|(_, format)| *format == self.format);
        tell(&format!("format is {}\n", name.map_or("", |(name, _)| name)))
    }

    /// A line for each table, as a statement names it.
    fn tables(&self) -> String {
        self.session.tables().into_iter().map(|name| name + "\n").collect()
    }
}

fn summary(printed: Printed) -> String {
    match printed {
        Printed { rows: None, .. } => String::new(),
        Printed { rows: Some(1), more: false } => "1 row, ".to_owned(),
        Printed { rows: Some(rows), more: false } => format!("{rows} rows, "),
        Printed { rows: Some(rows), more: true } => {
            format!("the first {rows} rows; there are more (--max-rows none shows all); ")
        }
    }
}

/// Prints to standard output.
fn tell(text: &str) -> Result<(), StatementError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(StatementError::ReaderGone),
        written => written.map_err(StatementError::Output),
    }
}
