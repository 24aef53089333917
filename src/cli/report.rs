//! The command `report`.

use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use chrono::NaiveDate;
use clap::Args;
use serde_json::json;

use super::args::{Global, OutputFormat, WhichFeeds};
use super::commands::{Ended, StopSignals, load};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect::report::{self, Asked, page};

/// Most keys that `--keys` takes.
const MOST_KEYS: i64 = 5000;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Where the page goes; a file that is there is replaced, `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// First event date [default: the newest 60 event dates]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Last event date [default: the newest]
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// How many of the most active keys of each feed the session browser has, 0 to 5000
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(i64).range(0..=MOST_KEYS))]
    keys: i64,
    /// A user whose sessions the browser has, too (may be given several times)
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    #[command(flatten)]
    which: WhichFeeds,
    /// Override a setting, as for run; other session rules than those recorded, such as
    /// session.timeout=10m, are planned: the page then says what they would change
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Writes the page and says where.
pub(super) async fn report(global: &Global, args: ReportArgs) -> Result<Ended, JobError> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(JobError::EmptyRange { from, to });
    }
    let config = load(global, args.set)?;
    let feeds = select(&config, &args.which)?;
    let keys = usize::try_from(args.keys).unwrap_or_default();
    let asked = Asked { from: args.from, to: args.to, keys, users: args.user };
    let mut stop = StopSignals::listen().map_err(JobError::Runtime)?;
    let report = tokio::select! {
        report = report::report(&config, &feeds, &asked) => report?,
        signal = stop.received() => return Ok(signal),
    };
    if args.out == Path::new("-") {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        output::to_stdout(page::render(&report, &mut stdout).map(drop))?;
        return Ok(Ended::Done);
    }
    let bytes = page::write(&report, &args.out)?;
    let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
    match global.output {
        OutputFormat::Json => {
            output::document(&json!({ "path": args.out, "bytes": bytes, "feeds": names }))?;
        }
        OutputFormat::Table => {
            let (out, size) = (args.out.display(), ByteSize(bytes));
            output::text(&format!("{out}: {size}, {}", names.join(", ")))?;
        }
    }
    Ok(Ended::Done)
}
