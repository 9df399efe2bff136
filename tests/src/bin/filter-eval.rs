//! Evaluates filters for `tests/js/mingo.test.mjs`: reads lines `{"filter": ..., "docs": [...]}`, writes for each
//! a line of `0` and `1`, one per document, or the error.

use asteroid_core::filter::Filter;
use serde_json::Value;
use std::io::{self, BufRead, BufWriter, Write};

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let documents = case["docs"].as_array().map_or(&[][..], Vec::as_slice);
        match Filter::parse(&case["filter"].to_string()) {
            Ok(filter) => {
                let bits =
                    documents.iter().map(|document| if filter.matches(document) { b'1' } else { b'0' });
                out.write_all(&bits.collect::<Vec<u8>>())?;
            }
            Err(error) => write!(out, "{error}")?,
        }
        out.write_all(b"\n")?;
    }
    out.flush()
}
