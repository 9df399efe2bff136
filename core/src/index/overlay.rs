//! Keyed writes since the last checkpoint, in front of the store.
//!
//! The journal has them already; here they wait to be applied in one large sorted run. Adjacency is not kept here:
//! its newest form is in the adjacency cache.

use crate::kv::{Batch, Flow, Kv, Op, Range, Short, Space};
use crate::{Result, sync};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{RwLock, RwLockReadGuard};

type Entry = (Vec<u8>, Vec<u8>);
type Entries = BTreeMap<Short, Option<Short>>;

#[derive(Default)]
pub(crate) struct Overlay(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    spaces: [Entries; Space::ALL.len()],
    /// Operands for what the store has or `spaces` will bring it, joined per key.
    merges: [BTreeMap<Short, Short>; Space::ALL.len()],
    bytes: u64,
    era: Era,
}

/// Tells whether two reads saw one state of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Era {
    /// How often the overlay was emptied into the store.
    cleared: u64,
    /// How often entries of rows that readers may know were changed.
    edited: u64,
}

impl Overlay {
    /// Takes in all changes but those of layer-0 adjacency, which pass by.
    pub(crate) fn absorb(&self, batch: &Batch) {
        let mut inner = sync::write(&self.0);
        let touches = |wanted| {
            let mut ops = batch.ops().iter();
            ops.any(|op| matches!(op, Op::Put(space, ..) | Op::Delete(space, _) if *space == wanted))
        };
        // New rows come with their names and swept ones go with them; a payload alone belongs to a row that readers see.
        if touches(Space::Payloads) && !touches(Space::Slots) {
            inner.era.edited += 1;
        }
        for op in batch.ops() {
            let (space, key, value) = match op {
                Op::Put(space, key, value) => (*space, key, Some(value)),
                Op::Delete(space, key) => (*space, key, None),
                Op::Merge(space, key, operand) => {
                    if *space == Space::Links {
                        continue;
                    }
                    inner.bytes += operand.len() as u64;
                    match inner.merges[*space as usize].get_mut(key) {
                        Some(pending) => pending.extend_from_slice(operand),
                        None => {
                            inner.bytes += (key.len() + 96) as u64;
                            inner.merges[*space as usize].insert(key.clone(), operand.clone());
                        }
                    }
                    continue;
                }
                Op::DeleteRange(..) => continue,
            };
            if space != Space::Links {
                inner.bytes += (key.len() + value.map_or(0, |value| value.len()) + 96) as u64;
                // What was to change is gone.
                inner.merges[space as usize].remove(key);
                inner.spaces[space as usize].insert(key.clone(), value.cloned());
            }
        }
    }

    /// Everything waiting, in key order.
    pub(crate) fn to_batch(&self) -> Batch {
        let inner = sync::read(&self.0);
        let mut batch = Batch::default();
        for (space, entries) in Space::ALL.into_iter().zip(&inner.spaces) {
            for (key, value) in entries {
                match value {
                    Some(value) => batch.put(space, key.clone(), value.clone()),
                    None => batch.delete(space, key.clone()),
                }
            }
        }
        for (space, merges) in Space::ALL.into_iter().zip(&inner.merges) {
            merges.iter().for_each(|(key, operand)| batch.merge(space, key.clone(), operand.clone()));
        }
        batch
    }

    /// Forgets everything: the store has it now.
    pub(crate) fn clear(&self) {
        let mut inner = sync::write(&self.0);
        let era = Era { cleared: inner.era.cleared + 1, ..inner.era };
        *inner = Inner { era, ..Inner::default() };
    }

