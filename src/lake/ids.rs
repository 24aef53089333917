//! The ids by which commits know what they hold, as Delta `txn` actions.
//!
//! | id | table | version |
//! |---|---|---|
//! | `raw/<feed>/<arrival date>/<file>/<content hash>` | raw, quarantine | 1: this delivery is here; 2, in raw alone: it was withdrawn |
//! | `replayed/<feed>/<arrival date>/<file>/<content hash>` | raw | number of replays that brought refused rows of this delivery back |
//! | `rejected/<feed>/<arrival date>/<file>/<content hash>` | raw, quarantine | 1: this file was rejected whole; nothing of it is here, unless a replay has made it a delivery |
//! | `decided/<feed>/<arrival date>/<file>/<content hash>` | quarantine | under which configuration the rows here were rejected, a hash of it |
//! | `seen/<feed>/<arrival date>/<file>/<size>-<mtime>` | raw | 1: a file with this stat needs no hashing |
//! | `ods/<feed>/<arrival date>` | ods | number of deliveries, withdrawals and replays of that date built |
//! | `ods/<feed>` | ods | arrival date of the last build, days since 1970: makes ODS commits exclude each other |
//! | `reprocess/<feed>` | ods, quarantine | number of reprocesses; quarantine follows ods |
//! | `withdraw/<feed>` | raw, ods | number of withdrawals; ods follows raw |
//! | `withdraw-from/<feed>` | raw | first event date that the last withdrawal touches, days since 1970 |
//! | `sessions/<feed>` | sessions | version of ods that was read |
//! | `retention/<feed>` | raw | newest arrival date removed, days since 1970 |
//! | `files/<feed>/<slot>` | files | odd while a run that has seen files is at work, even when it has ended |
//! | `files` | files | time of the newest fact, milliseconds since 1970 |
//! | `runs` | runs | time of the newest record, milliseconds since 1970 |
//! | `removal` | any | version that was read: makes commits that take files out exclude each other |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use delta_kernel::engine::arrow_data::EngineDataArrowExt as _;
use deltalake::DeltaTable;
use deltalake::arrow::array::{Array, AsArray};
use deltalake::arrow::datatypes::Int64Type;
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::get_actions;

use super::{LakeError, TableName};

/// The version of the id of a delivery that was withdrawn.
pub const WITHDRAWN: i64 = 2;

/// The end of the ids of a load of history.
const ACCEPT_LATE: &str = "/accept-late";

/// Every transaction id of one table, read in one pass over its log. Clones share the ids.
#[derive(Debug, Clone, Default)]
pub struct Ids(Arc<HashMap<String, i64>>);

impl Ids {
    /// Reads the ids of the version of `table` that is loaded. One application id's newest
    /// action wins, as the protocol says.
    pub async fn read(name: &TableName, table: &DeltaTable) -> Result<Self, LakeError> {
        let log_store = table.log_store();
        let mut root = log_store.root_url().clone();
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let version = table.version();
        let engine = log_store.engine(None);
        let read = tokio::task::spawn_blocking(move || replay(&root, version, engine.as_ref()));
        match read.await {
            Ok(ids) => ids
                .map(|ids| Self(Arc::new(ids)))
                .map_err(|source| LakeError::Ids { table: name.clone(), source: Box::new(source) }),
            Err(join) => Err(LakeError::Ids {
                table: name.clone(),
                source: Box::new(delta_kernel::Error::generic_err(join)),
            }),
        }
    }

    /// These ids, known as of `version`, as of the loaded version of `table`: the commits in
    /// between are read. `None` when that cannot be done: the table is older, or its log has been
    /// cleaned past `version`.
    pub(crate) async fn advanced(mut self, table: &DeltaTable, version: u64) -> Option<Self> {
        let newest = table.version().filter(|newest| *newest >= version)?;
        for version in version + 1..=newest {
            let commit = table.log_store().read_commit_entry(version).await.ok()??;
            let actions = get_actions(version, &commit).ok()?;
            for action in actions {
                if let Action::Txn(Transaction { app_id, version, .. }) = action {
                    Arc::make_mut(&mut self.0).insert(app_id, version);
                }
            }
        }
        Some(self)
    }

    /// The version recorded for `id`.
    pub fn version(&self, id: &str) -> Option<i64> {
        self.0.get(id).copied()
    }

    /// Whether `id` was ever committed.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Whether a file of that name was ever delivered under that arrival date; may also be true
    /// of a folder that the name is below.
    pub fn contains_delivery_of(&self, feed: &str, arrival_date: NaiveDate, file: &str) -> bool {
        let prefix = format!("raw/{feed}/{arrival_date}/{file}/");
        self.0.keys().any(|id| id.starts_with(&prefix))
    }

    /// The content hashes of a file of that name and arrival date that were rejected.
    pub fn rejections_of(&self, feed: &str, arrival_date: NaiveDate, file: &str) -> Vec<String> {
        let prefix = rejected(feed, arrival_date, file, "");
        let hashes = self.0.keys().filter_map(|id| id.strip_prefix(&prefix));
        hashes.filter(|hash| !hash.contains('/')).map(str::to_owned).collect()
    }

