//! Filters: every operator, every refusal, hostile input, and lookups against evaluation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod errors;
mod hostile;
pub(crate) mod made;
mod operators;
mod probes;

use asteroid_core::filter::Filter;
use serde_json::Value;

/// Checks one filter, as JSON text, against documents that match and documents that do not.
#[track_caller]
fn check(filter: &str, yes: &[&str], no: &[&str]) {
    let parsed = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    for (documents, wanted) in [(yes, true), (no, false)] {
        for text in documents {
            let document: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parsed.matches(&document), wanted, "{filter} on {text}");
        }
    }
}
