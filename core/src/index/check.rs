//! The structural checker: walks everything and names what does not hold.

use super::entries::terms_of;
use super::types::{CheckReport, Problem};
use super::{Index, Published, payload};
use crate::kv::links::{self, TREE};
use crate::kv::{Range, Space, slot_key, slot_of};
use crate::{Code, Control, Error, Id, Result, Slot};
use roaring::RoaringBitmap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

/// Problems reported at most; a wrecked database would otherwise fill memory with them.
const MOST_PROBLEMS: usize = 10_000;
const PAGE: usize = 4096;

impl Index {
    /// Walks every id, payload, vector, list and chain and reports what is damaged or contradictory.
    ///
    /// Costs one pass over all files; writes wait meanwhile, reads do not. Damage is reported, not returned as an
    /// error, unless it keeps the walk from going on. Fails with `ABORTED` where `control` says so.
    pub fn check(&self, control: &Control<'_>) -> Result<CheckReport> {
        self.reading()?;
        // Writes wait.
        let writer = crate::sync::lock(&self.writer);
        let swept = writer.slots.all_swept();
        let dead = writer.slots.dead.len()
            + writer.orphans.len() as u64
            + writer.stepping.as_ref().map_or(0, |slots| slots.len() as u64);
        let state = self.published.load_full();
        let mut check = Check {
            index: self,
            state: &state,
            control,
            allocated: self.allocated.load(Ordering::Acquire),
            swept,
            report: CheckReport::default(),
        };
        check.slots(dead);
        let named = check.ids()?;
        check.rows(&named)?;
        check.entries_of_payloads(&named)?;
        let lists = check.lists()?;
        check.reachable(&lists)?;
        check.tree(&lists);
        check.upper();
        Ok(check.report)
    }
}

/// What to do with one stored entry.
type See<'s, 'a> = &'s mut dyn FnMut(&mut Check<'a>, &[u8], &[u8]);

struct Check<'a> {
    index: &'a Index,
    state: &'a Published,
    control: &'a Control<'a>,
    allocated: Slot,
    /// Slots that nothing may name or lead to.
    swept: RoaringBitmap,
    report: CheckReport,
}

impl<'a> Check<'a> {
    fn found(&mut self, kind: &'static str, id: Option<&Id>, detail: String) {
        if self.report.problems.len() < MOST_PROBLEMS {
            self.report.problems.push(Problem { kind, detail, id: id.cloned() });
        }
    }

