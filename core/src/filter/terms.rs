//! What of a payload is indexed: [`Term`]s, each a path and an order-preserving key.
//!
//! A row carries, per path, a term for its value or for each element of its array, and markers of its shape. The
//! markers let [`super::probe`] tell the rows that its lookups are sure about from those to be looked at again.

use super::number::Decimal;
use super::path::{Path, View, is_digits};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most parts of an indexed path; values deeper in a payload are not indexed.
pub const MAX_PATH_PARTS: usize = 8;
/// Longest indexed path, in bytes.
pub const MAX_PATH_BYTES: usize = 254;
/// Most indexed paths of a payload; the shallower ones come first.
pub const MAX_PATHS: usize = 64;
/// Most different values of one path in a payload; a longer array is marked, its elements are not indexed.
pub const MAX_VALUES_PER_PATH: usize = 256;
/// Bytes of a string that its key holds; longer strings share the key of their first bytes.
pub const MAX_STRING_BYTES: usize = 256;

/// The first byte of a key: the kind of term, in key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The payload has more paths than are indexed; its path is empty.
    Overflow = 0x01,
    /// Something is at the path.
    Exists = 0x02,
    /// The value is an array, or was collected from one.
    Array = 0x03,
    /// An element of that array is an array, or was collected from one.
    Nested = 0x04,
    /// The values are too many, so that only the markers above are there.
    Partial = 0x05,
    /// The value, or an element, is an object.
    Object = 0x10,
    /// The value, or an element, is null.
    Null = 0x11,
    /// The same for a boolean: one more byte, 0 or 1.
    Bool = 0x12,
    /// The same for a number: bytes in numeric order.
    Number = 0x13,
    /// The same for a string: bytes in code point order.
    String = 0x14,
}

/// One entry of the index. Terms of one path are neighbours in [`Term::storage_key`] order, by kind, then value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The dot path.
    pub path: Arc<str>,
    /// [`Kind`], then the value.
    pub key: Box<[u8]>,
}

impl Term {
    /// A marker, or the start of the values of `kind`.
    pub fn marker(path: &Arc<str>, kind: Kind) -> Term {
        Term { path: path.clone(), key: Box::new([kind as u8]) }
    }

    /// The term of a scalar. False if other values share it: long strings and numbers do.
    pub(super) fn of(path: &Arc<str>, value: &Value) -> (Term, bool) {
        let (key, exact) = value_key(value);
        (Term { path: path.clone(), key: key.into() }, exact)
    }

    /// Bytes for an ordered store: [`Term::storage_prefix`] of its path, then the key. No term's bytes begin
    /// with another's, markers aside.
    pub fn storage_key(&self) -> Vec<u8> {
        let mut out = Term::storage_prefix(&self.path);
        out.extend_from_slice(&self.key);
        out
    }

    /// How the stored bytes of every term of `path`, and of no other path, begin. Paths beyond
    /// [`MAX_PATH_BYTES`] have no terms.
    pub fn storage_prefix(path: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(path.len() + 32);
        // One byte is enough for every path that is indexed; a longer one gets what no indexed path has.
        out.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(path.as_bytes());
        out
    }
}

/// Key bytes of a scalar, and whether only values equal to it have them. Arrays and objects give their marker.
pub(super) fn value_key(value: &Value) -> (Vec<u8>, bool) {
    match value {
        Value::Null => (vec![Kind::Null as u8], true),
        Value::Bool(value) => (vec![Kind::Bool as u8, u8::from(*value)], true),
        Value::Number(number) => {
            let mut out = vec![Kind::Number as u8];
            let exact = Decimal::new(number).encode(&mut out);
            (out, exact)
        }
        Value::String(text) => {
            let bytes = text.as_bytes();
            let exact = bytes.len() <= MAX_STRING_BYTES;
            let mut out = string_prefix(&bytes[..bytes.len().min(MAX_STRING_BYTES)]);
            // The end sorts before any further byte, the cut after the string that ends there.
            out.extend_from_slice(&[0, u8::from(!exact)]);
            (out, exact)
        }
        Value::Object(_) => (vec![Kind::Object as u8], false),
        Value::Array(_) => (vec![Kind::Nested as u8], false),
    }
}

