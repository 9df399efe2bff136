//! Input meant to hurt: an error or an answer, soon.

use super::made::{self, Random};
use asteroid_core::Code;
use asteroid_core::filter::probe::Probe;
use asteroid_core::filter::terms::{PathRules, extract};
use asteroid_core::filter::{
    Filter, MAX_CONDITIONS, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_LIST_VALUES, MAX_PATTERN_BYTES,
    MAX_REGEXES,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[track_caller]
fn soon<T>(what: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = what();
    // Far above what it takes, far below what a blow-up takes; the machine may be busy.
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    done
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let error = soon(|| Filter::parse(text)).expect_err("hostile filter was taken");
    assert_eq!(error.code(), Code::FilterSyntax);
    assert!(error.message().contains(part), "{error} does not say {part}");
    assert!(error.message().len() < 2000, "a message of {} bytes", error.message().len());
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}{}{}", open.repeat(depth), "{}", close.repeat(depth))
}

#[test]
fn depth() {
    for depth in [100, 10_000, 60_000] {
        refused(&nested(r#"{"$and":["#, "]}", depth), &MAX_FILTER_DEPTH.to_string());
        refused(&nested(r#"{"a":"#, "}", depth), "nested");
        refused(&format!(r#"{{"a":{}}}"#, "[".repeat(depth)), "nested");
        refused(&format!(r#"{{"a":{{"$in":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth)), "nested");
    }
    refused(&nested(r#"{"a":{"$not":"#, "}}", 10_000), "nested");
    refused(&nested(r#"{"a":{"$elemMatch":"#, "}}", 10_000), "nested");
    // The limit itself is usable: brackets in strings do not count.
    let deepest = nested(r#"{"$and":["#, "]}", (MAX_FILTER_DEPTH - 1) / 2);
    assert!(Filter::parse(&deepest).unwrap().matches(&json!({})));
    assert!(Filter::parse(&format!(r#"{{"a":"\"{}"}}"#, "[{".repeat(500))).is_ok());
}

#[test]
fn size() {
    let members = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let ten_megabytes = format!(r#"{{"a":{{"$in":[{}]}}}}"#, "\"0123456789\",".repeat(800_000) + "1");
    assert!(ten_megabytes.len() > 10_000_000);
    refused(&ten_megabytes, &MAX_FILTER_BYTES.to_string());
    refused(
        &format!(r#"{{"a":{{"$in":[{}1]}}}}"#, "1,".repeat(MAX_LIST_VALUES)),
        &MAX_LIST_VALUES.to_string(),
    );
    refused(
        &format!(r#"{{"$or":[{}{{}}]}}"#, r#"{"a":1},"#.repeat(MAX_CONDITIONS)),
        &MAX_CONDITIONS.to_string(),
    );
    let regexes = format!(r#"{{"$or":[{}{{}}]}}"#, r#"{"a":{"$regex":"x"}},"#.repeat(MAX_REGEXES + 1));
    refused(&regexes, &MAX_REGEXES.to_string());

    let filter =
        soon(|| Filter::parse(&format!(r#"{{"a":{{"$in":[{}]}}}}"#, members(MAX_LIST_VALUES)))).unwrap();
    let long = json!({"a": (0..100_000).map(|i| f64::from(i) + 0.5).collect::<Vec<_>>()});
    assert!(!soon(|| filter.matches(&long)));
    assert!(filter.matches(&json!({"a": [99_999]})));

    let key = "k".repeat(1_000_000);
    refused(&format!(r#"{{"${key}":1}}"#), "kkk...");
    assert!(!Filter::parse(&format!(r#"{{"{key}":1}}"#)).unwrap().matches(&json!({})));
    let dots = ".".repeat(1_000_000);
    assert!(
        !soon(|| Filter::parse(&format!(r#"{{"a{dots}":1}}"#))).unwrap().matches(&json!({"a": [{"": 1}]}))
    );
}

#[test]
fn regexes_run_in_linear_time() {
    let text = json!({"a": format!("{}!", "a".repeat(1_000_000))});
    for pattern in [
        "^(a+)+$",
        "(a|aa)+$",
        "(.*)*$x",
        "(a*)*b",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(?:a?){50}a{50}b",
        ".{200}.{0,200}[yz]",
        "(?:a|aa|aaa){300}b",
    ] {
        let filter = Filter::parse(&json!({"a": {"$regex": pattern}}).to_string()).unwrap();
        assert!(!soon(|| filter.matches(&text)), "{pattern}");
    }
    for bomb in ["((a{1000}){1000}){1000}", "(((((a{100}){100}){100}){100}){100})", "\\w{1000}{1000}"] {
        let text = json!({"a": {"$regex": bomb, "$options": "i"}}).to_string();
        assert!(soon(|| Filter::parse(&text)).is_err(), "{bomb}");
    }
    let many =
        json!({"$or": vec![json!({"a": {"$regex": "[^b]{500}", "$options": "i"}}); MAX_REGEXES]}).to_string();
    let _ = soon(|| Filter::parse(&many));
    let groups = "(".repeat(MAX_PATTERN_BYTES / 2) + &")".repeat(MAX_PATTERN_BYTES / 2);
    refused(&json!({"a": {"$regex": groups}}).to_string(), "nested");
    refused(&json!({"a": {"$regex": "a".repeat(MAX_PATTERN_BYTES + 1)}}).to_string(), "bytes");
}

#[test]
fn wide_documents() {
    let items: Vec<Value> = (0..50_000).map(|i| json!({"b": [{"c": i}]})).collect();
    let document = json!({"a": items});
    for (text, wanted) in [
        (r#"{"a.b.c": 49999}"#, true),
        (r#"{"a.b.c": {"$gt": 0}}"#, false),
        (r#"{"a": {"$elemMatch": {"b": {"$elemMatch": {"c": {"$gte": 49999}}}}}}"#, true),
        (r#"{"a": {"$gt": {"b": [{"c": 49998}]}}}"#, true),
        (r#"{"a.b.c.d.e.f": {"$exists": true}}"#, false),
    ] {
        let filter = Filter::parse(text).unwrap();
        assert_eq!(soon(|| filter.matches(&document)), wanted, "{text}");
    }
    assert!(soon(|| extract(&document, &PathRules::default())).len() < 1000);
    // An operand that is costly to compare is prepared once, not per element.
    let costly = json!({"a": {"$gt": (0..100_000).rev().collect::<Vec<_>>()}}).to_string();
    let filter = Filter::parse(&costly).unwrap();
    assert!(soon(|| filter.matches(&json!({"a": vec![json!([1]); 50_000]}))));
}

/// Random bytes, damaged filters and damaged documents, for `ASTEROID_FUZZ_SECONDS` (default 10).
#[test]
fn fuzz() {
    let seconds =
        std::env::var("ASTEROID_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut r = Random::seeded();
    let (start, mut runs, mut parsed) = (Instant::now(), 0u64, 0u64);
    const PIECES: [&str; 26] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "$",
        ".",
        "\"$and\":[",
        "\"$elemMatch\":{",
        "\"$not\":{",
        "null",
        "1e999999999999",
        "-0",
        "\"a\":",
        "\"\\ud800\"",
        "\"__proto__\":",
        "{\"$regex\":\"",
        "(?",
        "{2,}",
        "\\\\u",
        "\"0\":",
        "\u{10FFFF}",
        "\0",
    ];
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut text = match r.below(10) {
            0 => String::from_utf8_lossy(&(0..r.below(200)).map(|_| r.next() as u8).collect::<Vec<_>>())
                .into_owned(),
            1 => (0..r.below(60)).map(|_| *r.pick(&PIECES)).collect(),
            2 => {
                let pattern: String = (0..r.below(30))
                    .map(|_| {
                        *r.pick(&[
                            "(", ")", "a", "[", "]", "^", "-", "\\", "{", "}", "2", ",", "?", "*", "+", "|",
                            "i", ":", "d", "b", "u", "x", " ", "#", "\u{e9}", ".",
                        ])
                    })
                    .collect();
                json!({"a": {"$regex": pattern, "$options": *r.pick(&["", "i", "x", "ms"])}}).to_string()
            }
            _ => made::filter(&mut r, 3).to_string(),
        };
        if r.chance(40) {
            for _ in 0..1 + r.below(4) {
                damage(&mut r, &mut text, &PIECES);
            }
        }
        runs += 1;
        let begun = Instant::now();
        let Ok(filter) = Filter::parse(&text) else { continue };
        parsed += 1;
        let probe = Probe::compile(&filter, &PathRules::default());
        let _ = probe.precision();
        for _ in 0..4 {
            let mut document = made::document(&mut r).to_string();
            damage(&mut r, &mut document, &PIECES);
            let document = serde_json::from_str(&document).unwrap_or_else(|_| made::value(&mut r, 3));
            assert_eq!(filter.matches(&document), filter.clone().matches(&document));
            extract(&document, &PathRules::default());
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{text} took {:?}", begun.elapsed());
    }
    assert!(parsed > runs / 10 && runs > 10 * seconds, "{parsed} of {runs} parsed in {seconds} s");
}

fn damage(r: &mut Random, text: &mut String, pieces: &[&str]) {
    let at = text.char_indices().map(|(at, _)| at).nth(r.below(text.len().max(1))).unwrap_or(text.len());
    if r.chance(50) || at == text.len() {
        let piece: &&str = r.pick(pieces);
        text.insert_str(at, piece);
    } else {
        text.remove(at);
    }
}
