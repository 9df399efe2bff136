//! [`MemKv`]: the plainest store, and the model the others are tested against.

use super::{Batch, Flow, Kv, Op, Range, Read, Seq, Space, Synced};
use crate::{Code, Error, Result, sync};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

type Tables = [Arc<BTreeMap<Vec<u8>, Vec<u8>>>; Space::ALL.len()];

/// A [`Kv`] in memory. Views share tables with the store; a table is copied when it changes under a view.
#[derive(Debug, Default)]
pub struct MemKv(RwLock<State>);

#[derive(Clone, Debug, Default)]
struct State {
    tables: Tables,
    seq: Seq,
    bytes: u64,
    poisoned: bool,
}

impl MemKv {
    /// An independent copy of the present contents, sound even where this handle is poisoned.
    #[must_use]
    pub fn fork(&self) -> MemKv {
        MemKv(RwLock::new(State { poisoned: false, ..sync::read(&self.0).clone() }))
    }
}

impl Kv for MemKv {
    fn view(&self) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(View(sync::read(&self.0).tables.clone())))
    }

    fn apply(&self, batch: &Batch) -> Result<Seq> {
        let mut state = sync::write(&self.0);
        if state.poisoned {
            return Err(Error::new(Code::Poisoned, "an earlier write failed; reopen the database to go on"));
        }
        let mut undo = Vec::new();
        for op in batch.ops() {
            // A merge fails on damaged operands; what the batch did before it is taken back.
            if let Err(error) = state.apply(op, &mut undo) {
                for (space, key, old) in undo.into_iter().rev() {
                    state.set(space, key, old);
                }
                state.poisoned = true;
                return Err(error);
            }
        }
        state.seq += 1;
        Ok(state.seq)
    }

    fn sync(&self, _seq: Seq) -> Result<Synced> {
        Ok(Synced::Done)
    }

    fn durable(&self) -> Seq {
        sync::read(&self.0).seq
    }

    fn memory(&self) -> u64 {
        sync::read(&self.0).bytes
    }

    fn disk(&self) -> u64 {
        0
    }
}

/// What a key held before a change.
type Undo = Vec<(Space, Vec<u8>, Option<Vec<u8>>)>;

impl State {
    fn apply(&mut self, op: &Op, undo: &mut Undo) -> Result<()> {
        let mut set = |state: &mut State, space: Space, key: &[u8], value: Option<Vec<u8>>| {
            let old = state.set(space, key.to_vec(), value);
            undo.push((space, key.to_vec(), old));
        };
        match op {
            Op::Put(space, key, value) => set(self, *space, key, Some(value.to_vec())),
            Op::Delete(space, key) => set(self, *space, key, None),
            Op::DeleteRange(space, range) if !range.is_empty() => {
                let table = &self.tables[*space as usize];
                let keys: Vec<Vec<u8>> = entries(table, range).map(|(key, _)| key.clone()).collect();
                keys.iter().for_each(|key| set(self, *space, key, None));
            }
            Op::DeleteRange(..) => {}
            Op::Merge(space, key, operand) => {
                let base = self.tables[*space as usize].get(&**key).map(Vec::as_slice);
                let value = space.fold(base, &[operand])?;
                set(self, *space, key, value);
            }
        }
        Ok(())
    }

    /// Sets or removes a key; answers with what it held.
    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let table = Arc::make_mut(&mut self.tables[space as usize]);
        let key_len = key.len() as u64;
        let added = value.as_ref().map_or(0, |value| key_len + value.len() as u64);
        let old = match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
        self.bytes = self.bytes + added - old.as_ref().map_or(0, |old| key_len + old.len() as u64);
        old
    }
}

fn entries<'a>(
    table: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    range: &Range,
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> {
    let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    table.range::<Vec<u8>, _>((Bound::Included(&range.start), end))
}

struct View(Tables);

impl Read for View {
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.0[space as usize].get(key);
        if let Some(value) = value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn get_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        see: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        for (i, key) in keys.iter().enumerate() {
            see(i, self.0[space as usize].get(*key).map(Vec::as_slice));
        }
        Ok(())
    }

    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()> {
        if !range.is_empty() {
            for (key, value) in entries(&self.0[space as usize], range) {
                if see(key, value).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
