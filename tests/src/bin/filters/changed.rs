//! The table again, shorter, through the life of a database on disk.

use super::set::Set;
use super::table::{Compared, HEAD, baseline};
use super::{Asked, open};
use asteroid_core::*;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PARTS: [f64; 6] = [1.0, 0.5, 0.1, 0.01, 0.001, 0.0001];
/// Rows of one write.
const BATCH: usize = 500;
/// How long the writer that is killed may write.
const WRITES: Duration = Duration::from_secs(4);

pub(crate) fn run(set: &Set, asked: &Asked) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("db");
    let mut database = open(&dir, set.dim, set.metric, None);
    set.build(&database.index);
    let show = |db: &Index, when: &str| {
        println!("\n{}, {} rows, {when}", set.name, db.count().unwrap());
        let all = baseline(db, set);
        println!("{HEAD}\n|---|---|---|---|---|---|---|---|---|");
        for case in set.by_part(&PARTS) {
            println!("{}", Compared::new(db, set, &case, &all, asked.rounds).line(&case));
        }
    };
    show(&database.index, "built");
    change(&database.index, set);
    show(&database.index, "after 15 % were deleted and 15 % replaced");
    database.index.close().unwrap();
    drop(database);
    database = open(&dir, set.dim, set.metric, None);
    show(&database.index, "reopened");
    database.index.close().unwrap();
    drop(database);
    let written = kill_a_writer(set, asked, &dir);
    database = open(&dir, set.dim, set.metric, None);
    show(&database.index, &format!("after a writer was killed having replaced {written} more"));
}

/// Deletes 15 of a hundred rows; 15 others change places, payloads and all.
fn change(db: &Index, set: &Set) {
    let mut rng = Rng::new(2);
    let (mut gone, mut moved) = (Vec::new(), Vec::new());
    for row in 0..set.rows() {
        match rng.below(100) {
            0..15 => gone.push(Id::from(row as u64)),
            15..30 => moved.push(row),
            _ => {}
        }
    }
    db.delete_many(&gone).unwrap();
    for batch in moved.chunks(BATCH) {
        swap(db, set, batch);
    }
}

/// Gives each of the rows what another of them had.
fn swap(db: &Index, set: &Set, rows: &[usize]) {
    let from = |at: usize| rows[(at + 1) % rows.len()];
    let ids: Vec<Id> = rows.iter().map(|&row| Id::from(row as u64)).collect();
    let vectors: Vec<f32> =
        (0..rows.len()).flat_map(|at| set.base[from(at) * set.dim..][..set.dim].to_vec()).collect();
    let payloads: Vec<Option<String>> = (0..rows.len()).map(|at| set.payloads[from(at)].clone()).collect();
    let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
    db.insert_many(rows, Mode::Upsert, &Threads::new(2), &Control::NONE).unwrap();
}

/// What the killed process runs.
pub(crate) fn write_until_killed(set: &Set, dir: &Path) {
    let database = open(dir, set.dim, set.metric, None);
    let mut rng = Rng::new(3);
    println!("ready");
    for batch in 1.. {
        let start = rng.below((set.rows() - BATCH) as u64) as usize;
        let there: Vec<usize> = (start..start + BATCH)
            .filter(|&row| database.index.get(&Id::from(row as u64), Include::default()).unwrap().is_some())
            .collect();
        swap(&database.index, set, &there);
        println!("wrote {}", batch * BATCH);
    }
}

fn kill_a_writer(set: &Set, asked: &Asked, dir: &Path) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&set.name, &format!("rows={}", asked.rows), &format!("queries={}", asked.queries)])
        .args(["what=changed", &format!("child={}", dir.display())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(|line| line.ok()).any(|line| line == "ready"), "the writer never began");
    std::thread::sleep(WRITES);
    child.kill().unwrap();
    child.wait().unwrap();
    let last = lines.map_while(|line| line.ok()).last().unwrap_or_default();
    last.strip_prefix("wrote ").map_or(0, |number| number.parse().unwrap())
}
