//! The vector file: rows of f32 over [`Bytes`], each under its own CRC-32C, behind a bounded cache.
//!
//! Layout: one 4 KB header page, then *extents*. An extent is the fewest whole pages that hold at least one row
//! and waste at most a tenth ([`Layout::paged`]); a row never crosses an extent. A row is `dim` little-endian f32
//! and the CRC of its slot and bytes, so appending a row rewrites nothing that lay before it.

use crate::bytes::{Bytes, Mapping};
use crate::simd::Kernels;
use crate::table::Table;
use crate::{Error, Result, Slot, VectorStorage, checksum, sync};
use arc_swap::ArcSwapOption;
use roaring::RoaringBitmap;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[cfg(not(target_endian = "little"))]
compile_error!("vector files are little-endian and are read in place");

const PAGE: u64 = 4096;
const MAGIC: &[u8; 8] = b"ASTVEC01";
/// Extents of the mapped file: large, so that few mappings cover it.
const FLAT_EXTENT: u64 = 16 << 20;
/// Rows are cached in groups of about this size: the operating system caches whole pages below, and a row fetched
/// with neighbours that nobody wants takes their room.
const GROUP_BYTES: u64 = 2048;
/// What the cache keeps besides the rows of a group.
const GROUP_OVERHEAD: u64 = 112;
/// Groups missed once that are remembered, by what the cache holds.
const LATELY: usize = 4;
/// Whether such are read without their group: browsers read pieces of files, not rows, and would download it.
const READS_ALONE: bool = cfg!(not(target_family = "wasm"));
/// Most frames kept to be filled again.
const SPARES: usize = 64;

/// How rows lie in extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    dim: usize,
    /// Rows per extent.
    rows: u32,
    pages: u64,
    /// Rows per cached group; a group lies inside one extent.
    group: u32,
}

impl Layout {
    fn row_bytes(dim: usize) -> u64 {
        4 * dim as u64 + 4
    }

    fn paged(dim: usize) -> Layout {
        let row = Self::row_bytes(dim);
        let mut pages = row.div_ceil(PAGE);
        while (pages * PAGE) % row * 10 > pages * PAGE {
            pages += 1;
        }
        let rows = (pages * PAGE / row) as u32;
        Layout { dim, rows, pages, group: ((GROUP_BYTES / row) as u32).clamp(1, rows) }
    }

    fn flat(dim: usize) -> Layout {
        let pages = FLAT_EXTENT / PAGE;
        let rows = (FLAT_EXTENT / Self::row_bytes(dim)) as u32;
        Layout { dim, rows, pages, group: rows }
    }

    fn extent_bytes(&self) -> u64 {
        self.pages * PAGE
    }

    fn groups_per_extent(&self) -> u32 {
        self.rows.div_ceil(self.group)
    }

    /// Group and row inside it.
    fn place(&self, slot: Slot) -> (u32, u32) {
        let (extent, row) = (slot / self.rows, slot % self.rows);
        (extent * self.groups_per_extent() + row / self.group, row % self.group)
    }

    /// First slot of a group, and how many rows it has.
    fn group_slots(&self, group: u32) -> (Slot, u32) {
        let (extent, at) = (group / self.groups_per_extent(), group % self.groups_per_extent());
        let first = at * self.group;
        (extent * self.rows + first, self.group.min(self.rows - first))
    }

    fn extent_offset(&self, extent: u32) -> u64 {
        PAGE + u64::from(extent) * self.extent_bytes()
    }

    /// Where the row of `slot` begins in the file.
    fn offset(&self, slot: Slot) -> u64 {
        self.extent_offset(slot / self.rows) + u64::from(slot % self.rows) * Self::row_bytes(self.dim)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; PAGE as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&(self.dim as u32).to_le_bytes());
        header[12..16].copy_from_slice(&self.rows.to_le_bytes());
        header[16..24].copy_from_slice(&self.pages.to_le_bytes());
        let sum = checksum::crc32c(&header[..PAGE as usize - 4]);
        header[PAGE as usize - 4..].copy_from_slice(&sum.to_le_bytes());
        header
    }
}

fn checksum(slot: Slot, row: &[u8]) -> u32 {
    // Never 0, so that a row that was never written is not mistaken for one.
    checksum::crc32c_append(checksum::crc32c(&slot.to_le_bytes()), row).max(1)
}

/// One group of rows in memory.
struct Frame {
    /// Which. A reader who was stopped while taking hold of one can be handed another: frames are filled again, and those
    /// who read are known to the swap by a frame's address alone.
    group: u32,
    rows: Rows,
    used: AtomicBool,
}

