//! The clap structs.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::explain::ExplainArgs;
use super::history::HistoryArgs;
use super::plan::PlanArgs;
use super::report::ReportArgs;
use super::status::StatusArgs;
use super::verify::VerifyArgs;
use crate::config::encrypted::Recipient;
use crate::stages::ingest::outcome::FileStatus;
use crate::telemetry::LogFormat;

/// Daily batches of raw events in, exact sessions in a Delta Lake table out.
#[derive(Debug, Parser)]
#[command(name = "sessionlake", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done (also when nothing was left to do), 1 failed, 2 wrong \
    use or configuration, 3 done but for files that were rejected, or a check of severity error \
    found rows, 4 another run committed first (try again), 5 verify found a difference, 130 and 143 stopped by a \
    signal.\n\nExample:\n  sessionlake run --arrival-date 2026-01-08")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Configuration file [default: ./sessionlake.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,
    /// Environment whose file, such as sessionlake.prod.toml for prod, is laid over the
    /// configuration file [default: $SESSIONLAKE_ENV, else none]
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) env: Option<String>,
    #[arg(
        long,
        help = "Where the tables live: a folder, or s3://bucket/prefix (overrides the configuration)",
        value_name = "URL",
        global = true
    )]
    pub(super) lake: Option<String>,
    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t = OutputFormat::Table, global = true)]
    pub(super) output: OutputFormat,
    /// Form of the log lines on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(super) log_format: LogFormat,
    /// Log more: -v our steps, -vv the libraries' too
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,
}

