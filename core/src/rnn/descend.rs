//! RNN-Descent: neighbour lists that are refined and thinned at once, by messages between rounds.
//!
//! A round is two things for every point, both from what the round before left: merge in the neighbours it
//! was sent, then go through its list nearest first and send every neighbour that a nearer one occludes to
//! that nearer one. Nothing is read that the same round writes, and lists are sorted by (distance, point), so
//! the outcome depends on the data and the seed alone, whatever the number of threads and the order of jobs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run::{Run, Spare, mix, scaled};
use super::space::Space;
use crate::Result;
use crate::sync::lock;

/// How long and how wide to search.
pub(super) struct Plan<'a> {
    pub(super) leaf: usize,
    pub(super) random: usize,
    pub(super) most: usize,
    pub(super) rounds: &'a [u32],
    pub(super) seed: u64,
    pub(super) stop_below: f64,
}

/// A list entry: distance, point, and whether it is new, in sorting order from the top bit down.
pub(super) fn entry(distance: u32, point: u32, new: bool) -> u64 {
    u64::from(distance) << 32 | u64::from(point) << 1 | u64::from(new)
}

pub(super) fn point(entry: u64) -> u32 {
    entry as u32 >> 1
}

pub(super) fn distance(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn is_new(entry: u64) -> bool {
    entry & 1 == 1
}

/// The lists of consecutive points, each ascending, in one piece of memory.
#[derive(Default)]
pub(super) struct Lists {
    /// Ends of the lists.
    pub(super) ends: Vec<u32>,
    pub(super) entries: Vec<u64>,
}

impl Lists {
    pub(super) fn list(&self, i: usize) -> &[u64] {
        let from = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.entries[from..self.ends[i] as usize]
    }
}

/// Messages of a page.
const PAGE: usize = 2048;

/// Messages in a fixed space: a receiver within its chunk and an entry each.
struct Page {
    to: [u16; PAGE],
    entries: [u64; PAGE],
}

/// What the points of one chunk sent in a round, sorted by receiving chunk.
#[derive(Default)]
pub(super) struct Sent {
    /// Where each receiving chunk's messages end.
    ends: Vec<u32>,
    pages: Vec<Box<Page>>,
}

impl Sent {
    fn to_chunk(&self, chunk: usize) -> impl Iterator<Item = (usize, u64)> {
        let range = match self.ends.get(chunk) {
            None => 0..0,
            Some(&end) => (if chunk == 0 { 0 } else { self.ends[chunk - 1] as usize })..end as usize,
        };
        range.map(|at| {
            let page = &self.pages[at / PAGE];
            (usize::from(page.to[at % PAGE]), page.entries[at % PAGE])
        })
    }
}

/// Pages not in use. They go round between mail that was read and mail being written, because the amount
/// changes tenfold within a pass and an allocator would be left with holes.
#[derive(Default)]
struct Paper(Mutex<Vec<Box<Page>>>);

impl Paper {
    /// Gives `sent` room for so many messages.
    fn supply(&self, sent: &mut Sent, messages: usize) {
        let want = messages.div_ceil(PAGE);
        let mut free = lock(&self.0);
        while sent.pages.len() < want {
            let page = free.pop();
            sent.pages.push(page.unwrap_or_else(|| Box::new(Page { to: [0; PAGE], entries: [0; PAGE] })));
        }
    }

    fn take_back(&self, mail: &mut [Sent]) {
        for sent in mail {
            lock(&self.0).append(&mut sent.pages);
            sent.ends.clear();
        }
    }
}

/// Points per chunk: bounded below for the cost of a job, above for the number of chunk pairs.
pub(super) fn chunk_size(n: usize) -> usize {
    (n / 256).next_power_of_two().clamp(256, 1 << 16)
}

pub(super) struct Descent<'a, S: Space> {
    run: &'a Run<'a>,
    space: &'a S,
    pub(super) chunk: usize,
    pub(super) lists: Vec<Lists>,
    /// Sent in the last round, not yet merged.
    mail: Vec<Sent>,
    spare_mail: Vec<Sent>,
    paper: Paper,
    scratch: Spare<Scratch>,
}

