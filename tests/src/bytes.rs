//! The contract of `Bytes`, sentence by sentence, for every implementation on every host.

use crate::rng::{Rng, seed};
use asteroid_core::Code;
use asteroid_core::bytes::Bytes;

/// Gives the names of all sentences to a macro, after what else it is to be given.
#[macro_export]
macro_rules! bytes_sentences {
    ($use:ident $($before:ident)?) => {
        $use! { $($before:)?
            reads_fill_the_buffer_or_fail_with_corrupt
            bytes_written_are_read_back_before_any_sync
            writing_past_the_end_grows_and_the_gap_reads_as_zeros
            set_len_cuts_or_grows_with_zeros
            syncing_changes_nothing_that_is_read
            a_mapping_shows_its_range_and_later_writes
            it_behaves_like_a_vector
        }
    };
}

macro_rules! table {
    ($($sentence:ident)*) => {
        /// All sentences with their names. Each wants an empty file.
        pub const SENTENCES: &[(&str, fn(&dyn Bytes))] = &[$((stringify!($sentence), $sentence)),*];
    };
}

bytes_sentences!(table);

/// Everything in it.
pub fn all(bytes: &dyn Bytes) -> Vec<u8> {
    let mut out = vec![0; bytes.len().unwrap() as usize];
    bytes.read_at(0, &mut out).unwrap();
    out
}

/// Reads fill the buffer or fail with corrupt.
pub fn reads_fill_the_buffer_or_fail_with_corrupt(bytes: &dyn Bytes) {
    bytes.write_at(0, b"abcdef").unwrap();
    let mut out = [0; 4];
    bytes.read_at(2, &mut out).unwrap();
    assert_eq!(&out, b"cdef");
    for offset in [3, 6, 7, 1 << 40, u64::MAX - 2] {
        assert_eq!(bytes.read_at(offset, &mut out).unwrap_err().code(), Code::Corrupt, "at {offset}");
    }
    bytes.read_at(6, &mut []).unwrap();
}

/// Bytes written are read back before any sync.
pub fn bytes_written_are_read_back_before_any_sync(bytes: &dyn Bytes) {
    bytes.write_at(0, &[1; 10_000]).unwrap();
    bytes.write_at(4090, &[2; 20]).unwrap();
    let mut out = [0; 24];
    bytes.read_at(4088, &mut out).unwrap();
    assert_eq!(out[..2], [1; 2]);
    assert_eq!(out[2..22], [2; 20]);
    assert_eq!(out[22..], [1; 2]);
}

/// Writing past the end grows and the gap reads as zeros.
pub fn writing_past_the_end_grows_and_the_gap_reads_as_zeros(bytes: &dyn Bytes) {
    assert!(bytes.is_empty().unwrap());
    bytes.write_at(3, b"x").unwrap();
    bytes.write_at(9000, b"y").unwrap();
    assert_eq!(bytes.len().unwrap(), 9001);
    let mut want = vec![0; 9001];
    want[3] = b'x';
    want[9000] = b'y';
    assert_eq!(all(bytes), want);
}

/// Set len cuts or grows with zeros.
pub fn set_len_cuts_or_grows_with_zeros(bytes: &dyn Bytes) {
    bytes.write_at(0, &[7; 10_000]).unwrap();
    bytes.set_len(5000).unwrap();
    assert_eq!(bytes.len().unwrap(), 5000);
    bytes.set_len(9000).unwrap();
    let read = all(bytes);
    assert!(read[..5000].iter().all(|&byte| byte == 7));
    assert!(read[5000..].iter().all(|&byte| byte == 0), "what was cut stays gone");
    bytes.set_len(0).unwrap();
    assert!(bytes.is_empty().unwrap());
}

/// Syncing changes nothing that is read.
pub fn syncing_changes_nothing_that_is_read(bytes: &dyn Bytes) {
    bytes.write_at(0, b"kept").unwrap();
    bytes.sync().unwrap();
    bytes.sync().unwrap();
    assert_eq!(all(bytes), b"kept");
}

/// A mapping shows its range and later writes.
pub fn a_mapping_shows_its_range_and_later_writes(bytes: &dyn Bytes) {
    bytes.write_at(0, &[1; 12_288]).unwrap();
    if let Some(map) = bytes.map(4096, 8192).unwrap() {
        assert_eq!(map.bytes(), &[1; 8192]);
        bytes.write_at(4100, b"new").unwrap();
        assert_eq!(&map.bytes()[4..7], b"new");
    }
}

/// It behaves like a vector.
///
/// Random calls against a plain vector.
pub fn it_behaves_like_a_vector(bytes: &dyn Bytes) {
    let mut rng = Rng::new(seed());
    let mut model: Vec<u8> = Vec::new();
    for _ in 0..500 {
        let at = rng.below(20_000) as usize;
        match rng.below(10) {
            0 => {
                model.resize(at, 0);
                bytes.set_len(at as u64).unwrap();
            }
            1..5 => {
                let len = [1, 100, 5000][rng.below(3) as usize];
                let data = rng.bytes(len);
                model.resize(model.len().max(at + data.len()), 0);
                model[at..at + data.len()].copy_from_slice(&data);
                bytes.write_at(at as u64, &data).unwrap();
            }
            _ => {
                let mut out = vec![0; rng.below(9000) as usize];
                match model.get(at..at + out.len()) {
                    Some(want) => {
                        bytes.read_at(at as u64, &mut out).unwrap();
                        assert!(out == want);
                    }
                    None => {
                        assert_eq!(bytes.read_at(at as u64, &mut out).unwrap_err().code(), Code::Corrupt);
                    }
                }
            }
        }
        assert_eq!(bytes.len().unwrap(), model.len() as u64);
    }
    assert!(all(bytes) == model);
}
