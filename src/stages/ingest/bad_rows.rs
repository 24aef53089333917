//! The bad rows of one file: how many there may be, and what becomes of them.

use crate::config::{Contract, OnBadRow};
use crate::sources::SourceFile;
use crate::stages::error::IngestError;
use crate::stages::quarantine::QuarantinedRow;

const ALL_PPM: u64 = 1_000_000;

/// Those found so far.
pub(super) struct BadRows<'f> {
    contract: &'f Contract,
    file: &'f SourceFile,
    pub(super) rows: Vec<QuarantinedRow>,
}

impl<'f> BadRows<'f> {
    pub(super) fn new(contract: &'f Contract, file: &'f SourceFile) -> Self {
        Self { contract, file, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, rows: Vec<QuarantinedRow>) -> Result<(), IngestError> {
        self.rows.extend(rows);
        match self.rows.first() {
            Some(row) if self.contract.on_bad_row == OnBadRow::Fail => Err(IngestError::BadRow {
                path: self.file.path.clone(),
                line: row.line,
                reason: row.reason.clone().into_owned(),
                detail: row.detail.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the file is rejected whatever follows.
    pub(super) fn are_too_many(&self) -> bool {
        self.most().is_some_and(|most| self.rows.len() as u64 > u64::from(most))
    }

    /// The line of the first bad row, and why the file is rejected that has so many `good` ones.
    pub(super) fn verdict(&self, good: usize) -> Option<(u64, String)> {
        let first = self.rows.first()?;
        let (bad, read) = (self.rows.len() as u64, (self.rows.len() + good) as u64);
        let rule = match self.contract.max_bad_share_ppm {
            _ if self.contract.on_bad_row == OnBadRow::RejectFile => {
                "it has a bad row, and on_bad_row is \"reject_file\"".to_owned()
            }
            _ if self.are_too_many() => {
                format!("more than max_bad_rows = {} rows are bad", self.most().unwrap_or(0))
            }
            Some(most) if bad * ALL_PPM > u64::from(most) * read => format!(
                "{bad} of {read} rows are bad, more than max_bad_share = \"{}\"",
                crate::config::format_ppm(most)
            ),
            _ => return None,
        };
        let (line, reason, detail) = (first.line, &first.reason, &first.detail);
        let detail = format!(
            "{}: {rule}; the first in line {line}: {reason}: {detail}; correct the file",
            self.file.path.display()
        );
        Some((u64::try_from(line).unwrap_or(0), detail))
    }

    fn most(&self) -> Option<u32> {
        match self.contract.on_bad_row {
            OnBadRow::RejectFile => Some(0),
            _ => self.contract.max_bad_rows,
        }
    }
}
