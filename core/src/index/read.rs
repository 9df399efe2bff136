//! Reading rows by id, by slot and by scan.

use super::types::{Hit, Include, Row, Stats};
use super::{Index, Snapshot};
use crate::kv::{Space, slot_key, slot_of};
use crate::{Error, Id, Result, Slot, sync};
use std::sync::atomic::Ordering;

impl Index {
    /// The row of `id`, or `None`. Two or three key look-ups and one vector read.
    pub fn get(&self, id: &Id, include: Include) -> Result<Option<Row>> {
        Ok(self.get_many(std::slice::from_ref(id), include)?.pop().flatten())
    }

    /// The rows of `ids`, in their order, `None` for those that are absent.
    pub fn get_many(&self, ids: &[Id], include: Include) -> Result<Vec<Option<Row>>> {
        self.reading()?;
        // Held until the rows are complete: none of them is taken away before.
        let _state = self.published.load_full();
        let slots = self.slots_of(ids)?;
        let present: Vec<(Slot, Id)> =
            slots.iter().zip(ids).filter_map(|(slot, id)| Some(((*slot)?, id.clone()))).collect();
        let mut rows = self.rows(present, include)?.into_iter();
        Ok(slots.into_iter().map(|slot| slot.and_then(|_| rows.next())).collect())
    }

    /// Outer `None`: no such row. Inner `None`: a row without payload.
    pub fn get_payload(&self, id: &Id) -> Result<Option<Option<String>>> {
        let row = self.get(id, Include { payload: true, vector: false })?;
        Ok(row.map(|row| row.payload))
    }

    /// Rows that a search can find. Costs nothing.
    pub fn count(&self) -> Result<u64> {
        self.reading()?;
        Ok(self.published.load().live)
    }

