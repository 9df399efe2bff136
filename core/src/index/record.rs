//! The body of a journal record: vector rows, then keyed changes. Physical and idempotent, so that replay needs no
//! algorithm: rows go to their slots, changes to the store.

use crate::kv::Batch;
use crate::{Error, Result, Slot, varint};

pub(crate) struct Body {
    pub(crate) first: Slot,
    pub(crate) rows: Vec<f32>,
    pub(crate) batch: Batch,
}

/// Encodes `rows` (consecutive, from slot `first`) and `batch`.
pub(crate) fn encode(first: Slot, rows: &[f32], batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 4 + 1024);
    varint::put(&mut out, u64::from(first));
    varint::put(&mut out, rows.len() as u64);
    out.extend_from_slice(bytemuck::cast_slice(rows));
    batch.encode(&mut out);
    out
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(mut bytes: &[u8], dim: u32) -> Result<Body> {
    let first = varint::take(&mut bytes)?;
    let count = varint::take(&mut bytes)?;
    let split = count
        .checked_mul(4)
        .and_then(|len| usize::try_from(len).ok())
        .and_then(|len| bytes.split_at_checked(len));
    let (Ok(first), Some((rows, rest))) = (Slot::try_from(first), split) else {
        return Err(Error::corrupt("a journal record ends early"));
    };
    if count % u64::from(dim) != 0 {
        return Err(Error::corrupt("a journal record holds part of a vector"));
    }
    Ok(Body { first, rows: bytemuck::pod_collect_to_vec(rows), batch: Batch::decode(rest)? })
}
