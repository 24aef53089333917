//! Statements from a terminal, line by line, until Ctrl-D.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::signal::unix::{SignalKind, signal};

use super::console::{Console, Went};
use super::editing::Editing;
use crate::cli::output;
use crate::error::JobError;
use crate::inspect::sql::script::parts;
use crate::inspect::sql::{SqlError, StatementError};
use crate::telemetry::LogFormat;

const PROMPT: &str = "sessionlake> ";
/// Entries that the history keeps.
const HISTORY_ENTRIES: usize = 10_000;

type Lines = Editor<Editing, FileHistory>;

/// Reads and runs until Ctrl-D or `\q`. A failure is told, and the next statement may come.
pub(super) async fn run(console: &mut Console, log_format: LogFormat) -> Result<(), JobError> {
    let mut interrupts = signal(SignalKind::interrupt()).map_err(JobError::Runtime)?;
    let history = history_file();
    let mut lines = editor(console).map_err(SqlError::Terminal)?;
    if let Some(file) = &history {
        // There is none before the first statement.
        drop(lines.load_history(file));
    }
    loop {
        let text = match tokio::task::block_in_place(|| lines.readline(PROMPT)) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(source) => return Err(SqlError::Terminal(source).into()),
        };
        remember(&mut lines, history.as_ref(), text.trim_end());
        // A Ctrl-C at the prompt is not meant for what comes.
        while futures::FutureExt::now_or_never(interrupts.recv()).is_some() {}
        for part in parts(&text) {
            let went = tokio::select! {
                biased;
                _ = interrupts.recv() => {
                    told("cancelled");
                    break;
                }
                went = console.part(&part) => went,
            };
            match went {
                Ok(Went::On) => {}
                Ok(Went::Left | Went::Unread) | Err(StatementError::ReaderGone) => return Ok(()),
                Err(error) => {
                    output::failure(log_format, &error);
                    break;
                }
            }
        }
        if let Some(editing) = lines.helper_mut() {
            editing.know(console.session.tables());
        }
    }
}

fn editor(console: &Console) -> Result<Lines, ReadlineError> {
    let config =
        Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
    let mut lines = Lines::with_config(config)?;
    lines.set_max_history_size(HISTORY_ENTRIES)?;
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    lines.set_helper(Some(Editing::new(console.session.tables(), is_coloured)));
    Ok(lines)
}

fn remember(lines: &mut Lines, file: Option<&PathBuf>, text: &str) {
    if text.is_empty() {
        return;
    }
    let added = lines.add_history_entry(text);
    if let (Ok(true), Some(file)) = (added, file)
        && let Err(error) = lines.append_history(file)
    {
        tracing::debug!(file = %file.display(), %error, "the history is not kept");
    }
}

/// `sessionlake/history` in the user's folder for state, which is made where it is not there.
fn history_file() -> Option<PathBuf> {
    let folder = |variable| {
        std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    let own = state.join("sessionlake");
    if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&own) {
        tracing::warn!(folder = %own.display(), %error, "the history is not kept");
        return None;
    }
    Some(own.join("history"))
}

/// Nobody is left to tell when standard error is closed.
fn told(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
