//! CRC-32C (Castagnoli), under everything that is stored.

#[cfg(not(target_family = "wasm"))]
pub use crc32c::{crc32c, crc32c_append};
#[cfg(target_family = "wasm")]
pub use made::{crc32c, crc32c_append};

/// Its tables are made on first use: numbers like these do not compress, and would be 8 kB of a browser's download.
#[cfg(any(test, target_family = "wasm"))]
pub mod made {
    use crc::{CRC_32_ISCSI, Crc, Table};
    use std::sync::OnceLock;

    static TABLES: OnceLock<Crc<u32, Table<16>>> = OnceLock::new();

    /// The checksum of `data`.
    pub fn crc32c(data: &[u8]) -> u32 {
        crc32c_append(0, data)
    }

    /// The checksum of what `sum` is that of, with `data` behind it.
    pub fn crc32c_append(sum: u32, data: &[u8]) -> u32 {
        let tables = TABLES.get_or_init(|| Crc::<u32, Table<16>>::new(&CRC_32_ISCSI));
        // A digest begins with the register as the algorithm's definition has it: not negated, highest bit first.
        let mut digest = tables.digest_with_initial((!sum).reverse_bits());
        digest.update(data);
        digest.finalize()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_make_the_same_sums() {
        assert_eq!(super::made::crc32c(b"123456789"), 0xe306_9283);
        let data: Vec<u8> = (0..1000_u32).map(|i| ((i * i) >> 3) as u8).collect();
        for end in 0..data.len() {
            let (head, tail) = data[..end].split_at(end / 3);
            let head = crc32c::crc32c(head);
            assert_eq!(super::made::crc32c_append(head, tail), crc32c::crc32c(&data[..end]));
        }
    }
}
