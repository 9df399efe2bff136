//! A filter as lookups of terms.
//!
//! [`Probe::compile`] gives a tree of set expressions; [`Probe::answer`] runs it over whatever keeps the sets of
//! rows per term, and tells rows that match for sure from rows that must be looked at with
//! [`Filter::matches`](super::Filter::matches). Rows in neither set do not match.

use super::Filter;
use super::compare::is_scalar;
use super::terms::{Kind, MAX_STRING_BYTES, PathRules, Term, is_indexed, string_prefix, value_key};
use super::tree::{self, Elements, Expr, Item, Op, Types};
use crate::Result;
use serde_json::Value;
use std::ops::Bound;
use std::sync::Arc;

/// The terms of one path whose keys lie between two bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermRange {
    /// The dot path.
    pub path: Arc<str>,
    /// Lower bound of the keys; never above `to`.
    pub from: Bound<Box<[u8]>>,
    /// Upper bound of the keys.
    pub to: Bound<Box<[u8]>>,
}

/// A set of rows, by the terms they carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// No row.
    None,
    /// Every row.
    All,
    /// Rows that carry the term.
    Term(Term),
    /// Rows that carry a term of the range.
    Range(TermRange),
    /// Union.
    Any(Vec<Rows>),
    /// Intersection; the cheapest and most selective parts come first.
    Every(Vec<Rows>),
    /// The first without the second.
    Minus(Box<Rows>, Box<Rows>),
}

/// How much a part of the tree says, apart from rows whose markers say that they are odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// The rows found are those that match.
    Exact,
    /// The rows that match are among those found, which must be looked at.
    Superset,
    /// Nothing is known: every row must be looked at.
    Unknown,
}

/// A filter compiled to lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// One condition.
    Leaf {
        /// Rows that match for sure.
        rows: Rows,
        /// Further rows, which may match.
        unsure: Rows,
        /// What the condition's kind allows to say.
        precision: Precision,
    },
    /// Rows of every part.
    And(Vec<Probe>),
    /// Rows of any part.
    Or(Vec<Probe>),
    /// All rows but those of the part.
    Not(Box<Probe>),
}

/// A set of rows as the caller keeps it: a roaring bitmap, usually.
pub trait RowSet: Clone {
    /// No rows.
    fn empty() -> Self;
    /// Whether there are none.
    fn is_empty(&self) -> bool;
    /// Adds the rows of `other`.
    fn unite(&mut self, other: &Self);
    /// Keeps the rows of `other`.
    fn intersect(&mut self, other: &Self);
    /// Drops the rows of `other`.
    fn subtract(&mut self, other: &Self);
}

/// Where the rows of terms are kept. All three must speak of the same state of the database.
pub trait Postings {
    /// Its sets.
    type Set: RowSet;
    /// Every row.
    fn all(&self) -> Result<Self::Set>;
    /// Rows that carry `term`.
    fn rows_of(&self, term: &Term) -> Result<Self::Set>;
    /// Rows that carry a term of `range`.
    fn rows_in(&self, range: &TermRange) -> Result<Self::Set>;
    /// Whether lookups have cost more than they may. What they answer from then on may lack rows.
    fn spent(&self) -> bool {
        false
    }
}

/// What lookups alone can say. The sets have no row in common.
#[derive(Clone, Debug)]
pub struct Answer<S> {
    /// Rows that match.
    pub sure: S,
    /// Rows to ask [`Filter::matches`](super::Filter::matches) about.
    pub unsure: S,
}

impl Probe {
    /// The lookups of `filter` where the paths that `rules` allow are indexed, by the same rules, on every row.
    pub fn compile(filter: &Filter, rules: &PathRules) -> Probe {
        compile(&filter.root, rules)
    }

    /// What the tree as a whole can say.
    pub fn precision(&self) -> Precision {
        let worst = |parts: &[Probe]| parts.iter().map(Probe::precision).max().unwrap_or(Precision::Exact);
        match self {
            Probe::Leaf { precision, .. } => *precision,
            Probe::Or(parts) => worst(parts),
            Probe::And(parts) => match worst(parts) {
                // One part that narrows is enough for all of them.
                Precision::Unknown if parts.iter().any(|part| part.precision() != Precision::Unknown) => {
                    Precision::Superset
                }
                worst => worst,
            },
            Probe::Not(part) => match part.precision() {
                Precision::Exact => Precision::Exact,
                _ => Precision::Unknown,
            },
        }
    }

