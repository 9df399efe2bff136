//! A whole database as one stream of bytes, to be opened anywhere: [`Export`] makes it, [`Import`] takes it in.
//!
//! Nothing in it depends on the host, the store or how vectors lie: what is stored is written entry by entry, every
//! slot, tombstone and link included, so that an import answers every search as the original does, and the export of an
//! import is the same file again.
//!
//! The layout, all numbers little-endian unless said otherwise:
//!
//! - The preamble: `ASTEXPRT`, the version (u32), and the CRC-32C of these twelve bytes (u32). It stays in every
//!   version, so that a newer file is told from a damaged one.
//! - Frames: a kind (u8), the length of the body (u32, at most 4 MiB), a CRC-32C (u32), the body. The checksum goes on
//!   from that of the frame before (the first from the preamble's) over kind, length and body, so that no frame can be
//!   lost, repeated or moved.
//!
//! | kind | body | frames |
//! |---|---|---|
//! | 1 header | the manifest (48 bytes, naming the store `memory`), the counters (32 bytes), the number of keyed entries (u64), the length of the whole file (u64) | first, one |
//! | 2 keyed | a key space (u8), then entries: length, key, length, value; lengths are LEB128 | spaces ascend, keys ascend in each; the counters are not among them |
//! | 3 vectors | the first slot (u32), then rows of `dim` f32 | slots follow each other, from 0 to the header's last |
//! | 4 end | the number of keyed entries (u64), the number of rows of vectors (u32) | last, one; nothing follows |
//!
//! A row of bits that are all set stands for one that a given-up write never brought to the file, or that was swept; its
//! slot is dead.

mod read;
mod write;

pub use read::{ExportHeader, Import};
pub use write::Export;

/// The newest version of the file that this software writes and reads.
pub const EXPORT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"ASTEXPRT";
const PREAMBLE: usize = 16;
/// Kind, length and checksum of a frame.
const HEAD: usize = 9;
/// The body at which a frame is closed, and what no body exceeds: one entry more, with room for later.
const TARGET: usize = 256 << 10;
const MOST: usize = 4 << 20;
/// Every number of a row that is not there.
const ABSENT: u32 = u32::MAX;

const HEADER: u8 = 1;
const KEYED: u8 = 2;
const VECTORS: u8 = 3;
const END: u8 = 4;

/// The first bytes of a file, and the checksum that the frames go on from.
fn preamble() -> ([u8; PREAMBLE], u32) {
    let mut out = [0; PREAMBLE];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&EXPORT_VERSION.to_le_bytes());
    let sum = crate::checksum::crc32c(&out[..12]);
    out[12..].copy_from_slice(&sum.to_le_bytes());
    (out, sum)
}

/// The checksum of a frame that follows one with checksum `last`.
fn chained(last: u32, kind: u8, body: &[u8]) -> u32 {
    let mut head = [kind; 5];
    head[1..].copy_from_slice(&(body.len() as u32).to_le_bytes());
    crate::checksum::crc32c_append(crate::checksum::crc32c_append(last, &head), body)
}

/// Rows in a full frame of vectors.
fn rows_per_frame(dim: u32) -> u32 {
    (TARGET as u32 / (4 * dim)).max(1)
}
