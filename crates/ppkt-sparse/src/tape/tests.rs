//! A tape of tensors against the tape of arrays, both on the processor.

use candle_core::{Device, Tensor, Var};

use super::Recompute;
use super::arithmetic::InGraph;
use super::host::Host;
use super::on_device::OnDevice;
use super::recorder::{Recorder, Then};
use crate::{
    BatchNorm, ConvSpec, Pointwise, Precision, SparseConv3d, SparseConvTranspose3d, SparseError,
    SparseTensor, VarStore,
};

/// Everything that a tape knows: inputs side by side, of three values too, a residual, norms with and without ReLU,
/// strided, transposed and linear maps, a bias, and a value that several units read.
struct Network {
    stem: (SparseConv3d, BatchNorm),
    down: (SparseConv3d, BatchNorm),
    wide: (SparseConv3d, BatchNorm),
    up: (SparseConvTranspose3d, BatchNorm),
    shortcut: (Pointwise, BatchNorm),
    head: Pointwise,
}

impl Network {
    fn new(store: &VarStore) -> Self {
        let vb = store.builder(&Device::Cpu);
        let norm = |c: usize, name: &str| BatchNorm::new(c, 0.1, vb.pp(name)).unwrap();
        let conv =
            |cin, cout, spec: ConvSpec, name: &str| SparseConv3d::new(cin, cout, spec, vb.pp(name)).unwrap();
        let up = SparseConvTranspose3d::new(48, 5, ConvSpec::new(2, 2), vb.pp("up")).unwrap();
        Self {
            stem: (conv(3, 40, ConvSpec::new(3, 1), "stem"), norm(40, "stem_norm")),
            down: (conv(40, 48, ConvSpec::new(2, 2), "down"), norm(48, "down_norm")),
            wide: (conv(48, 48, ConvSpec::new(3, 1), "wide"), norm(48, "wide_norm")),
            up: (up, norm(5, "up_norm")),
            shortcut: (
                Pointwise::without_bias(48, 7, Default::default(), vb.pp("shortcut")).unwrap(),
                norm(7, "shortcut_norm"),
            ),
            head: Pointwise::new(55, 4, vb.pp("head")).unwrap(),
        }
    }

    fn run<A: InGraph>(
        &self,
        arithmetic: A,
        x: &SparseTensor,
        (train, recompute): (bool, Recompute),
    ) -> Result<Tensor, SparseError> {
        fn relu<A: InGraph>(norm: &BatchNorm) -> Then<'_, A> {
            Then { norm: Some(norm), residual: None, relu: true }
        }
        let (mut tape, x) = Recorder::new(arithmetic, x, train, recompute)?;
        let fine = tape.unit(&[&x], self.stem.0.parts(), relu(&self.stem.1))?;
        let mut y = tape.unit(&[&fine], self.down.0.parts(), relu(&self.down.1))?;
        // The same weights again and again: sums of residual sums.
        for _ in 0..3 {
            let inner = tape.unit(&[&y], self.wide.0.parts(), relu(&self.wide.1))?;
            let then = Then { residual: Some(&y), ..relu(&self.wide.1) };
            let sum = tape.unit(&[&inner], self.wide.0.parts(), then)?;
            y = sum;
        }
        let up = tape.unit(&[&y], self.up.0.parts(), relu(&self.up.1))?;
        let then = Then { relu: false, ..relu(&self.shortcut.1) };
        let side = tape.unit(&[&fine, &up, &x], self.shortcut.0.parts(), then)?;
        let nothing = Then { norm: None, residual: None, relu: false };
        let y = tape.unit(&[&fine, &side, &up, &x], self.head.parts(), nothing)?;
        Ok(tape.finish(y)?.features().clone())
    }
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761 % 1_000) as f32) / 500.0 - 1.0).collect()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Scores, gradients of the input and of all parameters, and running statistics.
fn pass<A: InGraph>(arithmetic: A, how: (bool, Recompute)) -> Vec<Vec<f32>> {
    let store = VarStore::new(4);
    let network = Network::new(&store);
    let coords: Vec<[i32; 4]> = (0..900).map(|i| [i / 450, i % 15, i / 15 % 30, (i * i) % 5 / 3]).collect();
    let features = Var::from_vec(numbers(900 * 3), (900, 3), &Device::Cpu).unwrap();
    let (x, rows) = SparseTensor::new(&coords, features.as_tensor().clone()).unwrap();
    assert_eq!(rows.len(), 900);
    let y = network.run(arithmetic, &x, how).unwrap();
    let target = Tensor::from_vec(numbers(y.elem_count()), y.shape(), &Device::Cpu).unwrap();
    let grads = (&y * target).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![values(&y), values(grads.get(&features).unwrap())];
    all.extend(store.trainable().iter().map(|(_, var)| values(grads.get(var).unwrap())));
    let moved = store.buffers().into_iter().filter(|(name, _)| !name.ends_with("tracked"));
    all.extend(moved.map(|(_, buffer)| values(&buffer)));
    all
}

#[test]
fn tensors_give_what_arrays_give() {
    for how in [(true, Recompute::Cheap), (false, Recompute::Cheap), (true, Recompute::Convolutions)] {
        let arrays = pass(Host::<f32>::new().unwrap(), how);
        let tensors = pass(OnDevice::new(Precision::F32, &Device::Cpu).unwrap(), how);
        assert_eq!(arrays.len(), tensors.len());
        assert_eq!(arrays[0], tensors[0], "the same operations in the same order");
        for (i, (arrays, tensors)) in arrays.iter().zip(&tensors).enumerate() {
            let largest = arrays.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0 || !how.0, "number {i} is all zeros");
            for (a, t) in arrays.iter().zip(tensors) {
                assert!((a - t).abs() <= 1e-5 * largest, "number {i}, {how:?}: {a} and {t}");
            }
        }
    }
}

#[test]
fn what_is_computed_again_has_the_same_bits() {
    for train in [true, false] {
        let [kept, again] = Recompute::ALL.map(|how| pass(Host::<f32>::new().unwrap(), (train, how)));
        assert_eq!(kept, again);
        let on_device = || OnDevice::new(Precision::F32, &Device::Cpu).unwrap();
        let [kept, again] = Recompute::ALL.map(|how| pass(on_device(), (train, how)));
        assert_eq!(kept, again);
    }
}
