//! Which files were seen, and what became of each.

use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;

use super::open;
use crate::config::Config;
use crate::error::JobError;
use crate::job::Dates;
use crate::record::file_facts::{FileFact, file_facts};
use crate::stages::events::within;
use crate::stages::ingest::outcome::FileStatus;

/// Which files.
#[derive(Debug)]
pub struct Asked {
    /// Of these feeds.
    pub feeds: Vec<String>,
    /// Of these arrival dates; all of them where there is nothing to catch up on.
    pub dates: Dates,
    /// With one of these statuses; with any, where there is none.
    pub statuses: Vec<FileStatus>,
}

impl Asked {
    fn condition(&self) -> Expr {
        let texts = |texts: Vec<&str>| texts.into_iter().map(lit).collect::<Vec<Expr>>();
        let feeds = texts(self.feeds.iter().map(String::as_str).collect());
        let mut condition = ident("feed").in_list(feeds, false);
        if let Some(dates) = self.dates.range() {
            condition = condition.and(within("arrival_date", dates));
        }
        if !self.statuses.is_empty() {
            let statuses = texts(self.statuses.iter().map(|status| status.as_str()).collect());
            condition = condition.and(ident("status").in_list(statuses, false));
        }
        condition
    }
}

/// The newest fact about each file asked for, by feed, arrival date and name.
pub async fn files(config: &Config, asked: &Asked) -> Result<Vec<FileFact>, JobError> {
    let (lake, engine) = open(config)?;
    let context = engine.context(chrono_tz::Tz::UTC);
    Ok(file_facts(&lake, &context, Some(asked.condition())).await?)
}
