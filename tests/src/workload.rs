//! Random writes that meet the interesting cases often: ids that are there, twins, clusters, large batches.

use crate::model::{Model, Write};
use crate::rng::Rng;
use asteroid_core::{Id, LinkPolicy, Metric, Mode};

/// How a workload looks.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Numbers per vector.
    pub dim: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// About how many rows there are once it has run for a while.
    pub rows: u64,
    /// Most rows in one call.
    pub most: u64,
    /// Percent of calls that are wrong in some way.
    pub wrong: u64,
}

/// Draws one vector. One in ten is one of a few that come again and again, some are far from all others.
pub fn vector(rng: &mut Rng, shape: &Shape) -> Vec<f32> {
    let repeated = rng.chance(10);
    let mut from = if repeated { Rng::new(rng.below(5)) } else { rng.clone() };
    rng.word();
    let center = Rng::new(1000 + from.below(8));
    let spread = [0.05, 0.3, 2.0][from.below(3) as usize];
    let mut center = center;
    let draw = |rng: &mut Rng| rng.word() as i32 as f32 / 2f32.powi(31);
    let mut vector: Vec<f32> = (0..shape.dim).map(|_| draw(&mut center) + spread * draw(&mut from)).collect();
    match from.below(40) {
        0 => vector.iter_mut().for_each(|x| *x *= 1000.0),
        1 if shape.metric != Metric::Cosine => vector.fill(0.0),
        2 => vector.iter_mut().for_each(|x| *x = x.signum()),
        _ => {}
    }
    vector
}

/// An id out of about twice as many as there will be rows, of every kind.
pub fn id(rng: &mut Rng, shape: &Shape) -> Id {
    let n = rng.below(2 * shape.rows);
    match n % 16 {
        0 => format!("name {n}").parse().unwrap(),
        1 => Id::from((1 << 63) + n),
        2 => Id::from(u64::MAX - n),
        3 => Id::from((1 << 53) + n),
        _ => Id::from(n),
    }
}

/// An object with a few members, or none.
pub fn payload(rng: &mut Rng) -> Option<String> {
    match rng.below(10) {
        0..4 => None,
        4 => Some("{}".into()),
        5 => Some(format!("{{ \"n\" :{},\"text\":\"a \\u00e4 \\n{}\" }}", rng.below(5), rng.below(1000))),
        6 => Some(format!("{{\"long\":\"{}\"}}", "x".repeat(rng.below(2000) as usize))),
        _ => Some(format!(
            "{{\"n\":{},\"deep\":{{\"a\":[{},null],\"b\":{}.50}}}}",
            rng.below(9),
            rng.word(),
            rng.below(9)
        )),
    }
}

fn patch(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => r#"{"n":null,"new":{"a":1}}"#.into(),
        1 => format!("{{\"deep\":{{\"b\":null,\"c\":{}}}}}", rng.below(100)),
        2 => r#"{"deep":[1,{"x":null}]}"#.into(),
        _ => format!("{{\"text\":\"{}\"}}", rng.below(1000)),
    }
}

/// Draws the next call. It steers towards `shape.rows` rows in `model`.
pub fn write(rng: &mut Rng, shape: &Shape, model: &Model) -> Write {
    let there = model.rows.len() as u64;
    let known = |rng: &mut Rng| match there {
        0 => id(rng, shape),
        _ if rng.chance(5) => id(rng, shape),
        _ => model.rows.keys().nth(rng.below(there) as usize).cloned().unwrap(),
    };
    let mode = if rng.chance(50) { Mode::Insert } else { Mode::Upsert };
    if rng.chance(shape.wrong) {
        return wrong(rng, shape, mode);
    }
    let growing = if there < shape.rows { 60 } else { 25 };
    if rng.chance(growing) {
        if rng.chance(40) {
            return many(rng, shape, mode);
        }
        return Write::Put(id(rng, shape), vector(rng, shape), payload(rng), mode);
    }
    match rng.below(8) {
        0..2 => Write::Update(known(rng), vector(rng, shape)),
        2..4 => Write::Delete(known(rng)),
        4 => {
            let share = [2, 5, 20, there.max(1)][rng.below(if there > shape.rows { 3 } else { 4 }) as usize];
            let mut ids: Vec<Id> =
                model.rows.keys().filter(|_| rng.chance(100 / share.min(100))).cloned().collect();
            ids.extend((0..rng.below(3)).map(|_| known(rng)));
            Write::DeleteMany(ids)
        }
        5 => Write::SetPayload(known(rng), payload(rng)),
        _ => Write::MergePayload(known(rng), patch(rng)),
    }
}

