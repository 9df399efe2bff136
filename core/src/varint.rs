//! LEB128 numbers: seven bits a byte, low first.

use crate::{Error, Result};

pub(crate) fn put(out: &mut impl Extend<u8>, mut value: u64) {
    let (mut bytes, mut len) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.extend(bytes[..=len].iter().copied());
}

/// Bytes that [`put`] takes for `value`.
pub(crate) fn len(value: u64) -> usize {
    (64 - value.max(1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(Error::corrupt("a stored number does not end within its record"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn round_trips_and_refuses_torn_input() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            super::put(&mut out, value);
            assert_eq!(out.len(), super::len(value));
            let mut bytes = out.as_slice();
            assert_eq!(super::take(&mut bytes).unwrap(), value);
            assert!(bytes.is_empty());
            assert!(super::take(&mut &out[..out.len() - 1]).is_err());
        }
        assert!(super::take(&mut [0xff; 10].as_slice()).is_err());
    }
}
