//! Each command: load what it needs, run the job, print the result.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{
    Arguments, Command, ConfigCommand, DateArgs, DoctorArgs, FactSource, FeedArgs, FileFormat,
    GenerateArgs, Global, ReprocessArgs, RetentionArgs, WithdrawArgs,
};
use super::progress::Bar;
use super::selection::select;
use super::{
    check, explain, files, history, maintain, output, plan, quarantine, report, secret, sql,
    status, verify,
};
use crate::config::{self, Config, FeedConfig, LoadOptions};
use crate::engine::Engine;
use crate::error::{JobError, Verdict};
use crate::generate::{self, GenerateFormat, GenerateOptions};
use crate::inspect::doctor;
use crate::job::{Dates, Job};
use crate::lake::ids::LatePolicy;
use crate::lake::rules::RuleBook;
use crate::record::RunLog;
use crate::stages::build::Rebuild;
use crate::stages::checks;
use crate::stages::deliveries::DeliveredFile;
use crate::stages::mapping::CompiledBook;
use crate::stages::replay::Selection;
use crate::stages::reprocess::Source;
use crate::stages::rules::RuleChange;

/// The variable that stands for `--env`.
const ENVIRONMENT: &str = "SESSIONLAKE_ENV";

/// How a command came to its end, short of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Done,
    /// By SIGINT.
    Interrupted,
    /// By SIGTERM.
    Terminated,
}

pub(super) async fn execute(arguments: Arguments) -> Result<Ended, JobError> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Generate(options) => generate(&global, options).map(|()| Ended::Done),
        Command::Doctor(args) => doctor(&global, args).await,
        Command::Config { command } => configure(&global, command).await.map(|()| Ended::Done),
        Command::Secret { command } => secret::secret(&global, command).map(|()| Ended::Done),
        Command::Run(args) => {
            let action = Action::Run(dates(&args.dates)?, rule_change(args.accept_rule_change));
            on_feeds(&global, &args.feeds, action).await
        }
        Command::Ingest(args) => {
            let late = if args.accept_late { LatePolicy::Accepted } else { LatePolicy::Bounded };
            on_feeds(&global, &args.feeds, Action::Ingest(dates(&args.dates)?, late)).await
        }
        Command::Build(args) => {
            let dates = dates(&args.dates)?;
            if args.force && dates == Dates::CatchUp {
                return Err(JobError::ForceWithoutDate);
            }
            let rebuild = if args.force { Rebuild::Always } else { Rebuild::WhenPending };
            let change = rule_change(args.accept_rule_change);
            on_feeds(&global, &args.feeds, Action::Build(dates, rebuild, change)).await
        }
        Command::Retention(args) if args.dry_run => retention_plan(&global, &args).await,
        Command::Retention(args) => {
            on_feeds(&global, &args.feeds, Action::Retention(args.as_of)).await
        }
        Command::Withdraw(args) => withdraw(&global, args).await,
        Command::Reprocess(args) if args.dry_run => forecast(&global, &args).await,
        Command::Check(args) => check::check(&global, &args).await,
        Command::Plan(args) => plan::plan(&global, &args).await,
        Command::Verify(args) => verify::verify(&global, &args).await,
        Command::Maintain(args) => maintain::maintain(&global, &args).await,
        Command::Quarantine { command } => quarantine::quarantine(&global, command).await,
        Command::Files(args) => files::files(&global, &args).await,
        Command::Report(args) => report::report(&global, args).await,
        Command::Sql(args) => sql::sql(&global, args).await,
        Command::Status(args) => status::status(&global, &args).await,
        Command::History(args) => history::history(&global, &args).await,
        Command::Explain(args) => explain::explain(&global, args).await,
        Command::Reprocess(args) => {
            let action = Action::Reprocess(args.from, source(args.source));
            on_feeds(&global, &args.feeds, action).await
        }
    }
}

