// SPDX-License-Identifier: MPL-2.0

//! What is loaded once for all streams of the process, and freed with its last user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, Weak};

use crate::error::Error;
use crate::lock::lock;
use crate::onnx::Canceller;

/// Values by what they were loaded from.
pub struct Registry<K: 'static, T: 'static> {
    /// `None` is a value that a thread is loading.
    entries: LazyLock<Mutex<HashMap<K, Option<Weak<T>>>>>,
    /// Guards the wait for an entry to change.
    changed_lock: Mutex<()>,
    changed: Condvar,
}

enum Claim<T> {
    Ready(Arc<T>),
    Loading,
    Mine,
}

impl<K: Clone + Eq + Hash, T> Registry<K, T> {
    /// An empty registry.
    pub const fn new() -> Self {
        Self {
            entries: LazyLock::new(Mutex::default),
            changed_lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// The value for `key`: the one in use, the one that another thread is about to load, or what
    /// `load` returns.
    ///
    /// # Errors
    /// The errors of `load`; [`Error::Canceled`] soon after `canceller` was canceled.
    pub fn get_or_load(
        &'static self,
        key: &K,
        canceller: &Canceller,
        load: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        loop {
            match self.claim(key) {
                Claim::Ready(value) => return Ok(value),
                Claim::Mine => break,
                Claim::Loading => self.wait_for_loader(key, canceller)?,
            }
        }
        // Also gives the claim back when loading panics.
        let mut unclaim = Unclaim { registry: self, key, value: None };
        let value = Arc::new(load()?);
        unclaim.value = Some(Arc::downgrade(&value));
        Ok(value)
    }

    fn claim(&self, key: &K) -> Claim<T> {
        let mut entries = lock(&self.entries);
        match entries.get(key) {
            Some(None) => return Claim::Loading,
            Some(Some(value)) => {
                if let Some(value) = value.upgrade() {
                    return Claim::Ready(value);
                }
            }
            None => (),
        }
        entries.insert(key.clone(), None);
        Claim::Mine
    }

    /// Waits until no thread loads this value any more.
    fn wait_for_loader(&'static self, key: &K, canceller: &Canceller) -> Result<(), Error> {
        canceller.while_waiting(&self.changed_lock, &self.changed, || {
            let mut guard = lock(&self.changed_lock);
            while matches!(lock(&self.entries).get(key), Some(None)) {
                if canceller.is_canceled() {
                    return Err(Error::Canceled);
                }
                guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            Ok(())
        })
    }
}

/// Puts the outcome of loading in place of the claim, and wakes those who wait for it.
struct Unclaim<'a, K: Clone + Eq + Hash + 'static, T: 'static> {
    registry: &'static Registry<K, T>,
    key: &'a K,
    value: Option<Weak<T>>,
}

impl<K: Clone + Eq + Hash, T> Drop for Unclaim<'_, K, T> {
    fn drop(&mut self) {
        let mut entries = lock(&self.registry.entries);
        match self.value.take() {
            Some(value) => entries.insert(self.key.clone(), Some(value)),
            None => entries.remove(self.key),
        };
        entries.retain(|_, value| value.as_ref().is_none_or(|value| value.strong_count() > 0));
        drop(entries);
        drop(lock(&self.registry.changed_lock));
        self.registry.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn value_is_loaded_once_and_freed_with_its_last_user() {
        static NUMBERS: Registry<u8, u8> = Registry::new();
        let never = || panic!("it is there");
        let canceller = Canceller::new();
        let first = NUMBERS.get_or_load(&1, &canceller, || Ok(10)).expect("loads");
        let second = NUMBERS.get_or_load(&1, &canceller, never).expect("is there");
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        let failed = NUMBERS.get_or_load(&1, &canceller, || Err(Error::Ended));
        assert!(matches!(failed, Err(Error::Ended)));
        assert_eq!(*NUMBERS.get_or_load(&1, &canceller, || Ok(11)).expect("loads"), 11);
    }

    #[test]
    fn wait_for_another_loader_ends_with_it_or_when_canceled() {
        static NUMBERS: Registry<u8, u8> = Registry::new();
        let (release, held) = mpsc::channel();
        let (started, has_started) = mpsc::channel();
        let loader = thread::spawn(move || {
            NUMBERS.get_or_load(&1, &Canceller::new(), || {
                started.send(()).expect("awaited");
                held.recv().expect("released");
                Ok(10)
            })
        });
        has_started.recv().expect("loads");
        let wait = |canceller: &Canceller| {
            let canceller = canceller.clone();
            thread::spawn(move || NUMBERS.get_or_load(&1, &canceller, || Ok(11)))
        };
        let canceller = Canceller::new();
        let (patient, canceled) = (wait(&Canceller::new()), wait(&canceller));
        canceller.cancel();
        assert!(matches!(canceled.join().expect("no panic"), Err(Error::Canceled)));
        release.send(()).expect("held");
        let loaded = loader.join().expect("no panic").expect("loads");
        assert!(Arc::ptr_eq(&loaded, &patient.join().expect("no panic").expect("shared")));
    }
}
