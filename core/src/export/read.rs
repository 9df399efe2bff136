//! [`Import`]: a file on its way in, in whatever pieces it comes.

use super::write::is_counters;
use super::{ABSENT, END, EXPORT_VERSION, HEAD, HEADER, KEYED, MAGIC, MOST, PREAMBLE, VECTORS, chained};
use crate::checksum;
use crate::index::meta::Meta;
use crate::journal::{self, Journal};
use crate::kv::batch::take_slice;
use crate::kv::{Batch, Entry, Flow, Range, Space, slot_of};
use crate::vectors::VectorFile;
use crate::{Code, Config, Error, Manifest, Result, Slot, Stores, VectorStorage};
use roaring::RoaringBitmap;

/// Bytes of entries that are gathered for one run into the store.
const RUN: usize = 8 << 20;

/// What the beginning of a file says of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportHeader {
    /// What the database is.
    pub config: Config,
    /// Rows that a search can find.
    pub rows: u64,
    /// Length of the whole file.
    pub bytes: u64,
}

/// Takes the bytes of an [`crate::Export`] into empty stores.
///
/// `push` pieces of any size until [`Import::header`] has something; make the stores; `begin`; `push` the rest;
/// `finish`; then open the stores as usual. The counters are written last: dropped before the end, or after an error,
/// the import leaves stores that open as an empty database. Any error is final.
///
/// ```
/// # use asteroid_core::{bytes::MemBytes, kv::MemKv, *};
/// # use std::sync::Arc;
/// # let empty = || Stores {
/// #     kv: Arc::new(MemKv::default()),
/// #     vectors: Arc::new(MemBytes::default()),
/// #     journal: Arc::new(MemBytes::default()),
/// # };
/// # let db = Index::open(empty(), Config::new(2, Metric::L2), Options::default())?;
/// # db.insert(&Id::from(7), &[1.0, 2.0], None, Mode::Insert)?;
/// let (mut export, mut import) = (db.export()?, Import::default());
/// let mut chunk = Vec::new();
/// while export.next_chunk(&db, &mut chunk)? {
///     import.push(&chunk)?;
///     if import.wants_stores() {
///         import.begin(empty(), VectorStorage::Paged)?;
///     }
/// }
/// let (stores, config) = import.finish()?;
/// assert_eq!(Index::open(stores, config, Options::default())?.count()?, 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Default)]
pub struct Import {
    /// Bytes that do not make up a whole frame yet.
    buffer: Vec<u8>,
    /// Bytes of whole frames so far.
    taken: u64,
    crc: u32,
    failed: bool,
    header: Option<ExportHeader>,
    meta: Meta,
    entries: u64,
    target: Option<Target>,
    ended: bool,
}

/// Where an import goes, and how far it is.
struct Target {
    stores: Stores,
    config: Config,
    vectors: VectorFile,
    space: Space,
    last: Option<Vec<u8>>,
    run: Vec<Entry>,
    run_bytes: usize,
    /// Entries beside the counters: with them they say that there is a database.
    facts: Batch,
    facts_bytes: usize,
    dead: RoaringBitmap,
    entries: u64,
    /// Rows so far; keyed entries come before the first.
    rows: Option<Slot>,
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("the exported file is damaged: {what}; export the database again"))
}

