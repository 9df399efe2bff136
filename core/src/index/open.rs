//! Opening: reads what is stored and replays what a crash left.

use super::commit::Writer;
use super::meta::Meta;
use super::names::Names;
use super::overlay::Overlay;
use super::sketch::Sketches;
use super::slots::Slots;
use super::{Index, Published, Stores, entries, record};
use crate::codes::{Codes, LEAST_DIM};
use crate::graph::cache::AdjacencyCache;
use crate::graph::policy::{LinkPolicy, Mix};
use crate::graph::upper::Upper;
use crate::journal::Journal;
use crate::kv::{Batch, Flow, Kv, Op, Range, Space, slot_key, slot_of};
use crate::simd::Kernels;
use crate::table::Table;
use crate::vectors::VectorFile;
use crate::{Code, Config, Error, Metric, Options, Quantization, Result, Slot, VectorStorage, sync};
use roaring::RoaringBitmap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

impl Index {
    /// Opens the database in `stores`, all three empty for a new one.
    ///
    /// Replays the journal: time grows with what was written since the last checkpoint, at most some 64 MiB, and with
    /// the number of upper-layer nodes and tombstones, not with the rows. `CORRUPT` where the parts are damaged or do
    /// not belong together.
    pub fn open(stores: Stores, config: Config, options: Options) -> Result<Index> {
        config.validate()?;
        options.validate()?;
        let stored = Meta::read(&*stores.kv.view()?)?;
        let budget = Budget::new(&options, &config, u64::from(stored.next));
        let vectors =
            VectorFile::open(stores.vectors, config.dim, config.vector_storage, budget.vectors, stored.next)?;
        let vectors = if config.metric == Metric::Cosine { vectors.keep_lengths() } else { vectors };
        let (journal, meta) = recover(&*stores.kv, &vectors, stores.journal, stored, config.dim)?;
        vectors.expect_rows(meta.next)?;
        let rules = entries::settle_rules(&*stores.kv, options.indexes.as_ref(), options.read_only)?;

        let policy = options.link_policy.unwrap_or(LinkPolicy::Eager);
        let first = Published { seq: meta.applied.max(1), slots: meta.committed, live: meta.live };
        let kernels = Kernels::get();
        let codes = Codes::new(
            options.quantization,
            config.metric,
            kernels,
            config.dim,
            config.seed,
            budget.codes,
            budget.more_codes,
        );
        let index = Index {
            kernels,
            journal,
            vectors: vectors.seldom(codes.are_used() && codes.measure()),
            codes,
            warm: Default::default(),
            warming: Mutex::default(),
            adjacency: AdjacencyCache::new(
                config.m_max0 as usize,
                budget.adjacency,
                policy != LinkPolicy::Eager,
                meta.next,
            ),
            mix: Mix::default(),
            upper: Upper::new(config.m_max as usize),
            overlay: Overlay::default(),
            names: Names::default(),
            large_pages: OnceLock::new(),
            backed: AtomicU64::new(0),
            died: Table::new(1),
            born: Table::new(1),
            swept: AtomicU32::new(0),
            shown: Mutex::default(),
            pins: Mutex::default(),
            twins: Table::new(1),
            allocated: AtomicU32::new(meta.next),
            published: Arc::new(first).into(),
            live: Mutex::default(),
            chained: Mutex::default(),
            rules,
            calibration: Default::default(),
            widths: Default::default(),
            selections: Default::default(),
            sketches: Sketches::new(config.dim as usize, budget.sketches),
            writer: Mutex::new(Writer::new(meta, budget.pending, policy)),
            scratches: Mutex::default(),
            spare_lists: Mutex::default(),
            closed: Default::default(),
            poison: Default::default(),
            kv: stores.kv,
            config,
            options,
        };
        sync::lock(&index.shown).add(&index.published.load_full());
        index.load(meta)?;
        if !index.options.read_only {
            index.watch_deltas(&sync::lock(&index.writer));
        }
        Ok(index)
    }

