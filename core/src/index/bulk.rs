//! The one-pass initial load: a whole graph by RNN-Descent, then one ordered write.

use super::entries::Entries;
use super::meta::Meta;
use super::types::{Inserted, Rows};
use super::{Index, Published};
use crate::graph::upper;
use crate::hnsw::level_of;
use crate::kv::{Batch, Entry, Space, links, slot_key};
use crate::rnn::{self, Graph};
use crate::{Code, Control, Error, Id, Pool, Result, Slot, sync};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The steps of a bulk build, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkPhase {
    /// Checking every row.
    Validate,
    /// One step of making the graph.
    Graph(rnn::Phase),
    /// Writing vectors.
    Vectors,
    /// Writing the graph, ids and payloads.
    Store,
}

impl BulkPhase {
    /// The names of all steps, in order: what hosts call them.
    pub const NAMES: [&str; 8] =
        ["validate", "prepare", "descend", "connect", "upper", "order", "vectors", "store"];

    /// Where the step's name stands in [`BulkPhase::NAMES`].
    pub const fn number(self) -> u32 {
        match self {
            BulkPhase::Validate => 0,
            BulkPhase::Graph(rnn::Phase::Prepare) => 1,
            BulkPhase::Graph(rnn::Phase::Descend) => 2,
            BulkPhase::Graph(rnn::Phase::Connect) => 3,
            BulkPhase::Graph(rnn::Phase::Upper) => 4,
            BulkPhase::Graph(rnn::Phase::Order) => 5,
            BulkPhase::Vectors => 6,
            BulkPhase::Store => 7,
        }
    }
}

/// Bytes of vectors gathered for one write of their file, or somewhat fewer.
const GATHER: usize = 1 << 20;