impl Import {
    /// Takes the next bytes. Cheap until `begin`; then the cost of writing them. Pieces of a few MiB keep memory low.
    ///
    /// `CORRUPT` where they cannot be what an export wrote, `UNSUPPORTED_VERSION` where a newer version wrote them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.guarded(|import| {
            if import.ended && !bytes.is_empty() {
                return Err(damaged("bytes follow its end"));
            }
            import.buffer.extend_from_slice(bytes);
            import.advance()
        })
    }

    /// What the file says of itself, once enough of it came.
    pub fn header(&self) -> Option<&ExportHeader> {
        self.header.as_ref()
    }

    /// Whether the header came, and `begin` has not been called.
    pub fn wants_stores(&self) -> bool {
        self.header.is_some() && self.target.is_none()
    }

    /// Bytes taken in so far.
    pub fn taken(&self) -> u64 {
        self.taken + self.buffer.len() as u64
    }

    /// Says where the database goes and how its vectors shall lie there. `NOT_EMPTY` where the stores have rows; what
    /// an import that was cut short left in them is cleared.
    pub fn begin(&mut self, stores: Stores, vector_storage: VectorStorage) -> Result<()> {
        self.guarded(|import| {
            let Some(header) = import.header.as_ref().filter(|_| import.target.is_none()) else {
                return Err(Error::new(Code::Internal, "an import begins once, after its header"));
            };
            clear(&stores)?;
            let config = Config { vector_storage, ..header.config.clone() };
            // A durable header of the journal tells a crash from now on from a lost journal.
            Journal::open(stores.journal.clone(), 0, &mut |_| Ok(()))?;
            let vectors = VectorFile::open(stores.vectors.clone(), config.dim, vector_storage, 0, 0)?;
            import.target = Some(Target {
                stores,
                config,
                vectors,
                space: Space::Meta,
                last: None,
                run: Vec::new(),
                run_bytes: 0,
                facts: Batch::default(),
                facts_bytes: 0,
                dead: RoaringBitmap::new(),
                entries: 0,
                rows: None,
            });
            import.advance()
        })
    }

    /// Makes the database exist, durably, and hands its stores back for opening. `CORRUPT` where the file ended early.
    pub fn finish(mut self) -> Result<(Stores, Config)> {
        self.guarded(|import| import.complete())?;
        match self.target {
            Some(target) => Ok((target.stores, target.config)),
            None => Err(Error::new(Code::Internal, "an import that never began has no stores")),
        }
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Import) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::corrupt("an earlier part of the import failed: begin a new one"));
        }
        let done = work(self);
        self.failed = done.is_err();
        done
    }

    /// Takes the whole frames off the buffer, up to the header while there are no stores.
    fn advance(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        if self.taken == 0 {
            at += self.preamble(&buffer)?;
        }
        while (at > 0 || self.taken > 0) && !self.wants_stores() {
            let Some((kind, body)) = self.frame(&buffer[at..])? else { break };
            at += HEAD + body.len();
            let whole = self.taken + at as u64;
            self.take(kind, body, whole)?;
            if self.ended {
                if at < buffer.len() {
                    return Err(damaged("bytes follow its end"));
                }
                break;
            }
        }
        self.taken += at as u64;
        self.buffer = buffer;
        self.buffer.drain(..at);
        Ok(())
    }

    /// Its length once it is there and sound.
    fn preamble(&mut self, bytes: &[u8]) -> Result<usize> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(Error::corrupt(
                "this is not an exported database: it does not begin as a file that export made",
            ));
        }
        let Some(preamble) = bytes.get(..PREAMBLE) else { return Ok(0) };
        let sum = word(preamble, 12);
        if sum != checksum::crc32c(&preamble[..12]) {
            return Err(damaged("its first bytes fail their checksum"));
        }
        let version = word(preamble, 8);
        if version > EXPORT_VERSION {
            return Err(Error::new(
                Code::UnsupportedVersion,
                format!(
                    "the exported file has format {version}, this software reads up to {EXPORT_VERSION}: update it"
                ),
            ));
        }
        if version == 0 {
            return Err(damaged("its version is 0"));
        }
        self.crc = sum;
        Ok(PREAMBLE)
    }

    /// The frame at the start of `bytes`, if all of it is there.
    fn frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(u8, &'a [u8])>> {
        let Some(head) = bytes.get(..HEAD) else { return Ok(None) };
        let len = word(head, 1) as usize;
        if len > MOST {
            return Err(damaged("a part of it claims an impossible length"));
        }
        let Some(body) = bytes.get(HEAD..HEAD + len) else { return Ok(None) };
        let sum = chained(self.crc, head[0], body);
        if sum != word(head, 5) {
            return Err(damaged("a part of it fails its checksum"));
        }
        self.crc = sum;
        Ok(Some((head[0], body)))
    }

    fn take(&mut self, kind: u8, body: &[u8], whole: u64) -> Result<()> {
        let header = self.header.as_ref().map(|header| header.bytes);
        match (kind, &mut self.target, header) {
            (HEADER, None, None) => self.take_header(body),
            (KEYED, Some(target), _) => target.take_entries(body, self.meta.next),
            (VECTORS, Some(target), _) => target.take_rows(body, &self.meta),
            (END, Some(target), Some(bytes)) => {
                let rows = target.rows.unwrap_or(0);
                let said = [&target.entries.to_le_bytes()[..], &rows.to_le_bytes()].concat();
                if said != body || whole != bytes || rows != self.meta.next || target.entries != self.entries
                {
                    return Err(damaged("its end does not count what came before"));
                }
                self.ended = true;
                Ok(())
            }
            _ => Err(damaged(format!("a part of kind {kind} has no place here"))),
        }
    }

    fn take_header(&mut self, body: &[u8]) -> Result<()> {
        let split = body.len().checked_sub(48).filter(|&manifest| manifest > 0);
        let Some((manifest, rest)) = split.and_then(|at| body.split_at_checked(at)) else {
            return Err(damaged("its header is too short"));
        };
        let manifest = Manifest::decode(manifest).map_err(|error| error.at("the exported file"))?;
        self.meta = Meta::decode(&rest[..32])?;
        if self.meta.applied > 1 || self.meta.live > u64::from(self.meta.committed) {
            return Err(damaged("its counters contradict each other"));
        }
        self.entries = long(rest, 32);
        let bytes = long(rest, 40);
        self.header = Some(ExportHeader { config: manifest.config, rows: self.meta.live, bytes });
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let come = self.taken();
        let Some(target) = self.target.as_mut().filter(|_| self.ended) else {
            let whole = self.header.as_ref().map_or("more".to_owned(), |header| header.bytes.to_string());
            return Err(Error::corrupt(format!(
                "the exported file ends early: {come} bytes came, it has {whole}; copy or download it again"
            )));
        };
        target.vectors.reserve_rows(self.meta.next)?;
        target.vectors.sync()?;
        let mut batch = std::mem::take(&mut target.facts);
        self.meta.put(&mut batch);
        let seq = target.stores.kv.apply(&batch)?;
        target.stores.kv.sync(seq).map(drop)
    }
}

