//! The writer thread of an open database: its queue, the rows that are written together, and the syncs that writes share.

use crate::handle::Handle;
use crate::outcomes::{Ticket, alone, awake};
use crate::patience::Vigil;
use crate::reply::guarded;
use asteroid_core::{Error, Id, Mode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Most writes that share one sync, and the longest that the first of them waits for others.
const SHARED_WRITES: usize = 256;
const SHARED_WAIT: Duration = Duration::from_millis(5);
/// Most rows that were given one by one and are written together, and how many bytes of them.
const TOGETHER: usize = 64;
const TOGETHER_BYTES: usize = 1 << 20;

/// A job of the writer thread, and when it was given.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) given: Instant,
}

pub(crate) enum Work {
    /// A row to insert. Those that wait one behind the other are written together.
    Row(Row),
    /// Another write that takes milliseconds at most. Settles its promise, or leaves that for after the next sync.
    Short(Run),
    /// One that may run for long: writes that wait for a sync do not wait for it.
    Long(Run),
}

pub(crate) type Run = Box<dyn FnOnce() -> Option<Unsettled> + Send>;

/// A row to insert.
pub(crate) struct Row {
    pub(crate) handle: Arc<Handle>,
    pub(crate) ticket: Ticket,
    pub(crate) mode: Mode,
    pub(crate) id: Id,
    pub(crate) vector: Vec<f32>,
    pub(crate) payload: Option<String>,
}

impl Row {
    fn bytes(&self) -> usize {
        4 * self.vector.len() + self.payload.as_ref().map_or(0, String::len)
    }
}

/// Settles a promise, given how the sync went.
type Settle = Box<dyn FnOnce(Result<(), &Error>) + Send>;

/// A write that was made and whose promise waits for it to survive power loss.
pub(crate) struct Unsettled {
    pub(crate) handle: Arc<Handle>,
    pub(crate) settle: Settle,
}

/// Runs jobs in their order until the last sender or the environment is gone. While none waits, it takes the steps of
/// `tidy`, for as long as that says that there are more. Takes the jobs it ran off `unfinished` once nothing is left to do.
pub(crate) fn run_queue(
    queue: &Receiver<Job>,
    stopping: &AtomicBool,
    tidy: &dyn Fn() -> bool,
    unfinished: &AtomicUsize,
) {
    let mut ran = 0;
    let mut waiting: Vec<Unsettled> = Vec::new();
    let mut since = Instant::now();
    let mut untidy = false;
    let mut vigil = Vigil::default();
    let mut next = None;
    loop {
        let job = match next.take().map_or_else(|| queue.try_recv(), Ok) {
            Err(TryRecvError::Empty) if waiting.is_empty() && untidy => {
                untidy = !stopping.load(Ordering::Relaxed) && tidy();
                continue;
            }
            Err(TryRecvError::Empty) if waiting.is_empty() => {
                unfinished.fetch_sub(std::mem::take(&mut ran), Ordering::Release);
                wait(queue, &mut vigil)
            }
            job => job.ok(),
        };
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let Some(Job { work, .. }) = job else {
            if waiting.is_empty() {
                return;
            }
            sync(&mut waiting);
            continue;
        };
        ran += 1;
        if matches!(work, Work::Long(_)) {
            sync(&mut waiting);
        }
        if waiting.is_empty() {
            since = Instant::now();
        }
        untidy = true;
        match work {
            Work::Row(row) => {
                let mut rows = vec![row];
                next = gather(&mut rows, queue);
                ran += rows.len() - 1;
                waiting.extend(caught(|| Handle::insert_rows(rows)).into_iter().flatten());
            }
            Work::Short(run) | Work::Long(run) => waiting.extend(caught(run).flatten()),
        }
        if waiting.len() >= SHARED_WRITES || since.elapsed() >= SHARED_WAIT {
            sync(&mut waiting);
        }
    }
}

/// Jobs guard themselves; this keeps the writer alive if one slips.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// The next job; none where there will be none.
fn wait(queue: &Receiver<Job>, vigil: &mut Vigil) -> Option<Job> {
    let began = Instant::now();
    let lasts = vigil.lasts();
    let mut job = Err(TryRecvError::Empty);
    if !lasts.is_zero() && !alone() {
        awake(began, lasts, || {
            job = queue.try_recv();
            !matches!(job, Err(TryRecvError::Empty))
        });
    }
    let job = match job {
        Err(TryRecvError::Empty) => queue.recv().ok(),
        job => job.ok(),
    }?;
    vigil.note(job.given.saturating_duration_since(began));
    Some(job)
}

/// Takes the rows that wait behind the first of `rows`, where they are to be written in the same way. Gives the job that
/// ended this.
fn gather(rows: &mut Vec<Row>, queue: &Receiver<Job>) -> Option<Job> {
    let mut bytes = rows[0].bytes();
    while rows.len() < TOGETHER && bytes < TOGETHER_BYTES {
        match queue.try_recv().ok()? {
            Job { work: Work::Row(row), .. } if row.mode == rows[0].mode => {
                bytes += row.bytes();
                rows.push(row);
            }
            job => return Some(job),
        }
    }
    None
}

/// One sync for all that wait.
fn sync(waiting: &mut Vec<Unsettled>) {
    let Some(first) = waiting.first() else { return };
    let synced = guarded(|| first.handle.database()?.index.flush());
    for Unsettled { handle, settle } in waiting.drain(..) {
        settle(synced.as_ref().copied());
        drop(handle);
    }
}
