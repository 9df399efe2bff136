//! The rows, the queries, and the filters that they are asked with.

use asteroid_core::{Control, Index, Metric, Pool, Rows};
use asteroid_tests::data;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use serde_json::{Value, json};

/// Places that queries come from. Each has a field that says how far a row is from it.
pub(crate) const ANCHORS: usize = 8;
/// Values of the made-up fields.
const STEPS: usize = 100_000;

pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) dim: usize,
    pub(crate) metric: Metric,
    pub(crate) base: Vec<f32>,
    /// As many for each anchor, those of one after those of another.
    pub(crate) queries: Vec<f32>,
    pub(crate) payloads: Vec<Option<String>>,
}

/// One line of a table: a filter for each anchor.
pub(crate) struct Case {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) filters: Vec<String>,
}

impl Set {
    pub(crate) fn load(name: &str, rows: usize, queries: usize) -> Option<Set> {
        let (found, metric, texts) = match name {
            "movies" => {
                let rows = rows.min(33_000);
                (data::movies(rows, 1000)?, Metric::Cosine, data::movie_payloads(rows)?)
            }
            "sift-photos" => {
                let rows = rows.min(200_000);
                (data::sift_photos(rows, 1000)?, Metric::L2, vec!["{}".into(); rows])
            }
            _ => panic!("{name} is no data set: movies, sift-photos"),
        };
        let (dim, count) = (found.dim, texts.len());
        let row = |i: usize| &found.base[i * dim..][..dim];
        let query = |i: usize| &found.queries[i * dim..][..dim];
        let mut payloads: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let mut taken = Vec::new();
        let mut rng = Rng::new(1);
        let pool = Threads::new(2);
        for anchor in 0..ANCHORS {
            let centre = query(anchor * 1000 / ANCHORS);
            let mut near: Vec<usize> = (0..1000).collect();
            near.sort_by(|&a, &b| apart(centre, query(a)).total_cmp(&apart(centre, query(b))));
            taken.extend(near.iter().take(queries.div_ceil(ANCHORS)).flat_map(|&i| query(i).to_vec()));
            let distances: Vec<std::sync::Mutex<f32>> = (0..count).map(|_| 0.0.into()).collect();
            pool.for_each(count, &|i| *distances[i].lock().unwrap() = apart(centre, row(i)));
            let distances: Vec<f32> = distances.into_iter().map(|one| one.into_inner().unwrap()).collect();
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
            for (place, row) in order.into_iter().enumerate() {
                payloads[row][format!("far{anchor}")] = json!(place * STEPS / count);
            }
        }
        for payload in &mut payloads {
            payload["any"] = json!(rng.below(STEPS as u64));
        }
        Some(Set {
            name: name.into(),
            dim,
            metric,
            queries: taken,
            payloads: payloads.iter().map(|payload| Some(payload.to_string())).collect(),
            base: found.base,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.payloads.len()
    }

    pub(crate) fn build(&self, db: &Index) {
        let rows = Rows { ids: None, vectors: &self.base, payloads: &self.payloads };
        db.bulk_build(rows, &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
    }

    /// The filters by selectivity: of rows anywhere, and of rows far from the query.
    pub(crate) fn by_part(&self, parts: &[f64]) -> Vec<Case> {
        let mut cases = Vec::new();
        for kind in ["random", "far"] {
            for part in parts {
                let below = (part * STEPS as f64).round();
                let field = |anchor| if kind == "far" { format!("far{anchor}") } else { "any".into() };
                let filters = (0..ANCHORS).map(|a| json!({field(a): {"$lt": below}}).to_string()).collect();
                cases.push(Case { kind, name: format!("{} %", (part * 1e6).round() / 1e4), filters });
            }
        }
        cases
    }

    /// Filters of the payloads that movies came with.
    pub(crate) fn real(&self) -> Vec<Case> {
        let filters = [
            json!({"year": {"$ne": 1979}}),
            json!({"title": {"$regex": "^The "}}),
            json!({"genres": "Comedy"}),
            json!({"year": {"$gte": 1930, "$lt": 1960}}),
            json!({"cast": {"$size": 2}}),
            json!({"genres": "Horror", "year": {"$gte": 1979}}),
            json!({"genres": {"$in": ["War", "Western"]}, "year": {"$lt": 1960}}),
            json!({"title": {"$regex": "love", "$options": "i"}}),
            json!({"cast": "Buster Keaton"}),
        ];
        let case = |filter: Value| Case {
            kind: "real",
            name: format!("`{filter}`"),
            filters: vec![filter.to_string(); ANCHORS],
        };
        if self.name == "movies" { filters.into_iter().map(case).collect() } else { Vec::new() }
    }
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}