    /// Runs the lookups, each as often as it occurs; parts that cannot matter any more are left out, and parts that would
    /// cost too much ([`Postings::spent`]) leave their rows to be looked at.
    pub fn answer<P: Postings>(&self, postings: &P) -> Result<Answer<P::Set>> {
        match self {
            Probe::Leaf { rows, unsure, .. } => {
                let sure = rows.fetch(postings)?;
                let mut unsure = unsure.fetch(postings)?;
                if postings.spent() {
                    return Answer::unknown(postings);
                }
                unsure.subtract(&sure);
                Ok(Answer { sure, unsure })
            }
            Probe::And(parts) => {
                let Some((first, rest)) = parts.split_first() else {
                    return Ok(Answer { sure: postings.all()?, unsure: RowSet::empty() });
                };
                let mut found = first.answer(postings)?;
                for part in rest {
                    if found.sure.is_empty() && found.unsure.is_empty() {
                        break;
                    }
                    if postings.spent() {
                        found.unsure.unite(&found.sure);
                        found.sure = RowSet::empty();
                        break;
                    }
                    found.and(part.answer(postings)?);
                }
                Ok(found)
            }
            Probe::Or(parts) => {
                let mut found = Answer { sure: P::Set::empty(), unsure: P::Set::empty() };
                for part in parts {
                    let more = part.answer(postings)?;
                    found.sure.unite(&more.sure);
                    found.unsure.unite(&more.unsure);
                    if postings.spent() {
                        found.unsure = postings.all()?;
                        break;
                    }
                }
                found.unsure.subtract(&found.sure);
                Ok(found)
            }
            Probe::Not(part) => {
                let found = part.answer(postings)?;
                let mut sure = postings.all()?;
                sure.subtract(&found.sure);
                sure.subtract(&found.unsure);
                Ok(Answer { sure, unsure: found.unsure })
            }
        }
    }
}

impl<S: RowSet> Answer<S> {
    /// Every row may match.
    fn unknown(postings: &impl Postings<Set = S>) -> Result<Self> {
        Ok(Answer { sure: S::empty(), unsure: postings.all()? })
    }

    fn and(&mut self, other: Answer<S>) {
        if self.unsure.is_empty() && other.unsure.is_empty() {
            return self.sure.intersect(&other.sure);
        }
        let possible = |answer: &Answer<S>| {
            let mut set = answer.sure.clone();
            set.unite(&answer.unsure);
            set
        };
        let mut unsure = possible(self);
        unsure.intersect(&possible(&other));
        self.sure.intersect(&other.sure);
        unsure.subtract(&self.sure);
        self.unsure = unsure;
    }
}

impl Rows {
    fn fetch<P: Postings>(&self, postings: &P) -> Result<P::Set> {
        match self {
            Rows::None => Ok(RowSet::empty()),
            Rows::All => postings.all(),
            Rows::Term(term) => postings.rows_of(term),
            Rows::Range(range) => postings.rows_in(range),
            Rows::Any(parts) => {
                let mut found = P::Set::empty();
                for part in parts {
                    found.unite(&part.fetch(postings)?);
                }
                Ok(found)
            }
            Rows::Every(parts) => {
                let Some((first, rest)) = parts.split_first() else { return postings.all() };
                let mut found = first.fetch(postings)?;
                for part in rest {
                    if found.is_empty() {
                        break;
                    }
                    found.intersect(&part.fetch(postings)?);
                }
                Ok(found)
            }
            Rows::Minus(from, what) => {
                let mut found = from.fetch(postings)?;
                if !found.is_empty() {
                    found.subtract(&what.fetch(postings)?);
                }
                Ok(found)
            }
        }
    }
}

fn any(parts: Vec<Rows>) -> Rows {
    if parts.contains(&Rows::All) {
        return Rows::All;
    }
    let mut parts: Vec<Rows> = parts.into_iter().filter(|part| *part != Rows::None).collect();
    match parts.len() {
        0 => Rows::None,
        1 => parts.swap_remove(0),
        _ => Rows::Any(parts),
    }
}

fn every(parts: Vec<Rows>) -> Rows {
    if parts.contains(&Rows::None) {
        return Rows::None;
    }
    let mut parts: Vec<Rows> = parts.into_iter().filter(|part| *part != Rows::All).collect();
    match parts.len() {
        0 => Rows::All,
        1 => parts.swap_remove(0),
        _ => Rows::Every(parts),
    }
}

