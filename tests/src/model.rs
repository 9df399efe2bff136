//! What a database must hold after a run of writes: a map, and exact search over it.

use crate::exact;
use asteroid_core::{Code, Control, Id, Include, Index, Metric, Mode, Pool, Result, Rows, SearchParams};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One call that changes rows.
#[derive(Clone, Debug)]
pub enum Write {
    /// [`Index::insert`].
    Put(Id, Vec<f32>, Option<String>, Mode),
    /// [`Index::insert_many`]: ids, all vectors, payloads.
    Many(Option<Vec<Id>>, Vec<f32>, Vec<Option<String>>, Mode),
    /// [`Index::bulk_build`], only ever the first call: ids, all vectors, payloads.
    Bulk(Option<Vec<Id>>, Vec<f32>, Vec<Option<String>>),
    /// [`Index::update`].
    Update(Id, Vec<f32>),
    /// [`Index::delete`].
    Delete(Id),
    /// [`Index::delete_many`].
    DeleteMany(Vec<Id>),
    /// [`Index::set_payload`].
    SetPayload(Id, Option<String>),
    /// [`Index::merge_payload`].
    MergePayload(Id, String),
}

/// One row as the model keeps it.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// The vector, to be returned bit by bit.
    pub vector: Arc<[f32]>,
    /// The payload.
    pub payload: Option<Text>,
}

/// A payload: the text as given, or what a merge must mean.
#[derive(Clone, Debug)]
pub enum Text {
    /// To be returned as it was given.
    Given(Arc<str>),
    /// To be returned in any spelling.
    Merged(Arc<Value>),
}

/// What a database must hold.
#[derive(Clone, Debug)]
pub struct Model {
    /// Numbers per vector.
    pub dim: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// The rows.
    pub rows: BTreeMap<Id, ModelRow>,
    /// The id that a call without ids begins with.
    pub next_id: u64,
}

const MAX_GIVEN_ID: u64 = 1 << 53;

impl Model {
    /// An empty database.
    pub fn new(dim: usize, metric: Metric) -> Model {
        Model { dim, metric, rows: BTreeMap::new(), next_id: 0 }
    }

    /// Does what the engine must do, or answers with the code it must fail with; then nothing changes. The count is
    /// that of rows written or deleted.
    pub fn apply(&mut self, write: &Write) -> std::result::Result<u64, Code> {
        match write {
            Write::Put(id, vector, payload, mode) => {
                self.valid(vector)?;
                self.put_all(&[(id.clone(), vector.as_slice(), payload.clone())], *mode)
            }
            Write::Many(ids, vectors, payloads, mode) => self.many(ids.as_deref(), vectors, payloads, *mode),
            Write::Bulk(ids, vectors, payloads) => {
                if !self.rows.is_empty() {
                    return Err(Code::NotEmpty);
                }
                self.many(ids.as_deref(), vectors, payloads, Mode::Insert)
            }
            Write::Update(id, vector) => {
                self.valid(vector)?;
                self.rows.get_mut(id).ok_or(Code::NotFound)?.vector = vector.as_slice().into();
                Ok(1)
            }
            Write::Delete(id) => Ok(u64::from(self.rows.remove(id).is_some())),
            Write::DeleteMany(ids) => {
                Ok(ids.iter().filter(|id| self.rows.remove(id).is_some()).count() as u64)
            }
            Write::SetPayload(id, payload) => {
                if let Some(text) = payload {
                    object(text)?;
                }
                let row = self.rows.get_mut(id).ok_or(Code::NotFound)?;
                row.payload = payload.as_deref().map(|text| Text::Given(text.into()));
                Ok(1)
            }
            Write::MergePayload(id, patch) => {
                let patch = object(patch)?;
                let row = self.rows.get_mut(id).ok_or(Code::NotFound)?;
                let mut value = row.payload.as_ref().map_or(Value::Null, Text::value);
                merge(&mut value, &Value::Object(patch));
                row.payload = Some(Text::Merged(value.into()));
                Ok(1)
            }
        }
    }

