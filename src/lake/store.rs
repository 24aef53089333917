//! The object store of a lake: it counts what is asked of it, and reads log files once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::log_cache::{Content, LARGEST_FILE_BYTES, LogCache, LogFile, is_log_file};
use super::object_storage::ObjectStorage;
use super::requests::{Kind, Meter, Requests};

const NAME: &str = "sessionlake";

/// Passes every request on to `inner` as it is (conditional puts and renames included), but for
/// reads of log files, see [`super::log_cache`].
#[derive(Debug, Clone)]
pub(crate) struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
    log: Arc<LogCache>,
    /// `None` for a local folder.
    storage: Option<Arc<ObjectStorage>>,
}

impl MeteredStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, storage: Option<ObjectStorage>) -> Self {
        let storage = storage.map(Arc::new);
        Self { inner, meter: Arc::default(), log: Arc::default(), storage }
    }

    /// What the store says, with what to do about it.
    fn explained<T>(&self, result: Result<T>) -> Result<T> {
        match &self.storage {
            Some(storage) => result.map_err(|error| storage.explained(error)),
            None => result,
        }
    }

    /// The server of an object store; `None` for a local disk.
    pub(super) fn endpoint(&self) -> Option<&str> {
        Some(self.storage.as_ref()?.endpoint())
    }

    pub(crate) fn requests(&self) -> Requests {
        self.meter.totals()
    }

    async fn get_metered(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.meter.add(if options.head { Kind::Head } else { Kind::Get }, 1);
        let is_head = options.head;
        let result = self.explained(self.inner.get_opts(location, options).await)?;
        if is_head {
            return Ok(result);
        }
        self.meter.read(result.range.end - result.range.start);
        Ok(whole(result))
    }

    /// The log file at `location`, read at most once. `None` when it is too large to be kept.
    async fn log_file(&self, location: &Path) -> Result<Option<(ObjectMeta, Bytes)>> {
        if let Some(LogFile { meta, content }) = self.log.get(location) {
            return Ok(match content {
                Content::Kept(bytes) => Some((meta, bytes)),
                Content::TooLarge => None,
            });
        }
        self.meter.add(Kind::Get, 1);
        let result = self.inner.get_opts(location, GetOptions::default()).await;
        let result = self.explained(result)?;
        let meta = result.meta.clone();
        if meta.size == 0 {
            // What a power cut leaves of a file; the library would take it for an empty commit.
            return Err(empty_log_file(location));
        }
        if meta.size > LARGEST_FILE_BYTES {
            self.log.keep(LogFile { meta, content: Content::TooLarge });
            return Ok(None);
        }
        let bytes = whole(result).bytes().await?;
        self.meter.read(meta.size);
        self.log.keep(LogFile { meta: meta.clone(), content: Content::Kept(bytes.clone()) });
        Ok(Some((meta, bytes)))
    }

    /// Listings count, and show which kept files have been replaced.
    fn watched(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.add(Kind::List, 1);
        let (log, storage) = (Arc::clone(&self.log), self.storage.clone());
        let explained = move |error| match &storage {
            Some(storage) => storage.explained(error),
            None => error,
        };
        listing.inspect_ok(move |meta| log.compare(meta)).map_err(explained).boxed()
    }
}