/// Form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// A table for people.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ingest, build and retention for each arrival date, in order
    ///
    /// Without a date it catches up on every file that was not processed yet. Running a date
    /// again is always safe.
    #[command(after_help = "Example:\n  sessionlake run --arrival-date 2026-01-08")]
    Run(RunArgs),
    /// Append the files of each arrival date to raw, each exactly once
    #[command(after_help = "Example, a load of history under today's arrival date:\n  \
        sessionlake ingest --arrival-date 2026-01-08 --accept-late")]
    Ingest(IngestArgs),
    /// Build ODS from raw, for every arrival date with deliveries that are not built
    #[command(after_help = "Example:\n  sessionlake build --arrival-date 2026-01-08 --force")]
    Build(BuildArgs),
    /// Remove arrival dates older than [retention] raw_days from raw and quarantine
    ///
    /// Never a date that is not fully built. ODS is kept for ever. Data files that left any table
    /// more than removed_files_days ago then leave the store.
    #[command(after_help = "Example:\n  sessionlake retention --as-of 2026-01-31 --dry-run")]
    Retention(RetentionArgs),
    /// Recompute ODS from an event date on, under the configured rules
    ///
    /// All event dates from DATE on are replaced in one commit. Where the configured rules differ
    /// from the recorded ones, they are recorded from DATE on.
    #[command(after_help = "Example, first to see what it would change:\n  \
        sessionlake reprocess --from 2026-01-05 --dry-run\n  \
        sessionlake reprocess --from 2026-01-05")]
    Reprocess(ReprocessArgs),
    /// Take a wrong delivery back, as if it had never come
    ///
    /// Its rows leave raw and quarantine, and ODS is recomputed from the first event date that they
    /// touch, so that rows which lost against them come back. All deliveries of that name and
    /// arrival date go, also where the file came twice with different content. The file is not
    /// taken in again, unless its content changes or it comes under another name.
    #[command(after_help = "Example, first to see what it would change:\n  \
        sessionlake withdraw --file 2026-01-08.csv --arrival-date 2026-01-08 --dry-run\n  \
        sessionlake withdraw --file 2026-01-08.csv --arrival-date 2026-01-08")]
    Withdraw(WithdrawArgs),
    /// Tidy up every table: files that nobody needs leave the store, small ones are joined
    ///
    /// Removes data files that left a table more than removed_files_days ago, files that a killed
    /// run left and no commit names, and old log; writes a checkpoint where one is due; joins the
    /// small files of a date that has many. No row changes.
    #[command(after_help = "Example:\n  sessionlake maintain --dry-run")]
    Maintain(MaintainArgs),
    /// List the files that runs have seen, and what became of each
    #[command(after_help = "Example:\n  sessionlake files --status changed")]
    Files(FilesArgs),
    /// Look at what was refused, and bring rows back after a change of the configuration
    #[command(after_help = "Example:\n  sessionlake quarantine list")]
    Quarantine {
        #[command(subcommand)]
        command: QuarantineCommand,
    },
    /// Ask the checks of what the lake holds, and write nothing
    ///
    /// A check is a query that returns offending rows; see [feed.checks]. Those on raw are asked
    /// of each arrival date by itself, those on ods of all rows, or of those that the dates given
    /// brought. Exit code 3 when a check of severity error found rows.
    #[command(after_help = "Example:\n  sessionlake check --check break_inside_session")]
    Check(CheckArgs),
    /// Show the lake in one HTML page: runs, arrivals, sessions, quarantine, keys
    ///
    /// With a browser of the sessions of the most active keys and of those of --user, and what other
    /// session rules would change. The page holds all that it needs and asks nothing of any network.
    #[command(after_help = "Example:\n  sessionlake report --out report.html --user u000001")]
    Report(ReportArgs),
    /// Ask the lake in SQL: a shell on a terminal, or statements from -c, -f or standard input
    ///
    /// Every table is there by its name: raw.events, ods.events, sessions.events,
    /// quarantine.events, files, runs; with clients acme.ods.events. Where one feed is meant, its
    /// tables are also raw, ods, sessions and quarantine. at_version('ods.events', 12) and
    /// at_time('ods.events', '2026-01-03T00:00:00Z') are a table as it was, history('ods.events')
    /// its commits. Nothing is written without --write. Exit code 1 when a statement fails; those
    /// behind it are not tried.
    #[command(after_help = "Examples:\n  \
        sessionlake sql -c 'select pdate, count(*) from ods.events group by pdate'\n  \
        sessionlake sql --question sessions_per_day --format json\n  \
        echo 'select * from runs' | sessionlake sql > runs.csv")]
    Sql(super::sql::SqlArgs),
    /// Show how the lake is: what is built, what waits, what was refused, what it takes on the store
    ///
    /// Exit code 1 when somebody should look: the last run of a feed that did something failed or was
    /// interrupted, arrival dates are delivered and not built, ODS has not followed a withdrawal, the
    /// sessions table has not followed ODS, files of the arrival dates that raw keeps were rejected and no good one has come under the
    /// same name, a run that found files more than six hours ago has not ended, or, with --sources,
    /// there are files that no run has seen.
    #[command(after_help = "Example, for a monitor:\n  sessionlake status --output json")]
    Status(StatusArgs),
    /// List runs with what they did, the newest first
    #[command(after_help = "Example:\n  sessionlake history --failed --limit 5")]
    History(HistoryArgs),
    /// Tell why an event has its session: the events of a user in time, with the rule that fired
    ///
    /// Of each event the gap, the rule, the session, the arrival date that brought it, and, from the
    /// versions of ODS that are still kept, what its session was before and which run changed it.
    /// Without a moment, the last date on which the user was active.
    #[command(
        after_help = "Example:\n  sessionlake explain --user u000001 --at 2026-01-05T10:00:00Z"
    )]
    Explain(ExplainArgs),
    /// Tell how sessions would be under other session rules, and write nothing
    ///
    /// What `reprocess --from DATE --source ods` with the same settings would do: which sessions are
    /// split, merged, resized, gone or new, which events change their session, by date and by
    /// product, and the ten keys that it concerns most.
    #[command(after_help = "Example:\n  sessionlake plan --set session.timeout=10m")]
    Plan(PlanArgs),
    /// Compute ODS again from its facts, by an independent definition of the rules, and compare
    ///
    /// Besides: no event stands there twice, each session id belongs to one session, the data files
    /// are sorted as they say, and every row that a build has read is accounted for. The first
    /// difference is shown with the fewest events that show it. Nothing is written. Exit code 5 on
    /// a difference.
    #[command(after_help = "Examples:\n  sessionlake verify --source raw\n  \
        sessionlake verify --sample 1000\n  sessionlake verify --from 2026-01-08")]
    Verify(VerifyArgs),
    /// Check all that a run needs: configuration, sources, lake, store, clock, disk
    ///
    /// Above all that the store honours conditional PUT: one that does not loses commits, and is
    /// refused by every command that writes.
    #[command(after_help = "Example:\n  sessionlake doctor --lake s3://bucket/prefix")]
    Doctor(DoctorArgs),
    /// Write believable sample batches: bursty sessions, late and repeated events, ties in time
    ///
    /// The same options give the same bytes.
    #[command(after_help = "Example:\n  sessionlake generate --out /tmp/batches --days 9 \
        --events-per-day 100000 --users 12500")]
    Generate(GenerateArgs),
    /// Show or check the configuration, or print its JSON Schema
    #[command(after_help = "Example:\n  sessionlake config check")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Encrypt values for the configuration
    #[command(
        after_help = "Example:\n  sessionlake secret encrypt --recipient age1... < password.txt"
    )]
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
}