/// What is done to each feed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action<'a> {
    Run(Dates, RuleChange),
    Ingest(Dates, LatePolicy),
    Build(Dates, Rebuild, RuleChange),
    Retention(Option<chrono::NaiveDate>),
    Reprocess(chrono::NaiveDate, Source),
    Withdraw(&'a DeliveredFile),
    Replay(&'a Selection),
}

impl Action<'_> {
    async fn perform(self, job: &Job<'_>, feed: &FeedConfig) -> Result<(), JobError> {
        match self {
            Self::Run(dates, change) => job.run(feed, dates, change).await,
            Self::Ingest(dates, late) => job.ingest(feed, dates, late).await,
            Self::Build(dates, rebuild, change) => job.build(feed, dates, rebuild, change).await,
            Self::Retention(as_of) => job.retention(feed, as_of).await.map(|_| ()),
            Self::Withdraw(file) => job.withdraw(feed, file).await,
            Self::Replay(selection) => job.replay(feed, selection).await,
            Self::Reprocess(from, source) => job.reprocess(feed, from, source).await.map(|_| ()),
        }
    }
}

/// Runs the action on each feed, several at once. A feed that fails does not stop the others; the
/// error of the first of them, in the order of the configuration, is the command's, before those of
/// files that were rejected. The record is written before the command ends, however it ends.
pub(super) async fn on_feeds(
    global: &Global,
    feeds: &FeedArgs,
    action: Action<'_>,
) -> Result<Ended, JobError> {
    let config = load(global, settings(feeds))?;
    let selected = select(&config, &feeds.which)?;
    let log = RunLog::new();
    let bar = Bar::new();
    let job = Job::new(&config, log.clone(), &bar)?;
    job.lake().require_safe_commits().await?;
    let mut stop = StopSignals::listen().map_err(JobError::Runtime)?;
    let perform = async |feed: &FeedConfig| action.perform(&job, feed).await;
    let done = job.side_by_side(&selected, stop.received(), perform)?;
    let mut errors: Vec<JobError> =
        done.results.into_iter().flatten().filter_map(Result::err).collect();
    let ended = done.stopped.unwrap_or(Ended::Done);
    bar.finish();
    let recorded = log.write(job.lake()).await;
    tracing::info!(requests = %job.lake().requests(), "asked of the store");
    output::run(global.output, &log)?;
    // What failed weighs more than what was rejected.
    errors.sort_by_key(|error| error.verdict() == Verdict::FixData);
    output::later_errors(global.log_format, &errors);
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => recorded.map(|()| ended).map_err(JobError::Record),
    }
}

/// SIGINT and SIGTERM.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn received(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
        }
    }
}

/// What a command would do to each feed; nothing is written.
pub(super) async fn plans<T>(
    global: &Global,
    feeds: &FeedArgs,
    plan: impl AsyncFn(&Job<'_>, &FeedConfig) -> Result<T, JobError>,
) -> Result<Vec<(String, T)>, JobError> {
    let config = load(global, settings(feeds))?;
    let selected = select(&config, &feeds.which)?;
    let bar = Bar::new();
    let job = Job::new(&config, RunLog::new(), &bar)?;
    let mut plans = Vec::new();
    for feed in selected {
        plans.push((feed.name.clone(), plan(&job, feed).await?));
    }
    bar.finish();
    Ok(plans)
}

async fn retention_plan(global: &Global, args: &RetentionArgs) -> Result<Ended, JobError> {
    let plan = async |job: &Job<'_>, feed: &FeedConfig| job.retention_plan(feed, args.as_of).await;
    output::retention_plan(global.output, &plans(global, &args.feeds, plan).await?)?;
    Ok(Ended::Done)
}

async fn forecast(global: &Global, args: &ReprocessArgs) -> Result<Ended, JobError> {
    let forecast = async |job: &Job<'_>, feed: &FeedConfig| {
        job.forecast(feed, args.from, source(args.source)).await
    };
    output::forecasts(global.output, &plans(global, &args.feeds, forecast).await?)?;
    Ok(Ended::Done)
}

async fn withdraw(global: &Global, args: WithdrawArgs) -> Result<Ended, JobError> {
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.which)?;
    let [feed] = selected.as_slice() else {
        let known: Vec<&str> = selected.iter().map(|feed| feed.name.as_str()).collect();
        return Err(JobError::WhichFeed { known: known.join(", ") });
    };
    let file = DeliveredFile { arrival_date: args.arrival_date, file: args.file };
    if !args.dry_run {
        return on_feeds(global, &args.feeds, Action::Withdraw(&file)).await;
    }
    let bar = Bar::new();
    let job = Job::new(&config, RunLog::new(), &bar)?;
    let (withdrawn, forecast) = job.withdrawal_forecast(feed, &file).await?;
    bar.finish();
    output::withdrawal(global.output, &feed.name, withdrawn.as_ref(), forecast)?;
    Ok(Ended::Done)
}

