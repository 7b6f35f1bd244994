// SPDX-License-Identifier: MPL-2.0

//! Stopping an inference, a wait for one, or a load from another thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, ThreadId};

use ort::session::RunOptions;
use ort::session::builder::LoadCanceler;

use super::session_pool::SessionQueue;
use crate::lock::lock;

/// Stops the work of a [`Stream`](crate::Stream), or the loading of a
/// [`Model`](crate::Model), from another thread. Clones act on the same work.
#[derive(Clone, Default)]
pub struct Canceller(Arc<State>);

#[derive(Default)]
struct State {
    canceled: AtomicBool,
    /// Made with the first run, since it needs the library.
    run_options: OnceLock<RunOptions>,
    blocked: Mutex<HashMap<ThreadId, Blocked>>,
}

/// What a thread may be blocked on, apart from a run.
enum Blocked {
    /// Loading a network.
    Load(LoadCanceler),
    /// Waiting for a session that another stream uses.
    Session(Arc<SessionQueue>),
    /// Waiting for a model that another stream loads.
    Condition(&'static Mutex<()>, &'static Condvar),
}

impl Canceller {
    /// Of work that may begin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the work under way after its present operator, and refuses all that follows.
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::SeqCst);
        if let Some(options) = self.0.run_options.get() {
            // Setting a flag fails on no known runtime; without it the run ends by itself.
            let _ = options.terminate();
        }
        for blocked_on in lock(&self.0.blocked).values() {
            match blocked_on {
                Blocked::Load(load) => {
                    let _ = load.cancel();
                }
                Blocked::Session(queue) => queue.wake_all(),
                Blocked::Condition(mutex, condition) => {
                    drop(lock(mutex));
                    condition.notify_all();
                }
            }
        }
    }

    /// Whether work is refused.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::SeqCst)
    }

    /// Allows work again.
    pub fn rearm(&self) {
        self.0.canceled.store(false, Ordering::SeqCst);
        if let Some(options) = self.0.run_options.get() {
            let _ = options.unterminate();
        }
    }

    /// The options with which a run must be started to be stopped by this.
    pub(super) fn run_options(&self) -> Result<&RunOptions, ort::Error> {
        if let Some(options) = self.0.run_options.get() {
            return Ok(options);
        }
        let options = RunOptions::new()?;
        Ok(self.0.run_options.get_or_init(|| options))
    }

    pub(super) fn while_loading<T>(&self, load: LoadCanceler, work: impl FnOnce() -> T) -> T {
        self.while_blocked(Blocked::Load(load), work)
    }

    pub(super) fn while_queued<T>(&self, queue: Arc<SessionQueue>, work: impl FnOnce() -> T) -> T {
        self.while_blocked(Blocked::Session(queue), work)
    }

    /// Makes [`cancel`](Self::cancel) notify `condition`, which `work` waits for with `mutex`.
    pub fn while_waiting<T>(
        &self,
        mutex: &'static Mutex<()>,
        condition: &'static Condvar,
        work: impl FnOnce() -> T,
    ) -> T {
        self.while_blocked(Blocked::Condition(mutex, condition), work)
    }

    fn while_blocked<T>(&self, on: Blocked, work: impl FnOnce() -> T) -> T {
        let thread = thread::current().id();
        lock(&self.0.blocked).insert(thread, on);
        let result = work();
        lock(&self.0.blocked).remove(&thread);
        result
    }
}
