//! The stored form of a row's lists above layer 0, and its merge algebra.
//!
//! A value is the row's level, then per level from 1 up a count and the slots linked to, each LEB128. Changes travel as
//! merge operands: a run of LEB128 `slot << 6 | level << 1 | drop`. The last word on a slot of a level wins, so operands
//! concatenate freely.

use crate::hnsw::MAX_LEVEL;
use crate::{Error, Result, Slot, varint};

/// Encodes a row's lists, level 1 first.
pub fn encode(levels: &[Vec<Slot>]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, levels.len() as u64);
    for list in levels {
        varint::put(&mut out, list.len() as u64);
        list.iter().for_each(|&slot| varint::put(&mut out, u64::from(slot)));
    }
    out
}

/// Decodes what [`encode`] made; `CORRUPT` where it did not.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Vec<Slot>>> {
    let level = varint::take(&mut bytes)?;
    if level > u64::from(MAX_LEVEL) {
        return Err(Error::corrupt(format!("level {level} is impossible")));
    }
    let mut levels = Vec::new();
    for _ in 0..level {
        let count = varint::take(&mut bytes)?;
        let list: Result<Vec<Slot>> = (0..count)
            .map(|_| {
                let slot = varint::take(&mut bytes)?;
                Slot::try_from(slot).map_err(|_| Error::corrupt(format!("slot {slot} is impossible")))
            })
            .collect();
        levels.push(list?);
    }
    if bytes.is_empty() { Ok(levels) } else { Err(Error::corrupt("trailing bytes")) }
}

/// Appends the change "add a link to `slot` on `level`".
pub fn put_add(operand: &mut Vec<u8>, level: u32, slot: Slot) {
    varint::put(operand, u64::from(slot) << 6 | u64::from(level) << 1);
}

/// Appends the change "drop the link to `slot` on `level`".
pub fn put_drop(operand: &mut Vec<u8>, level: u32, slot: Slot) {
    varint::put(operand, u64::from(slot) << 6 | u64::from(level) << 1 | 1);
}

/// Folds changes into the lists of a row, see [`super::Space::fold`].
pub fn fold(base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Option<Vec<u8>>> {
    let mut levels = base.map_or(Ok(Vec::new()), decode)?;
    for operand in operands {
        apply(&mut levels, operand)?;
    }
    Ok(Some(encode(&levels)))
}

fn apply(levels: &mut Vec<Vec<Slot>>, mut operand: &[u8]) -> Result<()> {
    while !operand.is_empty() {
        let change = varint::take(&mut operand)?;
        let (level, slot) = ((change >> 1 & 31) as usize, Slot::try_from(change >> 6));
        let (Ok(slot), 1..) = (slot, level) else {
            return Err(Error::corrupt("a stored change above layer 0 names an impossible slot or level"));
        };
        if level > MAX_LEVEL as usize {
            return Err(Error::corrupt(format!("level {level} is impossible")));
        }
        if levels.len() < level {
            levels.resize(level, Vec::new());
        }
        let list = &mut levels[level - 1];
        list.retain(|&to| to != slot);
        if change & 1 == 0 {
            list.push(slot);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_word_on_a_slot_of_a_level_wins_and_folding_associates() {
        let base = encode(&[vec![5, 7, 1 << 30], vec![7]]);
        assert_eq!(decode(&base).unwrap(), [vec![5, 7, 1 << 30], vec![7]]);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        put_add(&mut a, 1, 9);
        put_drop(&mut a, 1, 7);
        put_add(&mut a, 2, 8);
        put_drop(&mut b, 2, 8);
        put_add(&mut b, 1, u32::MAX);
        put_add(&mut b, 1, 7);
        let at_once = fold(Some(&base), &[&a, &b]).unwrap();
        assert_eq!(at_once, Some(encode(&[vec![5, 1 << 30, 9, u32::MAX, 7], vec![7]])));
        let first = fold(Some(&base), &[&a]).unwrap();
        assert_eq!(fold(first.as_deref(), &[&b]).unwrap(), at_once);
        let both = super::super::Space::Upper.combine(&a, &b).unwrap();
        assert_eq!(fold(Some(&base), &[&both]).unwrap(), at_once);
        let from_nothing = fold(None, &[&a, &b]).unwrap();
        assert_eq!(from_nothing, fold(fold(None, &[&a]).unwrap().as_deref(), &[&b]).unwrap());
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let good = encode(&[vec![1, 300], vec![70_000]]);
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&[good.as_slice(), &[0]].concat()).is_err(), "trailing bytes");
        assert!(decode(&[25]).is_err(), "a level too high");
        assert!(fold(None, &[&[0x80]]).is_err(), "a cut change");
        assert!(fold(None, &[&[1 << 6]]).is_err(), "level 0");
        let mut high = Vec::new();
        put_add(&mut high, MAX_LEVEL + 1, 1);
        assert!(fold(None, &[&high]).is_err());
        let mut far = Vec::new();
        varint::put(&mut far, 1 << 38 | 2);
        assert!(fold(None, &[&far]).is_err(), "no slot is so high");
    }
}
