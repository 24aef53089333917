//! The command `verify`.

use std::num::NonZeroUsize;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use serde_json::json;

use super::args::{FeedArgs, Global, OutputFormat};
use super::commands::{Ended, StopSignals, load, settings};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect::verify::{
    Counterexample, Extent, Facts, RowPair, Values, Verification, verify as verify_feed,
};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only so many keys (a user and a product), the same ones every time [default: all]
    #[arg(long, value_name = "N", conflicts_with_all = ["users", "from"])]
    sample: Option<NonZeroUsize>,
    /// Only the keys of these users [default: all]
    #[arg(long, value_name = "USER,...", value_delimiter = ',', conflicts_with = "from")]
    users: Vec<String>,
    /// Only the rows from this event date on; what they depend on before it is read as well
    /// [default: all]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// What the rows are computed from
    #[arg(long, value_enum, default_value_t = VerifiedBy::Ods)]
    source: VerifiedBy,
    #[command(flatten)]
    feeds: FeedArgs,
}

/// What the reference computes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifiedBy {
    /// The events that ODS holds: are they judged and sessionized as the rules say?
    Ods,
    /// The delivered rows that raw still holds, and the events of ODS that arrived before those: is
    /// any missing, or other than it was delivered?
    Raw,
}

impl VerifyArgs {
    fn extent(&self) -> Extent {
        match (self.sample, self.from) {
            (Some(keys), _) => Extent::Sample(keys),
            (_, Some(from)) => Extent::From(from),
            _ if self.users.is_empty() => Extent::All,
            _ => Extent::Users(self.users.iter().cloned().collect()),
        }
    }
}

/// Verifies one feed after the other, each on all threads, whatever is found in one of them.
pub(super) async fn verify(global: &Global, args: &VerifyArgs) -> Result<Ended, JobError> {
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.which)?;
    let facts = match args.source {
        VerifiedBy::Ods => Facts::Ods,
        VerifiedBy::Raw => Facts::Raw,
    };
    let extent = args.extent();
    let mut stop = StopSignals::listen().map_err(JobError::Runtime)?;
    let all = async {
        let mut verified = Vec::new();
        for feed in selected {
            verified.push(verify_feed(&config, feed, facts, &extent).await?);
        }
        Ok::<_, JobError>(verified)
    };
    let verified = tokio::select! {
        verified = all => verified?,
        signal = stop.received() => return Ok(signal),
    };
    print(global.output, &verified)?;
    let failed = verified
        .iter()
        .flat_map(|feed| feed.failures().map(|check| format!("{}: {}", feed.feed, check.check)));
    let checks: Vec<String> = failed.collect();
    if checks.is_empty() { Ok(Ended::Done) } else { Err(JobError::Differs { checks }) }
}

fn print(format: OutputFormat, verified: &[Verification]) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        return output::document(&json!({ "feeds": verified }));
    }
    let mut checks = output::table(&["feed", "check", "result", "detail"], 4);
    for feed in verified {
        for check in &feed.checks {
            let result = if check.ok { "ok" } else { "FAILED" };
            checks.add_row([feed.feed.as_str(), check.check, result, &check.detail]);
        }
    }
    let mut shown = if checks.is_empty() { String::new() } else { format!("{checks}\n") };
    for feed in verified {
        shown.push_str(&summary(feed));
        if let Some(example) = &feed.counterexample {
            shown.push_str(&counterexample(example));
        }
    }
    output::text(&shown)
}

fn summary(feed: &Verification) -> String {
    let Verification { feed: name, source, ods_version, keys, events, seconds, .. } = feed;
    let Some(version) = ods_version else {
        return format!("{name}: nothing was built yet, so there is nothing to verify\n");
    };
    let source = source.as_str();
    format!(
        "{name}: version {version} of ods, {keys} keys, {events} events, computed from {source} in \
         {seconds:.2} s\n"
    )
}

fn counterexample(example: &Counterexample) -> String {
    let Counterexample { user_id, product_code, event_id, timestamp, difference, .. } = example;
    let difference = difference.as_str();
    let head = format!(
        "\n{difference}: {event_id} at {timestamp}, user {user_id}, product {product_code}\n"
    );
    let mut facts = table_of(&[], example.facts.first());
    for fact in &example.facts {
        facts.add_row(cells(fact));
    }
    let facts = if example.facts.is_empty() {
        "no fact stands for it\n".to_owned()
    } else {
        format!("the facts that show it, judged by the recorded rules:\n{facts}\n")
    };
    let known = example.rows.iter().flat_map(|pair| pair.expected.iter().chain(&pair.found));
    let mut rows = table_of(&["timestamp", "event_id", ""], known.clone().next());
    for RowPair { timestamp, event_id, expected, found } in &example.rows {
        let is_right = found.len() == 1 && found.first() == expected.as_ref();
        let expected = expected.iter().filter(|_| !is_right).map(|row| ("expected", row));
        let what = if is_right { "as expected" } else { "found" };
        for (what, row) in expected.chain(found.iter().map(|row| (what, row))) {
            let event = [timestamp, event_id, what].map(str::to_owned);
            rows.add_row(event.into_iter().chain(cells(row)));
        }
    }
    format!("{head}{facts}rows of ods:\n{rows}\n")
}

fn table_of(first: &[&str], values: Option<&Values>) -> Table {
    let columns = values.into_iter().flat_map(|values| &values.0);
    let header = first.iter().copied().chain(columns.map(|(column, _)| column.as_str()));
    let header: Vec<&str> = header.collect();
    output::table(&header, header.len())
}

fn cells(values: &Values) -> impl Iterator<Item = String> {
    values.0.iter().map(|(_, value)| value.clone().unwrap_or_default())
}
