//! Panics that are expected and caught below: counted, not printed.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs `work` without printing the panics of this thread.
pub fn quiet<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PANICS.fetch_add(1, Ordering::Relaxed);
            } else {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let done = work();
    QUIET.set(false);
    done
}

/// Panics kept quiet so far, in all threads.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// What a caught panic said.
pub fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
