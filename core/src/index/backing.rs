//! Large pages behind what searches read all over.

use super::Index;
use crate::LargePages;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes by which that must have grown before the host is asked again.
const GREW: u64 = 8 << 20;

impl Index {
    /// Has `pages` asked for large pages where codes and lists lie, as they grow. Only the first call counts.
    pub fn use_large_pages(&self, pages: Arc<dyn LargePages>) {
        let _ = self.large_pages.set(pages);
    }

    /// Tells the host where codes and lists lie, if there are many more of them than when it was told last.
    pub(crate) fn back_memory(&self) {
        let Some(pages) = self.large_pages.get().filter(|_| cfg!(not(target_family = "wasm"))) else {
            return;
        };
        let held = self.codes.memory() + self.adjacency.memory();
        let before = self.backed.fetch_min(held, Ordering::Relaxed).min(held);
        if held - before < GREW {
            return;
        }
        self.backed.store(held, Ordering::Relaxed);
        let mut spans = Vec::new();
        self.codes.spans(&mut spans);
        self.adjacency.spans(&mut spans);
        pages.back(spans);
    }
}
