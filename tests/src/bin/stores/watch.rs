//! What a store and its files are asked for, and what the process takes.

use asteroid_core::Result;
use asteroid_core::bytes::{Bytes, Mapping};
use asteroid_core::kv::{Batch, Entry, Flow, Kv, Range, Read, Seq, Space, Synced};
use asteroid_native_storage::FileBytes;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A file that counts the bytes written to it.
pub(crate) struct Counted {
    file: FileBytes,
    pub(crate) written: AtomicU64,
}

impl Counted {
    pub(crate) fn new(file: FileBytes) -> Arc<Counted> {
        Arc::new(Counted { file, written: AtomicU64::new(0) })
    }
}

impl Bytes for Counted {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.written.fetch_add(data.len() as u64, Relaxed);
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    fn map(&self, offset: u64, len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        self.file.map(offset, len)
    }
}

/// What was asked of a store.
#[derive(Default)]
pub(crate) struct Asked {
    /// Adjacency lists read past the engine's cache, and the time that took.
    pub(crate) lists: AtomicU64,
    pub(crate) nanos: AtomicU64,
    /// Times it was told that folding pays.
    pub(crate) folds: AtomicU64,
    /// Batches applied: one per checkpoint.
    pub(crate) batches: AtomicU64,
    /// Time to apply them and make them durable.
    pub(crate) applying: AtomicU64,
}

/// A store whose callers are watched.
pub(crate) struct Watched {
    pub(crate) kv: Arc<dyn Kv + Send + Sync>,
    pub(crate) asked: Arc<Asked>,
}

impl Watched {
    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.asked.applying.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
        done
    }
}

impl Kv for Watched {
    fn view(&self) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(View { view: self.kv.view()?, asked: &self.asked }))
    }

    fn apply(&self, batch: &Batch) -> Result<Seq> {
        self.asked.batches.fetch_add(1, Relaxed);
        self.timed(|| self.kv.apply(batch))
    }

    fn sync(&self, seq: Seq) -> Result<Synced> {
        self.timed(|| self.kv.sync(seq))
    }

    fn durable(&self) -> Seq {
        self.kv.durable()
    }

    fn load_sorted(&self, space: Space, entries: &mut dyn Iterator<Item = Result<Entry>>) -> Result<Seq> {
        self.timed(|| self.kv.load_sorted(space, entries))
    }

    fn unfolded(&self, space: Space) -> u64 {
        self.kv.unfolded(space)
    }

    fn fold(&self, space: Space) {
        self.asked.folds.fetch_add(1, Relaxed);
        self.kv.fold(space);
    }

    fn memory(&self) -> u64 {
        self.kv.memory()
    }

    fn disk(&self) -> u64 {
        self.kv.disk()
    }
}

struct View<'a> {
    view: Box<dyn Read + 'a>,
    asked: &'a Asked,
}

impl Read for View<'_> {
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.view.get(space, key, see)
    }

    fn get_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        see: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        if space != Space::Links {
            return self.view.get_many(space, keys, see);
        }
        let began = Instant::now();
        let done = self.view.get_many(space, keys, see);
        self.asked.nanos.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
        self.asked.lists.fetch_add(keys.len() as u64, Relaxed);
        done
    }

    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()> {
        self.view.scan(space, range, see)
    }
}

/// The number behind `name` in one of the process's own files; 0 where the system does not tell.
fn told(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes that the process gave to the block layer.
pub(crate) fn disk_writes() -> u64 {
    told("/proc/self/io", "write_bytes:")
}

/// Seconds of processor time of all threads.
pub(crate) fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory in bytes: the process's own, and with mapped files.
pub(crate) fn resident() -> (u64, u64) {
    let status = "/proc/self/status";
    (told(status, "RssAnon:") << 10, told(status, "VmRSS:") << 10)
}

/// Watches resident memory, so that what a checkpoint takes for a moment is seen too.
pub(crate) struct Sampler {
    peaks: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub(crate) fn start() -> Sampler {
        let peaks = Arc::new([const { AtomicU64::new(0) }; 2]);
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (peaks.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let (own, all) = resident();
                seen[0].fetch_max(own, Relaxed);
                seen[1].fetch_max(all, Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Sampler { peaks, stop, thread: Some(thread) }
    }

    /// The most since it was last asked.
    pub(crate) fn take(&self) -> (u64, u64) {
        let (own, all) = resident();
        (self.peaks[0].swap(0, Relaxed).max(own), self.peaks[1].swap(0, Relaxed).max(all))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
