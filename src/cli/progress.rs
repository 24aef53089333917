//! A progress bar on a terminal, nothing elsewhere.

use std::time::Duration;

use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job::Progress;

/// Draws on standard error; hidden where that is not a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{spinner} {prefix} [{bar:20}] {pos}/{len} {msg} {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn feed(&self, feed: &str, dates: u64) {
        self.0.set_prefix(feed.to_owned());
        self.0.set_length(dates);
        self.0.set_position(0);
        self.0.enable_steady_tick(Duration::from_millis(120));
    }

    fn stage(&self, stage: &str, arrival_date: NaiveDate) {
        tracing::info!(stage, %arrival_date, "starting");
        self.0.set_message(format!("{arrival_date} {stage}"));
    }

    fn date_done(&self) {
        self.0.inc(1);
    }
}
