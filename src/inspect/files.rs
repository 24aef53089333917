//! Which files were seen, and what became of each.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;

use crate::config::Config;
use crate::engine::Engine;
use crate::error::JobError;
use crate::job::Dates;
use crate::lake::Lake;
use crate::record::file_facts::{FileFact, file_facts};
use crate::stages::events::date32;
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
        if let Some(of_dates) = of_dates(self.dates, "arrival_date") {
            condition = condition.and(of_dates);
        }
        if !self.statuses.is_empty() {
            let statuses = texts(self.statuses.iter().map(|status| status.as_str()).collect());
            condition = condition.and(ident("status").in_list(statuses, false));
        }
        condition
    }
}

/// The condition on a column of arrival dates; none for any date.
pub(crate) fn of_dates(dates: Dates, column: &str) -> Option<Expr> {
    let (from, to) = match dates {
        Dates::CatchUp => return None,
        Dates::One(date) => (date, date),
        Dates::Range(from, to) => (from, to),
    };
    let date = |date| lit(ScalarValue::Date32(Some(date32(date))));
    Some(ident(column).between(date(from), date(to)))
}

/// The newest fact about each file asked for, by feed, arrival date and name.
pub async fn files(config: &Config, asked: &Asked) -> Result<Vec<FileFact>, JobError> {
    let lake = Lake::of(&config.lake)?;
    let context = Engine::new(&config.engine)?.context(chrono_tz::Tz::UTC);
    lake.serve(&context);
    Ok(file_facts(&lake, &context, Some(asked.condition())).await?)
}
