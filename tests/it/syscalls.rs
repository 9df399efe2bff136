//! [`Watched`]: a directory of real files every change of which is recorded on a [`SimDisk`], and can be made to fail.
//!
//! A store that does its own file I/O, as RocksDB does, cannot be given a simulated disk. But the system calls that
//! change files are ordinary functions of the C library, and a program that defines functions of these names is
//! itself called instead: by the standard library and by C++ linked into it alike. So this test binary sees every
//! `write`, `fsync`, `rename` and so on below a watched directory, in one order over all threads, before it happens.
//! What is recorded is then cut, torn and replayed as simulated files are, names of files included.
//!
//! When a directory is let go of, its files must be byte for byte what was recorded: a call that went past unseen
//! fails the test.
//!
//! What it shows and does not: the calls are those of a run without crashes. After a cut each file holds what it had at
//! its last sync, any torn subset of what was written into it since, and any first part of what was appended; each
//! directory any first part of its changes; all apart from each other. Appends that reach the disk out of order, with a
//! hole between, are left to the tests over simulated files: RocksDB refuses such an end of its list of files as
//! `CORRUPT`. Reads are not interfered with, disks that lie about
//! syncs are not simulated, and advice (`sync_file_range`, reserved room) counts for nothing.
#![allow(unsafe_code)]

use asteroid_core::bytes::Bytes;
use asteroid_core::{Code, Error};
use asteroid_tests::files::{contents, quick_dir};
use asteroid_tests::sim::{SimBytes, SimDisk, part_that_fails};
use asteroid_tests::tree::{Node, Tree};
use libc::{AT_FDCWD, AT_REMOVEDIR, c_char, c_int, c_long, c_void, mode_t, off_t, size_t, ssize_t};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory that is watched until it is dropped, and then removed.
pub(crate) struct Watched {
    seen: Arc<Seen>,
    dir: tempfile::TempDir,
}

struct Seen {
    root: PathBuf,
    tree: Mutex<Tree>,
    /// Where the record and the files parted. Told at the end: a panic must not pass through the C library.
    parted: Mutex<Vec<String>>,
}

/// An open file or directory below a watched one.
#[derive(Clone)]
struct Open {
    seen: Arc<Seen>,
    path: PathBuf,
    node: Node,
    append: bool,
}

/// How many directories are watched: where none is, calls are passed on at once.
static WATCHED: AtomicUsize = AtomicUsize::new(0);
static STATE: Mutex<Option<State>> = Mutex::new(None);

#[derive(Default)]
struct State {
    seen: Vec<Arc<Seen>>,
    open: HashMap<c_int, Open>,
}