    /// Keeps everything as it is until the guard goes: writers wait.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held(sync::read(&self.0))
    }

    /// Bytes waiting, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        sync::read(&self.0).bytes
    }

    /// The newest value of each key. The overlay is asked before the store's view is taken: what leaves the overlay
    /// in between is in the view.
    pub(crate) fn get_many(
        &self,
        kv: &dyn Kv,
        space: Space,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let mut found: Vec<Option<Vec<u8>>> = vec![None; keys.len()];
        let mut rest = Vec::new();
        {
            let inner = sync::read(&self.0);
            for (i, key) in keys.iter().enumerate() {
                match inner.spaces[space as usize].get(key.as_slice()) {
                    Some(value) => found[i] = value.as_deref().map(<[u8]>::to_vec),
                    None => rest.push(i),
                }
            }
        }
        if !rest.is_empty() {
            let keys: Vec<&[u8]> = rest.iter().map(|&i| keys[i].as_slice()).collect();
            kv.view()?.get_many(space, &keys, &mut |i, value| found[rest[i]] = value.map(<[u8]>::to_vec))?;
        }
        Ok(found)
    }

    /// The newest value of one key.
    pub(crate) fn get(&self, kv: &dyn Kv, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(value) = sync::read(&self.0).spaces[space as usize].get(key) {
            return Ok(value.as_deref().map(<[u8]>::to_vec));
        }
        let mut found = None;
        kv.view()?.get(space, key, &mut |value| found = Some(value.to_vec()))?;
        Ok(found)
    }

    /// Up to `limit` newest entries of `range`, ascending; fewer only where there are no more.
    pub(crate) fn scan(&self, kv: &dyn Kv, space: Space, range: &Range, limit: usize) -> Result<Vec<Entry>> {
        let mut range = range.clone();
        let mut found = Vec::new();
        loop {
            let (page, horizon) = self.scan_once(kv, space, &range, limit - found.len())?;
            found.extend(page);
            match horizon {
                Some(seen) if found.len() < limit => range.start = [seen.as_slice(), &[0]].concat(),
                _ => return Ok(found),
            }
        }
    }

    /// Some newest entries of `range`, and how far they are all of them, if not to its end.
    fn scan_once(
        &self,
        kv: &dyn Kv,
        space: Space,
        range: &Range,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<Vec<u8>>)> {
        // Held while the view is taken, so that nothing moves from one to the other unseen.
        let inner = sync::read(&self.0);
        let view = kv.view()?;
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let newer: Entries = if range.is_empty() {
            Entries::new()
        } else {
            inner.spaces[space as usize]
                .range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
                .take(limit.saturating_mul(2))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        // Beyond the last overlay entry taken, older ones could be hidden by newer ones not taken.
        let horizon = if newer.len() == limit.saturating_mul(2) {
            newer.keys().next_back().map(|key| key.to_vec())
        } else {
            None
        };
        drop(inner);
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut from_store = 0;
        view.scan(space, range, &mut |key, value| {
            if horizon.as_ref().is_some_and(|horizon| key > horizon.as_slice()) {
                return Flow::Break(());
            }
            if !newer.contains_key(key) {
                merged.insert(key.to_vec(), value.to_vec());
                from_store += 1;
            }
            if from_store >= limit { Flow::Break(()) } else { Flow::Continue(()) }
        })?;
        merged.extend(newer.into_iter().filter_map(|(key, value)| Some((key.to_vec(), value?.to_vec()))));
        Ok((merged.into_iter().take(limit).collect(), horizon))
    }
}

/// The overlay, standing still.
pub(crate) struct Held<'a>(RwLockReadGuard<'a, Inner>);

impl Held<'_> {
    pub(crate) fn era(&self) -> Era {
        self.0.era
    }

    /// The index operands that wait for keys in `range`.
    pub(crate) fn postings(&self, range: &Range) -> impl Iterator<Item = (&Short, &Short)> {
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(range.start.as_slice()), end);
        // An empty range would panic.
        (!range.is_empty())
            .then(|| self.0.merges[Space::Postings as usize].range::<[u8], _>(bounds))
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemKv;

    #[test]
    fn operands_follow_what_they_change_and_go_with_what_replaces_it() {
        let overlay = Overlay::default();
        let mut batch = Batch::default();
        batch.put(Space::Upper, [1], [1]);
        batch.merge(Space::Upper, [1], [2]);
        batch.merge(Space::Upper, [1], [3]);
        batch.merge(Space::Upper, [2], [4]);
        batch.put(Space::Upper, [2], [5]);
        batch.merge(Space::Upper, [3], [6]);
        batch.delete(Space::Upper, [3]);
        batch.merge(Space::Links, [4], [7]);
        overlay.absorb(&batch);
        let mut want = Batch::default();
        want.put(Space::Upper, [1], [1]);
        want.put(Space::Upper, [2], [5]);
        want.delete(Space::Upper, [3]);
        want.merge(Space::Upper, [1], [2, 3]);
        assert_eq!(overlay.to_batch(), want);
    }

    #[test]
    fn a_scan_goes_on_past_any_number_of_deletes() {
        let (kv, overlay) = (MemKv::default(), Overlay::default());
        let mut stored = Batch::default();
        (0..100u8).for_each(|i| stored.put(Space::Ids, [i], [1]));
        kv.apply(&stored).unwrap();
        let mut newer = Batch::default();
        (0..90u8).for_each(|i| newer.delete(Space::Ids, [i]));
        newer.put(Space::Ids, [95], [2]);
        newer.put(Space::Ids, [200], [2]);
        overlay.absorb(&newer);
        for limit in 1..30 {
            let found = overlay.scan(&kv, Space::Ids, &Range::all(), limit).unwrap();
            let keys: Vec<u8> = found.iter().map(|(key, _)| key[0]).collect();
            let want: Vec<u8> = (90..100).chain([200]).take(limit).collect();
            assert_eq!(keys, want, "limit {limit}");
            assert!(
                found
                    .iter()
                    .all(|(key, value)| value[0] == if key[0] == 95 || key[0] == 200 { 2 } else { 1 })
            );
        }
    }
}
