//! Inserts in steps: for hosts with one thread, which answer other calls in between.

use super::Index;
use super::types::{Inserted, Mode, Rows};
use super::write::NewRow;
use crate::{Code, Control, Error, Pool, Result, Serial};

/// A write of many rows that its caller takes forward, made by [`Index::begin_insert`].
///
/// Dropped before its end without [`Index::give_up`], it holds up all other writes until the database is closed.
pub struct Insertion {
    rows: Vec<NewRow>,
    vectors: Vec<f32>,
    done: usize,
    first_id: Option<u64>,
    /// Whether it has the writer's turn.
    open: bool,
}

impl Insertion {
    /// Rows done, and rows in all.
    pub fn progress(&self) -> (u64, u64) {
        (self.done as u64, self.rows.len() as u64)
    }
}

impl Index {
    /// Begins what [`Index::insert_many`] does at once: checks every row and takes the writer's turn. Until the last
    /// [`Index::step`] no reader sees any of the rows; other writes meanwhile fail with `LOCKED`.
    ///
    /// Takes `vectors` and leaves the rest of `rows` to its caller. A refused write changes nothing.
    pub fn begin_insert(&self, rows: Rows<'_>, vectors: Vec<f32>, mode: Mode) -> Result<Insertion> {
        self.reading()?;
        let rows = Rows { vectors: &vectors, ..rows };
        let count = self.validate_rows(&rows, &Serial)?;
        let mut w = self.writing()?;
        let (rows, first_id) = match count {
            0 => (Vec::new(), None),
            _ => self.name_new(&mut w, &rows, count, mode)?,
        };
        if count > 0 {
            self.tidy_before(&mut w, count)?;
        }
        w.stepping = Some(Vec::with_capacity(rows.len()));
        Ok(Insertion { rows, vectors, done: 0, first_id, open: true })
    }

