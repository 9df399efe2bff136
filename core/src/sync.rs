//! Lock helpers that outlive a panicking holder.
//!
//! A panic never leaves our guarded values half-written (each guarded update is one assignment or is
//! followed by poisoning of the database), so a poisoned lock is taken over instead of spreading the panic.

use arc_swap::ArcSwapAny;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is swapped whole under its readers.
///
/// By a lock for as long as a count takes, not by the library's lock-free strategy: there a reader is known by the address
/// it read, so that one who is stopped between two steps can be handed what has since come to lie at that address, were it
/// of another swap. `vectors` uses that strategy all the same, and checks what it gets.
pub(crate) type Swap<T> = ArcSwapAny<T, RwLock<()>>;
