//! Vectors by slot while the graph is changed, and the choice of neighbours among them.

use super::Index;
use crate::codes::{Fresh, Row};
use crate::hnsw::select;
use crate::kv::links;
use crate::vectors::RowRef;
use crate::{Error, Metric, Result, Slot, simd};
use std::cell::OnceCell;

/// A slot and its distance from some row.
pub(crate) type Near = (f32, Slot);

/// Rows on their way from memory while another is measured.
const AHEAD: usize = 4;

/// Vectors by slot, those of a chunk that is being written included.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) index: &'a Index,
    /// Where the rows of the chunk go, ascending.
    pub(crate) slots: &'a [Slot],
    /// Their vectors.
    pub(crate) vectors: &'a [f32],
    /// Their codes, and those of all others, where there are codes.
    pub(crate) fresh: Option<&'a Fresh>,
}

/// One row.
pub(crate) enum Vector<'a> {
    Held(&'a [f32]),
    Pinned(RowRef),
}

impl Vector<'_> {
    fn length(&self) -> Option<f32> {
        match self {
            Vector::Held(_) => None,
            Vector::Pinned(row) => row.length(),
        }
    }
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

impl<'a> Rows<'a> {
    /// The rows that are in the vector file.
    pub(crate) fn stored(index: &'a Index, fresh: Option<&'a Fresh>) -> Rows<'a> {
        Rows { index, slots: &[], vectors: &[], fresh }
    }

    /// The code of `slot`, where there is one.
    fn code(&self, slot: Slot) -> Option<Row<'a>> {
        let fresh = self.fresh.filter(|fresh| fresh.measures())?;
        match self.slots.binary_search(&slot) {
            Ok(at) => Some(fresh.row(at)),
            Err(_) => fresh.root.row(slot),
        }
    }

    /// The codes of `slots`, on their way from memory.
    fn codes(&self, slots: impl Iterator<Item = Slot>) -> Vec<Option<Row<'a>>> {
        slots.map(|slot| self.code(slot).inspect(|code| code.soon())).collect()
    }

    /// [`Rows::apart`] by codes, where these tell.
    fn apart_by_codes(&self, a: Option<Row<'_>>, b: Option<Row<'_>>) -> Option<f32> {
        self.fresh?.root.apart(a?, b?)
    }

    /// The vector of the chunk's row `at`.
    pub(crate) fn held(&self, at: usize) -> &'a [f32] {
        let dim = self.index.config.dim as usize;
        &self.vectors[at * dim..][..dim]
    }

    pub(crate) fn of(&self, slot: Slot) -> Result<Vector<'a>> {
        match self.slots.binary_search(&slot) {
            Ok(at) => Ok(Vector::Held(self.held(at))),
            Err(_) => self.index.vector(slot).map(Vector::Pinned),
        }
    }

    /// [`Rows::of`], on its way from memory.
    fn coming(&self, slot: Slot) -> Result<Vector<'a>> {
        let row = self.of(slot)?;
        simd::prefetch(&row);
        Ok(row)
    }

    /// How far two rows are apart: nearness under the inner product does not say.
    pub(crate) fn apart(&self, a: &Vector<'_>, b: &Vector<'_>) -> f32 {
        let index = self.index;
        match index.config.metric {
            Metric::Dot => index.kernels.l2_squared(a, b),
            metric => metric.rank_of_lengths(index.kernels, a, b, a.length().zip(b.length())),
        }
    }

    /// Orders `links` by distance from the row of `from`: positions, and distance with slot.
    pub(crate) fn nearest_first(&self, from: Slot, links: &[u32]) -> Result<(Vec<usize>, Vec<Near>)> {
        let slots = || links.iter().map(|&link| links::slot(link));
        let mut order: Vec<(f32, Slot, usize)> = Vec::with_capacity(links.len());
        // The inner product of two rows is not what their codes tell.
        let by_codes = self.code(from).filter(|_| self.index.config.metric != Metric::Dot);
        if let Some(origin) = by_codes {
            for (i, (slot, code)) in slots().zip(self.codes(slots())).enumerate() {
                let rank = match self.apart_by_codes(Some(origin), code) {
                    Some(rank) => rank,
                    None => self.index.rank(&self.of(from)?, &self.of(slot)?),
                };
                order.push((rank, slot, i));
            }
        } else {
            let origin = self.of(from)?;
            let rows: Vec<Vector<'_>> = slots().map(|slot| self.coming(slot)).collect::<Result<_>>()?;
            let ranks = rows.iter().map(|row| self.index.rank(&origin, row));
            order.extend(ranks.zip(slots()).enumerate().map(|(i, (rank, slot))| (rank, slot, i)));
        }
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(order.into_iter().map(|(rank, slot, i)| (i, (rank, slot))).unzip())
    }

    /// [`select`] among `near` (nearest first after the first `held`, which stay) for the row of `origin`.
    pub(crate) fn select(
        &self,
        origin: Slot,
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
            // Candidates are gone through in order.
            if let Some(next) = cells.get(i + AHEAD).filter(|next| next.get().is_none()) {
                let _ = next.set(self.coming(near[i + AHEAD].1)?);
            }
            cells[i].get().ok_or_else(|| Error::new(crate::Code::Internal, "a fetched vector is gone"))
        };
        // Nearness under the inner product does not say who lies between whom; straight distance does.
        let mut own: Vec<f32> = near.iter().map(|&(rank, _)| rank).collect();
        let codes = self.codes(near.iter().map(|&(_, slot)| slot));
        if index.config.metric == Metric::Dot {
            let code = self.code(origin);
            for (i, own) in own.iter_mut().enumerate() {
                *own = match self.apart_by_codes(code, codes[i]) {
                    Some(apart) => apart,
                    None => index.kernels.l2_squared(&self.of(origin)?, fetch(i)?),
                };
            }
        }
        select(held, near.len(), m, at_least, &|i| own[i], &mut |i, j| match self
            .apart_by_codes(codes[i], codes[j])
        {
            Some(apart) => Ok(apart),
            None => Ok(self.apart(fetch(i)?, fetch(j)?)),
        })
    }
}
