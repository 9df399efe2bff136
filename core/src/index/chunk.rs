//! Linking a chunk of planned rows: what costs distances is done in parallel, what changes lists in turn.

use super::Index;
use super::insert::{Plan, Stage, headroom, insert_sorted, same_bits};
use super::rows::{Near, Rows};
use crate::graph::upper::Node;
use crate::kv::links::TREE;
use crate::{Code, Error, Pool, Result, Slot, sync};
use std::sync::Mutex;

/// What a planned row is linked to on layer 0, its chunk's earlier rows considered.
#[derive(Default)]
pub(crate) struct Choice {
    /// All candidates, nearest first.
    pub(crate) candidates: Vec<Near>,
    /// Those chosen as neighbours.
    pub(crate) near: Vec<Slot>,
    /// The present lists of those that are not of the chunk.
    pub(crate) lists: Vec<(Slot, Vec<u32>)>,
}

/// A row of the chunk that is linked on an upper layer.
pub(crate) struct Raised {
    pub(crate) row: usize,
    pub(crate) node: Node,
    pub(crate) level: u32,
}

impl Index {
    /// Links the planned rows of a chunk into `stage`, in their order. `choices` are what [`Index::choose`] said of each while
    /// nobody knew of twins among them. What comes of it does not depend on `pool`, which prunes the lists that are overfilled.
    pub(crate) fn link_chunk(
        &self,
        stage: &mut Stage,
        rows: &Rows<'_>,
        mut plans: Vec<Plan>,
        mut choices: Vec<Choice>,
        pool: &dyn Pool,
    ) -> Result<()> {
        self.find_twins(rows, &mut plans);
        let is_twin = |row: usize| plans[row].twin.is_some();
        let twins: Vec<Slot> =
            (0..plans.len()).filter(|&row| is_twin(row)).map(|row| rows.slots[row]).collect();
        for row in (0..plans.len()).filter(|_| !twins.is_empty()) {
            // Twins are no nodes, so none can be a neighbour.
            let misled = choices[row].candidates.iter().any(|(_, slot)| twins.contains(slot));
            if misled || is_twin(row) {
                choices[row] = self.choose(rows, &plans[row], row, &is_twin)?;
            }
        }
        let mut raised = Vec::new();
        for (row, choice) in choices.into_iter().enumerate() {
            self.link(stage, rows, row, &mut plans[row], choice, &mut raised)?;
        }
        let cap = self.config.m_max0 as usize;
        let full = stage.lists.iter().filter(|(_, list)| list.links.len() > cap);
        let mut full: Vec<Slot> = full.map(|(&slot, _)| slot).collect();
        full.sort_unstable();
        let lists = &stage.lists;
        let pruned = side_by_side(pool, full.len(), &|i| self.prune(rows, full[i], &lists[&full[i]].links))?;
        for (slot, kept) in full.into_iter().zip(pruned) {
            self.staged(stage, slot)?.settle(Some(kept));
        }
        stage.lists.values_mut().for_each(|list| list.settle(None));
        Ok(())
    }

    /// Rows whose vector another of the chunk has: no plan could know.
    fn find_twins(&self, rows: &Rows<'_>, plans: &mut [Plan]) {
        for i in 0..plans.len() {
            if plans[i].twin.is_none() {
                let own = rows.held(i);
                let same = (0..i).find(|&j| plans[j].twin.is_none() && same_bits(rows.held(j), own));
                plans[i].twin = same.map(|j| rows.slots[j]);
            }
        }
    }

    /// Chooses the neighbours of the chunk's row `at`, earlier rows of the chunk considered but for twins.
    pub(crate) fn choose(
        &self,
        rows: &Rows<'_>,
        plan: &Plan,
        at: usize,
        is_twin: &dyn Fn(usize) -> bool,
    ) -> Result<Choice> {
        if plan.twin.is_some() {
            return Ok(Choice::default());
        }
        let own = rows.held(at);
        let mut candidates = plan.base.clone();
        for row in (0..at).filter(|&row| !is_twin(row)) {
            let near = (self.rank(own, rows.held(row)), rows.slots[row]);
            insert_sorted(&mut candidates, near, self.config.ef_construction as usize);
        }
        let m = self.config.m as usize;
        let kept = rows.select(rows.slots[at], 0, &candidates, m, m / 2)?;
        let near: Vec<Slot> = kept.into_iter().map(|i| candidates[i].1).collect();
        let mut lists = Vec::with_capacity(near.len());
        for &slot in near.iter().filter(|slot| rows.slots.binary_search(slot).is_err()) {
            let mut list = self.spare_list();
            self.links_of(slot, &mut list)?;
            lists.push((slot, list));
        }
        Ok(Choice { candidates, near, lists })
    }

    /// What stays of a list that is overfull. Tree edges do.
    pub(crate) fn prune(&self, rows: &Rows<'_>, slot: Slot, list: &[u32]) -> Result<Vec<u32>> {
        let (mut kept, rest): (Vec<u32>, Vec<u32>) = list.iter().partition(|&&link| link & TREE != 0);
        let room = headroom(self.config.m_max0).saturating_sub(kept.len());
        let (order, near) = rows.nearest_first(slot, &rest)?;
        let chosen = rows.select(slot, 0, &near, room, 0)?;
        kept.extend(chosen.into_iter().map(|i| rest[order[i]]));
        Ok(kept)
    }
}

/// What `job` says of each of `0..n`, in order.
pub(crate) fn side_by_side<T: Send>(
    pool: &dyn Pool,
    n: usize,
    job: &(dyn Fn(usize) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let found: Vec<Mutex<Option<Result<T>>>> = (0..n).map(|_| Mutex::new(None)).collect();
    pool.for_each(n, &|i| *sync::lock(&found[i]) = Some(job(i)));
    let taken = found.into_iter().map(|found| found.into_inner().unwrap_or_else(|e| e.into_inner()));
    taken.map(|found| found.ok_or_else(|| Error::new(Code::Internal, "the pool skipped a job"))?).collect()
}
