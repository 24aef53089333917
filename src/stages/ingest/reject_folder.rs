//! Rejected files, copied to where `reject_to` says, and then taken out of their source.
//!
//! A copy is read back and compared before anybody counts on it; one that is there already is left
//! as it is. A file leaves its source when raw knows of its rejection, and not before.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::NaiveDate;
use futures::TryStreamExt as _;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::rejection::content_hash;
use crate::config::redacted;
use crate::lake::LakeError;
use crate::lake::ids::{self, LatePolicy};
use crate::sources::{Source, SourceFile};
use crate::stages::StageContext;
use crate::stages::error::IngestError;

const BLOCK_BYTES: usize = 1 << 20;
/// Digits of the content hash that tell contents of one name apart.
const HASH_DIGITS: usize = 12;

/// Where rejected files are copied to.
#[derive(Debug)]
pub struct RejectFolder {
    root: Root,
    shown: String,
}

#[derive(Debug)]
enum Root {
    Folder(PathBuf),
    /// With the path below the bucket.
    Store(Arc<dyn ObjectStore>, String),
}

impl RejectFolder {
    /// A folder of this machine, made when it is needed.
    pub fn on_disk(folder: &str) -> Self {
        Self { root: Root::Folder(PathBuf::from(folder)), shown: folder.to_owned() }
    }

    /// The objects below `url`, such as `s3://bucket/errors`, in the store of its bucket.
    pub fn in_store(url: &str, store: Arc<dyn ObjectStore>) -> Self {
        let bucket = Source::bucket(url).unwrap_or(url);
        let prefix = url.strip_prefix(bucket).unwrap_or_default().to_owned();
        Self { root: Root::Store(store, prefix), shown: redacted(url) }
    }

    /// Where the copy of a file of that content is: `<feed>/<arrival date>/<hash>/<file>`.
    pub(super) fn place(
        feed: &str,
        arrival_date: NaiveDate,
        file: &SourceFile,
        content_hash: &str,
    ) -> String {
        let hash = content_hash.get(..HASH_DIGITS).unwrap_or(content_hash);
        format!("{feed}/{arrival_date}/{hash}/{}", file.name)
    }

    /// The place as a message names it.
    pub(super) fn shown(&self, place: &str) -> String {
        format!("{}/{place}", self.shown.trim_end_matches('/'))
    }

    /// Copies a file of that content, unless its copy is there, and reads the copy back.
    pub(super) async fn keep(
        &self,
        file: &SourceFile,
        content_hash: &str,
        place: &str,
    ) -> Result<(), IngestError> {
        let copy = self.shown(place);
        let failed = |source| {
            let (path, copy) = (file.path.clone(), copy.clone());
            IngestError::Copy { path, copy, source }
        };
        let (store, key) = self.object(place).map_err(failed)?;
        if is_copy(&*store, &key, content_hash).await.map_err(failed)? {
            return Ok(());
        }
        let read = copy_bytes(file.clone(), Arc::clone(&store), key.clone()).await;
        if read.map_err(failed)? != content_hash {
            return Err(IngestError::ChangedWhileRead { path: file.path.clone() });
        }
        if is_copy(&*store, &key, content_hash).await.map_err(failed)? {
            Ok(())
        } else {
            Err(IngestError::CopyDiffers { path: file.path.clone(), copy })
        }
    }

    fn object(&self, place: &str) -> io::Result<(Arc<dyn ObjectStore>, Key)> {
        match &self.root {
            Root::Folder(folder) => {
                std::fs::create_dir_all(folder)?;
                Ok((Arc::new(LocalFileSystem::new_with_prefix(folder)?), Key::from(place)))
            }
            Root::Store(store, prefix) => {
                Ok((Arc::clone(store), Key::from(format!("{prefix}/{place}"))))
            }
        }
    }
}

/// Whether the object is there and has that content.
async fn is_copy(store: &dyn ObjectStore, key: &Key, content_hash: &str) -> io::Result<bool> {
    let object = match store.get(key).await {
        Ok(object) => object,
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut hasher = Sha256::new();
    let mut parts = object.into_stream();
    while let Some(part) = parts.try_next().await? {
        hasher.update(&part);
    }
    Ok(format!("{:x}", hasher.finalize()) == content_hash)
}

/// Copies the bytes of a file, and returns their hash.
async fn copy_bytes(file: SourceFile, store: Arc<dyn ObjectStore>, key: Key) -> io::Result<String> {
    let runtime = Handle::current();
    let copied = spawn_blocking(move || {
        let (mut bytes, _) = file.location().stream()?;
        let mut upload = BufWriter::new(store, key);
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = bytes.read(&mut block)?;
            if read == 0 {
                break;
            }
            hasher.update(&block[..read]);
            runtime.block_on(upload.write_all(&block[..read]))?;
        }
        runtime.block_on(upload.shutdown())?;
        Ok(format!("{:x}", hasher.finalize()))
    });
    copied.await.unwrap_or_else(|_| Err(io::Error::other("the copying thread was stopped")))
}

/// Takes out of their source those of `files` that raw knows as rejected, once the copy of each is
/// read back. The error names the arrival date.
pub async fn move_rejected(
    stage: &StageContext<'_>,
    folder: &RejectFolder,
    files: &BTreeMap<NaiveDate, Vec<SourceFile>>,
) -> Result<(), (NaiveDate, IngestError)> {
    let Some(first) = files.keys().next().copied() else {
        return Ok(());
    };
    let of_lake = |error: LakeError| (first, IngestError::Lake(error));
    let known = super::known_ids(stage).await.map_err(of_lake)?;
    let rejections = known.rejections(&stage.feed.name);
    if rejections.is_empty() {
        return Ok(());
    }
    for (date, files) in files {
        for file in files.iter().filter(|file| !file.is_folder()) {
            let Some(hashes) = rejections.get(&(*date, file.name.clone())) else { continue };
            let of_date = |error| (*date, error);
            let hash = content_hash(file).await.map_err(of_date)?;
            let delivery = |mark| ids::delivery(&stage.feed.name, *date, &file.name, &hash, mark);
            let is_taken = LatePolicy::ALL.into_iter().any(|mark| known.contains(&delivery(mark)));
            if is_taken || !hashes.contains(&hash) {
                continue;
            }
            let place = RejectFolder::place(&stage.feed.name, *date, file, &hash);
            folder.keep(file, &hash, &place).await.map_err(of_date)?;
            file.remove().await.map_err(|error| (*date, error.into()))?;
            let copy = folder.shown(&place);
            tracing::info!(file = %file.path.display(), %copy, "moved a rejected file");
        }
    }
    Ok(())
}
