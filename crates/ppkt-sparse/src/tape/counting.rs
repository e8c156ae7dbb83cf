//! A tape that computes nothing and counts the memory that another would take.
//!
//! It runs through the very recorder and record that a real tape runs through, so it keeps, finds again and frees what
//! that one does, and when that one does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::{DType, Result, Tensor};

use super::arithmetic::{Arithmetic, Convolution, Held, Norm, NormGradients, Part};
use super::recorder::{Recorder, Value};
use super::{Precision, TapeOptions, pairs_by_size};
use crate::norm_tensor::Through;
use crate::{BatchNorm, SparseError, SparseTensor};

/// Bytes in use, and the most of them at one time.
#[derive(Debug, Default)]
struct Ledger {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Memory that is in use as long as this lives.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    ledger: Arc<Ledger>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the arithmetic of a device takes for each operation.
#[derive(Debug)]
pub(super) struct Counting {
    ledger: Arc<Ledger>,
    /// Of a number on the tape.
    size: usize,
    /// On the processor operations write over what they no longer need; on other devices each has an array of its own.
    on_host: bool,
    /// Tables of the kernel maps, which stay: those seen so far, by their address.
    tables: Mutex<BTreeSet<usize>>,
}

impl Counting {
    pub(super) fn new(precision: Precision, on_host: bool) -> Self {
        let size = if precision.dtype() == DType::BF16 { 2 } else { 4 };
        Self { ledger: Arc::default(), size, on_host, tables: Default::default() }
    }

    fn count(&self, bytes: usize) -> Counted {
        let now = self.ledger.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.ledger.most.fetch_max(now, Ordering::Relaxed);
        Counted { bytes, ledger: self.ledger.clone() }
    }

    /// Another array beside `rows`, which is freed; or `rows` themselves, written over.
    fn instead_of(&self, rows: Counted) -> Counted {
        if self.on_host { rows } else { self.count(rows.bytes) }
    }

    fn weight(conv: &Convolution) -> usize {
        conv.map.spec().volume() * conv.cin() * conv.channels
    }

    /// The tables that a GPU keeps of a kernel map: neighbours of each row, and pairs by kernel voxel.
    fn table(&self, conv: &Convolution) {
        let spec = conv.map.spec();
        if self.on_host || spec.is_pointwise() {
            return;
        }
        let Ok(mut seen) = self.tables.lock() else { return };
        if seen.insert(Arc::as_ptr(&conv.map) as usize) {
            let rows = conv.map.n_coarse() + if spec.is_symmetric() { 0 } else { conv.map.n_fine() };
            // They live longer than the tape.
            std::mem::forget(self.count(3 * 4 * spec.volume() * rows));
        }
    }
}

impl Arithmetic for Counting {
    type Rows = Counted;
    type View<'a> = &'a Counted;
    type Exact = Counted;
    type Moments = ();
    type Affine = ();
    type Gradient = Counted;

    fn view(rows: &Counted) -> &Counted {
        rows
    }

