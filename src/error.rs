//! What ends a command, and with which exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::NaiveDate;

use crate::config::{ConfigError, encrypted::NotEncrypted};
use crate::engine::EngineError;
use crate::generate::GenerateError;
use crate::inspect::explain::error::ExplainError;
use crate::inspect::report::ReportError;
use crate::inspect::sql::SqlError;
use crate::inspect::verify::VerifyError;
use crate::lake::LakeError;
use crate::sources::DiscoveryError;
use crate::stages::checks::CheckResult;
use crate::stages::error::{BuildError, IngestError};
use crate::stages::ingest::RejectedFile;

/// What the person who runs the command should do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with the input: run again.
    Retry,
    /// The input or the environment must be mended first.
    FixInput,
    /// Files were rejected, or a check found rows that must not be there.
    FixData,
    /// The command line or the configuration is wrong.
    FixConfiguration,
    /// ODS is not what the rules make of the facts.
    Differs,
    /// A promise was broken: report it.
    Bug,
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `--feed` names no feed.
    #[error("no feed is named `{name}`{}; the configuration has {known}", did_you_mean(suggestion.as_deref()))]
    UnknownFeed {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// What there is.
        known: String,
    },
    /// `--client` names no client.
    #[error(
        "no client is named `{name}`{}; the configuration has {known}",
        did_you_mean(suggestion.as_deref())
    )]
    UnknownClient {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// What there is.
        known: String,
    },
    /// `--feed` or `--client` is no pattern.
    #[error("`{pattern}` is not a pattern of names; write for example '*/events'")]
    BadPattern {
        /// What was asked for.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// A file is delivered to one feed.
    #[error("--file names a delivery of one feed; say of which with --feed ({known})")]
    WhichFeed {
        /// What there is.
        known: String,
    },
    /// `--from` after `--to`.
    #[error("--from {from} is after --to {to}")]
    EmptyRange {
        /// First date.
        from: NaiveDate,
        /// Last date.
        to: NaiveDate,
    },
    /// `build --force` would build everything anew, one date after the other.
    #[error("--force needs --arrival-date, or --from and --to; for everything, use reprocess")]
    ForceWithoutDate,
    /// A file was expected.
    #[error(
        "feed {feed}: no file for {dates} at {path}; is the path right, has the batch arrived? \
         (on_missing = \"ok\" accepts a date without a file)"
    )]
    NoFile {
        /// The feed.
        feed: String,
        /// The date or dates asked for.
        dates: String,
        /// Where it was looked for.
        path: String,
    },
    /// The stage `ingest`.
    #[error("ingest of {feed}, arrival date {arrival_date}, failed")]
    Ingest {
        /// The feed.
        feed: String,
        /// The arrival date.
        arrival_date: NaiveDate,
        /// Why.
        source: IngestError,
    },
    /// Files that were rejected, while everything else went on.
    #[error("{}", rejection_message(feed, files))]
    Rejected {
        /// The feed.
        feed: String,
        /// Each file with its arrival date.
        files: Vec<(NaiveDate, RejectedFile)>,
    },
    /// The stage `build`.
    #[error("build of {feed}, arrival date {arrival_date}, failed")]
    Build {
        /// The feed.
        feed: String,
        /// The arrival date.
        arrival_date: NaiveDate,
        /// Why.
        source: BuildError,
    },
    /// The stage `sessions`.
    #[error(
        "sessions of {feed} could not follow ods, which is committed; the next run does it again"
    )]
    Sessions {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// The stage `retention`.
    #[error("retention of {feed} failed")]
    Retention {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// `reprocess`.
    #[error("reprocess of {feed} from {from} failed; run it again, nothing is half done")]
    Reprocess {
        /// The feed.
        feed: String,
        /// First event date.
        from: NaiveDate,
        /// Why.
        source: BuildError,
    },
    /// `withdraw`.
    #[error("withdraw of {file}, arrival date {arrival_date}, from {feed} failed")]
    Withdraw {
        /// The feed.
        feed: String,
        /// The file.
        file: String,
        /// Its arrival date.
        arrival_date: NaiveDate,
        /// Why.
        source: BuildError,
    },
    /// `quarantine replay`.
    #[error("cannot tell which entries of quarantine of {feed} to replay; nothing was changed")]
    Replay {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// `doctor` found something.
    #[error("checks that failed: {failed}; what was printed says what to do about each")]
    Unhealthy {
        /// How many.
        failed: usize,
    },
    /// `status` found something to look at.
    #[error("the lake needs a look:\n  {}", reasons.join("\n  "))]
    NeedsALook {
        /// What to look at.
        reasons: Vec<String>,
    },
    /// `maintain`.
    #[error("maintain of {feed} failed; no row of its tables changed")]
    Maintain {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// `check` could not ask.
    #[error("the checks of {feed} cannot be asked")]
    Check {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// `check` found rows.
    #[error(
        "checks of severity error that found rows: {}; what was printed shows some of them",
        checks.join(", ")
    )]
    ChecksFailed {
        /// Each as `feed: check`.
        checks: Vec<String>,
    },
    /// `plan`.
    #[error("what {feed} would be under the configured rules cannot be told")]
    Plan {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// `verify` came to no result.
    #[error("{feed} cannot be verified")]
    Verify {
        /// The feed.
        feed: String,
        /// Why.
        source: VerifyError,
    },
    /// `verify` found a difference.
    #[error(
        "the lake is not what it must be: {}; what was printed shows the first difference. If nobody \
         else writes to its tables, please report it; `reprocess --from` its event date computes \
         the rows anew",
        checks.join(", ")
    )]
    Differs {
        /// Each as `feed: check`.
        checks: Vec<String>,
    },
    /// `--check` names no check.
    #[error("no check is named `{name}`; there are {known}")]
    UnknownCheck {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// `explain`.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The configured rules and those of ODS.
    #[error("the rules of {feed} cannot be used")]
    Rules {
        /// The feed.
        feed: String,
        /// Why.
        source: BuildError,
    },
    /// The files of a feed cannot be listed.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A table outside of a stage.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// `report`.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The tables of the lake cannot be offered to queries.
    #[error("the tables of the lake cannot be made known to the query engine")]
    Catalog(#[source] Box<datafusion::error::DataFusionError>),
    /// `sql`.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The query engine cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The record of the run could not be written; its stages stand.
    #[error("the run's stages are committed, but its record could not be written to runs")]
    Record(#[source] LakeError),
    /// `generate`.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// `secret encrypt`.
    #[error(transparent)]
    Encrypt(#[from] NotEncrypted),
    /// `secret keygen`.
    #[error("cannot write a new identity to {}; name a file that is not there yet", file.display())]
    Keygen {
        /// Where to.
        file: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Logging cannot start.
    #[error("the log filter is not valid; check the environment variable RUST_LOG")]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    /// Standard output was closed or the disk behind it is full.
    #[error("cannot write the result to {}", target.display())]
    Output {
        /// Where to.
        target: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The async runtime cannot start.
    #[error("cannot start the runtime; are threads or file handles exhausted?")]
    Runtime(#[source] std::io::Error),
}

impl JobError {
    /// The stage in which it happened, as `runs` names it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Ingest { .. }
            | Self::Rejected { .. }
            | Self::NoFile { .. }
            | Self::Discovery(_) => "ingest",
            Self::Build { .. } => "build",
            Self::Sessions { .. } => "sessions",
            Self::Retention { .. } => "retention",
            Self::Reprocess { .. } => "reprocess",
            Self::Withdraw { .. } => "withdraw",
            Self::Maintain { .. } => "maintain",
            Self::Replay { .. } => "replay",
            Self::Rules { .. } => "rules",
            Self::Check { .. } | Self::ChecksFailed { .. } => "check",
            Self::Explain(_) => "explain",
            Self::Plan { .. } => "plan",
            Self::Verify { .. } | Self::Differs { .. } => "verify",
            Self::Record(_) => "record",
            Self::Generate(_) => "generate",
            Self::Sql(_) => "sql",
            Self::Config(_)
            | Self::UnknownFeed { .. }
            | Self::UnknownCheck { .. }
            | Self::UnknownClient { .. }
            | Self::BadPattern { .. }
            | Self::WhichFeed { .. }
            | Self::EmptyRange { .. }
            | Self::ForceWithoutDate => "config",
            Self::Lake(_)
            | Self::Engine(_)
            | Self::Catalog(_)
            | Self::Encrypt(_)
            | Self::Keygen { .. }
            | Self::Telemetry(_)
            | Self::Output { .. }
            | Self::Runtime(_) => "start",
            Self::Unhealthy { .. } => "doctor",
            Self::Report(_) => "report",
            Self::NeedsALook { .. } => "status",
        }
    }

    /// Whether it is about an arrival date, and others may have been done beside it.
    pub(crate) fn is_of_one_date(&self) -> bool {
        matches!(
            self,
            Self::Ingest { .. } | Self::Build { .. } | Self::Rejected { .. } | Self::NoFile { .. }
        )
    }

    /// What the checks found that stopped a stage.
    pub fn checks(&self) -> &[CheckResult] {
        match self {
            Self::Build { source: BuildError::ChecksFailed { results, .. }, .. } => results,
            _ => &[],
        }
    }

    /// What to do about it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Config(_)
            | Self::UnknownFeed { .. }
            | Self::UnknownCheck { .. }
            | Self::UnknownClient { .. }
            | Self::BadPattern { .. }
            | Self::WhichFeed { .. }
            | Self::EmptyRange { .. }
            | Self::ForceWithoutDate => Verdict::FixConfiguration,
            Self::Rejected { .. } => Verdict::FixData,
            Self::Generate(error) if error.is_usage() => Verdict::FixConfiguration,
            Self::Encrypt(error) if error.is_usage() => Verdict::FixConfiguration,
            Self::Sql(error) if error.is_usage() => Verdict::FixConfiguration,
            Self::Explain(error) if error.is_usage() => Verdict::FixConfiguration,
            Self::Explain(ExplainError::Build(source)) => of_build(source),
            Self::Explain(ExplainError::Lake(source)) => of_lake(source),
            Self::Build { source, .. }
            | Self::Sessions { source, .. }
            | Self::Retention { source, .. }
            | Self::Reprocess { source, .. }
            | Self::Withdraw { source, .. }
            | Self::Maintain { source, .. }
            | Self::Replay { source, .. }
            | Self::Check { source, .. }
            | Self::Plan { source, .. }
            | Self::Rules { source, .. } => of_build(source),
            Self::Ingest { source: IngestError::Build(source), .. }
            | Self::Ingest { source: IngestError::Quarantine(source), .. } => of_build(source),
            Self::Ingest { source: IngestError::Lake(source), .. } => of_lake(source),
            Self::Lake(source) | Self::Record(source) | Self::Report(ReportError::Lake(source)) => {
                of_lake(source)
            }
            Self::Verify { source: VerifyError::Build(source), .. } => of_build(source),
            Self::Verify { source: VerifyError::Lake(source), .. } => of_lake(source),
            Self::ChecksFailed { .. } => Verdict::FixData,
            Self::Differs { .. } => Verdict::Differs,
            _ => Verdict::FixInput,
        }
    }

    /// The exit code of DESIGN section 8.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.verdict() {
            Verdict::FixConfiguration => 2,
            Verdict::FixData => 3,
            Verdict::Retry => 4,
            Verdict::Differs => 5,
            Verdict::FixInput | Verdict::Bug => 1,
        })
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

fn rejection_message(feed: &str, files: &[(NaiveDate, RejectedFile)]) -> String {
    use std::fmt::Write as _;
    let mut message = match files.len() {
        1 => format!("feed {feed}: a file was rejected, nothing of it is in raw"),
        count => format!("feed {feed}: {count} files were rejected, nothing of them is in raw"),
    };
    message.push_str("; everything else went on:");
    for (arrival_date, RejectedFile { file, reason, detail, .. }) in files {
        let _ = write!(message, "\n  {file}, arrival date {arrival_date}: {reason}: {detail}");
    }
    message.push_str(
        "\nThe next run takes in a corrected file under the same name; the same content is not read \
         again, but by `quarantine replay` after a change of the configuration.",
    );
    message
}

fn of_lake(error: &LakeError) -> Verdict {
    match error {
        LakeError::Credential(_) => Verdict::FixConfiguration,
        _ if error.is_conflict() => Verdict::Retry,
        _ => Verdict::FixInput,
    }
}

fn of_build(error: &BuildError) -> Verdict {
    match error {
        BuildError::Unparsable { .. }
        | BuildError::Expression(_)
        | BuildError::ReservedColumn { .. }
        | BuildError::UnknownZone { .. }
        | BuildError::ZoneChanged { .. }
        | BuildError::AttributeTypeChanged { .. }
        | BuildError::RulesDiffer { .. }
        | BuildError::MappingTooEarly { .. }
        | BuildError::MappingNeedsRaw { .. }
        | BuildError::FactRefused { .. }
        | BuildError::UnknownDelivery { .. }
        | BuildError::DeliveryExpired { .. }
        | BuildError::NotCovered { .. } => Verdict::FixConfiguration,
        BuildError::ChecksFailed { .. } => Verdict::FixData,
        BuildError::Check(source) if source.is_of_configuration() => Verdict::FixConfiguration,
        BuildError::Lake(source) => of_lake(source),
        BuildError::Imbalance { .. } => Verdict::Bug,
        BuildError::NothingIngested { .. }
        | BuildError::NothingBuilt { .. }
        | BuildError::Arrow { .. }
        | BuildError::Check(_)
        | BuildError::Runs(_)
        | BuildError::Stopped { .. }
        | BuildError::Record { .. }
        | BuildError::Rows { .. } => Verdict::FixInput,
    }
}
