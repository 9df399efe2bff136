//! The calls that change rows.

use super::chunk::side_by_side;
use super::commit::{Commit, Writer};
use super::entries::Entries;
use super::insert::Stage;
use super::meta::Meta;
use super::types::{Inserted, Mode, Rows};
use super::{Index, coded, payload, rows};
use crate::kv::{Batch, Space, slot_key};
use crate::{Code, Control, Error, Id, Pool, Result, Serial, Slot, sync};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

/// Rows planned against one state of the graph. Fixed, so that a build does not depend on the number of threads.
const CHUNK: usize = 64;
/// Rows checked by one job.
const VALIDATED: usize = 1024;
/// Number ids that the database gives stay exact in JavaScript.
const MAX_GIVEN_ID: u64 = 1 << 53;

/// One row to write, its id looked up.
pub(crate) struct NewRow {
    id: Id,
    key: Vec<u8>,
    /// The slot that it replaces.
    old: Option<Slot>,
    payload: Option<String>,
}

impl Index {
    /// Writes one row. With [`Mode::Insert`], `ID_EXISTS` where the id is there already; with [`Mode::Upsert`], a
    /// payload of `None` keeps the old one.
    pub fn insert(&self, id: &Id, vector: &[f32], payload: Option<&str>, mode: Mode) -> Result<()> {
        let payloads = [payload.map(str::to_string)];
        let rows = Rows { ids: Some(std::slice::from_ref(id)), vectors: vector, payloads: &payloads };
        // One row: its length decides between one vector and a wrong one.
        self.config.metric.validate(self.config.dim, vector)?;
        self.insert_many(rows, mode, &Serial, &Control::NONE).map(drop).map_err(Error::single_row)
    }

    /// Writes all rows or none: a bad row, an abort or a crash leaves nothing. Every row is checked first; an error
    /// names the row by its position.
    pub fn insert_many(
        &self,
        rows: Rows<'_>,
        mode: Mode,
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<Inserted> {
        self.reading()?;
        let count = self.validate_rows(&rows, pool)?;
        let mut w = self.writing()?;
        if count == 0 {
            return Ok(Inserted { count: 0, first_id: None });
        }
        control.check()?;
        let (new_rows, given) = self.name_new(&mut w, &rows, count, mode)?;
        self.write_rows(&mut w, &new_rows, rows.vectors, pool, control)?;
        drop(w);
        self.settle()?;
        Ok(Inserted { count: count as u64, first_id: given })
    }

    /// Looks checked rows up and gives ids to those that bring none; the first of these, if there are any.
    pub(crate) fn name_new(
        &self,
        w: &mut Writer,
        rows: &Rows<'_>,
        count: usize,
        mode: Mode,
    ) -> Result<(Vec<NewRow>, Option<u64>)> {
        let fresh = (count as u64).saturating_sub(self.reclaim(w)?);
        if u64::from(w.meta.next) + fresh > u64::from(crate::id::MAX_SLOTS) {
            return Err(Error::invalid(
                "the database holds as many rows as it can: 2^31, with deleted ones whose places are not free yet",
            ));
        }
        let given = match rows.ids {
            Some(_) => None,
            None if w.meta.next_id + count as u64 > MAX_GIVEN_ID => {
                return Err(Error::invalid("no more ids can be given automatically: pass ids"));
            }
            None => Some(w.meta.next_id),
        };
        Ok((self.look_up(rows, count, mode, given)?, given))
    }

    /// Replaces the vector of a row; its payload stays. `NOT_FOUND` where the id is absent.
    pub fn update(&self, id: &Id, vector: &[f32]) -> Result<()> {
        self.reading()?;
        self.config.metric.validate(self.config.dim, vector)?;
        let mut w = self.writing()?;
        let old = self.slot_or_missing(id)?;
        let payload = self.payloads_of(&[old])?.pop().flatten();
        let row = NewRow { id: id.clone(), key: id.to_key(), old: Some(old), payload };
        self.write_rows(&mut w, &[row], vector, &Serial, &Control::NONE).map_err(Error::single_row)?;
        drop(w);
        self.settle()
    }

    /// Deletes a row; `true` if it was there.
    pub fn delete(&self, id: &Id) -> Result<bool> {
        Ok(self.delete_many(std::slice::from_ref(id))? == 1)
    }

    /// Deletes rows in one commit; answers how many were there.
    pub fn delete_many(&self, ids: &[Id]) -> Result<u64> {
        let w = self.writing()?;
        let mut distinct = HashSet::new();
        let ids: Vec<Id> = ids.iter().filter(|id| distinct.insert(*id)).cloned().collect();
        let slots = self.slots_of(&ids)?;
        let rows = ids.iter().zip(slots).filter_map(|(id, slot)| Some((id.to_key(), slot?)));
        self.delete_rows(w, rows.collect())
    }

    /// Deletes rows, by id key and slot, in one commit.
    pub(crate) fn delete_rows(
        &self,
        mut w: MutexGuard<'_, Writer>,
        rows: Vec<(Vec<u8>, Slot)>,
    ) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        let (keys, killed): (Vec<Vec<u8>>, Vec<Slot>) = rows.into_iter().unzip();
        keys.into_iter().for_each(|key| batch.delete(Space::Ids, key));
        self.make_room(&mut w, &Serial)?;
        self.keep_up(&mut w, killed.len())?;
        let meta = Meta { live: w.meta.live.saturating_sub(killed.len() as u64), ..w.meta };
        let count = killed.len() as u64;
        self.commit(&mut w, Commit { killed, ..Commit::of(batch, meta) }, || ())?;
        drop(w);
        self.settle()?;
        Ok(count)
    }

