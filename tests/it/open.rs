//! Directories, locks and manifests: what opening promises before the engine starts.

use asteroid_core::bytes::Bytes;
use asteroid_core::kv::{Batch, Space};
use asteroid_core::{
    Code, Control, Error, Id, Include, Index, Metric, Mode, OpenRequest, Options, SearchParams, StoreKind,
    VectorStorage,
};
use asteroid_native_storage::{Lock, OpenStores, Place, open, open_memory, open_stores};
use asteroid_tests::files::{contents, copy_tree, remove};
use asteroid_tests::over_stores;
use asteroid_tests::stores::graph;
use std::fs;
use std::path::{Path, PathBuf};

fn at(dir: impl Into<PathBuf>) -> Place {
    Place { dir: dir.into(), vector_file: None }
}

fn new(store: StoreKind, dim: u32) -> OpenRequest {
    OpenRequest { dim: Some(dim), store: Some(store), ..OpenRequest::default() }
}

fn any() -> OpenRequest {
    OpenRequest::default()
}

fn to_read() -> OpenRequest {
    OpenRequest { options: Options { read_only: true, ..Options::default() }, ..OpenRequest::default() }
}

fn fails(place: &Place, request: &OpenRequest, code: Code) -> Error {
    let error = open_stores(place, request).map(drop).expect_err("it must be refused");
    assert_eq!(error.code(), code, "{error}");
    error
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Puts something into each file, as an engine would.
fn fill(open: &OpenStores) {
    let mut batch = Batch::default();
    batch.put(Space::Meta, *b"key", *b"value");
    let seq = open.stores.kv.apply(&batch).unwrap();
    open.stores.kv.sync(seq).unwrap();
    open.stores.vectors.write_at(0, b"vectors").unwrap();
    open.stores.journal.write_at(0, b"journal").unwrap();
}

fn is_filled(open: &OpenStores) -> bool {
    let view = open.stores.kv.view().unwrap();
    let there = view.get(Space::Meta, b"key", &mut |value| assert_eq!(value, b"value")).unwrap();
    let read = |bytes: &dyn Bytes| {
        let mut out = vec![0; bytes.len().unwrap() as usize];
        bytes.read_at(0, &mut out).unwrap();
        out
    };
    assert_eq!(read(&*open.stores.vectors) == b"vectors", there);
    assert_eq!(read(&*open.stores.journal) == b"journal", there);
    there
}

fn filled(place: &Place, store: StoreKind) {
    fill(&open_stores(place, &new(store, 3)).unwrap());
}

over_stores!(
    a_new_database_makes_its_directory_with_parents_and_is_found_again,
    what_contradicts_the_manifest_is_refused_with_both_values,
    a_refused_path_stays_as_it_was,
    a_second_opener_is_locked_out_and_told_by_whom,
    a_missing_or_emptied_file_of_a_database_is_corrupt_by_name,
    a_damaged_manifest_is_corrupt_and_a_newer_one_is_named,
    a_creation_cut_short_is_begun_again,
    reinit_starts_fresh_and_deletes_only_our_files,
    the_vector_file_may_lie_elsewhere_and_is_remembered,
    a_vector_file_path_never_takes_what_is_there,
    a_damaged_memory_of_the_vector_files_path_is_corrupt,
    reading_writes_nothing_even_where_recovery_is_due,
    #[cfg(unix)]
    a_directory_without_permission_is_an_io_error,
    an_engine_on_disk_is_found_again_closed_or_dropped,
    what_a_killed_process_leaves_is_read_without_touching_it_and_then_recovered,
);

fn a_new_database_makes_its_directory_with_parents_and_is_found_again(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path().join("a/b/db"));
    {
        let request = OpenRequest { metric: Some(Metric::Cosine), seed: Some(9), ..new(store, 5) };
        let open = open_stores(&place, &request).unwrap();
        assert_eq!((open.kind, open.config.dim, open.config.seed), (store, 5, 9));
        fill(&open);
    }
    assert_eq!(names(&place.dir), ["LOCK", graph(store), "journal", "manifest", "vectors"]);
    let open = open_stores(&place, &any()).unwrap();
    assert_eq!((open.config.dim, open.config.metric), (5, Metric::Cosine));
    assert!(is_filled(&open));
}

