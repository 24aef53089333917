//! Logs on standard error: text for people, JSON lines for collectors.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::concealed;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A log filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is not a list of target=level")]
pub struct TelemetryError(#[from] ParseError);

/// Starts logging. `verbose` counts `-v`: warnings, then our own steps, then the libraries'.
/// `RUST_LOG`, where it is set, wins.
pub fn start(format: LogFormat, verbose: u8) -> Result<(), TelemetryError> {
    let default = match verbose {
        0 => "sessionlake=warn,buoyant_kernel=off,error",
        1 => "sessionlake=info,buoyant_kernel=off,error",
        2 => "sessionlake=debug,info",
        _ => "trace",
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text)?,
        _ => EnvFilter::try_new(default)?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Concealing)
        .with_ansi(io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Standard error, any secret replaced. Each log line comes in one piece.
struct Concealing;

impl Write for Concealing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(concealed(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
