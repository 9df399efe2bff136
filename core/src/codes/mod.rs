//! Rows as codes in memory: a byte per number, which walks measure, so that a vector is read only for an answer; or a bit,
//! which tells them what they need not measure.
//!
//! Rows lie in segments under one root, their heads before their codes. A search holds the root that it began with, so that
//! measuring a row takes no lock and no count; whoever changes rows swaps in another root. That is the one swapped out
//! before, brought up to date by the rows that changed since, or where a search still holds it, a copy of it and of the
//! segments changed. Codes follow from vectors alone and are not stored: all are made before the first search, or where that
//! would take long, a segment when walks have come by often enough. Rows without a code are measured by their vectors, as
//! are rows too close for codes to tell them apart.

mod bits;
mod frame;
mod rotation;

use crate::pages::span;
use crate::simd::{self, Kernels};
use crate::table::Table;
use crate::{Metric, Quantization, Slot, sync};
use bits::Bits;
use frame::Frame;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Most rows of a segment, as a power of two, and bytes at which fewer will do: it is copied to change one.
const SEGMENT_BITS: u32 = 8;
const SEGMENT_BYTES: usize = 128 << 10;
/// Most segments of which two are kept, so that writing to them copies rows alone: that of the latest rows, and a few where
/// slots are used again.
const APART: usize = 4;
/// Shortest vectors that are worth a code.
pub(crate) const LEAST_DIM: u32 = 8;
/// Rows measured for want of a segment that have it made.
const WORN: u32 = 8;
/// Rows that are asked for from memory before the first of them is measured.
const AT_ONCE: usize = 32;
/// Whether the root that was replaced is kept: browsers would download it, and copy a segment per write instead.
const KEEPS_SPARE: bool = cfg!(not(target_family = "wasm"));
/// Rows that one walk remembers to have missed.
const REMEMBERED: usize = 512;

/// How vectors become codes.
enum Coding {
    /// A byte per number, which walks measure in place of vectors.
    Bytes(Frame),
    /// A bit per number, by which they pass over vectors.
    Bits(Bits),
}

impl Coding {
    /// Writes the code of `vector` into a row; `numbers` is room to work in.
    fn encode(&self, vector: &[f32], head: &mut [u8], code: &mut [u8], numbers: &mut Vec<f32>) {
        match self {
            Coding::Bytes(frame) => frame.encode(vector, head, code, numbers),
            Coding::Bits(bits) => bits.encode(vector, head, numbers),
        }
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// What turns the code back into numbers; with a bit per number, everything.
    head: &'a [u8],
    code: &'a [u8],
}

impl Row<'_> {
    /// Asks for it from memory.
    #[inline(always)]
    pub(crate) fn soon(self) {
        simd::prefetch(self.head);
        simd::prefetch(self.code);
    }
}

/// A cache line: the processor brings it in as a whole, so that rows are best begun with one.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// Where what belongs to rows lies: all heads of a segment, then all codes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    head: usize,
    code: usize,
    /// Rows of a segment, as a power of two.
    bits: u32,
}

impl Layout {
    fn new(kind: Quantization, dim: usize) -> Layout {
        let (head, code) = match kind {
            Quantization::Rabitq => (bits::stride(dim), 0),
            _ => (frame::HEAD, frame::code(dim)),
        };
        let bits = (SEGMENT_BYTES / (head + code)).max(1).ilog2().min(SEGMENT_BITS);
        Layout { head, code, bits }
    }

    /// Where codes begin.
    #[inline(always)]
    fn codes(self) -> usize {
        (self.head << self.bits).next_multiple_of(LINE)
    }

    fn row_bytes(self) -> usize {
        self.head + self.code
    }

    fn segment_of(self, slot: Slot) -> usize {
        (slot >> self.bits) as usize
    }

    fn slots_of(self, segment: u32) -> Range<Slot> {
        let first = segment << self.bits;
        first..first.saturating_add(1 << self.bits)
    }

    fn segment_bytes(self) -> usize {
        (self.codes() + (self.code << self.bits)).next_multiple_of(LINE)
    }

    /// Where head and code of `slot` lie in their segment.
    #[inline(always)]
    fn spans(self, slot: Slot) -> [Range<usize>; 2] {
        let at = (slot & ((1 << self.bits) - 1)) as usize;
        let (head, code) = (at * self.head, self.codes() + at * self.code);
        [head..head + self.head, code..code + self.code]
    }