fn minus(from: Rows, what: Rows) -> Rows {
    match (&from, &what) {
        (Rows::None, _) | (_, Rows::None) => from,
        _ => Rows::Minus(Box::new(from), Box::new(what)),
    }
}

fn compile(expr: &Expr, rules: &PathRules) -> Probe {
    let parts = |parts: &[Expr]| parts.iter().map(|part| compile(part, rules)).collect();
    match expr {
        Expr::And(all) => Probe::And(parts(all)),
        Expr::Or(any) => Probe::Or(parts(any)),
        Expr::Nor(none) => Probe::Not(Box::new(Probe::Or(parts(none)))),
        Expr::Field(path, ops) => match Field::new(path.text(), rules) {
            Some(field) => field.all(ops),
            None => Probe::Leaf { rows: Rows::None, unsure: Rows::All, precision: Precision::Unknown },
        },
    }
}

/// What a condition says of terms: rows that match, and rows that may.
#[derive(Clone, Debug)]
struct Found {
    rows: Rows,
    unsure: Rows,
}

impl Found {
    fn sure(rows: Rows) -> Self {
        Found { rows, unsure: Rows::None }
    }

    fn maybe(unsure: Rows) -> Self {
        Found { rows: Rows::None, unsure }
    }

    fn either(parts: Vec<Found>) -> Self {
        let (rows, unsure) = parts.into_iter().map(|part| (part.rows, part.unsure)).unzip();
        Found { rows: any(rows), unsure: any(unsure) }
    }

    fn possible(self) -> Rows {
        any(vec![self.rows, self.unsure])
    }
}

struct Field<'r> {
    path: Arc<str>,
    /// The paths above it.
    above: Vec<Arc<str>>,
    rules: &'r PathRules,
}

impl<'r> Field<'r> {
    fn new(path: &str, rules: &'r PathRules) -> Option<Self> {
        if !is_indexed(path, rules) {
            return None;
        }
        let above = path.match_indices('.').map(|(at, _)| path[..at].into()).collect();
        Some(Field { path: path.into(), above, rules })
    }

    fn all(&self, ops: &[Op]) -> Probe {
        let mut probes = Vec::with_capacity(ops.len());
        let pair = ops.iter().find_map(|low| ops.iter().find_map(|high| self.between(low, high)));
        if let Some((low, high, (inside, above, below))) = &pair {
            // Two elements of an array may meet the two bounds; for anything else one narrow range is enough.
            let elements = every(vec![self.marker(Kind::Array), above.clone(), below.clone()]);
            probes.push(self.leaf(Found::sure(any(vec![inside.clone(), elements])), Precision::Exact));
            let others = ops.iter().filter(|op| !std::ptr::eq(*op, *low) && !std::ptr::eq(*op, *high));
            probes.extend(others.map(|op| self.op(op)));
        } else {
            probes.extend(ops.iter().map(|op| self.op(op)));
        }
        if probes.len() == 1 { probes.swap_remove(0) } else { Probe::And(probes) }
    }

