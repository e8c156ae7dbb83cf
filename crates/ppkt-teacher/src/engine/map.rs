//! Activations and the memory that they live in.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::lines::Lines;

/// Memory of earlier layers, used again: fresh pages cost more than many a layer's arithmetic.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<Lines>>>,
}

impl Buffers {
    /// A buffer of `len` floats that hold **anything**: whoever asks writes all of them.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, so that large ones stay for large layers.
        let fits = free.iter().enumerate().filter(|(_, v)| v.len() >= len).min_by_key(|(_, v)| v.len());
        let found = fits.map(|(i, _)| i);
        let data = match found {
            Some(i) => free.swap_remove(i),
            None => {
                // One too small is given up for it, so that the pool does not grow with every new image size.
                free.pop();
                Lines::zeros(len)
            }
        };
        Buffer { data, len, home: self.clone() }
    }
}

/// A loan from [`Buffers`], given back when it is dropped.
pub(crate) struct Buffer {
    data: Lines,
    len: usize,
    home: Buffers,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(std::mem::take(&mut self.data));
    }
}

/// Activations `[n, height, width, channels]`, row-major.
pub(crate) struct Map {
    pub(crate) n: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) data: Buffer,
}

impl Map {
    /// A map whose values are anything.
    pub(crate) fn take(buffers: &Buffers, [n, height, width, channels]: [usize; 4]) -> Self {
        Self { n, height, width, channels, data: buffers.take(n * height * width * channels) }
    }

    /// The same values in memory of its own.
    pub(crate) fn copied(&self, buffers: &Buffers) -> Self {
        let mut copy = Self::take(buffers, [self.n, self.height, self.width, self.channels]);
        copy.data.copy_from_slice(&self.data);
        copy
    }

    /// The first rows and columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn cut(self, height: usize, width: usize, buffers: &Buffers) -> Self {
        if (height, width) == (self.height, self.width) {
            return self;
        }
        assert!(height <= self.height && width <= self.width, "sizes");
        let mut cut = Self::take(buffers, [self.n, height, width, self.channels]);
        let of_image = self.data.chunks_exact(self.height * self.width * self.channels);
        for (to, from) in cut.data.chunks_exact_mut(height * width * self.channels).zip(of_image) {
            let rows = from.chunks_exact(self.width * self.channels);
            for (to, from) in to.chunks_exact_mut(width * self.channels).zip(rows) {
                to.copy_from_slice(&from[..width * self.channels]);
            }
        }
        cut
    }

    /// Multiplies every value by the one at the same place in a map of the same shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub(crate) fn multiply(&mut self, by: &Self) {
        assert_eq!(self.data.len(), by.data.len(), "shapes");
        let step = 16 * self.channels;
        self.data.par_chunks_mut(step).zip(by.data.par_chunks(step)).for_each(|(x, by)| {
            x.iter_mut().zip(by).for_each(|(x, by)| *x *= by);
        });
    }

    /// Pixels of all images.
    pub(crate) fn n_pixels(&self) -> usize {
        self.n * self.height * self.width
    }
}
