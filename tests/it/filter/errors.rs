//! Refusals: the code, the place, and what to do.

use asteroid_core::Code;
use asteroid_core::filter::Filter;

#[track_caller]
fn refused(filter: &str, parts: &[&str]) {
    let error = Filter::parse(filter).expect_err(filter);
    assert_eq!(error.code(), Code::FilterSyntax, "{filter}");
    for part in parts {
        assert!(error.message().contains(part), "{filter}: {error} does not say {part:?}");
    }
}

#[test]
fn unknown_operators_are_named_with_their_place() {
    refused(
        r#"{"$and": [{}, {"price": {"$gtee": 5}}]}"#,
        &["at $and[1].price.$gtee: ", "did you mean $gte?"],
    );
    refused(
        r#"{"a": {"$elemMatch": {"b.c": {"$inn": []}}}}"#,
        &["at a.$elemMatch.b.c.$inn: ", "did you mean $in?"],
    );
    refused(
        r#"{"a": {"$all": [1, {"$elemMatch": {"$foo": 1}}]}}"#,
        &["at a.$all[1].$elemMatch.$foo: ", "$contains_any"],
    );
    refused(r#"{"$ad": []}"#, &["at $ad: ", "did you mean $and?"]);
    refused(r#"{"$gt": 5}"#, &["at $gt: ", "belongs under a field"]);
    refused(r#"{"$foo": 1}"#, &["$foo is not an operator", "$and $or $nor"]);
    refused(r#"{"a": {"$or": [{"b": 1}]}}"#, &["at a.$or: ", "around the field"]);
    refused(r#"{"a": {"$not": {"$nor": []}}}"#, &["at a.$not.$nor: "]);
    refused(r#"{"$where": "true"}"#, &["at $where: ", "not supported"]);
    refused(r#"{"a": {"$mod": [2, 0]}}"#, &["at a.$mod: ", "not supported"]);
    refused(r#"{"a": {"$": 1}}"#, &["at a.$: "]);
    refused(r#"{"a": {"$gt": 1, "lte": 5}}"#, &["at a.lte: ", "cannot be mixed", "did you mean $lte?"]);
    refused(r#"{"a": {"x": 1, "$gt": 5}}"#, &["at a.x: ", "cannot be mixed"]);
    refused(r#"{"a": {"$elemMatch": {"$gt": 1, "b": 2}}}"#, &["at a.$elemMatch.$gt: "]);
}

#[test]
fn operands_are_checked() {
    refused(r#"[]"#, &["must be an object", "an array"]);
    refused("null", &["must be an object", "null"]);
    refused(r#"{"$and": {}}"#, &["at $and: ", "an array of filters", "an object"]);
    refused(r#"{"$or": [{}, 5]}"#, &["at $or[1]: ", "a number"]);
    refused(r#"{"a": {"$in": 5}}"#, &["at a.$in: ", "an array of values"]);
    refused(r#"{"a": {"$in": [1, {"$regex": "x"}]}}"#, &["at a.$in[1]: ", "plain values", "$regex"]);
    refused(r#"{"a": {"$all": {}}}"#, &["at a.$all: "]);
    refused(r#"{"a": {"$all": [{"$gt": 1}]}}"#, &["at a.$all[0]: ", "$gt"]);
    refused(r#"{"a": {"$exists": "yes"}}"#, &["at a.$exists: ", "true or false"]);
    refused(r#"{"a": {"$elemMatch": [1]}}"#, &["at a.$elemMatch: "]);
    refused(r#"{"a": {"$size": -1}}"#, &["at a.$size: ", "-1"]);
    refused(r#"{"a": {"$size": 1.5}}"#, &["at a.$size: ", "1.5"]);
    refused(r#"{"a": {"$size": "1"}}"#, &["at a.$size: "]);
    refused(r#"{"a": {"$type": "text"}}"#, &["at a.$type: ", "text", "string"]);
    refused(r#"{"a": {"$type": []}}"#, &["at a.$type: "]);
    refused(r#"{"a": {"$type": 99}}"#, &["at a.$type: ", "99"]);
    refused(r#"{"a": {"$contains_any": "x"}}"#, &["at a.$contains_any: "]);
    refused(r#"{"a": {"$regex": 5}}"#, &["at a.$regex: ", "a string"]);
    refused(r#"{"a": {"$regex": "x", "$options": 5}}"#, &["at a.$regex: ", "$options"]);
    refused(r#"{"a": {"$regex": "x", "$options": "g"}}"#, &["'g'", "imsx"]);
    refused(r#"{"a": {"$options": "i"}}"#, &["at a.$options: ", "$regex"]);
    refused(r#"{"a": {"$regex": "(?=x)"}}"#, &["at a.$regex: ", "lookahead"]);
    refused(r#"{"a": {"$regex": "(x)\\1"}}"#, &["at a.$regex: ", "backreference"]);
}

#[test]
fn text_that_is_no_json() {
    refused("", &["not JSON"]);
    refused("{", &["not JSON", "line 1"]);
    refused(r#"{"a": NaN}"#, &["not JSON"]);
    refused(r#"{"a": 1} x"#, &["not JSON"]);
    refused(r#"{"a": "\ud800"}"#, &["not JSON"]);
    refused(r#"{"\udc00": 1}"#, &["not JSON"]);
}
