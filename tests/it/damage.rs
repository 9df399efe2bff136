//! Databases with a damaged byte, a cut file or swapped blocks: `CORRUPT` that names the place, or the right answers.

use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::{
    Code, Config, Control, Hit, Index, Manifest, Metric, Mode, OpenRequest, Options, Result, SearchParams,
    StoreKind, Stores, VectorStorage,
};
use asteroid_native_storage::{CowBytes, Place, RedbKv, open};
use asteroid_tests::files::{contents, copy_settled, quick_dir, remove};
use asteroid_tests::model::{ALL, Model, model_of, read_all, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::quiet::{panics, quiet, said};
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::workload::{self, Shape};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the files of a database are, by how their names begin.
const PARTS: [&str; 4] = ["manifest", "graph", "vectors", "journal"];
const BLOCK: u64 = 4096;

/// A database as its files, and what it must answer.
struct Image {
    name: &'static str,
    config: Config,
    files: Vec<File>,
    /// The directory with the same files, for those that are opened from there.
    dir: Option<tempfile::TempDir>,
    model: Model,
    /// Fingerprints of every state it went through.
    states: Vec<u64>,
    answers: Vec<(Vec<f32>, Vec<Hit>)>,
}

struct File {
    name: String,
    /// Index into [`PARTS`].
    part: usize,
    bytes: Arc<MemBytes>,
    /// How much of it holds something.
    used: u64,
}

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    store: StoreKind,
    storage: VectorStorage,
    /// Closed properly, or left as a killed process leaves it.
    closed: bool,
    /// Opened from real files, which are mapped, or from memory.
    mapped: bool,
}

fn options() -> Options {
    Options { cache_bytes: 4 << 20, paged_max_cached_pages: Some(2), ..Options::default() }
}

impl Image {
    fn make(kind: Kind, seed: u64) -> Image {
        let shape = Shape { dim: 40, metric: Metric::L2, rows: 200, most: 120, wrong: 0 };
        let mut rng = Rng::new(seed);
        let dir = quick_dir();
        let place = Place { dir: dir.path().join("db"), vector_file: None };
        let request = OpenRequest {
            dim: Some(shape.dim as u32),
            metric: Some(shape.metric),
            vector_storage: Some(kind.storage),
            store: Some(kind.store),
            options: options(),
            ..OpenRequest::default()
        };
        let mut model = Model::new(shape.dim, shape.metric);
        let mut states = vec![model.fingerprint()];
        let database = open(&place, &request).unwrap();
        let pool = Threads::new(1);
        let write =
            |database: &asteroid_native_storage::Database, rng: &mut Rng, model: &mut Model, count: usize| {
                let mut prints = Vec::new();
                for _ in 0..count {
                    let write = workload::write(rng, &shape, model);
                    let _ = model.apply(&write);
                    let _ = run(&database.index, &write, &pool);
                    prints.push(model.fingerprint());
                }
                prints
            };
        let first = workload::rows(&mut rng, &shape, Mode::Insert, 150);
        run(&database.index, &first, &pool).unwrap();
        model.apply(&first).unwrap();
        states.push(model.fingerprint());
        states.extend(write(&database, &mut rng, &mut model, 25));
        database.index.close().unwrap();
        drop(database);
        let database = open(&place, &request).unwrap();
        if !kind.closed {
            states.extend(write(&database, &mut rng, &mut model, 15));
            database.index.flush().unwrap();
            states.extend(write(&database, &mut rng, &mut model, 10));
        }
        let answers = (0..5).map(|_| {
            let query = workload::vector(&mut rng, &shape);
            let hits = database.index.search(&query, &search(), &Control::NONE).unwrap();
            (query, hits)
        });
        let answers: Vec<_> = answers.collect();
        let stats = database.index.stats().unwrap();
        let row_bytes = 4 * shape.dim as u64 + 4;
        // While it is open, the files are as a killed process would leave them.
        if kind.closed {
            drop(database);
        } else {
            let copy = dir.path().join("copy");
            copy_settled(&place.dir, &copy);
            drop(database);
            remove(&place.dir);
            fs::rename(&copy, &place.dir).unwrap();
        }
        let found = contents(&place.dir).into_iter().filter_map(|(path, bytes)| {
            let (name, bytes) = (path.to_str().unwrap().to_owned(), bytes?);
            let part = PARTS.iter().position(|part| name.starts_with(part))?;
            let mut used = bytes.len() as u64;
            if kind.storage == VectorStorage::Flat && part == 2 {
                used = BLOCK + (stats.rows + stats.tombstones) * row_bytes;
            }
            Some(File { name, part, bytes: Arc::new(MemBytes::new(bytes)), used })
        });
        let files: Vec<File> = found.filter(|file| file.used > 0).collect();
        let config = Config { vector_storage: kind.storage, ..Config::new(shape.dim as u32, shape.metric) };
        let dir = kind.mapped.then_some(dir);
        let sizes: Vec<_> = files.iter().map(|file| (&file.name, file.used)).collect();
        println!("{}: {} rows, {} dead, {sizes:?}", kind.name, stats.rows, stats.tombstones);
        Image { name: kind.name, config, files, dir, model, states, answers }
    }