    /// Brings the in-memory tables up from the store.
    fn load(&self, meta: Meta) -> Result<()> {
        let view = self.kv.view()?;
        let mut upper = Vec::new();
        let mut failed = Ok(());
        view.scan(Space::Upper, &Range::all(), &mut |key, value| {
            let slot = known_slot(key, meta.next);
            until_error(slot.map(|slot| upper.push((slot, value.to_vec()))), &mut failed)
        })?;
        failed?;
        match self.upper.load(&upper) {
            Err(error) if error.code() == Code::Corrupt && self.options.repair => self.upper.clear(),
            loaded => loaded?,
        }
        if self.options.repair {
            // Said by a check, and mended after it.
        } else if meta.live > 0 && self.upper.entry().is_none() {
            return Err(Error::corrupt("the graph has rows but no entry point"));
        }
        let mut failed = Ok(());
        let mut live = RoaringBitmap::new();
        live.insert_range(0..meta.committed);
        let mut slots = Slots::default();
        view.scan(Space::Dead, &Range::all(), &mut |key, value| {
            let bury = |slot: Slot| {
                self.died.ensure(slot)[0].store(1, Ordering::Release);
                live.remove(slot);
                slots.load(slot, value);
            };
            until_error(known_slot(key, meta.next).map(bury), &mut failed)
        })?;
        failed?;
        self.swept.store(slots.swept() as u32, Ordering::Release);
        sync::lock(&self.writer).slots = slots;
        *sync::lock(&self.live) = Arc::new(live);
        let mut failed = Ok(());
        let mut chained = RoaringBitmap::new();
        view.scan(Space::Twins, &Range::all(), &mut |key, value| {
            let link = known_slot(key, meta.next).and_then(|slot| Ok((slot, known_slot(value, meta.next)?)));
            let set = |(slot, next): (Slot, Slot)| {
                self.twins.ensure(slot)[0].store(next + 1, Ordering::Release);
                chained.insert(next);
            };
            until_error(link.map(set), &mut failed)
        })?;
        *sync::lock(&self.chained) = Arc::new(chained);
        if self.options.repair { Ok(()) } else { failed }
    }
}

/// How one byte budget is shared out; the host gives the store's own cache an eighth. What vectors cannot use, as they
/// are mapped or held to fewer pages, goes to adjacency.
struct Budget {
    adjacency: u64,
    vectors: u64,
    /// What codes have, and part of `vectors` that they may take besides.
    codes: u64,
    more_codes: u64,
    /// Part of `vectors` that sketches may take.
    sketches: u64,
    /// Journal bytes that may wait for a checkpoint.
    pending: u64,
}

impl Budget {
    /// Of a database that has `rows` so far.
    fn new(options: &Options, config: &Config, rows: u64) -> Budget {
        let all = options.cache_bytes;
        let share = all / 8 * 5;
        let pages = options.paged_max_cached_pages.map_or(u64::MAX, |pages| u64::from(pages) * 4096);
        let paged = config.vector_storage == VectorStorage::Paged;
        let coded = options.quantization != Quantization::None && config.dim >= LEAST_DIM;
        let measured = coded && options.quantization == Quantization::Sq8;
        // A row takes a list and a code.
        let list = AdjacencyCache::list_bytes(config.m_max0, rows.min(u64::from(Slot::MAX)) as Slot);
        let code = Codes::row_bytes(options.quantization, config.dim);
        // Bits for all rows, and some more to come, save more reads than anything else in their place.
        let bits = if coded && !measured { (rows * code / 8 * 9).clamp(all / 8, all / 2) } else { 0 };
        let share = share.saturating_sub(bits);
        let vectors = match config.vector_storage {
            VectorStorage::Paged if measured => (share / 5).min(pages),
            VectorStorage::Paged => share.min(pages),
            VectorStorage::Flat => share / 5,
        };
        let rest = (all / 8 * 7).saturating_sub(vectors + bits);
        // Where rows have codes, a vector is seldom read.
        let more = if measured && paged { vectors / 2 } else { 0 };
        // In proportion, so that both run out together; but a mapped vector is soon read, a list is not.
        let most = if paged { rest } else { rest.saturating_sub(rows * list) };
        let coded_rows = (rest + more) / (list + code);
        let bytes = if measured { (coded_rows * code).saturating_sub(more).min(most) } else { 0 };
        let sketches = match config.vector_storage {
            VectorStorage::Paged => share.min(pages) / 5,
            VectorStorage::Flat => share / 5,
        };
        Budget {
            adjacency: rest - bytes,
            vectors,
            codes: bits + bytes,
            more_codes: more,
            sketches,
            pending: (options.cache_bytes / 4).clamp(4 << 20, 64 << 20),
        }
    }
}

