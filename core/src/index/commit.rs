//! The writer's state, and the steps that make a write last: journal, memory, publication, checkpoint.

use super::chunk::side_by_side;
use super::meta::Meta;
use super::slots::Slots;
use super::tidy::{Blocked, Sweep};
use super::{Index, Published, UNBORN, record};
use crate::graph::cache::{Changed, Delta};
use crate::graph::policy::{Form, LinkPolicy, PolicyState};
use crate::kv::{Batch, Space, links, slot_key};
use crate::{Code, Durability, Error, Pool, Result, Serial, Slot, sync};
use roaring::RoaringBitmap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Changed lists that are gathered together.
const GATHER: usize = 4096;

/// What only the one writing thread touches.
pub(crate) struct Writer {
    pub(crate) meta: Meta,
    /// Sequence number of the last journal record.
    pub(crate) seq: u64,
    /// Sequence number of the last record known to survive power loss.
    pub(crate) durable: u64,
    /// Rows of writes that were given up after some of their records: dead, but not yet said so in a record.
    pub(crate) orphans: Vec<Slot>,
    /// Slots of the rows that an insert in steps has written so far: no other write may come between its steps.
    pub(crate) stepping: Option<Vec<Slot>>,
    /// Slots that have no live row.
    pub(crate) slots: Slots,
    /// The sweep that is under way.
    pub(crate) sweep: Option<Sweep>,
    /// Why none is.
    pub(crate) blocked: Option<Blocked>,
    /// Journal bytes at which a checkpoint is due.
    pending_limit: u64,
    /// How changed lists are written.
    policy: PolicyState,
}

/// What one commit changes.
pub(crate) struct Commit<'a> {
    /// Where the rows go, ascending.
    pub(crate) slots: &'a [Slot],
    /// The rows of this record.
    pub(crate) rows: &'a [f32],
    pub(crate) batch: Batch,
    /// The counters after it, apart from what every commit sets.
    pub(crate) meta: Meta,
    /// Slots that it replaces or deletes.
    pub(crate) killed: Vec<Slot>,
    /// Slots used again, of all rows that it shows.
    pub(crate) reused: Vec<Slot>,
}

impl Commit<'_> {
    /// One that writes no rows and kills none.
    pub(crate) fn of(batch: Batch, meta: Meta) -> Self {
        Commit { slots: &[], rows: &[], batch, meta, killed: Vec::new(), reused: Vec::new() }
    }
}

impl Writer {
    pub(crate) fn new(meta: Meta, pending_limit: u64, policy: LinkPolicy) -> Writer {
        let policy = PolicyState::new(policy);
        Writer {
            meta,
            seq: meta.applied,
            durable: meta.applied,
            orphans: Vec::new(),
            stepping: None,
            slots: Slots::default(),
            sweep: None,
            blocked: None,
            pending_limit,
            policy,
        }
    }
}

impl Index {
    /// Appends one record. On failure nothing is kept.
    pub(crate) fn append(&self, w: &mut Writer, slots: &[Slot], rows: &[f32], batch: &Batch) -> Result<()> {
        let body = record::encode(slots, rows, batch);
        match self.journal.append(w.seq + 1, &body) {
            Ok(()) => {
                w.seq += 1;
                Ok(())
            }
            Err(error) => {
                if !self.journal.is_clean() {
                    self.poison_with(&error);
                }
                Err(error)
            }
        }
    }

    /// Shows what a record that was appended has besides lists.
    pub(crate) fn absorb(&self, batch: &Batch) {
        self.names.note(batch);
        self.overlay.absorb(batch);
    }