impl Index {
    /// Builds the graph of all `rows` at once and writes everything in one ordered pass. Several times as fast as
    /// inserting, at the price of memory: see [`Index::bulk_memory`].
    ///
    /// The database must be empty, else `NOT_EMPTY` and nothing is changed. All rows or none: a bad row (named by
    /// its position), an abort, a full disk or a crash leaves the database empty and usable. The graph depends on the
    /// rows and the seed, not on the number of threads. `phase` is told of each step as it begins, `control` of the
    /// progress of the whole. RNN-Descent: Ono and Matsui, arXiv 2310.20419.
    pub fn bulk_build(
        &self,
        rows: Rows<'_>,
        pool: &dyn Pool,
        control: &Control<'_>,
        phase: &(dyn Fn(BulkPhase) + Sync),
    ) -> Result<Inserted> {
        self.reading()?;
        let mut w = self.writing()?;
        if w.meta.next > 0 {
            return Err(Error::new(
                Code::NotEmpty,
                format!(
                    "the database holds {} rows ({} with deleted ones): bulk builds need a new one, insertMany adds to this",
                    w.meta.live, w.meta.next
                ),
            ));
        }
        phase(BulkPhase::Validate);
        let count = self.validate_rows(&rows, pool)?;
        if count == 0 {
            return Ok(Inserted { count: 0, first_id: rows.ids.is_none().then_some(0) });
        }
        let key_of = |row: u32| match rows.ids {
            Some(ids) => ids[row as usize].to_key(),
            None => Id::Num(u64::from(row)).to_key(),
        };
        let input = rnn::Input {
            vectors: rows.vectors,
            dim: self.config.dim,
            metric: self.config.metric,
            level_of: &|row| level_of(self.config.seed, &key_of(row), self.config.m),
        };
        let params = rnn::Params {
            m_max: self.config.m_max,
            m_max0: self.config.m_max0,
            seed: self.config.seed,
            ..rnn::Params::default()
        };
        let graph = rnn::build(&input, &params, pool, control, &|step| phase(BulkPhase::Graph(step)))?;

        phase(BulkPhase::Vectors);
        // Rows that no record names are harmless; giving their space back is all there is to do.
        let cleared = |_: &Error| drop(self.vectors.clear());
        self.write_vectors(&graph, rows.vectors, pool, control).inspect_err(cleared)?;
        phase(BulkPhase::Store);
        control.check().inspect_err(cleared)?;
        // Later writes must be told from the state shown here, which is never before the first write.
        let seq = w.seq.max(1);
        let mut meta = w.meta;
        meta.next = count as u32;
        meta.committed = meta.next;
        meta.live = count as u64;
        meta.applied = seq;
        meta.next_id = match rows.ids {
            None => count as u64,
            Some(ids) => super::write::next_id(ids.iter()),
        };
        let levels = upper_levels(&graph);
        let (failed, begun) = (Mutex::new(None), AtomicBool::new(false));
        // The disk makes sure of the vectors while the graph is encoded. A pool of one does that first.
        pool.for_each(2, &|job| {
            let done = match job {
                0 => self.vectors.sync(),
                _ if sync::lock(&failed).is_some() => Ok(()),
                _ => {
                    begun.store(true, Ordering::Relaxed);
                    self.store_graph(&graph, &levels, &rows, &key_of)
                }
            };
            if let Err(error) = done {
                sync::lock(&failed).get_or_insert(error);
            }
        });
        let failed = sync::lock(&failed).take();
        if begun.into_inner() {
            let stored = failed.map_or_else(|| self.store_counters(meta), Err);
            stored.inspect_err(|error| self.poison_with(error))?;
        } else {
            let skipped = || Error::new(Code::Internal, "the pool skipped a job");
            return Err(failed.unwrap_or_else(skipped)).inspect_err(cleared);
        }

        self.names.clear();
        self.upper.load(&levels)?;
        for &(rep, twin) in &graph.twins {
            Arc::make_mut(&mut sync::lock(&self.chained)).insert(twin);
            let next = self.twins.ensure(rep)[0].load(Ordering::Acquire);
            self.twins.ensure(twin)[0].store(next, Ordering::Release);
            self.twins.ensure(rep)[0].store(twin + 1, Ordering::Release);
        }
        w.seq = seq;
        w.meta = meta;
        self.allocated.store(meta.next, Ordering::Release);
        self.publish(Published { seq, slots: meta.committed, live: meta.live }, |live| {
            live.insert_range(0..meta.committed);
        });
        self.widths.note(count as u64);
        // Whoever searched while there was nothing must not be taken for having made all codes.
        self.forget_codes();
        (control.progress)(count as u64, count as u64);
        Ok(Inserted { count: count as u64, first_id: rows.ids.is_none().then_some(0) })
    }

    /// What a bulk build of `rows` rows may take at its peak, in bytes, the vectors handed in included: those, a copy of
    /// them where codes cannot stand for them, the codes, and the pools of candidates.
    pub fn bulk_memory(&self, rows: u64) -> u64 {
        rows * (u64::from(self.config.dim) * 9 + 500) + (64 << 20)
    }