    /// Every file that was rejected, by arrival date and name, with the hashes of its contents.
    pub fn rejections(&self, feed: &str) -> BTreeMap<(NaiveDate, String), Vec<String>> {
        let prefix = format!("rejected/{feed}/");
        let mut files: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for rest in self.0.keys().filter_map(|id| id.strip_prefix(&prefix)) {
            let parts = rest.split_once('/').and_then(|(date, rest)| {
                let (file, hash) = rest.rsplit_once('/')?;
                Some((date.parse::<NaiveDate>().ok()?, file, hash))
            });
            if let Some((date, file, hash)) = parts {
                files.entry((date, file.to_owned())).or_default().push(hash.to_owned());
            }
        }
        files
    }

    /// Number of deliveries, withdrawals and replays of one arrival date; it grows with every change.
    pub fn deliveries(&self, feed: &str, arrival_date: NaiveDate) -> i64 {
        self.delivery_dates(feed).get(&arrival_date).copied().unwrap_or_default()
    }

    /// [`Ids::deliveries`] per arrival date, in the order of the dates.
    pub fn delivery_dates(&self, feed: &str) -> BTreeMap<NaiveDate, i64> {
        let prefixes = [format!("raw/{feed}/"), format!("replayed/{feed}/")];
        let mut dates = BTreeMap::new();
        for (id, version) in self.0.iter() {
            let of_feed = prefixes.iter().find_map(|prefix| id.strip_prefix(prefix));
            let Some(rest) = of_feed else { continue };
            if let Some(date) = rest.get(..10).and_then(|text| text.parse::<NaiveDate>().ok()) {
                *dates.entry(date).or_default() += version;
            }
        }
        dates
    }

    /// Every delivery of one arrival date, those that were withdrawn included, in order.
    pub fn deliveries_of(&self, feed: &str, arrival_date: NaiveDate) -> Vec<Delivery> {
        let prefix = format!("raw/{feed}/{arrival_date}/");
        let deliveries = self.0.iter().filter_map(|(id, version)| {
            let rest = id.strip_prefix(&prefix)?;
            let rest = rest.strip_suffix(ACCEPT_LATE).unwrap_or(rest);
            let (file, content_hash) = rest.rsplit_once('/')?;
            Some(Delivery {
                file: file.to_owned(),
                content_hash: content_hash.to_owned(),
                is_withdrawn: *version == WITHDRAWN,
                id: id.clone(),
            })
        });
        let mut deliveries: Vec<Delivery> = deliveries.collect();
        deliveries.sort_by(|left, right| left.id.cmp(&right.id));
        deliveries
    }

    /// Files of which every delivery was withdrawn, of one arrival date.
    pub fn withdrawn_files(&self, feed: &str, arrival_date: NaiveDate) -> BTreeSet<String> {
        let deliveries = self.deliveries_of(feed, arrival_date);
        let (withdrawn, live): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|delivery| delivery.is_withdrawn);
        let live: BTreeSet<String> = live.into_iter().map(|delivery| delivery.file).collect();
        withdrawn
            .into_iter()
            .map(|delivery| delivery.file)
            .filter(|file| !live.contains(file))
            .collect()
    }

    /// Whether this delivery was taken back.
    pub fn is_withdrawn(&self, delivery: &str) -> bool {
        self.version(delivery) == Some(WITHDRAWN)
    }

    /// Arrival dates with a build, and how many deliveries each build held.
    pub fn built_dates(&self, feed: &str) -> BTreeMap<NaiveDate, i64> {
        let prefix = format!("ods/{feed}/");
        self.0
            .iter()
            .filter_map(|(id, version)| {
                Some((id.strip_prefix(&prefix)?.parse::<NaiveDate>().ok()?, *version))
            })
            .collect()
    }

    /// The places of runs at work on a feed, numbered from 0: how often each was taken and left.
    pub fn places(&self, feed: &str) -> Vec<i64> {
        (0..).map_while(|number| self.version(&place(feed, number))).collect()
    }

    /// The last withdrawal.
    pub fn withdrawal(&self, feed: &str) -> Option<Withdrawal> {
        let from = self.version(&withdrawn_from(feed)).and_then(date_of_days)?;
        Some(Withdrawal { number: self.version(&withdrawals(feed))?, from })
    }

    /// The newest arrival date whose raw rows retention removed.
    pub fn removed_through(&self, feed: &str) -> Option<NaiveDate> {
        self.version(&retention(feed)).and_then(date_of_days)
    }
}

/// One delivery: some content under a name and an arrival date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// The name of the file.
    pub file: String,
    /// SHA-256 of its bytes.
    pub content_hash: String,
    /// It was taken back.
    pub is_withdrawn: bool,
}

/// Deliveries that were taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// How many withdrawals there were, this one included.
    pub number: i64,
    /// The first event date to recompute.
    pub from: NaiveDate,
}

