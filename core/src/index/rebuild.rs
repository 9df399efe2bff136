//! Repair: what follows from rows is made anew from them.
//!
//! Ids, vectors and payloads are facts; the graph, its upper layers, chains of twins, the index of payloads, the names of
//! slots and the counters follow from them. A repair keeps every row whose facts can be read, in its slot.

use super::commit::{Commit, Writer};
use super::entries::Entries;
use super::meta::Meta;
use super::types::{CheckReport, Problem};
use super::{Index, payload};
use crate::graph::upper;
use crate::hnsw::level_of;
use crate::kv::links::{self, TREE};
use crate::kv::{Batch, Range, Space, postings, slot_key, slot_of};
use crate::rnn::{self, Graph};
use crate::{Code, Control, Id, Pool, Result, Slot, sync};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries read at a time.
const PAGE: usize = 4096;

/// What [`Index::repair`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What [`Index::check`] found before.
    pub found: Vec<Problem>,
    /// Rows and payloads that could not be kept: facts that nothing else tells.
    pub lost: Vec<Problem>,
    /// The state afterwards.
    pub report: CheckReport,
}

/// Rows whose facts can be read, ascending by slot.
#[derive(Default)]
struct Sound {
    slots: Vec<Slot>,
    ids: Vec<Id>,
    payloads: Vec<Option<String>>,
    vectors: Vec<f32>,
    next_id: u64,
}

impl Index {
    /// [`Index::check`]; where that finds anything, makes everything that follows from ids, vectors and payloads anew and
    /// checks again. Rows whose id or vector cannot be read are deleted, payloads that cannot are removed, and the answer
    /// names them.
    ///
    /// Takes the time of a bulk build and its memory ([`Index::bulk_memory`]); writes wait, and so do exports and scans
    /// for what they hold. What was brought to the store is one change: a crash leaves all of it or nothing. Damaged
    /// blocks of the store itself cannot be repaired: `CORRUPT`. `ABORTED` where `control` says so, with nothing changed
    /// but what was lost.
    pub fn repair(&self, pool: &dyn Pool, control: &Control<'_>) -> Result<Repaired> {
        let report = self.check(control)?;
        if report.problems.is_empty() {
            return Ok(Repaired { report, ..Repaired::default() });
        }
        let mut lost = Vec::new();
        {
            let mut w = self.writing()?;
            self.checkpoint(&mut w)?;
            w.sweep = None;
            let sound = self.sound_rows(&mut lost, control)?;
            self.bury_others(&mut w, &sound)?;
            self.rebuild(&mut w, &sound, pool, control)?;
            // Another graph takes other widths.
            self.widths.note(sound.slots.len() as u64);
        }
        Ok(Repaired { found: report.problems, lost, report: self.check(control)? })
    }

