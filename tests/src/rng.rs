//! Seeds and a small generator for random tests.

/// The seed where there is neither an environment nor a clock; its host prints it.
#[cfg(target_family = "wasm")]
pub static GIVEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// The seed of this run: the one that was given.
#[cfg(target_family = "wasm")]
pub fn seed() -> u64 {
    GIVEN.load(std::sync::atomic::Ordering::Relaxed)
}

/// The seed of this run: `ASTEROID_SEED` where set, else the time. Printed, so that a failure replays.
#[cfg(not(target_family = "wasm"))]
pub fn seed() -> u64 {
    let seed = match std::env::var("ASTEROID_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("ASTEROID_SEED is not a number: {text}")),
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        }
    };
    println!("replay with ASTEROID_SEED={seed}");
    seed
}

/// SplitMix64: quick, seedable, good enough to choose test cases.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose choices follow from `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// `len` bytes of anything.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.word() as u8).collect()
    }
}