fn what_contradicts_the_manifest_is_refused_with_both_values(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path());
    filled(&place, store);
    let error = fails(&place, &new(store, 4), Code::ConfigMismatch);
    assert!(error.message().contains("dim 3") && error.message().contains('4'), "{error}");
    assert!(is_filled(&open_stores(&place, &any()).unwrap()));
}

fn a_refused_path_stays_as_it_was(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    fails(&at(&file), &new(store, 3), Code::InvalidArgument);
    fails(&at(&file), &to_read(), Code::InvalidArgument);
    fails(&at(file.join("below")), &new(store, 3), Code::Io);
    fails(&at(""), &new(store, 3), Code::InvalidArgument);
    let error = fails(&at(dir.path()), &new(store, 3), Code::InvalidArgument);
    assert!(error.message().contains("file"), "{error}");
    fails(&at(dir.path()), &OpenRequest { reinit: true, ..new(store, 3) }, Code::InvalidArgument);
    let absent = dir.path().join("absent");
    fails(&at(&absent), &any(), Code::InvalidArgument);
    fails(&at(&absent), &new(store, 0), Code::InvalidArgument);
    fails(&at(&absent), &to_read(), Code::NotFound);
    #[cfg(not(feature = "rocksdb"))]
    fails(&at(&absent), &new(StoreKind::RocksDb, 3), Code::Unsupported);
    fails(
        &at(&absent),
        &OpenRequest { store: Some(StoreKind::Memory), ..new(store, 3) },
        Code::InvalidArgument,
    );
    let reinit = OpenRequest { reinit: true, dim: Some(3), ..to_read() };
    fails(&at(&absent), &reinit, Code::InvalidArgument);
    assert_eq!(names(dir.path()), ["file"]);
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

fn a_second_opener_is_locked_out_and_told_by_whom(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path());
    let open = open_stores(&place, &new(store, 3)).unwrap();
    for request in [any(), to_read(), OpenRequest { reinit: true, ..new(store, 3) }] {
        let error = fails(&place, &request, Code::Locked);
        assert!(error.message().contains(&std::process::id().to_string()), "{error}");
        assert!(error.message().contains(dir.path().to_str().unwrap()), "{error}");
    }
    drop(open);
    let readers = [open_stores(&place, &to_read()).unwrap(), open_stores(&place, &to_read()).unwrap()];
    let error = fails(&place, &any(), Code::Locked);
    assert!(error.message().contains("read-only"), "{error}");
    drop(readers);
    open_stores(&place, &any()).unwrap();
}

