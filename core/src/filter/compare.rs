//! Equality and order of JSON values.

use super::number::Decimal;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// The type of a value, in the order in which values of different types sort inside arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Null,
    Number,
    String,
    Object,
    Array,
    Bool,
}

pub(super) fn class(value: &Value) -> Class {
    match value {
        Value::Null => Class::Null,
        Value::Number(_) => Class::Number,
        Value::String(_) => Class::String,
        Value::Object(_) => Class::Object,
        Value::Array(_) => Class::Array,
        Value::Bool(_) => Class::Bool,
    }
}

/// Deep equality: numbers by value, arrays in order, objects whatever the order of their keys.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => {
            a.as_str() == b.as_str() || Decimal::new(a) == Decimal::new(b)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => false,
    }
}

/// A total order. Give it values made by [`canonical`], or scalars.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => Decimal::new(a).cmp(&Decimal::new(b)),
        (Value::Array(a), Value::Array(b)) => {
            let first = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            first.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => a.keys().cmp(b.keys()).then_with(|| {
            let first = a.values().zip(b.values()).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            first.unwrap_or(Ordering::Equal)
        }),
        _ => class(a).cmp(&class(b)),
    }
}

/// How [`canonical`] treats arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrays {
    /// As they are: [`order`] then says `Equal` exactly where [`equal`] says true.
    InOrder,
    /// Sorted, as range operators compare them.
    Sorted,
}

/// A copy with the keys of objects sorted, so that [`order`] applies.
pub(super) fn canonical(value: &Value, arrays: Arrays) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|item| canonical(item, arrays)).collect();
            if arrays == Arrays::Sorted {
                items.sort_by(order);
            }
            Value::Array(items)
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), canonical(value, arrays)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        scalar => scalar.clone(),
    }
}

pub(super) fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

/// A set of values with lookup in logarithmic time.
#[derive(Clone, Debug)]
pub(super) struct ValueSet {
    sorted: Vec<Value>,
    scalars_only: bool,
}

impl ValueSet {
    pub(super) fn new(values: &[Value]) -> Self {
        let mut sorted: Vec<Value> = values.iter().map(|v| canonical(v, Arrays::InOrder)).collect();
        sorted.sort_by(order);
        sorted.dedup_by(|a, b| order(a, b).is_eq());
        let scalars_only = sorted.iter().all(is_scalar);
        ValueSet { sorted, scalars_only }
    }

    pub(super) fn contains(&self, value: &Value) -> bool {
        if is_scalar(value) {
            return self.find(value);
        }
        !self.scalars_only && self.find(&canonical(value, Arrays::InOrder))
    }

    fn find(&self, value: &Value) -> bool {
        self.sorted.binary_search_by(|member| order(member, value)).is_ok()
    }

    /// Whether no member is an array or an object.
    pub(super) fn scalars_only(&self) -> bool {
        self.scalars_only
    }

    /// Its members, without repetitions.
    pub(super) fn members(&self) -> &[Value] {
        &self.sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_and_equality_agree() {
        let values = [
            json!(null),
            json!(1),
            json!(1.5),
            json!("1"),
            json!({}),
            json!({"a": 1, "b": 2}),
            json!({"a": 2}),
            json!([]),
            json!([1, 2]),
            json!([2, 1]),
            json!([[1], {"a": null}]),
            json!(false),
            json!(true),
        ];
        for a in &values {
            for b in &values {
                let (ca, cb) = (canonical(a, Arrays::InOrder), canonical(b, Arrays::InOrder));
                assert_eq!(order(&ca, &cb).is_eq(), equal(a, b), "{a} {b}");
                assert_eq!(order(&ca, &cb), order(&cb, &ca).reverse());
            }
        }
        assert!(equal(&json!({"a": 1, "b": [2]}), &json!({"b": [2.0], "a": 1})));
        assert!(!equal(&json!([1, 2]), &json!([2, 1])));
        assert_eq!(
            canonical(&json!([true, [3, 1], {"b": 1, "a": 2}, "x", 2, null]), Arrays::Sorted).to_string(),
            r#"[null,2,"x",{"a":2,"b":1},[1,3],true]"#
        );
    }
}
