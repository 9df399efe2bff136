//! How RocksDB is set up: one column family per space, each for the way it is read and written.

use super::faults::Faults;
use super::merge;
use asteroid_core::LinkPolicy;
use asteroid_core::kv::Space;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType,
    DataBlockIndexType, InfoLogger, LogLevel, Options, UniversalCompactOptions, WriteBufferManager,
    statistics::StatsLevel,
};
use std::sync::Arc;

/// Memory shared by all column families, and their options.
pub(super) struct Setup {
    pub(super) db: Options,
    pub(super) cache: Cache,
    /// One per space, in the order of [`Space::ALL`].
    pub(super) spaces: Vec<Options>,
}

/// The memtables' share of a budget: a quarter, but never more than what one checkpoint fills.
fn memtable_bytes(cache_bytes: usize) -> usize {
    (cache_bytes / 4).clamp(256 << 10, 64 << 20)
}

impl Setup {
    pub(super) fn new(cache_bytes: u64, policy: LinkPolicy, faults: &Arc<Faults>) -> Setup {
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let memtable_bytes = memtable_bytes(cache_bytes);
        let cache = Cache::new_lru_cache(cache_bytes);
        // Charged to the cache: blocks make room for memtables, so that both together keep the budget.
        // No stalls: they would wait for a flush that a full disk never lets finish.
        let memtables =
            WriteBufferManager::new_write_buffer_manager_with_cache(memtable_bytes, false, cache.clone());
        let db = database(&memtables, faults);
        let spaces = Space::ALL.iter().map(|&space| family(space, &cache, memtable_bytes, policy)).collect();
        Setup { db, cache, spaces }
    }

    /// Has no compaction begin by itself.
    pub(super) fn hold_back(&mut self) {
        self.spaces.iter_mut().for_each(|space| space.set_disable_auto_compactions(true));
    }

    /// The descriptor of a space's column family.
    pub(super) fn descriptor(&self, space: Space) -> ColumnFamilyDescriptor {
        ColumnFamilyDescriptor::new(space.name(), self.spaces[space as usize].clone())
    }

    /// The column family that RocksDB insists on. It stays empty.
    pub(super) fn unused(&self) -> ColumnFamilyDescriptor {
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, Options::default())
    }
}

fn database(memtables: &WriteBufferManager, faults: &Arc<Faults>) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    // A database whose creation was cut short, or from before a space existed, gets what it lacks.
    db.create_missing_column_families(true);
    // Without a log of its own, this alone makes what survives a crash a prefix of what was applied.
    db.set_atomic_flush(true);
    db.set_write_buffer_manager(memtables);
    // One flush and one compaction at a time: two cores are typical, and searches want them too.
    db.set_max_background_jobs(2);
    // Tables stay open, so that a point read never waits for one; there is one per 64 MiB of data.
    db.set_max_open_files(-1);
    // Hands flushed bytes to the disk as they come, instead of all at once in the final sync.
    db.set_bytes_per_sync(1 << 20);
    // The list of files is rewritten before it grows past what opening reads at a glance.
    db.set_max_manifest_file_size(4 << 20);
    // Opening need not read every table's properties; only compaction scores would profit.
    db.set_skip_stats_update_on_db_open(true);
    // No report threads, and no column family of RocksDB's own for their history.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    // Counters only, no timers: what was flushed and compacted is part of our own statistics.
    db.enable_statistics();
    db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    // No log files in the directory, which may be read-only, and nothing printed: errors come to us.
    let heard = faults.clone();
    db.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Error, move |_, line| heard.hear(line)));
    db
}

/// Sorted runs of a space that wait for compaction before writers wait for it.
pub(super) const MOST_RUNS: u64 = 24;
/// Sorted runs of adjacency before some are joined: each is one more place to look for a list.
const LINKS_RUNS: i32 = 8;
/// The same where the engine has deltas folded once they are read: joining runs sooner folds them for nobody.
const FOLDED_RUNS: i32 = 16;
/// Sorted runs of what is small, or hardly read, before some are joined.
const OTHER_RUNS: i32 = 16;
/// As good as never, for triggers that know no "off".
const NEVER: i32 = 1 << 30;

/// Bits per key of a filter; at 10, one miss in a hundred reads a block for nothing.
const FILTER_BITS: f64 = 10.0;