    fn valid(&self, vector: &[f32]) -> std::result::Result<(), Code> {
        if vector.len() != self.dim {
            return Err(Code::DimensionMismatch);
        }
        let zero = vector.iter().all(|&x| x == 0.0) && self.metric == Metric::Cosine;
        if zero || vector.iter().any(|x| !x.is_finite()) { Err(Code::InvalidArgument) } else { Ok(()) }
    }

    fn many(
        &mut self,
        ids: Option<&[Id]>,
        vectors: &[f32],
        payloads: &[Option<String>],
        mode: Mode,
    ) -> std::result::Result<u64, Code> {
        if !vectors.len().is_multiple_of(self.dim) {
            return Err(Code::DimensionMismatch);
        }
        let count = vectors.len() / self.dim;
        let lengths =
            [ids.map_or(count, <[Id]>::len), if payloads.is_empty() { count } else { payloads.len() }];
        if lengths != [count, count] {
            return Err(Code::InvalidArgument);
        }
        vectors.chunks_exact(self.dim).try_for_each(|vector| self.valid(vector))?;
        payloads.iter().flatten().try_for_each(|text| object(text).map(drop))?;
        if ids.is_none() && self.next_id + count as u64 > MAX_GIVEN_ID {
            return Err(Code::InvalidArgument);
        }
        let given: Vec<Id> = match ids {
            Some(ids) => ids.to_vec(),
            None => (self.next_id..).take(count).map(Id::from).collect(),
        };
        if given.iter().collect::<HashSet<_>>().len() < count {
            return Err(Code::IdExists);
        }
        let payload = |i: usize| payloads.get(i).cloned().flatten();
        let rows = given.into_iter().zip(vectors.chunks_exact(self.dim)).enumerate();
        let rows: Vec<_> = rows.map(|(i, (id, vector))| (id, vector, payload(i))).collect();
        self.put_all(&rows, mode)
    }

    fn put_all(
        &mut self,
        rows: &[(Id, &[f32], Option<String>)],
        mode: Mode,
    ) -> std::result::Result<u64, Code> {
        for (_, _, payload) in rows {
            payload.as_deref().map_or(Ok(()), |text| object(text).map(drop))?;
        }
        if mode == Mode::Insert && rows.iter().any(|(id, ..)| self.rows.contains_key(id)) {
            return Err(Code::IdExists);
        }
        for (id, vector, payload) in rows {
            let old = self.rows.remove(id).and_then(|row| row.payload);
            let payload = payload.as_deref().map(|text| Text::Given(text.into())).or(old);
            self.rows.insert(id.clone(), ModelRow { vector: (*vector).into(), payload });
            if let Id::Num(id) = id
                && *id < MAX_GIVEN_ID
            {
                self.next_id = self.next_id.max(id + 1);
            }
        }
        Ok(rows.len() as u64)
    }

    /// A number that two states share only if they hold the same rows.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (id, row) in &self.rows {
            id.hash(&mut hasher);
            row.vector.iter().for_each(|x| x.to_bits().hash(&mut hasher));
            row.payload.as_ref().map(|text| canonical(&text.value())).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The `k` nearest rows, exactly.
    pub fn nearest(&self, query: &[f32], k: usize) -> Vec<(f64, &Id)> {
        let found = exact::nearest(self.metric, self.rows.values().map(|row| &*row.vector), query, k);
        let ids: Vec<&Id> = self.rows.keys().collect();
        found.into_iter().map(|(distance, at)| (distance, ids[at])).collect()
    }

    /// Panics unless `index` holds exactly these rows, by scan, by id and by count.
    pub fn assert_equals(&self, index: &Index, what: &str) {
        assert_eq!(index.count().unwrap(), self.rows.len() as u64, "{what}: count");
        let found = read_all(index).unwrap_or_else(|error| panic!("{what}: {error}"));
        self.assert_same(&found, what);
        let ids: Vec<Id> = self.rows.keys().cloned().collect();
        let by_id = index.get_many(&ids, ALL).unwrap_or_else(|error| panic!("{what}: {error}"));
        let by_id: BTreeMap<_, _> = by_id.into_iter().flatten().map(|row| (row.id.clone(), row)).collect();
        assert!(by_id == found, "{what}: get_many and scan disagree");
    }

