// SPDX-License-Identifier: MPL-2.0

//! Lending the sessions of a network to many streams.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use crate::cancel::Canceller;
use crate::error::Error;
use crate::monitor::Monitor;

/// The sessions of a network, lent to threads in the order in which they ask, so that no lock is
/// held during a run.
pub struct SessionPool<S: Send + 'static>(Monitor<State<S>>);

struct State<S> {
    free: Vec<S>,
    /// The tickets of the waiting threads, first come first.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// A borrowed session, returned to the pool on drop.
pub struct Lease<'p, S: Send + 'static> {
    pool: &'p SessionPool<S>,
    session: Option<S>,
}

impl<S: Send + 'static> SessionPool<S> {
    /// Creates a pool of these sessions.
    pub fn new(sessions: Vec<S>) -> Self {
        Self(Monitor::new(State { free: sessions, waiting: VecDeque::new(), next_ticket: 0 }))
    }

    /// Waits until a session is free and no thread has been waiting longer.
    ///
    /// # Errors
    /// [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn acquire(&self, canceller: &Canceller) -> Result<Lease<'_, S>, Error> {
        let ticket = self.0.update(State::queue);
        match self.0.wait_for(canceller, |state| state.lend(ticket)) {
            Ok(session) => Ok(Lease { pool: self, session: Some(session) }),
            Err(error) => {
                self.0.update(|state| state.waiting.retain(|&other| other != ticket));
                Err(error)
            }
        }
    }
}

impl<S> State<S> {
    fn queue(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push_back(ticket);
        ticket
    }

    fn lend(&mut self, ticket: u64) -> Option<S> {
        if self.waiting.front() != Some(&ticket) {
            return None;
        }
        let session = self.free.pop()?;
        self.waiting.pop_front();
        Some(session)
    }
}

impl<S: Send + 'static> Deref for Lease<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.session.as_ref().expect("present until the drop")
    }
}

impl<S: Send + 'static> DerefMut for Lease<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        self.session.as_mut().expect("present until the drop")
    }
}

impl<S: Send + 'static> Drop for Lease<'_, S> {
    fn drop(&mut self) {
        let session = self.session.take();
        self.pool.0.update(|state| state.free.extend(session));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;
    use crate::lock::lock;

    type Pool = SessionPool<&'static str>;

    fn wait_until_queued(pool: &Pool, threads: usize) {
        while pool.0.update(|state| state.waiting.len()) < threads {
            thread::yield_now();
        }
    }

    #[test]
    fn sessions_are_lent_in_the_order_of_the_requests() {
        let pool = Pool::new(vec!["only"]);
        let order = Mutex::new(Vec::new());
        let canceller = Canceller::new();
        let held = pool.acquire(&canceller).expect("free");
        thread::scope(|scope| {
            for index in 0..8 {
                let (pool, order, canceller) = (&pool, &order, &canceller);
                scope.spawn(move || {
                    let _lease = pool.acquire(canceller).expect("lent in turn");
                    lock(order).push(index);
                });
                wait_until_queued(pool, index + 1);
            }
            drop(held);
        });
        assert_eq!(*lock(&order), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn canceled_thread_leaves_the_queue_to_the_others() {
        let pool = Pool::new(vec!["only"]);
        let (patient, canceled) = (Canceller::new(), Canceller::new());
        let held = pool.acquire(&patient).expect("free");
        thread::scope(|scope| {
            let first = scope.spawn(|| pool.acquire(&canceled).map(|session| *session));
            wait_until_queued(&pool, 1);
            let second = scope.spawn(|| pool.acquire(&patient).map(|session| *session));
            wait_until_queued(&pool, 2);
            canceled.cancel();
            assert!(matches!(first.join().expect("no panic"), Err(Error::Canceled)));
            drop(held);
            assert_eq!(second.join().expect("no panic").expect("lent"), "only");
        });
        assert!(matches!(pool.acquire(&canceled).map(|_| ()), Err(Error::Canceled)));
        canceled.rearm();
        assert_eq!(*pool.acquire(&canceled).expect("returned"), "only");
    }

    #[test]
    fn several_sessions_are_lent_at_a_time() {
        let pool = Pool::new(vec!["first", "second"]);
        let canceller = Canceller::new();
        let held = [pool.acquire(&canceller), pool.acquire(&canceller)].map(|l| l.expect("free"));
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let lease = pool.acquire(&canceller).expect("lent");
                        // Both threads hold a session before either returns it.
                        while pool.0.update(|state| !state.waiting.is_empty()) {
                            thread::yield_now();
                        }
                        *lease
                    })
                })
                .collect();
            wait_until_queued(&pool, 2);
            drop(held);
            let mut lent = waiting.into_iter().map(|w| w.join().expect("no panic"));
            let mut lent = [lent.next(), lent.next()].map(|s| s.expect("two threads"));
            lent.sort_unstable();
            assert_eq!(lent, ["first", "second"]);
        });
    }
}
