//! What earlier runs left unfinished, and the files that this one finds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use super::{Job, source_of};
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::lake::ids::LatePolicy;
use crate::record::file_facts::{self, FileFact, Unfinished};
use crate::sources::SourceFile;
use crate::stages::ingest::outcome::FileOutcome;
use crate::stages::ingest::{self, recovery};

/// Why a file that a run had found is not looked for any longer.
const GONE: &str = "its run did not end, and it was gone or replaced when the next one came";

/// Files of dates.
pub(super) type FilesOfDates = BTreeMap<NaiveDate, Vec<SourceFile>>;

impl Job<'_> {
    /// What runs of the feed have left that did not come to their end. It is told, and so are
    /// arrival dates beyond `asked` with deliveries that are not built.
    pub(super) async fn unfinished(
        &self,
        feed: &FeedConfig,
        asked: &BTreeSet<NaiveDate>,
    ) -> Result<(Unfinished, BTreeSet<NaiveDate>), JobError> {
        let context = self.engine.context(chrono_tz::Tz::UTC);
        let unfinished = file_facts::unfinished(&self.lake, &context, &feed.name).await?;
        report(feed, &unfinished.files);
        let mut dates: BTreeSet<NaiveDate> =
            bounded(&unfinished).map(|fact| fact.outcome.arrival_date).collect();
        let pending = self.pending(feed).await?;
        let unasked: Vec<String> = pending
            .difference(asked)
            .filter(|date| !dates.contains(date))
            .map(NaiveDate::to_string)
            .collect();
        if !unasked.is_empty() {
            tracing::warn!(
                feed = %feed.name,
                dates = %unasked.join(", "),
                "deliveries of these arrival dates are not built; they come first"
            );
        }
        dates.extend(pending);
        Ok((unfinished, dates))
    }

    /// The files of `dates`, those that are listed already included.
    pub(super) async fn list_dates(
        &self,
        feed: &FeedConfig,
        dates: &BTreeSet<NaiveDate>,
        files: &mut FilesOfDates,
    ) -> Result<(), JobError> {
        let source = source_of(feed, &self.config.lake.storage)?;
        for date in dates {
            if !files.contains_key(date) {
                files.insert(*date, source.files_of(*date).await?);
            }
        }
        Ok(())
    }

    /// Notes the files of `dates` that raw does not know. It is a report: what fails here fails
    /// nothing.
    pub(super) async fn see(
        &self,
        feed: &FeedConfig,
        dates: &BTreeSet<NaiveDate>,
        files: &FilesOfDates,
        late: LatePolicy,
    ) -> Result<(), JobError> {
        let mut found = Vec::new();
        let of_dates = files.iter().filter(|(date, _)| dates.contains(date));
        for (date, files) in ingest::unseen(&self.stage(feed), of_dates, late).await? {
            found.extend(files.into_iter().map(|file| FileOutcome::seen(file, date, late)));
        }
        if let Err(error) = self.log.see(&self.lake, &feed.name, found).await {
            let error = super::error_chain(&error);
            tracing::warn!(%error, "the files found could not be noted in files");
        }
        Ok(())
    }

    /// What became of the files of unfinished runs that this run did not take in itself.
    pub(super) async fn recover(&self, feed: &FeedConfig, unfinished: Unfinished) {
        let records = self.log.records();
        let taken_in: Vec<&FileOutcome> = records
            .iter()
            .filter(|record| record.feed == feed.name)
            .flat_map(|record| &record.did.files)
            .collect();
        let mut recovered = Vec::new();
        for fact in bounded(&unfinished) {
            let file = &fact.outcome;
            if taken_in.iter().any(|taken| taken.is_same_file(file)) {
                continue;
            }
            match recovery::recover(&self.stage(feed), file).await {
                Ok(Some(outcome)) => recovered.push(outcome),
                Ok(None) => {
                    recovered.push(FileOutcome { error: Some(GONE.to_owned()), ..file.clone() });
                }
                Err(error) => {
                    let error = super::error_chain(&error);
                    tracing::warn!(%error, file = %file.file, "cannot tell what became of a file");
                    return;
                }
            }
        }
        // A load of history is not this run's to finish: it is told again until it was.
        let is_all = unfinished.files.iter().all(|fact| !fact.outcome.accept_late);
        let left = if is_all { unfinished.places } else { vec![] };
        self.log.recover(&feed.name, recovered, left);
    }
}

/// Files that an ordinary run finishes.
fn bounded(unfinished: &Unfinished) -> impl Iterator<Item = &FileFact> {
    unfinished.files.iter().filter(|fact| !fact.outcome.accept_late)
}

fn report(feed: &FeedConfig, files: &[FileFact]) {
    let mut runs: BTreeMap<(&str, bool), Vec<&FileFact>> = BTreeMap::new();
    for fact in files {
        runs.entry((&fact.run_id, fact.outcome.accept_late)).or_default().push(fact);
    }
    for ((run_id, accept_late), facts) in runs {
        let dates: BTreeSet<String> =
            facts.iter().map(|fact| fact.outcome.arrival_date.to_string()).collect();
        let dates = Vec::from_iter(dates).join(", ");
        let since = facts.iter().map(|fact| fact.updated).min().unwrap_or_default();
        let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let files = facts.len();
        let what = if accept_late {
            "a load of history did not come to its end; give the command again"
        } else {
            "a run did not come to its end (killed, or still at work); its arrival dates come first"
        };
        tracing::warn!(feed = %feed.name, run_id, since, dates, files, "{what}");
    }
}
