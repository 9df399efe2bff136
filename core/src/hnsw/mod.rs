//! HNSW (Malkov and Yashunin, arXiv 1603.09320): the walk, neighbour selection and the level draw.
//!
//! Nothing here does I/O: a [`Layer`] answers for links and distances.

mod scratch;
mod search;
mod select;
mod trace;

pub(crate) use scratch::{Scratch, node_of_key, rank_of_key, sort_key};
pub(crate) use search::{Bridging, beam, bridged_beam, greedy};
pub(crate) use select::select;
pub(crate) use trace::{Reach, Traced, traced_beam};

use crate::Result;
use std::cmp::Reverse;

/// Highest layer a node can reach.
pub(crate) const MAX_LEVEL: u32 = 24;

/// One layer of the graph.
pub(crate) trait Layer {
    /// Replaces `out` with the neighbours of `node`. `pending` is what may be asked for soon: a hint for reading ahead.
    fn links(&mut self, node: u32, pending: &[Reverse<u64>], out: &mut Vec<u32>) -> Result<()>;
    /// Asks for what [`Layer::links`] will read of `node`: a hint.
    fn soon(&self, _node: u32) {}
    /// Asks for what [`Layer::soon`] will read of `node`: a hint.
    fn sometime(&self, _node: u32) {}
    /// Replaces `out` with the ordering keys of `nodes`, in order; infinity will do for one that is `worst` or more.
    fn ranks(&mut self, nodes: &[u32], worst: f32, out: &mut Vec<f32>) -> Result<()>;
    /// Whether `node` may be a result; one that may not only routes.
    fn yields(&mut self, node: u32) -> Result<bool>;
}

/// The level of a row, from a hash of its id: builds replay whatever the order of threads.
pub(crate) fn level_of(seed: u64, key: &[u8], m: u32) -> u32 {
    let mut hash = seed ^ GOLDEN;
    for piece in key.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash = mix(hash ^ key.len() as u64);
    // Uniform in (0, 1]: never 0, whose logarithm is infinite.
    let uniform = ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64;
    ((-uniform.ln() / f64::from(m).ln()) as u32).min(MAX_LEVEL)
}

/// What a splitmix64 generator adds from one number to the next.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that a splitmix64 generator gives at `x`.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_geometric_and_depend_on_the_id_alone() {
        let levels: Vec<u32> = (0..100_000u64).map(|id| level_of(7, &id.to_be_bytes(), 16)).collect();
        let above = |level| levels.iter().filter(|&&l| l >= level).count() as f64 / 100_000.0;
        assert!((above(1) - 1.0 / 16.0).abs() < 0.005, "{}", above(1));
        assert!((above(2) - 1.0 / 256.0).abs() < 0.002, "{}", above(2));
        assert_eq!(levels[5], level_of(7, &5u64.to_be_bytes(), 16));
        assert_ne!(levels, (0..100_000u64).map(|id| level_of(8, &id.to_be_bytes(), 16)).collect::<Vec<_>>());
    }
}
