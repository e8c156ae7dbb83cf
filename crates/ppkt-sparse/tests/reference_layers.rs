//! Batch norm, and a two-level U-Net with one step of SGD, against the float64 reference vectors.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use ppkt_sparse::{
    BatchNorm, ConvSpec, LoadMode, Pointwise, SparseConv3d, SparseConvTranspose3d, SparseTensor, VarStore,
    cat,
};
use ppkt_testkit::{Vectors, assert_close, reference_files};

/// One layer in f32 against f64.
const LAYER: f64 = 1e-5;

/// A whole network, forward and backward; other implementations reach 7e-6.
const NETWORK: f64 = 1e-4;

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn number(v: &Vectors, name: &str) -> f64 {
    v.meta(name).unwrap_or_else(|| panic!("{}: no {name}", v.name())).parse().unwrap()
}

fn rows4(v: &Vectors, name: &str) -> Vec<[i32; 4]> {
    v.i64s(name).as_chunks::<4>().0.iter().map(|c| c.map(|x| x as i32)).collect()
}

/// Rows of a `[N, C]` reference in the order of our rows.
fn reordered<T: Copy>(all: &[T], order: &[u32]) -> Vec<T> {
    let c = all.len() / order.len();
    order.iter().flat_map(|&r| all[r as usize * c..(r as usize + 1) * c].iter().copied()).collect()
}

/// Sets a store's tensors by name, all of them or the test fails.
fn set(store: &VarStore, values: HashMap<String, Tensor>) {
    let mut state = store.to_map().unwrap();
    for (name, value) in values {
        assert!(state.insert(name.clone(), value).is_some(), "no tensor {name}");
    }
    store.load(&state, LoadMode::Strict).unwrap();
}

fn get(store: &VarStore, name: &str) -> Var {
    store.all().into_iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no tensor {name}")).1
}

#[test]
fn reference_bn_train() {
    for file in reference_files("bn_train_") {
        let v = Vectors::load(&file);
        let what = |name: &str| format!("{} {name}", v.name());
        let (n, c) = (v.shape("feats")[0], v.shape("feats")[1]);
        let store = VarStore::new(0);
        let norm = BatchNorm::new(c, 0.1, store.builder(&Device::Cpu)).unwrap();
        let start = [
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "running_mean_before"),
            ("running_var", "running_var_before"),
        ];
        set(&store, start.map(|(ours, theirs)| (format!("bn.{ours}"), tensor(v.f32s(theirs), &[c]))).into());

        let coords: Vec<[i32; 4]> = (0..n as i32).map(|i| [0, i, 0, 0]).collect();
        let feats = Var::from_tensor(&tensor(v.f32s("feats"), &[n, c])).unwrap();
        let (x, order) = SparseTensor::new(&coords, feats.as_tensor().clone()).unwrap();
        let sorted = |name: &str| reordered(&v.f64s(name), &order);

        let eval = norm.forward(&x, false).unwrap();
        assert_close(&what("out_eval_before"), &values(eval.features()), &sorted("out_eval_before"), LAYER);

        let y = norm.forward(&x, true).unwrap();
        assert_close(&what("out"), &values(y.features()), &sorted("out"), LAYER);
        let g = tensor(reordered(&v.f32s("grad_out"), &order), &[n, c]);
        let grads = (y.features() * g).unwrap().sum_all().unwrap().backward().unwrap();
        let grad = |var: &Var| values(grads.get(var).unwrap());
        assert_close(&what("grad_feats"), &grad(&feats), &v.f64s("grad_feats"), LAYER);
        assert_close(&what("grad_gamma"), &grad(&get(&store, "bn.weight")), &v.f64s("grad_gamma"), LAYER);
        assert_close(&what("grad_beta"), &grad(&get(&store, "bn.bias")), &v.f64s("grad_beta"), LAYER);

        for statistic in ["running_mean", "running_var"] {
            let got = values(&get(&store, &format!("bn.{statistic}")));
            let after = format!("{statistic}_after");
            assert_close(&what(&after), &got, &v.f64s(&after), LAYER);
        }
        assert_eq!(get(&store, "bn.num_batches_tracked").to_scalar::<i64>().unwrap(), 1);
    }
}

