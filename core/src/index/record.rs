//! The body of a journal record: vector rows, then keyed changes. Physical and idempotent, so that replay needs no
//! algorithm: rows go to their slots, changes to the store.

use crate::kv::Batch;
use crate::{Error, Result, Slot, varint};

pub(crate) struct Body {
    /// Where the rows go, ascending.
    pub(crate) slots: Vec<Slot>,
    pub(crate) rows: Vec<f32>,
    pub(crate) batch: Batch,
}

/// Encodes `rows`, one for each of `slots`, which ascend, and `batch`.
pub(crate) fn encode(slots: &[Slot], rows: &[f32], batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 4 + 1024);
    varint::put(&mut out, slots.len() as u64);
    let mut next = 0;
    for &slot in slots {
        varint::put(&mut out, u64::from(slot - next));
        next = slot + 1;
    }
    out.extend_from_slice(bytemuck::cast_slice(rows));
    batch.encode(&mut out);
    out
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(mut bytes: &[u8], dim: u32) -> Result<Body> {
    let damaged = || Error::corrupt("a journal record ends early");
    let count = varint::take(&mut bytes)?;
    let mut slots = Vec::new();
    let mut next = 0u64;
    for _ in 0..count {
        let slot = varint::take(&mut bytes)?.checked_add(next).ok_or_else(damaged)?;
        slots.push(Slot::try_from(slot).map_err(|_| damaged())?);
        next = slot + 1;
    }
    let len = count.checked_mul(4 * u64::from(dim)).and_then(|len| usize::try_from(len).ok());
    let (rows, rest) = len.and_then(|len| bytes.split_at_checked(len)).ok_or_else(damaged)?;
    Ok(Body { slots, rows: bytemuck::pod_collect_to_vec(rows), batch: Batch::decode(rest)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Space;

    #[test]
    fn rows_and_changes_come_back() {
        let mut batch = Batch::default();
        batch.put(Space::Meta, b"a", b"b");
        for slots in [vec![], vec![0], vec![3, 4, 9, 70_000, Slot::MAX - 1]] {
            let rows: Vec<f32> = (0..slots.len() * 3).map(|i| i as f32).collect();
            let bytes = encode(&slots, &rows, &batch);
            let body = decode(&bytes, 3).unwrap();
            assert_eq!((body.slots, body.rows, body.batch), (slots, rows, batch.clone()));
            for cut in 0..bytes.len() {
                let cut = decode(&bytes[..cut], 3);
                assert!(cut.is_err() || cut.is_ok_and(|body| body.batch.is_empty()));
            }
        }
    }
}