fn family(space: Space, cache: &Cache, memtable_bytes: usize, policy: LinkPolicy) -> Options {
    let mut family = Options::default();
    family.create_if_missing(true);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Index and filters count in the budget, and a table's stay while it is open: no second look-up per read.
    table.set_cache_index_and_filter_blocks(true);
    table.set_unpartitioned_pinning_tier(rocksdb::BlockBasedTablePinningTier::All);
    match space {
        // Found by whole key. A hash index in each block replaces its binary search.
        Space::Links | Space::Slots | Space::Payloads | Space::Ids | Space::Twins => {
            table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            table.set_data_block_hash_ratio(0.75);
        }
        // Read in whole or by ranges, not key by key.
        Space::Meta | Space::Dead | Space::Upper | Space::Postings => {}
    }
    match space {
        // Asked for ids that are not there (every insert) and for rows without a twin (most are).
        Space::Ids | Space::Twins => {
            table.set_bloom_filter(FILTER_BITS, false);
            // Sizes filters to what the allocator hands out anyway.
            table.set_optimize_filters_for_memory(true);
        }
        // Its keys exist, but newer runs lack most of them: filters say so, except in the oldest run, where
        // they would only cost. Halves the time of a read that has several runs to go through.
        Space::Links => {
            table.set_bloom_filter(FILTER_BITS, false);
            family.set_optimize_filters_for_hits(true);
        }
        // Asked for keys that exist and hardly change: a filter would only cost, 8 to 25 % of a read.
        _ => {}
    }
    match space {
        // JSON shrinks to a third, more so in larger blocks.
        Space::Payloads => {
            family.set_compression_type(DBCompressionType::Lz4);
            table.set_block_size(16 << 10);
        }
        // Slots and packed lists are nearly random bytes: compression would cost and gain nothing.
        _ => {
            family.set_compression_type(DBCompressionType::None);
            table.set_block_size(4 << 10);
        }
    }
    if !matches!(space, Space::Links | Space::Payloads | Space::Postings) {
        // Levels would write what comes in key order twice, once more only to drop its sequence numbers, and keep as many
        // tables of it as there were flushes. As joined runs it is written less and lies in few.
        family.set_compaction_style(DBCompactionStyle::Universal);
        family.set_universal_compaction_options(&UniversalCompactOptions::default());
        family.set_level_zero_file_num_compaction_trigger(OTHER_RUNS);
    }
    if space == Space::Links {
        // Changed all over at every checkpoint. Levels would write the oldest run anew for every few of them;
        // this way runs of like size are joined, and deltas meet their pivot late but once: 2 to 3 times fewer
        // bytes, for up to twice the (small) space and a fifth on reads. See `benches/kv.rs`.
        family.set_compaction_style(DBCompactionStyle::Universal);
        family.set_universal_compaction_options(&UniversalCompactOptions::default());
        family.set_level_zero_file_num_compaction_trigger(match policy {
            LinkPolicy::Adaptive => FOLDED_RUNS,
            LinkPolicy::Eager | LinkPolicy::Lazy => LINKS_RUNS,
        });
        // Between a batch and its flush, most adjacency read is not in the memtable: a filter says so at once.
        family.set_memtable_whole_key_filtering(true);
        family.set_memtable_prefix_bloom_ratio(0.02);
    }
    if merge::merges(space) {
        merge::register(&mut family, space);
    }
    family.set_block_based_table_factory(&table);
    // The write-buffer manager decides when to flush; a single family may use up all it grants.
    family.set_write_buffer_size(memtable_bytes);
    // Small, as each family that is touched takes at least one.
    family.set_arena_block_size((memtable_bytes / 64).clamp(16 << 10, 1 << 20));
    // RocksDB's own brakes are off: a write under them waits for compaction even where a full disk never lets
    // it finish. `RocksKv::pace` brakes instead.
    family.set_level_zero_slowdown_writes_trigger(NEVER);
    family.set_level_zero_stop_writes_trigger(NEVER);
    family.set_soft_pending_compaction_bytes_limit(0);
    family.set_hard_pending_compaction_bytes_limit(0);
    // Nothing here ages: rewriting old tables on a schedule would be wear without gain.
    family.set_ttl(0);
    family.set_periodic_compaction_seconds(0);
    family
}