/// How the keys of all strings begin that begin with `bytes`, up to [`MAX_STRING_BYTES`].
pub(super) fn string_prefix(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 3);
    out.push(Kind::String as u8);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out
}

/// Which paths are indexed: those at or under an `include` (all, if there is none) and not at or under an
/// `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// Paths to index; empty for all.
    pub include: Vec<String>,
    /// Paths not to index.
    pub exclude: Vec<String>,
}

impl PathRules {
    /// Whether values at `path` are indexed, limits aside.
    pub fn allows(&self, path: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|root| at_or_under(path, root)))
            && !self.exclude.iter().any(|root| at_or_under(path, root))
    }

    /// Whether something under `path` is included, so that its shape is worth a marker.
    fn leads_on(&self, path: &str) -> bool {
        self.include.iter().any(|root| at_or_under(root, path))
    }
}

fn at_or_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether the index can speak of `path` under `rules`: its terms, where a payload has something there, are there
/// too (or the payload carries [`Kind::Overflow`]).
pub fn is_indexed(path: &str, rules: &PathRules) -> bool {
    path.len() <= MAX_PATH_BYTES
        && path.split('.').count() <= MAX_PATH_PARTS
        // A number is a position or a key, by document; positions have no terms.
        && !path.split('.').skip(1).any(is_digits)
        && rules.allows(path)
}

/// The terms of `document`, sorted, without repetitions.
///
/// Costs one walk over the document per path, of which there are at most [`MAX_PATHS`]. A document that is no
/// object has none.
pub fn extract(document: &Value, rules: &PathRules) -> Vec<Term> {
    let Value::Object(root) = document else { return Vec::new() };
    let mut terms = Vec::new();
    let (paths, complete) = paths(root, rules);
    if !complete {
        terms.push(Term::marker(&Arc::from(""), Kind::Overflow));
    }
    for path in paths {
        let Some(value) = Path::new(&path).resolve(&View::One(document)) else { continue };
        if value.is_array() {
            terms.push(Term::marker(&path, Kind::Array));
            if value.elements().any(|item| item.is_array()) {
                terms.push(Term::marker(&path, Kind::Nested));
            }
        }
        if rules.allows(&path) {
            index_value(&path, &value, &mut terms);
        }
    }
    terms.sort_unstable();
    terms
}

fn index_value(path: &Arc<str>, value: &View<'_>, terms: &mut Vec<Term>) {
    terms.push(Term::marker(path, Kind::Exists));
    let mut found = BTreeSet::new();
    if value.is_array() {
        for item in value.elements() {
            found.extend(term_of(path, &item));
            if found.len() > MAX_VALUES_PER_PATH {
                terms.push(Term::marker(path, Kind::Partial));
                return;
            }
        }
    } else {
        found.extend(term_of(path, value));
    }
    terms.extend(found);
}

/// The term of a value that is no array.
fn term_of(path: &Arc<str>, item: &View<'_>) -> Option<Term> {
    match item.single()? {
        Value::Object(_) => Some(Term::marker(path, Kind::Object)),
        value => Some(Term::of(path, value).0),
    }
}

/// An object met at a depth, and the path to it.
type Level<'a> = (Option<Arc<str>>, &'a Map<String, Value>);

