//! [`SimDisk`]: files in memory that remember every write, so that a test can crash at any of them.
//!
//! Run a workload on the files of one disk; then, for every operation `n` it made, ask for the disk as it
//! would be found after a crash there, open it and check what is left:
//!
//! ```
//! use asteroid_core::bytes::Bytes;
//! use asteroid_tests::sim::SimDisk;
//!
//! let disk = SimDisk::new();
//! let file = disk.open("journal");
//! file.write_at(0, b"one").unwrap();
//! file.sync().unwrap();
//! file.write_at(3, b"two").unwrap();
//! for n in 0..=disk.ops() {
//!     let found = disk.after_power_cut(n, 42).open("journal");
//!     let mut start = vec![0; found.len().unwrap().min(3) as usize];
//!     found.read_at(0, &mut start).unwrap();
//!     assert!(n < 2 || start == b"one", "what was synced is there");
//! }
//! ```
//!
//! Only calls that change something are operations: `write_at`, `set_len` and `sync`, over all files of the
//! disk in the order they happened. An image is a disk of its own, with its own history, and shares its
//! bytes with the one it came from: taking one costs microseconds on small files when the cuts ascend.

use crate::rng::Rng;
use asteroid_core::bytes::{Bytes, Mapping};
use asteroid_core::{Code, Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// A set of named files with one recorded history.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// One file of a [`SimDisk`]. Handles on one name share their bytes.
pub struct SimBytes {
    disk: SimDisk,
    file: usize,
}

#[derive(Default)]
struct State {
    names: Vec<String>,
    /// Whose unsynced changes survive a power cut in order and whole.
    ordered: Vec<bool>,
    /// See [`SimDisk::lose_ends_only`].
    ends_only: bool,
    base: Vec<Sparse>,
    now: Vec<Sparse>,
    ops: Vec<Op>,
    fault: Option<Fault>,
    replay: Replay,
}

struct Op {
    file: usize,
    change: Change,
}

enum Change {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
    Sync,
    /// It failed and changed nothing.
    Nothing,
}

#[derive(Clone, Copy)]
struct Fault {
    at: usize,
    code: Code,
    once: bool,
}

/// Where the last image was taken, to go on from there.
#[derive(Clone, Default)]
struct Replay {
    at: usize,
    written: Vec<Sparse>,
    synced: Vec<Sparse>,
    unsynced: Vec<Vec<usize>>,
}

/// How many of `len` bytes a write still writes that fails as operation `n`.
pub fn part_that_fails(n: usize, len: usize) -> usize {
    Rng::new(n as u64).below(len as u64 + 1) as usize
}

impl SimDisk {
    /// A disk without files.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of that name, empty where it was not there. Making it is no operation: directories are
    /// not simulated.
    pub fn open(&self, name: &str) -> Arc<SimBytes> {
        self.open_as(name, false)
    }

    /// The same for a file whose changes are never torn, and of which a power cut leaves the first few: the
    /// entries of a directory, as file systems that keep a journal write them.
    pub fn open_ordered(&self, name: &str) -> Arc<SimBytes> {
        self.open_as(name, true)
    }

    fn open_as(&self, name: &str, ordered: bool) -> Arc<SimBytes> {
        let mut state = self.state();
        let known = state.names.iter().position(|known| known == name);
        let file = known.unwrap_or_else(|| {
            state.names.push(name.to_owned());
            state.ordered.push(ordered);
            state.base.push(Sparse::default());
            state.now.push(Sparse::default());
            state.names.len() - 1
        });
        Arc::new(SimBytes { disk: self.clone(), file })
    }

    /// The names of the files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.clone()
    }

    /// How many operations there were so far: cuts go from 0 to this.
    pub fn ops(&self) -> usize {
        self.state().ops.len()
    }

    /// What operation `n` was, for messages.
    pub fn describe(&self, n: usize) -> String {
        let state = self.state();
        state.ops.get(n).map_or_else(
            || "the end".to_owned(),
            |op| {
                let name = &state.names[op.file];
                match &op.change {
                    Change::Write(offset, data) => format!("{name}: write {} at {offset}", data.len()),
                    Change::SetLen(len) => format!("{name}: set_len {len}"),
                    Change::Sync => format!("{name}: sync"),
                    Change::Nothing => format!("{name}: failed"),
                }
            },
        )
    }

    /// Makes operation `n` (counted from 0) and all later ones fail with `code`, or `n` alone where `once`.
    /// A failing write writes a part of its data first.
    pub fn fail_at(&self, n: usize, code: Code, once: bool) {
        self.state().fault = Some(Fault { at: n, code, once });
    }

    /// From here on, and in images, a power cut takes what was appended since the last sync from its end only, at any
    /// byte: a file grows as its data is written, never over a hole. File systems that order data before metadata do
    /// so, and RocksDB builds on it: a list of files with a hole in its unsynced end it refuses as damaged. Writes
    /// into what was there before are lost and torn as always.
    pub fn lose_ends_only(&self) {
        self.state().ends_only = true;
    }

    /// Lets every operation succeed again.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// The disk after the process was killed when `n` operations were done: the system keeps them all.
    pub fn after_kill(&self, n: usize) -> SimDisk {
        let mut state = self.state();
        state.replay_to(n);
        state.image(state.replay.written.clone())
    }

    /// The disk after the process was killed in the midst of operation `n`: a write leaves a part of itself,
    /// chosen by `seed`.
    pub fn after_kill_inside(&self, n: usize, seed: u64) -> SimDisk {
        let mut state = self.state();
        state.replay_to(n);
        let mut files = state.replay.written.clone();
        if let Some(Op { file, change: Change::Write(offset, data) }) = state.ops.get(n)
            && !state.ordered[*file]
        {
            let part = Rng::new(seed ^ n as u64).below(data.len() as u64 + 1) as usize;
            files[*file].write(*offset, &data[..part]);
        }
        state.image(files)
    }

    /// The disk after power was lost when `n` operations were done. Each file keeps what was written before
    /// its last sync; of its later writes and changes of length any subset is there, any of those writes
    /// torn into sectors of which some are old. `seed` chooses.
    pub fn after_power_cut(&self, n: usize, seed: u64) -> SimDisk {
        let mut state = self.state();
        state.replay_to(n);
        let mut rng = Rng::new(seed ^ (n as u64).rotate_left(32));
        let mut files = state.replay.synced.clone();
        let keep = [10, 50, 50, 90][rng.below(4) as usize];
        let tear = [0, 30, 100][rng.below(3) as usize];
        for (number, (file, unsynced)) in files.iter_mut().zip(&state.replay.unsynced).enumerate() {
            for &op in unsynced {
                if state.ordered[number] {
                    if !rng.chance(keep) {
                        break;
                    }
                    file.apply(&state.ops[op].change);
                    continue;
                }
                let grows = |change: &Change| match change {
                    Change::Write(offset, data) => offset + data.len() as u64 > file.len,
                    Change::SetLen(len) => *len > file.len,
                    Change::Sync | Change::Nothing => false,
                };
                let ends = state.ends_only && grows(&state.ops[op].change);
                if !rng.chance(keep) {
                    if !ends {
                        continue;
                    }
                    if let Change::Write(offset, data) = &state.ops[op].change {
                        file.write(*offset, &data[..rng.below(data.len() as u64 + 1) as usize]);
                    }
                    break;
                }
                match &state.ops[op].change {
                    Change::Write(offset, data) if !ends && rng.chance(tear) => {
                        let mut at = 0;
                        while at < data.len() {
                            let sector_end = (*offset + at as u64) / SECTOR * SECTOR + SECTOR;
                            let end = ((sector_end - offset) as usize).min(data.len());
                            if rng.chance(50) {
                                file.write(*offset + at as u64, &data[at..end]);
                            }
                            at = end;
                        }
                    }
                    change => file.apply(change),
                }
            }
        }
        state.image(files)
    }

    /// Changes one stored byte behind everybody's back.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        let file = self.open(name).file;
        let mut state = self.state();
        let mut byte = [0];
        state.now[file].read(offset, &mut byte);
        state.now[file].write(offset, &[byte[0] ^ mask]);
        // The history of an image begins with its base.
        if state.ops.is_empty() {
            state.base[file] = state.now[file].clone();
        }
    }
}