    /// Panics unless `found` is exactly these rows.
    pub fn assert_same(&self, found: &BTreeMap<Id, asteroid_core::Row>, what: &str) {
        let missing: Vec<&Id> = self.rows.keys().filter(|id| !found.contains_key(id)).take(5).collect();
        let strange: Vec<&Id> = found.keys().filter(|id| !self.rows.contains_key(id)).take(5).collect();
        assert!(
            missing.is_empty() && strange.is_empty(),
            "{what}: of {} rows, missing {missing:?}, unexpected {strange:?}",
            self.rows.len()
        );
        for (id, row) in &self.rows {
            row.assert_same(&found[id], what);
        }
    }

    /// Panics unless the answer to a search is a right one; answers how many of the true nearest it found, of how many.
    pub fn assert_search(
        &self,
        index: &Index,
        query: &[f32],
        params: &SearchParams,
        what: &str,
    ) -> (usize, usize) {
        let what = &format!("{what}: search {params:?}");
        let hits =
            index.search(query, params, &Control::NONE).unwrap_or_else(|error| panic!("{what}: {error}"));
        let within = |distance: f64| params.max_distance.is_none_or(|limit| distance <= f64::from(limit));
        let mut last = f32::NEG_INFINITY;
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut slack: f64 = 0.0;
        for hit in &hits {
            assert!(seen.insert(&hit.id), "{what}: id {} twice", hit.id);
            let Some(row) = self.rows.get(&hit.id) else { panic!("{what}: id {} is not there", hit.id) };
            let exact = exact::distance(self.metric, &row.vector, query);
            let tolerance = exact::tolerance(self.metric, &row.vector, query);
            slack = slack.max(tolerance);
            assert!(
                (f64::from(hit.distance) - exact).abs() <= tolerance,
                "{what}: id {} has distance {exact}, not {} (tolerance {tolerance})",
                hit.id,
                hit.distance
            );
            assert!(hit.distance >= last, "{what}: not in order");
            assert!(within(f64::from(hit.distance)), "{what}: {} is too far", hit.distance);
            last = hit.distance;
            found.push(exact);
            if params.include.vector {
                assert_eq!(hit.vector.as_deref().map(bits), Some(bits(&row.vector)), "{what}: id {}", hit.id);
            }
            if params.include.payload {
                let same = Text::same(row.payload.as_ref(), hit.payload.as_deref());
                assert!(same, "{what}: payload of {}", hit.id);
            }
        }
        let there = self.rows.len().saturating_sub(params.offset).min(params.k);
        if params.max_distance.is_none() {
            assert_eq!(hits.len(), there, "{what}: of {} rows", self.rows.len());
        }
        let truth: Vec<(f64, usize)> = self
            .nearest(query, params.k + params.offset)
            .into_iter()
            .skip(params.offset)
            .filter(|&(distance, _)| within(distance))
            .map(|(distance, _)| (distance, 0))
            .collect();
        (exact::hits(&found, &truth, slack), truth.len())
    }
}

/// Both columns.
pub const ALL: Include = Include { payload: true, vector: true };

impl ModelRow {
    fn assert_same(&self, row: &asteroid_core::Row, what: &str) {
        assert_eq!(row.vector.as_deref().map(bits), Some(bits(&self.vector)), "{what}: vector of {}", row.id);
        let same = Text::same(self.payload.as_ref(), row.payload.as_deref());
        assert!(same, "{what}: payload of {}: {:?}, not {:?}", row.id, row.payload, self.payload);
    }
}