    /// A segment without rows, which `fill` may give some.
    fn segment(self, fill: impl FnOnce(&mut [u8])) -> Segment {
        // Never moved: allocators keep no room for lines where others were.
        let lines = std::iter::repeat_n(Line([0; LINE]), self.segment_bytes() / LINE);
        let mut segment = Segment::from_iter(lines);
        let bytes = bytemuck::cast_slice_mut(Arc::make_mut(&mut segment));
        bytes.chunks_exact_mut(self.head).take(1 << self.bits).for_each(erase);
        fill(bytes);
        segment
    }

    /// Head and code of a row that lies in one piece.
    fn split(self, row: &[u8]) -> Row<'_> {
        let (head, code) = row.split_at(self.head.min(row.len()));
        Row { head, code }
    }
}

/// A segment's rows, as [`Layout`] says.
type Segment = Arc<[Line]>;

fn put_head<const N: usize>(row: &mut [u8], head: [f32; N]) {
    for (to, part) in row.chunks_exact_mut(4).zip(head) {
        to.copy_from_slice(&part.to_le_bytes());
    }
}

/// Marks a row as never written: codings begin with three numbers, and none is known by these.
fn erase(row: &mut [u8]) {
    put_head(row, [f32::NAN; 3]);
}

/// All codes of one moment.
#[derive(Clone)]
pub(crate) struct Root {
    coding: Arc<Coding>,
    layout: Layout,
    segments: Vec<Option<Segment>>,
    /// Segments that there are.
    held: u64,
}

impl Root {
    /// The row of `slot`, where there is one: it may still say that it was never written.
    #[inline(always)]
    pub(crate) fn row(&self, slot: Slot) -> Option<Row<'_>> {
        let bytes: &[u8] = bytemuck::cast_slice(self.segments.get(self.layout.segment_of(slot))?.as_deref()?);
        let [head, code] = self.layout.spans(slot);
        Some(Row { head: bytes.get(head)?, code: bytes.get(code)? })
    }

    /// The ordering key of two vectors, squared distance under the inner product; `None` where their codes do not tell.
    #[inline(always)]
    pub(crate) fn apart(&self, a: Row<'_>, b: Row<'_>) -> Option<f32> {
        match &*self.coding {
            Coding::Bytes(frame) => frame.apart(a, b),
            Coding::Bits(_) => None,
        }
    }

    fn list_bytes(&self) -> u64 {
        (self.segments.capacity() * size_of::<Option<Segment>>()) as u64
    }
}

/// The root before the present one: the next, once it has what changed.
struct Spare {
    root: Arc<Root>,
    /// Rows that the present root has and this one may not.
    behind: Vec<Slot>,
    /// Segments of which both roots have their own, the latest written last. All others that both have are shared.
    apart: Vec<u32>,
}

impl Spare {
    /// Brings its root to all that `now` has.
    fn catch_up(&mut self, now: &Root) {
        // Copied where a search still holds it; its segments are copied then when they are written.
        let root = Arc::make_mut(&mut self.root);
        root.segments.resize(now.segments.len(), None);
        root.held = now.held;
        let layout = now.layout;
        for run in self.behind.chunk_by(|&a, &b| layout.segment_of(a) == layout.segment_of(b)) {
            let segment = layout.segment_of(run[0]);
            let (old, new) = (&mut root.segments[segment], &now.segments[segment]);
            match (old.as_mut().and_then(Arc::get_mut), new) {
                (Some(old), Some(new)) => {
                    let (old, new) =
                        (bytemuck::cast_slice_mut::<_, u8>(old), bytemuck::cast_slice::<_, u8>(new));
                    for span in run.iter().flat_map(|&slot| layout.spans(slot)) {
                        old[span.clone()].copy_from_slice(&new[span]);
                    }
                }
                _ => {
                    old.clone_from(new);
                    self.apart.retain(|&other| other as usize != segment);
                }
            }
        }
        self.behind.clear();
    }
}

/// What whoever swaps the root holds.
#[derive(Default)]
struct Changing {
    /// Segments to be made.
    wanted: Vec<u32>,
    spare: Option<Spare>,
}

impl Changing {
    /// Segments that there are twice.
    fn doubled(&self) -> u64 {
        self.spare.as_ref().map_or(0, |spare| spare.apart.len() as u64)
    }
}

/// What rows are held against.
enum Query {
    Bytes(frame::Query),
    Bits(bits::Query),
}

/// A query to measure rows against.
pub(crate) struct Coded {
    root: Arc<Root>,
    query: Query,
    /// Rows that had none.
    missed: RefCell<Vec<Slot>>,
}

impl Coded {
    /// Asks for what [`Coded::ranks`] will read.
    #[inline(always)]
    pub(crate) fn soon(&self, slot: Slot) {
        if let Some(row) = self.root.row(slot) {
            row.soon();
        }
    }

