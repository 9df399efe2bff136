//! Payload texts: checked, patched, never rewritten otherwise.

use crate::{Code, Error, MAX_PAYLOAD_BYTES, Result, filter};
use serde_json::{Map, Value};

/// Refuses what is not a JSON object of at most 1 MiB.
pub(crate) fn validate(text: &str) -> Result<()> {
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::new(
            Code::PayloadTooLarge,
            format!("the payload is {} bytes of JSON, at most {MAX_PAYLOAD_BYTES} are allowed", text.len()),
        ));
    }
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_slice(text.as_bytes()).map_err(|error| {
        Error::invalid(format!("the payload is not a JSON object: {error}")).with_source(error)
    })
}

/// Applies an RFC 7396 merge patch to a payload text.
pub(crate) fn merge(old: Option<&str>, patch: &str) -> Result<String> {
    let mut object = match old {
        Some(old) => parse(old).map_err(|error| Error::corrupt(format!("stored {}", error.message())))?,
        None => Map::new(),
    };
    merge_object(&mut object, parse(patch)?);
    let merged = filter::json(&Value::Object(object));
    validate(&merged)?;
    Ok(merged)
}

fn merge_object(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.shift_remove(&key)),
            Value::Object(patch) => {
                if !matches!(target.get(&key), Some(Value::Object(_))) {
                    target.insert(key.clone(), Value::Object(Map::new()));
                }
                if let Some(Value::Object(inner)) = target.get_mut(&key) {
                    merge_object(inner, patch);
                }
            }
            other => drop(target.insert(key, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_merge_as_rfc_7396_shows() {
        for (old, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[1]}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (
                r#"{"n":12345678901234567890123}"#,
                r#"{"x":1.10}"#,
                r#"{"n":12345678901234567890123,"x":1.10}"#,
            ),
        ] {
            assert_eq!(merge(Some(old), patch).unwrap(), want);
        }
        assert_eq!(merge(None, r#"{"a":1}"#).unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn only_objects_of_bounded_size_pass() {
        for bad in ["", "[]", "1", "null", "{", r#"{"a":NaN}"#, &"[".repeat(1000)] {
            assert_eq!(validate(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES));
        assert_eq!(validate(&large).unwrap_err().code(), Code::PayloadTooLarge);
        validate("{}").unwrap();
    }
}