fn known_slot(key: &[u8], next: Slot) -> Result<Slot> {
    let slot = slot_of(key)?;
    if slot >= next {
        return Err(Error::corrupt(format!(
            "the store names slot {slot}, but only {next} were ever written"
        )));
    }
    Ok(slot)
}

fn until_error(result: Result<()>, failed: &mut Result<()>) -> Flow {
    match result {
        Ok(()) => Flow::Continue(()),
        Err(error) => {
            *failed = Err(error);
            Flow::Break(())
        }
    }
}

/// Clears what a bulk build stored before it could say that there are rows.
fn sweep_unfinished_build(kv: &dyn Kv) -> Result<()> {
    let mut left = false;
    for space in Space::ALL {
        let view = kv.view()?;
        view.scan(space, &Range::all(), &mut |_, _| {
            left |= space != Space::Meta;
            Flow::Break(())
        })?;
    }
    if left {
        let mut batch = Batch::default();
        let spaces = Space::ALL.into_iter().filter(|&space| space != Space::Meta);
        spaces.for_each(|space| batch.delete_range(space, Range::all()));
        kv.apply(&batch)?;
    }
    Ok(())
}

/// Replays the journal into the stores and buries the rows of a write that never committed.
fn recover(
    kv: &dyn Kv,
    vectors: &VectorFile,
    bytes: Arc<dyn crate::bytes::Bytes + Send + Sync>,
    stored: Meta,
    dim: u32,
) -> Result<(Journal, Meta)> {
    // The journal has a durable header before the first row is written.
    if stored.applied == 0 && bytes.len()? < crate::journal::HEADER && vectors.holds_rows()? {
        return Err(Error::corrupt(
            "the journal is truncated: the vector file has rows that it must have named",
        ));
    }
    let mut ops: Vec<Op> = Vec::new();
    let mut applied = stored.applied;
    let journal = Journal::open(bytes, stored.applied, &mut |entry| {
        let body = record::decode(&entry.body, dim)?;
        vectors.write(&body.slots, &body.rows)?;
        ops.extend(body.batch.into_ops());
        applied = entry.seq;
        Ok(())
    })?;
    if applied > stored.applied {
        // Rows first: once the store says that a write is applied, its rows are no longer taken from the journal.
        vectors.sync()?;
        let mut batch = Batch::default();
        ops.into_iter().for_each(|op| batch.push(op));
        kv.apply(&batch)?;
    }
    let mut meta = Meta::read(&*kv.view()?)?;
    if meta.next == 0 {
        sweep_unfinished_build(kv)?;
    }
    let orphans = meta.committed..meta.next;
    if applied > stored.applied || !orphans.is_empty() {
        let mut batch = Batch::default();
        orphans.for_each(|slot| batch.put(Space::Dead, slot_key(slot), []));
        meta = Meta { applied, committed: meta.next, ..meta };
        meta.put(&mut batch);
        let seq = kv.apply(&batch)?;
        kv.sync(seq)?;
    }
    if journal.pending() > 0 {
        journal.cut(meta.applied)?;
    }
    Ok((journal, meta))
}
