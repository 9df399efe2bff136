//! What a filter is once parsed.

use super::compare::ValueSet;
use super::path::Path;
use super::pattern::Pattern;
use serde_json::Value;
use std::cmp::Ordering;

/// A condition on a document.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Nor(Vec<Expr>),
    /// Every condition holds for the value at the path.
    Field(Path, Vec<Op>),
}

/// A condition on the value at a path.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Eq(Value),
    Ne(Value),
    Range(Bound, Value),
    In(ValueSet),
    Nin(ValueSet),
    Exists(bool),
    Not(Vec<Op>),
    All(Vec<Item>),
    ElemMatch(Elements),
    /// `None`: a length that no array has.
    Size(Option<usize>),
    Type(Types),
    Regex(Pattern),
    ContainsAny(ValueSet),
    ContainsAll(ValueSet),
}

/// The side of a range operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Bound {
    /// Whether a value that compares so with the operand is inside.
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Bound::Gt => ordering.is_gt(),
            Bound::Gte => ordering.is_ge(),
            Bound::Lt => ordering.is_lt(),
            Bound::Lte => ordering.is_le(),
        }
    }
}

/// A member of `$all`.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Value(Value),
    Match(Elements),
}

/// What `$elemMatch` asks of an element.
#[derive(Clone, Debug)]
pub(super) enum Elements {
    AnyObject,
    /// Conditions on the element itself.
    Ops(Vec<Op>),
    /// A filter on the element, which must be an object or an array.
    Query(Box<Expr>),
}

/// The types of `$type`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Types {
    bits: u8,
}

impl Types {
    pub(super) const NUMBER: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const STRING: u8 = 4;
    pub(super) const OBJECT: u8 = 8;
    pub(super) const ARRAY: u8 = 16;
    pub(super) const BOOL: u8 = 32;
    pub(super) const NULL: u8 = 64;
    /// Null or missing.
    pub(super) const UNDEFINED: u8 = 128;

    /// The names that JSON has values for.
    pub(super) const NAMES: [&'static str; 11] = [
        "number",
        "double",
        "decimal",
        "int",
        "long",
        "string",
        "object",
        "array",
        "bool",
        "null",
        "undefined",
    ];

    /// False if there is no such type. Types that JSON cannot hold are known and match nothing.
    pub(super) fn add_name(&mut self, name: &str) -> bool {
        self.bits |= match name {
            "number" | "double" | "decimal" => Types::NUMBER,
            "int" | "long" => Types::INTEGER,
            "string" => Types::STRING,
            "object" => Types::OBJECT,
            "array" => Types::ARRAY,
            "bool" | "boolean" => Types::BOOL,
            "null" => Types::NULL,
            "undefined" => Types::UNDEFINED,
            "date" | "regex" | "regexp" | "binData" | "objectId" | "timestamp" | "javascript" | "minKey"
            | "maxKey" => 0,
            _ => return false,
        };
        true
    }

    /// The same by MongoDB's numbers.
    pub(super) fn add_code(&mut self, code: i64) -> bool {
        self.bits |= match code {
            1 | 19 => Types::NUMBER,
            2 => Types::STRING,
            3 => Types::OBJECT,
            4 => Types::ARRAY,
            6 => Types::UNDEFINED,
            8 => Types::BOOL,
            10 => Types::NULL,
            16 | 18 => Types::INTEGER,
            5 | 7 | 9 | 11 | 13 | 17 | 127 | -1 => 0,
            _ => return false,
        };
        true
    }

    pub(super) fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}