    /// Replaces `out` with the ordering keys of `slots`, off by a rounding or two of every number; NaN for those whose
    /// vectors are to be asked.
    pub(crate) fn ranks(&self, slots: &[Slot], out: &mut Vec<f32>) {
        out.clear();
        let (Coding::Bytes(frame), Query::Bytes(query)) = (&*self.root.coding, &self.query) else {
            return out.extend(slots.iter().map(|_| f32::NAN));
        };
        let (mut heads, mut codes) = ([&[] as &[u8]; AT_ONCE], [&[] as &[u8]; AT_ONCE]);
        for some in slots.chunks(AT_ONCE) {
            for ((&slot, head), code) in some.iter().zip(&mut heads).zip(&mut codes) {
                let row = self.root.row(slot).unwrap_or_else(|| {
                    self.miss(slot);
                    Row { head: &[], code: &[] }
                });
                row.soon();
                (*head, *code) = (row.head, row.code);
            }
            frame.ranks(query, &heads[..some.len()], &codes[..some.len()], out);
        }
    }

    /// Whether the ordering key of `slot` is `worst` or more, in all likelihood: only where codes are no measure.
    #[inline(always)]
    pub(crate) fn is_beyond(&self, slot: Slot, worst: f32) -> bool {
        let (Coding::Bits(bits), Query::Bits(query)) = (&*self.root.coding, &self.query) else {
            return false;
        };
        match self.root.row(slot) {
            Some(row) => bits.is_beyond(query, row.head, worst),
            None => {
                self.miss(slot);
                false
            }
        }
    }

    /// Whether [`Coded::ranks`] measures rows; else they are left to their vectors, but for those [beyond](Coded::is_beyond).
    pub(crate) fn measures(&self) -> bool {
        matches!(self.query, Query::Bytes(_))
    }

    /// Whether the code of `slot` is too close to the query's own to tell them apart.
    pub(crate) fn is_close(&self, slot: Slot) -> bool {
        let Query::Bytes(query) = &self.query else { return false };
        self.root.row(slot).is_some_and(|row| self.root.apart(query.row(), row).is_none())
    }

    #[cold]
    fn miss(&self, slot: Slot) -> f32 {
        let mut missed = self.missed.borrow_mut();
        if missed.len() < REMEMBERED {
            missed.push(slot);
        }
        f32::NAN
    }
}

/// The codes of rows that are about to be written.
pub(crate) struct Fresh {
    pub(crate) root: Arc<Root>,
    rows: Vec<u8>,
}

impl Fresh {
    fn bytes(&self, at: usize) -> &[u8] {
        let len = self.root.layout.row_bytes();
        &self.rows[at * len..][..len]
    }

    pub(crate) fn row(&self, at: usize) -> Row<'_> {
        self.root.layout.split(self.bytes(at))
    }

    /// Row `at` as a query; `vector` is what it stands for.
    pub(crate) fn query(&self, at: usize, vector: &[f32]) -> Coded {
        let query = match &*self.root.coding {
            Coding::Bytes(_) => Query::Bytes(frame::Query::new(self.bytes(at).to_vec())),
            Coding::Bits(bits) => Query::Bits(bits.query(vector)),
        };
        Coded { root: self.root.clone(), query, missed: RefCell::default() }
    }

    /// Whether [`Root::apart`] tells rows apart.
    pub(crate) fn measures(&self) -> bool {
        matches!(*self.root.coding, Coding::Bytes(_))
    }
}

/// Leave to make a segment: its slots, and how often they were written before anybody reads them.
pub(crate) struct Missing {
    pub(crate) slots: Range<Slot>,
    age: u32,
}

/// A segment that was made, and the age of its rows then.
pub(crate) struct Made {
    segment: u32,
    age: u32,
    lines: Segment,
}

/// What is known of a segment besides its rows.
#[derive(Default)]
struct Place {
    /// How often its rows were written.
    age: AtomicU32,
    /// Rows measured for want of it.
    missed: AtomicU32,
}

/// The codes of a database.
pub(crate) struct Codes {
    coding: Arc<Coding>,
    dim: usize,
    layout: Layout,
    /// Segments that have a place of their own, and most; 0 for a database without codes.
    own: u64,
    most: u64,
    /// Segments beyond their own that there ever were.
    beyond: AtomicU64,
    root: sync::Swap<Arc<Root>>,
    places: Table<Place>,
    /// What is needed to swap the root, and the right to do so.
    changing: Mutex<Changing>,
}