    fn place(&self) -> Option<Place> {
        let dir = self.dir.as_ref()?;
        Some(Place { dir: dir.path().join("db"), vector_file: None })
    }
}

fn search() -> SearchParams {
    SearchParams { k: 20, include: ALL, ..SearchParams::default() }
}

/// What is done to one file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { offset: u64, mask: u8 },
    Cut { len: u64 },
    Swap { a: u64, b: u64 },
}

impl Damage {
    fn draw(rng: &mut Rng, image: &Image, number: usize) -> (usize, Damage) {
        let file = loop {
            let part = [0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3][rng.below(11) as usize];
            let of_part = (0..image.files.len()).filter(|&file| image.files[file].part == part);
            let of_part: Vec<usize> = of_part.collect();
            let file = of_part[rng.below(of_part.len() as u64) as usize];
            // A manifest is soon tried out, and so is the journal of a closed database.
            if image.files[file].used > 100 || rng.chance(20) {
                break file;
            }
        };
        let used = image.files[file].used;
        let blocks = used / BLOCK;
        let damage = match number % 20 {
            0 => Damage::Cut {
                len: if rng.chance(30) { rng.below(blocks + 1) * BLOCK } else { rng.below(used) },
            },
            1 if blocks > 1 => {
                let a = rng.below(blocks);
                Damage::Swap { a: a * BLOCK, b: (a + 1 + rng.below(blocks - 1)) % blocks * BLOCK }
            }
            _ => Damage::Flip {
                // The first bytes say what all others mean.
                offset: if rng.chance(15) { rng.below(used.min(8192)) } else { rng.below(used) },
                mask: if rng.chance(70) { 1 << rng.below(8) } else { 1 + rng.below(255) as u8 },
            },
        };
        (file, damage)
    }

    fn apply(&self, bytes: &dyn Bytes) -> Result<()> {
        match self {
            Damage::Flip { offset, mask } => {
                let mut byte = [0];
                bytes.read_at(*offset, &mut byte)?;
                bytes.write_at(*offset, &[byte[0] ^ mask])
            }
            Damage::Cut { len } => bytes.set_len(*len),
            Damage::Swap { a, b } => {
                let mut blocks = [[0; BLOCK as usize]; 2];
                bytes.read_at(*a, &mut blocks[0])?;
                bytes.read_at(*b, &mut blocks[1])?;
                bytes.write_at(*a, &blocks[1])?;
                bytes.write_at(*b, &blocks[0])
            }
        }
    }
}

fn open_in_memory(image: &Image, file: usize, damage: &Damage) -> Result<Index> {
    let mut files = [const { None }; 4];
    for (i, whole) in image.files.iter().enumerate() {
        let over = CowBytes::new(whole.bytes.clone())?;
        if i == file {
            damage.apply(&over)?;
        }
        files[whole.part] = Some(Arc::new(over));
    }
    let files = files.map(|file| file.expect("redb keeps one file for each part"));
    // As the opener of directories does it.
    let mut manifest = vec![0; files[0].len()? as usize];
    files[0].read_at(0, &mut manifest)?;
    let manifest = Manifest::decode(&manifest)?;
    let asked = OpenRequest { dim: Some(image.config.dim), ..OpenRequest::default() };
    let config = asked.agree_with(&manifest)?;
    let kv = RedbKv::open_existing(files[1].clone(), 1 << 20).map_err(|error| error.at("graph.redb"))?;
    let stores = Stores { kv: Arc::new(kv), vectors: files[2].clone(), journal: files[3].clone() };
    Index::open(stores, config, options())
}

