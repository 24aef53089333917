//! The command `plan`.

use std::fmt::Write as _;

use chrono::NaiveDate;
use clap::Args;
use comfy_table::Table;
use serde_json::json;

use super::args::{FeedArgs, Global, OutputFormat};
use super::commands::{Ended, StopSignals, load, settings};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect::plan::{Plan, plan as plan_feed};
use crate::stages::merge::SessionChange;

/// Products that the table names, those with the most events in another session.
const SHOWN_PRODUCTS: usize = 20;
const COUNTS: [&str; 10] = [
    "events",
    "moved",
    "before",
    "after",
    "unchanged",
    "resized",
    "split",
    "merged",
    "new",
    "gone",
];

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// First event date under the planned rules [default: the earliest of ODS]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    #[command(flatten)]
    feeds: FeedArgs,
}

/// Plans one feed after the other, each on all threads.
pub(super) async fn plan(global: &Global, args: &PlanArgs) -> Result<Ended, JobError> {
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.which)?;
    let mut stop = StopSignals::listen().map_err(JobError::Runtime)?;
    let all = async {
        let mut plans = Vec::new();
        for feed in selected {
            plans.push(plan_feed(&config, feed, args.from).await?);
        }
        Ok::<_, JobError>(plans)
    };
    let plans = tokio::select! {
        plans = all => plans?,
        signal = stop.received() => return Ok(signal),
    };
    match global.output {
        OutputFormat::Json => output::document(&json!({ "feeds": plans }))?,
        OutputFormat::Table => {
            let shown: Vec<String> = plans.iter().map(|plan| shown(plan, args.from)).collect();
            output::text(&shown.join("\n"))?;
        }
    }
    Ok(Ended::Done)
}

fn shown(plan: &Plan, asked: Option<NaiveDate>) -> String {
    let Plan { feed, from, rules, total, seconds, .. } = plan;
    let Some(from) = from else {
        return format!("{feed}: nothing was built yet, so there is nothing to plan\n");
    };
    let earliest = if asked.is_none() { ", the earliest of ods" } else { "" };
    let mut text = format!("{feed}: from event date {from}{earliest}, told in {seconds:.2} s\n");
    for rule in rules {
        let _ = writeln!(text, "  {}: {} -> {}", rule.key, rule.recorded, rule.planned);
    }
    if !total.is_any() {
        text.push_str("nothing would change\n");
        return text;
    }
    let (parts, keys) = (by_part(plan), by_key(plan));
    let _ = writeln!(text, "sessions and their events, by date and by product:\n{parts}");
    let _ = writeln!(text, "the keys with the most events in another session:\n{keys}");
    text
}

fn by_part(plan: &Plan) -> Table {
    let mut table = table(&["of"]);
    let dates = plan.dates.iter().map(|(date, change)| (date.to_string(), change));
    let mut products: Vec<(&String, &SessionChange)> = plan.products.iter().collect();
    products.sort_by_key(|(_, change)| -change.events_moved);
    let products = products.into_iter().take(SHOWN_PRODUCTS);
    let products = products.map(|(product, change)| (format!("product {product}"), change));
    let parts = dates.chain(products).filter(|(_, change)| change.is_any());
    for (part, change) in parts.chain([("all".to_owned(), &plan.total)]) {
        table.add_row([part].into_iter().chain(counts(change)));
    }
    table
}

fn by_key(plan: &Plan) -> Table {
    let mut table = table(&["user", "product"]);
    for key in &plan.keys {
        let names = [key.user_id.clone(), key.product_code.clone()];
        table.add_row(names.into_iter().chain(counts(&key.change)));
    }
    table
}

fn table(names: &[&str]) -> Table {
    let header: Vec<&str> = names.iter().copied().chain(COUNTS).collect();
    output::table(&header, names.len())
}

fn counts(change: &SessionChange) -> impl Iterator<Item = String> + use<> {
    let SessionChange { events, events_moved, sessions_before, sessions_after, unchanged, .. } =
        change;
    let SessionChange { resized, split, merged, appeared, gone, .. } = change;
    [
        events,
        events_moved,
        sessions_before,
        sessions_after,
        unchanged,
        resized,
        split,
        merged,
        appeared,
        gone,
    ]
    .map(ToString::to_string)
    .into_iter()
}
