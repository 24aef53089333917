//! How a pass is cut: into slices of users that are worked on side by side, and, within an event
//! date, into groups of slices whose files are replaced together.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::known_files::KnownFile;
use crate::engine::runs::SortedRun;
use crate::lake::sorted_files::OpenFile;

/// Fewer rows are not worth a slice of their own.
const MIN_SLICE_ROWS: i64 = 200_000;
/// Bytes of a date beyond which it gets more slices than there are threads.
const SLICE_BYTES: i64 = 128 * 1024 * 1024;
/// Users looked at for the bounds of slices.
const SAMPLED_USERS: usize = 4096;

/// Slices of users in order: each begins with its user and ends before the next one's; the first
/// begins with all users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::stages) struct Slices {
    starts: Vec<String>,
}

impl Slices {
    /// Slices for a merge of `runs` into files.
    pub(super) fn plan(files: &[&KnownFile], runs: &[Arc<SortedRun>], threads: usize) -> Self {
        let new_rows: usize = runs.iter().map(|run| run.rows()).sum();
        let new_rows = i64::try_from(new_rows).unwrap_or(i64::MAX);
        Self::of(files, new_rows, &sampled_users(runs), threads)
    }

    /// Slices for reading files alone.
    pub(in crate::stages) fn of_files(files: &[&KnownFile], threads: usize) -> Self {
        let mut users: Vec<String> =
            files.iter().flat_map(|file| file.open.first_users()).collect();
        users.sort_unstable();
        Self::of(files, 0, &users, threads)
    }

    /// Keeps the slices that the files were written in, where they are enough and still even;
    /// else cuts anew by the sampled users, which are in order.
    fn of(files: &[&KnownFile], new_rows: i64, users: &[String], threads: usize) -> Self {
        let rows: i64 = files.iter().map(|file| file.open.rows()).sum();
        let rows = rows.saturating_add(new_rows);
        let by_rows = usize::try_from(rows / MIN_SLICE_ROWS).unwrap_or(1).clamp(1, threads.max(1));
        let wanted = by_rows.max(largest_date_bytes(files));
        let recorded: BTreeSet<&str> =
            files.iter().filter_map(|file| file.open.slice_from()).collect();
        let recorded = Self { starts: recorded.into_iter().map(str::to_owned).collect() };
        let is_enough = recorded.len() >= wanted && recorded.len() <= wanted.saturating_mul(4);
        if is_enough && (wanted == 1 || recorded.is_even(users)) {
            return recorded;
        }
        let mut starts: Vec<String> = (1..wanted)
            .filter_map(|slice| users.get(slice * users.len() / wanted).cloned())
            .collect();
        starts.dedup();
        Self { starts }
    }

    /// Number of slices, at least one.
    pub(in crate::stages) fn len(&self) -> usize {
        self.starts.len() + 1
    }

    /// The users of a slice as `[from, to)`; an open end is `None`.
    pub(in crate::stages) fn users(&self, slice: usize) -> (Option<&str>, Option<&str>) {
        let start = |at: usize| self.starts.get(at).map(String::as_str);
        (slice.checked_sub(1).and_then(start), start(slice))
    }

    /// The slices that a file may have rows of.
    pub(in crate::stages) fn of_file(&self, file: &OpenFile) -> Range<usize> {
        let slice_of = |user: &str| self.starts.partition_point(|start| start.as_str() <= user);
        match file.users() {
            Some((first, last)) => slice_of(&first)..slice_of(&last) + 1,
            None => 0..self.len(),
        }
    }

    /// No slice has more than twice its share of the sampled users.
    fn is_even(&self, users: &[String]) -> bool {
        let mut shares = vec![0; self.len()];
        for user in users {
            shares[self.starts.partition_point(|start| start <= user)] += 1;
        }
        let largest = shares.iter().max().copied().unwrap_or_default();
        largest * self.len() <= 2 * users.len().max(1)
    }
}

fn largest_date_bytes(files: &[&KnownFile]) -> usize {
    let mut by_date = std::collections::BTreeMap::new();
    for file in files {
        *by_date.entry(file.data.date).or_insert(0) += file.data.bytes;
    }
    let largest = by_date.into_values().max().unwrap_or_default();
    usize::try_from(largest / SLICE_BYTES).unwrap_or_default()
}

fn sampled_users(runs: &[Arc<SortedRun>]) -> Vec<String> {
    let each = SAMPLED_USERS / runs.len().max(1);
    let mut users: Vec<String> =
        runs.iter().flat_map(|run| run.sample_users(each.max(16))).collect();
    users.sort_unstable();
    users
}

/// Slices of one date whose files must be replaced together, because a file has rows of several.
pub(super) fn groups(slices: &Slices, files: &[KnownFile]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> =
        files.iter().map(|file| slices.of_file(&file.open)).collect();
    spans.extend((0..slices.len()).map(|slice| slice..slice + 1));
    spans.sort_by_key(|span| (span.start, span.end));
    let mut groups: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match groups.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => groups.push(span),
        }
    }
    groups
}
