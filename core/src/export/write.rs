//! [`Export`]: a committed state on its way out.

use super::{ABSENT, END, HEAD, HEADER, KEYED, PREAMBLE, TARGET, VECTORS, chained, preamble, rows_per_frame};
use crate::index::meta::{self, Meta};
use crate::kv::batch::put_bytes;
use crate::kv::{Flow, Kv, Range, Read, Space, slot_of};
use crate::vectors::FrozenRows;
use crate::{Control, Error, Index, Manifest, Result, Slot, StoreKind, varint};
use roaring::RoaringBitmap;
use self_cell::self_cell;
use std::sync::Arc;

/// Chunks are at most about this long; an entry larger than a frame makes a longer one.
const CHUNK: usize = 1 << 20;
/// Entries between two looks at whether the caller gave up.
const STRIDE: u64 = 4096;

type Shared = Arc<dyn Kv + Send + Sync>;
type View<'a> = Box<dyn Read + 'a>;

self_cell!(
    /// A view and the store it looks at.
    struct Frozen {
        owner: Shared,
        #[covariant]
        dependent: View,
    }
);

/// One committed state of a database as a file in pieces; made by [`Index::export`].
///
/// Holds a view of the store for as long as it lives: other calls go on, but what they replace keeps its space on disk
/// until then. It must not outlive the database it was made of.
pub struct Export {
    view: Frozen,
    rows: Arc<FrozenRows>,
    manifest: Vec<u8>,
    dim: u32,
    meta: Meta,
    measured: Option<Measured>,
    crc: u32,
    at: At,
}

/// What one pass over the store tells before the first byte is written.
struct Measured {
    entries: u64,
    bytes: u64,
    dead: RoaringBitmap,
}

/// What comes next.
enum At {
    Preamble,
    Keyed(usize, Range),
    Vectors(Slot),
    End,
    Done,
}

impl Export {
    /// `kv` must hold all of the state, and `rows` its vectors.
    pub(crate) fn new(
        index: &Index,
        kv: Shared,
        rows: impl FnOnce(Slot) -> Arc<FrozenRows>,
    ) -> Result<Export> {
        let view = Frozen::try_new(kv, |kv| kv.view())?;
        let meta = Meta::read(&**view.borrow_dependent())?;
        // Writes are numbered anew at the other end, as after a bulk build.
        let meta = Meta { applied: meta.applied.min(1), ..meta };
        let manifest = Manifest { store: StoreKind::Memory, config: index.config().clone() };
        Ok(Export {
            view,
            rows: rows(meta.next),
            manifest: manifest.encode(),
            dim: index.config().dim,
            meta,
            measured: None,
            crc: 0,
            at: At::Preamble,
        })
    }

    /// Rows that a search of the exported state can find.
    pub fn rows(&self) -> u64 {
        self.meta.live
    }

    /// The length of the whole file in bytes. One pass over everything keyed, the first time it is asked; fails with
    /// `ABORTED` where `control` says so.
    pub fn measure(&mut self, control: &Control<'_>) -> Result<u64> {
        if let Some(measured) = &self.measured {
            return Ok(measured.bytes);
        }
        let view = self.view.borrow_dependent();
        let (mut entries, mut bytes) = (0u64, (PREAMBLE + HEAD + self.manifest.len() + 48) as u64);
        let mut dead = RoaringBitmap::new();
        let mut failed = Ok(());
        for space in Space::ALL {
            let mut body = 0;
            view.scan(space, &Range::all(), &mut |key, value| {
                if is_counters(space, key) {
                    return Flow::Continue(());
                }
                body = body.max(1) + entry_bytes(key, value);
                entries += 1;
                if body >= TARGET {
                    bytes += (HEAD + std::mem::take(&mut body)) as u64;
                }
                if space == Space::Dead {
                    failed = slot_of(key).map(|slot| dead.extend([slot]));
                }
                if failed.is_ok() && entries.is_multiple_of(STRIDE) {
                    failed = control.check();
                }
                if failed.is_ok() { Flow::Continue(()) } else { Flow::Break(()) }
            })?;
            std::mem::replace(&mut failed, Ok(()))?;
            if body > 0 {
                bytes += (HEAD + body) as u64;
            }
        }
        // Slots of a write that was given up. Once they are said to be dead, they are like any other.
        let given_up = self.meta.committed..self.meta.next;
        if dead.contains_range(given_up.clone()) {
            self.meta.committed = self.meta.next;
        }
        dead.insert_range(given_up);
        let slots = u64::from(self.meta.next);
        let frames = slots.div_ceil(u64::from(rows_per_frame(self.dim)));
        bytes += frames * (HEAD as u64 + 4) + slots * 4 * u64::from(self.dim) + HEAD as u64 + 12;
        self.measured = Some(Measured { entries, bytes, dead });
        Ok(bytes)
    }

