//! How long a tape's operations take, for whoever asks.

use std::cell::RefCell;
use std::time::Instant;

thread_local! {
    /// Where this thread's tapes note times; `None` outside of [`tape_spans`].
    static SPANS: RefCell<Option<Vec<TapeSpan>>> = const { RefCell::new(None) };
}

/// What a tape does for one of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TapeStep {
    /// Finds the kernel map; it is there already where a layer before has made it.
    Map,
    /// The convolution, its bias included.
    Convolution,
    /// The norm, residual and ReLU: once for the moments, once for the result.
    Norm,
    /// The convolution once more, in the backward pass.
    ConvolutionAgain,
    /// The norm's result once more, in the backward pass.
    NormAgain,
    /// Gradients of norm, ReLU and the norm's parameters.
    NormGradient,
    /// The gradient that goes to the residual, added to another one.
    ResidualGradient,
    /// The gradient of the convolution's weight.
    WeightGradient,
    /// The gradient of the convolution's bias.
    BiasGradient,
    /// The gradient of one of the convolution's inputs.
    FeatureGradient,
}

/// One operation of a tape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TapeSpan {
    /// Number of the call of [`Tape::unit`](super::Tape::unit) that it belongs to, from 0.
    pub unit: usize,
    /// What was done.
    pub step: TapeStep,
    /// How long it took.
    pub seconds: f64,
}

/// Runs `work` and tells how long each operation took of the tapes that this thread ran forward or backward meanwhile,
/// one after the other; the operations themselves may use many threads.
pub fn tape_spans<T>(work: impl FnOnce() -> T) -> (T, Vec<TapeSpan>) {
    let outer = Outer(SPANS.replace(Some(Vec::new())));
    let result = work();
    let spans = SPANS.take().unwrap_or_default();
    drop(outer);
    (result, spans)
}

/// What was there before, put back at the end, a panic's included.
struct Outer(Option<Vec<TapeSpan>>);

impl Drop for Outer {
    fn drop(&mut self) {
        SPANS.set(self.0.take());
    }
}

/// Runs an operation for value `id` (1 + the unit's number); where nobody asks for times, that is all.
pub(super) fn timed<T>(id: usize, step: TapeStep, operation: impl FnOnce() -> T) -> T {
    if SPANS.with_borrow(Option::is_none) {
        return operation();
    }
    let start = Instant::now();
    let result = operation();
    let span = TapeSpan { unit: id - 1, step, seconds: start.elapsed().as_secs_f64() };
    SPANS.with_borrow_mut(|spans| spans.iter_mut().for_each(|spans| spans.push(span)));
    result
}
