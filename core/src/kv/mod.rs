//! The ordered key-value seam: [`Read`], [`Kv`], and the [`Batch`] they exchange.
//!
//! Synchronous on purpose: a search touches hundreds of keys, most of them cached, and a poll per read
//! would cost more than the read. Asynchronous hosts block at the edge, or answer [`Synced::Pending`].

pub(crate) mod batch;
pub mod links;
mod mem;
pub mod postings;
#[cfg(not(target_family = "wasm"))]
mod short;
pub mod upper;

pub use batch::{Batch, Op};
pub use mem::MemKv;
#[cfg(not(target_family = "wasm"))]
pub use short::Short;

use crate::Result;
use std::ops::ControlFlow;

/// Bytes that are mostly few. In browsers a plain vector: maps by another kind of key would be a kilobyte of download each.
#[cfg(target_family = "wasm")]
pub type Short = Vec<u8>;

/// The closed list of key spaces. Each fixes its key shape and whether it takes merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// Short ASCII names to engine state (watermarks, the entry point). No merges.
    Meta = 0,
    /// Caller id (tagged bytes) to slot. No merges.
    Ids = 1,
    /// Slot to caller id. No merges.
    Slots = 2,
    /// Slot to payload text. No merges.
    Payloads = 3,
    /// Slot of a tombstoned row to nothing. No merges.
    Dead = 4,
    /// Slot to its layer-0 adjacency list. Merges with [`links::fold`].
    Links = 5,
    /// Slot to its lists on the layers above 0. Merges with [`upper::fold`].
    Upper = 6,
    /// Slot to the next slot that holds a bit-identical vector. No merges.
    Twins = 7,
    /// Term of payloads and upper half of slots to the lower halves. Merges with [`postings::fold`].
    Postings = 8,
}

impl Space {
    /// Every space, in key order.
    pub const ALL: [Space; 9] = [
        Space::Meta,
        Space::Ids,
        Space::Slots,
        Space::Payloads,
        Space::Dead,
        Space::Links,
        Space::Upper,
        Space::Twins,
        Space::Postings,
    ];

    /// A short stable name: stores use it for tables and column families.
    pub const fn name(self) -> &'static str {
        match self {
            Space::Meta => "meta",
            Space::Ids => "ids",
            Space::Slots => "slots",
            Space::Payloads => "payloads",
            Space::Dead => "dead",
            Space::Links => "links",
            Space::Upper => "upper",
            Space::Twins => "twins",
            Space::Postings => "postings",
        }
    }

    /// The space with discriminant `byte`, if there is one.
    pub fn from_byte(byte: u8) -> Option<Space> {
        Space::ALL.get(usize::from(byte)).copied()
    }

    /// Folds merge operands, oldest first, into `base`. `None` means the key holds nothing.
    ///
    /// Pure and associative: folding some operands together first ([`Space::combine`]) changes nothing.
    /// Errors with `CORRUPT` where base or operand do not decode, `INTERNAL` where the space takes no merges.
    pub fn fold(self, base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Option<Vec<u8>>> {
        match self {
            Space::Links => links::fold(base, operands),
            Space::Upper => upper::fold(base, operands),
            Space::Postings => postings::fold(base, operands),
            _ => Err(no_merges(self)),
        }
    }

    /// What [`Space::fold`] would say of an operand that does not decode.
    pub fn check(self, operand: &[u8]) -> Result<()> {
        match self {
            Space::Links => links::check(operand),
            _ => self.fold(None, &[operand]).map(drop),
        }
    }

    /// One operand that acts as `first` followed by `second`.
    pub fn combine(self, first: &[u8], second: &[u8]) -> Result<Vec<u8>> {
        match self {
            Space::Links | Space::Upper | Space::Postings => Ok([first, second].concat()),
            _ => Err(no_merges(self)),
        }
    }
}

fn no_merges(space: Space) -> crate::Error {
    crate::Error::new(crate::Code::Internal, format!("space {} takes no merges", space.name()))
}

/// The key of a slot: four big-endian bytes, so that byte order is slot order.
pub fn slot_key(slot: crate::Slot) -> [u8; 4] {
    slot.to_be_bytes()
}

/// Reads what [`slot_key`] wrote.
pub fn slot_of(key: &[u8]) -> Result<crate::Slot> {
    <[u8; 4]>::try_from(key)
        .map(u32::from_be_bytes)
        .map_err(|_| crate::Error::corrupt(format!("a slot key has {} bytes instead of 4", key.len())))
}

/// A half-open range of keys, compared as unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key inside.
    pub start: Vec<u8>,
    /// First key after, or `None` for no bound.
    pub end: Option<Vec<u8>>,
}

impl Range {
    /// Every key.
    pub fn all() -> Self {
        Range { start: Vec::new(), end: None }
    }

    /// `start <= key < end`.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Range { start: start.into(), end: Some(end.into()) }
    }

    /// `start <= key`.
    pub fn from(start: impl Into<Vec<u8>>) -> Self {
        Range { start: start.into(), end: None }
    }

    /// Keys that begin with `prefix`; the empty prefix means all.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Range { start: prefix.to_vec(), end: Some(end) };
            }
        }
        Range { start: prefix.to_vec(), end: None }
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.as_slice() <= self.start.as_slice())
    }
}

