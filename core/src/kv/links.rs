//! The adjacency codec and its merge algebra.
//!
//! A list holds distinct slots, each either a plain edge or a *tree* edge (never pruned, see
//! `ARCHITECTURE.md`). Stored as a *pivot*: LEB128 of count, then of ascending `slot << 1 | tree`, each after
//! the first as the distance to the one before. Changes travel as *deltas*, the merge operands: a run of
//! LEB128 `slot << 2 | tree << 1 | drop`. The last word on a slot wins, so deltas concatenate freely.

use crate::{Error, Result, Slot, varint};

/// Marks a tree edge in a decoded link.
pub const TREE: u32 = 1 << 31;

/// The slot of a decoded link.
pub fn slot(link: u32) -> Slot {
    link & !TREE
}

/// Encodes a list of decoded links (slot, [`TREE`] bit) in any order.
pub fn encode(links: &[u32]) -> Vec<u8> {
    let mut sorted: Vec<u64> = links.iter().map(|&link| packed(link)).collect();
    sorted.sort_unstable();
    let mut out = Vec::with_capacity(2 + 3 * sorted.len());
    varint::put(&mut out, sorted.len() as u64);
    let mut last = 0;
    for link in sorted {
        varint::put(&mut out, link - last);
        last = link;
    }
    out
}

fn packed(link: u32) -> u64 {
    u64::from(slot(link)) << 1 | u64::from(link & TREE != 0)
}

/// Decodes a list into `out` (cleared first), ascending by slot.
pub fn decode(mut bytes: &[u8], out: &mut Vec<u32>) -> Result<()> {
    out.clear();
    let count = varint::take(&mut bytes)?;
    let mut last = 0u64;
    for i in 0..count {
        let step = varint::take(&mut bytes)?;
        let link = last.checked_add(step).filter(|&link| link < 1 << 32);
        match link {
            // Two packed links of one slot differ by at most 1, so strict slot order means a step past it.
            Some(link) if i == 0 || link >> 1 > last >> 1 => {
                out.push((link >> 1) as u32 | if link & 1 == 1 { TREE } else { 0 });
                last = link;
            }
            _ => return Err(Error::corrupt("a stored adjacency list is not ascending")),
        }
    }
    if bytes.is_empty() { Ok(()) } else { Err(Error::corrupt("a stored adjacency list has trailing bytes")) }
}

/// Appends the delta "add `link`, or set its tree mark to this one's".
pub fn put_add(operand: &mut impl Extend<u8>, link: u32) {
    varint::put(operand, u64::from(slot(link)) << 2 | u64::from(link & TREE != 0) << 1);
}

/// Appends the delta "drop the link to `slot`".
pub fn put_drop(operand: &mut impl Extend<u8>, slot: Slot) {
    varint::put(operand, u64::from(slot) << 2 | 1);
}

/// `CORRUPT` where a delta does not decode. Costs a fraction of folding it.
pub fn check(mut operand: &[u8]) -> Result<()> {
    while !operand.is_empty() {
        take_delta(&mut operand)?;
    }
    Ok(())
}

/// The next change of a delta: the slot, and the link that is to lead there, if one is.
fn take_delta(operand: &mut &[u8]) -> Result<(Slot, Option<u32>)> {
    let delta = varint::take(operand)?;
    if delta >= 1 << 33 {
        return Err(Error::corrupt("a stored adjacency delta names an impossible slot"));
    }
    let target = (delta >> 2) as u32;
    let link = target | if delta & 2 != 0 { TREE } else { 0 };
    Ok((target, (delta & 1 == 0).then_some(link)))
}

/// Folds deltas into a pivot, see [`super::Space::fold`].
pub fn fold(base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Option<Vec<u8>>> {
    let mut links = Vec::new();
    if let Some(base) = base {
        decode(base, &mut links)?;
    }
    for operand in operands {
        apply(&mut links, operand)?;
    }
    Ok(Some(encode(&links)))
}

/// Applies one operand to a decoded list.
pub fn apply(links: &mut Vec<u32>, mut operand: &[u8]) -> Result<()> {
    while !operand.is_empty() {
        let (target, link) = take_delta(&mut operand)?;
        links.retain(|&link| slot(link) != target);
        links.extend(link);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_in_slot_order() {
        for list in [vec![], vec![5], vec![9, 3 | TREE, 0, MAX | TREE, 4]] {
            let mut out = Vec::new();
            decode(&encode(&list), &mut out).unwrap();
            let mut want = list.clone();
            want.sort_by_key(|&link| slot(link));
            assert_eq!(out, want);
        }
    }

    const MAX: u32 = (1 << 31) - 1;

    #[test]
    fn last_word_on_a_slot_wins_and_folding_associates() {
        let mut a = Vec::new();
        put_add(&mut a, 7);
        put_add(&mut a, 8 | TREE);
        let mut b = Vec::new();
        put_drop(&mut b, 7);
        put_add(&mut b, 8);
        let base = encode(&[1, 7 | TREE]);
        let at_once = fold(Some(&base), &[&a, &b]).unwrap();
        assert_eq!(at_once, Some(encode(&[1, 8])));
        let first = fold(Some(&base), &[&a]).unwrap();
        assert_eq!(fold(first.as_deref(), &[&b]).unwrap(), at_once);
        let both = super::super::Space::Links.combine(&a, &b).unwrap();
        assert_eq!(fold(Some(&base), &[&both]).unwrap(), at_once);
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let good = encode(&[1, 2, 300, 70_000]);
        let mut out = Vec::new();
        for cut in 0..good.len() {
            assert!(decode(&good[..cut], &mut out).is_err(), "cut at {cut}");
        }
        assert!(decode(&[2, 4, 0], &mut out).is_err(), "a repeated slot");
        assert!(decode(&[2, 4, 1], &mut out).is_err(), "a slot twice with other marks");
        assert!(apply(&mut out, &[0x80]).is_err() && check(&[0x80]).is_err());
    }
}