enum Rows {
    /// Copied out of the file as it lies there. What lies between the rows are their checksums, or their lengths where
    /// those are kept: a checksum has served once it is verified. A set bit of `bad` marks a row that fails.
    Owned { data: Box<[f32]>, bad: Box<[u64]>, lengths: bool },
    /// Lent by the host; a set bit of `checked` marks a row whose checksum was verified.
    Mapped { map: Arc<dyn Mapping>, checked: Box<[AtomicU64]> },
}

/// A row, pinned in memory while this lives.
pub(crate) struct RowRef {
    frame: arc_swap::Guard<Option<Arc<Frame>>>,
    start: usize,
    dim: usize,
}

impl Deref for RowRef {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self.frame.as_deref() {
            Some(Frame { rows: Rows::Owned { data, .. }, .. }) => &data[self.start..self.start + self.dim],
            Some(Frame { rows: Rows::Mapped { map, .. }, .. }) => {
                // `start` counts bytes here; `frame_row` has checked that the cast holds.
                bytemuck::cast_slice(&map.bytes()[self.start..self.start + 4 * self.dim])
            }
            None => &[],
        }
    }
}

impl RowRef {
    /// The square root of its inner product with itself, where [`VectorFile::keep_lengths`] has it kept.
    #[inline]
    pub(crate) fn length(&self) -> Option<f32> {
        match self.frame.as_deref() {
            Some(Frame { rows: Rows::Owned { data, lengths: true, .. }, .. }) => {
                data.get(self.start + self.dim).copied()
            }
            _ => None,
        }
    }
}

pub(crate) struct VectorFile {
    bytes: Arc<dyn Bytes + Send + Sync>,
    layout: Layout,
    mapped: bool,
    /// Rows are cached with their lengths.
    lengths: bool,
    /// Rows are read for answers alone.
    seldom: bool,
    frames: Table<ArcSwapOption<Frame>>,
    /// A bit per group that was missed lately, and how many are set.
    missed: Table<AtomicU64>,
    misses: AtomicUsize,
    clock: Mutex<Clock>,
    /// Frames that left the cache, to be filled again: allocators keep twice the cache where threads free what others took.
    spares: Mutex<Vec<Arc<Frame>>>,
    /// Counts writes, so that a frame read before one is not installed after it.
    writes: AtomicU64,
    resident: AtomicU64,
    max_frames: usize,
    /// How many of them make room for something else.
    lent: AtomicUsize,
}

/// Rows as they were at one moment. Nobody may write them while this lives.
pub(crate) struct FrozenRows {
    /// Those below this.
    pub(crate) slots: Slot,
    /// Without these, which may be written.
    pub(crate) absent: RoaringBitmap,
}

#[derive(Default)]
struct Clock {
    ring: Vec<u32>,
    hand: usize,
}

impl VectorFile {
    /// Opens the file, or lays it out where it is empty. `CORRUPT` where header or length do not fit `slots` rows.
    pub(crate) fn open(
        bytes: Arc<dyn Bytes + Send + Sync>,
        dim: u32,
        kind: VectorStorage,
        cache_bytes: u64,
        slots: u32,
    ) -> Result<VectorFile> {
        let layout = match kind {
            VectorStorage::Flat => Layout::flat(dim as usize),
            VectorStorage::Paged => Layout::paged(dim as usize),
        };
        let header = layout.header();
        let mut found = vec![0; PAGE as usize];
        let there = bytes.len()?.min(PAGE) as usize;
        bytes.read_at(0, &mut found[..there])?;
        if found != header || there < header.len() {
            // Until the first checkpoint the header need not have reached the disk whole.
            let begun = found.iter().zip(&header).all(|(&found, &whole)| found == whole || found == 0);
            if slots > 0 || !begun {
                return Err(Error::corrupt("the vector file's header is damaged or of another database"));
            }
            bytes.write_at(0, &header)?;
        }
        let frame_bytes = u64::from(layout.group) * Layout::row_bytes(dim as usize) + GROUP_OVERHEAD;
        let file = VectorFile {
            mapped: kind == VectorStorage::Flat,
            lengths: false,
            seldom: false,
            layout,
            frames: Table::new(1),
            missed: Table::new(1),
            misses: AtomicUsize::new(0),
            clock: Mutex::default(),
            spares: Mutex::default(),
            writes: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            max_frames: usize::try_from(cache_bytes / frame_bytes).unwrap_or(usize::MAX).max(8),
            lent: AtomicUsize::new(0),
            bytes,
        };
        file.expect_rows(slots)?;
        Ok(file)
    }

    /// Has rows cached with their lengths, for [`RowRef::length`]. Mapped rows have none.
    pub(crate) fn keep_lengths(self) -> VectorFile {
        VectorFile { lengths: true, ..self }
    }

