//! Which rows carry a term: the codec and the merge algebra of [`super::Space::Postings`].
//!
//! A key is the term's bytes and the upper half of the slots (two big-endian bytes); its value the lower halves that
//! carry the term, as ascending distances, as runs or as bits, whichever is shortest. Changes travel as operands: a
//! run of LEB128 `half << 1 | remove`. The last word on a half wins, so operands concatenate freely.

use crate::{Error, Result, Slot, varint};
use roaring::RoaringBitmap;

/// LEB128 distances, each from the one after the half before.
const LIST: u8 = 0;
/// LEB128 pairs: distance from the end of the run before, length less one.
const RUNS: u8 = 1;
/// Bits, low first, up to the last byte that is not zero.
const BITS: u8 = 2;

/// Rows that share a key.
pub const SPAN: u32 = 1 << 16;

/// The key of the slots near `slot` under a term's bytes.
pub fn key(term: &[u8], slot: Slot) -> Vec<u8> {
    let mut key = Vec::with_capacity(term.len() + 2);
    key.extend_from_slice(term);
    key.extend_from_slice(&((slot >> 16) as u16).to_be_bytes());
    key
}

/// The term's bytes and the first slot of a key.
pub fn split_key(key: &[u8]) -> Result<(&[u8], Slot)> {
    match key.split_last_chunk::<2>() {
        Some((term, high)) => Ok((term, Slot::from(u16::from_be_bytes(*high)) << 16)),
        None => Err(Error::corrupt("a stored index key is too short")),
    }
}

/// Appends "`slot` carries the term" or, with `remove`, "does not".
pub fn put(operand: &mut Vec<u8>, slot: Slot, remove: bool) {
    varint::put(operand, u64::from(slot & 0xffff) << 1 | u64::from(remove));
}

/// Encodes ascending, distinct halves; `None` for none.
pub fn encode(halves: &[u16]) -> Option<Vec<u8>> {
    let last = *halves.last()?;
    let mut list = vec![LIST];
    let mut next = 0u64;
    let mut runs = vec![RUNS];
    let (mut start, mut end, mut from) = (u64::from(halves[0]), u64::from(halves[0]), 0u64);
    let mut put_run = |start: u64, end: u64| {
        varint::put(&mut runs, start - from);
        varint::put(&mut runs, end - start);
        from = end + 1;
    };
    for &half in halves {
        let half = u64::from(half);
        varint::put(&mut list, half - next);
        next = half + 1;
        if half > end + 1 {
            put_run(start, end);
            start = half;
        }
        end = half;
    }
    put_run(start, end);
    let shorter = if runs.len() < list.len() { runs } else { list };
    let bytes = usize::from(last) / 8 + 1;
    if shorter.len() <= bytes + 1 {
        return Some(shorter);
    }
    let mut bits = vec![0; bytes + 1];
    bits[0] = BITS;
    halves.iter().for_each(|&half| bits[1 + usize::from(half) / 8] |= 1 << (half % 8));
    Some(bits)
}

/// Calls `see` with each run of halves in a value, ascending: first and last.
fn each_run(value: &[u8], see: &mut dyn FnMut(u16, u16)) -> Result<()> {
    let damaged = || Error::corrupt("a stored list of index entries is damaged");
    let (&tag, mut rest) = value.split_first().ok_or_else(damaged)?;
    if tag == BITS {
        if rest.len() > SPAN as usize / 8 {
            return Err(damaged());
        }
        for (byte, &bits) in (0u32..).step_by(8).zip(rest) {
            for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
                let half = (byte + bit) as u16;
                see(half, half);
            }
        }
        return Ok(());
    }
    let mut next = 0u64;
    while !rest.is_empty() {
        let first = next.checked_add(varint::take(&mut rest)?).ok_or_else(damaged)?;
        let length = match tag {
            LIST => 0,
            RUNS => varint::take(&mut rest)?,
            _ => return Err(damaged()),
        };
        let last = first.checked_add(length).filter(|&last| last < u64::from(SPAN)).ok_or_else(damaged)?;
        see(first as u16, last as u16);
        next = last + 1;
    }
    Ok(())
}

/// Adds the slots of a value, the first of whose span is `base`, to `slots`.
pub fn add_to(slots: &mut RoaringBitmap, base: Slot, value: &[u8]) -> Result<()> {
    if let [BITS, bits @ ..] = value
        && bits.len() <= SPAN as usize / 8
    {
        *slots |= RoaringBitmap::from_lsb0_bytes(base, bits);
        return Ok(());
    }
    each_run(value, &mut |first, last| {
        if first == last {
            slots.insert(base + u32::from(first));
        } else {
            slots.insert_range(base + u32::from(first)..=base + u32::from(last));
        }
    })
}

/// Sets the bits, low first, of the halves in a value; `bits` are as many as a span has.
pub(crate) fn set_bits(bits: &mut [u8], value: &[u8]) -> Result<()> {
    each_run(value, &mut |first, last| {
        for half in first..=last {
            bits[usize::from(half) / 8] |= 1 << (half % 8);
        }
    })
}

/// Applies an operand to the slots of one key.
pub fn apply(slots: &mut RoaringBitmap, base: Slot, mut operand: &[u8]) -> Result<()> {
    while !operand.is_empty() {
        let (half, remove) = take(&mut operand)?;
        if remove {
            slots.remove(base + u32::from(half));
        } else {
            slots.insert(base + u32::from(half));
        }
    }
    Ok(())
}

