//! Parameters and buffers of a network, by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::load::{LoadMode, LoadReport, plan_load};
use crate::{SparseError, init};

/// Last parts of the names of tensors that training updates, but not by a gradient.
const BUFFERS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// Parameters and buffers by name, made as layers ask for them.
///
/// It replaces candle's `VarMap`, whose order is random and whose initial values cannot be seeded. Here everything is
/// in the order of names, and each tensor is drawn from a stream of its own, a function of the seed and of the
/// tensor's name: a layer more or less changes no other layer's start.
///
/// Cloning shares the tensors.
#[derive(Debug, Clone)]
pub struct VarStore {
    seed: u64,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl VarStore {
    /// An empty store; `seed` decides every initial value.
    pub fn new(seed: u64) -> Self {
        Self { seed, vars: Arc::default() }
    }

    /// What layers take: asking it for a tensor makes the tensor, or finds it where it exists.
    pub fn builder(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, device.clone())
    }

    /// As [`Self::builder`], for a second network on the same tensors that records no graph.
    ///
    /// It sees every step of the first, and its passes keep no activations: for validation between steps. A tensor
    /// that the store does not have is an error, not made.
    ///
    /// ```
    /// use candle_core::Device;
    /// use ppkt_sparse::{Pointwise, VarStore};
    ///
    /// let store = VarStore::new(0);
    /// let trained = Pointwise::new(3, 8, store.builder(&Device::Cpu))?;
    /// let watching = Pointwise::new(3, 8, store.frozen(&Device::Cpu))?;
    /// # Ok::<(), ppkt_sparse::SparseError>(())
    /// ```
    pub fn frozen(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Frozen(self.clone())), DType::F32, device.clone())
    }

    /// Everything that a gradient trains, in the order of names.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.select(|name| !is_buffer(name))
    }

    /// Running statistics, which only forward passes in training change, in the order of names.
    pub fn buffers(&self) -> Vec<(String, Var)> {
        self.select(is_buffer)
    }

    /// Parameters and buffers, in the order of names.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.select(|_| true)
    }

    /// Number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.trainable().iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Copies of all tensors, which later steps leave alone: what a checkpoint holds.
    ///
    /// # Errors
    /// candle's, as of a device out of memory.
    pub fn to_map(&self) -> Result<HashMap<String, Tensor>> {
        self.all().into_iter().map(|(name, v)| Ok((name, v.as_detached_tensor().copy()?))).collect()
    }

    /// Sets tensors from a state dict; other number types are converted.
    ///
    /// In [`LoadMode::Strict`] names and shapes must agree (`num_batches_tracked` may be absent, as in files of old
    /// PyTorch), else nothing is changed. In [`LoadMode::Lenient`] what fits is loaded. The report says what happened.
    ///
    /// # Errors
    /// [`SparseError::StateDict`] with the whole report.
    pub fn load(
        &self,
        state: &HashMap<String, Tensor>,
        mode: LoadMode,
    ) -> std::result::Result<LoadReport, SparseError> {
        let vars = self.lock();
        let report = plan_load(&vars, state);
        if mode == LoadMode::Strict && !report.is_complete() {
            return Err(SparseError::StateDict(Box::new(report)));
        }
        for name in &report.loaded {
            if let (Some(var), Some(value)) = (vars.get(name), state.get(name)) {
                // The copy is for a value that shares the variable's memory, which candle refuses.
                var.set(&value.to_device(var.device())?.to_dtype(var.dtype())?.copy()?)?;
            }
        }
        Ok(report)
    }

    fn select(&self, keep: impl Fn(&str) -> bool) -> Vec<(String, Var)> {
        self.lock().iter().filter(|(n, _)| keep(n)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        // Entries are only ever added whole, so a panic elsewhere leaves nothing half-done.
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn is_buffer(name: &str) -> bool {
    BUFFERS.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// What a layer gets: buffers stay outside the graph, but share their memory with the store.
fn handed_out(name: &str, var: &Var) -> Tensor {
    if is_buffer(name) { var.as_detached_tensor() } else { var.as_tensor().clone() }
}

impl SimpleBackend for VarStore {
    fn get(&self, shape: Shape, name: &str, hint: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut vars = self.lock();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                let msg = format!("{name:?} exists already with another shape; two layers have one name");
                return Err(candle_core::Error::UnexpectedShape {
                    msg,
                    expected: shape,
                    got: var.shape().clone(),
                }
                .bt());
            }
            return Ok(handed_out(name, var));
        }
        let values = init::draw(self.seed, name, &shape, hint);
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)?;
        let tensor = handed_out(name, &var);
        vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        match self.lock().get(name) {
            Some(var) => Ok(handed_out(name, var)),
            None => Err(candle_core::Error::CannotFindTensor { path: name.to_owned() }.bt()),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

/// A store whose tensors take no part in a graph.
struct Frozen(VarStore);

impl SimpleBackend for Frozen {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let msg = format!("{name:?} has another shape in the network that made it");
            return Err(candle_core::Error::UnexpectedShape {
                msg,
                expected: shape,
                got: tensor.shape().clone(),
            }
            .bt());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.get_unchecked(name, dtype, device)?.detach())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.contains_tensor(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(store: &VarStore, name: &str) -> Vec<f32> {
        let all = store.all();
        let (_, var) = all.iter().find(|(n, _)| n == name).unwrap();
        var.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    const UNIFORM: Init = Init::Uniform { lo: -0.5, up: 0.5 };

    #[test]
    fn a_start_depends_on_seed_and_name_alone() {
        let (one, two, three) = (VarStore::new(7), VarStore::new(7), VarStore::new(8));
        for name in ["a", "b", "c"] {
            one.builder(&Device::Cpu).get_with_hints((4, 5), name, UNIFORM).unwrap();
        }
        for name in ["c", "a"] {
            two.builder(&Device::Cpu).get_with_hints((4, 5), name, UNIFORM).unwrap();
            three.builder(&Device::Cpu).get_with_hints((4, 5), name, UNIFORM).unwrap();
        }
        for name in ["a", "c"] {
            assert_eq!(values(&one, name), values(&two, name));
            assert_ne!(values(&one, name), values(&three, name));
        }
        assert_ne!(values(&one, "a"), values(&one, "c"));
    }

    #[test]
    fn tensors_are_sorted_and_told_apart() {
        let store = VarStore::new(0);
        let vb = store.builder(&Device::Cpu);
        for name in ["z.weight", "a.running_mean", "m.kernel", "a.weight"] {
            vb.get(3, name).unwrap();
        }
        let names = |v: Vec<(String, Var)>| v.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(store.trainable()), ["a.weight", "m.kernel", "z.weight"]);
        assert_eq!(names(store.buffers()), ["a.running_mean"]);
        assert_eq!(names(store.all()), ["a.running_mean", "a.weight", "m.kernel", "z.weight"]);
        assert_eq!(store.parameter_count(), 9);
        assert!(!vb.get(3, "a.running_mean").unwrap().is_variable());
        assert!(vb.get(3, "a.weight").unwrap().is_variable());
    }

    #[test]
    fn one_name_is_one_tensor() {
        let store = VarStore::new(0);
        let vb = store.builder(&Device::Cpu);
        let (first, again) = (vb.get(3, "w").unwrap(), vb.get(3, "w").unwrap());
        assert_eq!(first.id(), again.id());
        let clash = vb.get(4, "w").unwrap_err().to_string();
        assert!(clash.contains("\"w\""), "{clash}");
        assert!(vb.get_unchecked("absent").is_err());
    }

    #[test]
    fn a_frozen_tensor_moves_along_and_records_nothing() {
        let store = VarStore::new(0);
        store.builder(&Device::Cpu).get_with_hints(3, "w", UNIFORM).unwrap();
        let frozen = store.frozen(&Device::Cpu).get(3, "w").unwrap();
        store.trainable()[0].1.set(&Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(frozen.to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        assert!(!frozen.track_op());
        assert!(store.frozen(&Device::Cpu).get(4, "w").is_err());
        assert!(store.frozen(&Device::Cpu).get(3, "absent").is_err());
        assert_eq!(store.all().len(), 1);
    }

    #[test]
    fn strict_loading_is_all_or_nothing() {
        let store = VarStore::new(1);
        let vb = store.builder(&Device::Cpu);
        vb.get_with_hints((2, 2), "a", UNIFORM).unwrap();
        vb.get_with_hints(3, "b", UNIFORM).unwrap();
        let before = values(&store, "a");
        let good = Tensor::ones((2, 2), DType::F64, &Device::Cpu).unwrap();
        let mut state = HashMap::from([("a".to_owned(), good)]);
        state.insert("b".to_owned(), Tensor::ones(4, DType::F32, &Device::Cpu).unwrap());
        state.insert("extra".to_owned(), Tensor::ones(1, DType::F32, &Device::Cpu).unwrap());

        let error = store.load(&state, LoadMode::Strict).unwrap_err().to_string();
        assert!(error.contains("\"b\"") && error.contains("[3]") && error.contains("[4]"), "{error}");
        assert!(error.contains("\"extra\""), "{error}");
        assert_eq!(values(&store, "a"), before);

        let report = store.load(&state, LoadMode::Lenient).unwrap();
        assert_eq!(report.loaded, ["a"]);
        assert_eq!(report.unexpected, ["extra"]);
        assert_eq!(report.shape_mismatch.len(), 1);
        assert_eq!(values(&store, "a"), [1.0; 4]);
    }

    #[test]
    fn a_saved_map_restores_and_does_not_move_along() {
        let store = VarStore::new(1);
        let w = store.builder(&Device::Cpu).get_with_hints(3, "w", UNIFORM).unwrap();
        let saved = store.to_map().unwrap();
        let start = values(&store, "w");
        Var::from_tensor(&w).unwrap().set(&Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(values(&store, "w"), [0.0; 3]);
        store.load(&saved, LoadMode::Strict).unwrap();
        assert_eq!(values(&store, "w"), start);
    }
}
