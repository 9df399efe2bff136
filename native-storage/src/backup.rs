//! [`backup`]: a copy of an open database, of one moment, while it is written to.

use crate::convert::Converted;
use crate::import::import;
use crate::place::{Found, Place};
use asteroid_core::{Code, Control, Error, Export, Index, OpenRequest, Result, StoreKind};

/// Makes a database at `to` of `export`, which `index` made: every row, link and option, with keys in a store of `kind`
/// (redb for [`StoreKind::Memory`]). It can be opened at once, and is durable on return.
///
/// `to` must be absent, empty, or the remains of a copy that was cut short. A crash half-way leaves no database there; an
/// error or an abort leaves nothing but the directory. One pass over everything, in memory that does not grow with the
/// rows; `index` goes on reading and writing. `control` is told of the bytes copied.
///
/// Fails with `NOT_EMPTY` (a database at `to`), `LOCKED`, `INVALID_ARGUMENT`, `ABORTED`, `CORRUPT`, `STORAGE_FULL`, `IO`,
/// or `UNSUPPORTED` (a build without that store).
pub fn backup(
    index: &Index,
    export: &mut Export,
    to: &Place,
    kind: StoreKind,
    control: &Control<'_>,
) -> Result<Converted> {
    if to.look()? == Found::Database {
        return Err(Error::new(
            Code::NotEmpty,
            format!(
                "there is a database at {} already: back up to a new or an empty folder",
                to.dir.display()
            ),
        ));
    }
    let total = export.measure(control)?;
    let kind = if kind == StoreKind::Memory { StoreKind::Redb } else { kind };
    let request = OpenRequest { store: Some(kind), ..OpenRequest::default() };
    let mut pieces = || {
        control.check()?;
        let mut piece = Vec::new();
        Ok(export.next_chunk(index, &mut piece)?.then_some(piece))
    };
    let made = import(Some(to), &request, &mut pieces, control.progress)?;
    let stats = made.index.stats()?;
    made.index.close()?;
    let disk = stats.vector_file_bytes + stats.kv_file_bytes + stats.journal_bytes;
    Ok(Converted { rows: stats.rows, kind, disk, total })
}