impl Codes {
    /// Codes of `kind` in at most `own` bytes and `more`.
    pub(crate) fn new(
        kind: Quantization,
        metric: Metric,
        kernels: &'static Kernels,
        dim: u32,
        seed: u64,
        own: u64,
        more: u64,
    ) -> Codes {
        let worth = dim >= LEAST_DIM && kind != Quantization::None;
        let dim = dim as usize;
        let layout = Layout::new(kind, dim);
        let segment = layout.segment_bytes() as u64;
        let coding = Arc::new(match kind {
            Quantization::Rabitq => Coding::Bits(Bits::new(metric, kernels, dim, seed)),
            _ => Coding::Bytes(Frame::new(metric, kernels, dim, seed)),
        });
        let root = Root { coding: coding.clone(), layout, segments: Vec::new(), held: 0 };
        Codes {
            root: Arc::new(root).into(),
            coding,
            dim,
            layout,
            own: if worth { own / segment } else { 0 },
            most: if worth { (own + more) / segment } else { 0 },
            beyond: AtomicU64::new(0),
            places: Table::new(1),
            changing: Mutex::default(),
        }
    }

    /// What a row of `dim` numbers takes.
    pub(crate) fn row_bytes(kind: Quantization, dim: u32) -> u64 {
        Layout::new(kind, dim as usize).row_bytes() as u64
    }

    /// Whether rows have codes at all.
    pub(crate) fn are_used(&self) -> bool {
        self.most > 0
    }

    /// Whether those that there are measure rows, and not only tell which need not be.
    pub(crate) fn measure(&self) -> bool {
        matches!(*self.coding, Coding::Bytes(_))
    }

    /// `vector` as a query.
    pub(crate) fn query(&self, vector: &[f32]) -> Coded {
        let query = match &*self.coding {
            Coding::Bytes(frame) => {
                let mut row = vec![0; self.layout.row_bytes()];
                let (head, code) = row.split_at_mut(self.layout.head);
                frame.encode(vector, head, code, &mut Vec::new());
                Query::Bytes(frame::Query::new(row))
            }
            Coding::Bits(bits) => Query::Bits(bits.query(vector)),
        };
        Coded { root: self.root.load_full(), query, missed: RefCell::default() }
    }

    /// Takes note of what a walk missed.
    pub(crate) fn note(&self, coded: &Coded) {
        let missed = coded.missed.take();
        if missed.is_empty() || coded.root.held >= self.most {
            return;
        }
        for slot in missed {
            let segment = self.layout.segment_of(slot) as u32;
            let place = &self.places.ensure(segment)[0];
            if place.missed.fetch_add(1, Ordering::Relaxed) + 1 == WORN {
                sync::lock(&self.changing).wanted.push(segment);
            }
        }
    }

    /// The next segment that is to be made.
    pub(crate) fn missing(&self) -> Option<Missing> {
        let segment = sync::lock(&self.changing).wanted.pop()?;
        let place = &self.places.ensure(segment)[0];
        place.missed.store(0, Ordering::Relaxed);
        Some(Missing { slots: self.layout.slots_of(segment), age: place.age.load(Ordering::Acquire) })
    }

    /// Every segment below `slots` that is not there, as far as the budget goes.
    pub(crate) fn all_missing(&self, slots: Slot) -> Vec<Missing> {
        let root = self.root.load();
        let absent = |&segment: &u32| root.segments.get(segment as usize).is_none_or(Option::is_none);
        let age = |segment: u32| self.places.ensure(segment)[0].age.load(Ordering::Acquire);
        let room = usize::try_from(self.most.saturating_sub(root.held)).unwrap_or(usize::MAX);
        (0..slots.div_ceil(1 << self.layout.bits))
            .filter(absent)
            .take(room)
            .map(|segment| Missing { slots: self.layout.slots_of(segment), age: age(segment) })
            .collect()
    }

    /// The rows of a segment, of the vectors that `read` gives with their slots, those that can be read.
    pub(crate) fn make(&self, missing: &Missing, read: impl FnOnce(&mut dyn FnMut(Slot, &[f32]))) -> Made {
        let lines = self.layout.segment(|bytes| {
            let (heads, codes) = bytes.split_at_mut(self.layout.codes());
            let mut numbers = Vec::new();
            read(&mut |slot, vector| {
                let [head, code] = self.layout.spans(slot);
                let code = code.start - heads.len()..code.end - heads.len();
                self.coding.encode(vector, &mut heads[head], &mut codes[code], &mut numbers);
            });
        });
        Made { segment: self.layout.segment_of(missing.slots.start) as u32, age: missing.age, lines }
    }

