//! One short list of words, written by one thread and copied by many without a lock.
//!
//! Words are atomics, so a torn copy is never undefined behaviour; the version tells that it was torn and the
//! reader copies again. The caller makes sure that only one thread writes a record at a time.

#[cfg(loom)]
use loom::{hint::spin_loop, sync::atomic};
#[cfg(not(loom))]
use std::{hint::spin_loop, sync::atomic};

use atomic::{Ordering, fence};

/// A word of a record.
pub(crate) type Word = atomic::AtomicU32;

/// Words of a record before its list: version, owner, length.
pub(crate) const HEAD: usize = 3;
const VERSION: usize = 0;
const OWNER: usize = 1;
const LEN: usize = 2;

/// Copies the list of `owner` into `out`; `false` where the record belongs to another.
pub(crate) fn read(record: &[Word], owner: u32, out: &mut Vec<u32>) -> bool {
    loop {
        let before = record[VERSION].load(Ordering::Acquire);
        if before & 1 == 1 {
            spin_loop();
            continue;
        }
        let theirs = record[OWNER].load(Ordering::Relaxed);
        let len = (record[LEN].load(Ordering::Relaxed) as usize).min(record.len() - HEAD);
        out.clear();
        out.extend(record[HEAD..HEAD + len].iter().map(|word| word.load(Ordering::Relaxed)));
        fence(Ordering::Acquire);
        if record[VERSION].load(Ordering::Relaxed) == before {
            return theirs == owner;
        }
    }
}

/// The record's owner, for its one writer.
pub(crate) fn owner(record: &[Word]) -> u32 {
    record[OWNER].load(Ordering::Relaxed)
}

/// How long the record's list is, for its one writer.
pub(crate) fn len(record: &[Word]) -> u32 {
    record[LEN].load(Ordering::Relaxed)
}

/// Replaces the record's owner and list. `list` is cut to the record's room.
pub(crate) fn write(record: &[Word], owner: u32, list: &[u32]) {
    let list = &list[..list.len().min(record.len() - HEAD)];
    let version = record[VERSION].load(Ordering::Relaxed);
    record[VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    record[OWNER].store(owner, Ordering::Relaxed);
    record[LEN].store(list.len() as u32, Ordering::Relaxed);
    for (word, &value) in record[HEAD..].iter().zip(list) {
        word.store(value, Ordering::Relaxed);
    }
    record[VERSION].store(version.wrapping_add(2), Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn copies_are_never_torn() {
        let record: Vec<Word> = (0..HEAD + 16).map(|_| Word::new(0)).collect();
        write(&record, 9, &[0; 16]);
        let times = if cfg!(miri) { 100 } else { 20_000 };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 1..times {
                    write(&record, 9, &vec![i; 1 + i as usize % 16]);
                }
            });
            let mut out = Vec::new();
            for _ in 0..times {
                assert!(read(&record, 9, &mut out));
                let first = out[0];
                assert!(out.iter().all(|&word| word == first), "{out:?}");
                assert!(first == 0 || out.len() == 1 + first as usize % 16);
            }
        });
        assert!(!read(&record, 8, &mut Vec::new()));
    }
}

/// Every order in which two threads can meet, with all that the memory model allows: `npm run test:loom`.
#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    /// As many changes of thread as it takes to go wrong, and then some: each more takes ten times as long.
    fn orders(of: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(of);
    }

    fn record(words: usize) -> Arc<Vec<Word>> {
        let record: Vec<Word> = (0..HEAD + words).map(|_| Word::new(0)).collect();
        write(&record, 9, &vec![1; words]);
        Arc::new(record)
    }

    #[test]
    fn a_copy_is_of_one_write() {
        orders(|| {
            let record = record(2);
            let ours = Arc::clone(&record);
            let writer = thread::spawn(move || {
                write(&ours, 9, &[2, 2]);
                write(&ours, 9, &[3, 3]);
            });
            let mut out = Vec::new();
            assert!(read(&record, 9, &mut out));
            assert!(matches!(out[..], [a, b] if a == b), "{out:?}");
            writer.join().unwrap();
            assert!(read(&record, 9, &mut out) && out == [3, 3]);
        });
    }

    #[test]
    fn a_copy_is_never_of_another_owner() {
        orders(|| {
            let record = record(1);
            let ours = Arc::clone(&record);
            let writer = thread::spawn(move || write(&ours, 8, &[2]));
            let mut out = Vec::new();
            if read(&record, 9, &mut out) {
                assert_eq!(out, [1]);
            }
            if read(&record, 8, &mut out) {
                assert_eq!(out, [2]);
            }
            writer.join().unwrap();
            assert!(!read(&record, 9, &mut out));
        });
    }
}