fn state<T>(work: impl FnOnce(&mut State) -> T) -> T {
    let _kept = ErrorNumber::keep();
    work(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// What the last system call of this thread failed with. Waiting for a lock is a system call, too, so it is put back
/// after that.
struct ErrorNumber(c_int);

impl ErrorNumber {
    fn keep() -> ErrorNumber {
        // SAFETY: it points to this thread's own variable.
        ErrorNumber(unsafe { *libc::__errno_location() })
    }
}

impl Drop for ErrorNumber {
    fn drop(&mut self) {
        // SAFETY: it points to this thread's own variable.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

impl Watched {
    /// Puts what lies on `disk` into a new directory; from then on what happens to it happens to the disk, too.
    pub(crate) fn new(disk: &SimDisk) -> Watched {
        let dir = quick_dir();
        let tree = Tree::new(disk);
        tree.write_to(dir.path());
        let seen =
            Arc::new(Seen { root: dir.path().to_owned(), tree: Mutex::new(tree), parted: Mutex::default() });
        state(|state| state.seen.push(seen.clone()));
        WATCHED.fetch_add(1, SeqCst);
        Watched { seen, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHED.fetch_sub(1, SeqCst);
        state(|state| {
            state.seen.retain(|other| !Arc::ptr_eq(other, &self.seen));
            state.open.retain(|_, open| !Arc::ptr_eq(&open.seen, &self.seen));
        });
        if !std::thread::panicking() {
            let parted =
                std::mem::take(&mut *self.seen.parted.lock().unwrap_or_else(PoisonError::into_inner));
            assert!(parted.is_empty(), "{parted:?}");
            let (recorded, found) = (self.seen.tree().contents(), contents(self.dir.path()));
            let differ =
                recorded.keys().chain(found.keys()).find(|path| recorded.get(*path) != found.get(*path));
            assert!(differ.is_none(), "{differ:?} was changed by a call that was not seen");
        }
    }
}

impl Seen {
    fn part(&self, how: String) {
        self.parted.lock().unwrap_or_else(PoisonError::into_inner).push(how);
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watched directory that `path` lies in, and where there; `at` is the directory it is relative to.
fn find(at: c_int, path: *const c_char) -> Option<(Arc<Seen>, PathBuf)> {
    if WATCHED.load(SeqCst) == 0 || path.is_null() {
        return None;
    }
    // SAFETY: the caller of the intercepted function promises a string that ends with a zero byte.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    state(|state| {
        if path.is_relative() {
            let open = state.open.get(&at).filter(|open| open.node.is_dir)?;
            return Some((open.seen.clone(), open.path.join(path)));
        }
        let within = |seen: &&Arc<Seen>| path.starts_with(&seen.root);
        let seen = state.seen.iter().find(within)?.clone();
        // Taken apart and joined again: doubled slashes go.
        let path = path.strip_prefix(&seen.root).ok()?.components().collect();
        Some((seen, path))
    })
}

fn find_open(fd: c_int) -> Option<Open> {
    if WATCHED.load(SeqCst) == 0 { None } else { state(|state| state.open.get(&fd).cloned()) }
}

fn forget(fd: c_int) {
    if WATCHED.load(SeqCst) > 0 {
        state(|state| state.open.remove(&fd));
    }
}

/// Calls the system itself.
macro_rules! system {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: the arguments are those that our caller gave for this very call, or numbers.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

/// What an intercepted call answers when a fault is injected.
fn failed(error: &Error) -> c_int {
    let number = if error.code() == Code::StorageFull { libc::ENOSPC } else { libc::EIO };
    // SAFETY: it points to this thread's own variable.
    unsafe { *libc::__errno_location() = number };
    -1
}

/// A change of names: recorded and then made, where `possible`; else left to the system, which refuses it.
fn change(
    seen: &Seen,
    possible: impl FnOnce(&Tree) -> bool,
    record: impl FnOnce(&mut Tree) -> asteroid_core::Result<()>,
    make: impl FnOnce() -> c_long,
) -> c_int {
    let mut tree = seen.tree();
    let possible = possible(&tree);
    if possible && let Err(error) = record(&mut tree) {
        return failed(&error);
    }
    let made = make() as c_int;
    if (made >= 0) != possible {
        seen.part(format!("the recorded names are not those of {}", seen.root.display()));
    }
    made
}

fn opened(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let system = || system!(SYS_openat, at, path, flags, mode) as c_int;
    let Some((seen, path)) = find(at, path) else {
        let fd = system();
        forget(fd);
        return fd;
    };
    let mut tree = seen.tree();
    let known = tree.get(&path);
    if known.is_none()
        && flags & libc::O_CREAT != 0
        && tree.is_free(&path)
        && let Err(error) = tree.make(&path, false)
    {
        return failed(&error);
    }
    if let Some(node) = known
        && flags & libc::O_TRUNC != 0
        && node.bytes.len().is_ok_and(|len| len > 0)
        && let Err(error) = node.bytes.set_len(0)
    {
        return failed(&error);
    }
    let fd = system();
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    match tree.get(&path).filter(|node| fd >= 0 && (writes || node.is_dir)) {
        Some(node) => {
            let append = flags & libc::O_APPEND != 0;
            drop(tree);
            state(|state| state.open.insert(fd, Open { seen, path, node, append }));
        }
        None => forget(fd),
    }
    fd
}

/// A write to a watched file: recorded and made, or the part of it that a fault lets through.
fn written(open: &Open, fd: c_int, data: *const c_void, len: usize, at: Option<off_t>) -> ssize_t {
    let tree = open.seen.tree();
    let end = if open.append { libc::SEEK_END } else { libc::SEEK_CUR };
    let offset = at.unwrap_or_else(|| system!(SYS_lseek, fd, 0 as off_t, end));
    // SAFETY: the caller of the intercepted function promises `len` readable bytes.
    let bytes = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) } };
    let n = tree.disk().ops();
    let outcome = open.node.bytes.write_at(offset as u64, bytes);
    let len = if outcome.is_ok() { len } else { part_that_fails(n, len) };
    let done = match at {
        Some(at) => system!(SYS_pwrite64, fd, data, len, at),
        None => system!(SYS_write, fd, data, len),
    };
    if done != len as c_long {
        open.seen.part(format!("the real disk refused a write to {}", open.path.display()));
    }
    outcome.map_or_else(|error| failed(&error) as ssize_t, |()| done as ssize_t)
}

fn on_bytes(
    fd: c_int,
    record: impl FnOnce(&SimBytes) -> asteroid_core::Result<()>,
    make: impl FnOnce() -> c_long,
) -> c_int {
    let Some(open) = find_open(fd) else { return make() as c_int };
    let _tree = open.seen.tree();
    match record(&open.node.bytes) {
        Ok(()) => make() as c_int,
        Err(error) => failed(&error),
    }
}

fn made_dir(path: *const c_char, mode: mode_t) -> c_int {
    let system = || system!(SYS_mkdirat, AT_FDCWD, path, mode);
    let Some((seen, path)) = find(AT_FDCWD, path) else { return system() as c_int };
    change(&seen, |tree| tree.is_free(&path), |tree| tree.make(&path, true).map(drop), system)
}

fn removed(at: c_int, path: *const c_char, flags: c_int) -> c_int {
    let system = || system!(SYS_unlinkat, at, path, flags);
    let Some((seen, path)) = find(at, path) else { return system() as c_int };
    let possible = |tree: &Tree| match flags & AT_REMOVEDIR {
        0 => tree.get(&path).is_some_and(|node| !node.is_dir),
        _ => tree.is_empty_dir(&path),
    };
    change(&seen, possible, |tree| tree.remove(&path), system)
}

// Each of these has the name and the arguments of a function of the C library, does what that does, and is called in
// its stead. Where the library takes a variable number of arguments, the optional one lies where a fixed one would on
// the platforms this is compiled for; it is only used where the flags say that it was given.

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn openat(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(at, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn openat64(at: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(at, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    forget(fd);
    system!(SYS_close, fd) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t {
    match find_open(fd) {
        Some(open) => written(&open, fd, data, len, None),
        None => system!(SYS_write, fd, data, len) as ssize_t,
    }
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, data: *const c_void, len: size_t, at: off_t) -> ssize_t {
    match find_open(fd) {
        Some(open) => written(&open, fd, data, len, Some(at)),
        None => system!(SYS_pwrite64, fd, data, len, at) as ssize_t,
    }
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, data: *const c_void, len: size_t, at: off_t) -> ssize_t {
    pwrite(fd, data, len, at)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, len: off_t) -> c_int {
    on_bytes(fd, |bytes| bytes.set_len(len as u64), || system!(SYS_ftruncate, fd, len))
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, len: off_t) -> c_int {
    ftruncate(fd, len)
}

#[unsafe(no_mangle)]
extern "C" fn fallocate(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int {
    // Room that is reserved shows nowhere. Holes would; file systems need not have them.
    if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 && find_open(fd).is_some() {
        // SAFETY: it points to this thread's own variable.
        unsafe { *libc::__errno_location() = libc::EOPNOTSUPP };
        return -1;
    }
    system!(SYS_fallocate, fd, mode, at, len) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fallocate64(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int {
    fallocate(fd, mode, at, len)
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    on_bytes(fd, Bytes::sync, || system!(SYS_fsync, fd))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    on_bytes(fd, Bytes::sync, || system!(SYS_fdatasync, fd))
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    made_dir(path, mode)
}

#[unsafe(no_mangle)]
extern "C" fn rmdir(path: *const c_char) -> c_int {
    removed(AT_FDCWD, path, AT_REMOVEDIR)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    removed(AT_FDCWD, path, 0)
}

#[unsafe(no_mangle)]
extern "C" fn unlinkat(at: c_int, path: *const c_char, flags: c_int) -> c_int {
    removed(at, path, flags)
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let system = || system!(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    let (Some((seen, from)), Some((_, to))) = (find(AT_FDCWD, from), find(AT_FDCWD, to)) else {
        return system() as c_int;
    };
    change(&seen, |tree| tree.get(&from).is_some(), |tree| tree.rename(&from, &to), system)
}

#[unsafe(no_mangle)]
extern "C" fn link(path: *const c_char, second: *const c_char) -> c_int {
    linkat(AT_FDCWD, path, AT_FDCWD, second, 0)
}

#[unsafe(no_mangle)]
extern "C" fn linkat(
    at: c_int,
    path: *const c_char,
    second_at: c_int,
    second: *const c_char,
    flags: c_int,
) -> c_int {
    let system = || system!(SYS_linkat, at, path, second_at, second, flags);
    let (Some((seen, path)), Some((_, second))) = (find(at, path), find(second_at, second)) else {
        return system() as c_int;
    };
    let possible = |tree: &Tree| tree.get(&path).is_some() && tree.is_free(&second);
    change(&seen, possible, |tree| tree.link(&path, &second), system)
}

#[test]
fn what_is_done_to_a_watched_directory_is_recorded_and_made_to_fail() {
    use std::fs;
    use std::io::Write;
    let disk = SimDisk::new();
    let watched = Watched::new(&disk);
    let at = |name: &str| watched.path().join(name);
    fs::create_dir(at("d")).unwrap();
    let mut file = fs::File::create(at("d/a")).unwrap();
    file.write_all(b"first").unwrap();
    file.sync_all().unwrap();
    file.write_all(b" second").unwrap();
    let before_rename = disk.ops();
    fs::rename(at("d/a"), at("d/b")).unwrap();
    fs::hard_link(at("d/b"), at("c")).unwrap();
    fs::remove_dir_all(at("d")).unwrap();
    let found = |disk: &SimDisk| Tree::new(disk).contents();
    let [d, a, c] = ["d", "d/a", "c"].map(PathBuf::from);
    let whole = found(&disk.after_kill(disk.ops()));
    assert!(whole.into_iter().eq([(c, Some(b"first second".to_vec()))]));
    let earlier = found(&disk.after_kill(before_rename));
    assert!(earlier.into_iter().eq([(d.clone(), None), (a.clone(), Some(b"first second".to_vec()))]));
    // Neither directory was synced: their entries may be there or not, the file's first bytes only with its name.
    let (mut without, mut with) = (0, 0);
    for seed in 0..200 {
        match found(&disk.after_power_cut(before_rename, seed)).get(&a) {
            None => without += 1,
            Some(bytes) => {
                assert!(bytes.as_ref().unwrap().starts_with(b"first"));
                with += 1;
            }
        }
    }
    assert!(without > 10 && with > 10, "{without} without, {with} with");
    disk.fail_at(disk.ops(), Code::StorageFull, true);
    assert_eq!(fs::write(at("e"), "text").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert!(!at("e").exists());
    fs::write(at("e"), "text").unwrap();
    assert_eq!(fs::read(at("e")).unwrap(), b"text");
}
