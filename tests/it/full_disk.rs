//! A whole database on a real disk that fills up: said by its code, nothing acknowledged lost, and on it goes with room.

use crate::model_on_disk::{config, open_at};
use asteroid_core::{Code, Durability, Metric, Mode, Options, StoreKind, VectorStorage};
use asteroid_native_storage::Place;
use asteroid_tests::files::Mount;
use asteroid_tests::model::{Model, Write, assert_sound, model_of, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::workload::{self, Shape};
use std::fs;

const SHAPE: Shape = Shape { dim: 8, metric: Metric::L2, rows: 20_000, most: 20, wrong: 0 };

/// Rows that fill a disk soon: their payloads do not compress.
fn heavy(rng: &mut Rng) -> Write {
    let count = rng.below(150) + 1;
    let vectors = (0..count).flat_map(|_| workload::vector(rng, &SHAPE)).collect();
    let text = |rng: &mut Rng| (0..100).map(|_| format!("{:016x}", rng.word())).collect::<String>();
    let payloads = (0..count).map(|_| Some(format!("{{\"text\":\"{}\"}}", text(rng)))).collect();
    Write::Many(None, vectors, payloads, Mode::Insert)
}

over_stores!(a_full_disk_is_said_loses_nothing_acknowledged_and_is_got_over);

fn a_full_disk_is_said_loses_nothing_acknowledged_and_is_got_over(store: StoreKind) {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let pool = Threads::new(1);
    // More or less room is left for what comes after the journal: it runs out here or there.
    for (round, megabytes) in [10, 11, 12, 13, 14, 16].into_iter().enumerate() {
        let base = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let Some(mount) = Mount::new(base.path(), &["-t", "tmpfs", "-o", &size, "tmpfs"]) else { return };
        let what = format!("ASTEROID_SEED={seed} {store:?} {megabytes} MiB");
        let ballast = base.path().join("ballast");
        fs::write(&ballast, vec![1; 4 << 20]).unwrap();
        let place = Place { dir: base.path().join("db"), vector_file: None };
        let durability = if round % 2 == 0 { Durability::Buffered } else { Durability::Sync };
        let open = || {
            let options = Options {
                cache_bytes: 4 << 20,
                paged_max_cached_pages: Some(1),
                durability,
                ..Options::default()
            };
            open_at(&place, store, &config(SHAPE.metric, VectorStorage::Paged), options)
        };
        let database = open().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut model = Model::new(SHAPE.dim, SHAPE.metric);
        let (mut calls, mut refused) = (0, 0);
        // What is refused may be tried again, until a call says that nothing can be written any more.
        let mut perhaps = None;
        while refused < 10 {
            let mut next = model.clone();
            let write =
                if rng.chance(70) { heavy(&mut rng) } else { workload::write(&mut rng, &SHAPE, &model) };
            let want = next.apply(&write);
            match run(&database.index, &write, &pool) {
                Ok(count) => {
                    assert_eq!(Ok(count), want, "{what}: call {calls}");
                    model = next;
                }
                Err(error) if want == Err(error.code()) => {}
                Err(error) => {
                    let poisoned = error.code() == Code::Poisoned;
                    assert!(poisoned || error.code() == Code::StorageFull, "{what}: {error}");
                    assert!(!poisoned || refused > 0, "{what}: the first refusal names its reason: {error}");
                    refused += 1;
                    if database.index.flush().is_err_and(|error| error.code() == Code::Poisoned) {
                        // The call that poisoned may be whole in the journal; it was never acknowledged.
                        perhaps = Some(next);
                        break;
                    }
                    model.assert_equals(&database.index, &what);
                }
            }
            calls += 1;
            assert!(calls < 5000, "{what}: a full disk went unnoticed");
        }
        assert!(refused > 0, "{what}");
        let among = |print: u64| {
            print == model.fingerprint() || perhaps.as_ref().is_some_and(|next| next.fingerprint() == print)
        };
        // Readers go on, or say why not.
        match model_of(&database.index) {
            Ok(shown) => assert!(among(shown.fingerprint()), "{what}: readers see something else"),
            Err(error) => assert_eq!(error.code(), Code::Poisoned, "{what}: {error}"),
        }
        drop(database);
        fs::remove_file(&ballast).unwrap();
        let database = open().unwrap_or_else(|error| panic!("{what}: opened with room: {error}"));
        let mut found = model_of(&database.index).unwrap();
        assert!(among(found.fingerprint()), "{what}: {} rows of {}", found.rows.len(), model.rows.len());
        assert_sound(&database.index, &what);
        let kept = perhaps.filter(|next| next.fingerprint() == found.fingerprint());
        found.next_id = kept.map_or(model.next_id, |next| next.next_id);
        for _ in 0..5 {
            let write = workload::write(&mut rng, &Shape { most: 20, ..SHAPE }, &found);
            let want = found.apply(&write);
            assert_eq!(run(&database.index, &write, &pool).map_err(|error| error.code()), want, "{what}");
        }
        assert_sound(&database.index, &what);
        println!("{what}: full after {calls} calls and {} rows, {refused} refused", model.rows.len());
        drop(database);
        drop(mount);
    }
}
