//! Which keys are verified.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Date32Type};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use foldhash::quality::FixedState;
use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::error::VerifyError;
use super::rows::KEY;
use super::sources::{BatchStream, Sources};
use crate::lake::contracts::PDATE;
use crate::stages::events::{column, date32};

/// Users by whom the rows of a table are looked up; more are filtered as they are read.
const LOOKED_UP_USERS: usize = 100;

/// A user and a product.
pub(super) type OwnKey = (String, String);

/// Some of all keys.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// Every one.
    All,
    /// Those of these users.
    Users(Arc<BTreeSet<String>>),
    /// Those whose hash is at most this.
    HashAtMost(u64),
    /// These.
    Keys(Arc<HashSet<OwnKey>>),
}

impl Choice {
    /// The users whose rows are enough to read, where they are known and few.
    pub(super) fn users(&self) -> Option<Vec<&str>> {
        let users: BTreeSet<&str> = match self {
            Self::All | Self::HashAtMost(_) => return None,
            Self::Users(users) => users.iter().map(String::as_str).collect(),
            Self::Keys(keys) => keys.iter().map(|(user, _)| user.as_str()).collect(),
        };
        (users.len() <= LOOKED_UP_USERS).then(|| users.into_iter().collect())
    }

    /// The chosen rows among `rows`, of them those from an event date on.
    pub(super) fn of(
        &self,
        rows: RecordBatch,
        first: Option<NaiveDate>,
    ) -> Result<RecordBatch, DataFusionError> {
        let first = first.map(date32);
        if matches!(self, Self::All) && first.is_none() {
            return Ok(rows);
        }
        let (users, products) = (text(&rows, KEY[0])?, text(&rows, KEY[1])?);
        let first = match first {
            Some(first) => Some((first, column(&rows, PDATE)?.as_primitive::<Date32Type>())),
            None => None,
        };
        let is_chosen = |row: usize| {
            let is_of_date = first.is_none_or(|(first, dates)| dates.value(row) >= first);
            is_of_date && self.is_chosen(users.value(row), products.value(row))
        };
        let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(is_chosen(row))).collect();
        Ok(filter_record_batch(&rows, &mask)?)
    }

    fn is_chosen(&self, user: &str, product: &str) -> bool {
        match self {
            Self::All => true,
            Self::Users(users) => users.contains(user),
            Self::HashAtMost(most) => hash(user, product) <= *most,
            Self::Keys(keys) => keys.contains(&(user.to_owned(), product.to_owned())),
        }
    }

    /// The `wanted` keys with the smallest hashes: the same ones whenever the same keys are there.
    /// Memory holds no more than these.
    pub(super) async fn sample(
        sources: &Sources<'_>,
        wanted: NonZeroUsize,
    ) -> Result<Self, VerifyError> {
        let mut parts = JoinSet::new();
        for keys in sources.keys().await? {
            parts.spawn(smallest(keys, wanted));
        }
        let mut hashes = BTreeSet::new();
        while let Some(part) = parts.join_next().await {
            let table = || sources.name.clone();
            let part = part.map_err(|_| VerifyError::Stopped { table: table() })?;
            hashes.extend(part.map_err(|source| sources.error(source))?);
        }
        let last = hashes.iter().nth(wanted.get() - 1).or(hashes.last());
        Ok(Self::HashAtMost(last.copied().unwrap_or_default()))
    }
}

async fn smallest(
    mut keys: BatchStream,
    wanted: NonZeroUsize,
) -> Result<BTreeSet<u64>, DataFusionError> {
    let mut hashes = BTreeSet::new();
    while let Some(batch) = keys.next().await {
        let batch = batch?;
        let (users, products) = (text(&batch, KEY[0])?, text(&batch, KEY[1])?);
        let mut previous = None;
        for row in 0..batch.num_rows() {
            let key = (users.value(row), products.value(row));
            if previous.replace(key) == Some(key) {
                continue;
            }
            let hash = hash(key.0, key.1);
            if hashes.len() < wanted.get() || hashes.last().is_some_and(|last| hash < *last) {
                hashes.insert(hash);
            }
            if hashes.len() > wanted.get() {
                hashes.pop_last();
            }
        }
    }
    Ok(hashes)
}

fn hash(user: &str, product: &str) -> u64 {
    const SEED: u64 = 0x5e55_1017;
    FixedState::with_seed(SEED).hash_one((user, product))
}

fn text(rows: &RecordBatch, name: &str) -> Result<StringArray, DataFusionError> {
    Ok(cast(column(rows, name)?, &DataType::Utf8)?.as_string().clone())
}
