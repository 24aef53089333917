//! Feeds side by side, under the one memory limit.
//!
//! A feed at work has a thread of its own, and a share of the cores and of the memory limit: the
//! fewer feeds are left, the larger. The shares of those at work never come to more than the whole.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::Job;
use crate::config::FeedConfig;
use crate::engine::Engine;
use crate::error::JobError;
use crate::stages::checks;

/// The least part of the memory limit that a feed is run with beside others, bytes: what it
/// decodes and encodes at a time, which no share makes smaller.
const FEED_BYTES: usize = 256 << 20;
/// Stack of a feed's thread, bytes: that of a main thread.
const STACK_BYTES: usize = 8 << 20;

/// The engine as a feed sees it.
#[derive(Debug)]
pub(super) struct Shares {
    /// By the number of feeds that share it, less one.
    engines: Vec<Engine>,
    unfinished_feeds: AtomicUsize,
}

impl Shares {
    pub(super) fn of(engine: &Engine) -> Self {
        let by_memory = engine.memory_limit_bytes() / FEED_BYTES;
        let at_once = by_memory.clamp(1, engine.threads().max(1));
        let engines = (1..=at_once).map(|feeds| engine.share(feeds)).collect();
        Self { engines, unfinished_feeds: AtomicUsize::new(0) }
    }

    /// The share of a feed whose next stage begins.
    pub(super) fn engine(&self) -> &Engine {
        let feeds = self.unfinished_feeds.load(Ordering::Relaxed).clamp(1, self.at_once());
        &self.engines[feeds - 1]
    }

    fn at_once(&self) -> usize {
        self.engines.len()
    }
}

/// What came of several feeds.
#[derive(Debug)]
pub struct SideBySide<T, S> {
    /// By feed, as they were given; `None` for one that the signal kept from its end.
    pub results: Vec<Option<Result<T, JobError>>>,
    /// The signal.
    pub stopped: Option<S>,
}

impl Job<'_> {
    /// Does the same with each feed, several at once; one that fails does not stop the others. Of
    /// two feeds of which one has checks that read the tables of the other, the first given goes
    /// first. The log has their stages by feed, as they were given.
    ///
    /// When `stop` comes to its end first, the feeds at work are dropped where they are, which is
    /// like a crash between two commits: nothing half done. Failures and stops are noted in the
    /// log. Needs a runtime of several threads.
    pub fn side_by_side<T: Send, S>(
        &self,
        feeds: &[&FeedConfig],
        stop: impl Future<Output = S>,
        perform: impl AsyncFn(&FeedConfig) -> Result<T, JobError> + Sync,
    ) -> Result<SideBySide<T, S>, JobError> {
        let queue = Queue::new(self.waits(feeds)?);
        let results: Mutex<Vec<_>> = Mutex::new(feeds.iter().map(|_| None).collect());
        self.shares.unfinished_feeds.store(feeds.len(), Ordering::Relaxed);
        let runtime = Handle::current();
        let work = || {
            while let Some(turn) = queue.next() {
                let feed = feeds[turn.feed];
                let span = tracing::error_span!("feed", feed = %feed.name);
                let result = runtime.block_on(turn.take(perform(feed)).instrument(span));
                match &result {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => self.failed(feed, error),
                    None => self.interrupted(Some(feed)),
                }
                self.shares.unfinished_feeds.fetch_sub(1, Ordering::Relaxed);
                lock(&results)[turn.feed] = result;
            }
        };
        let threads = feeds.len().min(self.shares.at_once());
        let stopped = tokio::task::block_in_place(|| {
            thread::scope(|scope| {
                for _ in 0..threads {
                    let thread = thread::Builder::new().stack_size(STACK_BYTES);
                    if let Err(error) = thread.spawn_scoped(scope, work) {
                        queue.stop();
                        return Err(JobError::Runtime(error));
                    }
                }
                Ok(runtime.block_on(queue.ended_or(stop)))
            })
        })?;
        let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
        self.log.sort_by_feed(&names);
        Ok(SideBySide { results: std::mem::take(&mut *lock(&results)), stopped })
    }

    /// For each feed, those before it that it does not run beside.
    fn waits(&self, feeds: &[&FeedConfig]) -> Result<Vec<Vec<usize>>, JobError> {
        let read = |feed: &&FeedConfig| {
            checks::feeds_read(&self.engine, feed, &self.config.feeds)
                .map_err(|source| JobError::Rules { feed: feed.name.clone(), source })
        };
        let reads = feeds.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let is_read = |by: usize, feed: usize| reads[by].contains(&feeds[feed].name);
        let waits = |feed: usize| {
            (0..feed).filter(|before| is_read(feed, *before) || is_read(*before, feed)).collect()
        };
        Ok((0..feeds.len()).map(waits).collect())
    }
}

fn lock<T>(results: &Mutex<T>) -> MutexGuard<'_, T> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose turn it is.
struct Queue {
    next: AtomicUsize,
    waits: Vec<Vec<usize>>,
    ended: watch::Sender<Vec<bool>>,
    stopping: watch::Sender<bool>,
}

impl Queue {
    fn new(waits: Vec<Vec<usize>>) -> Self {
        let ended = watch::Sender::new(vec![false; waits.len()]);
        Self { next: AtomicUsize::new(0), waits, ended, stopping: watch::Sender::new(false) }
    }

    /// The next feed; none when the last has begun, or a stop came.
    fn next(&self) -> Option<Turn<'_>> {
        let feed = self.next.fetch_add(1, Ordering::Relaxed);
        (feed < self.waits.len() && !*self.stopping.borrow()).then(|| Turn { queue: self, feed })
    }

    fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until every feed has ended, or for `stop`, whose feeds then end.
    async fn ended_or<S>(&self, stop: impl Future<Output = S>) -> Option<S> {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            _ = ended.wait_for(|ended| ended.iter().all(|ended| *ended)) => None,
            signal = stop => {
                self.stop();
                Some(signal)
            }
        }
    }
}

/// A feed that is at work until this is dropped.
struct Turn<'q> {
    queue: &'q Queue,
    feed: usize,
}

impl Turn<'_> {
    /// Waits for the feeds that come first, and does the work; `None` where a stop cut it short.
    async fn take<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (mut ended, mut stopping) =
            (self.queue.ended.subscribe(), self.queue.stopping.subscribe());
        let waits = &self.queue.waits[self.feed];
        let in_turn = async {
            // Its sender is part of the queue, so that it outlives the wait.
            let _ = ended.wait_for(|ended| waits.iter().all(|before| ended[*before])).await;
            work.await
        };
        tokio::select! {
            done = in_turn => Some(done),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.ended.send_modify(|ended| ended[self.feed] = true);
    }
}