    /// Appends the record that commits everything from `w.meta.committed` on, and shows it to readers.
    pub(crate) fn commit(&self, w: &mut Writer, commit: Commit<'_>, link: impl FnOnce()) -> Result<()> {
        let Commit { slots, rows, mut batch, meta, killed, reused } = commit;
        for &slot in w.orphans.iter().chain(&killed) {
            batch.put(Space::Dead, slot_key(slot), []);
        }
        reused.iter().for_each(|&slot| batch.delete(Space::Dead, slot_key(slot)));
        let meta = Meta { committed: meta.next, applied: w.seq + 1, ..meta };
        meta.put(&mut batch);
        self.append(w, slots, rows, &batch)?;
        let shown = w.meta.committed..meta.committed;
        w.meta = meta;
        let orphans = std::mem::take(&mut w.orphans);
        self.absorb(&batch);
        link();
        for &slot in &killed {
            self.died.ensure(slot)[0].store(w.seq, Ordering::Release);
        }
        for &slot in &reused {
            self.born.ensure(slot)[0].store(w.seq, Ordering::Release);
        }
        w.slots.dead.extend(orphans.iter().chain(&killed));
        self.allocated.store(meta.next, Ordering::Release);
        self.widths.note(shown.len() as u64 + (reused.len() + killed.len()) as u64);
        self.publish(Published { seq: w.seq, slots: meta.committed, live: meta.live }, |live| {
            live.insert_range(shown);
            live.extend(&reused);
            orphans.iter().chain(&killed).for_each(|&slot| {
                live.remove(slot);
            });
        });
        Ok(())
    }

    /// Shows a state to readers, and with it the rows that are visible in it.
    pub(crate) fn publish(&self, state: Published, change: impl FnOnce(&mut RoaringBitmap)) {
        let mut live = sync::lock(&self.live);
        change(Arc::make_mut(&mut live));
        let state = Arc::new(state);
        sync::lock(&self.shown).add(&state);
        self.published.store(state);
    }