/// Not a test by itself: the other process of the next one.
#[test]
fn hold_the_lock_for_another_process() {
    let Ok(dir) = std::env::var("ASTEROID_TEST_HOLD") else { return };
    let _lock = Lock::writer(Path::new(&dir)).unwrap();
    fs::write(Path::new(&dir).join("held"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn another_process_is_named_and_its_death_frees_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["open::hold_the_lock_for_another_process", "--exact"])
        .env("ASTEROID_TEST_HOLD", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while !dir.path().join("held").exists() {
        assert!(began.elapsed().as_secs() < 30, "the other process never took the lock");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = Lock::writer(dir.path()).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Locked);
    assert!(error.message().contains(&format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    Lock::writer(dir.path()).unwrap();
}

fn a_missing_or_emptied_file_of_a_database_is_corrupt_by_name(store: StoreKind) {
    for (name, request) in [
        ("vectors", any()),
        ("journal", any()),
        (graph(store), any()),
        ("vectors", to_read()),
        ("journal", to_read()),
        (graph(store), to_read()),
        ("manifest", any()),
        ("manifest", to_read()),
        ("manifest", new(store, 3)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let place = at(dir.path());
        filled(&place, store);
        remove(&dir.path().join(name));
        let before = names(dir.path());
        let error = fails(&place, &request, Code::Corrupt);
        assert!(error.message().contains(name), "{error}");
        assert_eq!(names(dir.path()), before, "nothing was made again");
    }
    // The one that is opened first, of a store that has several.
    let first = if store == StoreKind::RocksDb { "graph.rocksdb/CURRENT" } else { graph(store) };
    for name in [first, "manifest"] {
        let dir = tempfile::tempdir().unwrap();
        let place = at(dir.path());
        filled(&place, store);
        fs::write(dir.path().join(name), "").unwrap();
        fails(&place, &any(), Code::Corrupt);
        fails(&place, &to_read(), Code::Corrupt);
    }
}

fn a_damaged_manifest_is_corrupt_and_a_newer_one_is_named(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path());
    filled(&place, store);
    let path = dir.path().join("manifest");
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        fails(&place, &any(), Code::Corrupt);
        fs::write(&path, &sound[..at]).unwrap();
        fails(&place, &any(), Code::Corrupt);
    }
    fs::write(&path, sound).unwrap();
    assert!(is_filled(&open_stores(&place, &any()).unwrap()));
}

/// Every state a crash can leave of a creation, in the order of its steps.
fn a_creation_cut_short_is_begun_again(store: StoreKind) {
    let whole = tempfile::tempdir().unwrap();
    drop(open_stores(&at(whole.path()), &new(store, 3)).unwrap());
    let manifest = fs::read(whole.path().join("manifest")).unwrap();
    let empty = ["LOCK", "creating", "vectors", "journal"].map(|name| (name.to_owned(), Some(Vec::new())));
    let mut steps = Vec::from(empty);
    let made = contents(whole.path()).into_iter().map(|(path, bytes)| (path.into_os_string(), bytes));
    let made = made.map(|(path, bytes)| (path.into_string().unwrap(), bytes));
    steps.extend(made.filter(|(path, _)| path.starts_with(graph(store))));
    steps.push(("manifest.tmp".to_owned(), Some(manifest[..10].to_vec())));
    for done in 0..=steps.len() {
        let dir = tempfile::tempdir().unwrap();
        let place = at(dir.path());
        for (name, bytes) in &steps[..done] {
            let path = dir.path().join(name);
            bytes.as_ref().map_or_else(|| fs::create_dir(&path), |bytes| fs::write(&path, bytes)).unwrap();
        }
        fails(&place, &to_read(), Code::NotFound);
        fails(&place, &any(), Code::InvalidArgument);
        filled(&place, store);
        assert_eq!(names(dir.path()), ["LOCK", graph(store), "journal", "manifest", "vectors"]);
        assert!(is_filled(&open_stores(&place, &any()).unwrap()));
    }
    // After the manifest's rename the database exists; only the mark is still to go.
    fs::write(whole.path().join("creating"), "").unwrap();
    let open = open_stores(&at(whole.path()), &any()).unwrap();
    assert!(!whole.path().join("creating").exists(), "gone before anything can be written");
    fill(&open);
    drop(open);
    assert!(is_filled(&open_stores(&at(whole.path()), &any()).unwrap()));
}

fn reinit_starts_fresh_and_deletes_only_our_files(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path());
    filled(&place, store);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fails(&place, &OpenRequest { reinit: true, ..any() }, Code::InvalidArgument);
    assert!(is_filled(&open_stores(&place, &any()).unwrap()), "a refused reinit deletes nothing");
    let open = open_stores(&place, &OpenRequest { reinit: true, ..new(store, 8) }).unwrap();
    assert!(!is_filled(&open));
    assert_eq!(open.config.dim, 8);
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    drop(open);
    // Also where the old one cannot be opened any more.
    fs::write(dir.path().join("manifest"), "rubbish").unwrap();
    open_stores(&place, &OpenRequest { reinit: true, ..new(store, 2) }).unwrap();
}

fn the_vector_file_may_lie_elsewhere_and_is_remembered(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere.vec");
    let place = Place { dir: dir.path().join("db"), vector_file: Some(elsewhere.clone()) };
    filled(&place, store);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"vectors");
    assert!(!place.dir.join("vectors").exists());
    for request in [any(), to_read()] {
        assert!(is_filled(&open_stores(&at(&place.dir), &request).unwrap()), "without being told");
        assert!(is_filled(&open_stores(&place, &request).unwrap()), "told the same");
        let other = Place { vector_file: Some(dir.path().join("other")), ..place.clone() };
        let error = fails(&other, &request, Code::ConfigMismatch);
        assert!(error.message().contains("elsewhere.vec") && error.message().contains("other"), "{error}");
    }
    let reinit = OpenRequest { reinit: true, ..new(store, 3) };
    drop(open_stores(&at(&place.dir), &reinit).unwrap());
    assert!(!elsewhere.exists(), "reinit deletes the vector file it remembers");
    fails(&place, &any(), Code::ConfigMismatch);
}

fn a_vector_file_path_never_takes_what_is_there(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    fs::write(&taken, "mine").unwrap();
    for path in [&taken, dir.path(), &dir.path().join("db/journal"), Path::new("")] {
        let place = Place { dir: dir.path().join("db"), vector_file: Some(path.to_owned()) };
        fails(&place, &new(store, 3), Code::InvalidArgument);
    }
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
    // The path of the default is the default.
    let place = Place { dir: dir.path().join("db"), vector_file: Some(dir.path().join("db/vectors")) };
    filled(&place, store);
    assert!(is_filled(&open_stores(&at(&place.dir), &any()).unwrap()));
}

fn a_damaged_memory_of_the_vector_files_path_is_corrupt(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: Some(dir.path().join("vec")) };
    filled(&place, store);
    let memory = place.dir.join("vectors.path");
    let mut stored = fs::read(&memory).unwrap();
    stored[6] ^= 1;
    fs::write(&memory, stored).unwrap();
    fails(&at(&place.dir), &any(), Code::Corrupt);
}