impl Target {
    fn take_entries(&mut self, body: &[u8], next: Slot) -> Result<()> {
        let (&space, mut rest) = body.split_first().ok_or_else(|| damaged("a part of it is empty"))?;
        let space = Space::from_byte(space).filter(|&space| space >= self.space && self.rows.is_none());
        let space = space.ok_or_else(|| damaged("its key spaces are unknown or out of order"))?;
        if space != self.space {
            self.store_run()?;
            self.last = None;
            self.space = space;
        }
        while !rest.is_empty() {
            let (key, value) = (take_slice(&mut rest)?, take_slice(&mut rest)?);
            if self.last.as_deref().is_some_and(|last| last >= key) || is_counters(space, key) {
                return Err(damaged("its keys are out of order"));
            }
            let size = key.len() + value.len();
            self.last = Some(key.to_vec());
            self.entries += 1;
            if space == Space::Meta {
                self.facts.put(space, key, value);
                self.facts_bytes += size;
                if self.facts_bytes > RUN {
                    return Err(damaged("it has too many facts about itself"));
                }
                continue;
            }
            if space == Space::Dead {
                let slot = slot_of(key).ok().filter(|&slot| slot < next);
                self.dead.insert(slot.ok_or_else(|| damaged("it buries a row that it does not have"))?);
            }
            self.run.push((key.to_vec(), value.to_vec()));
            self.run_bytes += size;
            if self.run_bytes >= RUN {
                self.store_run()?;
            }
        }
        Ok(())
    }

    fn store_run(&mut self) -> Result<()> {
        self.run_bytes = 0;
        let run = std::mem::take(&mut self.run);
        if run.is_empty() {
            return Ok(());
        }
        self.stores.kv.load_sorted(self.space, &mut run.into_iter().map(Ok)).map(drop)
    }

    fn take_rows(&mut self, body: &[u8], meta: &Meta) -> Result<()> {
        self.store_run()?;
        let dim = self.config.dim as usize;
        let from = self.rows.unwrap_or(0);
        let split = body.split_at_checked(4).filter(|(_, rows)| rows.len().is_multiple_of(4 * dim));
        let Some((first, rows)) = split.filter(|(_, rows)| !rows.is_empty()) else {
            return Err(damaged("it holds part of a vector"));
        };
        let count = (rows.len() / (4 * dim)) as u32;
        if word(first, 0) != from || count > meta.next - from.min(meta.next) {
            return Err(damaged("its vectors are out of order"));
        }
        let rows: Vec<f32> = rows
            .chunks_exact(4)
            .map(|number| f32::from_le_bytes([number[0], number[1], number[2], number[3]]))
            .collect();
        // Written in runs, from one row that is not there to the next.
        let mut run = 0;
        for (row, vector) in rows.chunks_exact(dim).enumerate() {
            let slot = from + row as u32;
            if vector.iter().all(|number| number.is_finite()) {
                continue;
            }
            let absent = vector.iter().all(|number| number.to_bits() == ABSENT);
            if !absent || !(slot >= meta.committed || self.dead.contains(slot)) {
                return Err(damaged(format!("the vector of slot {slot} is not made of numbers")));
            }
            self.vectors.write_cold(from + run as u32, rows[run * dim..row * dim].chunks_exact(dim))?;
            run = row + 1;
        }
        self.vectors.write_cold(from + run as u32, rows[run * dim..].chunks_exact(dim))?;
        self.rows = Some(from + count);
        Ok(())
    }
}

/// Empties stores that hold no database yet.
fn clear(stores: &Stores) -> Result<()> {
    let kv = &*stores.kv;
    let meta = Meta::read(&*kv.view()?)?;
    if meta.next > 0 || stores.journal.len()? > journal::HEADER {
        return Err(Error::new(Code::NotEmpty, "there is a database already: import into a new one"));
    }
    let mut batch = Batch::default();
    for space in Space::ALL {
        kv.view()?.scan(space, &Range::all(), &mut |_, _| {
            batch.delete_range(space, Range::all());
            Flow::Break(())
        })?;
    }
    if !batch.is_empty() {
        kv.apply(&batch)?;
    }
    for bytes in [&stores.vectors, &stores.journal] {
        if bytes.len()? > 0 {
            bytes.set_len(0)?;
            bytes.sync()?;
        }
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