    /// Makes slots that other rows had those of rows that nobody sees yet.
    pub(crate) fn unborn(&self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            // In this order: a reader who finds it alive must find it unborn.
            self.born.ensure(slot)[0].store(UNBORN, Ordering::Release);
            self.died.ensure(slot)[0].store(0, Ordering::Release);
        }
    }

    /// The published state and the rows that are visible in it.
    pub(crate) fn state(&self) -> (Arc<Published>, Arc<RoaringBitmap>) {
        let live = sync::lock(&self.live);
        (self.published.load_full(), Arc::clone(&live))
    }

    /// Waits until the last record is as safe as the database promises. Called without the writer's turn, so that
    /// writers who arrive together share one sync.
    pub(crate) fn settle(&self) -> Result<()> {
        match self.options.durability {
            Durability::Buffered => Ok(()),
            Durability::Sync => self.sync_journal(),
        }
    }

    pub(crate) fn sync_journal(&self) -> Result<()> {
        self.journal.sync().inspect_err(|error| self.poison_with(error))
    }

    pub(crate) fn poison_with(&self, error: &Error) {
        self.poison.get_or_init(|| error.to_string());
    }

    /// Checkpoints if enough is waiting. Called before a write changes anything, so that a full disk refuses it whole.
    pub(crate) fn make_room(&self, w: &mut Writer, pool: &dyn Pool) -> Result<()> {
        let (dirty, most) = self.adjacency.dirty();
        if dirty >= most || self.journal.pending().max(self.overlay.bytes()) >= w.pending_limit {
            self.checkpoint_on(w, pool)?;
        }
        Ok(())
    }

    /// Brings the stores up to the journal and cuts it: vectors, then the store, then the journal, each durable
    /// before the next. A failure poisons: how far the store came is not known, the journal still has everything.
    pub(crate) fn checkpoint(&self, w: &mut Writer) -> Result<()> {
        self.checkpoint_on(w, &Serial)
    }

    /// [`Index::checkpoint`], what goes to the store being gathered by `pool`.
    fn checkpoint_on(&self, w: &mut Writer, pool: &dyn Pool) -> Result<()> {
        if self.journal.pending() == 0 && w.orphans.is_empty() {
            return Ok(());
        }
        self.checkpoint_steps(w, pool).inspect_err(|error| self.poison_with(error))
    }

    fn checkpoint_steps(&self, w: &mut Writer, pool: &dyn Pool) -> Result<()> {
        w.policy.catch_up(&self.mix);
        let mut lists = self.adjacency.dirty_lists();
        let mut parts = Vec::with_capacity(lists.len() / GATHER + 1);
        while !lists.is_empty() {
            parts.push(Mutex::new(lists.split_off(lists.len().saturating_sub(GATHER))));
        }
        // Cut from the end; stores are quicker with keys that ascend.
        parts.reverse();
        // The disk makes sure of the vectors meanwhile.
        let gathered = side_by_side(pool, parts.len() + 2, &|part| {
            let mut batch = Batch::default();
            let mut forms = Vec::new();
            match part.checked_sub(2).map(|part| std::mem::take(&mut *sync::lock(&parts[part]))) {
                Some(lists) => forms = self.changed_lists(w, lists, &mut batch)?,
                None if part == 0 => self.vectors.sync()?,
                None => batch = self.overlay.to_batch(),
            }
            Ok((batch, forms))
        })?;
        let mut batch = Batch::with_room(gathered.iter().map(|(some, _)| some.ops().len()).sum());
        let mut forms = Vec::new();
        for (some, written) in gathered {
            batch.append(some);
            forms.extend(written);
        }
        for slot in self.adjacency.removed_lists() {
            batch.delete(Space::Links, slot_key(slot));
        }
        for &slot in &w.orphans {
            batch.put(Space::Dead, slot_key(slot), []);
        }
        let meta = Meta { applied: w.seq, next: self.allocated.load(Ordering::Acquire), ..w.meta };
        meta.put(&mut batch);
        let seq = self.kv.apply(&batch)?;
        self.kv.sync(seq)?;
        self.journal.cut(w.seq)?;
        w.durable = w.seq;
        self.overlay.clear();
        self.adjacency.clean();
        self.mix.note_writes(forms.len() as u64);
        forms.into_iter().for_each(|(slot, form)| w.policy.wrote(slot, form));
        self.watch_deltas(w);
        self.back_memory();
        Ok(())
    }

    /// Looks at how many deltas the store holds, where searches that meet them are to have them folded.
    pub(crate) fn watch_deltas(&self, w: &Writer) {
        if w.policy.folds() {
            self.mix.note_deltas(self.kv.unfolded(Space::Links), u64::from(w.meta.next));
        }
    }

    /// Adds changed lists to `batch`, whole or as what changed, and tells which.
    fn changed_lists(&self, w: &Writer, lists: Vec<Changed>, batch: &mut Batch) -> Result<Vec<(Slot, Form)>> {
        let mut list = Vec::new();
        let mut forms = Vec::with_capacity(lists.len());
        for Changed { slot, len, delta } in lists {
            let choose = |delta: &Delta| w.policy.choose(&self.mix, slot, len, delta.edges);
            match delta.filter(|delta| choose(delta) == Form::Delta) {
                Some(delta) => {
                    batch.merge(Space::Links, slot_key(slot), delta.operand);
                    forms.push((slot, Form::Delta));
                }
                None if !self.adjacency.read(slot, &mut list) => {
                    let gone = format!("the changed links of slot {slot} are gone");
                    return Err(Error::new(Code::Internal, gone));
                }
                None => {
                    batch.put(Space::Links, slot_key(slot), links::encode(&list));
                    forms.push((slot, Form::Pivot));
                }
            }
        }
        Ok(forms)
    }

    /// Makes all earlier writes survive power loss. One sync of the journal.
    pub fn flush(&self) -> Result<()> {
        self.reading()?;
        match self.poison.get() {
            Some(why) => Err(self.poisoned(why)),
            None => self.sync_journal(),
        }
    }

    /// Brings the stores up to date and closes. Later calls get `CLOSED`; a second close does nothing.
    pub fn close(&self) -> Result<()> {
        let mut writer = crate::sync::lock(&self.writer);
        if self.closed.swap(true, Ordering::AcqRel) || self.options.read_only || self.poison.get().is_some() {
            return Ok(());
        }
        if let Some(slots) = writer.stepping.take() {
            self.bury(&mut writer, slots);
        }
        self.checkpoint(&mut writer)?;
        self.kv.trim();
        Ok(())
    }
}