/// The paths to index, shallow ones first, and whether they are all there are.
fn paths(root: &Map<String, Value>, rules: &PathRules) -> (Vec<Arc<str>>, bool) {
    let mut found: Vec<Arc<str>> = Vec::new();
    let mut known = std::collections::HashSet::new();
    let mut level: Vec<Level<'_>> = vec![(None, root)];
    for part in 0..MAX_PATH_PARTS {
        let mut next: Vec<Level<'_>> = Vec::new();
        for (prefix, map) in level {
            for (key, value) in map {
                if key.contains('.') || (part > 0 && is_digits(key)) {
                    continue;
                }
                let path: Arc<str> = match &prefix {
                    None => key.as_str().into(),
                    Some(prefix) => format!("{prefix}.{key}").into(),
                };
                let wanted = rules.allows(&path) || rules.leads_on(&path);
                if path.len() > MAX_PATH_BYTES || !wanted {
                    continue;
                }
                let path = if let Some(known) = known.get(&path) {
                    Arc::clone(known)
                } else if found.len() == MAX_PATHS {
                    return (found, false);
                } else {
                    found.push(path.clone());
                    known.insert(path.clone());
                    path
                };
                match value {
                    Value::Object(inner) => next.push((Some(path), inner)),
                    Value::Array(items) => next.extend(items.iter().filter_map(|item| match item {
                        Value::Object(inner) => Some((Some(path.clone()), inner)),
                        _ => None,
                    })),
                    _ => {}
                }
            }
        }
        level = next;
    }
    (found, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(document: Value, rules: &PathRules) -> Vec<String> {
        let show = |term: &Term| format!("{} {:02x?}", term.path, term.key);
        extract(&document, rules).iter().map(show).collect()
    }

    #[test]
    fn terms_of_a_payload() {
        let document = json!({
            "year": 1979,
            "cast": [{"name": "S"}, {"name": null}, 7],
            "a": {"b.c": 1, "0": 2, "d": {"e": true}},
            "deep": [[1], {}],
        });
        let terms = shown(document, &PathRules::default());
        assert_eq!(
            terms,
            [
                "a [02]",
                "a [10]",
                "a.d [02]",
                "a.d [10]",
                "a.d.e [02]",
                "a.d.e [12, 01]",
                "cast [02]",
                "cast [03]",
                "cast [10]",
                "cast [13, 03, 80, 01, 48, 00]",
                "cast.name [02]",
                "cast.name [03]",
                "cast.name [11]",
                "cast.name [14, 53, 00, 00]",
                "deep [02]",
                "deep [03]",
                "deep [04]",
                "deep [10]",
                "year [02]",
                "year [13, 03, 80, 04, 15, 51, 00]",
            ]
        );
    }

    #[test]
    fn rules_choose_paths() {
        let rules = PathRules { include: vec!["a.b".into(), "year".into()], exclude: vec!["a.b.c".into()] };
        let document = json!({"year": null, "years": 1, "a": [{"b": {"c": 1, "d": ""}, "x": 1}]});
        let terms = shown(document, &rules);
        let expected = [
            "a [03]",
            "a.b [02]",
            "a.b [03]",
            "a.b [10]",
            "a.b.d [02]",
            "a.b.d [03]",
            "a.b.d [14, 00, 00]",
            "year [02]",
            "year [11]",
        ];
        assert_eq!(terms, expected);
        for (path, indexed) in [
            ("year", true),
            ("years", false),
            ("a", false),
            ("a.b", true),
            ("a.b.c", false),
            ("a.b.0", false),
        ] {
            assert_eq!(is_indexed(path, &rules), indexed, "{path}");
        }
    }

    #[test]
    fn limits_leave_marks() {
        let wide: Map<String, Value> = (0..100).map(|i| (format!("k{i}"), json!(i))).collect();
        let terms = extract(&Value::Object(wide), &PathRules::default());
        assert_eq!(terms.iter().filter(|t| t.key[0] == Kind::Exists as u8).count(), MAX_PATHS);
        assert_eq!(terms.iter().filter(|t| t.key[0] == Kind::Overflow as u8).count(), 1);

        let long: Vec<u32> = (0..1000).collect();
        let kinds: Vec<u8> =
            extract(&json!({"a": long}), &PathRules::default()).iter().map(|t| t.key[0]).collect();
        assert_eq!(kinds, [Kind::Exists as u8, Kind::Array as u8, Kind::Partial as u8]);

        let path: Arc<str> = "a".into();
        let text = "x".repeat(300);
        let (cut, exact) = Term::of(&path, &json!(text));
        assert!(!exact && cut.key.len() == 1 + MAX_STRING_BYTES + 2);
        assert!(Term::of(&path, &json!(text[..256])).0 < cut && cut < Term::of(&path, &json!("xy")).0);
    }

    #[test]
    fn string_keys_follow_code_points() {
        let path: Arc<str> = "a".into();
        let texts =
            ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "\u{FFFF}", "\u{10000}"];
        let keys: Vec<Term> = texts.iter().map(|text| Term::of(&path, &json!(text)).0).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
