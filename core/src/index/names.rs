//! Ids that are small numbers, by slot: answers need not ask the store for them.

use crate::kv::{Batch, Op, Space, slot_of};
use crate::table::Table;
use crate::{Id, Slot};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Names {
    /// Per slot its id plus one; 0 for those not known and those that do not fit. Four bytes a row, of rows that were found.
    names: Table<AtomicU32>,
    /// How often all were forgotten.
    era: AtomicU32,
}

impl Default for Names {
    fn default() -> Self {
        Names { names: Table::new(1), era: AtomicU32::new(0) }
    }
}

impl Names {
    /// Whether any are kept: browsers would download it.
    pub(crate) const KEEPS: bool = cfg!(not(target_family = "wasm"));

    pub(crate) fn get(&self, slot: Slot) -> Option<Id> {
        let name = self.names.get(slot).filter(|_| Self::KEEPS)?.load(Ordering::Acquire);
        name.checked_sub(1).map(|number| Id::from(u64::from(number)))
    }

    /// To be taken before ids for [`Names::put`] are read.
    pub(crate) fn era(&self) -> u32 {
        self.era.load(Ordering::SeqCst)
    }

    /// Remembers the id of `slot` as it was read in `era`. The row must have been kept from leaving its slot since.
    pub(crate) fn put(&self, era: u32, slot: Slot, id: &Id) {
        if Self::KEEPS {
            // Every id takes the same memory, those that do not fit too.
            let number = if let Id::Num(number) = id { u32::try_from(*number).ok() } else { None };
            let name = number.and_then(|number| number.checked_add(1)).unwrap_or(0);
            let place = &self.names.ensure(slot)[0];
            place.store(name, Ordering::SeqCst);
            if self.era() != era {
                place.store(0, Ordering::SeqCst);
            }
        }
    }

    /// Forgets the slots to which `batch` gives other ids, or none.
    pub(crate) fn note(&self, batch: &Batch) {
        for op in batch.ops().iter().filter(|_| Self::KEEPS) {
            if let Op::Put(Space::Slots, key, _) | Op::Delete(Space::Slots, key) = op
                && let Some(name) = slot_of(key).ok().and_then(|slot| self.names.get(slot))
            {
                name.store(0, Ordering::Release);
            }
        }
    }

    /// Forgets all, as slots have other ids from now on.
    pub(crate) fn clear(&self) {
        if Self::KEEPS {
            self.era.fetch_add(1, Ordering::SeqCst);
            self.names.values().for_each(|name| name.store(0, Ordering::SeqCst));
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.names.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::slot_key;

    #[test]
    fn numbers_are_kept_until_their_slots_have_others() {
        let names = Names::default();
        let era = names.era();
        let id = |number: u64| Id::from(number);
        for (slot, number) in
            [(0, 0), (1, 7), (2, u64::from(u32::MAX) - 1), (3, u64::from(u32::MAX)), (4, 1 << 40)]
        {
            names.put(era, slot, &id(number));
        }
        names.put(era, 5, &"text".parse().unwrap());
        let kept = |names: &Names| (0..7).map(|slot| names.get(slot)).collect::<Vec<_>>();
        let all = [Some(id(0)), Some(id(7)), Some(id(u64::from(u32::MAX) - 1)), None, None, None, None];
        assert_eq!(kept(&names), all, "what does not fit is left to the store");
        let mut batch = Batch::default();
        batch.put(Space::Slots, slot_key(0), id(9).to_key());
        batch.delete(Space::Slots, slot_key(1));
        batch.put(Space::Ids, slot_key(2), slot_key(2));
        names.note(&batch);
        assert_eq!(kept(&names)[..3], [None, None, all[2].clone()]);
        names.clear();
        names.put(era, 2, &id(3));
        assert_eq!(kept(&names)[2], None, "read before all were forgotten");
        names.put(names.era(), 2, &id(3));
        assert_eq!(kept(&names)[2], Some(id(3)));
    }
}