#[derive(Default)]
struct Scratch {
    ends: Vec<u32>,
    received: Vec<u64>,
    list: Vec<u64>,
    fresh: Vec<u64>,
    next: Lists,
    outgoing: Vec<(u32, u64)>,
}

impl<'a, S: Space> Descent<'a, S> {
    pub(super) fn new(run: &'a Run<'a>, space: &'a S) -> Self {
        let chunk = chunk_size(space.len());
        let chunks = space.len().div_ceil(chunk);
        let empty = || (0..chunks).map(|_| Sent::default()).collect();
        Descent {
            run,
            space,
            chunk,
            lists: (0..chunks).map(|_| Lists::default()).collect(),
            mail: empty(),
            spare_mail: empty(),
            paper: Paper::default(),
            scratch: Spare::new(),
        }
    }

    /// From nothing to the final lists; `report` is told the share of the rounds that is done.
    pub(super) fn descend(&mut self, plan: &Plan<'_>, report: impl Fn(f64) -> Result<()>) -> Result<()> {
        let n = self.space.len();
        let all: u32 = plan.rounds.iter().sum();
        let mut done = 0;
        self.start(plan)?;
        for (pass, &rounds) in plan.rounds.iter().enumerate() {
            if pass > 0 {
                self.reverse()?;
                self.round(Some(plan.most))?;
            }
            for round in 0..rounds {
                let sent = self.round(None)?;
                report(f64::from(done + round + 1) / f64::from(all))?;
                if (sent as f64) < plan.stop_below * n as f64 {
                    break;
                }
            }
            done += rounds;
        }
        self.settle()
    }

    /// First neighbours: the points beside in tree order, and some at random.
    fn start(&mut self, plan: &Plan<'_>) -> Result<()> {
        let (space, n, size) = (self.space, self.space.len(), self.chunk);
        let spare = &self.scratch;
        self.run.each_mut(&mut self.lists, |chunk, lists| {
            spare.lend(|scratch| {
                lists.ends.clear();
                lists.entries.clear();
                // Room for most of what is to come: growing piece by piece would leave holes.
                lists.entries.reserve_exact(32 * size.min(n));
                for u in chunk * size..((chunk + 1) * size).min(n) {
                    let first = |v: usize| entry(space.distance(u as u32, v as u32), v as u32, true);
                    let leaf = u - u % plan.leaf.max(1);
                    let Scratch { list, fresh, outgoing, .. } = &mut *scratch;
                    list.clear();
                    fresh.clear();
                    fresh.extend((leaf..(leaf + plan.leaf).min(n)).filter(|&v| v != u).map(first));
                    fresh.sort_unstable();
                    // What is moved goes to a point of the leaf, which has it already.
                    thin(space, list, fresh, outgoing);
                    outgoing.clear();
                    let random = (0..plan.random).map(|i| scaled(mix(plan.seed, u as u64, i as u64), n));
                    list.extend(random.filter(|&v| v != u).map(first));
                    list.sort_unstable();
                    list.dedup_by_key(|e| *e >> 1);
                    lists.entries.extend_from_slice(list);
                    lists.ends.push(lists.entries.len() as u32);
                }
            });
        })
    }

