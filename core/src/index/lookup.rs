//! The payload index as filters ask it: entries of the store with those that still wait in the overlay.

use super::Index;
use super::overlay::{Era, Held};
use crate::filter::probe::{Answer, Postings, Probe, RowSet, TermRange};
use crate::filter::terms::Term;
use crate::kv::{Flow, Range, Read, Short, Space, postings};
use crate::{Code, Error, Result, Slot};
use roaring::RoaringBitmap;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Lookups that a writer may interrupt before one that makes writers wait.
const TRIES: usize = 3;
/// What the lookups of one filter may cost, in entries read: so many, and so many per row. Far less than it takes to read
/// every payload, which is what happens to rows that lookups do not decide.
const LEAST_BUDGET: u64 = 4 << 20;
const BUDGET_PER_ROW: u64 = 16;
/// What it costs to find a place in the index.
const PLACE: u64 = 16;
/// Rows of a set copied in the time it takes to read an entry.
const COPIED: u64 = 1024;
/// How often a scan asks whether it may go on, in entries.
const ASK_EVERY: u64 = 1024;
/// Bytes of a value up to which its rows are put down one by one.
const SMALL: usize = 64;

impl RowSet for RoaringBitmap {
    fn empty() -> Self {
        RoaringBitmap::new()
    }

    fn is_empty(&self) -> bool {
        RoaringBitmap::is_empty(self)
    }

    fn unite(&mut self, other: &Self) {
        *self |= other;
    }

    fn intersect(&mut self, other: &Self) {
        *self &= other;
    }

    fn subtract(&mut self, other: &Self) {
        *self -= other;
    }
}

impl Index {
    /// Runs `probe` over one state of the index, that of some moment during the call. `live` are the rows to choose
    /// from, all committed before the call.
    pub(crate) fn answer(&self, probe: &Probe, live: &RoaringBitmap) -> Result<(Answer<RoaringBitmap>, Era)> {
        let budget = LEAST_BUDGET + BUDGET_PER_ROW * live.len();
        for attempt in 0.. {
            let held = self.overlay.hold();
            let view = self.kv.view()?;
            let era = held.era();
            let held = if attempt < TRIES { None } else { Some(held) };
            let (stale, budget) = (Cell::new(false), Cell::new(budget));
            let lookup = Lookup { index: self, live, view, era, held, stale, budget };
            match probe.answer(&lookup) {
                Ok(mut answer) => {
                    answer.sure &= live;
                    answer.unsure &= live;
                    return Ok((answer, era));
                }
                Err(_) if lookup.stale.get() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(Code::Internal, "the index was never still"))
    }
}

impl Index {
    /// Shows every index entry, those that wait in the overlay included: term bytes, first slot of the span, rows.
    pub(crate) fn each_entry(&self, see: &mut dyn FnMut(&[u8], Slot, &RoaringBitmap)) -> Result<()> {
        let held = self.overlay.hold();
        let view = self.kv.view()?;
        let mut pending: BTreeMap<&[u8], &[u8]> =
            held.postings(&Range::all()).map(|(key, operand)| (&**key, &**operand)).collect();
        let mut show = |key: &[u8], value: Option<&[u8]>, operand: Option<&[u8]>| -> Result<()> {
            let (term, base) = postings::split_key(key)?;
            let mut rows = RoaringBitmap::new();
            value.map_or(Ok(()), |value| postings::add_to(&mut rows, base, value))?;
            operand.map_or(Ok(()), |operand| postings::apply(&mut rows, base, operand))?;
            see(term, base, &rows);
            Ok(())
        };
        let mut failed = Ok(());
        view.scan(Space::Postings, &Range::all(), &mut |key, value| {
            let operand = pending.remove(key);
            failed = show(key, Some(value), operand);
            if failed.is_ok() { Flow::Continue(()) } else { Flow::Break(()) }
        })?;
        failed?;
        pending.into_iter().try_for_each(|(key, operand)| show(key, None, Some(operand)))
    }
}

struct Lookup<'a> {
    index: &'a Index,
    live: &'a RoaringBitmap,
    view: Box<dyn Read + 'a>,
    era: Era,
    held: Option<Held<'a>>,
    /// Whether a writer came between two reads.
    stale: Cell<bool>,
    /// What is left of it.
    budget: Cell<u64>,
}

