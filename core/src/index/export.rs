//! Taking one committed state out.

use super::Index;
use crate::vectors::FrozenRows;
use crate::{Export, Result, Slot, sync};
use std::sync::Arc;

impl Index {
    /// Everything committed now, on its way to a file: see [`Export`].
    ///
    /// Waits for the writer's turn and brings the stores up to date, as a checkpoint does; writes go on from then on and
    /// are not in it. `POISONED` where an earlier write failed half-way.
    pub fn export(&self) -> Result<Export> {
        let taken = |swept| Export::new(self, Arc::clone(&self.kv), |slots| self.freeze(slots, swept));
        if self.options.read_only {
            // Opening has replayed the journal, and nothing was written since.
            self.reading()?;
            let writer = sync::lock(&self.writer);
            return taken(writer.slots.all_swept());
        }
        let mut writer = self.writing()?;
        self.checkpoint(&mut writer)?;
        taken(writer.slots.all_swept())
    }

    /// See [`crate::vectors::VectorFile::copy_rows`].
    pub(crate) fn copy_rows(
        &self,
        frozen: &FrozenRows,
        first: Slot,
        count: u32,
        lost: &dyn Fn(Slot) -> Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.reading()?;
        self.vectors.copy_rows(frozen, first, count, lost, out)
    }
}