    /// Replaces a row's payload; `None` removes it. `NOT_FOUND` where the row is absent.
    pub fn set_payload(&self, id: &Id, payload: Option<&str>) -> Result<()> {
        self.reading()?;
        payload.map_or(Ok(()), payload::validate)?;
        self.change_payload(id, |_| Ok(payload.map(str::to_string)))
    }

    /// Applies an RFC 7396 merge patch to a row's payload: members set to `null` go, others are set, objects merge.
    /// `NOT_FOUND` where the row is absent, `PAYLOAD_TOO_LARGE` where the result exceeds 1 MiB.
    pub fn merge_payload(&self, id: &Id, patch: &str) -> Result<()> {
        self.reading()?;
        payload::validate(patch)?;
        self.change_payload(id, |old| payload::merge(old, patch).map(Some))
    }

    fn change_payload(
        &self,
        id: &Id,
        change: impl FnOnce(Option<&str>) -> Result<Option<String>>,
    ) -> Result<()> {
        let mut w = self.writing()?;
        let slot = self.slot_or_missing(id)?;
        let old = self.payloads_of(&[slot])?.pop().flatten();
        let mut batch = Batch::default();
        let new = change(old.as_deref())?;
        let mut entries = Entries::default();
        entries.replace(slot, old.as_deref(), new.as_deref(), &self.rules)?;
        match new {
            Some(text) => batch.put(Space::Payloads, slot_key(slot), text),
            None => batch.delete(Space::Payloads, slot_key(slot)),
        }
        entries.merge_into(&mut batch);
        self.make_room(&mut w, &Serial)?;
        let meta = w.meta;
        self.commit(&mut w, Commit::of(batch, meta), || ())?;
        drop(w);
        self.settle()
    }

    fn slot_or_missing(&self, id: &Id) -> Result<Slot> {
        self.slots_of(std::slice::from_ref(id))?
            .pop()
            .flatten()
            .ok_or_else(|| Error::new(Code::NotFound, format!("there is no row with id {id}")))
    }

    /// Checks everything about the rows that needs no look-up; answers how many there are.
    pub(crate) fn validate_rows(&self, rows: &Rows<'_>, pool: &dyn Pool) -> Result<usize> {
        let dim = self.config.dim as usize;
        if !rows.vectors.len().is_multiple_of(dim) {
            return Err(Error::new(
                Code::DimensionMismatch,
                format!("{} numbers are no whole number of vectors of dimension {dim}", rows.vectors.len()),
            ));
        }
        let count = rows.vectors.len() / dim;
        if let Some(ids) = rows.ids.filter(|ids| ids.len() != count) {
            return Err(Error::invalid(format!("{} ids were given for {count} vectors", ids.len())));
        }
        if !rows.payloads.is_empty() && rows.payloads.len() != count {
            return Err(Error::invalid(format!(
                "{} payloads were given for {count} vectors",
                rows.payloads.len()
            )));
        }
        // The first bad row is named, whichever part of them is done first.
        let bad: Mutex<Option<(usize, Error)>> = Mutex::default();
        let parts: Vec<&[f32]> = rows.vectors.chunks(VALIDATED * dim).collect();
        pool.for_each(parts.len(), &|part| {
            for (i, vector) in (part * VALIDATED..).zip(parts[part].chunks_exact(dim)) {
                if let Err(error) = self.config.metric.validate(self.config.dim, vector) {
                    let mut bad = sync::lock(&bad);
                    if bad.as_ref().is_none_or(|(first, _)| i < *first) {
                        *bad = Some((i, error.at_row(i)));
                    }
                    break;
                }
            }
        });
        sync::lock(&bad).take().map_or(Ok(()), |(_, error)| Err(error))?;
        for (i, text) in rows.payloads.iter().enumerate() {
            text.as_deref().map_or(Ok(()), payload::validate).map_err(|error| error.at_row(i))?;
        }
        let mut distinct = HashSet::new();
        if let Some(i) = rows.ids.and_then(|ids| ids.iter().position(|id| !distinct.insert(id))) {
            return Err(Error::new(Code::IdExists, "its id was given twice in one call").at_row(i));
        }
        Ok(count)
    }

