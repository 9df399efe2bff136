//! Random documents and filters over few keys and values, so that they meet.

use serde_json::{Map, Value, json};

pub(crate) struct Random(u64);

impl Random {
    /// From `ASTEROID_SEED`, or the clock; the seed is printed.
    pub(crate) fn seeded() -> Random {
        let seed = match std::env::var("ASTEROID_SEED") {
            Ok(seed) => seed.parse().expect("ASTEROID_SEED must be a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |time| time.as_nanos() as u64),
        };
        let out = &mut std::io::stdout();
        let _ = std::io::Write::write_fmt(out, format_args!("replay with ASTEROID_SEED={seed}\n"));
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const KEYS: [&str; 9] = ["a", "b", "c", "a", "b", "0", "", "__proto__", "a.b"];
const NUMBERS: [&str; 16] = [
    "0",
    "-0.0",
    "1",
    "1.0",
    "2",
    "3",
    "-1",
    "0.5",
    "-2.5e-3",
    "9007199254740993",
    "9007199254740992",
    "18446744073709551616",
    "1e400",
    "-1e99999999999999999999",
    "1e99999999999999999999",
    "3.14159265358979323846264338327950288419716939937510582097494459",
];
const STRINGS: [&str; 10] = ["", "a", "ab", "abc", "B", "\0", "a\0b", "\u{e9}", "\u{10000}", "\u{ffff}"];
const PATTERNS: [&str; 8] = ["a", "^a", "^ab", "b$", "^$", "^xx", "[^a]", "^\\x00"];

pub(crate) fn scalar(r: &mut Random) -> Value {
    match r.below(8) {
        0..=2 => {
            let text: &&str = r.pick(&NUMBERS);
            serde_json::from_str(text).unwrap()
        }
        3 | 4 => json!(r.pick(&STRINGS)),
        // Longer than index keys hold, and the same for longer than that.
        5 => json!("x".repeat(255 + r.below(4))),
        6 => Value::Null,
        _ => json!(r.chance(50)),
    }
}

pub(crate) fn value(r: &mut Random, depth: usize) -> Value {
    match r.below(if depth == 0 { 2 } else { 5 }) {
        0..=1 => scalar(r),
        2 | 3 => Value::Array((0..r.below(4)).map(|_| value(r, depth - 1)).collect()),
        _ => object(r, depth - 1),
    }
}

pub(crate) fn object(r: &mut Random, depth: usize) -> Value {
    let entries = (0..r.below(4)).map(|_| ((*r.pick(&KEYS)).to_owned(), value(r, depth)));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Arrays of objects of arrays, over two keys.
fn records(r: &mut Random, depth: usize) -> Value {
    let field = |r: &mut Random| match r.below(if depth == 0 { 1 } else { 5 }) {
        0 => scalar(r),
        1 => Value::Array((0..r.below(3)).map(|_| value(r, 1)).collect()),
        _ => Value::Array((0..1 + r.below(3)).map(|_| records(r, depth - 1)).collect()),
    };
    let entries = [("a", field(r)), ("b", field(r))].into_iter().filter(|_| r.chance(80));
    Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A document, now and then one beyond the index's limits.
pub(crate) fn document(r: &mut Random) -> Value {
    let mut made = if r.chance(40) { records(r, 2) } else { object(r, 4) };
    let map = made.as_object_mut().unwrap();
    if r.chance(5) {
        (0..80).for_each(|at| drop(map.insert(format!("k{at}"), json!(at))));
        map.insert("b".into(), value(r, 2));
    }
    if r.chance(5) {
        let long = (0..300).map(|at| if r.chance(1) { value(r, 1) } else { json!(at) });
        let long = Value::Array(long.collect());
        map.insert("a".into(), long);
    }
    made
}

fn operand(r: &mut Random) -> Value {
    if r.chance(80) { scalar(r) } else { value(r, 2) }
}

fn list(r: &mut Random) -> Value {
    (0..r.below(4)).map(|_| operand(r)).collect()
}

fn operator(r: &mut Random, depth: usize) -> (String, Value) {
    let (name, operand) = match r.below(if depth == 0 { 15 } else { 19 }) {
        0 => ("$eq", operand(r)),
        1 => ("$ne", operand(r)),
        2 => ("$gt", operand(r)),
        3 => ("$gte", operand(r)),
        4 => ("$lt", operand(r)),
        5 => ("$lte", operand(r)),
        6 => ("$in", list(r)),
        7 => ("$nin", list(r)),
        8 => ("$exists", json!(r.chance(50))),
        9 => ("$size", json!(r.below(3))),
        10 => {
            let types = ["int", "number", "string", "object", "array", "bool", "null", "undefined", "date"];
            (
                "$type",
                if r.chance(70) { json!(r.pick(&types)) } else { json!([r.pick(&types), r.pick(&types)]) },
            )
        }
        11 => ("$regex", json!(r.pick(&PATTERNS))),
        12 => ("$contains_any", list(r)),
        13 => ("$contains_all", list(r)),
        14 => ("$all", list(r)),
        15 => ("$not", operators(r, depth - 1)),
        16 => ("$all", json!([{"$elemMatch": elements(r, depth - 1)}, operand(r)])),
        _ => ("$elemMatch", elements(r, depth - 1)),
    };
    (name.to_owned(), operand)
}

fn operators(r: &mut Random, depth: usize) -> Value {
    if r.chance(15) {
        let (low, high) = (*r.pick(&["$gt", "$gte"]), *r.pick(&["$lt", "$lte"]));
        return if r.chance(60) {
            json!({low: r.below(3), high: r.below(4)})
        } else {
            json!({high: scalar(r), low: scalar(r)})
        };
    }
    let count = *r.pick(&[1, 1, 2, 2, 3]);
    Value::Object((0..count).map(|_| operator(r, depth)).collect())
}

fn elements(r: &mut Random, depth: usize) -> Value {
    if r.chance(40) { operators(r, depth) } else { filter(r, depth) }
}

fn path(r: &mut Random) -> String {
    let parts: Vec<&str> = (0..*r.pick(&[1, 1, 2, 2, 3])).map(|_| *r.pick(&KEYS)).collect();
    parts.join(".")
}

pub(crate) fn filter(r: &mut Random, depth: usize) -> Value {
    let mut map = Map::new();
    for _ in 0..*r.pick(&[1, 1, 1, 2, 0]) {
        if depth > 0 && r.chance(25) {
            let parts = (0..r.below(4)).map(|_| filter(r, depth - 1)).collect();
            map.insert((*r.pick(&["$and", "$or", "$nor"])).to_owned(), Value::Array(parts));
        } else {
            let condition = if r.chance(25) { operand(r) } else { operators(r, depth) };
            map.insert(path(r), condition);
        }
    }
    Value::Object(map)
}