impl fmt::Display for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metered {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for MeteredStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.meter.add(Kind::Put, 1);
        self.meter.written(payload.content_length());
        self.log.forget(location);
        self.explained(self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meter.add(Kind::Put, 1);
        self.log.forget(location);
        let inner = self.inner.put_multipart_opts(location, options).await;
        let inner = self.explained(inner)?;
        Ok(Box::new(MeteredUpload { inner, meter: Arc::clone(&self.meter) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !is_log_file(location) || !is_plain(&options) {
            return self.get_metered(location, options).await;
        }
        match self.log_file(location).await? {
            Some((meta, bytes)) => part_of(meta, &bytes, &options),
            None => self.get_metered(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if is_log_file(location)
            && let Some((meta, bytes)) = self.log_file(location).await?
        {
            return ranges.iter().map(|range| slice(&meta, &bytes, range)).collect();
        }
        self.meter.add(Kind::Get, reads_of(ranges));
        self.meter.read(ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum());
        let parts = self.explained(self.inner.get_ranges(location, ranges).await)?;
        // Readers of Parquet take for granted that they get what they asked for.
        match parts.iter().zip(ranges).find(|(part, range)| part.len() as u64 != length(range)) {
            Some((part, range)) => Err(cut_short(length(range), part.len() as u64)),
            None => Ok(parts),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (meter, log) = (Arc::clone(&self.meter), Arc::clone(&self.log));
        let counted = locations.inspect_ok(move |location| {
            meter.add(Kind::Delete, 1);
            log.forget(location);
        });
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watched(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.add(Kind::List, 1);
        let listed = self.explained(self.inner.list_with_delimiter(prefix).await)?;
        listed.objects.iter().for_each(|meta| self.log.compare(meta));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meter.add(Kind::Copy, 1);
        self.log.forget(to);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.meter.add(Kind::Copy, 1);
        self.log.forget(from);
        self.log.forget(to);
        self.inner.rename_opts(from, to, options).await
    }
}

/// Counts the parts of a large upload.
#[derive(Debug)]
struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    meter: Arc<Meter>,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.meter.add(Kind::Put, 1);
        self.meter.written(data.content_length());
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.add(Kind::Put, 1);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.meter.add(Kind::Delete, 1);
        self.inner.abort().await
    }
}

/// Whether a read asks for no more than bytes; conditions and versions are the store's to judge.
fn is_plain(options: &GetOptions) -> bool {
    !options.head
        && options.version.is_none()
        && options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
}

fn part_of(meta: ObjectMeta, bytes: &Bytes, options: &GetOptions) -> Result<GetResult> {
    let range = match &options.range {
        Some(range) => range.as_range(meta.size).map_err(|source| out_of(&meta, source))?,
        None => 0..meta.size,
    };
    let part = slice(&meta, bytes, &range)?;
    let payload = GetResultPayload::Stream(futures::stream::once(async move { Ok(part) }).boxed());
    Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
}

fn slice(meta: &ObjectMeta, bytes: &Bytes, range: &Range<u64>) -> Result<Bytes> {
    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    if start > end {
        return Err(out_of(meta, ShortFile { start: range.start, bytes: bytes.len() }));
    }
    Ok(bytes.slice(start..end))
}

/// The result, whose stream ends with an error where it held less than promised: the client does
/// not count.
fn whole(result: GetResult) -> GetResult {
    let GetResultPayload::Stream(stream) = result.payload else {
        return result;
    };
    let promised_bytes = length(&result.range);
    let received_bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received_bytes);
    let at_end = futures::stream::once(async move {
        let received_bytes = received_bytes.load(Ordering::Relaxed);
        (received_bytes != promised_bytes).then(|| Err(cut_short(promised_bytes, received_bytes)))
    });
    let stream = stream
        .inspect_ok(move |bytes| {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        })
        .chain(at_end.filter_map(std::future::ready));
    GetResult { payload: GetResultPayload::Stream(stream.boxed()), ..result }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn cut_short(promised_bytes: u64, received_bytes: u64) -> Error {
    let source = CutShort { promised_bytes, received_bytes };
    Error::Generic { store: NAME, source: Box::new(source) }
}

fn empty_log_file(location: &Path) -> Error {
    let source = EmptyLogFile { location: location.to_string() };
    Error::Generic { store: NAME, source: Box::new(source) }
}

#[derive(Debug, thiserror::Error)]
#[error("{location} is empty")]
struct EmptyLogFile {
    location: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the store sent {received_bytes} bytes of the {promised_bytes} it promised; run again, and look \
     at the network should it repeat"
)]
struct CutShort {
    promised_bytes: u64,
    received_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("a range starting at {start} was asked of {bytes} bytes")]
struct ShortFile {
    start: u64,
    bytes: usize,
}

fn out_of(meta: &ObjectMeta, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    tracing::debug!(location = %meta.location, "range outside of a log file");
    Error::Generic { store: NAME, source: Box::new(source) }
}

/// Requests that a remote store makes of several ranges: near ones are read together.
fn reads_of(ranges: &[Range<u64>]) -> u64 {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut reads = 0;
    let mut end: Option<u64> = None;
    for range in sorted {
        let is_near = end.is_some_and(|end| range.start <= end + OBJECT_STORE_COALESCE_DEFAULT);
        reads += u64::from(!is_near);
        end = Some(end.map_or(range.end, |end| end.max(range.end)));
    }
    reads
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    fn stores() -> (Arc<InMemory>, MeteredStore) {
        let inner = Arc::new(InMemory::new());
        let metered = MeteredStore::new(Arc::clone(&inner) as Arc<dyn ObjectStore>, None);
        (inner, metered)
    }

    async fn read(store: &MeteredStore, path: &Path) -> Bytes {
        store.get(path).await.unwrap().bytes().await.unwrap()
    }

    #[tokio::test]
    async fn a_commit_is_read_once_and_another_file_each_time() {
        let (inner, store) = stores();
        let commit = Path::from("t/_delta_log/00000000000000000001.json");
        let data = Path::from("t/part-1.parquet");
        for path in [&commit, &data] {
            inner.put(path, "0123456789".into()).await.unwrap();
        }
        for path in [&commit, &commit, &data, &data] {
            assert_eq!(read(&store, path).await, "0123456789");
            assert_eq!(store.get_range(path, 2..5).await.unwrap(), "234");
            let ranges = store.get_ranges(path, &[0..1, 9..10]).await.unwrap();
            assert_eq!(ranges, ["0", "9"]);
        }
        let asked = store.requests();
        assert_eq!((asked.gets, asked.bytes_read), (1 + 2 * 3, 10 + 2 * (10 + 3 + 2)));
        assert_eq!(asked.total(), asked.gets);
    }

    #[tokio::test]
    async fn a_checkpoint_written_again_by_another_process_is_read_again() {
        let (inner, store) = stores();
        let path = Path::from("t/_delta_log/00000000000000000010.checkpoint.parquet");
        inner.put(&path, "first".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "first");
        inner.put(&path, "second".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "first");
        let listed: Vec<_> = store.list(Some(&Path::from("t"))).try_collect().await.unwrap();
        assert_eq!(listed[0].size, 6);
        assert_eq!(read(&store, &path).await, "second");
    }

    #[tokio::test]
    async fn a_log_file_that_is_not_there_is_asked_for_again() {
        let (inner, store) = stores();
        let path = Path::from("t/_delta_log/00000000000000000002.json");
        assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
        inner.put(&path, "now".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, "now");
        store.delete(&path).await.unwrap();
        assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_commit_is_created_once_whoever_comes_first() {
        let (_, store) = stores();
        let path = Path::from("t/_delta_log/00000000000000000003.json");
        let create = || PutOptions { mode: object_store::PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "mine".into(), create()).await.unwrap();
        let second = store.put_opts(&path, "yours".into(), create()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })));
        assert_eq!(read(&store, &path).await, "mine");
        assert_eq!(store.requests().puts, 2);
    }

    #[test]
    fn near_ranges_are_one_read() {
        let far = 10 * OBJECT_STORE_COALESCE_DEFAULT;
        assert_eq!(reads_of(&[]), 0);
        assert_eq!(reads_of(&[10..20, 0..5]), 1);
        assert_eq!(reads_of(&[0..5, far..far + 1, 6..9]), 2);
    }
}
