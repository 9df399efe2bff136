//! Bulk build: a whole graph from a whole set of vectors, in memory, by RNN-Descent.
//!
//! Nothing here does I/O or knows of storage. The graph is a function of the vectors, the levels, the
//! parameters and the seed: threads change only how long it takes.

mod descend;
mod order;
mod partition;
mod run;
mod space;
#[cfg(test)]
mod tests;
mod tree;
mod twins;

use descend::{Descent, Plan};
use run::Run;
use space::{Codes, Full, Space};

use crate::{Control, Error, Metric, Pool, Result, Slot};

/// The vectors of a build.
pub struct Input<'a> {
    /// Row after row, `dim` numbers each; every row must pass [`Metric::validate`].
    pub vectors: &'a [f32],
    /// Numbers per row.
    pub dim: u32,
    /// What the graph is to be searched by.
    pub metric: Metric,
    /// The top layer of a row, as an insert of the same row would draw it.
    pub level_of: &'a (dyn Fn(u32) -> u32 + Sync),
}

/// What distances are computed on during a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Codes where they lose nothing that matters, else the vectors.
    Auto,
    /// One byte per number.
    Codes,
    /// The vectors themselves.
    Full,
}

/// How to build.
#[derive(Clone, Debug)]
pub struct Params {
    /// Most links of a row on a layer above 0, 2 or more.
    pub m_max: u32,
    /// Most links of a row on layer 0, 2 or more.
    pub m_max0: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// What to compute distances on.
    pub precision: Precision,
    /// Neighbours a row starts with at random. They carry most of the exploring: more of them cost time and
    /// raise recall.
    pub random: usize,
    /// Rows of a leaf of the hyperplane tree, all of which start as each other's neighbours.
    /// They spare the early rounds.
    pub leaf: usize,
    /// Most neighbours a row keeps when links are mirrored between passes.
    pub most: usize,
    /// Rounds of each pass.
    pub rounds: Vec<u32>,
    /// A pass ends early when it sends fewer messages per row than this.
    pub stop_below: f64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            m_max: 24,
            m_max0: 32,
            seed: 12_345,
            precision: Precision::Auto,
            random: 8,
            leaf: 16,
            most: 96,
            rounds: vec![15, 10, 8, 8],
            stop_below: 0.05,
        }
    }
}

/// The steps of a build, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Grouping equal rows, coding, first neighbours.
    Prepare,
    /// RNN-Descent on layer 0.
    Descend,
    /// Spanning tree, mirrored links, degree cap.
    Connect,
    /// The layers above 0.
    Upper,
    /// Numbering slots for locality.
    Order,
}

impl Phase {
    fn begins_at(self) -> f64 {
        match self {
            Phase::Prepare => 0.0,
            Phase::Descend => 0.06,
            Phase::Connect => 0.84,
            Phase::Upper => 0.88,
            Phase::Order => 0.94,
        }
    }
}

/// Adjacency of a layer: the links of the `i`-th node are `links[offsets[i]..offsets[i + 1]]`, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Adjacency {
    /// One more than there are nodes.
    pub offsets: Vec<usize>,
    /// Slots; on layer 0 with [`kv::links::TREE`](crate::kv::links::TREE) on tree edges.
    pub links: Vec<u32>,
}

impl Adjacency {
    /// The links of node `i`.
    pub fn of(&self, i: usize) -> &[u32] {
        &self.links[self.offsets[i]..self.offsets[i + 1]]
    }
}

/// A layer above 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Its nodes, ascending.
    pub nodes: Vec<Slot>,
    /// Their links, in the order of `nodes`.
    pub adjacency: Adjacency,
}

/// What a build yields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Graph {
    /// The row of every slot. Slots of twins come after all others.
    pub rows: Vec<u32>,
    /// Layer 0, over all slots; twins have no links.
    pub base: Adjacency,
    /// Layers 1 and up, none of them empty.
    pub upper: Vec<Layer>,
    /// Where a search begins: a node of the highest layer. None only where there are no rows.
    pub entry: Option<Slot>,
    /// (The slot that stands in the graph, the slot of a row bit for bit the same), ascending by the second.
    pub twins: Vec<(Slot, Slot)>,
}