/// Everything is looked at, also where something fails before.
async fn doctor(global: &Global, args: DoctorArgs) -> Result<Ended, JobError> {
    let config = load(global, args.set)?;
    let selected = select(&config, &args.which)?;
    validate(&config).await?;
    let checks = doctor::examine(&config, &selected).await;
    output::checks(global.output, &checks)?;
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(Ended::Done),
        failed => Err(JobError::Unhealthy { failed }),
    }
}

fn generate(global: &Global, args: GenerateArgs) -> Result<(), JobError> {
    let format = match args.format {
        FileFormat::Csv => GenerateFormat::Csv,
        FileFormat::Jsonl => GenerateFormat::Jsonl,
    };
    let summary = generate::generate(&GenerateOptions {
        out: args.out,
        days: args.days,
        events_per_day: args.events_per_day,
        users: args.users,
        seed: args.seed,
        late_share: args.late_share,
        duplicate_share: args.duplicate_share,
        format,
        start_date: args.start_date,
    })?;
    output::generated(global.output, &summary)
}

async fn configure(global: &Global, command: ConfigCommand) -> Result<(), JobError> {
    match command {
        ConfigCommand::Show(args) => {
            let config = load(global, args.set)?;
            output::text(&config::show(&config))
        }
        ConfigCommand::Schema => output::document(&config::json_schema()),
        ConfigCommand::Check(args) => {
            let config = load(global, args.set)?;
            validate(&config).await?;
            output::checked(global.output, &config)
        }
    }
}

/// The SQL of the configuration: expressions and checks.
pub(super) async fn validate(config: &Config) -> Result<(), JobError> {
    let engine = Engine::new(&config.engine)?;
    for feed in &config.feeds {
        let rules_error = |source| JobError::Rules { feed: feed.name.clone(), source };
        let book = RuleBook::first(feed);
        let zone = feed.event.zone.parse().unwrap_or(chrono_tz::Tz::UTC);
        CompiledBook::compile(&engine.context(zone), &feed.name, &book, &[])
            .map_err(rules_error)?;
        checks::validate(&engine, feed, &config.feeds).await.map_err(rules_error)?;
    }
    Ok(())
}

pub(super) fn load(global: &Global, set: Vec<String>) -> Result<Config, JobError> {
    let file: Option<PathBuf> = global.config.clone();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let variable = std::env::var(ENVIRONMENT).ok().filter(|name| !name.is_empty());
    let overlay = global.env.clone().or(variable);
    let lake = global.lake.clone();
    Ok(config::load(&LoadOptions { file, overlay, lake, environment, set })?)
}

/// `--set` and its short forms, the short ones last.
pub(super) fn settings(feeds: &FeedArgs) -> Vec<String> {
    let mut set = feeds.set.clone();
    set.extend(feeds.timeout.iter().map(|timeout| format!("session.timeout={timeout}")));
    set.extend(feeds.max_duration.iter().map(|max| format!("session.max_duration={max}")));
    set.extend(feeds.memory_limit.iter().map(|limit| format!("engine.memory_limit={limit}")));
    set.extend(feeds.spill_dir.iter().map(|folder| format!("engine.spill_dir={folder}")));
    set
}

pub(super) fn dates(args: &DateArgs) -> Result<Dates, JobError> {
    match (args.arrival_date, args.from, args.to) {
        (Some(date), _, _) => Ok(Dates::One(date)),
        (None, Some(from), Some(to)) if from > to => Err(JobError::EmptyRange { from, to }),
        (None, Some(from), Some(to)) => Ok(Dates::Range(from, to)),
        _ => Ok(Dates::CatchUp),
    }
}

fn source(source: FactSource) -> Source {
    match source {
        FactSource::Raw => Source::Raw,
        FactSource::Ods => Source::Ods,
    }
}

fn rule_change(accept: bool) -> RuleChange {
    if accept { RuleChange::Accept } else { RuleChange::Refuse }
}
