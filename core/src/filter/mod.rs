//! Filters over payloads: MongoDB's find language on JSON.
//!
//! [`Filter`] parses and evaluates; [`terms`] says what of a payload is indexed; [`probe`] turns a filter into
//! lookups of such terms. Nothing here does I/O.
//!
//! # The language
//!
//! | operator | holds where |
//! |---|---|
//! | bare value, `$eq` | the value equals, or is an array with an equal element; `null` also where missing |
//! | `$ne` | `$eq` does not |
//! | `$gt $gte $lt $lte` | the value, or an element, has the operand's type and compares so |
//! | `$in`, `$nin` | the value, or an element, equals one of the list; or not so |
//! | `$exists` | something is, or nothing is, at the path (`null` is something) |
//! | `$not` | the conditions given to it do not all hold |
//! | `$all` | the array has an element for each of the list (values, or `{$elemMatch: ...}`) |
//! | `$elemMatch` | one element of the array meets every condition, or matches the filter |
//! | `$size` | the array has that many elements |
//! | `$type` | the value (not its elements) is of that type, by name or MongoDB number |
//! | `$regex`, `$options` | a string, or one in an array, matches; options `i m s x` |
//! | `$contains_any` | the field is an array with an element equal to one of the list; never for `[]` |
//! | `$contains_all` | the field is an array with an equal element for each of the list; any array for `[]` |
//! | `$and`, `$or`, `$nor` | all, any, none of the filters match; `[]` is all true, none true, true |
//!
//! Fields of a filter, and operators of a field, must all hold; `{}` matches everything. A scalar is not taken for
//! an array of one by `$all`, `$contains_any` and `$contains_all`. Numbers compare by value (`5` equals `5.0`),
//! exactly and at any size. Key order in objects does not matter; order in arrays does, except in the range
//! operators, which compare arrays sorted.
//!
//! A path goes through objects by key and through arrays by position (`cast.0.name`) or, where the part is no
//! number, by collecting the rest of the path from every element (`cast.name`). Collected values act as one array;
//! an array inside an array is not searched for keys.
//!
//! # Where it differs from `mingo`
//!
//! Everything else agrees with the npm package `mingo` 7.2, by test on generated pairs.
//!
//! | name | here | `mingo` | why |
//! |---|---|---|---|
//! | `numbers` | exact decimals | rounded to doubles | ids and amounts beyond 2^53 stay apart |
//! | `string-order` | by code point | by UTF-16 unit | as a MongoDB server; byte order of the index |
//! | `nested-array` | `a.b` finds nothing in `a: [[{b: 1}]]` | yields the inner array as if it were at `a.b` | no such value is at the path; a server finds nothing either |
//! | `element-scalar` | `{$elemMatch: {b: ...}}` skips elements that are no objects or arrays | takes the element itself for its `b` | the element has no `b`; as a server |
//! | `exists` | true where a value is at the path | also true for some empty collections of paths through two arrays, or through an array to a position | as a server |
//! | `empty-part` | `a..b` names the empty key | reads position 0 of an array | an empty name is a key in JSON |
//! | `proto` | `__proto__`, `constructor` and the like are plain keys | error, or the built-in of that name | payloads are data |
//! | `regex` | Unicode case folding and code points; lines end at `\n` for `m`; option `x`; no lookaround, no backreferences | JavaScript `RegExp` | linear time |
//! | `strict` | errors for operands of a wrong type, unknown types, fields whose name begins with `$`, operators inside lists | false, or compared as data | mistakes should show |
//!
//! # Where both differ from a MongoDB server
//!
//! `$in`, `$all` and the ranges look at direct elements only, so a path through two arrays (`a.b.c` in
//! `a: [{b: [{c: 1}]}, {b: [{c: 2}]}]`) is answered by `$eq`, `$regex` and `$contains_*` but not by them; `$in` and
//! `$all` do not compare an array as a whole; `$all` never matches a scalar; `null` does not match a key missing
//! from one element of an array; `$type` does not look at elements; booleans and objects have ranges; collected
//! values count for `$size`; a number in a path met by an array is a position only, never a key of its elements.

mod compare;
mod eval;
mod fold;
mod linear;
mod names;
mod number;
mod parse;
mod path;
mod pattern;
pub mod probe;
pub mod terms;
mod tree;

pub use parse::{MAX_CONDITIONS, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_LIST_VALUES, MAX_REGEXES};
pub use pattern::MAX_PATTERN_BYTES;

use crate::Result;
use serde_json::Value;
use std::sync::Arc;

/// A parsed filter. Cheap to use from many threads at once.
///
/// ```
/// let filter = asteroid_core::filter::Filter::parse(r#"{"year": {"$gte": 1979}, "genres": "Horror"}"#)?;
/// let alien = serde_json::json!({"title": "Alien", "year": 1979, "genres": ["Horror", "Sci-Fi"]});
/// assert!(filter.matches(&alien));
/// # Ok::<(), asteroid_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    root: tree::Expr,
    source: Option<Arc<str>>,
}

/// Longest text that a filter remembers of itself.
const MAX_SOURCE_BYTES: usize = 4096;

/// `value` as JSON. Its `Display` is a second writer, which also indents, and browsers would download it.
pub(crate) fn json(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Filter {
    /// Reads a filter from JSON text, in time and memory linear in its length (patterns excepted: each compiles
    /// to at most 1 MiB).
    ///
    /// Errors with `FILTER_SYNTAX`, naming the operator and its place, for text that is no filter or is beyond
    /// [`MAX_FILTER_BYTES`], [`MAX_FILTER_DEPTH`], [`MAX_CONDITIONS`], [`MAX_LIST_VALUES`], [`MAX_REGEXES`] or
    /// [`MAX_PATTERN_BYTES`].
    pub fn parse(json: &str) -> Result<Filter> {
        let root = parse::parse(json)?;
        Ok(Filter { root, source: (json.len() <= MAX_SOURCE_BYTES).then(|| json.into()) })
    }

    /// The text it was read from, unless that is long.
    pub(crate) fn source(&self) -> Option<&Arc<str>> {
        self.source.as_ref()
    }

    /// Whether `document` matches. A row without payload is matched as `{}`.
    ///
    /// Costs at most one walk of the parts of the document that the filter names, per condition; never panics,
    /// given a document as deep as `serde_json` reads.
    pub fn matches(&self, document: &Value) -> bool {
        eval::matches(&self.root, &path::View::One(document))
    }

    /// Whether it is `{}` or the like: no condition at all, so that every row matches.
    pub fn is_empty(&self) -> bool {
        matches!(&self.root, tree::Expr::And(all) if all.is_empty())
    }
}