/// Which feeds.
#[derive(Debug, Args)]
pub(super) struct WhichFeeds {
    /// Only this feed, or those that match, such as '*/events' (may be given several times)
    /// [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) feed: Vec<String>,
    /// Only the feeds of this client, or of those that match, such as 'gard*' (may be given
    /// several times); --feed then needs no client before the name
    #[arg(long, value_name = "NAME")]
    pub(super) client: Vec<String>,
}

/// Which feeds, and under which settings.
#[derive(Debug, Args)]
pub(super) struct FeedArgs {
    #[command(flatten)]
    pub(super) which: WhichFeeds,
    /// Override a setting: session.timeout=10m, events:session.timeout=10m for one feed, or
    /// engine.memory_limit=512MB
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Short for --set session.timeout=DURATION
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
    /// Short for --set session.max_duration=DURATION
    #[arg(long, value_name = "DURATION")]
    pub(super) max_duration: Option<String>,
    /// Short for --set engine.memory_limit=SIZE, such as 512MB
    #[arg(long, value_name = "SIZE")]
    pub(super) memory_limit: Option<String>,
    /// Short for --set engine.spill_dir=FOLDER
    #[arg(long, value_name = "FOLDER")]
    pub(super) spill_dir: Option<String>,
}

impl WhichFeeds {
    /// Whether every feed is meant.
    pub(super) fn is_all(&self) -> bool {
        self.feed.is_empty() && self.client.is_empty()
    }
}

/// Which arrival dates.
#[derive(Debug, Args)]
pub(super) struct DateArgs {
    /// One arrival date, as 2026-01-08
    #[arg(long, value_name = "DATE", conflicts_with_all = ["from", "to"])]
    pub(super) arrival_date: Option<NaiveDate>,
    /// First arrival date of a range
    #[arg(long, value_name = "DATE", requires = "to")]
    pub(super) from: Option<NaiveDate>,
    /// Last arrival date of a range
    #[arg(long, value_name = "DATE", requires = "from")]
    pub(super) to: Option<NaiveDate>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) dates: DateArgs,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
    /// Where the configured rules differ from those ODS was built with, let the new ones hold
    /// for what is to come: session rules after the newest event date, a mapping from this
    /// arrival date on
    #[arg(long)]
    pub(super) accept_rule_change: bool,
}

#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    pub(super) dates: DateArgs,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
    /// Mark the rows as a load of history: they count however old they are
    #[arg(long)]
    pub(super) accept_late: bool,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    #[command(flatten)]
    pub(super) dates: DateArgs,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
    /// Build dates that are built already, too (needs a date or a range)
    #[arg(long)]
    pub(super) force: bool,
    /// As in `run`
    #[arg(long)]
    pub(super) accept_rule_change: bool,
}

#[derive(Debug, Args)]
pub(super) struct RetentionArgs {
    /// The date from which age is counted [default: the newest built arrival date]
    #[arg(long, value_name = "DATE")]
    pub(super) as_of: Option<NaiveDate>,
    /// List partitions, files and bytes without removing them
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReprocessArgs {
    /// First event date to recompute
    #[arg(long, value_name = "DATE")]
    pub(super) from: NaiveDate,
    /// What to recompute from
    #[arg(long, value_enum, default_value_t = FactSource::Raw)]
    pub(super) source: FactSource,
    /// Say how many events and sessions would change, by event date, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct WithdrawArgs {
    /// The delivered file, as `_file` in raw names it
    #[arg(long, value_name = "NAME")]
    pub(super) file: String,
    /// The date under which it arrived
    #[arg(long, value_name = "DATE")]
    pub(super) arrival_date: NaiveDate,
    /// Say what would leave raw, and how many events and sessions would change by event date, and
    /// write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct MaintainArgs {
    /// Say what would be done to each table without doing it
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Age from which on a file that no commit names belongs to a killed run, such as 12h; 0s
    /// only while nothing else writes to the lake [default: removed_files_days, at least 1d]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) orphans_older_than: Option<std::time::Duration>,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// Only files of this status (may be given several times) [default: all]
    #[arg(long, value_enum, value_name = "STATUS")]
    pub(super) status: Vec<Status>,
    #[command(flatten)]
    pub(super) dates: DateArgs,
    #[command(flatten)]
    pub(super) which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Count what is in quarantine, by feed, arrival date, stage and reason
    #[command(after_help = "Example:\n  sessionlake quarantine list --arrival-date 2026-01-08")]
    List(EntryArgs),
    /// Show refused rows with file, line, detail and text
    #[command(
        after_help = "Example:\n  sessionlake quarantine show --reason missing_key --limit 5"
    )]
    Show(ShowArgs),
    /// Judge what was refused again, under the configuration of today
    ///
    /// Rows that the build refused are in raw: ODS is recomputed from the first arrival date among
    /// them on, as with reprocess --from; the configured mapping holds from that arrival date on.
    /// Files of which ingest refused something, or all, are read again where they lie: what is good
    /// now goes to raw under its arrival date, which is built.
    #[command(after_help = "Example, first to see what it would change:\n  \
        sessionlake quarantine replay --reason missing_key --dry-run\n  \
        sessionlake quarantine replay --reason missing_key")]
    Replay(ReplayArgs),
}

