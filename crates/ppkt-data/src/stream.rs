//! Batches made ahead of time by worker threads, delivered in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::DataError;
use crate::batch::BatchConfig;
use crate::loader::Loader;
use crate::preparation::Preparation;

/// An iterator over the batches of consecutive steps; see [`Loader::stream`].
pub struct BatchStream<P: Preparation = BatchConfig> {
    loader: Loader<P>,
    next: u64,
    end: u64,
    /// `None` without workers.
    shared: Option<Arc<Shared<P::Batch>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the consumer and the workers share.
struct Shared<B> {
    state: Mutex<State<B>>,
    /// Something was delivered, taken, or stopped.
    changed: Condvar,
}

struct State<B> {
    /// The step that the next free worker makes.
    next_to_make: u64,
    /// The step that the consumer waits for; nothing is made more than `ahead` beyond it.
    next_to_take: u64,
    ahead: u64,
    end: u64,
    made: BTreeMap<u64, Result<B, DataError>>,
    stopped: bool,
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<B>>) -> MutexGuard<'a, State<B>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life: takes the lowest step that nobody makes, while there is room in the queue.
    fn work<P: Preparation<Batch = B>>(&self, loader: &Loader<P>) {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next_to_make == state.end {
                return;
            }
            if state.next_to_make >= state.next_to_take + state.ahead {
                state = self.wait(state);
                continue;
            }
            let step = state.next_to_make;
            state.next_to_make += 1;
            drop(state);
            let batch = loader.batch_or_panic_message(step);
            state = self.lock();
            state.made.insert(step, batch);
            self.changed.notify_all();
        }
    }
}

impl<P: Preparation> BatchStream<P> {
    pub(crate) fn new(loader: Loader<P>, first_step: u64, n_steps: u64, workers: usize) -> Self {
        let end = first_step + n_steps;
        let state = State {
            next_to_make: first_step,
            next_to_take: first_step,
            // Each worker may have one batch waiting while it makes the next.
            ahead: 2 * workers as u64,
            end,
            made: BTreeMap::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let spawn = |i: usize| {
            let (shared, loader) = (shared.clone(), loader.clone());
            let builder = std::thread::Builder::new().name(format!("loader-{i}"));
            // Where the system gives no more threads, those there are do the work, or the consumer itself does.
            builder.spawn(move || shared.work(&loader)).ok()
        };
        let threads: Vec<_> = (0..workers).map_while(spawn).collect();
        let shared = (!threads.is_empty()).then_some(shared);
        Self { loader, next: first_step, end, shared, threads }
    }
}

impl<P: Preparation> Iterator for BatchStream<P> {
    type Item = Result<P::Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let step = self.next;
        self.next += 1;
        let Some(shared) = &self.shared else { return Some(self.loader.batch_or_panic_message(step)) };
        let mut state = shared.lock();
        loop {
            if let Some(batch) = state.made.remove(&step) {
                state.next_to_take = self.next;
                shared.changed.notify_all();
                return Some(batch);
            }
            state = shared.wait(state);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl<P: Preparation> ExactSizeIterator for BatchStream<P> {}

impl<P: Preparation> Drop for BatchStream<P> {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        shared.lock().stopped = true;
        shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has nothing to say that was not printed already.
            let _ = thread.join();
        }
    }
}
