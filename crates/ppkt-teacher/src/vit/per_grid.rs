//! What is worked out once for each grid of patches.

use std::sync::{Arc, Mutex, PoisonError};

/// A grid and its values.
type OfGrid<T> = ((usize, usize), Arc<T>);

/// The values of the last grid that was asked for: images of a run are of one size, mostly.
pub(super) struct PerGrid<T> {
    last: Mutex<Option<OfGrid<T>>>,
}

impl<T> PerGrid<T> {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// Those of a grid, made if they are not there.
    pub(super) fn get<E>(
        &self,
        grid: (usize, usize),
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, values)) = last.as_ref().filter(|(of, _)| *of == grid) {
            return Ok(Arc::clone(values));
        }
        let values = Arc::new(make()?);
        *last = Some((grid, Arc::clone(&values)));
        Ok(values)
    }
}
