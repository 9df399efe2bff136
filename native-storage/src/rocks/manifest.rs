//! RocksDB's list of files, looked through before RocksDB reads it.

use asteroid_core::{Error, Result, checksum};
use std::fs;
use std::path::Path;

/// Records lie in blocks of this size, each behind checksum (4 bytes), length (2) and kind (1).
const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;
/// The kinds that lists of files are made of: whole, first, middle, last.
const KINDS: std::ops::RangeInclusive<u8> = 1..=4;

/// `CORRUPT` where a record has a kind that no list of files has: at that of a recycled log RocksDB (11.8) looks for ever.
/// All other damage is for RocksDB to find.
pub(super) fn check(dir: &Path) -> Result<()> {
    let name = fs::read_to_string(dir.join("CURRENT")).unwrap_or_default();
    let Ok(list) = fs::read(dir.join(name.trim_end())) else { return Ok(()) };
    for block in list.chunks(BLOCK) {
        let mut rest = block;
        while let Some((head, body)) = rest.split_at_checked(HEAD) {
            let [sum @ .., low, high, kind] = head else { break };
            // Zeros are room that nothing was written to.
            if *kind == 0 {
                return Ok(());
            }
            if !KINDS.contains(kind) {
                return Err(Error::corrupt(format!(
                    "the list of files {} in {} is damaged; restore the database from a copy",
                    name.trim_end(),
                    dir.display()
                )));
            }
            let len = usize::from(u16::from_le_bytes([*low, *high]));
            let Some((record, later)) = body.split_at_checked(len) else { return Ok(()) };
            let whole = checksum::crc32c_append(checksum::crc32c(&[*kind]), record);
            let masked = whole.rotate_right(15).wrapping_add(0xa282_ead8);
            if sum != masked.to_le_bytes() {
                return Ok(());
            }
            rest = later;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kinds: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        for &kind in kinds {
            let sum = checksum::crc32c(&[kind, 7, 7]).rotate_right(15).wrapping_add(0xa282_ead8);
            bytes.extend_from_slice(&sum.to_le_bytes());
            bytes.extend_from_slice(&[2, 0, kind, 7, 7]);
        }
        fs::write(dir.path().join("CURRENT"), "MANIFEST-000001\n").unwrap();
        fs::write(dir.path().join("MANIFEST-000001"), bytes).unwrap();
        dir
    }

    #[test]
    fn kinds_of_other_files_are_damage_and_room_is_not() {
        for (kinds, fine) in
            [(&[1, 2, 3, 4][..], true), (&[1, 0, 5], true), (&[1, 5], false), (&[4, 1, 130], false)]
        {
            let dir = list(kinds);
            assert_eq!(check(dir.path()).is_ok(), fine, "{kinds:?}");
        }
        let dir = list(&[1, 5]);
        fs::write(dir.path().join("CURRENT"), "another").unwrap();
        assert!(check(dir.path()).is_ok());
    }
}
