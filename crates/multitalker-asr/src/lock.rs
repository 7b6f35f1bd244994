// SPDX-License-Identifier: MPL-2.0

//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex` even after a panic in another thread, which is reported there: no lock of this
/// crate is held while the value behind it is inconsistent.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
