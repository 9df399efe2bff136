//! Dot paths, and the value a document has at one.

use super::compare;
use serde_json::Value;
use std::rc::Rc;

/// A value of a document, or the values collected from the elements of an array on the way.
#[derive(Clone, Debug)]
pub(super) enum View<'a> {
    One(&'a Value),
    Many(Rc<[View<'a>]>),
}

impl<'a> View<'a> {
    /// The length, if it is an array; collected values act as one.
    pub(super) fn array_len(&self) -> Option<usize> {
        match self {
            View::One(Value::Array(items)) => Some(items.len()),
            View::One(_) => None,
            View::Many(items) => Some(items.len()),
        }
    }

    pub(super) fn is_array(&self) -> bool {
        self.array_len().is_some()
    }

    /// The value itself, unless it is an array.
    pub(super) fn single(&self) -> Option<&'a Value> {
        match self {
            View::One(Value::Array(_)) | View::Many(_) => None,
            View::One(value) => Some(value),
        }
    }

    pub(super) fn element(&self, at: usize) -> Option<View<'a>> {
        match self {
            View::One(Value::Array(items)) => items.get(at).map(View::One),
            View::One(_) => None,
            View::Many(items) => items.get(at).cloned(),
        }
    }

    /// Its elements; none if it is no array.
    pub(super) fn elements(&self) -> impl Iterator<Item = View<'a>> {
        (0..self.array_len().unwrap_or(0)).filter_map(|at| self.element(at))
    }

    /// Whether `test` holds for an element, or for the value itself if it is no array.
    pub(super) fn any(&self, mut test: impl FnMut(&View<'a>) -> bool) -> bool {
        if self.is_array() { self.elements().any(|item| test(&item)) } else { test(self) }
    }

    /// Whether `test` holds for an element once arrays within it are opened `levels` deep.
    pub(super) fn any_flat(&self, levels: usize, test: &mut dyn FnMut(&View<'a>) -> bool) -> bool {
        self.elements().any(|item| {
            if levels > 0 && item.is_array() { item.any_flat(levels - 1, test) } else { test(&item) }
        })
    }

    pub(super) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (View::One(value), _) => compare::equal(value, other),
            (View::Many(items), Value::Array(others)) => {
                items.len() == others.len()
                    && items.iter().zip(others).all(|(item, other)| item.equals(other))
            }
            _ => false,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            View::One(value) => (*value).clone(),
            View::Many(items) => Value::Array(items.iter().map(View::to_value).collect()),
        }
    }

    fn get(&self, part: &Part) -> Option<View<'a>> {
        match self {
            View::One(Value::Object(map)) => map.get(&*part.name).map(View::One),
            _ => self.element(part.index?),
        }
    }
}

#[derive(Clone, Debug)]
struct Part {
    name: Box<str>,
    /// Digits only: taken as a position where the value is an array.
    digits: bool,
    index: Option<usize>,
}

/// A field name as filters write it, split at its dots.
#[derive(Clone, Debug)]
pub(super) struct Path {
    text: Box<str>,
    parts: Box<[Part]>,
}

impl Path {
    pub(super) fn new(text: &str) -> Self {
        let part = |name: &str| Part {
            name: name.into(),
            digits: is_digits(name),
            index: if is_digits(name) { name.parse().ok() } else { None },
        };
        Path { text: text.into(), parts: text.split('.').map(part).collect() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn dots(&self) -> usize {
        self.parts.len() - 1
    }

    /// The value at this path, `None` where it is missing. A part that is no position, met by an array, collects
    /// the values of the rest of the path from the array's elements; arrays directly inside are passed over.
    pub(super) fn resolve<'a>(&self, root: &View<'a>) -> Option<View<'a>> {
        let mut crossed = 0;
        let mut value = collect(root.clone(), &self.parts, &mut crossed, false)?;
        // An array collected from a single element stands for that element's own array.
        while crossed > 0 && value.array_len() == Some(1) {
            match value.element(0) {
                Some(inner) if inner.is_array() => value = inner,
                _ => break,
            }
            crossed -= 1;
        }
        Some(value)
    }

    /// Whether any value is at this path.
    pub(super) fn reaches(&self, root: &View<'_>) -> bool {
        reaches(root.clone(), &self.parts, false)
    }
}

/// A name that filters take as a position in an array.
pub(super) fn is_digits(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn collect<'a>(root: View<'a>, parts: &[Part], crossed: &mut usize, inside: bool) -> Option<View<'a>> {
    let mut value = root;
    for (at, part) in parts.iter().enumerate() {
        if !part.digits && value.is_array() {
            if inside && at == 0 {
                return None;
            }
            *crossed += 1;
            let found = value.elements().filter_map(|item| collect(item, &parts[at..], crossed, true));
            return Some(View::Many(found.collect()));
        }
        value = value.get(part)?;
    }
    Some(value)
}

fn reaches(root: View<'_>, parts: &[Part], inside: bool) -> bool {
    let mut value = root;
    for (at, part) in parts.iter().enumerate() {
        if !part.digits && value.is_array() {
            return !(inside && at == 0) && value.elements().any(|item| reaches(item, &parts[at..], true));
        }
        match value.get(part) {
            Some(next) => value = next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(document: &Value, path: &str) -> Option<Value> {
        Path::new(path).resolve(&View::One(document)).map(|view| view.to_value())
    }

    #[test]
    fn paths_pass_objects_and_arrays() {
        let document = json!({
            "a": {"b": {"c": 1}, "0": "zero"},
            "list": [{"b": 1}, {"b": 2}, 3, {"x": 0}, [{"b": 9}]],
            "one": [{"b": [7, 8]}],
            "two": [{"b": [1]}, {"b": 2}],
            "": {"": 5},
            "__proto__": {"x": 1},
        });
        for (path, value) in [
            ("a.b.c", Some(json!(1))),
            ("a.0", Some(json!("zero"))),
            ("a.b.d", None),
            ("a.b.c.d", None),
            ("list.b", Some(json!([1, 2]))),
            ("list.1.b", Some(json!(2))),
            ("list.9", None),
            ("list.99999999999999999999", None),
            ("list.nothing", Some(json!([]))),
            ("one.b", Some(json!([7, 8]))),
            ("one.b.1", Some(json!([8]))),
            ("two.b", Some(json!([[1], 2]))),
            (".", Some(json!(5))),
            ("", Some(json!({"": 5}))),
            ("__proto__.x", Some(json!(1))),
            ("constructor", None),
        ] {
            assert_eq!(at(&document, path), value, "{path}");
        }
        assert!(!Path::new("list.nothing").reaches(&View::One(&document)));
        assert!(Path::new("list.x").reaches(&View::One(&document)));
    }
}