    /// Takes in segments, those left out of which rows were written meanwhile, or for which there is no room.
    pub(crate) fn take(&self, made: Vec<Made>) {
        let mut changing = sync::lock(&self.changing);
        let now = self.root.load();
        let (mut segments, mut held) = (now.segments.clone(), now.held);
        for Made { segment, age, lines } in made {
            if self.places.ensure(segment)[0].age.load(Ordering::Acquire) != age {
                continue;
            }
            if segments.len() <= segment as usize {
                segments.resize(segment as usize + 1, None);
            }
            let place = &mut segments[segment as usize];
            if place.is_some() || held < self.most {
                held += u64::from(place.is_none());
                *place = Some(lines);
            }
        }
        self.set(&mut changing, segments, held);
    }

    fn set(&self, changing: &mut Changing, segments: Vec<Option<Segment>>, held: u64) {
        let root = Root { coding: self.coding.clone(), layout: self.layout, segments, held };
        self.root.store(Arc::new(root));
        // Of what changed it knows nothing.
        changing.spare = None;
    }

    /// The codes of rows that are about to be written, where there are codes.
    pub(crate) fn encode(&self, vectors: &[f32]) -> Option<Fresh> {
        if !self.are_used() {
            return None;
        }
        let len = self.layout.row_bytes();
        let (mut rows, mut numbers) = (vec![0; vectors.len() / self.dim * len], Vec::new());
        for (vector, row) in vectors.chunks_exact(self.dim).zip(rows.chunks_exact_mut(len)) {
            let (head, code) = row.split_at_mut(self.layout.head);
            self.coding.encode(vector, head, code, &mut numbers);
        }
        Some(Fresh { root: self.root.load_full(), rows })
    }

    /// Takes in rows just written to `slots`, which ascend; `fresh` as they were encoded before, where there were codes. No
    /// slot from `known` on had a row before. To be called before anybody can see the rows.
    pub(crate) fn put(&self, slots: &[Slot], known: Slot, fresh: Option<&Fresh>) {
        let mut changing = sync::lock(&self.changing);
        let layout = self.layout;
        let same = |&a: &Slot, &b: &Slot| layout.segment_of(a) == layout.segment_of(b);
        for run in slots.chunk_by(same) {
            // Whoever reads old vectors to make the segment is not to be believed.
            self.places.ensure(layout.segment_of(run[0]) as u32)[0].age.fetch_add(1, Ordering::AcqRel);
        }
        let Some(fresh) = fresh else { return };
        let now = self.root.load_full();
        let spare = if KEEPS_SPARE { changing.spare.take() } else { None };
        let mut spare = match spare {
            Some(mut spare) => {
                spare.catch_up(&now);
                spare
            }
            None => Spare { root: now.clone(), behind: Vec::new(), apart: Vec::new() },
        };
        let (root, apart) = (Arc::make_mut(&mut spare.root), &mut spare.apart);
        let (mut at, mut old) = (0, 0);
        for run in slots.chunk_by(same) {
            let place = layout.segment_of(run[0]);
            let segment = place as u32;
            if root.segments.len() <= place {
                root.segments.resize(place + 1, None);
            }
            let is_new = layout.slots_of(segment).start >= known;
            let is_old = root.segments[place].is_some();
            if !is_old && is_new && root.held < self.most {
                root.segments[place] = Some(layout.segment(|_| ()));
                root.held += 1;
            }
            if is_old {
                apart.retain(|&other| other != segment);
                apart.push(segment);
                old += 1;
            }
            if let Some(lines) = &mut root.segments[place] {
                let bytes = bytemuck::cast_slice_mut::<_, u8>(Arc::make_mut(lines));
                for (i, &slot) in (at..).zip(run) {
                    let ([head, code], row) = (layout.spans(slot), fresh.row(i));
                    bytes[head].copy_from_slice(row.head);
                    bytes[code].copy_from_slice(row.code);
                }
            }
            at += run.len();
        }
        // Segments that there are twice take room too, and those written just now cannot be shared.
        let room = APART.min(usize::try_from(self.most - root.held).unwrap_or(APART));
        let is_kept = KEEPS_SPARE && old <= room;
        if is_kept {
            for segment in apart.drain(..apart.len().saturating_sub(room)) {
                root.segments[segment as usize].clone_from(&now.segments[segment as usize]);
            }
        }
        let next = std::mem::replace(&mut spare.root, now);
        self.root.store(next);
        spare.behind.extend_from_slice(slots);
        changing.spare = is_kept.then_some(spare);
    }

