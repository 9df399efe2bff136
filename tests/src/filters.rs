//! Filtered calls against a model, over the payloads that [`crate::workload`] draws.

use crate::exact;
use crate::model::Model;
use crate::rng::Rng;
use asteroid_core::filter::Filter;
use asteroid_core::{Control, Id, Include, Index, SearchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const K: usize = 10;

/// Draws a filter: from nothing to everything, that lookups answer and that payloads must be read for.
pub fn draw(rng: &mut Rng) -> Value {
    let n = rng.below(10);
    match rng.below(14) {
        0 => json!({}),
        1 => json!({"n": n}),
        2 => json!({"n": {"$gte": n}}),
        3 => json!({"n": {"$lt": n, "$gt": 2}}),
        4 => json!({"deep.b": {"$in": [n, n + 1]}}),
        5 => json!({"deep.a": {"$size": 2}}),
        6 => json!({"deep.a": null}),
        7 => json!({"new.a": {"$exists": n < 5}}),
        8 => json!({"long": {"$regex": "^x{100}"}}),
        9 => json!({"text": {"$regex": format!("{n}$")}}),
        10 => json!({"text": {"$gt": "5"}, "n": {"$ne": n}}),
        11 => json!({"$or": [{"n": n}, {"deep.b": {"$lte": n}}]}),
        12 => json!({"$nor": [{"n": {"$exists": true}}, {"deep": {"$exists": true}}]}),
        _ => json!({"n": {"$not": {"$lt": n}}}),
    }
}

/// Panics unless searches, counts and scans with a few drawn filters give what the model holds: every search
/// min(k, matches) rows that match at their true distances, the nearest of them where all are measured.
pub fn assert_filters_agree(index: &Index, model: &Model, rng: &mut Rng, what: &str) {
    let documents: Vec<(&Id, &[f32], Value)> = model
        .rows
        .iter()
        .map(|(id, row)| {
            (id, &*row.vector, row.payload.as_ref().map_or_else(|| json!({}), |payload| payload.value()))
        })
        .collect();
    for _ in 0..6 {
        let text = draw(rng).to_string();
        let what = format!("{what}, filter {text}");
        let filter = Arc::new(Filter::parse(&text).unwrap());
        let matching: Vec<_> = documents.iter().filter(|(_, _, document)| filter.matches(document)).collect();
        let query: Vec<f32> = (0..model.dim).map(|_| rng.below(200) as f32 / 100.0 - 0.995).collect();
        let truth = exact::nearest(model.metric, matching.iter().map(|(_, vector, _)| *vector), &query, K);
        let selection = index.select(&filter).unwrap();
        for plan in [None, Some("scan"), Some("bridge"), Some("sweep")] {
            let params = SearchParams { k: K, ..SearchParams::default() };
            let (hits, explain) = match plan {
                None => index.search_among(&query, &params, Some(&selection), &Control::NONE),
                Some(plan) => index.search_by_plan(&query, &params, &selection, plan, &Control::NONE),
            }
            .unwrap_or_else(|error| panic!("{what} by {plan:?}: {error}"));
            assert_eq!(hits.len(), matching.len().min(K), "{what} by {plan:?}: {explain:?}");
            let mut seen = BTreeSet::new();
            for (at, hit) in hits.iter().enumerate() {
                assert!(seen.insert(&hit.id), "{what} by {plan:?}: {} twice", hit.id);
                let (_, vector, _) = matching
                    .iter()
                    .find(|(id, _, _)| **id == hit.id)
                    .unwrap_or_else(|| panic!("{what} by {plan:?}: {} does not match", hit.id));
                let slack = exact::tolerance(model.metric, vector, &query);
                let apart = exact::distance(model.metric, vector, &query);
                assert!((f64::from(hit.distance) - apart).abs() <= slack, "{what}: {} at {apart}", hit.id);
                if plan == Some("scan") {
                    assert!(apart <= truth[at].0 + 2.0 * slack, "{what}: {} is not number {at}", hit.id);
                }
            }
        }
        assert_eq!(
            index.count_selected(&selection, &Control::NONE).unwrap(),
            matching.len() as u64,
            "{what}"
        );
        let (rows, _) =
            index.scan_selected(&selection, 0, usize::MAX, Include::default(), &Control::NONE).unwrap();
        let found: BTreeSet<Id> = rows.into_iter().map(|row| row.id).collect();
        let want: BTreeSet<Id> = matching.iter().map(|(id, _, _)| (*id).clone()).collect();
        assert_eq!(found, want, "{what}: scan");
    }
}
