// SPDX-License-Identifier: MPL-2.0

//! Locking.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks also after a panic elsewhere, which was reported there: no lock of this crate is held
/// while what it guards is half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
