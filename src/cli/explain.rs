//! The command `explain`.

mod timeline;

use clap::Args;
use serde_json::json;

use super::args::{Global, OutputFormat, WhichFeeds};
use super::commands::{Ended, load};
use super::output;
use super::selection::select;
use crate::engine::session_id::parts_of;
use crate::error::JobError;
use crate::inspect::explain::error::ExplainError;
use crate::inspect::explain::{self, Moment, Question};
use crate::stages::timestamps::{ReadAs, micros_of};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Whose events
    #[arg(long, value_name = "ID", required_unless_present = "session")]
    user: Option<String>,
    /// Where [default: the only product in which the user has events; several are listed]
    #[arg(long, value_name = "CODE")]
    product: Option<String>,
    /// The session at this time, or next to it, as 2026-01-05T10:00:00Z; without a zone it is UTC
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with_all = ["session", "event"])]
    at: Option<i64>,
    /// The session with this id, as ODS has it; it names user and product
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    session: Option<String>,
    /// The sessions of the newest three events with this id
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Events shown before and behind those asked for
    #[arg(long, value_name = "N", default_value_t = 3)]
    context: u16,
    /// At most so many events of one session or date
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// `--at` with something else.
#[derive(Debug, thiserror::Error)]
#[error("expected a time such as 2026-01-05T10:00:00Z, or a date")]
struct NotATime;

fn instant(text: &str) -> Result<i64, NotATime> {
    micros_of(text, ReadAs { zone: chrono_tz::Tz::UTC, format: None }).ok_or(NotATime)
}

/// Tells why events have their sessions.
pub(super) async fn explain(global: &Global, args: ExplainArgs) -> Result<Ended, JobError> {
    let config = load(global, args.set.clone())?;
    let selected = select(&config, &args.which)?;
    let [feed] = selected.as_slice() else {
        let known: Vec<&str> = selected.iter().map(|feed| feed.name.as_str()).collect();
        return Err(ExplainError::WhichFeed { known: known.join(", ") }.into());
    };
    let explanation = explain::explain(&config, feed, &question(args)?).await?;
    match global.output {
        OutputFormat::Json => output::document(&json!(explanation))?,
        OutputFormat::Table => output::coloured(&timeline::shown(&explanation))?,
    }
    Ok(Ended::Done)
}

fn question(args: ExplainArgs) -> Result<Question, ExplainError> {
    let ExplainArgs { mut user, mut product, at, session, event, context, limit, .. } = args;
    let moment = match (at, session, event) {
        (Some(micros), _, _) => Moment::At(micros),
        (_, Some(id), _) => {
            let Some(parts) = parts_of(&id) else {
                return Err(ExplainError::NotASessionId { id });
            };
            let is_of = |asked: &Option<String>, key: &String| {
                asked.as_ref().is_none_or(|asked| asked == key)
            };
            if !is_of(&user, &parts.user_id) || !is_of(&product, &parts.product_code) {
                let (user, product) = (parts.user_id, parts.product_code);
                return Err(ExplainError::OtherKey { id, user, product });
            }
            user = Some(parts.user_id);
            product = Some(parts.product_code);
            Moment::Session { id, start_micros: parts.start_micros }
        }
        (_, _, Some(event)) => Moment::Event(event),
        _ => Moment::LastDate,
    };
    Ok(Question {
        user: user.unwrap_or_default(),
        product,
        moment,
        context: context.into(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    })
}
