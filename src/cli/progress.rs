//! A progress bar for each feed at work on a terminal, nothing elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job::Progress;

/// Draws on standard error; hidden where that is not a terminal.
pub(super) struct Bar {
    all: MultiProgress,
    feeds: Mutex<HashMap<String, ProgressBar>>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, feeds: Mutex::default() }
    }

    pub(super) fn finish(&self) {
        // What could not be cleared stays on the screen.
        let _ = self.all.clear();
    }

    /// The bar of a feed, which is drawn once it has a length.
    fn of(&self, feed: &str) -> ProgressBar {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let bar = ProgressBar::hidden().with_prefix(feed.to_owned());
            let template = "{spinner} {prefix} [{bar:20}] {pos}/{len} {msg} {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        };
        feeds.entry(feed.to_owned()).or_insert_with(new).clone()
    }
}

impl Progress for Bar {
    fn feed(&self, feed: &str, dates: u64) {
        let bar = self.all.add(self.of(feed));
        bar.set_length(dates);
        bar.set_position(0);
        bar.enable_steady_tick(Duration::from_millis(120));
    }

    fn stage(&self, feed: &str, stage: &str, arrival_date: NaiveDate) {
        tracing::info!(feed, stage, %arrival_date, "starting");
        self.of(feed).set_message(format!("{arrival_date} {stage}"));
    }

    fn date_done(&self, feed: &str) {
        let bar = self.of(feed);
        bar.inc(1);
        if bar.length().is_some_and(|dates| bar.position() >= dates) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}
