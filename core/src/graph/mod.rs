//! The proximity graph as the algorithms see it: layer 0 behind a cache over the store, upper layers in memory.

pub(crate) mod cache;
pub(crate) mod policy;
mod seqlock;
pub(crate) mod upper;