/// Which entries of quarantine.
#[derive(Debug, Args)]
pub(super) struct EntryArgs {
    #[command(flatten)]
    pub(super) dates: DateArgs,
    /// Only entries of this reason (may be given several times) [default: all]
    #[arg(long, value_name = "REASON")]
    pub(super) reason: Vec<String>,
    #[command(flatten)]
    pub(super) which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) entries: EntryArgs,
    /// Only entries of this file, as `_file` names it
    #[arg(long, value_name = "NAME")]
    pub(super) file: Option<String>,
    /// At most this many entries of each feed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pub(super) dates: DateArgs,
    /// Only entries of this reason (may be given several times) [default: all]
    #[arg(long, value_name = "REASON")]
    pub(super) reason: Vec<String>,
    /// Only entries of this file, as `_file` names it
    #[arg(long, value_name = "NAME")]
    pub(super) file: Option<String>,
    /// Say how many events and sessions would change, by event date, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Status {
    /// Found by a run, and nothing more is known.
    Seen,
    /// Its rows are in raw.
    Loaded,
    /// It was refused whole: nothing of it is in raw.
    Rejected,
    /// The same content was delivered before under that name and date.
    SkippedDuplicate,
    /// Other content was delivered before under that name and date; this one is in raw, too.
    Changed,
}

impl From<Status> for FileStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Seen => Self::Seen,
            Status::Loaded => Self::Loaded,
            Status::Rejected => Self::Rejected,
            Status::SkippedDuplicate => Self::SkippedDuplicate,
            Status::Changed => Self::Changed,
        }
    }
}

/// What ODS is recomputed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FactSource {
    /// The delivered rows that raw still holds.
    Raw,
    /// The events that ODS keeps: for a changed session rule, also where raw has expired; mapping
    /// and window must be as recorded, and what is in quarantine stays there.
    Ods,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Only this check (may be given several times) [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) check: Vec<String>,
    #[command(flatten)]
    pub(super) dates: DateArgs,
    #[command(flatten)]
    pub(super) feeds: FeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Folder for the files; one that has none of them yet
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Number of arrival dates, one file each
    #[arg(long, value_name = "N")]
    pub(super) days: u32,
    /// Rows of each file
    #[arg(long, value_name = "N")]
    pub(super) events_per_day: u64,
    /// Number of users
    #[arg(long, value_name = "N")]
    pub(super) users: u64,
    /// Same seed, same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Share of rows that arrive one to five days late
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub(super) late_share: f64,
    /// Share of rows that are delivered a second time
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub(super) duplicate_share: f64,
    /// Form of the files
    #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
    pub(super) format: FileFormat,
    /// First arrival date
    #[arg(long, value_name = "DATE", default_value = "2026-01-01")]
    pub(super) start_date: NaiveDate,
}

/// Form of generated files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the effective configuration as TOML, secrets redacted
    #[command(after_help = "Example:\n  sessionlake config show")]
    Show(ConfigArgs),
    /// Print the JSON Schema (draft 2020-12) of sessionlake.toml, for editors and pipelines
    #[command(after_help = "Example:\n  sessionlake config schema > sessionlake.schema.json")]
    Schema,
    /// Check the configuration, its SQL expressions included; nothing is read or written
    #[command(after_help = "Example:\n  sessionlake --config prod.toml config check")]
    Check(ConfigArgs),
}

/// Settings of the `config` commands.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Override a setting, as in `run`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Encrypt the value on standard input, for a key of the configuration
    ///
    /// What is printed, age:..., stands in the configuration in place of the value. It is decrypted
    /// when it is used, with the identity in the file that the environment variable
    /// SESSIONLAKE_IDENTITY_FILE names.
    #[command(
        after_help = "Example:\n  sessionlake secret encrypt --recipient age1... < password.txt"
    )]
    Encrypt(EncryptArgs),
    /// Make a new identity: the key that decrypts values, and the recipient to encrypt them for
    ///
    /// Those of age-keygen do as well.
    #[command(after_help = "Example:\n  sessionlake secret keygen --out identity.txt")]
    Keygen(KeygenArgs),
}

#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    /// For whom: the public half of an identity (may be given several times; each can decrypt)
    #[arg(long, value_name = "age1...", required = true)]
    pub(super) recipient: Vec<Recipient>,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// A new file for the identity, readable by this user alone; the recipient is printed
    /// [default: both are printed]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}
