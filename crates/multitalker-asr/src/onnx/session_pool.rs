// SPDX-License-Identifier: MPL-2.0

//! Lending the sessions of a network to many streams.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use ort::session::Session;

use super::cancel::Canceller;
use crate::error::Error;
use crate::lock::lock;

/// The sessions of a network, lent to threads in the order of their coming, so that no lock is held
/// while one runs.
pub struct SessionQueue {
    state: Mutex<QueueState>,
    returned: Condvar,
}

struct QueueState {
    free: Vec<Session>,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// A session on loan, given back when this is dropped.
pub struct Lease<'q> {
    queue: &'q SessionQueue,
    session: Option<Session>,
}

impl SessionQueue {
    /// A queue before these sessions.
    pub fn new(sessions: Vec<Session>) -> Self {
        let state = QueueState { free: sessions, waiting: VecDeque::new(), next_ticket: 0 };
        Self { state: Mutex::new(state), returned: Condvar::new() }
    }

    /// Waits until a session is free and nobody came earlier.
    ///
    /// # Errors
    /// [`Error::Canceled`] soon after `canceller` was told.
    pub fn acquire(self: &Arc<Self>, canceller: &Canceller) -> Result<Lease<'_>, Error> {
        canceller.while_queued(self.clone(), || {
            let mut state = lock(&self.state);
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.push_back(ticket);
            loop {
                if canceller.is_canceled() {
                    state.waiting.retain(|&other| other != ticket);
                    self.returned.notify_all();
                    return Err(Error::Canceled);
                }
                if state.waiting.front() == Some(&ticket)
                    && let Some(session) = state.free.pop()
                {
                    state.waiting.pop_front();
                    if !state.free.is_empty() {
                        self.returned.notify_all();
                    }
                    return Ok(Lease { queue: self, session: Some(session) });
                }
                state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        })
    }

    /// Makes all who wait look at their cancellers.
    pub fn wake_all(&self) {
        drop(lock(&self.state));
        self.returned.notify_all();
    }
}

impl Deref for Lease<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("there until the drop")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("there until the drop")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        lock(&self.queue.state).free.extend(self.session.take());
        self.queue.returned.notify_all();
    }
}
