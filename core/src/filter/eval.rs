//! Whether a document matches.

use super::compare::{self, Arrays, canonical, class, is_scalar};
use super::number::Decimal;
use super::path::{Path, View};
use super::tree::{Elements, Expr, Item, Op, Types};
use serde_json::Value;

/// Levels of arrays inside arrays that `$regex` looks through.
const REGEX_LEVELS: usize = 1;

pub(super) fn matches(expr: &Expr, root: &View<'_>) -> bool {
    match expr {
        Expr::And(all) => all.iter().all(|one| matches(one, root)),
        Expr::Or(any) => any.iter().any(|one| matches(one, root)),
        Expr::Nor(none) => !none.iter().any(|one| matches(one, root)),
        Expr::Field(path, ops) => {
            let value = path.resolve(root);
            let subject = Subject { value: value.as_ref(), levels: path.dots(), source: Some((root, path)) };
            ops.iter().all(|op| subject.satisfies(op))
        }
    }
}

struct Subject<'s, 'a> {
    value: Option<&'s View<'a>>,
    /// How deep `$eq` looks into arrays inside arrays: as many levels as the path has dots.
    levels: usize,
    /// `None` for an element, which is there.
    source: Option<(&'s View<'a>, &'s Path)>,
}

impl Subject<'_, '_> {
    fn satisfies(&self, op: &Op) -> bool {
        match op {
            Op::Eq(operand) => self.equals(operand),
            Op::Ne(operand) => !self.equals(operand),
            Op::Range(bound, operand) => {
                self.value.is_some_and(|value| value.any(|item| in_range(item, *bound, operand)))
            }
            Op::In(set) => self.is_in(set),
            Op::Nin(set) => !self.is_in(set),
            Op::Exists(wanted) => self.source.is_none_or(|(root, path)| path.reaches(root)) == *wanted,
            Op::Not(ops) => !ops.iter().all(|op| self.satisfies(op)),
            Op::All(items) => self.has_all(items),
            Op::ElemMatch(elements) => self.has_element(elements),
            Op::Size(size) => self.value.and_then(View::array_len).is_some_and(|len| Some(len) == *size),
            Op::Type(types) => self.has_type(*types),
            Op::Regex(pattern) => {
                let mut test = |item: &View<'_>| match item.single() {
                    Some(Value::String(text)) => pattern.is_match(text),
                    _ => false,
                };
                self.value.is_some_and(|value| test(value) || value.any_flat(REGEX_LEVELS, &mut test))
            }
            Op::ContainsAny(set) => self.value.is_some_and(|value| {
                value.elements().any(|item| contains(set, &item))
                    || value.any_flat(self.levels, &mut |item| contains(set, item))
            }),
            Op::ContainsAll(set) => self.value.is_some_and(|value| {
                value.is_array() && set.members().iter().all(|wanted| self.has_equal(value, wanted))
            }),
        }
    }

    fn equals(&self, operand: &Value) -> bool {
        match self.value {
            None => operand.is_null(),
            Some(value) => value.equals(operand) || self.has_equal(value, operand),
        }
    }

    fn has_equal(&self, value: &View<'_>, operand: &Value) -> bool {
        value.elements().any(|item| item.equals(operand))
            || (self.levels > 0 && value.any_flat(self.levels, &mut |item| item.equals(operand)))
    }

    fn is_in(&self, set: &compare::ValueSet) -> bool {
        match self.value {
            None => set.contains(&Value::Null),
            Some(value) => value.any(|item| contains(set, item)),
        }
    }

    fn has_all(&self, items: &[Item]) -> bool {
        let Some(value) = self.value.filter(|value| value.array_len().is_some_and(|len| len > 0)) else {
            return false;
        };
        !items.is_empty()
            && items.iter().all(|item| match item {
                Item::Value(wanted) => value.elements().any(|element| element.equals(wanted)),
                Item::Match(elements) => self.has_element(elements),
            })
    }

    fn has_element(&self, elements: &Elements) -> bool {
        let Some(value) = self.value else { return false };
        value.elements().any(|item| match elements {
            Elements::AnyObject => matches!(item.single(), Some(Value::Object(_))),
            Elements::Ops(ops) => {
                let subject = Subject { value: Some(&item), levels: 0, source: None };
                ops.iter().all(|op| subject.satisfies(op))
            }
            Elements::Query(query) => {
                (item.is_array() || matches!(item.single(), Some(Value::Object(_)))) && matches(query, &item)
            }
        })
    }

    fn has_type(&self, types: Types) -> bool {
        let Some(value) = self.value else { return types.has(Types::UNDEFINED) };
        match value.single() {
            None => types.has(Types::ARRAY),
            Some(Value::Null) => types.has(Types::NULL) || types.has(Types::UNDEFINED),
            Some(Value::Bool(_)) => types.has(Types::BOOL),
            Some(Value::String(_)) => types.has(Types::STRING),
            Some(Value::Number(number)) => {
                types.has(Types::NUMBER) || (types.has(Types::INTEGER) && Decimal::new(number).is_integer())
            }
            Some(Value::Object(_)) => types.has(Types::OBJECT),
            Some(Value::Array(_)) => types.has(Types::ARRAY),
        }
    }
}

fn contains(set: &compare::ValueSet, item: &View<'_>) -> bool {
    match item {
        View::One(value) => set.contains(value),
        View::Many(_) => !set.scalars_only() && set.contains(&item.to_value()),
    }
}

/// Only values of the operand's own type are in a range.
fn in_range(item: &View<'_>, bound: super::tree::Bound, operand: &Value) -> bool {
    match item {
        View::One(value) if class(value) != class(operand) => false,
        View::One(value) if is_scalar(value) => bound.holds(compare::order(value, operand)),
        View::Many(_) if !operand.is_array() => false,
        _ => bound.holds(compare::order(&canonical(&item.to_value(), Arrays::Sorted), operand)),
    }
}