    /// Has rows that are fresh, or asked for once, take nobody's place in the cache: walks measure something else.
    pub(crate) fn seldom(self, seldom: bool) -> VectorFile {
        VectorFile { seldom, ..self }
    }

    /// Puts the length of a cached row in the place of its checksum, which was verified.
    fn measure(&self, held: &mut [f32]) {
        if self.lengths
            && let Some((length, row)) = held.split_last_mut()
        {
            *length = Kernels::get().dot(row, row).sqrt();
        }
    }

    /// `CORRUPT` where the file is too short to hold `slots` rows.
    pub(crate) fn expect_rows(&self, slots: u32) -> Result<()> {
        let Some(last) = slots.checked_sub(1) else { return Ok(()) };
        let needed = self.layout.offset(last) + Layout::row_bytes(self.layout.dim);
        let len = self.bytes.len()?;
        if len < needed {
            return Err(Error::corrupt(format!(
                "the vector file is truncated: {len} bytes, but {slots} rows need {needed}"
            )));
        }
        Ok(())
    }

    /// Pins the row of `slot`. `CORRUPT` where it fails its checksum.
    pub(crate) fn row(&self, slot: Slot) -> Result<RowRef> {
        let (group, row) = self.layout.place(slot);
        if let Some(cell) = self.frames.get(group) {
            let frame = cell.load();
            if frame.as_ref().is_some_and(|frame| frame.group == group)
                && let Some(found) = self.frame_row(frame, slot, row)?
            {
                return Ok(found);
            }
        }
        // Not cached, or cached before the row was written: the file decides.
        let found = if READS_ALONE && self.seldom && !self.mapped && !self.is_missed_again(group) {
            self.read_alone(group, slot)?
        } else {
            let frame = self.load(group)?;
            self.frame_row(arc_swap::Guard::from_inner(Some(frame)), slot, row)?
        };
        found.ok_or_else(|| Error::corrupt(format!("the vector of slot {slot} fails its checksum")))
    }