    /// Finds which ids are there already.
    fn look_up(&self, rows: &Rows<'_>, count: usize, mode: Mode, given: Option<u64>) -> Result<Vec<NewRow>> {
        let ids: Vec<Id> = match (rows.ids, given) {
            (Some(ids), _) => ids.to_vec(),
            (None, first) => (first.unwrap_or(0)..).take(count).map(Id::from).collect(),
        };
        let slots = self.slots_of(&ids)?;
        if mode == Mode::Insert
            && let Some(i) = slots.iter().position(Option::is_some)
        {
            let message = format!("id {} is there already: use upsert or update to replace it", ids[i]);
            return Err(Error::new(Code::IdExists, message).at_row(i));
        }
        let mut new_rows = Vec::with_capacity(count);
        for (i, (id, old)) in ids.into_iter().zip(slots).enumerate() {
            let payload = match (rows.payloads.get(i).cloned().flatten(), old) {
                (None, Some(old)) => self.payloads_of(&[old])?.pop().flatten(),
                (payload, _) => payload,
            };
            new_rows.push(NewRow { key: id.to_key(), id, old, payload });
        }
        Ok(new_rows)
    }

    /// Links and journals the rows chunk by chunk and commits with the last: until then no reader sees any of them.
    fn write_rows(
        &self,
        w: &mut Writer,
        rows: &[NewRow],
        vectors: &[f32],
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<()> {
        self.tidy_before(w, rows.len())?;
        let mut slots: Vec<Slot> = Vec::with_capacity(rows.len());
        while slots.len() < rows.len() {
            if let Err(error) = self.write_step(w, rows, vectors, &mut slots, pool, control) {
                self.bury(w, slots);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is due before the first row of a write: a commit of the sweep between chunks would show half of the rows.
    pub(crate) fn tidy_before(&self, w: &mut Writer, rows: usize) -> Result<()> {
        self.begin_anew(w)?;
        self.keep_up(w, rows)
    }

    /// Writes the next chunk of a write whose rows so far went to `slots`. After an error these have to be buried.
    pub(crate) fn write_step(
        &self,
        w: &mut Writer,
        rows: &[NewRow],
        vectors: &[f32],
        slots: &mut Vec<Slot>,
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<()> {
        let dim = self.config.dim as usize;
        let (done, end) = (slots.len(), rows.len().min(slots.len() + CHUNK));
        control.check()?;
        self.make_room(w, pool)?;
        slots.extend(self.take_slots(w, end - done)?);
        let last = (end == rows.len()).then_some(rows);
        let chunk = (&rows[done..end], &vectors[done * dim..end * dim]);
        if let Err(error) = self.write_chunk(w, chunk, slots, pool, last) {
            // No record has these.
            let mut unused = slots.split_off(done);
            unused.retain(|&slot| slot < w.meta.next);
            self.make_dead(&unused);
            w.slots.give_back(unused.into_iter());
            return Err(error);
        }
        (control.progress)(end as u64, rows.len() as u64);
        Ok(())
    }

    /// Gives up the write whose rows so far went to `slots`: what the journal has of it stays dead; the next commit says
    /// so in a record.
    pub(crate) fn bury(&self, w: &mut Writer, slots: Vec<Slot>) {
        self.make_dead(&slots);
        w.orphans.extend(slots);
    }

    fn make_dead(&self, slots: &[Slot]) {
        for &slot in slots {
            self.died.ensure(slot)[0].store(1, std::sync::atomic::Ordering::Release);
        }
    }

    /// Links one chunk, whose rows go to the last of `slots`; with the last chunk comes `commit`: all rows.
    fn write_chunk(
        &self,
        w: &mut Writer,
        (chunk, vectors): (&[NewRow], &[f32]),
        slots: &[Slot],
        pool: &dyn Pool,
        commit: Option<&[NewRow]>,
    ) -> Result<()> {
        let dim = self.config.dim as usize;
        let all = slots;
        let slots = &slots[slots.len() - chunk.len()..];
        let known = w.meta.next;
        let reused = || slots.iter().copied().filter(|&slot| slot < known);
        self.unborn(reused());
        self.warm_up();
        self.make_missing(coded::PER_CHUNK);
        let fresh = self.codes.encode(vectors);
        let fresh = fresh.as_ref();
        let rows = rows::Rows { index: self, slots, vectors, fresh };
        let planned = side_by_side(pool, chunk.len(), &|i| {
            self.with_scratch(|scratch| {
                let vector = &vectors[i * dim..][..dim];
                let coded = fresh.map(|fresh| fresh.query(i, vector));
                let plan = self.plan(vector, coded.as_ref(), &chunk[i].key, scratch)?;
                // While what the walk read is near: twins are seldom, and seen when all are planned.
                let choice = self.choose(&rows, &plan, i, &|_| false)?;
                Ok((plan, choice))
            })
        })?;
        let (plans, choices) = planned.into_iter().unzip();
        let mut stage = Stage::default();
        self.link_chunk(&mut stage, &rows, plans, choices, pool)?;
        // Rows go to their file before the record that names them, so that a full disk refuses the chunk whole.
        self.vectors.write(slots, vectors)?;
        self.sketches.forget(reused());
        self.codes.put(slots, known, fresh);
        self.vectors.lend(self.codes.took_more());
        let mut batch = Batch::default();
        self.stage_ops(&stage, &mut batch);
        let next = slots.last().map_or(known, |&last| known.max(last + 1));
        let mut meta = Meta { next, ..w.meta };
        match commit {
            Some(rows) => {
                let killed = self.name_rows(rows, all, &mut meta, &mut batch)?;
                let again = all.iter().copied().filter(|&slot| slot < w.meta.committed).collect();
                let commit = Commit { slots, rows: vectors, batch, meta, killed, reused: again };
                self.commit(w, commit, || self.install(stage))?;
            }
            None => {
                // They have links from here on: after a crash they must be swept again.
                reused().for_each(|slot| batch.put(Space::Dead, slot_key(slot), []));
                meta.applied = w.seq + 1;
                meta.put(&mut batch);
                self.append(w, slots, vectors, &batch)?;
                w.meta = meta;
                self.absorb(&batch);
                self.install(stage);
                self.allocated.store(meta.next, std::sync::atomic::Ordering::Release);
            }
        }
        let used = reused().count() as u32;
        self.swept.fetch_sub(used, std::sync::atomic::Ordering::AcqRel);
        Ok(())
    }

    /// Gives rows their ids, payloads and index entries; answers with the slots that they replace.
    fn name_rows(
        &self,
        rows: &[NewRow],
        slots: &[Slot],
        meta: &mut Meta,
        batch: &mut Batch,
    ) -> Result<Vec<Slot>> {
        let mut killed = Vec::new();
        let mut entries = Entries::default();
        for (&slot, row) in slots.iter().zip(rows) {
            batch.put(Space::Ids, row.key.clone(), slot_key(slot));
            batch.put(Space::Slots, slot_key(slot), row.key.clone());
            if let Some(payload) = &row.payload {
                batch.put(Space::Payloads, slot_key(slot), payload.as_bytes());
                entries.add(slot, payload, &self.rules)?;
            }
            killed.extend(row.old);
        }
        entries.merge_into(batch);
        meta.next_id = meta.next_id.max(next_id(rows.iter().map(|row| &row.id)));
        meta.live += (rows.len() - killed.len()) as u64;
        Ok(killed)
    }
}

/// The id that follows the largest of these that the database could have given.
pub(crate) fn next_id<'a>(ids: impl Iterator<Item = &'a Id>) -> u64 {
    let numbers = ids.filter_map(|id| match id {
        Id::Num(id) if *id < MAX_GIVEN_ID => Some(id + 1),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

impl Error {
    fn at_row(self, row: usize) -> Error {
        self.at(format!("row {row}"))
    }

    /// The same error of a call that takes one row: its position says nothing.
    fn single_row(self) -> Error {
        match self.message().strip_prefix("row 0: ") {
            Some(rest) => Error::new(self.code(), rest),
            None => self,
        }
    }
}
