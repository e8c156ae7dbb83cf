//! Gradients of all variables behind a loss, without a pass over memory for each.
//!
//! candle adds every gradient to fresh zeros, on one thread: for the parameters of a large network that is more memory
//! traffic than the optimiser's step. While [`backward`] runs, a [`Tape`](crate::Tape) lays the gradients of variables
//! aside as they are, and they join candle's own at the end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

use crate::SparseError;

type Gradients = HashMap<TensorId, Tensor>;

thread_local! {
    /// Where this thread's backward pass lays gradients aside; `None` outside of [`backward`].
    static ASIDE: RefCell<Option<Gradients>> = const { RefCell::new(None) };
}

/// What `loss.backward()` gives, faster where the loss comes from a [`Tape`](crate::Tape): gradients of the tape's
/// variables reach the result without being copied. Where a variable has a part in the loss by several ways, their
/// gradients are added.
///
/// # Errors
/// Those of `loss.backward()`.
pub fn backward(loss: &Tensor) -> std::result::Result<GradStore, SparseError> {
    let outer = Outer(ASIDE.replace(Some(Gradients::new())));
    let result = loss.backward();
    let aside = ASIDE.take().unwrap_or_default();
    drop(outer);
    let mut grads = result?;
    for (id, gradient) in aside {
        let sum = match grads.get_id(id) {
            Some(known) => (known + gradient)?,
            None => gradient,
        };
        grads.insert_id(id, sum);
    }
    Ok(grads)
}

/// What was there before, put back at the end, a panic's included.
struct Outer(Option<Gradients>);

impl Drop for Outer {
    fn drop(&mut self) {
        ASIDE.set(self.0.take());
    }
}

/// Lays the gradient of a variable aside, if [`backward`] is running; gives it back where candle is to have it.
pub(crate) fn lay_aside(parameter: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    ASIDE.with_borrow_mut(|aside| {
        // candle needs the gradient of what is no variable on its way further back.
        let Some(aside) = aside.as_mut().filter(|_| parameter.is_variable()) else {
            return Ok(Some(gradient));
        };
        match aside.entry(parameter.id()) {
            Entry::Occupied(mut known) => {
                let sum = (known.get() + gradient)?;
                known.insert(sum);
            }
            Entry::Vacant(none) => {
                none.insert(gradient);
            }
        }
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::{After, ConvInit, Pointwise, SparseTensor, Tape, VarStore};

    fn values(grads: &GradStore, of: &Tensor) -> Vec<f32> {
        grads.get(of).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The same linear map twice on one tape, then a use of its weight outside, and of a weight that is computed.
    #[test]
    fn all_ways_of_a_variable_count_as_they_do_for_candle() {
        let store = VarStore::new(3);
        let vb = store.builder(&Device::Cpu);
        let map = Pointwise::without_bias(2, 2, ConvInit::default(), vb.pp("map")).unwrap();
        let (_, w) = store.trainable().into_iter().next().unwrap();
        let scale = Var::new(&[[0.5f32, -1.0], [2.0, 0.25]], &Device::Cpu).unwrap();
        let computed = (scale.as_tensor() * 3.0).unwrap();
        let named = [("kernel".to_owned(), computed)].into_iter().collect();
        let vb = candle_nn::VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
        let other = Pointwise::without_bias(2, 2, ConvInit::default(), vb).unwrap();
        let loss = || {
            let features = Tensor::new(&[[1f32, 2.0], [-3.0, 0.5], [0.1, 7.0]], &Device::Cpu).unwrap();
            let coords = [[0, 0, 0, 0], [0, 0, 0, 1], [0, 5, 0, 0]];
            let (mut tape, x) = Tape::new(&SparseTensor::new(&coords, features).unwrap().0, true).unwrap();
            let x = tape.unit(&[&x], &map, After::Nothing).unwrap();
            let x = tape.unit(&[&x], &other, After::Nothing).unwrap();
            let x = tape.unit(&[&x], &map, After::Nothing).unwrap();
            let y = tape.finish(x).unwrap().features().sqr().unwrap().sum_all().unwrap();
            (y + w.as_tensor().powf(3.0).unwrap().sum_all().unwrap()).unwrap()
        };
        let (ours, candles) = (backward(&loss()).unwrap(), loss().backward().unwrap());
        for var in [&w, &scale] {
            for (ours, candles) in values(&ours, var).into_iter().zip(values(&candles, var)) {
                assert!((ours - candles).abs() <= 1e-6 * candles.abs(), "{ours} and {candles}");
            }
        }
        assert_eq!(ours.get_ids().count(), candles.get_ids().count());
        // What was laid aside belongs to that pass alone.
        assert!(ASIDE.take().is_none());
    }

    #[test]
    fn a_pass_that_fails_leaves_nothing_behind() {
        let store = VarStore::new(3);
        let map = Pointwise::new(1, 1, store.builder(&Device::Cpu)).unwrap();
        let features = Tensor::ones((1, 1), DType::F32, &Device::Cpu).unwrap();
        let x = SparseTensor::new(&[[0, 0, 0, 0]], features).unwrap().0;
        let (mut tape, x) = Tape::new(&x, true).unwrap();
        let y = tape.unit(&[&x], &map, After::Nothing).unwrap();
        let loss = tape.finish(y).unwrap().features().sum_all().unwrap();
        assert!(backward(&loss).is_ok());
        let again = backward(&loss).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(again.contains("backward went through this network before"), "{again}");
        assert!(ASIDE.take().is_none());
    }
}