fn replay(
    root: &url::Url,
    version: Option<u64>,
    engine: &dyn delta_kernel::Engine,
) -> delta_kernel::DeltaResult<HashMap<String, i64>> {
    let mut builder = delta_kernel::Snapshot::builder_for(root.as_str());
    if let Some(version) = version {
        builder = builder.at_version(version);
    }
    let snapshot = builder.build(engine)?;
    let schema = delta_kernel::actions::LOG_TXN_SCHEMA.clone();
    let mut ids = HashMap::new();
    for batch in snapshot.log_segment().read_actions(engine, schema)? {
        let batch = batch?.actions.try_into_record_batch()?;
        let Some(txn) = batch.column_by_name("txn").and_then(|c| c.as_struct_opt()) else {
            continue;
        };
        let app_ids = txn.column_by_name("appId").and_then(|c| c.as_string_opt::<i32>());
        let versions =
            txn.column_by_name("version").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let (Some(app_ids), Some(versions)) = (app_ids, versions) else {
            continue;
        };
        for row in (0..batch.num_rows()).filter(|row| txn.is_valid(*row) && app_ids.is_valid(*row))
        {
            // The log is replayed newest first, so the first version of an id is the newest.
            ids.entry(app_ids.value(row).to_owned()).or_insert_with(|| versions.value(row));
        }
    }
    Ok(ids)
}

/// Whether rows of a delivery are bound by the update depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePolicy {
    /// Rows older than the update depth go to quarantine.
    Bounded,
    /// A load of history: rows of any age count.
    Accepted,
}

impl LatePolicy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bounded, Self::Accepted];
}

fn mark(late: LatePolicy) -> &'static str {
    match late {
        LatePolicy::Bounded => "",
        LatePolicy::Accepted => ACCEPT_LATE,
    }
}

/// The id of one delivery. The same bytes under another arrival date, or taken in again as a
/// load of history, are another delivery.
pub fn delivery(
    feed: &str,
    arrival_date: NaiveDate,
    file: &str,
    content_hash: &str,
    late: LatePolicy,
) -> String {
    let mark = mark(late);
    format!("raw/{feed}/{arrival_date}/{file}/{content_hash}{mark}")
}

/// The id of a file that was rejected whole: the same bytes under that name and arrival date are
/// not looked at again, whatever the contract says then, but by a replay.
pub fn rejected(feed: &str, arrival_date: NaiveDate, file: &str, content_hash: &str) -> String {
    format!("rejected/{feed}/{arrival_date}/{file}/{content_hash}")
}

/// The id of what an ingest has decided on the rows of a file.
pub fn decided(feed: &str, arrival_date: NaiveDate, file: &str, content_hash: &str) -> String {
    format!("decided/{feed}/{arrival_date}/{file}/{content_hash}")
}

/// The id that counts the replays of a delivery.
pub fn replayed(feed: &str, arrival_date: NaiveDate, file: &str, content_hash: &str) -> String {
    format!("replayed/{feed}/{arrival_date}/{file}/{content_hash}")
}

/// The id of a file's size and modification time, so that an unchanged file is not hashed again.
pub fn seen(
    feed: &str,
    arrival_date: NaiveDate,
    file: &str,
    stat: &str,
    late: LatePolicy,
) -> String {
    let mark = mark(late);
    format!("seen/{feed}/{arrival_date}/{file}/{stat}{mark}")
}

/// The id of a build of one arrival date.
pub fn build(feed: &str, arrival_date: NaiveDate) -> String {
    format!("ods/{feed}/{arrival_date}")
}

/// The id every ODS commit carries, so that the library rejects a concurrent one.
pub fn ods(feed: &str) -> String {
    format!("ods/{feed}")
}

/// The id of the last reprocess, in ods and then in quarantine: a lagging quarantine is redone.
pub fn reprocess(feed: &str) -> String {
    format!("reprocess/{feed}")
}

/// The id that counts withdrawals, in raw and then in ods: a lagging ODS is recomputed.
pub fn withdrawals(feed: &str) -> String {
    format!("withdraw/{feed}")
}

/// The id of the first event date that the last withdrawal touches.
pub fn withdrawn_from(feed: &str) -> String {
    format!("withdraw-from/{feed}")
}

/// The id of the version of ODS that `sessions/<feed>` was made of: a lagging table is made to follow.
pub fn sessions(feed: &str) -> String {
    format!("sessions/{feed}")
}

/// The id that records the newest arrival date removed from raw.
pub fn retention(feed: &str) -> String {
    format!("retention/{feed}")
}

/// The id of one of the places in which runs at work on a feed are noted, see [`Ids::places`].
pub fn place(feed: &str, number: usize) -> String {
    format!("files/{feed}/{number}")
}

/// The id of every commit that takes files out of its table.
pub(crate) const REMOVAL: &str = "removal";

/// A Delta `txn` action.
pub fn transaction(id: impl ToString, version: i64) -> Transaction {
    Transaction::new(id, version)
}

/// Days since 1970-01-01, the form in which dates are stored as versions.
pub fn days_of_date(date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::default()).num_days()
}

fn date_of_days(days: i64) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_days(Days::new(u64::try_from(days).ok()?))
}
