//! The few numbers about the whole database that commits carry.

use crate::kv::{Batch, Read, Space};
use crate::{Error, Result};

pub(crate) const KEY: &[u8] = b"state";

/// Stored under one key, so that they are never seen out of step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Sequence number of the last journal record the store holds.
    pub(crate) applied: u64,
    /// Slots below this are committed: live or dead, never in between.
    pub(crate) committed: u32,
    /// Slots below this have rows and links; those from `committed` on belong to a write that has not committed.
    pub(crate) next: u32,
    /// Rows that are not dead.
    pub(crate) live: u64,
    /// The id that the database gives next.
    pub(crate) next_id: u64,
}

impl Meta {
    pub(crate) fn put(&self, batch: &mut Batch) {
        batch.put(Space::Meta, KEY, self.encode());
    }

    /// As stored: 32 bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        value.extend_from_slice(&self.applied.to_le_bytes());
        value.extend_from_slice(&self.committed.to_le_bytes());
        value.extend_from_slice(&self.next.to_le_bytes());
        value.extend_from_slice(&self.live.to_le_bytes());
        value.extend_from_slice(&self.next_id.to_le_bytes());
        value
    }

    /// The stored numbers; all zero for a new store.
    pub(crate) fn read(view: &dyn Read) -> Result<Meta> {
        let mut meta = Ok(Meta::default());
        view.get(Space::Meta, KEY, &mut |value| meta = Meta::decode(value))?;
        meta
    }

    /// Reads what [`Meta::encode`] wrote.
    pub(crate) fn decode(value: &[u8]) -> Result<Meta> {
        let words: Vec<u32> =
            value.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let long = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
        if value.len() != 32 || words[2] > words[3] || words[3] > crate::id::MAX_SLOTS {
            return Err(Error::corrupt("the stored counters are damaged"));
        }
        Ok(Meta { applied: long(0), committed: words[2], next: words[3], live: long(4), next_id: long(6) })
    }
}