fn reading_writes_nothing_even_where_recovery_is_due(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let place = at(dir.path());
    // Copied while open: what a killed process leaves.
    let open = open_stores(&place, &new(store, 3)).unwrap();
    fill(&open);
    copy_tree(dir.path(), copy.path()).unwrap();
    remove(&copy.path().join("LOCK"));
    drop(open);
    let before = contents(copy.path());
    {
        let open = open_stores(&at(copy.path()), &to_read()).unwrap();
        assert!(is_filled(&open));
        assert!(open.lock.is_none(), "there is no lock file, and none is made");
        let mut batch = Batch::default();
        batch.delete(Space::Meta, *b"key");
        open.stores.kv.apply(&batch).unwrap();
        open.stores.vectors.write_at(0, b"replayed").unwrap();
        open.stores.journal.set_len(0).unwrap();
    }
    assert!(contents(copy.path()) == before);
}

#[cfg(unix)]
fn a_directory_without_permission_is_an_io_error(store: StoreKind) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let place = at(dir.path().join("db"));
    filled(&place, store);
    fs::set_permissions(&place.dir, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere, so for root there is nothing to see.
    if fs::write(place.dir.join("probe"), "").is_err() {
        assert!(is_filled(&open_stores(&place, &to_read()).unwrap()));
        fails(&at(place.dir.join("below")), &new(store, 3), Code::Io);
    }
    fs::set_permissions(&place.dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_database_in_memory_takes_no_store_and_no_read_only() {
    for request in [new(StoreKind::Redb, 3), OpenRequest { dim: Some(3), ..to_read() }, any()] {
        assert_eq!(open_memory(&request).map(drop).unwrap_err().code(), Code::InvalidArgument);
    }
}

fn insert(index: &Index, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!("{{\"n\":{n}}}");
        let vector = [n as f32, 1.0, (n * n % 7) as f32];
        index.insert(&Id::from(n), &vector, Some(&payload), Mode::Insert).unwrap();
    }
}

fn holds(index: &Index, rows: u64) {
    assert_eq!(index.count().unwrap(), rows);
    let problems = index.check(&Control::NONE).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
    let both = Include { payload: true, vector: true };
    for n in 0..rows {
        let row = index.get(&Id::from(n), both).unwrap().expect("it was inserted");
        assert_eq!(row.payload.unwrap(), format!("{{\"n\":{n}}}"));
        assert_eq!(row.vector.unwrap()[0], n as f32);
    }
    if rows > 0 {
        let hits =
            index.search(&[0.0, 1.0, 0.0], &SearchParams { k: 3, ..Default::default() }, &Control::NONE);
        assert_eq!(hits.unwrap()[0].id, Id::from(0));
    }
}

fn an_engine_on_disk_is_found_again_closed_or_dropped(store: StoreKind) {
    for storage in [VectorStorage::Flat, VectorStorage::Paged] {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { dir: dir.path().join("db"), vector_file: Some(dir.path().join("vec")) };
        let request = OpenRequest { vector_storage: Some(storage), ..new(store, 3) };
        {
            let db = open(&place, &request).unwrap();
            assert_eq!(db.kind, store);
            insert(&db.index, 0..100);
            db.index.close().unwrap();
        }
        {
            let db = open(&at(&place.dir), &any()).unwrap();
            holds(&db.index, 100);
            insert(&db.index, 100..150);
        }
        let db = open(&at(&place.dir), &to_read()).unwrap();
        holds(&db.index, 150);
        let refused = db.index.delete(&Id::from(1)).unwrap_err();
        assert_eq!(refused.code(), Code::ReadOnly);
        drop(db);
        let db = open(&at(&place.dir), &OpenRequest { reinit: true, ..request }).unwrap();
        holds(&db.index, 0);
    }
}

fn what_a_killed_process_leaves_is_read_without_touching_it_and_then_recovered(store: StoreKind) {
    for storage in [VectorStorage::Flat, VectorStorage::Paged] {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let request = OpenRequest { vector_storage: Some(storage), ..new(store, 3) };
        let db = open(&at(dir.path()), &request).unwrap();
        insert(&db.index, 0..60);
        copy_tree(dir.path(), copy.path()).unwrap();
        remove(&copy.path().join("LOCK"));
        drop(db);
        let before = contents(copy.path());
        for _ in 0..2 {
            let db = open(&at(copy.path()), &to_read()).unwrap();
            holds(&db.index, 60);
            db.index.close().unwrap();
        }
        assert!(contents(copy.path()) == before, "reading wrote something");
        let db = open(&at(copy.path()), &any()).unwrap();
        holds(&db.index, 60);
        insert(&db.index, 60..70);
        drop(db);
        holds(&open(&at(copy.path()), &any()).unwrap().index, 70);
    }
}

/// A folder as a file system shows it that cannot be written.
#[cfg(target_os = "linux")]
struct Sealed(PathBuf);

#[cfg(target_os = "linux")]
impl Sealed {
    /// `None` where the system mounts nothing for us.
    fn of(dir: &Path, shown: &Path) -> Option<Sealed> {
        let mount = |arguments: &[&std::ffi::OsStr]| {
            let done = std::process::Command::new("mount").args(arguments).output();
            done.is_ok_and(|done| done.status.success())
        };
        fs::create_dir(shown).unwrap();
        let bound = mount(&["--bind".as_ref(), dir.as_ref(), shown.as_ref()]);
        let sealed = bound.then(|| Sealed(shown.to_owned()))?;
        mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), shown.as_ref()]).then_some(sealed)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Sealed {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).output();
    }
}

