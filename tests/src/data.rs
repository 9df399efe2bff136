//! The shared data sets, as far as they are on this machine.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Vectors and queries of one data set, cut to size.
pub struct DataSet {
    /// Numbers per vector.
    pub dim: usize,
    /// The rows, one after another.
    pub base: Vec<f32>,
    /// The queries, one after another; none of them is a row.
    pub queries: Vec<f32>,
}

/// The first `rows` of `sift-photos` (128-d) and its first `queries`. `None`, said aloud, where it is absent.
pub fn sift_photos(rows: usize, queries: usize) -> Option<DataSet> {
    load("sift-photos", rows, queries)
}

/// The first `rows` of `movies` (384-d text embeddings) and its first `queries`. `None`, said aloud, where it is absent.
pub fn movies(rows: usize, queries: usize) -> Option<DataSet> {
    load("movies", rows, queries)
}

/// `rows` rows of `sift-photos` from row `first` on: for who must not hold them all. `None`, said aloud, where it is absent.
pub fn sift_photos_slice(first: usize, rows: usize) -> Option<Vec<f32>> {
    folder("sift-photos").map(|dir| npy(&dir.join("base.npy"), first, rows).1)
}

/// The payloads of the first `rows` of `movies`, as JSON texts. `None`, said aloud, where they are absent.
pub fn movie_payloads(rows: usize) -> Option<Vec<String>> {
    let path = shared().join("data/movies/payloads.jsonl");
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.lines().take(rows).map(str::to_string).collect()),
        Err(error) => {
            skip(&format!("{}: {error}", path.display()));
            None
        }
    }
}

/// Says that a part of the tests did not run, and why.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
}

fn folder(name: &str) -> Option<PathBuf> {
    let dir = shared().join("data").join(name);
    if !dir.exists() {
        skip(&format!("there is no {}: set ASTEROID_SHARED to the folder with the test data", dir.display()));
        return None;
    }
    Some(dir)
}

fn load(name: &str, rows: usize, queries: usize) -> Option<DataSet> {
    let dir = folder(name)?;
    let (dim, base) = npy(&dir.join("base.npy"), 0, rows);
    let (query_dim, queries) = npy(&dir.join("query.npy"), 0, queries);
    assert_eq!(dim, query_dim, "{name}: rows and queries differ in dimension");
    Some(DataSet { dim, base, queries })
}

fn shared() -> PathBuf {
    match std::env::var_os("ASTEROID_SHARED") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    }
}

/// The columns and `rows` rows from row `first` on of a two-dimensional array in NumPy's format, as f32.
fn npy(path: &Path, first: usize, rows: usize) -> (usize, Vec<f32>) {
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut start = [0; 10];
    file.read_exact(&mut start).unwrap();
    assert_eq!(&start[..8], b"\x93NUMPY\x01\x00", "{} is no NumPy file of version 1", path.display());
    let mut header = vec![0; usize::from(u16::from_le_bytes([start[8], start[9]]))];
    file.read_exact(&mut header).unwrap();
    let header = String::from_utf8(header).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let after = |key: &str| header.split(key).nth(1).unwrap();
    let kind = after("'descr': '").split('\'').next().unwrap();
    let shape = after("'shape': (").split(')').next().unwrap();
    let shape: Vec<usize> = shape.split(',').map(|part| part.trim().parse().unwrap()).collect();
    let &[all, columns] = shape.as_slice() else { panic!("{header}: two dimensions are expected") };
    assert!(first + rows <= all, "{} has {all} rows", path.display());
    let width = usize::from(kind.as_bytes()[2] - b'0');
    let mut bytes = vec![0; rows * columns * width];
    let begin = 10 + header.len() + first * columns * width;
    file.seek(SeekFrom::Start(begin as u64)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    let values = match kind {
        "|u1" => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        "<f2" => bytes.chunks_exact(2).map(|b| half(u16::from_le_bytes([b[0], b[1]]))).collect(),
        "<f4" => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        other => panic!("{}: numbers of kind {other} are not read here", path.display()),
    };
    (columns, values)
}

/// A 16-bit float as f32. Subnormals and normals; the data hold no infinities.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    match exponent {
        0 => sign * fraction * 2f32.powi(-14),
        exponent => sign * (1.0 + fraction) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_have_their_known_values() {
        for (bits, want) in [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8)]
        {
            assert_eq!(half(bits), want);
        }
    }
}