#[derive(Default, Debug)]
struct Count {
    trials: usize,
    /// Refused, per part.
    refused: [usize; 4],
    /// Answered rightly, per part.
    right: [usize; 4],
    /// Of those, how many the structural check complained about.
    noticed: usize,
    /// A cut journal that ends like one that a crash cut: an earlier state is shown.
    earlier: usize,
}

enum Shown {
    Now { noticed: bool },
    Earlier,
}

/// Reads everything and searches. Panics on a wrong answer.
fn use_all(image: &Image, index: &Index, earlier_allowed: bool) -> Result<Shown> {
    let rows = read_all(index)?;
    let found = model_of(index)?;
    if earlier_allowed && found.fingerprint() != image.model.fingerprint() {
        let print = found.fingerprint();
        assert!(image.states.contains(&print), "{} rows are no state it ever was in", found.rows.len());
        for (query, _) in &image.answers {
            index.search(query, &search(), &Control::NONE)?;
            found.assert_search(index, query, &search(), "an earlier state");
        }
        return Ok(Shown::Earlier);
    }
    image.model.assert_same(&rows, "scanned");
    let ids: Vec<_> = image.model.rows.keys().cloned().collect();
    let by_id = index.get_many(&ids, ALL)?;
    assert!(
        by_id.into_iter().flatten().eq(ids.iter().map(|id| rows[id].clone())),
        "get_many differs from scan"
    );
    for (query, answer) in &image.answers {
        let hits = index.search(query, &search(), &Control::NONE)?;
        assert!(hits == *answer, "a search finds other rows");
    }
    let report = index.check(&Control::NONE)?;
    Ok(Shown::Now { noticed: !report.problems.is_empty() })
}

fn damage_all(kind: Kind, share: usize) {
    let began = Instant::now();
    let seed = seed();
    let trials = std::env::var("ASTEROID_DAMAGE").map_or(10_000, |count| count.parse().unwrap());
    // One flip in ten is a cut or a swap.
    let trials = trials * share / 100 * 10 / 9;
    let image = Image::make(kind, seed);
    let mut rng = Rng::new(seed ^ 0xda);
    let mut count = Count::default();
    let watch = Watch::new();
    let quiet_before = panics();
    for number in 0..trials {
        let (file, damage) = Damage::draw(&mut rng, &image, number);
        let what = format!(
            "ASTEROID_SEED={seed} {}: trial {number}: {damage:?} of {} in {}",
            image.name, image.files[file].used, image.files[file].name
        );
        let part = image.files[file].part;
        watch.see(&what);
        let earlier = !kind.closed && part == 3 && matches!(damage, Damage::Cut { .. });
        let trial = || match image.place() {
            None => open_in_memory(&image, file, &damage).and_then(|index| use_all(&image, &index, earlier)),
            Some(place) => {
                let path = place.dir.join(&image.files[file].name);
                let on_disk = OnDisk { path, image: &image, file };
                on_disk.apply(&damage);
                let request = OpenRequest {
                    options: Options { read_only: true, ..options() },
                    ..OpenRequest::default()
                };
                let database = open(&place, &request)?;
                use_all(&image, &database.index, earlier)
            }
        };
        match quiet(|| catch_unwind(AssertUnwindSafe(trial))) {
            Ok(Ok(Shown::Now { noticed })) => {
                count.right[part] += 1;
                count.noticed += usize::from(noticed);
            }
            Ok(Ok(Shown::Earlier)) => count.earlier += 1,
            Ok(Err(error)) => {
                assert_eq!(error.code(), Code::Corrupt, "{what}: {error}");
                let places = [
                    "manifest",
                    "graph.redb",
                    "key-value file",
                    "vector",
                    "journal",
                    "row ",
                    "slot ",
                    "store",
                ];
                let named = places.iter().any(|place| error.message().contains(place));
                assert!(named, "{what}: names neither file nor row: {error}");
                count.refused[part] += 1;
            }
            Err(panic) => panic!("{what}: {}", said(&*panic)),
        }
        count.trials += 1;
    }
    println!(
        "proof: damage: {}, {:?}: {count:?}, {} panics caught inside redb, {:?}",
        image.name,
        kind.store,
        panics() - quiet_before,
        began.elapsed()
    );
    assert!(trials < 100 || count.refused.iter().sum::<usize>() > trials / 10);
}

