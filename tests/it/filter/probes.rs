//! Lookups over extracted terms say the same as evaluation does.

use super::made::{self, Random};
use asteroid_core::Result;
use asteroid_core::filter::Filter;
use asteroid_core::filter::probe::{Postings, Precision, Probe, RowSet, TermRange};
use asteroid_core::filter::terms::{PathRules, Term, extract};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

#[derive(Clone, Debug, PartialEq)]
struct Set(BTreeSet<usize>);

impl RowSet for Set {
    fn empty() -> Self {
        Set(BTreeSet::new())
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn unite(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
    fn intersect(&mut self, other: &Self) {
        self.0.retain(|row| other.0.contains(row));
    }
    fn subtract(&mut self, other: &Self) {
        self.0.retain(|row| !other.0.contains(row));
    }
}

/// Terms in one ordered map by their storage keys, as an engine would keep them.
struct Model {
    rows: usize,
    terms: BTreeMap<Vec<u8>, BTreeSet<usize>>,
    /// Lookups it answers before it says that they are too many.
    left: Cell<usize>,
}

impl Model {
    fn pay(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() > 0
    }

    fn new(documents: &[Value], rules: &PathRules) -> Self {
        let mut terms: BTreeMap<Vec<u8>, BTreeSet<usize>> = BTreeMap::new();
        for (row, document) in documents.iter().enumerate() {
            for term in extract(document, rules) {
                terms.entry(term.storage_key()).or_default().insert(row);
            }
        }
        Model { rows: documents.len(), terms, left: Cell::new(usize::MAX) }
    }
}

impl Postings for Model {
    type Set = Set;
    fn all(&self) -> Result<Set> {
        Ok(Set((0..self.rows).collect()))
    }
    fn rows_of(&self, term: &Term) -> Result<Set> {
        let found = if self.pay() { self.terms.get(&term.storage_key()) } else { None };
        Ok(Set(found.cloned().unwrap_or_default()))
    }
    fn rows_in(&self, range: &TermRange) -> Result<Set> {
        if !self.pay() {
            return Ok(Set::empty());
        }
        let key = |bound: &Bound<Box<[u8]>>| {
            bound.clone().map(|key| Term { path: range.path.clone(), key }.storage_key())
        };
        let found = self.terms.range((key(&range.from), key(&range.to)));
        Ok(Set(found.flat_map(|(_, rows)| rows.iter().copied()).collect()))
    }
    fn spent(&self) -> bool {
        self.left.get() == 0
    }
}

#[test]
fn lookups_agree_with_evaluation() {
    let mut r = Random::seeded();
    let (mut pairs, mut unsure, mut matching) = (0, 0, 0);
    let (mut precise, mut spent) = ([0usize; 3], 0);
    for round in 0..400 {
        let rules = match round % 4 {
            0 => PathRules { include: vec!["a.b".into(), "b.a.a".into(), "c.a".into()], exclude: Vec::new() },
            1 => PathRules { include: Vec::new(), exclude: vec!["a.b".into(), "c".into()] },
            _ => PathRules::default(),
        };
        let documents: Vec<Value> = (0..40).map(|_| made::document(&mut r)).collect();
        let model = Model::new(&documents, &rules);
        for _ in 0..150 {
            let text = made::filter(&mut r, 2).to_string();
            let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let probe = Probe::compile(&filter, &rules);
            let answer = probe.answer(&model).unwrap();
            precise[probe.precision() as usize] += 1;
            // Cut short, lookups say less and nothing wrong.
            model.left.set(1 + r.below(12));
            let cut = probe.answer(&model).unwrap();
            spent += usize::from(model.spent());
            model.left.set(usize::MAX);
            for (row, document) in documents.iter().enumerate() {
                let matches = filter.matches(document);
                let (sure, maybe) = (answer.sure.0.contains(&row), answer.unsure.0.contains(&row));
                let agree = !(sure && maybe) && if matches { sure || maybe } else { !sure };
                assert!(
                    agree,
                    "{text} on {document}: matches {matches}, sure {sure}, unsure {maybe}\n{probe:?}"
                );
                let (sure, maybe) = (cut.sure.0.contains(&row), cut.unsure.0.contains(&row));
                let agree = !(sure && maybe) && if matches { sure || maybe } else { !sure };
                assert!(
                    agree,
                    "{text} on {document}, cut short: matches {matches}, sure {sure}, unsure {maybe}\n{probe:?}"
                );
                pairs += 1;
                unsure += usize::from(maybe);
                matching += usize::from(matches);
            }
        }
    }
    assert!(matching > pairs / 20 && matching < pairs * 3 / 4, "{matching} of {pairs} match");
    assert!(spent > 1000, "only {spent} filters were cut short");
    assert!(precise.iter().all(|count| *count > 500), "{precise:?}");
    assert!(unsure < pairs * 2 / 3, "lookups settle too little: {unsure} of {pairs} are unsure");
}

/// Plain payloads, which most are, leave nothing unsure where the table of precisions says exact.
#[test]
fn plain_payloads_are_answered_exactly() {
    let langs = [json!("en"), json!("fr"), Value::Null];
    let movie = |at: usize| {
        json!({
            "title": format!("Movie {at}"),
            "year": 1950 + at % 70,
            "rating": (at % 100) as f64 / 10.0,
            "genres": [(["Drama", "Horror", "Comedy"][at % 3]), (["Noir", "War"][at % 2])],
            "cast": [{"name": format!("N{}", at % 11), "lead": true}, {"name": format!("N{}", at % 7), "lead": false}],
            "info": {"lang": langs[at % 3].clone()},
        })
    };
    let documents: Vec<Value> = (0..500).map(movie).collect();
    let model = Model::new(&documents, &PathRules::default());
    for (text, precision) in [
        (r#"{"year": 1979}"#, Precision::Exact),
        (r#"{"year": {"$gte": 1979, "$lt": 1990}}"#, Precision::Exact),
        (r#"{"year": {"$gt": 1979}, "rating": {"$lte": 3.5}}"#, Precision::Exact),
        (r#"{"genres": "Horror"}"#, Precision::Exact),
        (r#"{"genres": {"$in": ["War", "Horror"]}}"#, Precision::Exact),
        (r#"{"genres": {"$nin": ["War"]}}"#, Precision::Exact),
        (r#"{"genres": {"$all": ["War", "Horror"]}}"#, Precision::Exact),
        (r#"{"genres": {"$contains_any": ["War", "Horror"]}}"#, Precision::Exact),
        (r#"{"genres": {"$contains_all": ["War", "Horror"]}}"#, Precision::Exact),
        (r#"{"genres": {"$elemMatch": {"$gt": "D", "$lt": "E"}}}"#, Precision::Exact),
        (r#"{"cast.name": "N3"}"#, Precision::Exact),
        (r#"{"cast.name": {"$ne": "N3"}}"#, Precision::Exact),
        (r#"{"info.lang": null}"#, Precision::Exact),
        (r#"{"info.none": {"$exists": false}}"#, Precision::Exact),
        (r#"{"year": {"$not": {"$gte": 1979}}}"#, Precision::Exact),
        (r#"{"info.lang": {"$type": "string"}}"#, Precision::Exact),
        (r#"{"$or": [{"year": 1951}, {"$nor": [{"rating": {"$lt": 9}}]}]}"#, Precision::Exact),
        (r#"{"title": {"$regex": "^Movie 4"}}"#, Precision::Superset),
        (r#"{"cast": {"$elemMatch": {"name": "N3", "lead": true}}}"#, Precision::Superset),
        (r#"{"genres": {"$size": 2}}"#, Precision::Superset),
        (r#"{"cast.0.name": "N3", "year": {"$lt": 1960}}"#, Precision::Superset),
        (r#"{"cast.0.name": "N3"}"#, Precision::Unknown),
    ] {
        let filter = Filter::parse(text).unwrap();
        let probe = Probe::compile(&filter, &PathRules::default());
        let answer = probe.answer(&model).unwrap();
        let matches: BTreeSet<usize> = (0..500).filter(|row| filter.matches(&documents[*row])).collect();
        assert_eq!(probe.precision(), precision, "{text}");
        assert!(
            !matches.is_empty() && matches.len() < 500 || text.contains("exists") || text.contains("size")
        );
        if precision == Precision::Exact {
            assert_eq!((answer.sure.0, answer.unsure.0), (matches, BTreeSet::new()), "{text}");
        } else {
            let possible: BTreeSet<usize> = answer.sure.0.union(&answer.unsure.0).copied().collect();
            assert!(answer.sure.0.is_subset(&matches) && matches.is_subset(&possible), "{text}");
            assert!(
                precision == Precision::Unknown || text.contains("size") || possible.len() < 250,
                "{text}"
            );
        }
    }
}
