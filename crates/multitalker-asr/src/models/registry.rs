// SPDX-License-Identifier: MPL-2.0

//! Sharing of expensive values among all streams of the process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Weak};

use crate::cancel::Canceller;
use crate::error::Error;
use crate::monitor::Monitor;

/// Shared values by key. Each is loaded once and freed with its last user.
pub struct Registry<K, T>(LazyLock<Monitor<HashMap<K, Entry<T>>>>);

enum Entry<T> {
    /// A thread is loading the value.
    Loading,
    /// The value, unless its last user is gone.
    Loaded(Weak<T>),
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> Registry<K, T> {
    /// Creates an empty registry.
    pub const fn new() -> Self {
        Self(LazyLock::new(|| Monitor::new(HashMap::new())))
    }

    /// Returns the value for `key`: the one in use, the one that another thread is loading, or the
    /// result of `load`. No thread waits for a `load` of another key.
    ///
    /// # Errors
    /// The errors of `load`, and [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn get_or_load(
        &self,
        key: &K,
        canceller: &Canceller,
        load: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        let in_use = self.0.wait_for(canceller, |entries| {
            let in_use = match entries.get(key) {
                Some(Entry::Loading) => return None,
                Some(Entry::Loaded(value)) => value.upgrade(),
                None => None,
            };
            if in_use.is_none() {
                entries.insert(key.clone(), Entry::Loading);
            }
            Some(in_use)
        })?;
        if let Some(value) = in_use {
            return Ok(value);
        }
        // Its drop also ends the claim when `load` fails or panics.
        let mut claim = Claim { registry: self, key, value: None };
        let value = Arc::new(load()?);
        claim.value = Some(Arc::downgrade(&value));
        Ok(value)
    }
}

/// Replaces [`Entry::Loading`] with the outcome of the load, and wakes the threads that wait for it.
struct Claim<'a, K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> {
    registry: &'a Registry<K, T>,
    key: &'a K,
    value: Option<Weak<T>>,
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> Drop for Claim<'_, K, T> {
    fn drop(&mut self) {
        let value = self.value.take();
        self.registry.0.update(|entries| {
            match value {
                Some(value) => entries.insert(self.key.clone(), Entry::Loaded(value)),
                None => entries.remove(self.key),
            };
            entries.retain(|_, entry| match entry {
                Entry::Loading => true,
                Entry::Loaded(value) => value.strong_count() > 0,
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn value_is_loaded_once_and_freed_with_its_last_user() {
        let numbers = Registry::new();
        let never = || panic!("already loaded");
        let canceller = Canceller::new();
        let first = numbers.get_or_load(&1, &canceller, || Ok(10)).expect("loads");
        let second = numbers.get_or_load(&1, &canceller, never).expect("in use");
        assert!(Arc::ptr_eq(&first, &second));
        let other = numbers.get_or_load(&2, &canceller, || Ok(20)).expect("loads");
        assert_eq!((*first, *other), (10, 20));
        drop((first, second));
        let failed = numbers.get_or_load(&1, &canceller, || Err(Error::Ended));
        assert!(matches!(failed, Err(Error::Ended)));
        assert_eq!(*numbers.get_or_load(&1, &canceller, || Ok(11)).expect("loads"), 11);
    }

    #[test]
    fn wait_for_another_loader_ends_with_it_or_when_canceled() {
        let numbers = Registry::new();
        let (release, held) = mpsc::channel();
        let (started, has_started) = mpsc::channel();
        let [loading, patient, canceled] = [(); 3].map(|()| Canceller::new());
        thread::scope(|scope| {
            let loader = scope.spawn(|| {
                numbers.get_or_load(&1, &loading, move || {
                    started.send(()).expect("awaited");
                    held.recv().expect("released");
                    Ok(10)
                })
            });
            has_started.recv().expect("loads");
            let [waiting, stopped] = [&patient, &canceled]
                .map(|canceller| scope.spawn(|| numbers.get_or_load(&1, canceller, || Ok(11))));
            while patient.blocked_calls() + canceled.blocked_calls() < 2 {
                thread::yield_now();
            }
            canceled.cancel();
            assert!(matches!(stopped.join().expect("no panic"), Err(Error::Canceled)));
            assert!(!waiting.is_finished());
            release.send(()).expect("held");
            let loaded = loader.join().expect("no panic").expect("loads");
            assert!(Arc::ptr_eq(&loaded, &waiting.join().expect("no panic").expect("shared")));
        });
    }

    #[test]
    fn waiting_thread_loads_when_the_loader_fails_or_panics() {
        let numbers = Registry::new();
        let canceller = Canceller::new();
        thread::scope(|scope| {
            for panics in [false, true] {
                let (started, has_started) = mpsc::channel();
                let (release, held) = mpsc::channel();
                let (numbers, canceller) = (&numbers, &canceller);
                let loader = scope.spawn(move || {
                    numbers.get_or_load(&1, canceller, || {
                        started.send(()).expect("awaited");
                        held.recv().expect("released");
                        assert!(!panics, "as planned");
                        Err(Error::Ended)
                    })
                });
                has_started.recv().expect("loads");
                let waiting = scope.spawn(|| numbers.get_or_load(&1, canceller, || Ok(11)));
                while canceller.blocked_calls() == 0 {
                    thread::yield_now();
                }
                release.send(()).expect("held");
                assert_eq!(loader.join().is_err(), panics);
                assert_eq!(*waiting.join().expect("no panic").expect("loads"), 11);
            }
        });
    }
}