    /// Writes the next few rows, at least one; what it did once all are committed, else `None`.
    ///
    /// An error, an abort by `control` among them, gives the whole write up: nothing of it is kept.
    pub fn step(
        &self,
        insertion: &mut Insertion,
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<Option<Inserted>> {
        let mut w = self.turn()?;
        let Insertion { rows, vectors, done, first_id, open } = insertion;
        let slots = if *open { w.stepping.take() } else { None };
        let Some(mut slots) = slots else {
            return Err(Error::new(Code::Internal, "a step was asked of an insert that has ended"));
        };
        if slots.len() < rows.len()
            && let Err(error) = self.write_step(&mut w, rows, vectors, &mut slots, pool, control)
        {
            *open = false;
            self.bury(&mut w, slots);
            return Err(error);
        }
        *done = slots.len();
        if *done < rows.len() {
            w.stepping = Some(slots);
            return Ok(None);
        }
        *open = false;
        drop(w);
        self.settle()?;
        Ok(Some(Inserted { count: rows.len() as u64, first_id: *first_id }))
    }

    /// Gives a write up that is not to be finished: nothing of it is kept.
    pub fn give_up(&self, insertion: Insertion) -> Result<()> {
        let mut w = self.turn()?;
        if insertion.open
            && let Some(slots) = w.stepping.take()
        {
            self.bury(&mut w, slots);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::MemBytes;
    use crate::kv::MemKv;
    use crate::{Config, Id, Metric, Options, SearchParams, Serial, Stores};
    use std::sync::Arc;

    const DIM: usize = 8;

    fn index() -> Index {
        let stores = Stores {
            kv: Arc::new(MemKv::default()),
            vectors: Arc::new(MemBytes::default()),
            journal: Arc::new(MemBytes::default()),
        };
        Index::open(stores, Config::new(DIM as u32, Metric::L2), Options::default()).unwrap()
    }

    fn vectors(rows: usize) -> Vec<f32> {
        (0..rows * DIM).map(|i| ((i * 2_654_435_761) % 1009) as f32 / 1009.0).collect()
    }

    const NAMELESS: Rows<'static> = Rows { ids: None, vectors: &[], payloads: &[] };

    fn found(index: &Index) -> Vec<(Id, f32)> {
        let params = SearchParams { k: 50, ..SearchParams::default() };
        let hits = index.search(&[0.5; DIM], &params, &Control::NONE).unwrap();
        hits.into_iter().map(|hit| (hit.id, hit.distance)).collect()
    }

    fn sound(index: &Index) {
        assert_eq!(index.check(&Control::NONE).unwrap().problems, []);
    }

    #[test]
    fn steps_make_the_graph_that_one_call_makes() {
        let (whole, stepped) = (index(), index());
        let all = vectors(300);
        let rows = Rows { vectors: &all, ..NAMELESS };
        let expected = whole.insert_many(rows, Mode::Insert, &Serial, &Control::NONE).unwrap();
        let mut insertion = stepped.begin_insert(NAMELESS, all.clone(), Mode::Insert).unwrap();
        let mut steps = 0;
        let inserted = loop {
            assert_eq!((stepped.count().unwrap(), found(&stepped).len()), (0, 0), "seen before its end");
            steps += 1;
            if let Some(inserted) = stepped.step(&mut insertion, &Serial, &Control::NONE).unwrap() {
                break inserted;
            }
        };
        assert!(steps > 3);
        assert_eq!((inserted, found(&stepped)), (expected, found(&whole)));
        sound(&stepped);
    }

    #[test]
    fn nothing_comes_between_the_steps_of_a_write() {
        let index = index();
        let mut insertion = index.begin_insert(NAMELESS, vectors(200), Mode::Insert).unwrap();
        index.step(&mut insertion, &Serial, &Control::NONE).unwrap();
        let other = index.insert(&Id::from(7), &[1.0; DIM], None, Mode::Insert);
        assert_eq!(other.unwrap_err().code(), Code::Locked);
        let other = index.begin_insert(NAMELESS, vectors(1), Mode::Insert);
        assert_eq!(other.err().map(|error| error.code()), Some(Code::Locked));
        while index.step(&mut insertion, &Serial, &Control::NONE).unwrap().is_none() {}
        index.insert(&Id::from(700), &[1.0; DIM], None, Mode::Insert).unwrap();
        assert_eq!(index.count().unwrap(), 201);
        sound(&index);
    }

    #[test]
    fn a_write_given_up_or_aborted_leaves_nothing() {
        let index = index();
        let stop = Control { cancelled: &|| true, ..Control::NONE };
        for aborted in [false, true] {
            let mut insertion = index.begin_insert(NAMELESS, vectors(200), Mode::Insert).unwrap();
            index.step(&mut insertion, &Serial, &Control::NONE).unwrap();
            if aborted {
                let error = index.step(&mut insertion, &Serial, &stop).unwrap_err();
                assert_eq!(error.code(), Code::Aborted);
            }
            index.give_up(insertion).unwrap();
            assert_eq!(index.count().unwrap(), 0);
            index.insert(&Id::from(9), &[1.0; DIM], None, Mode::Upsert).unwrap();
            assert!(index.delete(&Id::from(9)).unwrap());
            sound(&index);
        }
        // A refused one never takes the turn.
        let refused = index.begin_insert(NAMELESS, vec![f32::NAN; DIM], Mode::Insert);
        assert_eq!(refused.err().map(|error| error.code()), Some(Code::InvalidArgument));
        index.insert(&Id::from(1), &[1.0; DIM], None, Mode::Insert).unwrap();
    }

    #[test]
    fn closing_gives_up_what_is_under_way() {
        let (kv, files) = (Arc::new(MemKv::default()), [(); 2].map(|()| Arc::new(MemBytes::default())));
        let open = || {
            let [vectors, journal] = files.clone();
            let stores = Stores { kv: kv.clone(), vectors, journal };
            Index::open(stores, Config::new(DIM as u32, Metric::L2), Options::default()).unwrap()
        };
        let index = open();
        index.insert(&Id::from(1), &[1.0; DIM], None, Mode::Insert).unwrap();
        let mut insertion = index.begin_insert(NAMELESS, vectors(200), Mode::Insert).unwrap();
        index.step(&mut insertion, &Serial, &Control::NONE).unwrap();
        index.close().unwrap();
        let again = open();
        assert_eq!(again.count().unwrap(), 1);
        sound(&again);
    }
}
