// SPDX-License-Identifier: MPL-2.0

//! Waits that can be canceled.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::cancel::Canceller;
use crate::error::Error;
use crate::lock::lock;

/// A value that threads change and wait for.
pub struct Monitor<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T: Send + 'static> Monitor<T> {
    /// Creates a monitor of `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: Mutex::new(value), changed: Condvar::new() }))
    }

    /// Changes the value and wakes all waiting threads.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut lock(&self.0.value));
        self.0.changed.notify_all();
        result
    }

    /// Waits until `take` returns something, which may change the value.
    ///
    /// # Errors
    /// [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn wait_for<R>(
        &self,
        canceller: &Canceller,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<R, Error> {
        let shared = self.0.clone();
        let wake = move || {
            // A thread that has seen no cancellation holds the lock until it waits.
            drop(lock(&shared.value));
            shared.changed.notify_all();
        };
        canceller.while_blocked(wake, || {
            let mut value = lock(&self.0.value);
            loop {
                if canceller.is_canceled() {
                    return Err(Error::Canceled);
                }
                if let Some(taken) = take(&mut value) {
                    self.0.changed.notify_all();
                    return Ok(taken);
                }
                value = self.0.changed.wait(value).unwrap_or_else(PoisonError::into_inner);
            }
        })?
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn wait_ends_with_a_change_or_a_cancellation() {
        let number = Monitor::new(0);
        let canceller = Canceller::new();
        let wait = || number.wait_for(&canceller, |number| (*number == 2).then_some(*number));
        thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            number.update(|number| *number = 1);
            number.update(|number| *number = 2);
            assert_eq!(waiting.join().expect("no panic").expect("a change"), 2);
            number.update(|number| *number = 3);
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            while canceller.blocked_calls() < waiting.len() {
                thread::yield_now();
            }
            canceller.cancel();
            for waiting in waiting {
                assert!(matches!(waiting.join().expect("no panic"), Err(Error::Canceled)));
            }
        });
    }
}