    fn shorten<'short, 'long: 'short>(view: &'long Counted) -> &'short Counted {
        view
    }

    fn copy(&self, rows: &Counted) -> Result<Counted> {
        Ok(self.count(rows.bytes))
    }

    fn features(&self, x: &Tensor) -> Result<Counted> {
        Ok(self.count(x.elem_count() * self.size))
    }

    fn pairs(&self, conv: &Convolution) -> usize {
        if self.on_host { conv.map.n_pairs() } else { pairs_by_size(conv) }
    }

    fn product(&self, conv: &Convolution, _: &[Part<'_, Self>]) -> Result<Counted> {
        self.table(conv);
        let _packed = self.count(Self::weight(conv) * self.size);
        Ok(self.count(conv.rows() * conv.channels * self.size))
    }

    fn product_and_exact(
        &self,
        conv: &Convolution,
        x: &[Part<'_, Self>],
    ) -> Result<(Counted, Option<Counted>)> {
        let rows = self.product(conv, x)?;
        let exact = (self.size == 2).then(|| self.count(rows.bytes * 2));
        Ok((rows, exact))
    }

    fn feature_gradient(
        &self,
        conv: &Convolution,
        _: &Counted,
        (_, channels): (usize, usize),
        known: Option<Counted>,
    ) -> Result<Counted> {
        let _packed = self.count(Self::weight(conv) * self.size);
        let rows = if conv.rows() == conv.map.n_fine() { conv.map.n_coarse() } else { conv.map.n_fine() };
        match known {
            Some(known) if self.on_host => Ok(known),
            Some(known) => {
                let _gradient = self.count(known.bytes);
                Ok(self.count(known.bytes))
            }
            None => Ok(self.count(rows * channels * self.size)),
        }
    }

    fn weight_gradient(&self, conv: &Convolution, _: &[Part<'_, Self>], _: &Counted) -> Result<Counted> {
        // Sums of parts, which are added in the end.
        let _parts = self.count(2 * 4 * Self::weight(conv));
        Ok(self.count(4 * Self::weight(conv)))
    }

    fn bias_gradient(&self, conv: &Convolution, _: &Tensor, _: &Counted) -> Result<Counted> {
        Ok(self.count(4 * conv.channels))
    }

    fn affine(&self, _: &BatchNorm) -> Result<()> {
        Ok(())
    }

    fn moments(
        &self,
        norm: &BatchNorm,
        _: &Counted,
        (rows, stride): (usize, u32),
        train: bool,
    ) -> std::result::Result<(), SparseError> {
        norm.check_rows(rows, stride, train)
    }

    fn normalise(&self, z: &Counted, _: &Norm<Self>, _: Option<&Counted>, _: bool) -> Result<Counted> {
        Ok(self.count(z.bytes))
    }

    fn normalise_in_place(
        &self,
        z: Counted,
        _: &Norm<Self>,
        _: Option<&Counted>,
        _: bool,
    ) -> Result<Counted> {
        Ok(self.instead_of(z))
    }

    fn normalise_onto(&self, residual: Counted, _: &Counted, _: &Norm<Self>) -> Result<Counted> {
        Ok(self.instead_of(residual))
    }

    fn norm_backward(
        &self,
        z: Counted,
        grad: Counted,
        _: Through<&Counted>,
        norm: &Norm<Self>,
    ) -> Result<NormGradients<Self>> {
        let [gamma, beta] = &norm.parameters;
        let affine = [gamma, beta].map(|p| self.count(4 * p.elem_count()));
        if self.on_host {
            return Ok(NormGradients { dz: z, residual: grad, affine });
        }
        Ok(NormGradients { dz: self.count(z.bytes), residual: self.count(grad.bytes), affine })
    }

    fn add(&self, a: Counted, _: &Counted) -> Result<Counted> {
        Ok(self.instead_of(a))
    }
}

impl Recorder<Counting> {
    pub(super) fn counting(
        x: &SparseTensor,
        options: TapeOptions,
    ) -> std::result::Result<(Self, Value<Counting>), SparseError> {
        let counting = Counting::new(options.precision, x.features().device().is_cpu());
        Self::new(counting, x, options.train, options.recompute)
    }

    /// The most bytes that were in use at one time, forward and backward, were this a tape that ends with `y`.
    pub(super) fn bytes(self, y: Value<Counting>) -> Result<usize> {
        let Value { id, rows, .. } = y;
        let mut record = self.record;
        record.end_with(id);
        let arithmetic = record.arithmetic.clone();
        let numbers = rows.bytes / arithmetic.size;
        drop(rows);
        // The result in candle's graph, and its gradient.
        let _result = [4, 4].map(|size| arithmetic.count(numbers * size));
        if record.needs(id) {
            let grad = arithmetic.count(if arithmetic.size == 4 { 0 } else { 2 * numbers });
            let gradients = record.backward(Held::Own(grad))?;
            drop(gradients);
        }
        Ok(arithmetic.ledger.most.load(Ordering::Relaxed))
    }
}
