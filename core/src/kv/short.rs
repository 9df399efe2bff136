//! [`Short`]: bytes that are mostly few.

use smallvec::SmallVec;
use std::borrow::Borrow;
use std::ops::Deref;

/// Bytes held in place up to sixteen of them: most keys and operands are slots and links, of which an insert makes dozens.
///
/// ```
/// use asteroid_core::kv::Short;
/// let key = Short::from([0, 0, 0, 7]);
/// assert_eq!(&*key, [0, 0, 0, 7]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short(SmallVec<[u8; 16]>);

impl Short {
    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Short {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Extend<u8> for Short {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

impl From<&[u8]> for Short {
    fn from(bytes: &[u8]) -> Self {
        Short(SmallVec::from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Short {
    fn from(bytes: &[u8; N]) -> Self {
        Short::from(bytes.as_slice())
    }
}

impl<const N: usize> From<[u8; N]> for Short {
    fn from(bytes: [u8; N]) -> Self {
        Short::from(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Short {
    fn from(bytes: Vec<u8>) -> Self {
        // Long ones keep their memory, such as payloads.
        if bytes.len() <= 16 { Short::from(bytes.as_slice()) } else { Short(SmallVec::from_vec(bytes)) }
    }
}

impl From<String> for Short {
    fn from(text: String) -> Self {
        Short::from(text.into_bytes())
    }
}

impl From<Short> for Vec<u8> {
    fn from(short: Short) -> Self {
        short.0.into_vec()
    }
}
