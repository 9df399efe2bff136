//! Vectors by slot while the graph is changed, and the choice of neighbours among them.

use super::Index;
use super::insert::Linked;
use crate::hnsw::select;
use crate::kv::links;
use crate::{Error, Metric, Result, Slot};
use std::cell::OnceCell;

/// A slot and its distance from some row.
pub(crate) type Near = (f32, Slot);

/// Vectors by slot, the row being linked and its chunk included.
pub(crate) struct Rows<'a> {
    pub(crate) index: &'a Index,
    /// The row being linked.
    pub(crate) own: Option<(Slot, &'a [f32])>,
    /// The rows of its chunk before it, ascending by slot.
    pub(crate) earlier: &'a [Linked<'a>],
}

/// One row.
pub(crate) enum Vector<'a> {
    Held(&'a [f32]),
    Pinned(crate::vectors::RowRef),
}

impl std::ops::Deref for Vector<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Vector::Held(vector) => vector,
            Vector::Pinned(row) => row,
        }
    }
}

impl Rows<'_> {
    /// The rows that are in the vector file.
    pub(crate) fn stored(index: &Index) -> Rows<'_> {
        Rows { index, own: None, earlier: &[] }
    }

    pub(crate) fn of(&self, slot: Slot) -> Result<Vector<'_>> {
        if let Some((own, vector)) = self.own
            && own == slot
        {
            return Ok(Vector::Held(vector));
        }
        match self.earlier.binary_search_by_key(&slot, |row| row.slot) {
            Ok(at) => Ok(Vector::Held(self.earlier[at].vector)),
            Err(_) => self.index.vector(slot).map(Vector::Pinned),
        }
    }

    /// How far two rows are apart: nearness under the inner product does not say.
    pub(crate) fn apart(&self, a: &[f32], b: &[f32]) -> f32 {
        let index = self.index;
        if index.config.metric == Metric::Dot { index.kernels.l2_squared(a, b) } else { index.rank(a, b) }
    }

    /// Orders `links` by distance from the row of `from`: positions, and distance with slot.
    pub(crate) fn nearest_first(&self, from: Slot, links: &[u32]) -> Result<(Vec<usize>, Vec<Near>)> {
        let origin = self.of(from)?;
        let mut order = Vec::with_capacity(links.len());
        for (i, &link) in links.iter().enumerate() {
            let slot = links::slot(link);
            order.push((self.index.rank(&origin, &self.of(slot)?), slot, i));
        }
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(order.into_iter().map(|(rank, slot, i)| (i, (rank, slot))).unzip())
    }

    /// [`select`] among `near` (nearest first after the first `held`, which stay) for the row at `origin`.
    pub(crate) fn select(
        &self,
        origin: &[f32],
        held: usize,
        near: &[Near],
        m: usize,
        at_least: usize,
    ) -> Result<Vec<usize>> {
        let index = self.index;
        let cells: Vec<OnceCell<Vector<'_>>> = near.iter().map(|_| OnceCell::new()).collect();
        let fetch = |i: usize| -> Result<&Vector<'_>> {
            if cells[i].get().is_none() {
                let _ = cells[i].set(self.of(near[i].1)?);
            }
            cells[i].get().ok_or_else(|| Error::new(crate::Code::Internal, "a fetched vector is gone"))
        };
        // Nearness under the inner product does not say who lies between whom; straight distance does.
        let straight = index.config.metric == Metric::Dot;
        let mut own: Vec<f32> = near.iter().map(|&(rank, _)| rank).collect();
        if straight {
            for (i, own) in own.iter_mut().enumerate() {
                *own = index.kernels.l2_squared(origin, fetch(i)?);
            }
        }
        select(held, near.len(), m, at_least, &|i| own[i], &mut |i, j| {
            let (a, b) = (fetch(i)?, fetch(j)?);
            Ok(if straight { index.kernels.l2_squared(a, b) } else { index.rank(a, b) })
        })
    }
}