    /// Replaces `out` by the next piece, about 1 MiB of it; false, and nothing in `out`, after the last one.
    ///
    /// `index` is the one it was made of. `CLOSED` once that is closed, `CORRUPT` where stored bytes are damaged.
    pub fn next_chunk(&mut self, index: &Index, out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        self.measure(&Control::NONE)?;
        while out.len() + TARGET <= CHUNK && !matches!(self.at, At::Done) {
            self.next_frame(index, out)?;
        }
        Ok(!out.is_empty())
    }

    fn next_frame(&mut self, index: &Index, out: &mut Vec<u8>) -> Result<()> {
        let Some(Measured { entries, bytes, dead }) = &self.measured else { return Ok(()) };
        let first = match &self.at {
            At::Preamble => {
                let (preamble, sum) = preamble();
                out.extend_from_slice(&preamble);
                self.crc = sum;
                out.len()
            }
            _ => out.len(),
        };
        out.resize(first + HEAD, 0);
        let (kind, next) = match &mut self.at {
            At::Preamble => {
                out.extend_from_slice(&self.manifest);
                out.extend_from_slice(&self.meta.encode());
                out.extend_from_slice(&entries.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
                (HEADER, At::Keyed(0, Range::all()))
            }
            At::Keyed(at, range) => {
                let Some(&space) = Space::ALL.get(*at) else {
                    out.truncate(first);
                    self.at = At::Vectors(0);
                    return Ok(());
                };
                match put_entries(&**self.view.borrow_dependent(), space, range, out)? {
                    Some(last) => (KEYED, At::Keyed(*at, Range::from([&*last, &[0]].concat()))),
                    None if out.len() == first + HEAD => {
                        out.truncate(first);
                        self.at = At::Keyed(*at + 1, Range::all());
                        return Ok(());
                    }
                    None => (KEYED, At::Keyed(*at + 1, Range::all())),
                }
            }
            At::Vectors(slot) if *slot < self.meta.next => {
                let count = rows_per_frame(self.dim).min(self.meta.next - *slot);
                out.extend_from_slice(&slot.to_le_bytes());
                let lost = |slot| dead.contains(slot).then_some(ABSENT);
                index.copy_rows(&self.rows, *slot, count, &lost, out)?;
                (VECTORS, At::Vectors(*slot + count))
            }
            At::Vectors(_) => {
                out.truncate(first);
                self.at = At::End;
                return Ok(());
            }
            At::End => {
                out.extend_from_slice(&entries.to_le_bytes());
                out.extend_from_slice(&self.meta.next.to_le_bytes());
                (END, At::Done)
            }
            At::Done => {
                out.truncate(first);
                return Ok(());
            }
        };
        self.at = next;
        let body = &out[first + HEAD..];
        let len = u32::try_from(body.len()).ok().filter(|&len| len as usize <= super::MOST);
        let len = len.ok_or_else(|| Error::corrupt("an entry of the store is too large to be sound"))?;
        self.crc = chained(self.crc, kind, body);
        out[first] = kind;
        out[first + 1..first + 5].copy_from_slice(&len.to_le_bytes());
        out[first + 5..first + HEAD].copy_from_slice(&self.crc.to_le_bytes());
        Ok(())
    }
}

/// The counters travel in the header.
pub(super) fn is_counters(space: Space, key: &[u8]) -> bool {
    space == Space::Meta && key == meta::KEY
}

fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    let sized = |bytes: &[u8]| varint::len(bytes.len() as u64) + bytes.len();
    sized(key) + sized(value)
}

/// Appends a body of entries from `range`; nothing where there are none. The last key where there may be more.
fn put_entries(view: &dyn Read, space: Space, range: &Range, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let start = out.len();
    let mut last = None;
    view.scan(space, range, &mut |key, value| {
        if is_counters(space, key) {
            return Flow::Continue(());
        }
        if out.len() == start {
            out.push(space as u8);
        }
        put_bytes(out, key);
        put_bytes(out, value);
        if out.len() - start < TARGET {
            return Flow::Continue(());
        }
        last = Some(key.to_vec());
        Flow::Break(())
    })?;
    Ok(last)
}