    /// Every entry of `space`.
    pub(crate) fn all_entries(&self, space: Space, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let mut range = Range::all();
        loop {
            let page = self.overlay.scan(&*self.kv, space, &range, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            range.start = [last.as_slice(), &[0]].concat();
            page.iter().for_each(|(key, value)| see(key, value));
        }
    }

    /// Reads the facts of every visible row; what cannot be read goes to `lost`.
    fn sound_rows(&self, lost: &mut Vec<Problem>, control: &Control<'_>) -> Result<Sound> {
        let state = self.published.load_full();
        let mut named: HashMap<Slot, Id> = HashMap::new();
        self.all_entries(Space::Slots, &mut |key, value| {
            if let (Ok(slot), Ok(id)) = (slot_of(key), Id::from_key(value)) {
                named.insert(slot, id);
            }
        })?;
        let mut claimed: HashMap<Id, Slot> = HashMap::new();
        let mut names: HashMap<Slot, Id> = HashMap::new();
        self.all_entries(Space::Ids, &mut |key, value| {
            if let (Ok(id), Ok(slot)) = (Id::from_key(key), slot_of(value)) {
                names.entry(slot).or_insert_with(|| id.clone());
                claimed.insert(id, slot);
            }
        })?;
        let visible: Vec<Slot> = (0..state.slots).filter(|&slot| self.visible(&state, slot)).collect();
        // An id that two slots say is theirs belongs to the one that it names.
        let mut owner: HashMap<&Id, Slot> = HashMap::new();
        for &slot in &visible {
            if let Some(id) = named.get(&slot) {
                let other = owner.entry(id).or_insert(slot);
                if claimed.get(id) == Some(&slot) {
                    *other = slot;
                }
            }
        }
        let mut sound = Sound {
            next_id: super::write::next_id(claimed.keys().chain(named.values())),
            ..Sound::default()
        };
        let mut say = |kind, id: Option<&Id>, detail: String| {
            lost.push(Problem { kind, detail, id: id.cloned() });
        };
        for (i, &slot) in visible.iter().enumerate() {
            if i % PAGE == 0 {
                control.check()?;
            }
            let own = named.get(&slot).filter(|id| owner.get(id) == Some(&slot));
            let id = own.or_else(|| names.get(&slot).filter(|id| !owner.contains_key(id)));
            let Some(id) = id else {
                say("lost_row", None, format!("nothing says which id the row at slot {slot} has"));
                continue;
            };
            let vector = match self.vectors.row(slot) {
                Ok(vector) => vector,
                Err(error) if error.code() == Code::Corrupt => {
                    say("lost_row", Some(id), error.message().to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let text = self.payloads_of(&[slot]).and_then(|mut found| {
                let text = found.pop().flatten();
                text.as_deref().map_or(Ok(()), payload::validate)?;
                Ok(text)
            });
            let text = match text {
                Ok(text) => text,
                Err(error) if matches!(error.code(), Code::Io | Code::Internal) => return Err(error),
                Err(error) => {
                    say("lost_payload", Some(id), error.message().to_string());
                    None
                }
            };
            sound.slots.push(slot);
            sound.ids.push(id.clone());
            sound.payloads.push(text);
            sound.vectors.extend_from_slice(&vector);
        }
        Ok(sound)
    }

    /// Kills the visible rows that are not among `sound`.
    fn bury_others(&self, w: &mut Writer, sound: &Sound) -> Result<()> {
        let state = self.published.load_full();
        let gone = (0..state.slots)
            .filter(|&slot| self.visible(&state, slot) && sound.slots.binary_search(&slot).is_err());
        let killed: Vec<Slot> = gone.collect();
        let meta =
            Meta { live: sound.slots.len() as u64, next_id: w.meta.next_id.max(sound.next_id), ..w.meta };
        self.commit(w, Commit { killed, ..Commit::of(Batch::default(), meta) }, || ())?;
        self.checkpoint(w)
    }

    /// Makes the graph of `sound`, and everything else that follows from it, in one change of the store.
    fn rebuild(&self, w: &mut Writer, sound: &Sound, pool: &dyn Pool, control: &Control<'_>) -> Result<()> {
        let keys: Vec<Vec<u8>> = sound.ids.iter().map(Id::to_key).collect();
        let input = rnn::Input {
            vectors: &sound.vectors,
            dim: self.config.dim,
            metric: self.config.metric,
            level_of: &|row| level_of(self.config.seed, &keys[row as usize], self.config.m),
        };
        let params = rnn::Params {
            m_max: self.config.m_max,
            m_max0: self.config.m_max0,
            seed: self.config.seed,
            ..rnn::Params::default()
        };
        let graph = rnn::build(&input, &params, pool, control, &|_| ())?;
        // Places in the graph to slots.
        let slot = |place: Slot| sound.slots[graph.rows[place as usize] as usize];

        let mut batch = Batch::default();
        for space in [Space::Links, Space::Upper, Space::Twins, Space::Postings, Space::Ids] {
            batch.delete_range(space, Range::all());
        }
        let swept = w.slots.all_swept();
        self.strays(&mut batch, &swept)?;
        for slot in w.slots.dead.iter() {
            batch.put(Space::Links, slot_key(slot), links::encode(&[]));
        }
        let nodes = graph.rows.len() - graph.twins.len();
        for place in 0..nodes {
            let list: Vec<u32> =
                graph.base.of(place).iter().map(|&link| slot(links::slot(link)) | link & TREE).collect();
            batch.put(Space::Links, slot_key(slot(place as Slot)), links::encode(&list));
        }
        let levels = levels_of(&graph, &slot);
        for (slot, lists) in &levels {
            batch.put(Space::Upper, slot_key(*slot), lists.clone());
        }
        let mut next: HashMap<Slot, Slot> = HashMap::new();
        for &(rep, twin) in &graph.twins {
            let (rep, twin) = (slot(rep), slot(twin));
            if let Some(later) = next.insert(rep, twin) {
                next.insert(twin, later);
            }
        }
        for (&slot, &next) in &next {
            batch.put(Space::Twins, slot_key(slot), slot_key(next));
        }
        for ((&slot, key), text) in sound.slots.iter().zip(&keys).zip(&sound.payloads) {
            batch.put(Space::Ids, key.clone(), slot_key(slot));
            batch.put(Space::Slots, slot_key(slot), key.clone());
            if text.is_none() {
                batch.delete(Space::Payloads, slot_key(slot));
            }
        }
        let rows: Vec<(Slot, &str)> = sound
            .slots
            .iter()
            .zip(&sound.payloads)
            .filter_map(|(&slot, text)| Some((slot, text.as_deref()?)))
            .collect();
        for run in rows.chunk_by(|a, b| a.0 / postings::SPAN == b.0 / postings::SPAN) {
            let mut entries = Entries::default();
            for &(slot, text) in run {
                entries.add(slot, text, &self.rules)?;
            }
            entries.put_into(&mut batch)?;
        }
        control.check()?;
        let applied = self.kv.apply(&batch).and_then(|seq| self.kv.sync(seq));
        applied.inspect_err(|error| self.poison_with(error))?;

        self.names.clear();
        self.adjacency.forget(self.allocated.load(Ordering::Acquire));
        self.upper.clear();
        self.upper.load(&levels)?;
        for slot in 0..self.allocated.load(Ordering::Acquire) {
            if let Some(cell) = self.twins.get(slot) {
                cell.store(next.get(&slot).map_or(0, |next| next + 1), Ordering::Release);
            }
        }
        for (&slot, &next) in &next {
            self.twins.ensure(slot)[0].store(next + 1, Ordering::Release);
        }
        *sync::lock(&self.chained) = Arc::new(next.values().collect());
        self.swept.store(w.slots.swept() as u32, Ordering::Release);
        // Another state, so that nothing looked up before stands for it.
        let commit = Commit::of(Batch::default(), w.meta);
        self.commit(w, commit, || ())
    }

    /// Drops names and payloads that belong to no row.
    fn strays(&self, batch: &mut Batch, swept: &roaring::RoaringBitmap) -> Result<()> {
        let allocated = self.allocated.load(Ordering::Acquire);
        for space in [Space::Slots, Space::Payloads] {
            self.all_entries(space, &mut |key, _| {
                if slot_of(key).map_or(true, |slot| slot >= allocated || swept.contains(slot)) {
                    batch.delete(space, key);
                }
            })?;
        }
        Ok(())
    }
}

/// The stored form of every node above layer 0, ascending by slot.
fn levels_of(graph: &Graph, slot: &dyn Fn(Slot) -> Slot) -> Vec<(Slot, Vec<u8>)> {
    let Some(lowest) = graph.upper.first() else {
        // Descents begin on an upper layer, so there must be one.
        return graph.entry.map(|place| (slot(place), upper::encode(&[Vec::new()]))).into_iter().collect();
    };
    let stored = |&place: &Slot| {
        let lists = graph.upper.iter().map_while(|layer| {
            let at = layer.nodes.binary_search(&place).ok()?;
            Some(layer.adjacency.of(at).iter().map(|&to| slot(to)).collect())
        });
        (slot(place), upper::encode(&lists.collect::<Vec<Vec<Slot>>>()))
    };
    let mut levels: Vec<_> = lowest.nodes.iter().map(stored).collect();
    levels.sort_unstable_by_key(|&(slot, _)| slot);
    levels
}
