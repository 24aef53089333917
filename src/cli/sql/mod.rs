//! The command `sql`.

mod console;
mod editing;
mod shell;

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use datafusion_cli::print_options::MaxRows;
use serde_json::{Value, json};

use super::args::{Global, OutputFormat, WhichFeeds};
use super::commands::{Ended, load};
use super::output;
use super::selection::select;
use crate::engine::questions::{QUESTIONS, Question};
use crate::error::JobError;
use crate::inspect::sql::{Access, Format, Session, SqlError};
use console::{Console, Limit, Script};

/// Rows that a table on a terminal shows, where nothing else is asked for.
const TERMINAL_ROWS: usize = 100;

#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// Run these statements and end (may be given several times)
    #[arg(short, long, value_name = "SQL")]
    command: Vec<String>,
    /// Run the statements of this file and end; - is standard input (may be given several times;
    /// files come before questions, and those before -c)
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Ask one of the questions that come with the program, and end (may be given several times)
    #[arg(long, value_name = "NAME")]
    question: Vec<String>,
    /// List the questions that come with the program
    #[arg(long, conflicts_with_all = ["command", "file", "question"])]
    list: bool,
    /// Form of the rows [default: table on a terminal, json with --output json, else csv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<RowFormat>,
    /// Print at most this many rows of a statement, or none for all [default: 100 in a table on a
    /// terminal, else all]
    #[arg(long, value_name = "N")]
    max_rows: Option<MaxRows>,
    /// Print nothing but rows; a table that is cut on a terminal says so all the same
    #[arg(short, long)]
    quiet: bool,
    /// Let statements write: files with copy, and tables, views and external tables of this
    /// session; never a table of the lake
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Short for --set engine.memory_limit=SIZE, such as 512MB
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
    /// Short for --set engine.spill_dir=FOLDER
    #[arg(long, value_name = "FOLDER")]
    spill_dir: Option<String>,
}

/// Form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowFormat {
    /// A table for people.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One array of objects for each statement.
    Json,
    /// One object on each line.
    NdJson,
}

impl From<RowFormat> for Format {
    fn from(format: RowFormat) -> Self {
        match format {
            RowFormat::Table => Self::Table,
            RowFormat::Csv => Self::Csv,
            RowFormat::Tsv => Self::Tsv,
            RowFormat::Json => Self::Json,
            RowFormat::NdJson => Self::NdJson,
        }
    }
}

/// Runs what was asked for; with nothing, what standard input holds, or a shell on a terminal.
pub(super) async fn sql(global: &Global, args: SqlArgs) -> Result<Ended, JobError> {
    if args.list {
        return list(global.output).map(|()| Ended::Done);
    }
    let mut scripts = scripts(&args)?;
    let is_shell = scripts.is_empty() && io::stdin().is_terminal();
    if scripts.is_empty() && !is_shell {
        scripts.push(read(Path::new(STANDARD_INPUT))?);
    }
    let mut set = args.set.clone();
    set.extend(args.memory_limit.iter().map(|limit| format!("engine.memory_limit={limit}")));
    set.extend(args.spill_dir.iter().map(|folder| format!("engine.spill_dir={folder}")));
    let config = load(global, set)?;
    let own = match select(&config, &args.which)?.as_slice() {
        [feed] => Some(*feed),
        _ => None,
    };
    let access = if args.write { Access::Write } else { Access::Read };
    let session = Session::open(&config, own, access)?;
    let mut console = console(global, &args, session);
    if is_shell {
        shell::run(&mut console, global.log_format).await?;
        return Ok(Ended::Done);
    }
    for script in scripts {
        if console.run(&script).await? == console::Went::Unread {
            break;
        }
    }
    Ok(Ended::Done)
}

fn console(global: &Global, args: &SqlArgs, session: Session) -> Console {
    let is_terminal = io::stdout().is_terminal();
    let format = match (args.format, global.output) {
        (Some(format), _) => format.into(),
        (None, OutputFormat::Json) => Format::Json,
        (None, OutputFormat::Table) if is_terminal => Format::Table,
        (None, OutputFormat::Table) => Format::Csv,
    };
    let limit = match args.max_rows {
        Some(MaxRows::Limited(rows)) => Limit::Always(rows),
        Some(MaxRows::Unlimited) => Limit::Never,
        None if is_terminal => Limit::OfTables(TERMINAL_ROWS),
        None => Limit::Never,
    };
    let is_quiet = args.quiet || !is_terminal;
    Console { session, format, limit, is_quiet, including: 0 }
}

/// The name of standard input among files.
const STANDARD_INPUT: &str = "-";

/// All that is to be run, read before any of it is run.
fn scripts(args: &SqlArgs) -> Result<Vec<Script>, SqlError> {
    let mut scripts: Vec<Script> =
        args.file.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    for name in &args.question {
        scripts.push(question(name)?);
    }
    let commands = args.command.iter();
    scripts.extend(commands.map(|text| Script { name: "-c".to_owned(), text: text.clone() }));
    Ok(scripts)
}

/// A file of statements.
fn read(file: &Path) -> Result<Script, SqlError> {
    let is_standard_input = file == Path::new(STANDARD_INPUT);
    let mut text = String::new();
    let read = if is_standard_input {
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let name =
        if is_standard_input { "standard input".to_owned() } else { file.display().to_string() };
    match read {
        Ok(text) => Ok(Script { name, text }),
        Err(source) => Err(SqlError::Script { file: PathBuf::from(name), source }),
    }
}

fn question(name: &str) -> Result<Script, SqlError> {
    match QUESTIONS.iter().find(|question| question.name == name) {
        Some(Question { name, sql }) => {
            Ok(Script { name: format!("question {name}"), text: (*sql).to_owned() })
        }
        None => {
            let known = QUESTIONS.map(|question| question.name).join(", ");
            Err(SqlError::UnknownQuestion { name: name.to_owned(), known })
        }
    }
}

fn list(format: OutputFormat) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let shown = QUESTIONS.iter().map(|question| {
            json!({ "name": question.name, "description": question.description(), "sql": question.sql })
        });
        return output::document(&json!({ "questions": shown.collect::<Vec<Value>>() }));
    }
    let mut shown = output::table(&["question", "what it tells"], 2);
    for question in &QUESTIONS {
        shown.add_row([question.name, question.description()]);
    }
    output::text(&shown.to_string())
}