    fn write_vectors(
        &self,
        graph: &Graph,
        vectors: &[f32],
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<()> {
        let dim = self.config.dim as usize;
        let size = (GATHER / (4 * dim)).max(1);
        let runs: Vec<&[u32]> = graph.rows.chunks(size).collect();
        // A file that grows by whole extents must not be made to by several threads at once.
        self.vectors.reserve_rows(graph.rows.len() as u32)?;
        let failed: Mutex<Option<Error>> = Mutex::default();
        pool.for_each(runs.len(), &|i| {
            if sync::lock(&failed).is_some() {
                return;
            }
            let written = control.check().and_then(|()| {
                let rows = runs[i].iter().map(|&row| &vectors[row as usize * dim..][..dim]);
                self.vectors.write_cold((i * size) as Slot, rows)
            });
            if let Err(error) = written {
                sync::lock(&failed).get_or_insert(error);
            }
        });
        sync::lock(&failed).take().map_or(Ok(()), Err)
    }

    /// Writes everything keyed but the counters, in bounded memory, and makes it durable. Until the counters say that
    /// there are rows, it is swept away at the next open.
    fn store_graph(
        &self,
        graph: &Graph,
        levels: &[(Slot, Vec<u8>)],
        rows: &Rows<'_>,
        key_of: &(dyn Fn(u32) -> Vec<u8> + Sync),
    ) -> Result<()> {
        // One space after the other, each in the order of its keys: that is what a store can load past its usual path.
        let nodes = graph.rows.len() - graph.twins.len();
        let load = |space: Space, entries: &mut dyn Iterator<Item = Entry>| {
            self.kv.load_sorted(space, &mut entries.map(Ok)).map(drop)
        };
        let list = |slot: usize| (slot_key(slot as Slot).into(), links::encode(graph.base.of(slot)));
        load(Space::Links, &mut (0..nodes).map(list))?;
        let slots = || (0 as Slot..).zip(&graph.rows);
        load(Space::Slots, &mut slots().map(|(slot, &row)| (slot_key(slot).into(), key_of(row))))?;
        let payload = |row: u32| rows.payloads.get(row as usize).and_then(Option::as_ref);
        if !rows.payloads.is_empty() {
            let stored =
                |(slot, &row): (Slot, &u32)| Some((slot_key(slot).into(), payload(row)?.clone().into()));
            load(Space::Payloads, &mut slots().filter_map(stored))?;
        }
        // All rows that share index keys at once, so that each key is written once.
        const SPAN: usize = crate::kv::postings::SPAN as usize;
        for (first, rows_of_run) in (0..).step_by(SPAN).zip(graph.rows.chunks(SPAN)) {
            let mut entries = Entries::default();
            for (slot, &row) in (first..).zip(rows_of_run) {
                if let Some(text) = payload(row) {
                    entries.add(slot, text, &self.rules)?;
                }
            }
            let mut batch = Batch::default();
            entries.put_into(&mut batch)?;
            if !batch.is_empty() {
                self.kv.apply(&batch)?;
            }
        }
        let mut named: Vec<(u32, Slot)> = slots().map(|(slot, &row)| (row, slot)).collect();
        match rows.ids {
            None => named.sort_unstable(),
            Some(ids) => named.sort_unstable_by(|a, b| ids[a.0 as usize].cmp(&ids[b.0 as usize])),
        }
        load(Space::Ids, &mut named.iter().map(|&(row, slot)| (key_of(row), slot_key(slot).into())))?;
        let mut batch = Batch::default();
        for (slot, levels) in levels {
            batch.put(Space::Upper, slot_key(*slot), levels.clone());
        }
        let mut heads: HashMap<Slot, Slot> = HashMap::new();
        for &(rep, twin) in &graph.twins {
            if let Some(next) = heads.insert(rep, twin) {
                batch.put(Space::Twins, slot_key(twin), slot_key(next));
            }
        }
        heads.into_iter().for_each(|(rep, twin)| batch.put(Space::Twins, slot_key(rep), slot_key(twin)));
        let seq = self.kv.apply(&batch)?;
        // A disk that fills does so here, while nothing counts yet; the counters alone take next to no room.
        self.kv.sync(seq).map(drop)
    }

    /// Makes the rows count, once everything that they consist of is durable.
    fn store_counters(&self, meta: Meta) -> Result<()> {
        let mut batch = Batch::default();
        meta.put(&mut batch);
        let seq = self.kv.apply(&batch)?;
        self.kv.sync(seq).map(drop)
    }
}

/// The stored form of every node above layer 0, ascending by slot.
fn upper_levels(graph: &Graph) -> Vec<(Slot, Vec<u8>)> {
    let Some(lowest) = graph.upper.first() else {
        // Descents begin on an upper layer, so there must be one.
        return graph.entry.map(|slot| (slot, upper::encode(&[Vec::new()]))).into_iter().collect();
    };
    let stored = |&slot: &Slot| {
        let lists = graph.upper.iter().map_while(|layer| {
            let at = layer.nodes.binary_search(&slot).ok()?;
            Some(layer.adjacency.of(at).to_vec())
        });
        (slot, upper::encode(&lists.collect::<Vec<_>>()))
    };
    lowest.nodes.iter().map(stored).collect()
}