/// The network of `unet2_sgd_`.
struct UNet {
    conv0: SparseConv3d,
    bn0: BatchNorm,
    down: SparseConv3d,
    bn_down: BatchNorm,
    res1: SparseConv3d,
    bn_res1: BatchNorm,
    res2: SparseConv3d,
    bn_res2: BatchNorm,
    up: SparseConvTranspose3d,
    bn_up: BatchNorm,
    conv1: SparseConv3d,
    bn1: BatchNorm,
    head: Pointwise,
}

impl UNet {
    fn new(cin: usize, c0: usize, c1: usize, classes: usize, vb: &VarBuilder) -> Self {
        let (same, halve) = (ConvSpec::new(3, 1), ConvSpec::new(2, 2));
        let conv = |name: &str, a, b, spec| SparseConv3d::new(a, b, spec, vb.pp(name)).unwrap();
        let norm = |name: &str, c| BatchNorm::new(c, 0.1, vb.pp(name)).unwrap();
        Self {
            conv0: conv("conv0", cin, c0, same),
            bn0: norm("bn0", c0),
            down: conv("down", c0, c1, halve),
            bn_down: norm("bn_down", c1),
            res1: conv("res1", c1, c1, same),
            bn_res1: norm("bn_res1", c1),
            res2: conv("res2", c1, c1, same),
            bn_res2: norm("bn_res2", c1),
            up: SparseConvTranspose3d::new(c1, c0, halve, vb.pp("up")).unwrap(),
            bn_up: norm("bn_up", c0),
            conv1: conv("conv1", 2 * c0, c0, same),
            bn1: norm("bn1", c0),
            head: Pointwise::new(c0, classes, vb.pp("head")).unwrap(),
        }
    }

    fn forward(&self, x: &SparseTensor, train: bool) -> SparseTensor {
        let s = self.bn0.forward_relu(&self.conv0.forward(x).unwrap(), train).unwrap();
        let d = self.bn_down.forward_relu(&self.down.forward(&s).unwrap(), train).unwrap();
        let r = self.bn_res1.forward_relu(&self.res1.forward(&d).unwrap(), train).unwrap();
        let r = self.bn_res2.forward_add_relu(&self.res2.forward(&r).unwrap(), &d, train).unwrap();
        let u = self.bn_up.forward_relu(&self.up.forward(&r).unwrap(), train).unwrap();
        let u = self.conv1.forward(&cat(&[&u, &s]).unwrap()).unwrap();
        self.head.forward(&self.bn1.forward_relu(&u, train).unwrap()).unwrap()
    }
}

const CONVS: [&str; 6] = ["conv0", "down", "res1", "res2", "up", "conv1"];
const NORMS: [&str; 6] = ["bn0", "bn_down", "bn_res1", "bn_res2", "bn_up", "bn1"];

/// Where the reference keeps what is called differently, or laid out differently, from ours.
fn their_name(ours: &str) -> String {
    let ours = ours.replace(".bn.", ".").replace("head.kernel", "head.weight");
    ours.strip_suffix(".kernel").map_or(ours.clone(), str::to_owned)
}

