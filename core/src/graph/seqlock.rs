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
/// Bits of a packed value besides its highest, and a value that has them all.
const PACKED_BITS: u32 = 23;
const LOW: u32 = (1 << PACKED_BITS) - 1;

/// Copies the list of `owner` into `out`; `false` where the record belongs to another.
pub(crate) fn read(record: &[Word], owner: u32, out: &mut Vec<u32>) -> bool {
    read_with(record, owner, &mut |words, len| {
        let len = len.min(words.len());
        out.clear();
        out.extend(words[..len].iter().map(|word| word.load(Ordering::Relaxed)));
    })
}

/// [`read`] of what [`write_packed`] wrote.
pub(crate) fn read_packed(record: &[Word], owner: u32, out: &mut Vec<u32>) -> bool {
    read_with(record, owner, &mut |words, len| {
        let len = len.min(words.len() / 3 * 4);
        out.resize(len.next_multiple_of(4), 0);
        for (four, three) in out.chunks_exact_mut(4).zip(words.chunks_exact(3)) {
            let [a, b, c] = [0, 1, 2].map(|i| three[i].load(Ordering::Relaxed));
            let packed = [a, a >> 24 | b << 8, b >> 16 | c << 16, c >> 8];
            for (value, packed) in four.iter_mut().zip(packed) {
                *value = packed & LOW | (packed & (LOW + 1)) << (31 - PACKED_BITS);
            }
        }
        out.truncate(len);
    })
}

fn read_with(record: &[Word], owner: u32, copy: &mut impl FnMut(&[Word], usize)) -> bool {
    loop {
        let before = record[VERSION].load(Ordering::Acquire);
        if before & 1 == 1 {
            spin_loop();
            continue;
        }
        let theirs = record[OWNER].load(Ordering::Relaxed);
        copy(&record[HEAD..], record[LEN].load(Ordering::Relaxed) as usize);
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
    write_with(record, owner, list.len(), list.iter().copied());
}

/// [`write`] in three quarters of the words, for values that [`is_packable`] says this of.
pub(crate) fn write_packed(record: &[Word], owner: u32, list: &[u32]) {
    let list = &list[..list.len().min((record.len() - HEAD) / 3 * 4)];
    let words = list.chunks(4).flat_map(|four| {
        let packed = |i: usize| four.get(i).map_or(0, |value| value & LOW | value >> 31 << PACKED_BITS);
        let [a, b, c, d] = [0, 1, 2, 3].map(packed);
        [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8]
    });
    write_with(record, owner, list.len(), words);
}

/// Words that a record for [`write_packed`] has for a list of so many values.
pub(crate) const fn packed_words(len: usize) -> usize {
    len.div_ceil(4) * 3
}

/// Whether a value keeps its highest bit and all others that are set in three bytes.
pub(crate) const fn is_packable(value: u32) -> bool {
    value & !(1 << 31) <= LOW
}

fn write_with(record: &[Word], owner: u32, len: usize, words: impl Iterator<Item = u32>) {
    let version = record[VERSION].load(Ordering::Relaxed);
    record[VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    record[OWNER].store(owner, Ordering::Relaxed);
    record[LEN].store(len as u32, Ordering::Relaxed);
    for (word, value) in record[HEAD..].iter().zip(words) {
        word.store(value, Ordering::Relaxed);
    }
    record[VERSION].store(version.wrapping_add(2), Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn packed_values_come_back() {
        let mut out = vec![7; 50];
        for len in 0..=20 {
            let record: Vec<Word> = (0..HEAD + packed_words(17)).map(|_| Word::new(u32::MAX - 1)).collect();
            let list: Vec<u32> = (0..len)
                .map(|i| [0, LOW, 1 << 31, LOW | 1 << 31, 0x12_3456 | i << 31][i as usize % 5])
                .collect();
            assert!(list.iter().all(|&value| is_packable(value)));
            write_packed(&record, 3, &list);
            assert!(read_packed(&record, 3, &mut out) && !read_packed(&record, 4, &mut Vec::new()));
            assert_eq!(out, list, "{len}");
        }
        assert!(!is_packable(LOW + 1) && !is_packable(1 << 30));
    }

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