    /// The rows committed now, for [`Index::scan`]. They stay readable while it is held: those of them that are deleted
    /// meanwhile keep their space until it is dropped. Rows written later do not.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.reading()?;
        let state = self.published.load_full();
        Ok(Snapshot(self.pin(&state)))
    }

    /// Up to `limit` rows of `snapshot` from position `cursor` (0 to begin), and the position to go on from, `None` at
    /// the end. In order of places: rows come as they were inserted until some take the places of deleted ones. Rows
    /// deleted after the snapshot was taken are still there.
    pub fn scan(
        &self,
        snapshot: &Snapshot,
        cursor: u32,
        limit: usize,
        include: Include,
    ) -> Result<(Vec<Row>, Option<u32>)> {
        self.reading()?;
        let visible = (cursor..snapshot.0.slots).filter(|&slot| self.visible(&snapshot.0, slot));
        let slots: Vec<Slot> = visible.take(limit.max(1)).collect();
        let next = slots.last().map(|&last| last + 1).filter(|&next| next < snapshot.0.slots);
        let ids = self.ids_of(&slots)?;
        let rows = self.rows(slots.into_iter().zip(ids).collect(), include)?;
        Ok((rows, next))
    }

    /// Figures about rows, memory and files.
    pub fn stats(&self) -> Result<Stats> {
        self.reading()?;
        let state = self.published.load();
        let allocated = u64::from(self.allocated.load(Ordering::Acquire));
        let swept = u64::from(self.swept.load(Ordering::Acquire));
        let scratch: u64 = sync::lock(&self.scratches).iter().map(crate::hnsw::Scratch::memory).sum();
        Ok(Stats {
            rows: state.live,
            tombstones: allocated.saturating_sub(state.live + swept),
            free_slots: swept,
            cache_bytes: self.options.cache_bytes,
            adjacency_bytes: self.adjacency.memory(),
            vector_bytes: self.vectors.memory() + self.sketches.memory(),
            code_bytes: self.codes.memory(),
            kv_bytes: self.kv.memory(),
            upper_bytes: self.upper.memory(),
            table_bytes: self.died.memory()
                + self.born.memory()
                + self.twins.memory()
                + self.names.memory()
                + self.overlay.bytes()
                + self.selections.memory()
                + scratch,
            vector_file_bytes: self.vectors.disk()?,
            kv_file_bytes: self.kv.disk(),
            journal_bytes: self.journal.pending() + crate::journal::HEADER,
        })
    }

    pub(crate) fn slots_of(&self, ids: &[Id]) -> Result<Vec<Option<Slot>>> {
        let keys: Vec<Vec<u8>> = ids.iter().map(Id::to_key).collect();
        let values = self.overlay.get_many(&*self.kv, Space::Ids, &keys)?;
        values.into_iter().map(|value| value.as_deref().map(slot_of).transpose()).collect()
    }

    /// The id of `slot`, or `None` where it never got one.
    pub(crate) fn id_of(&self, slot: Slot) -> Result<Option<Id>> {
        let key = self.overlay.get(&*self.kv, Space::Slots, &slot_key(slot))?;
        key.as_deref().map(Id::from_key).transpose()
    }

    pub(crate) fn ids_of(&self, slots: &[Slot]) -> Result<Vec<Id>> {
        let keys: Vec<Vec<u8>> = slots.iter().map(|&slot| slot_key(slot).to_vec()).collect();
        let values = self.overlay.get_many(&*self.kv, Space::Slots, &keys)?;
        let named = values.iter().zip(slots).map(|(value, slot)| match value {
            Some(key) => Id::from_key(key),
            None => Err(Error::corrupt(format!("the row at slot {slot} has lost its id"))),
        });
        named.collect()
    }

    /// [`Index::ids_of`] for rows that cannot leave their slots meanwhile: remembers them.
    fn known_ids_of(&self, slots: &[Slot]) -> Result<Vec<Id>> {
        let known: Option<Vec<Id>> = slots.iter().map(|&slot| self.names.get(slot)).collect();
        if let Some(ids) = known {
            return Ok(ids);
        }
        let era = self.names.era();
        let ids = self.ids_of(slots)?;
        slots.iter().zip(&ids).for_each(|(&slot, id)| self.names.put(era, slot, id));
        Ok(ids)
    }

    pub(crate) fn payloads_of(&self, slots: &[Slot]) -> Result<Vec<Option<String>>> {
        let keys: Vec<Vec<u8>> = slots.iter().map(|&slot| slot_key(slot).to_vec()).collect();
        let values = self.overlay.get_many(&*self.kv, Space::Payloads, &keys)?;
        let texts = values.into_iter().zip(slots).map(|(value, slot)| {
            let text = value.map(String::from_utf8).transpose();
            text.map_err(|_| Error::corrupt(format!("the payload of the row at slot {slot} is not UTF-8")))
        });
        texts.collect()
    }

    pub(crate) fn rows(&self, named: Vec<(Slot, Id)>, include: Include) -> Result<Vec<Row>> {
        let slots: Vec<Slot> = named.iter().map(|&(slot, _)| slot).collect();
        let mut payloads = if include.payload { self.payloads_of(&slots)? } else { Vec::new() }.into_iter();
        let rows = named.into_iter().map(|(slot, id)| {
            let vector = if include.vector { Some(self.vector(slot)?.to_vec()) } else { None };
            Ok(Row { id, payload: payloads.next().flatten(), vector })
        });
        rows.collect()
    }

    pub(crate) fn hits(&self, found: &[(Slot, f32)], include: Include) -> Result<Vec<Hit>> {
        let slots: Vec<Slot> = found.iter().map(|&(slot, _)| slot).collect();
        let ids = self.known_ids_of(&slots)?;
        let rows = self.rows(slots.into_iter().zip(ids).collect(), include)?;
        let hits = rows.into_iter().zip(found).map(|(row, &(_, rank))| Hit {
            id: row.id,
            distance: self.config.metric.distance(rank),
            payload: row.payload,
            vector: row.vector,
        });
        Ok(hits.collect())
    }
}
