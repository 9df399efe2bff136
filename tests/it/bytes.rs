//! The contract of `Bytes` over every implementation, and what each promises besides.

use asteroid_core::Code;
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_native_storage::{CowBytes, FileBytes};
use asteroid_tests::bytes::all;
use asteroid_tests::bytes_sentences;
use asteroid_tests::sim::SimDisk;
use std::sync::Arc;

/// Something to test, with what must outlive it.
struct Made {
    bytes: Arc<dyn Bytes + Send + Sync>,
    _dir: Option<tempfile::TempDir>,
}

fn made(bytes: impl Bytes + Send + Sync + 'static) -> Made {
    Made { bytes: Arc::new(bytes), _dir: None }
}

fn file() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let bytes = FileBytes::open(&dir.path().join("file"), true).unwrap();
    Made { bytes: Arc::new(bytes), _dir: Some(dir) }
}

fn cow() -> Made {
    made(CowBytes::new(Arc::new(MemBytes::default())).unwrap())
}

fn sim() -> Made {
    Made { bytes: SimDisk::new().open("file"), _dir: None }
}

macro_rules! suite {
    ($backend:ident: $($sentence:ident)*) => {
        mod $backend {
            $(#[test]
            fn $sentence() {
                asteroid_tests::bytes::$sentence(&*super::$backend().bytes);
            })*
        }
    };
}

fn mem() -> Made {
    made(MemBytes::default())
}

bytes_sentences!(suite mem);
bytes_sentences!(suite file);
bytes_sentences!(suite cow);
bytes_sentences!(suite sim);

#[test]
fn what_a_file_synced_another_handle_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let one = FileBytes::open(&path, true).unwrap();
    one.write_at(5000, b"end").unwrap();
    one.sync().unwrap();
    let other = FileBytes::open_read_only(&path).unwrap();
    assert_eq!(all(&one), all(&other));
}

#[test]
fn a_read_only_file_refuses_writes_and_a_missing_one_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    assert_eq!(FileBytes::open_read_only(&path).unwrap_err().code(), Code::Io);
    assert_eq!(FileBytes::open(&path, false).unwrap_err().code(), Code::Io);
    std::fs::write(&path, b"text").unwrap();
    let file = FileBytes::open_read_only(&path).unwrap();
    for refused in [file.write_at(0, b"x"), file.set_len(0)] {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::ReadOnly);
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
    file.sync().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
}

#[test]
fn a_truncated_file_is_corrupt_by_name_and_never_mapped_past_its_end() {
    let file = file();
    file.bytes.write_at(0, &[1; 8192]).unwrap();
    let error = file.bytes.read_at(8000, &mut [0; 500]).unwrap_err();
    assert!(error.message().contains("file is truncated"), "{error}");
    for (offset, len) in [(0, 8193), (4096, 8192), (8192, 1), (1 << 40, 4096)] {
        let refused = file.bytes.map(offset, len).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), Code::Corrupt, "mapping {len} at {offset}");
    }
    assert_eq!(file.bytes.map(0, 8192).unwrap().unwrap().bytes(), &[1; 8192]);
}

#[test]
fn a_mapping_outlives_its_file_handle() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = FileBytes::open(&dir.path().join("file"), true).unwrap();
    bytes.write_at(0, &[3; 4096]).unwrap();
    let map = bytes.map(0, 4096).unwrap().unwrap();
    drop(bytes);
    assert_eq!(map.bytes(), &[3; 4096]);
}

#[test]
fn an_overlay_never_changes_its_base() {
    let base = Arc::new(MemBytes::new(vec![9; 10_000]));
    let over = CowBytes::new(base.clone()).unwrap();
    over.write_at(4000, &[1; 200]).unwrap();
    over.set_len(4050).unwrap();
    over.set_len(12_000).unwrap();
    let read = all(&over);
    assert!(read[..4000].iter().all(|&byte| byte == 9));
    assert!(read[4000..4050].iter().all(|&byte| byte == 1));
    assert!(read[4050..].iter().all(|&byte| byte == 0), "a cut hides the base for good");
    assert_eq!(base.to_vec(), vec![9; 10_000]);
}

#[test]
fn an_overlay_maps_what_was_not_written_and_then_keeps_it_unwritten() {
    let file = file();
    file.bytes.write_at(0, &[1; 16_384]).unwrap();
    let over = CowBytes::new(file.bytes.clone()).unwrap();
    over.write_at(4096, b"x").unwrap();
    assert!(over.map(0, 8192).unwrap().is_none());
    assert_eq!(over.map(8192, 4096).unwrap().unwrap().bytes(), &[1; 4096]);
    assert_eq!(over.write_at(12_000, &[2; 1000]).unwrap_err().code(), Code::ReadOnly);
    over.write_at(12_288, &[2; 10]).unwrap();
}

#[test]
fn a_simulated_power_cut_keeps_what_was_synced_and_any_subset_of_the_rest() {
    let disk = SimDisk::new();
    let file = disk.open("file");
    file.write_at(0, &[1; 1024]).unwrap();
    file.sync().unwrap();
    file.write_at(0, &[2; 2048]).unwrap();
    file.set_len(4096).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let found = all(&*disk.after_power_cut(4, seed).open("file"));
        for sector in found.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
        }
        assert!(found[..1024].iter().all(|&byte| byte == 1 || byte == 2));
        seen.insert((found.len(), found.iter().step_by(512).copied().collect::<Vec<_>>()));
        assert_eq!(all(&*disk.after_power_cut(2, seed).open("file")), vec![1; 1024]);
    }
    assert!(seen.len() > 8, "only {} outcomes", seen.len());
    assert!(seen.iter().any(|(len, _)| *len == 1024) && seen.iter().any(|(len, _)| *len == 4096));
}

#[test]
fn a_simulated_kill_keeps_every_operation_and_a_part_of_the_last() {
    let disk = SimDisk::new();
    let (a, b) = (disk.open("a"), disk.open("b"));
    a.write_at(0, b"aaaa").unwrap();
    b.write_at(0, b"bbbb").unwrap();
    assert_eq!(disk.ops(), 2);
    assert_eq!(all(&*disk.after_kill(0).open("a")), b"");
    let one = disk.after_kill(1);
    assert_eq!((all(&*one.open("a")), all(&*one.open("b"))), (b"aaaa".to_vec(), vec![]));
    let parts: std::collections::BTreeSet<Vec<u8>> =
        (0..50).map(|seed| all(&*disk.after_kill_inside(1, seed).open("b"))).collect();
    assert!(parts.len() == 5 && parts.contains(&b"bb"[..]), "{parts:?}");
}

#[test]
fn a_failed_write_leaves_a_part_and_nothing_outside_its_range() {
    for n in 0..20 {
        let disk = SimDisk::new();
        let file = disk.open("file");
        for _ in 0..=n {
            file.write_at(0, &[1; 300]).unwrap();
        }
        disk.fail_at(n + 1, Code::StorageFull, true);
        assert_eq!(file.write_at(100, &[2; 100]).unwrap_err().code(), Code::StorageFull);
        let found = all(&*file);
        assert!(found[..100].iter().chain(&found[200..]).all(|&byte| byte == 1));
        file.write_at(100, &[3; 100]).unwrap();
    }
}
