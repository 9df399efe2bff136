//! JSON numbers as the exact decimals their text says, whatever their size.

use serde_json::Number;
use std::cmp::Ordering;

/// Digits of a number that its index key holds; longer numbers share the key of their first digits.
const KEY_DIGITS: usize = 40;
const EXPONENT_CAP: i64 = i64::MAX / 8;

/// `0.d1d2d3... * 10^point`, with neither leading nor trailing zero digits; zero has no digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal<'a> {
    negative: bool,
    int: &'a [u8],
    frac: &'a [u8],
    point: i64,
}

impl<'a> Decimal<'a> {
    /// Reads the JSON text of a number. Exponents beyond 10^18 are taken as 10^18.
    pub(super) fn new(number: &'a Number) -> Self {
        Self::parse(number.as_str())
    }

    fn parse(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, bytes),
        };
        let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&bytes[..at], exponent(&bytes[at + 1..])),
            None => (bytes, 0),
        };
        let (int, frac) = match mantissa.iter().position(|&b| b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let int = after_zeros(int);
        let (frac, point) = if int.is_empty() {
            let rest = after_zeros(frac);
            (rest, -((frac.len() - rest.len()) as i64))
        } else {
            (frac, int.len() as i64)
        };
        let frac = before_zeros(frac);
        let int = if frac.is_empty() { before_zeros(int) } else { int };
        if int.is_empty() && frac.is_empty() {
            return Decimal { negative: false, int, frac, point: 0 };
        }
        Decimal { negative, int, frac, point: point.saturating_add(exponent) }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 'a {
        self.int.iter().chain(self.frac).map(|byte| byte.wrapping_sub(b'0'))
    }

    fn len(&self) -> usize {
        self.int.len() + self.frac.len()
    }

    fn sign(&self) -> i8 {
        match (self.len(), self.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// Whether it is a whole number; `5.0` and `1e3` are.
    pub(super) fn is_integer(&self) -> bool {
        self.point >= self.len() as i64
    }

    /// Its value, if it is whole and fits.
    pub(super) fn to_i64(self) -> Option<i64> {
        if !self.is_integer() || self.point > 19 {
            return None;
        }
        let mut value = 0i128;
        for at in self.digits().map(i128::from).chain(std::iter::repeat(0)).take(self.point as usize) {
            value = value * 10 + at;
        }
        i64::try_from(if self.negative { -value } else { value }).ok()
    }

    /// Appends bytes whose unsigned order is numeric order. False if the number is too long for them: it then
    /// shares its bytes with its near neighbours, and the order between those is not kept.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> bool {
        let sign = self.sign();
        out.push(match sign {
            -1 => 1,
            0 => 2,
            _ => 3,
        });
        if sign == 0 {
            return true;
        }
        let start = out.len();
        let exact = self.encode_magnitude(out);
        if sign < 0 {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        exact
    }

    fn encode_magnitude(&self, out: &mut Vec<u8>) -> bool {
        const HALF: i64 = 0x8000;
        let biased = self.point.saturating_add(HALF);
        if !(1..=0xfffe).contains(&biased) {
            let edge: u16 = if biased < 1 { 0 } else { 0xffff };
            out.extend_from_slice(&edge.to_be_bytes());
            out.push(1);
            return false;
        }
        out.extend_from_slice(&(biased as u16).to_be_bytes());
        let mut digits = self.digits().take(KEY_DIGITS);
        while let Some(high) = digits.next() {
            out.push(high * 10 + digits.next().unwrap_or(0) + 2);
        }
        let exact = self.len() <= KEY_DIGITS;
        out.push(u8::from(!exact));
        exact
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.sign(), other.sign());
        if a != b || a == 0 {
            return a.cmp(&b);
        }
        let size = self.point.cmp(&other.point).then_with(|| self.digits().cmp(other.digits()));
        if a < 0 { size.reverse() } else { size }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

fn exponent(bytes: &[u8]) -> i64 {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let mut value = 0i64;
    for digit in digits {
        value =
            value.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0'))).min(EXPONENT_CAP);
    }
    if negative { -value } else { value }
}

fn after_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    &digits[zeros..]
}

fn before_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|&&b| b == b'0').count();
    &digits[..digits.len() - zeros]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCENDING: [&str; 25] = [
        "-1e400",
        "-18446744073709551616",
        "-9007199254740993",
        "-9007199254740992",
        "-12.5",
        "-12",
        "-1",
        "-0.01",
        "-0.001",
        "-1e-400",
        "0",
        "1e-400",
        "0.1",
        "0.1000000000000000000000001",
        "0.11",
        "1",
        "1.0000000000000000000001",
        "9",
        "10",
        "99.5",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
    ];

    #[test]
    fn order_is_exact_and_keys_follow_it() {
        let keys: Vec<Vec<u8>> = ASCENDING.iter().map(|t| key(t).0).collect();
        for (i, a) in ASCENDING.iter().enumerate() {
            for (j, b) in ASCENDING.iter().enumerate() {
                assert_eq!(Decimal::parse(a).cmp(&Decimal::parse(b)), i.cmp(&j), "{a} and {b}");
                assert_eq!(keys[i].cmp(&keys[j]), i.cmp(&j), "keys of {a} and {b}");
            }
        }
    }

    fn key(text: &str) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let exact = Decimal::parse(text).encode(&mut out);
        (out, exact)
    }

    #[test]
    fn one_value_has_one_key() {
        for group in [
            &["0", "-0", "0.0", "0e5", "-0.000e-3"][..],
            &["5", "5.0", "5e0", "0.5e1", "50e-1", "5.000"],
            &["100", "1e2", "1E+2", "0.0001e6", "100.00"],
            &["-0.025", "-25e-3", "-2.5e-2"],
        ] {
            for text in group {
                assert_eq!(Decimal::parse(text), Decimal::parse(group[0]), "{text}");
                assert_eq!(key(text), key(group[0]), "{text}");
                assert!(key(text).1);
            }
        }
    }

    #[test]
    fn long_numbers_are_marked_and_sort_after_their_prefix() {
        let prefix = "1".repeat(40);
        for (tail, exact) in [("", true), (".5", false), (".50000001", false)] {
            assert_eq!(key(&format!("{prefix}{tail}")).1, exact);
        }
        let (long, short) = (format!("{prefix}.5"), format!("{}2", &prefix[..39]));
        assert!(key(&prefix) < key(&long) && key(&long) < key(&short));
        assert!(key(&format!("-{prefix}")) > key(&format!("-{long}")));
        assert!(!key("1e99999999999999999999").1 && key("1e99999999999999999999") > key("1e30000"));
        assert!(!key("1e-99999999999999999999").1 && key("1e-99999999999999999999") > key("0"));
    }

    #[test]
    fn integers() {
        for (text, value) in [
            ("5.0", Some(5)),
            ("1e3", Some(1000)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("0.5", None),
            ("1e400", None),
        ] {
            assert_eq!(Decimal::parse(text).to_i64(), value, "{text}");
        }
        assert!(Decimal::parse("1e400").is_integer() && !Decimal::parse("1e-1").is_integer());
    }
}
