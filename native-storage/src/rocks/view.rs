//! A frozen view of what RocksDB holds.

use super::{RocksKv, merge};
use asteroid_core::Result;
use asteroid_core::kv::{Flow, Range, Read, Space};
use rocksdb::{ColumnFamily, ReadOptions, Snapshot};

pub(super) struct View<'a> {
    kv: &'a RocksKv,
    // Refers to the snapshot, which is released after it.
    options: ReadOptions,
    snapshot: Snapshot<'a>,
}

impl<'a> View<'a> {
    pub(super) fn of(kv: &'a RocksKv) -> View<'a> {
        let snapshot = kv.db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        View { kv, options, snapshot }
    }

    /// The family of a space; `None` where a read-only store was made before the space existed.
    fn family(&self, space: Space) -> Option<&ColumnFamily> {
        self.kv.db.cf_handle(space.name())
    }
}

impl Read for View<'_> {
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(family) = self.family(space) else { return Ok(false) };
        let found = self.kv.db.get_pinned_cf_opt(family, key, &self.options);
        let found = found.map_err(|error| self.kv.failure(&error))?;
        let shown = found.as_ref().map_or(Ok(None), |value| merge::shown(space, key, value))?;
        shown.map(see);
        Ok(shown.is_some())
    }

    fn get_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        see: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let Some(family) = self.family(space) else {
            (0..keys.len()).for_each(|i| see(i, None));
            return Ok(());
        };
        let found = self.kv.db.batched_multi_get_cf_opt(family, keys.iter().copied(), false, &self.options);
        for (i, found) in found.into_iter().enumerate() {
            let value = found.map_err(|error| self.kv.failure(&error))?;
            see(i, value.as_ref().map_or(Ok(None), |value| merge::shown(space, keys[i], value))?);
        }
        Ok(())
    }

    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()> {
        let Some(family) = self.family(space) else { return Ok(()) };
        if range.is_empty() {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options.set_iterate_lower_bound(range.start.clone());
        match &range.end {
            Some(end) => options.set_iterate_upper_bound(end.clone()),
            // A walk to the end happens once in a while; it must not push out what point reads need.
            None => options.fill_cache(false),
        }
        let mut entries = self.kv.db.raw_iterator_cf_opt(family, options);
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            if let Some(value) = merge::shown(space, key, value)?
                && see(key, value).is_break()
            {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(|error| self.kv.failure(&error))
    }
}
