//! One open database as the addon holds it: its writer thread, its reads in flight, its end.

use crate::at_once::Pace;
use crate::outcomes::{Outcomes, Ticket};
use crate::pool::Readers;
use crate::reply::{Pending, Raw, closed, guarded};
use crate::writer::{Job, Row, Unsettled, Work, run_queue};
use crate::{pool, teardown};
use asteroid_core::{Code, Control, Error, Export, Id, Index, Mode, Pool, Result, Rows, Serial, Width};
use asteroid_native_storage::Database as Opened;
use napi::Env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest that the end of an environment waits for reads that were told to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rows given one by one that are worth the reader threads, where they are written together.
const MANY: usize = 32;

/// An export that JavaScript takes piece by piece; `None` once it was let go.
pub(crate) type Kept = Arc<Mutex<Option<Export>>>;

/// Reads of all databases that wait or run.
static READS: AtomicUsize = AtomicUsize::new(0);

/// Reads of one database that wait or run.
#[derive(Default)]
struct Reads {
    count: usize,
    /// Somebody waits until there are none.
    awaited: bool,
}

/// Shared by the JavaScript object, the jobs in flight and the teardown hook.
pub(crate) struct Handle {
    database: Mutex<Option<Arc<Opened>>>,
    /// Writes resolve when they survive power loss.
    sync: bool,
    writes: Mutex<Option<Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Jobs given to the writer since it last had nothing to do: while there are any, it may hold locks for long.
    unfinished: Arc<AtomicUsize>,
    /// Of writes of one row.
    pub(crate) outcomes: Arc<Outcomes>,
    /// Of searches that bring ids and distances alone, and of those that bring more.
    paces: [Mutex<Pace>; 2],
    reads: Mutex<Reads>,
    /// Answers of reads that JavaScript has not yet.
    undelivered: Arc<AtomicUsize>,
    /// They hold views of the store, which must not outlive it.
    exports: Mutex<Vec<Kept>>,
    no_reads: Condvar,
    stopping: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// A handle with its writer thread but no database yet. The environment's end will stop it.
    pub(crate) fn start(env: &Env, sync: bool) -> napi::Result<Arc<Handle>> {
        let (writes, queue) = channel::<Job>();
        let stopping = Arc::new(AtomicBool::new(false));
        let unfinished = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&unfinished);
        let seen = Arc::clone(&stopping);
        let own: Arc<OnceLock<Weak<Handle>>> = Arc::default();
        let served = Arc::clone(&own);
        let tidy = move || served.get().and_then(Weak::upgrade).is_some_and(|handle| handle.tidy());
        let writer = std::thread::Builder::new()
            .name("asteroid-write".into())
            .spawn(move || run_queue(&queue, &seen, &tidy, &left))
            .map_err(|error| {
                crate::reply::to_napi(&Error::io(
                    "the system refused a thread for the database's writer",
                    error,
                ))
            })?;
        let handle = Arc::new(Handle {
            database: Mutex::new(None),
            sync,
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(writer)),
            unfinished,
            outcomes: Arc::default(),
            paces: Default::default(),
            reads: Mutex::default(),
            undelivered: Arc::default(),
            exports: Mutex::default(),
            no_reads: Condvar::new(),
            stopping,
        });
        let _ = own.set(Arc::downgrade(&handle));
        teardown::watch(env, &handle)?;
        Ok(handle)
    }

    /// Whether the environment is going away.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Makes the database available to calls.
    pub(crate) fn set(&self, database: Opened) {
        *lock(&self.database) = Some(Arc::new(database));
    }

    /// The database, or `CLOSED`.
    pub(crate) fn database(&self) -> Result<Arc<Opened>> {
        lock(&self.database).clone().ok_or_else(closed)
    }

    /// Keeps an export until it is let go or the database closes.
    pub(crate) fn keep(&self, export: Export) -> Kept {
        let kept = Arc::new(Mutex::new(Some(export)));
        lock(&self.exports).push(Arc::clone(&kept));
        kept
    }

    /// Forgets an export, on a thread that may wait for its last read. It stays known until it is gone.
    pub(crate) fn let_go(self: &Arc<Self>, kept: &Kept) {
        let (handle, kept) = (Arc::clone(self), Arc::clone(kept));
        pool::long(move || {
            drop(lock(&kept).take());
            lock(&handle.exports).retain(|other| !Arc::ptr_eq(other, &kept));
        });
    }

    fn let_all_go(&self) {
        let exports = std::mem::take(&mut *lock(&self.exports));
        exports.iter().for_each(|kept| drop(lock(kept).take()));
    }

    /// One step of what keeps the database in shape, for the writer thread; whether there is more. A failure shows in
    /// the next write.
    fn tidy(&self) -> bool {
        let step = || self.database()?.index.tidy(&Control::NONE);
        guarded(step).unwrap_or(false)
    }

    /// Queues a job on the writer thread, behind all earlier ones. Dropped where the writer has ended.
    pub(crate) fn queue(&self, job: impl FnOnce() + Send + 'static) {
        self.send(Work::Long(Box::new(move || {
            job();
            None
        })));
    }

    fn send(&self, work: Work) {
        if let Some(writes) = &*lock(&self.writes) {
            self.unfinished.fetch_add(1, Ordering::Relaxed);
            let _ = writes.send(Job { work, given: Instant::now() });
        }
    }

    /// Queues a write that may run for more than milliseconds.
    pub(crate) fn write<T: Send + 'static>(
        self: &Arc<Self>,
        pending: Pending,
        work: impl FnOnce(&Handle, &Index) -> Result<T> + Send + 'static,
        reply: impl FnOnce(&Env, T) -> napi::Result<Raw> + Send + 'static,
    ) {
        let handle = Arc::clone(self);
        let run = move || -> Option<Unsettled> {
            let outcome = guarded(|| work(&handle, &handle.database()?.index));
            handle.paces.iter().for_each(|pace| lock(pace).start_over());
            match outcome {
                Err(error) => pending.reject(&error),
                Ok(value) if !handle.sync => pending.resolve(value, reply),
                Ok(value) => {
                    let settle = Box::new(move |synced: std::result::Result<(), &Error>| match synced {
                        Ok(()) => pending.resolve(value, reply),
                        Err(error) => pending.reject(error),
                    });
                    return Some(Unsettled { handle, settle });
                }
            }
            None
        };
        self.send(Work::Long(Box::new(run)));
    }

    /// Queues a write of one row; its ticket.
    pub(crate) fn write_one(
        self: &Arc<Self>,
        work: impl FnOnce(&Index) -> Result<bool> + Send + 'static,
    ) -> f64 {
        let ticket = self.outcomes.ticket();
        let number = ticket.number as f64;
        let handle = Arc::clone(self);
        self.send(Work::Short(Box::new(move || {
            let outcome = guarded(|| work(&handle.database()?.index));
            handle.settle(ticket, outcome)
        })));
        number
    }

    /// Queues a row to insert; its ticket.
    pub(crate) fn insert(
        self: &Arc<Self>,
        mode: Mode,
        id: Id,
        vector: Vec<f32>,
        payload: Option<String>,
    ) -> f64 {
        let ticket = self.outcomes.ticket();
        let number = ticket.number as f64;
        self.send(Work::Row(Row { handle: Arc::clone(self), ticket, mode, id, vector, payload }));
        number
    }

    /// Inserts rows that were given one by one: together where that works, else one by one, and each for itself.
    pub(crate) fn insert_rows(rows: Vec<Row>) -> Vec<Unsettled> {
        let together = rows.len() > 1 && Self::insert_together(&rows);
        let insert = |row: Row| {
            let Row { handle, ticket, mode, id, vector, payload } = row;
            let outcome = match together {
                true => Ok(()),
                false => guarded(|| handle.database()?.index.insert(&id, &vector, payload.as_deref(), mode)),
            };
            handle.settle(ticket, outcome.map(|()| true))
        };
        rows.into_iter().filter_map(insert).collect()
    }

    /// Inserts all rows, which are for one database, in one write; whether that was done, else none of them is there.
    fn insert_together(rows: &[Row]) -> bool {
        let Row { handle, mode, .. } = &rows[0];
        let insert = || {
            let index = &handle.database()?.index;
            let dim = index.config().dim as usize;
            if rows.iter().any(|row| row.vector.len() != dim) {
                return Ok(false);
            }
            let ids: Vec<Id> = rows.iter().map(|row| row.id.clone()).collect();
            let vectors: Vec<f32> = rows.iter().flat_map(|row| row.vector.iter().copied()).collect();
            let payloads: Vec<Option<String>> = rows.iter().map(|row| row.payload.clone()).collect();
            let all = Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
            // Few rows are written before other threads have woken.
            let pool: &dyn Pool = if rows.len() < MANY { &Serial } else { &Readers };
            index.insert_many(all, *mode, pool, &Control::NONE).map(|_| true)
        };
        guarded(insert).unwrap_or(false)
    }

    /// Settles a write of one row, at once or after the next sync.
    fn settle(self: Arc<Self>, ticket: Ticket, outcome: Result<bool>) -> Option<Unsettled> {
        match outcome {
            Ok(value) if self.sync => {
                let settle =
                    move |synced: std::result::Result<(), &Error>| ticket.settle(synced.map(|()| value));
                Some(Unsettled { handle: self, settle: Box::new(settle) })
            }
            outcome => {
                ticket.settle(outcome.as_ref().copied());
                None
            }
        }
    }

    /// Queues a read on the shared threads; `long` for one that runs for more than milliseconds.
    pub(crate) fn read<T: Send + 'static>(
        self: &Arc<Self>,
        long: bool,
        pending: Pending,
        work: impl FnOnce(&Handle, &Index) -> Result<T> + Send + 'static,
        reply: impl FnOnce(&Env, T) -> napi::Result<Raw> + Send + 'static,
    ) {
        let database = match self.database() {
            Ok(database) => database,
            Err(error) => return pending.reject(&error),
        };
        let guard = ReadGuard::new(self);
        let undelivered = Undelivered::new(&self.undelivered);
        let reply = move |env: &Env, value: T| {
            let built = reply(env, value);
            drop(undelivered);
            built
        };
        let job = move || {
            // The guard and the database go before the promise settles: a `close` may wait for them.
            let work = move || {
                let outcome = work(&guard.0, &database.index);
                drop(database);
                drop(guard);
                outcome
            };
            pending.settle_with(work, reply);
        };
        if long { pool::long(job) } else { pool::read(job) }
    }

    /// Whether anything is under way that a search on the calling thread would get in the way of, or wait for.
    fn is_busy(&self) -> bool {
        // An answer that waits to be delivered would wait for this one too.
        READS.load(Ordering::Relaxed) > 0
            || self.undelivered.load(Ordering::Relaxed) > 0
            || self.unfinished.load(Ordering::Acquire) > 0
    }

    /// How wide a search for so many rows goes that asks for that recall; `None` where that is not known yet, or it is not
    /// to be done at once anyway.
    pub(crate) fn width(&self, recall: f64, wanted: usize) -> Option<Width> {
        if self.is_busy() { None } else { self.database().ok()?.index.width(recall, wanted) }
    }

    /// Runs a search of so many units on this thread, the one that asks; `None` where it had better go to the others: it
    /// may take long or have to wait for somebody. `more` for one that brings more than ids and distances.
    pub(crate) fn search_at_once<T>(
        &self,
        units: u32,
        more: bool,
        work: impl FnOnce(&Index) -> Result<T>,
    ) -> Option<Result<T>> {
        let began = Instant::now();
        if self.is_busy() || !lock(&self.paces[usize::from(more)]).allows(units, began) {
            return None;
        }
        // A `close` would be among what is unfinished, so nobody waits for this reference to go.
        let database = self.database().ok()?;
        let outcome = guarded(|| work(&database.index));
        self.note_search(units, more, true, began);
        Some(outcome)
    }

    /// Takes note of what a search took that ends now.
    pub(crate) fn note_search(&self, units: u32, more: bool, at_once: bool, began: Instant) {
        let now = Instant::now();
        lock(&self.paces[usize::from(more)]).note(units, now - began, at_once, now);
    }

    /// Takes note of a search that its deadline cut short: how long it would have taken is not known.
    pub(crate) fn note_unfinished(&self, more: bool) {
        lock(&self.paces[usize::from(more)]).start_over();
    }

    fn wait_for_reads(&self, patience: Option<Duration>) {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut reads = lock(&self.reads);
        while reads.count > 0 {
            reads.awaited = true;
            let left =
                until.map_or(Duration::from_secs(3600), |t| t.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            reads = self.no_reads.wait_timeout(reads, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes: for the writer thread, as its last job. Waits for the reads in flight.
    pub(crate) fn close(&self) -> Result<()> {
        self.wait_for_reads(None);
        self.let_all_go();
        let database = lock(&self.database).take();
        lock(&self.writes).take();
        match database {
            Some(database) => {
                let closed = database.index.close();
                // Files and lock are released with the last reference, which is this one.
                match Arc::try_unwrap(database) {
                    Ok(database) => drop(database),
                    Err(_) => {
                        return closed
                            .and(Err(Error::new(Code::Internal, "a read outlived the wait for it")));
                    }
                }
                closed
            }
            None => Ok(()),
        }
    }

    /// The environment ends: running calls stop at their next safe point, queued ones never start. What
    /// was acknowledged is in the journal, so nothing needs to be written here.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue(|| {});
        lock(&self.writes).take();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        self.wait_for_reads(Some(PATIENCE));
        self.let_all_go();
        lock(&self.database).take();
    }
}

struct Undelivered(Arc<AtomicUsize>);

impl Undelivered {
    fn new(count: &Arc<AtomicUsize>) -> Undelivered {
        count.fetch_add(1, Ordering::Relaxed);
        Undelivered(Arc::clone(count))
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct ReadGuard(Arc<Handle>);

impl ReadGuard {
    fn new(handle: &Arc<Handle>) -> ReadGuard {
        lock(&handle.reads).count += 1;
        READS.fetch_add(1, Ordering::Relaxed);
        ReadGuard(Arc::clone(handle))
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        READS.fetch_sub(1, Ordering::Relaxed);
        let mut reads = lock(&self.0.reads);
        reads.count -= 1;
        // Waking nobody would still be a call to the system.
        if reads.awaited {
            self.0.no_reads.notify_all();
        }
    }
}