/// A file of a directory that is put back as it was.
struct OnDisk<'a> {
    path: PathBuf,
    image: &'a Image,
    file: usize,
}

impl OnDisk<'_> {
    fn apply(&self, damage: &Damage) {
        let file = asteroid_native_storage::FileBytes::open(&self.path, false).unwrap();
        damage.apply(&file).unwrap();
    }
}

impl Drop for OnDisk<'_> {
    fn drop(&mut self) {
        let whole = &self.image.files[self.file];
        let mut used = vec![0; whole.used as usize];
        whole.bytes.read_at(0, &mut used).unwrap();
        let file = asteroid_native_storage::FileBytes::open(&self.path, false).unwrap();
        file.write_at(0, &used).unwrap();
        file.set_len(whole.bytes.len().unwrap()).unwrap();
    }
}

/// Ends the process when one trial takes for ever.
struct Watch(Arc<Mutex<(Instant, String)>>);

impl Watch {
    fn new() -> Watch {
        let state = Arc::new(Mutex::new((Instant::now(), String::new())));
        let weak = Arc::downgrade(&state);
        std::thread::spawn(move || {
            while let Some(state) = weak.upgrade() {
                let (since, what) = state.lock().unwrap().clone();
                if since.elapsed() > Duration::from_secs(120) {
                    println!("{what}: hangs");
                    std::process::abort();
                }
                drop(state);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Watch(state)
    }

    fn see(&self, what: &str) {
        *self.0.lock().unwrap() = (Instant::now(), what.to_owned());
    }
}

/// Of the trials, this many in a hundred; RocksDB is always opened from a directory.
fn share(store: StoreKind, redb: usize, rocksdb: usize) -> usize {
    if store == StoreKind::RocksDb { rocksdb } else { redb }
}

fn a_closed_database_with_paged_vectors_answers_rightly_or_says_what_is_damaged(store: StoreKind) {
    let mapped = store == StoreKind::RocksDb;
    let kind = Kind { name: "paged, closed", store, storage: VectorStorage::Paged, closed: true, mapped };
    damage_all(kind, share(store, 35, 10));
}

fn a_killed_database_with_paged_vectors_answers_rightly_or_says_what_is_damaged(store: StoreKind) {
    let mapped = store == StoreKind::RocksDb;
    let kind = Kind { name: "paged, killed", store, storage: VectorStorage::Paged, closed: false, mapped };
    damage_all(kind, share(store, 40, 10));
}

fn a_closed_database_with_mapped_vectors_answers_rightly_or_says_what_is_damaged(store: StoreKind) {
    let storage = VectorStorage::Flat;
    let kind = Kind { name: "mapped, closed", store, storage, closed: true, mapped: true };
    damage_all(kind, share(store, 22, 3));
}

fn a_killed_database_with_mapped_vectors_answers_rightly_or_says_what_is_damaged(store: StoreKind) {
    let storage = VectorStorage::Flat;
    let kind = Kind { name: "mapped, killed", store, storage, closed: false, mapped: true };
    damage_all(kind, 3);
}

over_stores!(
    a_closed_database_with_paged_vectors_answers_rightly_or_says_what_is_damaged,
    a_killed_database_with_paged_vectors_answers_rightly_or_says_what_is_damaged,
    a_closed_database_with_mapped_vectors_answers_rightly_or_says_what_is_damaged,
    a_killed_database_with_mapped_vectors_answers_rightly_or_says_what_is_damaged,
);