impl Lookup<'_> {
    fn pay(&self, cost: u64) {
        self.budget.set(self.budget.get().saturating_sub(cost));
    }

    fn pending(&self, range: &Range) -> Result<BTreeMap<Short, Short>> {
        let copy = |held: &Held<'_>| {
            if held.era() != self.era {
                self.stale.set(true);
                return Err(Error::new(Code::Internal, "the index changed while it was read"));
            }
            Ok(held.postings(range).map(|(key, operand)| (key.clone(), operand.clone())).collect())
        };
        match &self.held {
            Some(held) => copy(held),
            None => copy(&self.index.overlay.hold()),
        }
    }

    fn rows_between(&self, range: &Range) -> Result<RoaringBitmap> {
        let mut rows = Gathered::default();
        if self.spent() {
            return Ok(rows.finish());
        }
        let mut pending = self.pending(range)?;
        self.pay(PLACE + 4 * pending.len() as u64);
        let mut failed = Ok(());
        let mut seen = 0;
        self.view.scan(Space::Postings, range, &mut |key, value| {
            seen += 1;
            if seen % ASK_EVERY == 0 {
                self.pay(ASK_EVERY);
                if self.spent() {
                    return Flow::Break(());
                }
            }
            let operand = if pending.is_empty() { None } else { pending.remove(key) };
            match rows.add(key, Some(value), operand.as_deref()) {
                Ok(()) => Flow::Continue(()),
                Err(error) => {
                    failed = Err(error);
                    Flow::Break(())
                }
            }
        })?;
        failed?;
        self.pay(seen % ASK_EVERY);
        for (key, operand) in pending {
            rows.add(&key, None, Some(&operand))?;
        }
        Ok(rows.finish())
    }
}

/// The union of many entries. A range may have as many as there are rows, each with a row or two: they are put down as
/// bits, whose memory is bounded by the rows, not by the entries.
#[derive(Default)]
struct Gathered {
    /// What entries with many rows brought.
    rows: RoaringBitmap,
    /// Per span of slots the bits of the others.
    bits: BTreeMap<Slot, Box<[u8]>>,
}

impl Gathered {
    /// Adds the rows of a stored value after `operand`.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>, operand: Option<&[u8]>) -> Result<()> {
        let (_, base) = postings::split_key(key)?;
        if operand.is_none()
            && let Some(value) = value
            && value.len() <= SMALL
        {
            let bits = self.bits.entry(base).or_insert_with(|| vec![0; postings::SPAN as usize / 8].into());
            return postings::set_bits(bits, value);
        }
        // Apart from the others: what an operand removes may be among them.
        let mut of_key = RoaringBitmap::new();
        value.map_or(Ok(()), |value| postings::add_to(&mut of_key, base, value))?;
        operand.map_or(Ok(()), |operand| postings::apply(&mut of_key, base, operand))?;
        self.rows |= of_key;
        Ok(())
    }

    fn finish(mut self) -> RoaringBitmap {
        for (base, bits) in self.bits {
            self.rows |= RoaringBitmap::from_lsb0_bytes(base, &bits);
        }
        self.rows
    }
}

impl Postings for Lookup<'_> {
    type Set = RoaringBitmap;

    fn all(&self) -> Result<RoaringBitmap> {
        self.pay(1 + self.live.len() / COPIED);
        Ok(self.live.clone())
    }

    fn spent(&self) -> bool {
        self.budget.get() == 0
    }

    fn rows_of(&self, term: &Term) -> Result<RoaringBitmap> {
        self.rows_between(&Range::prefix(&term.storage_key()))
    }

    fn rows_in(&self, range: &TermRange) -> Result<RoaringBitmap> {
        let bytes = |key: &[u8]| [Term::storage_prefix(&range.path).as_slice(), key].concat();
        let after = |key: &[u8]| Range::prefix(&bytes(key)).end;
        let whole = Range::prefix(&Term::storage_prefix(&range.path));
        let start = match &range.from {
            Bound::Included(key) => Some(bytes(key)),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => Some(whole.start),
        };
        let end = match &range.to {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => Some(bytes(key)),
            Bound::Unbounded => whole.end,
        };
        match start {
            Some(start) => self.rows_between(&Range { start, end }),
            None => Ok(RoaringBitmap::new()),
        }
    }
}