/// Draws an `insert_many`; half of them let the database give the ids.
pub fn many(rng: &mut Rng, shape: &Shape, mode: Mode) -> Write {
    let most = if rng.chance(70) { 20.min(shape.most) } else { shape.most };
    let count = rng.below(most) + 1;
    rows(rng, shape, mode, count)
}

/// Draws an `insert_many` of `count` rows.
pub fn rows(rng: &mut Rng, shape: &Shape, mode: Mode, count: u64) -> Write {
    let vectors = (0..count).flat_map(|_| vector(rng, shape)).collect();
    let payloads = if rng.chance(30) { Vec::new() } else { (0..count).map(|_| payload(rng)).collect() };
    if rng.chance(50) {
        return Write::Many(None, vectors, payloads, mode);
    }
    // Distinct, and mostly new: a clash refuses the whole call.
    let base = rng.word() >> 12;
    let ids = (0..count).map(|i| Id::from(base + 3 * i)).collect();
    Write::Many(Some(ids), vectors, payloads, mode)
}

/// Draws a bulk build of `count` rows.
pub fn bulk(rng: &mut Rng, shape: &Shape, count: u64) -> Write {
    let Write::Many(ids, vectors, payloads, _) = rows(rng, shape, Mode::Insert, count) else {
        unreachable!()
    };
    Write::Bulk(ids, vectors, payloads)
}

/// Draws how changed links are written.
pub fn link_policy(rng: &mut Rng) -> Option<LinkPolicy> {
    [None, Some(LinkPolicy::Eager), Some(LinkPolicy::Lazy), Some(LinkPolicy::Adaptive)][rng.below(4) as usize]
}

/// A call that must be refused, or that the next rows make refusable.
fn wrong(rng: &mut Rng, shape: &Shape, mode: Mode) -> Write {
    let mut bad = vector(rng, shape);
    let at = rng.below(shape.dim as u64) as usize;
    match rng.below(4) {
        0 => bad[at] = f32::NAN,
        1 => bad[at] = f32::NEG_INFINITY,
        2 => bad.push(1.0),
        _ => bad.truncate(at),
    }
    let fine = vector(rng, shape);
    match rng.below(9) {
        0 => Write::Put(id(rng, shape), bad, None, mode),
        1 => Write::Update(id(rng, shape), bad),
        2 => Write::Put(id(rng, shape), fine, Some("[1]".into()), mode),
        3 => Write::SetPayload(id(rng, shape), Some("{\"a\":".into())),
        4 => Write::MergePayload(id(rng, shape), "7".into()),
        5 => {
            // One bad row among many good ones.
            let Write::Many(ids, mut vectors, payloads, mode) = many(rng, shape, mode) else {
                unreachable!()
            };
            let at = rng.below(vectors.len() as u64) as usize;
            vectors[at] = f32::INFINITY;
            Write::Many(ids, vectors, payloads, mode)
        }
        6 => {
            let id = id(rng, shape);
            let vectors = [fine.clone(), fine].concat();
            Write::Many(Some(vec![id.clone(), id]), vectors, Vec::new(), mode)
        }
        7 => Write::Many(None, fine, vec![None, None], mode),
        _ => {
            let Write::Many(ids, vectors, payloads, mode) = many(rng, shape, mode) else { unreachable!() };
            let mut payloads =
                if payloads.is_empty() { vec![None; vectors.len() / shape.dim] } else { payloads };
            let at = rng.below(payloads.len() as u64) as usize;
            payloads[at] = Some("null".into());
            Write::Many(ids, vectors, payloads, mode)
        }
    }
}