fn take(operand: &mut &[u8]) -> Result<(u16, bool)> {
    let word = varint::take(operand)?;
    match u16::try_from(word >> 1) {
        Ok(half) => Ok((half, word & 1 == 1)),
        Err(_) => Err(Error::corrupt("a stored index change names an impossible row")),
    }
}

/// Folds operands into a value, see [`super::Space::fold`].
pub fn fold(base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Option<Vec<u8>>> {
    let mut words: Vec<(u16, bool)> = Vec::new();
    for mut operand in operands.iter().copied() {
        while !operand.is_empty() {
            words.push(take(&mut operand)?);
        }
    }
    // Newest first, so that the last word on each half stays.
    words.reverse();
    words.sort_by_key(|&(half, _)| half);
    words.dedup_by_key(|&mut (half, _)| half);
    let mut halves: Vec<u16> = Vec::new();
    let mut words = words.into_iter().peekable();
    if let Some(base) = base {
        each_run(base, &mut |first, last| {
            for half in first..=last {
                while let Some((earlier, remove)) = words.next_if(|&(word, _)| word < half) {
                    if !remove {
                        halves.push(earlier);
                    }
                }
                let word = words.next_if(|&(word, _)| word == half);
                if word.is_none_or(|(_, remove)| !remove) {
                    halves.push(half);
                }
            }
        })?;
    }
    halves.extend(words.filter(|&(_, remove)| !remove).map(|(half, _)| half));
    Ok(encode(&halves))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn decode(value: &[u8]) -> Vec<u16> {
        let mut out = Vec::new();
        each_run(value, &mut |first, last| out.extend(first..=last)).unwrap();
        let mut slots = RoaringBitmap::new();
        add_to(&mut slots, 7 << 16, value).unwrap();
        assert!(slots.iter().eq(out.iter().map(|&half| 7 << 16 | u32::from(half))));
        let mut bits = vec![0; SPAN as usize / 8];
        set_bits(&mut bits, value).unwrap();
        assert_eq!(RoaringBitmap::from_lsb0_bytes(7 << 16, &bits), slots);
        out
    }

    #[test]
    fn every_form_round_trips_and_the_shortest_is_taken() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let odd: Vec<u16> = (0..=u16::MAX).filter(|half| half % 3 > 0 && half % 7 != 2).collect();
        for (halves, tag, most) in [
            (vec![0], LIST, 2),
            (vec![u16::MAX], LIST, 4),
            (vec![5, 9, 70, 40_000], LIST, 8),
            ((100..200).collect(), RUNS, 3),
            (all, RUNS, 5),
            (odd, BITS, 8193),
        ] {
            let value = encode(&halves).unwrap();
            assert_eq!(value[0], tag);
            assert!(value.len() <= most, "{} bytes", value.len());
            assert_eq!(decode(&value), halves);
        }
        assert_eq!(encode(&[]), None);
    }

    #[test]
    fn the_last_word_wins_and_folding_associates() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let spread = [10, 300, 65_536][random(3) as usize];
            let start: BTreeSet<u16> = (0..random(200)).map(|_| random(spread) as u16).collect();
            let base = encode(&start.iter().copied().collect::<Vec<_>>());
            let mut want = start;
            let mut operands = Vec::new();
            for _ in 0..random(5) {
                let mut operand = Vec::new();
                for _ in 0..random(20) {
                    let (half, remove) = (random(spread) as u16, random(2) == 1);
                    put(&mut operand, u32::from(half) | 3 << 16, remove);
                    if remove {
                        want.remove(&half)
                    } else {
                        want.insert(half)
                    };
                }
                operands.push(operand);
            }
            let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
            let at_once = fold(base.as_deref(), &operands).unwrap();
            assert_eq!(at_once.as_deref().map(decode).unwrap_or_default(), Vec::from_iter(want));
            let (first, second) = operands.split_at(operands.len() / 2);
            let part = fold(base.as_deref(), first).unwrap();
            assert_eq!(fold(part.as_deref(), second).unwrap(), at_once);
            let joined = operands.concat();
            assert_eq!(fold(base.as_deref(), &[&joined]).unwrap(), at_once);
            let mut slots = RoaringBitmap::new();
            base.iter().for_each(|base| add_to(&mut slots, 0, base).unwrap());
            apply(&mut slots, 0, &joined).unwrap();
            assert!(
                slots.iter().eq(at_once
                    .as_deref()
                    .map(decode)
                    .unwrap_or_default()
                    .into_iter()
                    .map(u32::from))
            );
        }
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for bad in [&[][..], &[9, 1], &[LIST, 0x80], &[RUNS, 1], &[LIST, 0xff, 0xff, 0x7f], &[BITS; 8195]] {
            assert!(fold(Some(bad), &[]).is_err(), "{bad:?}");
            assert!(add_to(&mut RoaringBitmap::new(), 0, bad).is_err(), "{bad:?}");
        }
        assert!(fold(None, &[&[0x80]]).is_err());
        assert!(fold(None, &[&[0xff, 0xff, 0x7f]]).is_err());
        assert!(split_key(&[1]).is_err());
    }
}