impl Text {
    /// What it says.
    pub fn value(&self) -> Value {
        match self {
            Text::Given(text) => serde_json::from_str(text).unwrap(),
            Text::Merged(value) => (**value).clone(),
        }
    }

    fn same(want: Option<&Text>, found: Option<&str>) -> bool {
        match (want, found) {
            (None, None) => true,
            (Some(Text::Given(want)), Some(found)) => &**want == found,
            (Some(Text::Merged(want)), Some(found)) => {
                serde_json::from_str::<Value>(found).is_ok_and(|found| canonical(&found) == canonical(want))
            }
            _ => false,
        }
    }
}

/// Everything an index holds, by scan in pages.
pub fn read_all(index: &Index) -> Result<BTreeMap<Id, asteroid_core::Row>> {
    let snapshot = index.snapshot()?;
    let mut rows = BTreeMap::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (page, next) = index.scan(&snapshot, at, 100, ALL)?;
        for row in page {
            let id = row.id.clone();
            assert!(rows.insert(id.clone(), row).is_none(), "the scan shows id {id} twice");
        }
        cursor = next;
    }
    Ok(rows)
}

/// What an index holds, as a model that goes on from there. Of the next id only the least it can be is known.
pub fn model_of(index: &Index) -> Result<Model> {
    let mut model = Model::new(index.config().dim as usize, index.config().metric);
    for (id, row) in read_all(index)? {
        let payload = row.payload.as_deref().map(|text| Text::Given(text.into()));
        model.rows.insert(id.clone(), ModelRow { vector: row.vector.unwrap_or_default().into(), payload });
        if let Id::Num(id) = id
            && id < MAX_GIVEN_ID
        {
            model.next_id = model.next_id.max(id + 1);
        }
    }
    Ok(model)
}

/// Makes the call on the engine.
pub fn run(index: &Index, write: &Write, pool: &dyn Pool) -> Result<u64> {
    match write {
        Write::Put(id, vector, payload, mode) => {
            index.insert(id, vector, payload.as_deref(), *mode).map(|()| 1)
        }
        Write::Many(ids, vectors, payloads, mode) => {
            let rows = Rows { ids: ids.as_deref(), vectors, payloads };
            index.insert_many(rows, *mode, pool, &Control::NONE).map(|done| done.count)
        }
        Write::Bulk(ids, vectors, payloads) => {
            let rows = Rows { ids: ids.as_deref(), vectors, payloads };
            index.bulk_build(rows, pool, &Control::NONE, &|_| ()).map(|done| done.count)
        }
        Write::Update(id, vector) => index.update(id, vector).map(|()| 1),
        Write::Delete(id) => index.delete(id).map(u64::from),
        Write::DeleteMany(ids) => index.delete_many(ids),
        Write::SetPayload(id, payload) => index.set_payload(id, payload.as_deref()).map(|()| 1),
        Write::MergePayload(id, patch) => index.merge_payload(id, patch).map(|()| 1),
    }
}

/// Panics unless the structural check finds nothing.
pub fn assert_sound(index: &Index, what: &str) {
    let report = index.check(&Control::NONE).unwrap_or_else(|error| panic!("{what}: {error}"));
    let problems = &report.problems[..report.problems.len().min(5)];
    assert!(problems.is_empty(), "{what}: check found {} problems: {problems:?}", report.problems.len());
    assert_eq!(report.rows, index.count().unwrap(), "{what}: check walked other rows than there are");
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|x| x.to_bits()).collect()
}

fn object(text: &str) -> std::result::Result<Map<String, Value>, Code> {
    if text.len() > asteroid_core::MAX_PAYLOAD_BYTES {
        return Err(Code::PayloadTooLarge);
    }
    serde_json::from_str(text).map_err(|_| Code::InvalidArgument)
}

/// RFC 7396, as its pseudocode has it.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The text of a value with its members in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            format!("{sorted:?}")
        }
        Value::Array(items) => format!("{:?}", items.iter().map(canonical).collect::<Vec<_>>()),
        other => other.to_string(),
    }
}