impl State {
    fn image(&self, mut files: Vec<Sparse>) -> SimDisk {
        files.resize_with(self.names.len(), Sparse::default);
        let (names, ordered) = (self.names.clone(), self.ordered.clone());
        let ends_only = self.ends_only;
        let state = State { names, ordered, ends_only, now: files.clone(), base: files, ..State::default() };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    fn replay_to(&mut self, n: usize) {
        assert!(n <= self.ops.len(), "the workload made {} operations, not {n}", self.ops.len());
        let replay = &mut self.replay;
        if replay.at > n || replay.written.len() != self.base.len() {
            let unsynced = vec![Vec::new(); self.base.len()];
            *replay = Replay { at: 0, written: self.base.clone(), synced: self.base.clone(), unsynced };
        }
        for at in replay.at..n {
            let op = &self.ops[at];
            replay.written[op.file].apply(&op.change);
            if matches!(op.change, Change::Sync) {
                replay.synced[op.file] = replay.written[op.file].clone();
                replay.unsynced[op.file].clear();
            } else {
                replay.unsynced[op.file].push(at);
            }
        }
        replay.at = n;
    }

    /// Applies and records one operation, or fails it.
    fn operate(&mut self, file: usize, change: Change) -> Result<()> {
        let n = self.ops.len();
        let failing = self.fault.filter(|fault| if fault.once { n == fault.at } else { n >= fault.at });
        let change = match (failing, change) {
            (None, change) => change,
            (Some(_), Change::Write(offset, data)) if !self.ordered[file] => {
                let part = part_that_fails(n, data.len());
                Change::Write(offset, data[..part].into())
            }
            (Some(_), _) => Change::Nothing,
        };
        self.now[file].apply(&change);
        self.ops.push(Op { file, change });
        match failing {
            None => Ok(()),
            Some(fault) => Err(Error::new(fault.code, format!("simulated fault at operation {n}"))),
        }
    }
}

impl Bytes for SimBytes {
    fn len(&self) -> Result<u64> {
        Ok(self.disk.state().now[self.file].len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.disk.state();
        let data = &state.now[self.file];
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > data.len) {
            let (name, len) = (&state.names[self.file], out.len());
            return Err(Error::corrupt(format!("{name}: read of {len} at {offset} passes {}", data.len)));
        }
        data.read(offset, out);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.disk.state().operate(self.file, Change::Write(offset, data.into()))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.disk.state().operate(self.file, Change::SetLen(len))
    }