#[cfg(target_os = "linux")]
fn a_read_only_file_system_is_read_and_never_written(store: StoreKind) {
    for storage in [VectorStorage::Flat, VectorStorage::Paged] {
        let dir = tempfile::tempdir().unwrap();
        let (left, shown) = (dir.path().join("left"), dir.path().join("shown"));
        let request = OpenRequest { vector_storage: Some(storage), ..new(store, 3) };
        let db = open(&at(dir.path().join("db")), &request).unwrap();
        insert(&db.index, 0..60);
        // As a killed process leaves it, with writes in the journal.
        copy_tree(&dir.path().join("db"), &left).unwrap();
        drop(db);
        let Some(sealed) = Sealed::of(&left, &shown) else {
            println!("skipped: only who may mount file systems can make one that cannot be written");
            return;
        };
        assert!(fs::write(shown.join("probe"), "").is_err());
        let before = contents(&left);
        let db = open(&at(&shown), &to_read()).unwrap();
        holds(&db.index, 60);
        assert_eq!(db.index.delete(&Id::from(1)).unwrap_err().code(), Code::ReadOnly);
        assert_eq!(db.index.compact(&Control::NONE).unwrap_err().code(), Code::ReadOnly);
        db.index.close().unwrap();
        drop(db);
        fails(&at(&shown), &any(), Code::Io);
        drop(sealed);
        assert!(contents(&left) == before, "reading wrote something");
        holds(&open(&at(&left), &any()).unwrap().index, 60);
    }
}

#[cfg(target_os = "linux")]
mod sealed {
    use super::a_read_only_file_system_is_read_and_never_written;
    asteroid_tests::over_stores!(a_read_only_file_system_is_read_and_never_written);
}

#[test]
fn an_engine_in_memory_works_and_leaves_nothing() {
    let db = open_memory(&new(StoreKind::Memory, 3)).unwrap();
    assert_eq!(db.kind, StoreKind::Memory);
    insert(&db.index, 0..50);
    holds(&db.index, 50);
}
