//! What a read-only store is told to apply: kept in memory, for its handle alone.
//!
//! An engine replays its journal that way. RocksDB itself refuses writes to a store opened read-only.

use crate::locked;
use asteroid_core::Result;
use asteroid_core::kv::{Batch, Flow, Op, Range, Read, Space};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

/// Keys to values, or to `None` where the key was removed.
type Table = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
type Tables = [Arc<Table>; Space::ALL.len()];

#[derive(Default)]
pub(super) struct Overlay(Mutex<Tables>);

impl Overlay {
    /// Applies `batch` on top of `base`. On failure nothing is changed.
    pub(super) fn apply(&self, base: impl Read, batch: &Batch) -> Result<()> {
        let below = self.over(base);
        let mut changes: [Table; Space::ALL.len()] = Default::default();
        for op in batch.ops() {
            match op {
                Op::Put(space, key, value) => {
                    changes[*space as usize].insert(key.to_vec(), Some(value.to_vec()));
                }
                Op::Delete(space, key) => {
                    changes[*space as usize].insert(key.to_vec(), None);
                }
                Op::DeleteRange(space, range) if !range.is_empty() => {
                    let table = &mut changes[*space as usize];
                    table.range_mut::<[u8], _>(bounds(range)).for_each(|(_, value)| *value = None);
                    below.scan(*space, range, &mut |key, _| {
                        table.insert(key.to_vec(), None);
                        Flow::Continue(())
                    })?;
                }
                Op::DeleteRange(..) => {}
                Op::Merge(space, key, operand) => {
                    let table = &mut changes[*space as usize];
                    let known = match table.get(&**key) {
                        Some(value) => value.clone(),
                        None => {
                            let mut value = None;
                            below.get(*space, key, &mut |found| value = Some(found.to_vec()))?;
                            value
                        }
                    };
                    table.insert(key.to_vec(), space.fold(known.as_deref(), &[operand])?);
                }
            }
        }
        drop(below);
        let mut tables = locked(&self.0);
        for (table, changes) in tables.iter_mut().zip(changes) {
            if !changes.is_empty() {
                // Copied only where a view still holds it.
                Arc::make_mut(table).extend(changes);
            }
        }
        Ok(())
    }

    /// A view of `base` with what was applied on top.
    pub(super) fn over<B: Read>(&self, base: B) -> OverlayView<B> {
        OverlayView { base, tables: locked(&self.0).clone() }
    }

    /// Bytes of keys and values held.
    pub(super) fn memory(&self) -> u64 {
        let tables = locked(&self.0).clone();
        let entries = tables.iter().flat_map(|table| table.iter());
        entries.map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum()
    }
}

fn bounds(range: &Range) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(range.start.as_slice()), end)
}

/// A view through the overlay.
pub(super) struct OverlayView<B> {
    base: B,
    tables: Tables,
}

impl<B: Read> Read for OverlayView<B> {
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match self.tables[space as usize].get(key) {
            Some(Some(value)) => {
                see(value);
                Ok(true)
            }
            Some(None) => Ok(false),
            None => self.base.get(space, key, see),
        }
    }

    fn get_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        see: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let table = &self.tables[space as usize];
        let (mut below, mut places) = (Vec::new(), Vec::new());
        for (i, key) in keys.iter().enumerate() {
            match table.get(*key) {
                Some(value) => see(i, value.as_deref()),
                None => {
                    below.push(*key);
                    places.push(i);
                }
            }
        }
        if below.is_empty() {
            return Ok(());
        }
        self.base.get_many(space, &below, &mut |i, value| see(places[i], value))
    }

    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut ours = self.tables[space as usize].range::<[u8], _>(bounds(range)).peekable();
        let mut flow = Flow::Continue(());
        self.base.scan(space, range, &mut |key, value| {
            while let Some((our, value)) = ours.next_if(|(our, _)| our.as_slice() < key) {
                if let Some(value) = value {
                    flow = see(our, value);
                    if flow.is_break() {
                        return flow;
                    }
                }
            }
            flow = match ours.next_if(|(our, _)| our.as_slice() == key) {
                Some((_, None)) => Flow::Continue(()),
                Some((_, Some(value))) => see(key, value),
                None => see(key, value),
            };
            flow
        })?;
        for (key, value) in ours {
            if flow.is_break() {
                break;
            }
            if let Some(value) = value {
                flow = see(key, value);
            }
        }
        Ok(())
    }
}