    /// Forgets all rows: others come in their place.
    pub(crate) fn clear(&self) {
        let mut changing = sync::lock(&self.changing);
        changing.wanted.clear();
        let segments = self.root.load().segments.len();
        for segment in 0..segments as u32 {
            self.places.ensure(segment)[0].age.fetch_add(1, Ordering::AcqRel);
        }
        self.set(&mut changing, Vec::new(), 0);
    }

    /// Bytes beyond their own that were taken since this was asked last.
    pub(crate) fn took_more(&self) -> u64 {
        let doubled = sync::lock(&self.changing).doubled();
        let beyond = (self.root.load().held + doubled).saturating_sub(self.own);
        let before = self.beyond.fetch_max(beyond, Ordering::AcqRel);
        beyond.saturating_sub(before) * self.layout.segment_bytes() as u64
    }

    /// Where they lie.
    pub(crate) fn spans(&self, to: &mut Vec<Range<usize>>) {
        let root = self.root.load();
        to.extend(root.segments.iter().flatten().map(|segment| span(segment)));
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        let changing = sync::lock(&self.changing);
        let root = self.root.load();
        (root.held + changing.doubled()) * self.layout.segment_bytes() as u64
            + root.list_bytes()
            + changing.spare.as_ref().map_or(0, |spare| spare.root.list_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::numbers;

    fn codes(metric: Metric, dim: usize, budget: u64) -> Codes {
        Codes::new(Quantization::Sq8, metric, Kernels::get(), dim as u32, 7, budget, 0)
    }

    impl Row<'_> {
        fn to_vec(self) -> Vec<u8> {
            [self.head, self.code].concat()
        }
    }

    impl Coded {
        /// The ordering key of one row; `None` where its vector is to be asked.
        fn rank(&self, slot: Slot) -> Option<f32> {
            let mut ranks = Vec::new();
            self.ranks(&[slot], &mut ranks);
            Some(ranks[0]).filter(|rank| !rank.is_nan())
        }
    }

    /// Writes rows as the index does.
    fn write(codes: &Codes, slots: &[Slot], known: Slot, vectors: &[f32]) {
        codes.put(slots, known, codes.encode(vectors).as_ref());
    }

    #[test]
    fn ranks_are_those_of_the_vectors_but_for_a_rounding_of_each_number() {
        for dim in [8, 33, 128, 700] {
            for (scale, shift) in [(1.0, 0.0), (1e-8, 0.0), (1e12, 0.0), (1.0, 30.0)] {
                let vectors: Vec<f32> = numbers(600 * dim, 3).iter().map(|x| x * scale + shift).collect();
                let query: Vec<f32> = numbers(dim, 9).iter().map(|x| x * scale + shift).collect();
                for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
                    let codes = codes(metric, dim, 1 << 30);
                    for (at, some) in vectors.chunks(50 * dim).enumerate() {
                        let slots: Vec<Slot> = (at as Slot * 50..at as Slot * 50 + 50).collect();
                        write(&codes, &slots, slots[0], some);
                    }
                    let coded = codes.query(&query);
                    let ranks =
                        |slot: usize| metric.rank(Kernels::get(), &query, &vectors[slot * dim..][..dim]);
                    let all: Vec<f32> = (0..600).map(ranks).collect();
                    let spread = |ranks: &[f32]| {
                        let mean = ranks.iter().sum::<f32>() / ranks.len() as f32;
                        (ranks.iter().map(|rank| (rank - mean) * (rank - mean)).sum::<f32>()
                            / ranks.len() as f32)
                            .sqrt()
                    };
                    let off: Vec<f32> =
                        (0..600).map(|slot| coded.rank(slot).unwrap() - all[slot as usize]).collect();
                    let mean = off.iter().sum::<f32>() / 600.0;
                    let wide = off.iter().fold(0f32, |wide, off| wide.max((off - mean).abs()));
                    assert!(
                        wide < 0.12 * spread(&all),
                        "{dim} {scale} {shift} {metric:?}: {wide} of {}",
                        spread(&all)
                    );
                }
            }
        }
    }

    #[test]
    fn rows_too_close_to_tell_and_rows_not_there_are_left_to_their_vectors() {
        let dim = 64;
        let vectors = numbers(300 * dim, 1);
        let codes = codes(Metric::L2, dim, 1 << 20);
        let slots: Vec<Slot> = (0..100).collect();
        write(&codes, &slots, 0, &vectors[..100 * dim]);
        let near: Vec<f32> = vectors[..dim].iter().map(|x| x + 0.001).collect();
        let coded = codes.query(&near);
        assert_eq!(coded.rank(0), None, "nearer than the steps of its code");
        assert!(coded.rank(1).is_some());
        assert_eq!((coded.rank(100), coded.rank(5000)), (None, None), "not written, not there");
        assert_eq!(coded.missed.take(), [5000]);
    }

