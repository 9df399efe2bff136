//! Measures filtered searches and what their indexes cost: `npm run bench:filters`.
//!
//! Arguments: data sets (`movies`, `sift-photos`; both where none is named), `rows=N`, `queries=N`, `rounds=N`, `only=TEXT`
//! (lines that contain it), and
//! `what=` one of
//!
//! - `table`: every selectivity, random and far from the query, and filters of real payloads: the plan taken, what it
//!   found, its time against searches without a filter made in turn with it, and what each other plan would have cost.
//! - `changed`: the same, shorter, on disk: built, after 30 % of the rows were replaced or deleted, reopened, after a
//!   writer was killed.
//! - `costs`: bytes per row of the indexes of payloads, and what they cost writers.
//! - `ranges`: look-ups of ranges over as many distinct values as there are rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod changed;
mod costs;
mod ranges;
mod set;
mod table;

use asteroid_core::*;
use asteroid_native_storage::{Database, Place};
use set::Set;
use std::path::Path;

/// What was asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    names: Vec<String>,
    rows: usize,
    queries: usize,
    rounds: usize,
    what: String,
    only: String,
}

fn main() {
    let mut asked = Asked {
        names: Vec::new(),
        rows: usize::MAX,
        queries: 96,
        rounds: 5,
        what: "table".into(),
        only: String::new(),
    };
    let mut child = None;
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rows", n)) => asked.rows = n.parse().unwrap(),
            Some(("queries", n)) => asked.queries = n.parse().unwrap(),
            Some(("rounds", n)) => asked.rounds = n.parse().unwrap(),
            Some(("what", what)) => asked.what = what.into(),
            Some(("only", part)) => asked.only = part.into(),
            Some(("child", dir)) => child = Some(dir.to_string()),
            Some(_) => panic!("{argument} is no option: rows, queries, rounds, only, what"),
            None => asked.names.push(argument),
        }
    }
    if asked.names.is_empty() {
        asked.names = vec!["movies".into(), "sift-photos".into()];
    }
    match asked.what.as_str() {
        "costs" => costs::run(&asked),
        "ranges" => ranges::run(&asked),
        what @ ("table" | "changed") => {
            for name in &asked.names {
                let Some(set) = Set::load(name, asked.rows, asked.queries) else { continue };
                match (&child, what) {
                    (Some(dir), _) => changed::write_until_killed(&set, Path::new(dir)),
                    (None, "table") => table::run(&set, asked.rounds, &asked.only),
                    (None, _) => changed::run(&set, &asked),
                }
            }
        }
        what => panic!("what={what} is none of table, changed, costs, ranges"),
    }
}

/// A database on disk whose cache holds everything.
pub(crate) fn open(
    dir: &Path,
    dim: usize,
    metric: Metric,
    indexes: Option<filter::terms::PathRules>,
) -> Database {
    let request = OpenRequest {
        dim: Some(dim as u32),
        metric: Some(metric),
        options: Options { cache_bytes: 2 << 30, indexes, ..Options::default() },
        ..OpenRequest::default()
    };
    asteroid_native_storage::open(&Place { dir: dir.to_path_buf(), vector_file: None }, &request).unwrap()
}
