//! The merge operator of a space: its pure fold, registered with RocksDB.

use asteroid_core::kv::Space;
use asteroid_core::{Error, Result};
use rocksdb::{CompactionDecision, MergeOperands, Options};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Stands in a key's place once its value and operands did not fold.
///
/// RocksDB has no way to fail one key: a failed merge stops every flush and compaction. With this mark the
/// damage stays where it is, reads of that key alone are refused, and a later put mends it. No encoded list
/// begins with it: a list's count would be a number of ten bytes that none of them ends.
const DAMAGED: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffdoes not fold";

/// Stands in a key's place once its value and operands folded to nothing: RocksDB's merges cannot remove a key.
/// Readers are shown none, and compaction drops it. No stored list begins with it either.
const NOTHING: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffnothing";

/// Whether a space takes merges.
pub(super) fn merges(space: Space) -> bool {
    space.combine(&[], &[]).is_ok()
}

pub(super) fn register(options: &mut Options, space: Space) {
    let full = move |_: &[u8], base: Option<&[u8]>, operands: &MergeOperands| {
        let operands: Vec<&[u8]> = operands.iter().collect();
        Some(guarded(|| {
            if base == Some(DAMAGED) {
                return Err(Error::corrupt("it was damaged before"));
            }
            let base = base.filter(|base| *base != NOTHING);
            Ok(space.fold(base, &operands)?.unwrap_or_else(|| NOTHING.to_vec()))
        }))
    };
    let partial = move |_: &[u8], _: Option<&[u8]>, operands: &MergeOperands| {
        Some(guarded(|| combined(space, operands.iter().map(<[u8]>::to_vec).collect())))
    };
    options.set_merge_operator(&format!("asteroid.{}", space.name()), full, partial);
    options.set_compaction_filter("asteroid.nothing", |_, _, value| match value {
        NOTHING => CompactionDecision::Remove,
        _ => CompactionDecision::Keep,
    });
}

/// Combines neighbours until one is left: every byte is copied a logarithmic number of times.
fn combined(space: Space, mut operands: Vec<Vec<u8>>) -> Result<Vec<u8>> {
    while operands.len() > 1 {
        operands = operands
            .chunks(2)
            .map(|pair| match pair {
                [first, second] => space.combine(first, second),
                _ => Ok(pair.concat()),
            })
            .collect::<Result<_>>()?;
    }
    Ok(operands.pop().unwrap_or_default())
}

/// Called from C++: neither an error nor a panic may pass.
fn guarded(fold: impl FnOnce() -> Result<Vec<u8>>) -> Vec<u8> {
    match catch_unwind(AssertUnwindSafe(fold)) {
        Ok(Ok(value)) => value,
        _ => DAMAGED.to_vec(),
    }
}

/// What a reader is shown of a stored value: `None` where a fold left nothing; `CORRUPT`, naming the key, where it is
/// the mark of a failed fold.
pub(super) fn shown<'a>(space: Space, key: &[u8], value: &'a [u8]) -> Result<Option<&'a [u8]>> {
    if value == NOTHING && merges(space) {
        return Ok(None);
    }
    if value == DAMAGED && merges(space) {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        return Err(Error::corrupt(format!(
            "the stored value of key {key} in space {} is damaged; restore the database from a copy",
            space.name()
        )));
    }
    Ok(Some(value))
}