    #[test]
    fn a_segment_is_made_once_it_was_missed_and_never_of_old_vectors() {
        let dim = 8;
        let (old, new) = (numbers(256 * dim, 1), numbers(256 * dim, 2));
        let codes = codes(Metric::L2, dim, 1 << 20);
        let query = numbers(dim, 3);
        let made = |missing: &Missing, of: &[f32]| {
            codes
                .make(missing, |take| (0..200).for_each(|slot| take(slot, &of[slot as usize * dim..][..dim])))
        };
        assert!(codes.missing().is_none());
        let missed = || {
            let coded = codes.query(&query);
            (0..WORN).for_each(|slot| assert_eq!(coded.rank(slot), None));
            codes.note(&coded);
            codes.missing()
        };
        let missing = missed().unwrap();
        assert_eq!(missing.slots, 0..256);
        // A row is written while the old ones are read.
        write(&codes, &[3], 200, &new[3 * dim..][..dim]);
        codes.take(vec![made(&missing, &old)]);
        assert!(codes.query(&query).rank(3).is_none());
        codes.take(vec![made(&missed().unwrap(), &new)]);
        let rank = |slot: Slot| codes.query(&query).rank(slot);
        let exact = |of: &[f32], slot: usize| Kernels::get().l2_squared(&query, &of[slot * dim..][..dim]);
        assert!((rank(3).unwrap() - exact(&new, 3)).abs() < 0.05);
        assert!(rank(199).is_some() && rank(200).is_none());
        // Those who began before see what was; others what is.
        let before = codes.query(&query);
        write(&codes, &[3], 200, &old[3 * dim..][..dim]);
        assert!((before.rank(3).unwrap() - exact(&new, 3)).abs() < 0.05);
        assert!((rank(3).unwrap() - exact(&old, 3)).abs() < 0.05);
        codes.clear();
        assert_eq!(codes.memory(), 0);
    }

    #[test]
    fn one_row_is_written_in_place_unless_a_search_holds_what_it_is_written_to() {
        let dim = 8;
        let codes = codes(Metric::L2, dim, 1 << 20);
        let rows = numbers(600 * dim, 1);
        let put = |slot: Slot| write(&codes, &[slot], slot, &rows[slot as usize * dim..][..dim]);
        let at = || codes.root.load().row(256).map(|row| row.head.as_ptr());
        (0..260).for_each(put);
        // Two segments take turns, and there are no others.
        let one = at();
        put(260);
        let other = at();
        assert_ne!(one, other);
        let memory = codes.memory();
        for slot in 261..300 {
            put(slot);
            assert_eq!(at(), if slot % 2 == 1 { one } else { other }, "{slot}");
        }
        assert_eq!(codes.memory(), memory);
        let searched = codes.root.load_full();
        put(300);
        put(301);
        assert!(at() != one && at() != other, "one is read, the other was beside it");
        assert_eq!(searched.row(300).unwrap().head[..4], f32::NAN.to_le_bytes());
        drop(searched);
        let third = at();
        put(302);
        put(303);
        assert_eq!(at(), third);
    }

    /// Four rows to a segment.
    fn small(most: u64) -> Codes {
        let mut codes = codes(Metric::L2, 8, 1 << 20);
        let layout = Layout { bits: 2, ..codes.layout };
        (codes.layout, codes.own, codes.most) = (layout, most / 2, most);
        let root = Root { layout, ..Root::clone(&codes.root.load()) };
        codes.root = Arc::new(root).into();
        codes
    }