    /// The rows between a lower and an upper bound, above the one, and below the other.
    fn between<'o>(&self, low: &'o Op, high: &'o Op) -> Option<(&'o Op, &'o Op, (Rows, Rows, Rows))> {
        use tree::Bound::{Gt, Gte, Lt, Lte};
        let (Op::Range(from @ (Gt | Gte), a), Op::Range(to @ (Lt | Lte), b)) = (low, high) else {
            return None;
        };
        let ((low_key, true), (high_key, true)) = (value_key(a), value_key(b)) else { return None };
        if low_key[0] != high_key[0] || a.is_null() || low_key > high_key {
            return None;
        }
        if low_key == high_key && (*from == Gt || *to == Lt) {
            return None;
        }
        let side = |open: bool, key: Vec<u8>| {
            if open { Bound::Excluded(key.into()) } else { Bound::Included(key.into_boxed_slice()) }
        };
        let inside = TermRange {
            path: self.path.clone(),
            from: side(*from == Gt, low_key),
            to: side(*to == Lt, high_key),
        };
        let rows = (Rows::Range(inside), self.range(*from, a).rows, self.range(*to, b).rows);
        Some((low, high, rows))
    }

    fn op(&self, op: &Op) -> Probe {
        let not = |part| Probe::Not(Box::new(part));
        match op {
            Op::Ne(value) => not(self.op(&Op::Eq(value.clone()))),
            Op::Nin(set) => not(self.op(&Op::In(set.clone()))),
            Op::Not(ops) => not(self.all(ops)),
            Op::Exists(true) => self.leaf(Found::sure(self.marker(Kind::Exists)), Precision::Exact),
            Op::Exists(false) => not(self.op(&Op::Exists(true))),
            _ => {
                let (found, precision) = self.positive(op);
                self.leaf(found, precision)
            }
        }
    }

    fn leaf(&self, found: Found, precision: Precision) -> Probe {
        let unsure = any(vec![found.unsure, self.odd()]);
        Probe::Leaf { rows: found.rows, unsure, precision }
    }

    /// Rows whose terms of this path are not all there.
    fn odd(&self) -> Rows {
        any(vec![self.marker(Kind::Partial), minus(self.overflow(), self.marker(Kind::Exists))])
    }

    fn overflow(&self) -> Rows {
        Rows::Term(Term::marker(&Arc::from(""), Kind::Overflow))
    }

    fn marker(&self, kind: Kind) -> Rows {
        Rows::Term(Term::marker(&self.path, kind))
    }

    /// Rows whose value here is an array, be it one collected from an array above.
    fn array(&self) -> Rows {
        let mut parts = vec![self.marker(Kind::Array)];
        parts.extend(self.above.iter().map(|path| Rows::Term(Term::marker(path, Kind::Array))));
        any(parts)
    }

    /// Rows whose array here may hold arrays: values that are, or collections within a collection, empty ones too.
    fn nested(&self) -> Rows {
        let above = self.above.iter().map(|path| Rows::Term(Term::marker(path, Kind::Nested)));
        any(std::iter::once(self.marker(Kind::Nested)).chain(above).collect())
    }

    /// Rows without any value here, not even an empty collection.
    fn missing(&self) -> Found {
        let some = any(vec![self.marker(Kind::Exists), self.array(), self.overflow()]);
        Found::sure(minus(Rows::All, some))
    }

    /// Rows that have `value` here, unless it is an array, or as an element.
    fn term(&self, value: &Value) -> Found {
        if value.is_array() {
            return Found::maybe(self.nested());
        }
        let (term, exact) = Term::of(&self.path, value);
        if exact { Found::sure(Rows::Term(term)) } else { Found::maybe(Rows::Term(term)) }
    }

    /// Rows with terms of `kind`.
    fn of_kind(&self, kind: Kind) -> Rows {
        self.keys(Bound::Included(vec![kind as u8]), Bound::Excluded(vec![kind as u8 + 1]))
    }

    fn keys(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Rows {
        let path = self.path.clone();
        Rows::Range(TermRange { path, from: from.map(Into::into), to: to.map(Into::into) })
    }

    fn range(&self, bound: tree::Bound, operand: &Value) -> Found {
        use tree::Bound::{Gt, Gte, Lt, Lte};
        let (key, exact) = value_key(operand);
        let kind = key[0];
        if operand.is_null() {
            return if matches!(bound, Gte | Lte) { self.term(operand) } else { Found::sure(Rows::None) };
        }
        if !is_scalar(operand) {
            return self.term(operand);
        }
        let unsure = if exact { Rows::None } else { self.term(operand).unsure };
        let rows = match bound {
            Gte if exact => self.keys(Bound::Included(key), Bound::Excluded(vec![kind + 1])),
            Gt | Gte => self.keys(Bound::Excluded(key), Bound::Excluded(vec![kind + 1])),
            Lte if exact => self.keys(Bound::Included(vec![kind]), Bound::Included(key)),
            Lt | Lte => self.keys(Bound::Included(vec![kind]), Bound::Excluded(key)),
        };
        Found { rows, unsure }
    }

    /// A condition that is no negation. The marks of [`Field::odd`] are the caller's.
    fn positive(&self, op: &Op) -> (Found, Precision) {
        // Only paths with dots look into arrays inside arrays.
        let deep = || if self.above.is_empty() { Rows::None } else { self.nested() };
        let exact = |found: Found| (found, Precision::Exact);
        let superset = |rows: Rows| (Found::maybe(rows), Precision::Superset);
        match op {
            Op::Eq(Value::Null) => {
                let parts = vec![self.missing(), self.term(&Value::Null), Found::maybe(deep())];
                exact(Found::either(parts))
            }
            Op::Eq(Value::Array(_)) => superset(self.array()),
            Op::Eq(Value::Object(_)) => superset(any(vec![self.marker(Kind::Object), deep()])),
            Op::Eq(scalar) => exact(Found::either(vec![self.term(scalar), Found::maybe(deep())])),
            Op::Range(bound, operand) => {
                let precision = if is_scalar(operand) { Precision::Exact } else { Precision::Superset };
                (self.range(*bound, operand), precision)
            }
            Op::In(set) => {
                let mut parts: Vec<Found> = set.members().iter().map(|value| self.term(value)).collect();
                if set.contains(&Value::Null) {
                    parts.push(self.missing());
                }
                let precision = if set.scalars_only() { Precision::Exact } else { Precision::Superset };
                (Found::either(parts), precision)
            }
            Op::All(items) if items.is_empty() => exact(Found::sure(Rows::None)),
            Op::All(items) => self.each(items),
            Op::ElemMatch(elements) => self.element(elements),
            Op::Size(_) => superset(self.array()),
            Op::Type(types) => self.types(*types),
            Op::Regex(pattern) => {
                let prefix = pattern.prefix();
                let from = string_prefix(&prefix[..prefix.len().min(MAX_STRING_BYTES)]);
                let to = successor(from.clone());
                superset(any(vec![self.keys(Bound::Included(from), Bound::Excluded(to)), self.nested()]))
            }
            Op::ContainsAny(set) => {
                let found = Found::either(set.members().iter().map(|value| self.term(value)).collect());
                let array = |rows| every(vec![self.array(), rows]);
                let unsure = array(any(vec![found.unsure, deep()]));
                let precision = if set.scalars_only() { Precision::Exact } else { Precision::Superset };
                (Found { rows: array(found.rows), unsure }, precision)
            }
            Op::ContainsAll(set) => {
                let (mut rows, mut possible) = (vec![self.array()], vec![self.array()]);
                for found in set.members().iter().map(|value| self.term(value)) {
                    rows.push(found.rows.clone());
                    possible.push(any(vec![found.possible(), deep()]));
                }
                let unsure = if set.members().is_empty() { Rows::None } else { every(possible) };
                let precision = if set.scalars_only() { Precision::Exact } else { Precision::Superset };
                (Found { rows: every(rows), unsure }, precision)
            }
            Op::Ne(_) | Op::Nin(_) | Op::Not(_) | Op::Exists(_) => {
                (Found::maybe(Rows::All), Precision::Unknown)
            }
        }
    }

    fn each(&self, items: &[Item]) -> (Found, Precision) {
        let (mut rows, mut possible) = (vec![self.array()], vec![self.array()]);
        let mut precision = Precision::Exact;
        for item in items {
            let (found, of_item) = match item {
                Item::Value(value) if is_scalar(value) => (self.term(value), Precision::Exact),
                Item::Value(value) => (self.term(value), Precision::Superset),
                Item::Match(elements) => self.element(elements),
            };
            precision = precision.max(of_item);
            rows.push(found.rows.clone());
            possible.push(found.possible());
        }
        let unsure = if rows[1..] == possible[1..] { Rows::None } else { every(possible) };
        (Found { rows: every(rows), unsure }, precision)
    }

    fn types(&self, types: Types) -> (Found, Precision) {
        let mut single = Vec::new();
        let wanted = [
            (Types::NUMBER, Kind::Number),
            (Types::STRING, Kind::String),
            (Types::OBJECT, Kind::Object),
            (Types::BOOL, Kind::Bool),
            (Types::NULL, Kind::Null),
            (Types::UNDEFINED, Kind::Null),
        ];
        single.extend(
            wanted.into_iter().filter(|(bit, _)| types.has(*bit)).map(|(_, kind)| self.of_kind(kind)),
        );
        let mut parts = vec![Found::sure(minus(any(single), self.array()))];
        let mut precision = Precision::Exact;
        if types.has(Types::INTEGER) && !types.has(Types::NUMBER) {
            parts.push(Found::maybe(minus(self.of_kind(Kind::Number), self.array())));
            precision = Precision::Superset;
        }
        if types.has(Types::ARRAY) {
            parts.push(Found::sure(self.array()));
        }
        if types.has(Types::UNDEFINED) {
            parts.push(self.missing());
        }
        (Found::either(parts), precision)
    }

    fn element(&self, elements: &Elements) -> (Found, Precision) {
        let nested = self.nested();
        let array = |rows| every(vec![self.array(), rows]);
        match elements {
            Elements::AnyObject => (Found::sure(array(self.marker(Kind::Object))), Precision::Exact),
            Elements::Ops(ops) => {
                let tests: Vec<Rows> = ops.iter().filter_map(|op| self.element_rows(op)).collect();
                let exact = match ops.as_slice() {
                    [one] => self.scalar_rows(one),
                    [a, b] => {
                        self.between(a, b).or_else(|| self.between(b, a)).map(|(_, _, (rows, ..))| rows)
                    }
                    _ => None,
                };
                match exact {
                    Some(rows) => (Found { rows: array(rows), unsure: array(nested) }, Precision::Exact),
                    None => (Found::maybe(array(any(vec![every(tests), nested]))), Precision::Superset),
                }
            }
            Elements::Query(query) => {
                let inner = self.upper(query).unwrap_or(Rows::All);
                let object = every(vec![self.marker(Kind::Object), inner]);
                (Found::maybe(array(any(vec![nested, object]))), Precision::Superset)
            }
        }
    }

    /// Rows with an element that meets `op`, a condition on plain scalars: exactly those, arrays in the array aside.
    fn scalar_rows(&self, op: &Op) -> Option<Rows> {
        let found = match op {
            Op::Eq(value) if is_scalar(value) => self.term(value),
            Op::Range(bound, operand) if is_scalar(operand) => self.range(*bound, operand),
            Op::In(set) if set.scalars_only() => {
                Found::either(set.members().iter().map(|value| self.term(value)).collect())
            }
            _ => return None,
        };
        (found.unsure == Rows::None).then_some(found.rows)
    }

    /// Rows among which are all with an element, itself no array, that meets `op`; `None` if that is not known.
    fn element_rows(&self, op: &Op) -> Option<Rows> {
        Some(match op {
            Op::Eq(value) => self.term(value).possible(),
            Op::Range(bound, operand) => self.range(*bound, operand).possible(),
            Op::In(set) => {
                Found::either(set.members().iter().map(|value| self.term(value)).collect()).possible()
            }
            Op::Regex(_) => self.positive(op).0.possible(),
            Op::All(_) | Op::ElemMatch(_) | Op::Size(_) | Op::ContainsAny(_) | Op::ContainsAll(_) => {
                Rows::None
            }
            Op::Ne(_) | Op::Nin(_) | Op::Not(_) | Op::Exists(_) | Op::Type(_) => return None,
        })
    }

    /// Rows among which are all with an object in the array here that matches `expr`; `None` if nothing is known.
    fn upper(&self, expr: &Expr) -> Option<Rows> {
        match expr {
            Expr::And(all) => {
                let parts: Vec<Rows> = all.iter().filter_map(|part| self.upper(part)).collect();
                (!parts.is_empty()).then(|| every(parts))
            }
            Expr::Or(parts) => Some(any(parts.iter().map(|part| self.upper(part)).collect::<Option<_>>()?)),
            Expr::Nor(_) => None,
            Expr::Field(path, ops) => {
                let inner = Field::new(&format!("{}.{}", self.path, path.text()), self.rules)?;
                let parts: Vec<Rows> = ops.iter().filter_map(|op| inner.upper_op(op)).collect();
                (!parts.is_empty()).then(|| every(parts))
            }
        }
    }

    fn upper_op(&self, op: &Op) -> Option<Rows> {
        let found = match op {
            Op::Eq(Value::Null) | Op::Ne(_) | Op::Nin(_) | Op::Not(_) | Op::Exists(false) | Op::Type(_) => {
                return None;
            }
            Op::In(set) if set.contains(&Value::Null) => return None,
            Op::Exists(true) => self.marker(Kind::Exists),
            positive => self.positive(positive).0.possible(),
        };
        // What one element has here may lie in the collection as an array of its own.
        Some(any(vec![found, self.nested(), self.odd()]))
    }
}

/// The first key after all that begin with `key`, whose first byte is below 0xff.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    while key.last() == Some(&0xff) {
        key.pop();
    }
    if let Some(last) = key.last_mut() {
        *last += 1;
    }
    key
}