/// What a [`Read::scan`] callback answers with to go on or to stop.
pub type Flow = ControlFlow<()>;

/// One frozen, consistent view of a store. Lends bytes to callbacks, so that nothing is copied and no
/// lifetime leaks. Object-safe.
///
/// Contract, each line a test of the conformance suite:
/// - a view never changes, whatever is applied after it was taken;
/// - `get_many` answers every key once, in any order, and agrees with `get`;
/// - `scan` visits keys in ascending unsigned byte order and stops when told to.
pub trait Read: Send {
    /// Lends the value of `key` to `see`; `false` where there is none.
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;
    /// Lends every key's value, or `None`, to `see` with the key's position in `keys`.
    fn get_many(&self, space: Space, keys: &[&[u8]], see: &mut dyn FnMut(usize, Option<&[u8]>))
    -> Result<()>;
    /// Lends the entries of `range` in ascending order.
    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()>;
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries that the provided [`Kv::load_sorted`] gathers in one batch, by number and by bytes.
const LOAD_ENTRIES: usize = 16_384;
const LOAD_BYTES: usize = 8 << 20;

/// Counts applied batches; grows by one for each.
pub type Seq = u64;

/// The answer of [`Kv::sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Durable now.
    Done,
    /// The host will make it durable later; [`Kv::durable`] tells when.
    Pending,
}

/// An ordered key-value store with atomic batches.
///
/// Contract, each line a test of the conformance suite:
/// - `apply` is atomic (no view sees half a batch), ordered, and visible to later views on return;
/// - after a crash the survivors are a prefix of the applied batches, at least up to `durable()`;
/// - operations inside a batch take effect in order;
/// - a merge reads back as [`Space::fold`] of the earlier value and the operands, in order;
/// - a failed `apply` or `sync` poisons the handle: later writes fail with `POISONED` until reopened.
pub trait Kv {
    /// A frozen view of everything applied so far. Cheap; meant to be short-lived.
    fn view(&self) -> Result<Box<dyn Read + '_>>;
    /// Applies all of `batch` or nothing. Not yet durable on return.
    fn apply(&self, batch: &Batch) -> Result<Seq>;
    /// Makes everything applied up to `seq` survive power loss.
    fn sync(&self, seq: Seq) -> Result<Synced>;
    /// The last batch known to be durable.
    fn durable(&self) -> Seq;
    /// Puts many entries, whose keys must ascend strictly, in bounded memory; answers with the last batch made.
    ///
    /// Stores that can, load them past their usual write path. A crash, or an error (`INVALID_ARGUMENT` where a
    /// key does not ascend, or what `entries` itself comes to), leaves the first so many of them, or none.
    fn load_sorted(&self, space: Space, entries: &mut dyn Iterator<Item = Result<Entry>>) -> Result<Seq> {
        load_in_batches(space, entries, &mut |batch| self.apply(batch))
    }
    /// Roughly how many merges reads of `space` still have to fold; 0 for stores that fold while applying.
    fn unfolded(&self, _space: Space) -> u64 {
        0
    }
    /// A hint: `space` is read so much that folding its merges now, in the background, pays. Never waits.
    fn fold(&self, _space: Space) {}
    /// Gives back what space it can. Everything applied before is durable then. Other calls may wait meanwhile.
    fn compact(&self) -> Result<()> {
        Ok(())
    }
    /// Gives back space where that takes but a moment: the store is closed next. Everything applied must be durable
    /// before, and stays so whatever comes of it.
    fn trim(&self) {}
    /// Bytes of memory the store's own caches hold now.
    fn memory(&self) -> u64;
    /// Bytes the store takes on disk now; 0 where it has none.
    fn disk(&self) -> u64;
}

/// `INVALID_ARGUMENT` where `key` does not follow `last`, for stores with a [`Kv::load_sorted`] of their own.
pub fn check_ascending(last: Option<&[u8]>, key: &[u8]) -> Result<()> {
    if last.is_some_and(|last| last >= key) {
        return Err(crate::Error::invalid(
            "the keys of a bulk load must ascend strictly: sort them and drop repeats",
        ));
    }
    Ok(())
}

/// The way of the provided [`Kv::load_sorted`]: batches of bounded size.
pub fn load_in_batches(
    space: Space,
    entries: &mut dyn Iterator<Item = Result<Entry>>,
    apply: &mut dyn FnMut(&Batch) -> Result<Seq>,
) -> Result<Seq> {
    let mut last: Option<Vec<u8>> = None;
    let mut seq = None;
    loop {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while batch.ops().len() < LOAD_ENTRIES
            && bytes < LOAD_BYTES
            && let Some(entry) = entries.next()
        {
            let (key, value) = entry?;
            check_ascending(last.as_deref(), &key)?;
            bytes += key.len() + value.len();
            last = Some(key.clone());
            batch.put(space, key, value);
        }
        match seq {
            Some(seq) if batch.is_empty() => return Ok(seq),
            _ => seq = Some(apply(&batch)?),
        }
    }
}