    fn sync(&self) -> Result<()> {
        self.disk.state().operate(self.file, Change::Sync)
    }

    fn map(&self, _offset: u64, _len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        Ok(None)
    }
}

/// Bytes in shared pages: a copy costs a pointer per page, a hole costs none.
#[derive(Clone, Default)]
struct Sparse {
    len: u64,
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Sparse {
    /// The caller has checked the range.
    fn read(&self, offset: u64, out: &mut [u8]) {
        each_page(offset, out.len(), |page, from, at, take| match self.pages.get(page) {
            Some(Some(bytes)) => out[at..at + take].copy_from_slice(&bytes[from..from + take]),
            _ => out[at..at + take].fill(0),
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.len = self.len.max(offset + data.len() as u64);
        self.pages.resize((self.len as usize).div_ceil(PAGE), None);
        each_page(offset, data.len(), |page, from, at, take| {
            let bytes = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[from..from + take].copy_from_slice(&data[at..at + take]);
        });
    }

    fn set_len(&mut self, len: u64) {
        self.pages.resize((len as usize).div_ceil(PAGE), None);
        if len < self.len
            && let Some(Some(last)) = self.pages.get_mut(len as usize / PAGE)
        {
            Arc::make_mut(last)[len as usize % PAGE..].fill(0);
        }
        self.len = len;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::SetLen(len) => self.set_len(*len),
            Change::Sync | Change::Nothing => {}
        }
    }
}

/// Calls `part(page, offset in it, offset in the range, length)` for each page of a range.
fn each_page(offset: u64, len: usize, mut part: impl FnMut(usize, usize, usize, usize)) {
    let mut at = 0;
    while at < len {
        let place = offset as usize + at;
        let take = (PAGE - place % PAGE).min(len - at);
        part(place / PAGE, place % PAGE, at, take);
        at += take;
    }
}