/// A reference tensor in our layout: kernels x fastest in one axis, the head's matrix turned.
fn in_our_layout(v: &Vectors, name: &str, shape: &[usize]) -> Vec<f64> {
    let all = v.f64s(name);
    let theirs = v.shape(name);
    let t = Tensor::from_vec(all, theirs.as_slice(), &Device::Cpu).unwrap();
    let t = match theirs.len() {
        5 => t.permute((2, 1, 0, 3, 4)).unwrap().contiguous().unwrap(),
        2 if name.ends_with("head.weight") => t.t().unwrap().contiguous().unwrap(),
        _ => t,
    };
    assert_eq!(t.elem_count(), shape.iter().product::<usize>(), "{name}");
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn narrow(v: Vec<f64>) -> Vec<f32> {
    v.into_iter().map(|x| x as f32).collect()
}

#[test]
fn reference_unet2_sgd() {
    for file in reference_files("unet2_sgd_") {
        let v = Vectors::load(&file);
        let what = |name: &str| format!("{} {name}", v.name());
        let conv0 = v.shape("before.conv0");
        let (cin, c0, c1) = (conv0[3], conv0[4], v.shape("before.down")[4]);
        let classes = v.shape("before.head.weight")[0];
        let store = VarStore::new(0);
        let net = UNet::new(cin, c0, c1, classes, &store.builder(&Device::Cpu));
        let before = store.trainable().into_iter().map(|(name, var)| {
            let theirs = format!("before.{}", their_name(&name));
            let value = narrow(in_our_layout(&v, &theirs, var.dims()));
            (name, tensor(value, var.dims()))
        });
        set(&store, before.collect());

        let coords = rows4(&v, "coords");
        let (x, order) = SparseTensor::new(&coords, tensor(v.f32s("feats"), &[coords.len(), cin])).unwrap();
        let labels: Vec<u32> = reordered(&v.i64s("labels"), &order).into_iter().map(|l| l as u32).collect();
        let labels = Tensor::from_vec(labels, coords.len(), &Device::Cpu).unwrap();

        let logits = net.forward(&x, true);
        let want = reordered(&v.f64s("logits"), &order);
        assert_close(&what("logits"), &values(logits.features()), &want, NETWORK);
        let loss = candle_nn::loss::cross_entropy(logits.features(), &labels).unwrap();
        assert_close(&what("loss"), &[loss.to_scalar::<f32>().unwrap()], &v.f64s("loss"), NETWORK);

        let grads = loss.backward().unwrap();
        let (lr, momentum, decay) = (number(&v, "lr"), number(&v, "momentum"), number(&v, "weight_decay"));
        for (name, var) in store.trainable() {
            let theirs = their_name(&name);
            let grad = values(grads.get(&var).unwrap());
            let of = |prefix: &str| in_our_layout(&v, &format!("{prefix}.{theirs}"), var.dims());
            assert_close(&what(&format!("grad.{theirs}")), &grad, &of("grad"), NETWORK);

            let velocity = format!("velocity_before.{theirs}");
            let old = if v.has(&velocity) { of("velocity_before") } else { vec![0.0; grad.len()] };
            assert_eq!(v.has(&velocity), CONVS.contains(&theirs.as_str()), "{velocity}");
            let mut weights = values(&var);
            let mut new = Vec::new();
            for ((w, &g), &u) in weights.iter_mut().zip(&grad).zip(&old) {
                let step = momentum * u + f64::from(g) + decay * f64::from(*w);
                *w = (f64::from(*w) - lr * step) as f32;
                new.push(step);
            }
            if v.has(&velocity) {
                assert_close(
                    &what(&format!("velocity_after.{theirs}")),
                    &new,
                    &of("velocity_after"),
                    NETWORK,
                );
            }
            assert_close(&what(&format!("after.{theirs}")), &weights, &of("after"), NETWORK);
            var.set(&tensor(weights, var.dims())).unwrap();
        }
        for norm in NORMS {
            for statistic in ["running_mean", "running_var"] {
                let got = values(&get(&store, &format!("{norm}.bn.{statistic}")));
                let name = format!("after.{norm}.{statistic}");
                assert_close(&what(&name), &got, &v.f64s(&name), NETWORK);
            }
        }
        let after = net.forward(&x, false);
        let want = reordered(&v.f64s("logits_eval_after"), &order);
        assert_close(&what("logits_eval_after"), &values(after.features()), &want, NETWORK);
        assert_eq!(after.features().dtype(), DType::F32);
    }
}