    /// Merges the mail and thins the lists; with a limit, merges only and keeps that many nearest. Returns how
    /// many messages are now on their way.
    fn round(&mut self, merge_only: Option<usize>) -> Result<u64> {
        let (space, size) = (self.space, self.chunk);
        let (mail, scratch, paper) = (&self.mail, &self.scratch, &self.paper);
        let sent = AtomicU64::new(0);
        let mut work: Vec<(&mut Lists, &mut Sent)> =
            self.lists.iter_mut().zip(&mut self.spare_mail).collect();
        self.run.each_mut(&mut work, |chunk, (lists, out)| {
            scratch.lend(|scratch| {
                scratch.deal(mail, chunk, lists.ends.len());
                scratch.outgoing.clear();
                scratch.next.ends.clear();
                scratch.next.entries.clear();
                for i in 0..lists.ends.len() {
                    scratch.one(space, lists.list(i), i, merge_only);
                    scratch.next.ends.push(scratch.next.entries.len() as u32);
                }
                lists.entries.clear();
                lists.entries.reserve_exact(scratch.next.entries.len());
                lists.entries.extend_from_slice(&scratch.next.entries);
                lists.ends.copy_from_slice(&scratch.next.ends);
                scratch.post(out, paper, size);
                sent.fetch_add(scratch.outgoing.len() as u64, Ordering::Relaxed);
            });
        })?;
        std::mem::swap(&mut self.mail, &mut self.spare_mail);
        self.paper.take_back(&mut self.spare_mail);
        Ok(sent.into_inner())
    }

    /// Sends every point to each of its neighbours, after merging what is still on its way.
    fn reverse(&mut self) -> Result<()> {
        self.settle()?;
        let size = self.chunk;
        let (scratch, paper) = (&self.scratch, &self.paper);
        let mut work: Vec<(&Lists, &mut Sent)> = self.lists.iter().zip(&mut self.mail).collect();
        self.run.each_mut(&mut work, |chunk, (lists, out)| {
            scratch.lend(|scratch| {
                scratch.outgoing.clear();
                for i in 0..lists.ends.len() {
                    let u = (chunk * size + i) as u32;
                    let back = |&e: &u64| (point(e), entry(distance(e), u, true));
                    scratch.outgoing.extend(lists.list(i).iter().map(back));
                }
                scratch.post(out, paper, size);
            });
        })
    }

    /// Merges what is still on its way.
    fn settle(&mut self) -> Result<()> {
        self.round(Some(usize::MAX))?;
        Ok(())
    }

    pub(super) fn space(&self) -> &S {
        self.space
    }

    pub(super) fn list_of(&self, point: u32) -> &[u64] {
        let point = point as usize;
        self.lists[point / self.chunk].list(point % self.chunk)
    }

    /// Every point with its list, in order.
    pub(super) fn all_lists(&self) -> impl Iterator<Item = (u32, &[u64])> {
        self.lists.iter().enumerate().flat_map(move |(chunk, lists)| {
            (0..lists.ends.len()).map(move |i| ((chunk * self.chunk + i) as u32, lists.list(i)))
        })
    }

    /// Adds to every list the points that name its owner, as new entries; own entries are old.
    pub(super) fn symmetrise(&mut self) -> Result<()> {
        for entry in self.lists.iter_mut().flat_map(|lists| &mut lists.entries) {
            *entry &= !1;
        }
        self.reverse()?;
        self.settle()?;
        self.mail.clear();
        self.spare_mail.clear();
        self.paper = Paper::default();
        self.scratch = Spare::new();
        Ok(())
    }
}

impl Scratch {
    /// Sorts a chunk's mail by receiver: those of `i` end at `ends[i]`.
    fn deal(&mut self, mail: &[Sent], chunk: usize, points: usize) {
        self.ends.clear();
        self.ends.resize(points + 1, 0);
        for (to, _) in mail.iter().flat_map(|sent| sent.to_chunk(chunk)) {
            self.ends[to + 1] += 1;
        }
        for i in 0..points {
            self.ends[i + 1] += self.ends[i];
        }
        self.received.clear();
        self.received.resize(self.ends[points] as usize, 0);
        // Writing moves each start to its end, which is what stays in `ends`.
        for (to, entry) in mail.iter().flat_map(|sent| sent.to_chunk(chunk)) {
            let at = &mut self.ends[to];
            self.received[*at as usize] = entry;
            *at += 1;
        }
    }