    #[test]
    fn every_root_shows_what_was_there_when_it_was_taken() {
        const SLOTS: usize = 80;
        type Rows = Vec<Option<Vec<u8>>>;
        let shown = |root: &Root| -> Rows {
            (0..SLOTS as Slot).map(|slot| root.row(slot).map(Row::to_vec)).collect()
        };
        let unwritten = |stride: usize| {
            let mut row = vec![0; stride];
            erase(&mut row);
            row
        };
        for seed in 0..200u64 {
            let mut state = seed;
            let mut below = |n: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % n
            };
            let most = 3 + seed % 20;
            let codes = small(most);
            let (mut vectors, mut model): (Vec<Vec<f32>>, Rows) = (Vec::new(), vec![None; SLOTS]);
            let mut held: Vec<(Arc<Root>, Rows)> = Vec::new();
            let mut lent = 0;
            for step in 0..150 {
                let context = format!("seed {seed}, step {step}");
                match below(20) {
                    0 => {
                        codes.clear();
                        model.fill(None);
                    }
                    1 | 2 => {
                        let missing = codes.all_missing(vectors.len() as Slot);
                        let made = missing.iter().map(|missing| {
                            let end = vectors.len().min(missing.slots.end as usize);
                            let made = codes.make(missing, |take| {
                                let slots = missing.slots.start as usize..end;
                                slots.for_each(|slot| take(slot as Slot, &vectors[slot]));
                            });
                            let slots = missing.slots.clone().filter(|&slot| (slot as usize) < SLOTS);
                            for slot in slots.map(|slot| slot as usize) {
                                let vector = vectors.get(slot);
                                let code = vector.map(|vector| codes.encode(vector).unwrap().row(0).to_vec());
                                model[slot] =
                                    Some(code.unwrap_or_else(|| unwritten(codes.layout.row_bytes())));
                            }
                            made
                        });
                        codes.take(made.collect());
                    }
                    3..=8 => {
                        let root = codes.root.load_full();
                        let rows = shown(&root);
                        held.push((root, rows));
                    }
                    9..=12 if !held.is_empty() => drop(held.swap_remove(below(held.len()))),
                    some => {
                        // Mostly one new row; else a few, of which some go where others were.
                        let known = vectors.len();
                        let more = if some > 15 { 1 } else { below(9) };
                        let again = if some > 15 || known == 0 { 0 } else { below(6) };
                        let mut slots: Vec<usize> = (0..again).map(|_| below(known)).collect();
                        slots.extend(known..SLOTS.min(known + more));
                        slots.sort_unstable();
                        slots.dedup();
                        vectors.resize(slots.last().map_or(known, |last| known.max(last + 1)), Vec::new());
                        let new = numbers(slots.len() * 8, seed << 32 | step);
                        let fresh = codes.encode(&new).unwrap();
                        for (at, &slot) in slots.iter().enumerate() {
                            vectors[slot] = new[at * 8..][..8].to_vec();
                            let first = slot / 4 * 4;
                            let is_there = model[first].is_some();
                            let there = model.iter().step_by(4).flatten().count() as u64;
                            if is_there || (first >= known && there < most) {
                                for other in &mut model[first..first + 4] {
                                    other.get_or_insert_with(|| unwritten(codes.layout.row_bytes()));
                                }
                                model[slot] = Some(fresh.row(at).to_vec());
                            }
                        }
                        let slots: Vec<Slot> = slots.iter().map(|&slot| slot as Slot).collect();
                        codes.put(&slots, known as Slot, Some(&fresh));
                    }
                }
                let now = codes.root.load_full();
                assert_eq!(shown(&now), model, "{context}");
                for (root, rows) in &held {
                    assert_eq!(&shown(root), rows, "{context}: changed under a search");
                }
                let there = model.iter().step_by(4).flatten().count() as u64;
                assert_eq!(now.held, there, "{context}");
                // What there is twice is known, little, and within the budget.
                let changing = sync::lock(&codes.changing);
                let twice = changing.spare.as_ref().map_or(0, |spare| {
                    let pairs = spare.root.segments.iter().zip(&now.segments);
                    pairs.filter(|(a, b)| matches!((a, b), (Some(a), Some(b)) if !Arc::ptr_eq(a, b))).count()
                });
                assert_eq!(changing.doubled(), twice as u64, "{context}");
                assert!(twice <= APART && there + twice as u64 <= most, "{context}: {twice}");
                drop(changing);
                lent += codes.took_more() / codes.layout.segment_bytes() as u64;
                assert!(there + twice as u64 <= codes.own + lent, "{context}");
            }
        }
    }

    #[test]
    fn the_budget_holds() {
        let dim = 236;
        let vectors = numbers(256 * dim, 1);
        let most = 3 * 256 * Codes::row_bytes(Quantization::Sq8, dim as u32);
        let codes = codes(Metric::Cosine, dim, most);
        for first in [0, 256, 512, 768] {
            let slots: Vec<Slot> = (first..first + 256).collect();
            write(&codes, &slots, first, &vectors);
        }
        assert!(codes.memory() < most + 1000, "{}", codes.memory());
        let coded = codes.query(&numbers(dim, 5));
        assert!(coded.rank(700).is_some() && coded.rank(800).is_none());
        codes.note(&coded);
        assert!(codes.missing().is_none(), "there is no room to make it");
        assert!(!Codes::new(Quantization::Sq8, Metric::L2, Kernels::get(), 4, 7, 1 << 30, 0).are_used());
    }
}
