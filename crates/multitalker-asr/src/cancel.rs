// SPDX-License-Identifier: MPL-2.0

//! Canceling work from another thread: a flag, and a waker for each blocked call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::lock::lock;

/// Cancels the work of a [`Stream`](crate::Stream), or the loading of a
/// [`Model`](crate::Model), from another thread. Clones cancel the same work.
#[derive(Clone, Default)]
pub struct Canceller(Arc<State>);

#[derive(Default)]
struct State {
    canceled: AtomicBool,
    wakers: Mutex<Wakers>,
}

/// One waker for each call of [`Canceller::while_blocked`] in progress.
#[derive(Default)]
struct Wakers {
    next_id: u64,
    by_id: HashMap<u64, Box<dyn Fn() + Send>>,
}

impl Canceller {
    /// Creates a canceller that permits work.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the work in progress after its current operator, and refuses all further work.
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::SeqCst);
        for wake in lock(&self.0.wakers).by_id.values() {
            wake();
        }
    }

    /// Returns whether work is refused.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::SeqCst)
    }

    /// Permits work again, once the canceled work has returned.
    pub fn rearm(&self) {
        self.0.canceled.store(false, Ordering::SeqCst);
    }

    /// Runs `work`, during which [`Self::cancel`] calls `wake` to make it return early. `wake` runs
    /// under a lock, so it must not register other work.
    ///
    /// # Errors
    /// [`Error::Canceled`] if `self` is already canceled; `work` is then not called.
    #[doc(hidden)]
    pub fn while_blocked<T>(
        &self,
        wake: impl Fn() + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let _registered = self.register(Box::new(wake));
        // A cancellation before this line may have missed the waker; a later one does not.
        if self.is_canceled() {
            return Err(Error::Canceled);
        }
        Ok(work())
    }

    fn register(&self, wake: Box<dyn Fn() + Send>) -> Registered<'_> {
        let mut wakers = lock(&self.0.wakers);
        let id = wakers.next_id;
        wakers.next_id += 1;
        wakers.by_id.insert(id, wake);
        Registered { state: &self.0, id }
    }

    /// Returns the number of blocked calls in progress.
    #[cfg(test)]
    pub(crate) fn blocked_calls(&self) -> usize {
        lock(&self.0.wakers).by_id.len()
    }
}

/// Removes a waker when the work returns or panics.
struct Registered<'a> {
    state: &'a State,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.state.wakers).by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn blocked_work_is_woken() {
        let canceller = Canceller::new();
        let (started, has_started) = mpsc::channel();
        let (wake, woken) = mpsc::channel();
        thread::scope(|scope| {
            let canceller = &canceller;
            let work = scope.spawn(move || {
                let wake = move || wake.send(()).expect("awaited");
                canceller.while_blocked(wake, || {
                    started.send(()).expect("awaited");
                    woken.recv()
                })
            });
            has_started.recv().expect("started");
            canceller.cancel();
            assert!(matches!(work.join().expect("no panic"), Ok(Ok(()))));
        });
    }

    #[test]
    fn canceled_work_does_not_begin_before_rearming() {
        let canceller = Canceller::new();
        canceller.clone().cancel();
        let refused = canceller.while_blocked(|| (), || panic!("begun"));
        assert!(matches!(refused, Err(Error::Canceled)));
        canceller.rearm();
        assert_eq!(canceller.while_blocked(|| (), || 1).expect("not canceled"), 1);
    }

    #[test]
    fn work_that_has_returned_is_not_woken() {
        let canceller = Canceller::new();
        let never = || panic!("woken");
        canceller
            .while_blocked(never, || canceller.while_blocked(never, || ()))
            .and_then(|inner| inner)
            .expect("not canceled");
        let panics = || canceller.while_blocked(never, || panic!("as planned"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        canceller.cancel();
    }
}