/// Builds the graph. `phase` is told of each step as it begins; `control` of rows done, in proportion to the
/// work. `ABORTED` where the caller asked to stop, `INVALID_ARGUMENT` where sizes do not fit together.
///
/// Cost: about 1,000 distances per row. Memory beside the vectors, per row: `dim` bytes for codes and, at the
/// widest, about 500 bytes for lists and messages; with [`Precision::Full`] only the latter.
pub fn build(
    input: &Input<'_>,
    params: &Params,
    pool: &dyn Pool,
    control: &Control<'_>,
    phase: &(dyn Fn(Phase) + Sync),
) -> Result<Graph> {
    let dim = input.dim as usize;
    if dim == 0 || !input.vectors.len().is_multiple_of(dim) {
        return Err(Error::invalid(format!(
            "{} numbers are not a whole number of rows of dimension {dim}",
            input.vectors.len()
        )));
    }
    let n = input.vectors.len() / dim;
    if n >= crate::id::MAX_SLOTS as usize {
        return Err(Error::invalid(format!("{n} rows are more than a database holds, 2,147,483,647")));
    }
    let run = Run::new(pool, control, phase, n);
    run.enter(Phase::Prepare)?;
    let distinct = twins::split(&run, input.vectors, dim)?;
    let full = Full::new(&run, input.vectors, dim, input.metric, distinct.rows)?;
    let graph = if full.len() == 0 {
        Graph { base: Adjacency { offsets: vec![0], links: Vec::new() }, ..Graph::default() }
    } else if params.precision == Precision::Full {
        let order = partition::order(&run, &full, params.seed)?;
        let space = full.subset(&order);
        drop(full);
        let rows = space.rows().to_vec();
        layers(&run, space, rows, input, params)?
    } else {
        let codes = Codes::new(&run, &full)?;
        let order = partition::order(&run, &codes, params.seed)?;
        let space = full.subset(&order);
        drop(full);
        let rows = space.rows().to_vec();
        if params.precision == Precision::Codes || codes.resolve(&order) {
            drop(space);
            let ordered = codes.subset(&order);
            drop((codes, order));
            layers(&run, ordered, rows, input, params)?
        } else {
            drop((codes, order));
            layers(&run, space, rows, input, params)?
        }
    };
    let graph = with_twins(graph, &distinct.twins);
    run.advance(1.0)?;
    Ok(graph)
}

fn layers<S: Space>(
    run: &Run<'_>,
    space: S,
    rows: Vec<u32>,
    input: &Input<'_>,
    params: &Params,
) -> Result<Graph> {
    run.enter(Phase::Descend)?;
    let base = layer(run, &space, params, params.m_max0, true)?;
    run.enter(Phase::Upper)?;
    let levels = run.map(rows.len(), |p| (input.level_of)(rows[p]))?;
    let mut upper = Vec::new();
    let mut entry = 0u32;
    for level in 1.. {
        let nodes: Vec<u32> = (0..rows.len() as u32).filter(|&p| levels[p as usize] >= level).collect();
        let Some(&first) = nodes.first() else { break };
        entry = first;
        let adjacency = layer(run, &space.subset(&nodes), params, params.m_max, false)?;
        upper.push(Layer { nodes, adjacency });
    }
    drop(space);
    run.enter(Phase::Order)?;
    let order = order::order(run, &base)?;
    order::renumber(run, base, upper, entry, rows, &order)
}

/// One layer's links by point number; above layer 0 without tree marks.
fn layer<S: Space>(run: &Run<'_>, space: &S, params: &Params, cap: u32, base: bool) -> Result<Adjacency> {
    // Few points start with all others as neighbours, so one round gives the exact answer.
    let small = space.len() <= 512;
    let plan = Plan {
        leaf: if small { space.len() } else { params.leaf },
        random: if small { 0 } else { params.random },
        most: params.most,
        rounds: if small { &[1] } else { &params.rounds },
        seed: params.seed,
        stop_below: params.stop_below,
    };
    let mut descent = Descent::new(run, space);
    descent.descend(
        &plan,
        |share| {
            if base { run.advance(0.06 + 0.78 * share) } else { run.advance(0.88) }
        },
    )?;
    if base {
        run.enter(Phase::Connect)?;
    }
    descent.symmetrise()?;
    let cap = cap.max(2) as usize;
    // Half of the room, but three edges where there is room for them: with two, a tree is one long path.
    let tree = tree::span(&descent, (cap / 2).max(3).min(cap), params.seed);
    let size = descent.chunk;
    let mut lists = descent.lists;
    run.each_mut(&mut lists, |chunk, lists| {
        let (mut links, mut ends) = (Vec::new(), Vec::with_capacity(lists.ends.len()));
        for i in 0..lists.ends.len() {
            tree::choose(lists.list(i), tree.of((chunk * size + i) as u32), cap, &mut links);
            ends.push(links.len() as u32);
        }
        // The long lists go as the short ones come, in the memory they leave.
        lists.entries = links.into_iter().map(u64::from).collect();
        lists.ends = ends;
    })?;
    drop(tree);
    let mut all = Adjacency { offsets: vec![0], links: Vec::new() };
    all.links.reserve_exact(lists.iter().map(|lists| lists.entries.len()).sum());
    all.offsets.reserve_exact(space.len());
    for lists in lists {
        let before = all.links.len();
        all.offsets.extend(lists.ends.into_iter().map(|end| before + end as usize));
        all.links.extend(lists.entries.into_iter().map(|link| link as u32));
    }
    if !base {
        all.links.iter_mut().for_each(|link| *link &= !crate::kv::links::TREE);
    }
    Ok(all)
}

/// Appends the slots of twins.
fn with_twins(mut graph: Graph, twins: &[(u32, u32)]) -> Graph {
    if twins.is_empty() {
        return graph;
    }
    let mut slot_of = vec![0u32; graph.rows.len() + twins.len()];
    for (slot, &row) in graph.rows.iter().enumerate() {
        slot_of[row as usize] = slot as u32;
    }
    // Twins of one row lie together, in the order of the rows they stand behind.
    let mut pairs: Vec<(u32, u32)> =
        twins.iter().map(|&(first, twin)| (slot_of[first as usize], twin)).collect();
    pairs.sort_unstable();
    for (slot, row) in pairs {
        graph.twins.push((slot, graph.rows.len() as u32));
        graph.rows.push(row);
    }
    graph.base.offsets.resize(graph.rows.len() + 1, graph.base.links.len());
    graph
}