    /// Point `i` of the chunk: its list and its mail in, its next list and its messages out.
    fn one<S: Space>(&mut self, space: &S, own: &[u64], i: usize, merge_only: Option<usize>) {
        let from = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        let mail = &mut self.received[from..self.ends[i] as usize];
        let still = merge_only.is_some() || !own.iter().any(|&e| is_new(e));
        if mail.is_empty() && still {
            self.next.entries.extend_from_slice(own);
            return;
        }
        mail.sort_unstable();
        self.list.clear();
        if let Some(most) = merge_only {
            merge(own, mail, &mut self.list);
            self.list.truncate(most);
            self.next.entries.extend_from_slice(&self.list);
            return;
        }
        self.fresh.clear();
        if still {
            self.list.extend_from_slice(own);
            self.fresh.extend_from_slice(mail);
        } else {
            self.list.extend(own.iter().filter(|&&e| !is_new(e)));
            self.fresh.extend(own.iter().chain(&*mail).filter(|&&e| is_new(e)));
            self.fresh.sort_unstable();
        }
        thin(space, &mut self.list, &self.fresh, &mut self.outgoing);
        self.next.entries.extend_from_slice(&self.list);
    }

    /// Sorts the outgoing messages by receiving chunk.
    fn post(&self, out: &mut Sent, paper: &Paper, size: usize) {
        paper.supply(out, self.outgoing.len());
        let Sent { ends, pages } = out;
        let chunk = |point: u32| point as usize / size;
        ends.clear();
        let chunks = self.outgoing.iter().map(|&(point, _)| chunk(point) + 1).max().unwrap_or(0);
        ends.resize(chunks + 1, 0);
        for &(point, _) in &self.outgoing {
            ends[chunk(point) + 1] += 1;
        }
        for i in 0..chunks {
            ends[i + 1] += ends[i];
        }
        for &(point, entry) in &self.outgoing {
            let at = &mut ends[chunk(point)];
            let page = &mut pages[*at as usize / PAGE];
            page.to[*at as usize % PAGE] = (point as usize % size) as u16;
            page.entries[*at as usize % PAGE] = entry;
            *at += 1;
        }
        ends.pop();
    }
}

/// Takes `fresh`, ascending, into `list`, whose pairs have all been tested, and sends away what is occluded.
fn thin<S: Space>(space: &S, list: &mut Vec<u64>, fresh: &[u64], outgoing: &mut Vec<(u32, u64)>) {
    let touched = list.iter().chain(fresh).fold(0, |sum, &e| sum ^ space.touch(point(e)));
    std::hint::black_box(touched);
    // Taking the new ones in ascending order means that every kept one is tested against all nearer ones,
    // and pairs of old ones, tested when they were new, never again.
    'fresh: for &e in fresh {
        let (old, new) = (e & !1, point(e));
        let at = list.partition_point(|&kept| kept < old);
        if list.get(at) == Some(&old) {
            continue;
        }
        for &kept in &list[..at] {
            let near = space.distance(point(kept), new);
            if near < distance(e) {
                outgoing.push((point(kept), entry(near, new, true)));
                continue 'fresh;
            }
        }
        let mut write = at;
        for read in at..list.len() {
            let farther = list[read];
            let near = space.distance(new, point(farther));
            if near < distance(farther) {
                outgoing.push((new, entry(near, point(farther), true)));
            } else {
                list[write] = farther;
                write += 1;
            }
        }
        list.truncate(write);
        list.insert(at, old);
    }
}

/// Merges two ascending lists. A point in both stays once, as old where one of the two has it so.
fn merge(a: &[u64], b: &[u64], out: &mut Vec<u64>) {
    let (mut i, mut j) = (0, 0);
    let mut last = u64::MAX;
    while i < a.len() || j < b.len() {
        let next = if j == b.len() || (i < a.len() && a[i] <= b[j]) {
            i += 1;
            a[i - 1]
        } else {
            j += 1;
            b[j - 1]
        };
        if next >> 1 != last {
            out.push(next);
            last = next >> 1;
        }
    }
}
