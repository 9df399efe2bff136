//! Large pages: what a host may back memory by that searches read all over.

use std::ops::Range;

/// A host that has large pages to give. Reading a row here and a list there, a search waits less for what lies in few of
/// them than in many small ones.
pub trait LargePages: Send + Sync {
    /// Takes note that searches read all over these addresses, and soon will again. Asked once in a while, each time with all
    /// of them, before the first search and after checkpoints. They may be freed at any time, so only what does no harm to
    /// other memory may be done to them.
    fn back(&self, spans: Vec<Range<usize>>);
}

/// Where `values` lie.
pub(crate) fn span<T>(values: &[T]) -> Range<usize> {
    let range = values.as_ptr_range();
    range.start.addr()..range.end.addr()
}
