//! [`Batch`]: the unit of atomic change.

use super::{Range, Short, Space};
use crate::{Error, Result};

/// One change to one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put(Space, Short, Short),
    /// Removes a key; nothing happens where it is absent.
    Delete(Space, Short),
    /// Removes every key of a range.
    DeleteRange(Space, Range),
    /// Adds an operand for [`Space::fold`].
    Merge(Space, Short, Short),
}

/// Changes that are applied together or not at all, in order.
///
/// ```
/// use asteroid_core::kv::{Batch, Space};
/// let mut batch = Batch::default();
/// batch.put(Space::Meta, b"entry", [0, 0, 0, 7]);
/// batch.delete(Space::Dead, [0, 0, 0, 7]);
/// assert_eq!(batch.ops().len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// One with room for so many changes.
    pub fn with_room(changes: usize) -> Batch {
        Batch { ops: Vec::with_capacity(changes) }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, space: Space, key: impl Into<Short>, value: impl Into<Short>) {
        self.ops.push(Op::Put(space, key.into(), value.into()));
    }

    /// Removes `key`.
    pub fn delete(&mut self, space: Space, key: impl Into<Short>) {
        self.ops.push(Op::Delete(space, key.into()));
    }

    /// Removes every key inside `range`.
    pub fn delete_range(&mut self, space: Space, range: Range) {
        self.ops.push(Op::DeleteRange(space, range));
    }

    /// Adds a merge operand to `key`.
    pub fn merge(&mut self, space: Space, key: impl Into<Short>, operand: impl Into<Short>) {
        self.ops.push(Op::Merge(space, key.into(), operand.into()));
    }

    /// The changes, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Takes the changes out.
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    /// Appends one change.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Appends the changes of another, in order.
    pub fn append(&mut self, other: Batch) {
        self.ops.extend(other.ops);
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Appends the wire form: per change a tag byte, the space, and length-prefixed fields.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for op in &self.ops {
            match op {
                Op::Put(space, key, value) => {
                    out.extend_from_slice(&[0, *space as u8]);
                    put_bytes(out, key);
                    put_bytes(out, value);
                }
                Op::Delete(space, key) => {
                    out.extend_from_slice(&[1, *space as u8]);
                    put_bytes(out, key);
                }
                Op::DeleteRange(space, range) => {
                    let tag = if range.end.is_some() { 2 } else { 3 };
                    out.extend_from_slice(&[tag, *space as u8]);
                    put_bytes(out, &range.start);
                    if let Some(end) = &range.end {
                        put_bytes(out, end);
                    }
                }
                Op::Merge(space, key, operand) => {
                    out.extend_from_slice(&[4, *space as u8]);
                    put_bytes(out, key);
                    put_bytes(out, operand);
                }
            }
        }
    }

    /// Reads what [`Batch::encode`] wrote, to the end of `bytes`.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Batch> {
        let mut batch = Batch::default();
        while let [tag, space, rest @ ..] = bytes {
            let space = Space::from_byte(*space)
                .ok_or_else(|| Error::corrupt(format!("a stored batch names unknown space {space}")))?;
            bytes = rest;
            let key = take_slice(&mut bytes)?;
            batch.ops.push(match tag {
                0 => Op::Put(space, key.into(), take_slice(&mut bytes)?.into()),
                1 => Op::Delete(space, key.into()),
                2 => Op::DeleteRange(
                    space,
                    Range { start: key.to_vec(), end: Some(take_slice(&mut bytes)?.to_vec()) },
                ),
                3 => Op::DeleteRange(space, Range { start: key.to_vec(), end: None }),
                4 => Op::Merge(space, key.into(), take_slice(&mut bytes)?.into()),
                _ => return Err(Error::corrupt(format!("a stored batch holds unknown change {tag}"))),
            });
        }
        if bytes.is_empty() { Ok(batch) } else { Err(Error::corrupt("a stored batch ends early")) }
    }
}

/// Appends `bytes` after their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    crate::varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The field that [`put_bytes`] wrote, taken off the front.
pub(crate) fn take_slice<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = crate::varint::take(bytes)?;
    match usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len)) {
        Some((head, rest)) => {
            *bytes = rest;
            Ok(head)
        }
        None => Err(Error::corrupt(format!("a stored field of {len} bytes passes the end of its record"))),
    }
}
