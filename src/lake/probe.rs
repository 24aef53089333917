//! Whether a store can hold a lake: it keeps what it is given, and of several writers that create
//! one object exactly one succeeds. A store where two may succeed loses commits without a word.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Lake, LakeError};
use crate::clock;

/// Below the root of the lake, beside its tables; nothing else is in it.
const FOLDER: &str = ".sessionlake";
/// Says which server was found to be safe. It lies in the lake and not on this machine: what it
/// says holds for every machine, and a lake that moves to another server is probed again.
const MARKER: &str = "conditional-put.json";
const RACERS: usize = 8;
const RACES: usize = 4;
/// A clock that is further off makes times in the log useless.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// What a store did wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A request failed.
    #[error("a request of the probe failed")]
    Request(#[from] Error),
    /// An object came back changed.
    #[error("an object was read back otherwise than it was written")]
    Changed,
    /// An object is missing in the listing of its folder.
    #[error("an object that had just been written was not listed")]
    NotListed,
    /// Two writers created one object, one after the other.
    #[error(
        "it ignores conditional PUT (`If-None-Match: *`): an object that existed was created again"
    )]
    CreatedTwice,
    /// Several racing writers created one object.
    #[error(
        "its conditional PUT (`If-None-Match: *`) is not atomic: {winners} of {RACERS} racing \
         writers created one object"
    )]
    Raced {
        /// How many succeeded.
        winners: usize,
    },
}

impl Lake {
    /// Writes, reads, lists and removes an object below the root of the lake, and gives back the
    /// store's time less ours, milliseconds.
    pub async fn probe_access(&self) -> Result<i64, ProbeError> {
        let path = self.hidden(&format!("probe-{}", Uuid::new_v4()));
        // A PUT may create a bucket that is not there; a listing says that it is not.
        self.is_listed(&path).await?;
        let began = clock::now();
        self.store.put(&path, path.to_string().into()).await?;
        let read = self.store.get(&path).await?;
        let modified: DateTime<Utc> = read.meta.last_modified;
        let is_same = read.bytes().await? == path.as_ref();
        let is_listed = self.is_listed(&path).await?;
        self.store.delete(&path).await?;
        match (is_same, is_listed) {
            (false, _) => Err(ProbeError::Changed),
            (_, false) => Err(ProbeError::NotListed),
            _ => Ok((modified - began).num_milliseconds()),
        }
    }

    /// Creates new objects several times: one after the other, then by writers that race.
    pub async fn probe_conditional_put(&self) -> Result<(), ProbeError> {
        let path = self.hidden(&format!("probe-{}", Uuid::new_v4()));
        self.create(&path).await?;
        let again = self.create(&path).await;
        self.store.delete(&path).await?;
        if again? {
            return Err(ProbeError::CreatedTwice);
        }
        for _ in 0..RACES {
            let path = self.hidden(&format!("probe-{}", Uuid::new_v4()));
            let racers = join_all((0..RACERS).map(|_| self.create(&path))).await;
            self.store.delete(&path).await?;
            let racers = racers.into_iter().collect::<Result<Vec<_>, _>>()?;
            let winners = racers.into_iter().filter(|won| *won).count();
            // No winner at all is one whose answer was lost, and who asked again.
            if winners > 1 {
                return Err(ProbeError::Raced { winners });
            }
        }
        Ok(())
    }

    /// Refuses an object store on which commits would be lost. What was found is remembered in
    /// the lake, so that a run asks once.
    pub async fn require_safe_commits(&self) -> Result<(), LakeError> {
        let Some(endpoint) = self.store.endpoint() else {
            // A local disk creates a file by a link, which fails where there is one.
            return Ok(());
        };
        let marker = self.hidden(MARKER);
        let location = || self.root.to_string();
        let unanswered = |source| LakeError::Unprobed { location: location(), source };
        if self.is_marked(&marker, endpoint).await.map_err(unanswered)? {
            return Ok(());
        }
        self.probe_conditional_put().await.map_err(|source| match source {
            ProbeError::Request(source) => unanswered(source),
            source => LakeError::UnsafeStore { location: location(), source },
        })?;
        let found = json!({ "endpoint": endpoint, "probed": clock::now().to_rfc3339() });
        self.store.put(&marker, found.to_string().into()).await.map(|_| ()).map_err(unanswered)
    }

    async fn is_marked(&self, marker: &Path, endpoint: &str) -> Result<bool, Error> {
        // A listing tells a bucket that is not there from one without the marker.
        if !self.is_listed(marker).await? {
            return Ok(false);
        }
        let bytes = self.store.get(marker).await?.bytes().await?;
        let found = serde_json::from_slice::<Value>(&bytes);
        Ok(found.is_ok_and(|found| found["endpoint"] == endpoint))
    }

    /// Whether this writer created the object.
    async fn create(&self, path: &Path) -> Result<bool, Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, "probe".into(), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a listing of the hidden folder names the object.
    async fn is_listed(&self, path: &Path) -> Result<bool, Error> {
        let folder = self.hidden_folder();
        let listed = self.store.list(Some(&folder));
        let found = listed.try_any(|meta| std::future::ready(meta.location == *path));
        found.await
    }

    fn hidden_folder(&self) -> Path {
        let root = Path::from_url_path(self.root.path()).unwrap_or_default();
        root.join(FOLDER)
    }

    fn hidden(&self, name: &str) -> Path {
        self.hidden_folder().join(name)
    }
}