    /// Takes damage down as a problem; lets other errors through.
    fn tolerate<T>(&mut self, kind: &'static str, id: Option<&Id>, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Code::Corrupt => {
                self.found(kind, id, error.message().to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn entries(&mut self, space: Space, see: See<'_, 'a>) -> Result<()> {
        let mut range = Range::all();
        loop {
            self.control.check()?;
            let page = self.index.overlay.scan(&*self.index.kv, space, &range, PAGE);
            let Some(page) = self.tolerate("unreadable_store", None, page)? else { return Ok(()) };
            let Some((last, _)) = page.last() else { return Ok(()) };
            range.start = [last.as_slice(), &[0]].concat();
            let short = page.len() < PAGE;
            for (key, value) in &page {
                see(self, key, value);
            }
            if short {
                return Ok(());
            }
        }
    }

    /// Every slot is live, dead or swept.
    fn slots(&mut self, dead: u64) {
        let (live, swept) = (self.state.live, self.swept.len());
        if live + dead + swept != u64::from(self.allocated) {
            let detail =
                format!("{live} live rows, {dead} dead and {swept} swept make no {}", self.allocated);
            self.found("wrong_slots", None, detail);
        }
        if swept != u64::from(self.index.swept.load(Ordering::Acquire)) {
            self.found("wrong_slots", None, format!("{swept} slots are swept, others are counted"));
        }
    }

    /// Ids and slots must name each other. Answers with the id of every live slot.
    fn ids(&mut self) -> Result<HashMap<Slot, Id>> {
        let mut named: HashMap<Slot, Id> = HashMap::new();
        self.entries(Space::Ids, &mut |check, key, value| {
            let (Ok(id), Ok(slot)) = (Id::from_key(key), slot_of(value)) else {
                return check.found("bad_id_entry", None, format!("an id entry of {} bytes", key.len()));
            };
            if !check.index.visible(check.state, slot) {
                check.found(
                    "id_of_dead_row",
                    Some(&id),
                    format!("id {id} names slot {slot}, which is not live"),
                );
            } else if let Some(other) = named.insert(slot, id.clone()) {
                check.found("shared_slot", Some(&id), format!("ids {id} and {other} name slot {slot}"));
            }
        })?;
        let mut seen = 0u64;
        self.entries(Space::Slots, &mut |check, key, value| {
            let (Ok(slot), Ok(id)) = (slot_of(key), Id::from_key(value)) else {
                return check.found("bad_slot_entry", None, format!("a slot entry of {} bytes", key.len()));
            };
            if check.swept.contains(slot) {
                check.found("named_free_slot", Some(&id), format!("free slot {slot} names id {id}"));
            }
            if check.index.visible(check.state, slot) {
                seen += 1;
                if named.get(&slot) != Some(&id) {
                    check.found(
                        "id_mismatch",
                        Some(&id),
                        format!("slot {slot} names id {id}, which names another"),
                    );
                }
            }
        })?;
        if seen != self.state.live || named.len() as u64 != self.state.live {
            let detail = format!(
                "{} rows are counted, {seen} slots and {} ids are live",
                self.state.live,
                named.len()
            );
            self.found("wrong_count", None, detail);
        }
        Ok(named)
    }

    /// Vectors must pass their checksums, payloads must parse and belong to a row.
    fn rows(&mut self, named: &HashMap<Slot, Id>) -> Result<()> {
        for slot in 0..self.allocated {
            if slot % PAGE as u32 == 0 {
                self.control.check()?;
            }
            let id = named.get(&slot);
            let vector = self.index.vectors.row(slot).map(drop);
            // Rows of writes that were given up need not have reached the file.
            if id.is_some() || self.index.death(slot).is_none() {
                self.tolerate("damaged_vector", id, vector)?;
            }
        }
        self.report.rows = named.len() as u64;
        let allocated = self.allocated;
        self.entries(Space::Payloads, &mut |check, key, value| {
            let slot = slot_of(key).unwrap_or(Slot::MAX);
            let id = named.get(&slot);
            if slot >= allocated || check.swept.contains(slot) {
                check.found(
                    "stray_payload",
                    None,
                    format!("a payload belongs to slot {slot}, which is free or unknown"),
                );
            }
            let text = std::str::from_utf8(value).map_err(|_| Error::invalid("not UTF-8"));
            if let Err(error) = text.and_then(payload::validate) {
                check.found("damaged_payload", id, error.message().to_string());
            }
        })
    }

    /// The index must say of every live row what its payload says, and nothing of free slots. What it says of dead
    /// rows does not matter.
    fn entries_of_payloads(&mut self, named: &HashMap<Slot, Id>) -> Result<()> {
        let mut slots: Vec<Slot> = named.keys().copied().collect();
        slots.sort_unstable();
        // The rows that share index keys at a time.
        for run in slots.chunk_by(|a, b| a >> 16 == b >> 16) {
            let mut wanted: HashSet<(Vec<u8>, Slot)> = HashSet::new();
            for page in run.chunks(PAGE) {
                self.control.check()?;
                for (text, &slot) in self.index.payloads_of(page)?.into_iter().zip(page) {
                    // Damaged payloads are reported by themselves.
                    let terms = text.and_then(|text| terms_of(&text, &self.index.rules).ok());
                    wanted.extend(terms.into_iter().flatten().map(|term| (term.storage_key(), slot)));
                }
            }
            let high = run.first().map_or(0, |slot| slot >> 16);
            let mut stale: Vec<Slot> = Vec::new();
            let walked = self.index.each_entry(&mut |term, base, rows| {
                if base >> 16 != high {
                    return;
                }
                for slot in rows.iter().filter(|slot| named.contains_key(slot)) {
                    if !wanted.remove(&(term.to_vec(), slot)) {
                        stale.push(slot);
                    }
                }
            });
            self.tolerate("damaged_posting", None, walked)?;
            for slot in stale {
                let detail = format!("the index has a value for slot {slot} that its payload lacks");
                self.found("stale_posting", named.get(&slot), detail);
            }
            for (_, slot) in wanted {
                let detail = format!("the index lacks a value of the payload of slot {slot}");
                self.found("missing_posting", named.get(&slot), detail);
            }
        }
        let mut stale: Vec<Slot> = Vec::new();
        let swept = &self.swept;
        let walked = self.index.each_entry(&mut |_, _, rows| stale.extend(&(rows & swept)));
        self.tolerate("damaged_posting", None, walked)?;
        for slot in stale {
            self.found(
                "stale_posting",
                None,
                format!("the index has a value for slot {slot}, which is free"),
            );
        }
        Ok(())
    }

    /// Every node's list must decode, stay within its cap and lead to nodes; tree edges must be mutual.
    fn lists(&mut self) -> Result<HashMap<Slot, Vec<u32>>> {
        let twins: HashSet<Slot> = (0..self.allocated).filter_map(|slot| self.next_twin(slot)).collect();
        let mut lists = HashMap::new();
        for slot in 0..self.allocated {
            if slot % PAGE as u32 == 0 {
                self.control.check()?;
            }
            if twins.contains(&slot) {
                continue;
            }
            if self.swept.contains(slot) {
                self.free_slot(slot)?;
                continue;
            }
            let mut list = Vec::new();
            let read = self.index.links_of(slot, &mut list);
            if self.tolerate("damaged_list", None, read)?.is_some() {
                self.report.links += list.len() as u64;
                lists.insert(slot, list);
            }
        }
        for (&slot, list) in &lists {
            if list.len() > self.index.config.m_max0 as usize {
                self.found("overlong_list", None, format!("slot {slot} has {} links", list.len()));
            }
            for &link in list {
                let to = links::slot(link);
                let back = lists.get(&to);
                if to == slot || back.is_none() {
                    self.found(
                        "dangling_link",
                        None,
                        format!("slot {slot} links to slot {to}, which is no node"),
                    );
                } else if link & TREE != 0 && back.is_some_and(|back| !back.contains(&(slot | TREE))) {
                    self.found(
                        "one_way_tree_edge",
                        None,
                        format!("slot {to} lacks its tree edge to slot {slot}"),
                    );
                }
            }
        }
        for slot in 0..self.allocated {
            if let Some(next) = self.next_twin(slot) {
                self.twin(slot, next)?;
            }
        }
        Ok(lists)
    }

    /// A free slot must have no list and no chain; that no list leads to it shows elsewhere.
    fn free_slot(&mut self, slot: Slot) -> Result<()> {
        let mut stored = false;
        if !self.index.adjacency.is_removed(slot) {
            let view = self.index.kv.view()?;
            let found = view.get(Space::Links, &slot_key(slot), &mut |_| stored = true).map(drop);
            self.tolerate("unreadable_store", None, found)?;
        }
        if stored || self.next_twin(slot).is_some() {
            self.found("linked_free_slot", None, format!("free slot {slot} still has links"));
        }
        Ok(())
    }

    /// The tree edges must join all nodes that have a live row.
    fn tree(&mut self, lists: &HashMap<Slot, Vec<u32>>) {
        let mut alive: Vec<Slot> = lists.keys().copied().filter(|&slot| self.index.alive(slot)).collect();
        alive.sort_unstable();
        let mut reached: HashSet<Slot> = HashSet::new();
        let mut queue: Vec<Slot> = alive.first().copied().into_iter().collect();
        while let Some(slot) = queue.pop() {
            if reached.insert(slot) {
                let links = lists.get(&slot).into_iter().flatten();
                queue.extend(links.filter(|&&link| link & TREE != 0).map(|&link| links::slot(link)));
            }
        }
        for slot in alive.into_iter().filter(|slot| !reached.contains(slot)) {
            self.found("broken_tree", None, format!("no tree edges lead to slot {slot}"));
        }
    }

    fn next_twin(&self, slot: Slot) -> Option<Slot> {
        self.index.chain(slot).nth(1)
    }

    fn twin(&mut self, slot: Slot, next: Slot) -> Result<()> {
        if next >= self.allocated {
            self.found(
                "dangling_twin",
                None,
                format!("slot {slot} is chained to slot {next}, which is unknown"),
            );
            return Ok(());
        }
        // Damaged vectors are reported by themselves.
        if let (Ok(a), Ok(b)) = (self.index.vectors.row(slot), self.index.vectors.row(next))
            && a.iter().zip(b.iter()).any(|(a, b)| a.to_bits() != b.to_bits())
        {
            self.found("false_twin", None, format!("slots {slot} and {next} are chained but differ"));
        }
        Ok(())
    }

    /// A walk from the entry point must reach every live row.
    fn reachable(&mut self, lists: &HashMap<Slot, Vec<u32>>) -> Result<()> {
        let mut reached: HashSet<Slot> = HashSet::new();
        let entry = self.index.upper.entry().map(|(node, _)| self.index.upper.slot(node));
        let mut queue: Vec<Slot> = entry.into_iter().collect();
        while let Some(slot) = queue.pop() {
            for slot in self.index.chain(slot).take(self.allocated as usize) {
                if reached.insert(slot) {
                    queue.extend(lists.get(&slot).into_iter().flatten().map(|&link| links::slot(link)));
                }
            }
        }
        for slot in (0..self.state.slots).filter(|&slot| self.index.visible(self.state, slot)) {
            if !reached.contains(&slot) {
                self.found("unreachable_row", None, format!("no walk reaches slot {slot}"));
            }
        }
        Ok(())
    }

    /// Upper-layer links must lead to nodes of their layer.
    fn upper(&mut self) {
        let upper = &self.index.upper;
        let mut list = Vec::new();
        for node in (0..upper.len()).filter(|&node| !upper.is_free(node)) {
            for level in 1..=upper.level(node) {
                upper.links(node, level, &mut list);
                for &to in &list {
                    if to >= upper.len() || upper.is_free(to) || upper.level(to) < level || to == node {
                        let detail = format!("slot {} links to a row not on layer {level}", upper.slot(node));
                        self.found("dangling_upper_link", None, detail);
                    }
                }
            }
        }
    }
}
