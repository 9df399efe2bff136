//! What the indexes of payloads cost: bytes per row and path, and writers' time.

use super::{Asked, open};
use asteroid_core::filter::terms::PathRules;
use asteroid_core::kv::{Flow, Kv, MemKv, Range, Space};
use asteroid_core::{Control, Index, Metric, Mode, Rows, Stores, bytes::MemBytes};
use asteroid_tests::data;
use asteroid_tests::pool::Threads;
use std::sync::Arc;
use std::time::Instant;

const BATCH: usize = 500;

pub(crate) fn run(asked: &Asked) {
    let count = asked.rows.min(33_000);
    let (Some(found), Some(texts)) = (data::movies(count, 1), data::movie_payloads(count)) else { return };
    let bytes: usize = texts.iter().map(String::len).sum();
    println!("\nmovies: {count} rows, payloads of {} bytes on average", bytes / count);
    println!(
        "| paths indexed | keys | bytes of entries per row | bytes of the store's file per row | bulkBuild s | insertMany of {BATCH}, s per 10,000 rows | setPayload, us |\n|---|---|---|---|---|---|---|"
    );
    let texts: Vec<Option<String>> = texts.into_iter().map(Some).collect();
    let only = |paths: &[&str]| PathRules {
        include: paths.iter().map(|path| path.to_string()).collect(),
        exclude: Vec::new(),
    };
    let mut none = None;
    for (name, rules) in [
        ("none", only(&["nothing"])),
        ("year", only(&["year"])),
        ("genres", only(&["genres"])),
        ("cast", only(&["cast"])),
        ("title", only(&["title"])),
        ("all four", PathRules::default()),
    ] {
        let (keys, entries) = in_store(&found, &texts, &rules);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("db");
        let started = Instant::now();
        let database = open(&dir, found.dim, Metric::Cosine, Some(rules.clone()));
        let rows = Rows { ids: None, vectors: &found.base, payloads: &texts };
        database.index.bulk_build(rows, &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
        database.index.close().unwrap();
        let bulk = started.elapsed().as_secs_f64();
        drop(database);
        let database = open(&dir, found.dim, Metric::Cosine, Some(rules.clone()));
        let file = database.index.stats().unwrap().kv_file_bytes;
        let bare = *none.get_or_insert(file);
        let part = count.min(10_000);
        let started = Instant::now();
        for row in 0..part as u64 {
            // Another row's payload: every term changes.
            let other = &texts[(row as usize + 1) % count];
            database.index.set_payload(&row.into(), other.as_deref()).unwrap();
        }
        database.index.flush().unwrap();
        let set = started.elapsed().as_secs_f64() / part as f64 * 1e6;
        let insert = inserting(&found, &texts, &rules, part);
        println!(
            "| {name} | {keys} | {:.1} | {:+.1} | {bulk:.2} | {insert:.2} | {set:.0} |",
            entries as f64 / count as f64,
            (file as f64 - bare as f64) / count as f64,
        );
    }
}

/// Keys, and bytes of keys and values, as a store gets them.
fn in_store(found: &data::DataSet, texts: &[Option<String>], rules: &PathRules) -> (u64, u64) {
    let kv = Arc::new(MemKv::default());
    let stores = Stores {
        kv: kv.clone(),
        vectors: Arc::new(MemBytes::default()),
        journal: Arc::new(MemBytes::default()),
    };
    let options = asteroid_core::Options { indexes: Some(rules.clone()), ..Default::default() };
    // One number per row is enough: only the payloads count here.
    let vectors: Vec<f32> = found.base.iter().step_by(found.dim).copied().collect();
    let db = Index::open(stores, asteroid_core::Config::new(1, Metric::L2), options).unwrap();
    let rows = Rows { ids: None, vectors: &vectors, payloads: texts };
    db.bulk_build(rows, &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
    db.close().unwrap();
    let (mut keys, mut bytes) = (0, 0);
    kv.view()
        .unwrap()
        .scan(Space::Postings, &Range::all(), &mut |key, value| {
            keys += 1;
            bytes += (key.len() + value.len()) as u64;
            Flow::Continue(())
        })
        .unwrap();
    (keys, bytes)
}

/// Seconds to insert 10,000 rows, checkpoint included.
fn inserting(found: &data::DataSet, texts: &[Option<String>], rules: &PathRules, part: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("db"), found.dim, Metric::Cosine, Some(rules.clone()));
    let pool = Threads::new(2);
    let started = Instant::now();
    for start in (0..part).step_by(BATCH) {
        let end = (start + BATCH).min(part);
        let vectors = &found.base[start * found.dim..end * found.dim];
        let rows = Rows { ids: None, vectors, payloads: &texts[start..end] };
        database.index.insert_many(rows, Mode::Insert, &pool, &Control::NONE).unwrap();
    }
    database.index.close().unwrap();
    started.elapsed().as_secs_f64() * 10_000.0 / part as f64
}