    /// Whether `group` was missed before, not long ago as the cache goes: else what is cached is worth more.
    fn is_missed_again(&self, group: u32) -> bool {
        let (word, bit) = (&self.missed.ensure(group / 64)[0], 1 << (group % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return true;
        }
        word.fetch_or(bit, Ordering::Relaxed);
        if self.misses.fetch_add(1, Ordering::Relaxed) >= LATELY.saturating_mul(self.most()) {
            self.misses.store(0, Ordering::Relaxed);
            self.missed.values().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        false
    }

    /// One row, in a frame of its own that the cache does not see.
    fn read_alone(&self, group: u32, slot: Slot) -> Result<Option<RowRef>> {
        let dim = self.layout.dim;
        let mut row = vec![0f32; dim + 1].into_boxed_slice();
        self.bytes.read_at(self.layout.offset(slot), bytemuck::cast_slice_mut(&mut row))?;
        let (data, sum) = bytemuck::cast_slice::<f32, u8>(&row).split_at(4 * dim);
        let whole = sum == checksum(slot, data).to_le_bytes();
        let rows = Rows::Owned { data: row, bad: Box::default(), lengths: false };
        let frame = Arc::new(Frame { group, rows, used: AtomicBool::new(true) });
        Ok(whole.then(|| RowRef { frame: arc_swap::Guard::from_inner(Some(frame)), start: 0, dim }))
    }

    fn frame_row(
        &self,
        frame: arc_swap::Guard<Option<Arc<Frame>>>,
        slot: Slot,
        row: u32,
    ) -> Result<Option<RowRef>> {
        let dim = self.layout.dim;
        let Some(held) = frame.as_deref() else { return Ok(None) };
        let start = match &held.rows {
            Rows::Owned { bad, .. } => {
                if bad[row as usize / 64] >> (row % 64) & 1 == 1 {
                    return Ok(None);
                }
                row as usize * (dim + 1)
            }
            Rows::Mapped { map, checked } => {
                let start = row as usize * (4 * dim + 4);
                let word = &checked[row as usize / 64];
                if word.load(Ordering::Relaxed) >> (row % 64) & 1 == 0 {
                    let found = map.bytes().get(start..start + 4 * dim + 4);
                    let Some((data, sum)) = found.and_then(|found| found.split_at_checked(4 * dim)) else {
                        return Ok(None);
                    };
                    if sum != checksum(slot, data).to_le_bytes() {
                        return Ok(None);
                    }
                    bytemuck::try_cast_slice::<u8, f32>(data).map_err(|_| {
                        Error::new(crate::Code::Internal, "the host mapped the vector file unaligned")
                    })?;
                    word.fetch_or(1 << (row % 64), Ordering::Relaxed);
                }
                start
            }
        };
        if !held.used.load(Ordering::Relaxed) {
            held.used.store(true, Ordering::Relaxed);
        }
        Ok(Some(RowRef { frame, start, dim }))
    }

    fn load(&self, group: u32) -> Result<Arc<Frame>> {
        let seen = self.writes.load(Ordering::Acquire);
        let frame = match self.map(group)? {
            Some(rows) => Arc::new(Frame { group, rows, used: AtomicBool::new(true) }),
            None => self.read(group)?,
        };
        let mut clock = sync::lock(&self.clock);
        if self.writes.load(Ordering::Acquire) == seen {
            self.install(&mut clock, group, frame.clone());
        }
        Ok(frame)
    }

    fn map(&self, group: u32) -> Result<Option<Rows>> {
        if !self.mapped {
            return Ok(None);
        }
        let (offset, bytes) = (self.layout.extent_offset(group), self.layout.extent_bytes());
        if self.bytes.len()? < offset + bytes {
            return Err(Error::corrupt("the vector file is truncated"));
        }
        Ok(self.bytes.map(offset, bytes as usize)?.map(|map| Rows::Mapped {
            map,
            checked: (0..self.layout.rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    fn read(&self, group: u32) -> Result<Arc<Frame>> {
        let dim = self.layout.dim;
        let (first, rows) = self.layout.group_slots(group);
        let offset = self.layout.offset(first);
        self.frame(group, rows, |data, bad| {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(data);
            // The last group may be short: what is missing reads as never written.
            if self.bytes.read_at(offset, bytes).is_err() {
                let have = self.bytes.len()?.saturating_sub(offset).min(bytes.len() as u64) as usize;
                bytes.fill(0);
                self.bytes.read_at(offset, &mut bytes[..have])?;
            }
            bad.fill(0);
            for (row, held) in (0..rows).zip(data.chunks_exact_mut(dim + 1)) {
                let (stored, sum) = bytemuck::cast_slice::<f32, u8>(held).split_at(4 * dim);
                if sum == checksum(first + row, stored).to_le_bytes() {
                    self.measure(held);
                } else {
                    bad[row as usize / 64] |= 1 << (row % 64);
                }
            }
            Ok(())
        })
    }

    /// A frame of so many rows for `fill` to write all of: one that left the cache and that nobody holds, or a new one.
    fn frame(
        &self,
        group: u32,
        rows: u32,
        fill: impl FnOnce(&mut [f32], &mut [u64]) -> Result<()>,
    ) -> Result<Arc<Frame>> {
        let len = rows as usize * (self.layout.dim + 1);
        loop {
            let spare = sync::lock(&self.spares).pop();
            let mut frame = spare.unwrap_or_else(|| {
                let data = vec![0f32; len].into_boxed_slice();
                let bad = vec![0u64; rows.div_ceil(64) as usize].into_boxed_slice();
                let rows = Rows::Owned { data, bad, lengths: self.lengths };
                Arc::new(Frame { group, rows, used: AtomicBool::new(true) })
            });
            if let Some(Frame { group: of, rows: Rows::Owned { data, bad, .. }, used }) =
                Arc::get_mut(&mut frame)
                && data.len() == len
            {
                *of = group;
                fill(data, bad)?;
                *used.get_mut() = true;
                return Ok(frame);
            }
        }
    }

    /// Keeps a frame that left the cache for [`VectorFile::frame`].
    fn retire(&self, frame: Option<Arc<Frame>>) {
        let mut spares = sync::lock(&self.spares);
        if let Some(frame) = frame.filter(|_| !self.mapped && spares.len() < SPARES) {
            spares.push(frame);
        }
    }

    fn install(&self, clock: &mut Clock, group: u32, frame: Arc<Frame>) {
        let cell = &self.frames.ensure(group)[0];
        let before = cell.swap(Some(frame));
        if before.is_some() {
            self.retire(before);
        } else {
            while !self.mapped && clock.ring.len() >= self.most() {
                self.evict_one(clock);
            }
            clock.ring.push(group);
            self.resident.store(clock.ring.len() as u64, Ordering::Relaxed);
        }
    }

    /// How many frames there may be.
    fn most(&self) -> usize {
        self.max_frames.saturating_sub(self.lent.load(Ordering::Relaxed)).max(8)
    }

    fn evict_one(&self, clock: &mut Clock) {
        loop {
            if clock.hand >= clock.ring.len() {
                clock.hand = 0;
            }
            let cell = &self.frames.ensure(clock.ring[clock.hand])[0];
            let spared = cell.load().as_ref().is_some_and(|frame| frame.used.swap(false, Ordering::Relaxed));
            if spared {
                clock.hand += 1;
            } else {
                self.retire(cell.swap(None));
                clock.ring.swap_remove(clock.hand);
                return;
            }
        }
    }

    /// Gives `bytes` of the cache's budget to something else, for good.
    pub(crate) fn lend(&self, bytes: u64) {
        let frame = u64::from(self.layout.group) * Layout::row_bytes(self.layout.dim) + GROUP_OVERHEAD;
        self.lent.fetch_add(bytes.div_ceil(frame) as usize, Ordering::Relaxed);
    }

    /// Writes one row for each of `slots`, which ascend, and caches fresh ones. Not durable until
    /// [`VectorFile::sync`].
    pub(crate) fn write(&self, slots: &[Slot], vectors: &[f32]) -> Result<()> {
        let mut rest = vectors;
        for run in slots.chunk_by(|a, b| a + 1 == *b) {
            let (now, later) = rest.split_at((run.len() * self.layout.dim).min(rest.len()));
            self.write_rows(run[0], now.chunks_exact(self.layout.dim), true)?;
            rest = later;
        }
        Ok(())
    }

    /// [`VectorFile::write`] for rows that nobody is about to read: fresh ones are not cached. Takes memory for all
    /// of `rows` at once.
    pub(crate) fn write_cold<'a>(
        &self,
        first: Slot,
        rows: impl ExactSizeIterator<Item = &'a [f32]>,
    ) -> Result<()> {
        self.write_rows(first, rows, false)
    }

    fn write_rows<'a>(
        &self,
        first: Slot,
        rows: impl ExactSizeIterator<Item = &'a [f32]>,
        keep: bool,
    ) -> Result<()> {
        let Some(after_first) = (rows.len() as u32).checked_sub(1) else { return Ok(()) };
        let last = first + after_first;
        let stride = self.layout.dim + 1;
        let begins = self.layout.offset(first);
        let ends = self.layout.offset(last) + 4 * stride as u64;
        // What lies between two extents belongs to no row, so that it can be written along with them.
        let mut stored: Vec<f32> = Vec::with_capacity(((ends - begins) / 4) as usize);
        for (slot, vector) in (first..).zip(rows) {
            stored.resize(((self.layout.offset(slot) - begins) / 4) as usize, 0.0);
            stored.extend_from_slice(vector);
            stored.push(f32::from_bits(checksum(slot, bytemuck::cast_slice(vector))));
        }
        self.reserve(last / self.layout.rows)?;
        self.bytes.write_at(begins, bytemuck::cast_slice(&stored))?;
        let mut slot = first;
        while slot <= last {
            let count = (last - slot + 1).min(self.layout.rows - slot % self.layout.rows);
            let at = ((self.layout.offset(slot) - begins) / 4) as usize;
            self.written(slot, &stored[at..at + count as usize * stride], keep);
            slot += count;
        }
        Ok(())
    }

    /// A mapped file grows by whole extents, so that every mapping lies inside it.
    fn reserve(&self, extent: u32) -> Result<()> {
        if self.mapped {
            let needed = self.layout.extent_offset(extent + 1);
            if self.bytes.len()? < needed {
                self.bytes.set_len(needed)?;
            }
        }
        Ok(())
    }

    /// Brings the cache up to rows (of one extent) just written to the file.
    fn written(&self, first: Slot, mut stored: &[f32], keep: bool) {
        let stride = self.layout.dim + 1;
        let mut clock = sync::lock(&self.clock);
        self.writes.fetch_add(1, Ordering::AcqRel);
        let mut slot = first;
        while !stored.is_empty() {
            let (group, row) = self.layout.place(slot);
            let (_, rows) = self.layout.group_slots(group);
            let take = (stored.len() / stride).min((rows - row) as usize);
            let (now, later) = stored.split_at(take * stride);
            if keep || self.frames.get(group).is_some_and(|cell| cell.load().is_some()) {
                self.written_group(&mut clock, group, row, rows, now);
            }
            slot += take as u32;
            stored = later;
        }
    }

    fn written_group(&self, clock: &mut Clock, group: u32, row: u32, rows: u32, stored: &[f32]) {
        let stride = self.layout.dim + 1;
        let cell = &self.frames.ensure(group)[0];
        let changed = row..row + (stored.len() / stride) as u32;
        let cached = cell.load();
        match cached.as_deref() {
            Some(Frame { rows: Rows::Mapped { checked, .. }, .. }) => {
                // A rewritten row is verified again when it is next read.
                for row in changed {
                    checked[row as usize / 64].fetch_and(!(1 << (row % 64)), Ordering::Relaxed);
                }
                return;
            }
            // A fresh group is about to be searched, unless codes are; an old one that is not cached stays so.
            None if row > 0 || self.mapped || self.seldom && clock.ring.len() >= self.most() => return,
            _ => {}
        }
        let filled = self.frame(group, rows, |data, bad| {
            match cached.as_deref() {
                Some(Frame { rows: Rows::Owned { data: held, bad: held_bad, .. }, .. }) => {
                    data.copy_from_slice(held);
                    bad.copy_from_slice(held_bad);
                }
                _ => {
                    data.fill(0.0);
                    bad.fill(u64::MAX);
                }
            }
            let fresh = &mut data[row as usize * stride..][..stored.len()];
            fresh.copy_from_slice(stored);
            fresh.chunks_exact_mut(stride).for_each(|held| self.measure(held));
            for row in changed {
                bad[row as usize / 64] &= !(1 << (row % 64));
            }
            Ok(())
        });
        drop(cached);
        // Filling from memory cannot fail.
        if let Ok(frame) = filled {
            self.install(clock, group, frame);
        }
    }

    /// Hands each row of `slots` to `take`, but for those that cannot be read. What is not mapped is read in one piece, past
    /// the cache: to be asked for no more at once than may be held.
    pub(crate) fn each_row(&self, slots: Range<Slot>, take: &mut dyn FnMut(Slot, &[f32])) {
        let Some(last) = slots.clone().last() else { return };
        let dim = self.layout.dim;
        let begins = self.layout.offset(slots.start);
        let len = self.layout.offset(last) + Layout::row_bytes(dim) - begins;
        let mut piece = vec![0u32; if self.mapped { 0 } else { len as usize / 4 }];
        if self.mapped || self.bytes.read_at(begins, bytemuck::cast_slice_mut(&mut piece)).is_err() {
            for slot in slots {
                if let Ok(row) = self.row(slot) {
                    take(slot, &row);
                }
            }
            return;
        }
        for slot in slots {
            let at = ((self.layout.offset(slot) - begins) / 4) as usize;
            let (row, sum) = (&piece[at..at + dim], piece[at + dim]);
            if sum == checksum(slot, bytemuck::cast_slice(row)) {
                take(slot, bytemuck::cast_slice(row));
            }
        }
    }

    /// Appends up to `count` rows of `frozen` from `first` on to `out`, as bytes, read past the cache so that it
    /// keeps what searches need. `lost` is asked about a row that is absent or fails its checksum: `None` for `CORRUPT`, else the
    /// number that stands for each of its own.
    pub(crate) fn copy_rows(
        &self,
        frozen: &FrozenRows,
        first: Slot,
        count: u32,
        lost: &dyn Fn(Slot) -> Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let row_bytes = Layout::row_bytes(self.layout.dim) as usize;
        let mut slot = first;
        let end = first.saturating_add(count).min(frozen.slots);
        let mut stored = Vec::new();
        while slot < end {
            let take = (end - slot).min(self.layout.rows - slot % self.layout.rows);
            stored.resize(take as usize * row_bytes, 0);
            self.bytes.read_at(self.layout.offset(slot), &mut stored)?;
            for (slot, row) in (slot..).zip(stored.chunks_exact(row_bytes)) {
                let (row, sum) = row.split_at(4 * self.layout.dim);
                if sum == checksum(slot, row).to_le_bytes() && !frozen.absent.contains(slot) {
                    out.extend_from_slice(row);
                } else if let Some(mark) = lost(slot) {
                    (0..self.layout.dim).for_each(|_| out.extend_from_slice(&mark.to_le_bytes()));
                } else {
                    return Err(Error::corrupt(format!("the vector of slot {slot} fails its checksum")));
                }
            }
            slot += take;
        }
        Ok(())
    }

    /// Makes the file long enough for `slots` rows, those that were never written included. Several threads may write
    /// there then.
    pub(crate) fn reserve_rows(&self, slots: u32) -> Result<()> {
        let Some(last) = slots.checked_sub(1) else { return Ok(()) };
        self.reserve(last / self.layout.rows)?;
        let needed = self.layout.offset(last) + Layout::row_bytes(self.layout.dim);
        if self.bytes.len()? < needed { self.bytes.set_len(needed) } else { Ok(()) }
    }

    /// Makes every row written survive power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.bytes.sync().map_err(|error| error.at("vector file"))
    }

    /// Gives back the space of all rows; for a file whose rows nothing names.
    pub(crate) fn clear(&self) -> Result<()> {
        let mut clock = sync::lock(&self.clock);
        self.writes.fetch_add(1, Ordering::AcqRel);
        for group in std::mem::take(&mut clock.ring) {
            self.frames.ensure(group)[0].store(None);
        }
        clock.hand = 0;
        self.resident.store(0, Ordering::Relaxed);
        self.bytes.set_len(PAGE)
    }

    /// Whether anything follows the header.
    pub(crate) fn holds_rows(&self) -> Result<bool> {
        Ok(self.bytes.len()? > PAGE)
    }

    /// Size of the file.
    pub(crate) fn disk(&self) -> Result<u64> {
        self.bytes.len()
    }

    /// Bytes of cached rows; mapped ones belong to the operating system.
    pub(crate) fn memory(&self) -> u64 {
        let frame = u64::from(self.layout.group) * Layout::row_bytes(self.layout.dim) + GROUP_OVERHEAD;
        let held = if self.mapped { 0 } else { self.resident.load(Ordering::Relaxed) };
        held * frame + self.frames.memory() + self.missed.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::MemBytes;

    #[test]
    fn no_dimension_wastes_more_than_a_tenth() {
        for dim in (1..5000).chain([8191, 16_384, 40_000, 65_535]) {
            let layout = Layout::paged(dim);
            let used = u64::from(layout.rows) * Layout::row_bytes(dim);
            assert!(layout.rows > 0 && used <= layout.extent_bytes(), "dim {dim}");
            assert!((layout.extent_bytes() - used) * 10 <= layout.extent_bytes(), "dim {dim}: {layout:?}");
        }
    }

    #[test]
    fn rows_come_back_exactly_through_a_tiny_cache() {
        for kind in [VectorStorage::Paged, VectorStorage::Flat] {
            let bytes = Arc::new(MemBytes::default());
            let rows: Vec<f32> = (0..500 * 100).map(|i| i as f32 * 0.37 - 11.0).collect();
            let file = VectorFile::open(bytes.clone(), 100, kind, 0, 0).unwrap();
            file.write(&[0, 1, 2, 3, 4, 5, 6], &rows[..100 * 7]).unwrap();
            assert_eq!(&*file.row(3).unwrap(), &rows[300..400]);
            file.write(&(7..500).collect::<Vec<_>>(), &rows[700..]).unwrap();
            for file in [file, VectorFile::open(bytes.clone(), 100, kind, 0, 500).unwrap()] {
                for slot in (0..500).rev() {
                    assert_eq!(
                        &*file.row(slot).unwrap(),
                        &rows[slot as usize * 100..][..100],
                        "{kind:?} {slot}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_written_again_is_seen_at_once() {
        for kind in [VectorStorage::Paged, VectorStorage::Flat] {
            let file = VectorFile::open(Arc::new(MemBytes::default()), 3, kind, 1 << 20, 0).unwrap();
            file.write(&(0..900).collect::<Vec<_>>(), &[1.0; 2700]).unwrap();
            let held = file.row(5).unwrap();
            assert!((0..900).all(|slot| *file.row(slot).unwrap() == [1.0; 3]));
            let slots = [5, 6, 300, 899, 900];
            file.write(&slots, &(0..15).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
            for (i, &slot) in slots.iter().enumerate() {
                assert_eq!(
                    *file.row(slot).unwrap(),
                    [0, 1, 2].map(|j| (3 * i + j) as f32),
                    "{kind:?} {slot}"
                );
            }
            assert!([4, 7, 299, 301, 898].iter().all(|&slot| *file.row(slot).unwrap() == [1.0; 3]));
            // Cached rows are replaced, not changed, under those who hold them; mapped ones are the file itself.
            assert!(kind == VectorStorage::Flat || *held == [1.0; 3]);
        }
    }

    #[test]
    fn lengths_are_those_of_the_rows_however_they_came_into_the_cache() {
        let bytes = Arc::new(MemBytes::default());
        let rows: Vec<f32> = (0..300 * 37).map(|i| (i as f32 * 0.37).sin()).collect();
        let open = |kind, slots| VectorFile::open(bytes.clone(), 37, kind, 0, slots).unwrap();
        let file = open(VectorStorage::Paged, 0).keep_lengths();
        let check = |file: &VectorFile| {
            for (slot, row) in (0..).zip(rows.chunks_exact(37)) {
                let [_, _, square] = Kernels::get().dot_and_norms(row, row);
                let found = file.row(slot).unwrap();
                assert_eq!(&*found, row);
                assert_eq!(found.length().map(f32::to_bits), Some(square.sqrt().to_bits()), "{slot}");
            }
        };
        for (at, some) in rows.chunks(37 * 7).enumerate() {
            let first = at as Slot * 7;
            file.write(&(first..first + some.len() as Slot / 37).collect::<Vec<_>>(), some).unwrap();
        }
        check(&file);
        check(&open(VectorStorage::Paged, 300).keep_lengths());
        assert_eq!(open(VectorStorage::Paged, 300).row(3).unwrap().length(), None);
    }

    /// As a reader is who was stopped while it took hold of a frame that was filled again meanwhile.
    #[test]
    fn a_reader_handed_the_frame_of_another_group_reads_its_own() {
        let rows: Vec<f32> = (0..60).flat_map(|slot| [slot as f32; 100]).collect();
        let file = VectorFile::open(Arc::new(MemBytes::default()), 100, VectorStorage::Paged, 0, 0).unwrap();
        file.write(&(0..60).collect::<Vec<_>>(), &rows).unwrap();
        let (own, other) = (file.layout.place(7), file.layout.place(51));
        assert_ne!(own.0, other.0);
        file.row(51).unwrap();
        let of_other = file.frames.ensure(other.0)[0].load_full();
        assert!(of_other.is_some());
        file.frames.ensure(own.0)[0].store(of_other);
        assert_eq!(*file.row(7).unwrap(), [7.0; 100]);
    }

    #[test]
    fn a_header_cut_short_by_a_crash_is_written_again_unless_rows_lie_behind_it() {
        let whole = Layout::paged(4).header();
        let open = |bytes: &[u8], slots| {
            let bytes = Arc::new(MemBytes::new(bytes.to_vec()));
            VectorFile::open(bytes.clone(), 4, VectorStorage::Paged, 0, slots).map(|_| bytes.to_vec())
        };
        let mut torn = whole.clone();
        torn[..512].fill(0);
        for begun in [&[][..], &whole[..1], &whole[..700], &torn, &[0; 9000]] {
            assert_eq!(open(begun, 0).unwrap()[..whole.len()], whole);
            assert!(open(begun, 1).is_err());
        }
        assert!(open(&Layout::paged(5).header(), 0).is_err());
    }

    #[test]
    fn what_is_missed_once_is_read_past_the_cache_and_what_is_missed_again_is_kept() {
        let rows: Vec<f32> = (0..3000 * 20).map(|i| i as f32).collect();
        let bytes = Arc::new(MemBytes::default());
        let open = |slots| {
            VectorFile::open(bytes.clone(), 20, VectorStorage::Paged, 40 << 10, slots).unwrap().seldom(true)
        };
        open(0).write_cold(0, rows.chunks_exact(20)).unwrap();
        let file = open(3000);
        let resident = || file.resident.load(Ordering::Relaxed);
        let read = |slot: Slot| assert_eq!(*file.row(slot).unwrap(), rows[slot as usize * 20..][..20]);
        read(7);
        assert_eq!(resident(), 0);
        read(8);
        assert_eq!(resident(), 1);
        read(7);
        assert_eq!(resident(), 1);
        // As often as the cache has room some times over: then what was missed long ago counts as new.
        (0..3000).step_by(file.layout.group as usize).for_each(read);
        let (before, missed) = (resident(), file.misses.load(Ordering::Relaxed));
        assert!(missed < LATELY * file.most() && before < 3, "{before} {missed}");
        let mut damaged = bytes.to_vec();
        damaged[PAGE as usize + 5 * 84 + 3] ^= 1;
        let damaged = Arc::new(MemBytes::new(damaged));
        let file = VectorFile::open(damaged, 20, VectorStorage::Paged, 0, 3000).unwrap().seldom(true);
        for _ in 0..3 {
            assert_eq!(file.row(5).err().map(|error| error.code()), Some(crate::Code::Corrupt));
        }
        assert!(file.row(4).is_ok());
    }

    #[test]
    fn a_damaged_or_missing_row_is_named() {
        let bytes = Arc::new(MemBytes::default());
        VectorFile::open(bytes.clone(), 4, VectorStorage::Paged, 0, 0)
            .unwrap()
            .write_cold(0, [1.0; 40].chunks_exact(4))
            .unwrap();
        let mut damaged = bytes.to_vec();
        damaged[PAGE as usize + 5 * 20 + 3] ^= 1;
        let file =
            VectorFile::open(Arc::new(MemBytes::new(damaged)), 4, VectorStorage::Paged, 0, 10).unwrap();
        assert_eq!(&*file.row(4).unwrap(), &[1.0; 4]);
        for range in [0..10, 3..8, 4..14, 9..10, 0..0] {
            let mut found = Vec::new();
            file.each_row(range.clone(), &mut |slot, row| {
                assert_eq!(row, [1.0; 4]);
                found.push(slot);
            });
            let whole: Vec<Slot> = range.filter(|&slot| slot != 5 && slot < 10).collect();
            assert_eq!(found, whole);
        }
        let error = file.row(5).err().unwrap();
        assert_eq!((error.code(), error.message().contains("slot 5")), (crate::Code::Corrupt, true));
        assert!(file.row(10).is_err());
        assert!(VectorFile::open(bytes, 4, VectorStorage::Paged, 0, 11).is_err());
    }
}
