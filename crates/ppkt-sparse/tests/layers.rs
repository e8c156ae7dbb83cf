//! Gradients of every layer against finite differences, edges, and equal bits for any number of threads.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{
    BatchNorm, ConvInit, ConvSpec, Pointwise, SparseConv3d, SparseConvTranspose3d, SparseTensor, VarStore,
    add, cat, relu, unit_norm,
};

/// Numbers in (-1, 1), a function of the seed.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor(values: Vec<f32>, shape: (usize, usize)) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A flat patch of voxels, in the order that the tensor sorts them into.
fn patch(n: usize) -> Vec<[i32; 4]> {
    let edge = (n as f64).sqrt().ceil() as i32;
    let coords: Vec<[i32; 4]> = (0..n as i32).map(|i| [0, i % edge, i / edge, (i % edge) / 3]).collect();
    let (x, _) = SparseTensor::new(&coords, tensor(vec![0.0; n], (n, 1))).unwrap();
    x.coords().to_vec()
}

/// Features that a gradient can reach: already in order, so that nothing is copied on the way.
fn leaf(n: usize, c: usize, seed: u64) -> (Var, SparseTensor) {
    let var = Var::from_tensor(&tensor(numbers(n * c, seed), (n, c))).unwrap();
    let (x, _) = SparseTensor::new(&patch(n), var.as_tensor().clone()).unwrap();
    (var, x)
}

/// Compares the gradients of `sum(weights · f())` with central differences, number by number.
///
/// Where the result ends in a ReLU, numbers whose step crosses its kink are left out; half of all must remain.
fn check(what: &str, vars: &[Var], f: impl Fn() -> Tensor) {
    const STEP: f32 = 1e-2;
    const TOLERANCE: f64 = 4e-3;
    let y = f();
    let weights = numbers(y.elem_count(), 77);
    let scalar = |y: &[f32]| y.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>();
    let signs = |y: &[f32]| y.iter().map(|v| *v > 0.0).collect::<Vec<_>>();
    let w = Tensor::from_vec(weights.clone(), y.dims(), &Device::Cpu).unwrap();
    let grads = (&y * w).unwrap().sum_all().unwrap().backward().unwrap();
    for (i, var) in vars.iter().enumerate() {
        let got = values(grads.get(var).unwrap_or_else(|| panic!("{what}: no gradient {i}")));
        let start = values(var);
        let put =
            |v: &[f32]| var.set(&Tensor::from_vec(v.to_vec(), var.dims(), &Device::Cpu).unwrap()).unwrap();
        let scale = got.iter().fold(0f64, |m, g| m.max(f64::from(g.abs())));
        assert!(scale > 0.0, "{what}: gradient {i} is zero");
        let mut checked = 0;
        for k in 0..start.len() {
            let mut moved = start.clone();
            moved[k] = start[k] + STEP;
            put(&moved);
            let up = values(&f());
            moved[k] = start[k] - STEP;
            put(&moved);
            let down = values(&f());
            if what.contains("relu") && signs(&up) != signs(&down) {
                continue;
            }
            checked += 1;
            let want = (scalar(&up) - scalar(&down)) / (2.0 * f64::from(STEP));
            let off = (f64::from(got[k]) - want).abs() / scale;
            assert!(off < TOLERANCE, "{what}: gradient {i}[{k}] is {}, differences say {want}", got[k]);
        }
        put(&start);
        assert!(
            checked * 2 > start.len(),
            "{what}: only {checked} of {} numbers could be checked",
            start.len()
        );
    }
}

fn parameters(store: &VarStore) -> Vec<Var> {
    store.trainable().into_iter().map(|(_, v)| v).collect()
}

/// Fresh numbers for all parameters, so that γ = 1 and β = 0 hide nothing.
fn shake(store: &VarStore) {
    for (i, (_, var)) in store.trainable().into_iter().enumerate() {
        let v = numbers(var.elem_count(), 31 + i as u64).into_iter().map(|v| v + 1.2).collect::<Vec<_>>();
        var.set(&Tensor::from_vec(v, var.dims(), &Device::Cpu).unwrap()).unwrap();
    }
}

#[test]
fn gradients_of_batch_norm() {
    for train in [true, false] {
        let store = VarStore::new(0);
        let norm = BatchNorm::new(3, 0.1, store.builder(&Device::Cpu)).unwrap();
        shake(&store);
        let (x, sx) = leaf(14, 3, 1);
        let (r, sr) = leaf(14, 3, 2);
        let sr = sx.with_features(sr.features().clone()).unwrap();
        let mut vars = parameters(&store);
        vars.push(x);
        check("norm", &vars, || norm.forward(&sx, train).unwrap().features().clone());
        check("norm, relu", &vars, || norm.forward_relu(&sx, train).unwrap().features().clone());
        vars.push(r);
        let fused = || norm.forward_add_relu(&sx, &sr, train).unwrap().features().clone();
        check("norm, add, relu", &vars, fused);
    }
}

#[test]
fn gradients_of_what_is_asked_for_only() {
    let store = VarStore::new(0);
    let norm = BatchNorm::new(3, 0.1, store.builder(&Device::Cpu)).unwrap();
    shake(&store);
    let constant = SparseTensor::new(&patch(14), tensor(numbers(42, 1), (14, 3))).unwrap().0;
    let (r, sr) = leaf(14, 3, 2);
    let sr = constant.with_features(sr.features().clone()).unwrap();
    let mut vars = parameters(&store);
    check("relu of constant input", &vars, || norm.forward_relu(&constant, true).unwrap().features().clone());
    vars.push(r);
    let fused = || norm.forward_add_relu(&constant, &sr, true).unwrap().features().clone();
    check("relu of constant input, residual", &vars, fused);
    let (x, sx) = leaf(14, 3, 4);
    let residual = sx.with_features(constant.features().clone()).unwrap();
    check("relu, constant residual", &[x], || {
        norm.forward_add_relu(&sx, &residual, true).unwrap().features().clone()
    });
}

#[test]
fn gradients_of_linear_maps() {
    let store = VarStore::new(0);
    let vb = store.builder(&Device::Cpu);
    let with = Pointwise::new(3, 4, vb.pp("with")).unwrap();
    let without = Pointwise::without_bias(4, 2, ConvInit::default(), vb.pp("without")).unwrap();
    let (x, sx) = leaf(9, 3, 1);
    let mut vars = parameters(&store);
    vars.push(x);
    check("linear", &vars, || without.forward(&with.forward(&sx).unwrap()).unwrap().features().clone());
}

#[test]
fn gradients_of_convolutions() {
    let store = VarStore::new(0);
    let vb = store.builder(&Device::Cpu);
    let one = SparseConv3d::with_bias(2, 3, ConvSpec::new(1, 1), vb.pp("one")).unwrap();
    let same = SparseConv3d::with_bias(3, 2, ConvSpec::new(3, 1), vb.pp("same")).unwrap();
    let down = SparseConv3d::new(2, 3, ConvSpec::new(2, 2), vb.pp("down")).unwrap();
    let up = SparseConvTranspose3d::new(3, 2, ConvSpec::new(2, 2), vb.pp("up")).unwrap();
    let (x, sx) = leaf(12, 2, 1);
    let mut vars = parameters(&store);
    vars.push(x);
    check("convolutions", &vars, || {
        let y = same.forward(&one.forward(&sx).unwrap()).unwrap();
        let y = up.forward(&down.forward(&y).unwrap()).unwrap();
        y.features().clone()
    });
}

#[test]
fn gradients_of_relu_add_cat_and_unit_norm() {
    let (a, sa) = leaf(10, 3, 1);
    let (b, sb) = leaf(10, 2, 2);
    let sb = sa.with_features(sb.features().clone()).unwrap();
    check("relu", std::slice::from_ref(&a), || relu(&sa).unwrap().features().clone());
    check("add, relu", std::slice::from_ref(&a), || {
        add(&sa, &relu(&sa).unwrap()).unwrap().features().clone()
    });
    check("cat", &[a.clone(), b], || cat(&[&sa, &sb, &sa]).unwrap().features().clone());
    check("unit norm", &[a], || unit_norm(sa.features()).unwrap());
}

#[test]
fn relu_has_derivative_zero_at_zero_and_keeps_nan() {
    let x = Var::from_tensor(&tensor(vec![-1.0, 0.0, 2.0, f32::NAN], (2, 2))).unwrap();
    let (s, _) = SparseTensor::new(&patch(2), x.as_tensor().clone()).unwrap();
    let y = relu(&s).unwrap();
    let got = values(y.features());
    assert_eq!(got[..3], [0.0, 0.0, 2.0]);
    assert!(got[3].is_nan());
    let grads = y.features().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(grads.get(&x).unwrap())[..3], [0.0, 0.0, 1.0]);
}

#[test]
fn a_nan_goes_through_a_fused_norm() {
    let norm = BatchNorm::new(1, 0.1, VarStore::new(0).builder(&Device::Cpu)).unwrap();
    let (s, _) = SparseTensor::new(&patch(3), tensor(vec![1.0, f32::NAN, 3.0], (3, 1))).unwrap();
    assert!(values(norm.forward_relu(&s, true).unwrap().features()).iter().all(|v| v.is_nan()));
}

#[test]
fn unit_norm_is_safe_at_zero() {
    let x = Var::from_tensor(&tensor(vec![0.0, 0.0, 3.0, 4.0, 1e-30, 0.0], (3, 2))).unwrap();
    let y = unit_norm(&x).unwrap();
    for (got, want) in values(&y).iter().zip([0.0, 0.0, 0.6, 0.8, 0.0, 0.0]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(values(grads.get(&x).unwrap()).iter().all(|g| g.is_finite()));
    assert!(unit_norm(&Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap()).unwrap().dims() == [0, 4]);
}

#[test]
fn fused_norms_are_what_their_parts_are() {
    let build = || {
        let store = VarStore::new(3);
        let norm = BatchNorm::new(5, 0.1, store.builder(&Device::Cpu)).unwrap();
        shake(&store);
        norm
    };
    // More rows than one block, and not a multiple of it.
    let n = 1000;
    let (_, x) = leaf(n, 5, 1);
    let (_, r) = leaf(n, 5, 2);
    let r = x.with_features(r.features().clone()).unwrap();
    for train in [true, false] {
        let plain = build().forward(&x, train).unwrap();
        let parts = relu(&plain).unwrap();
        let fused = build().forward_relu(&x, train).unwrap();
        assert_eq!(values(parts.features()), values(fused.features()));
        let parts = relu(&add(&plain, &r).unwrap()).unwrap();
        let fused = build().forward_add_relu(&x, &r, train).unwrap();
        assert_eq!(values(parts.features()), values(fused.features()));
    }
}

/// A mean a thousand times the deviation costs a plain f32 sum all its digits.
#[test]
fn a_large_mean_costs_no_digits() {
    let n = 5000;
    let noise = numbers(n, 9);
    let x: Vec<f32> = noise.iter().map(|v| 1000.0 + v).collect();
    let exact: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let mean = exact.iter().sum::<f64>() / n as f64;
    let var = exact.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
    let norm = BatchNorm::new(1, 0.1, VarStore::new(0).builder(&Device::Cpu)).unwrap();
    let (s, order) = SparseTensor::new(&patch(n), tensor(x, (n, 1))).unwrap();
    for (got, &row) in values(norm.forward(&s, true).unwrap().features()).iter().zip(&order) {
        let want = (exact[row as usize] - mean) / (var + 1e-5).sqrt();
        // The mean itself is rounded to f32: 3e-5 of a thousand.
        assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
    }
}

#[test]
fn training_needs_two_voxels_and_evaluation_none() {
    let store = VarStore::new(0);
    let norm = BatchNorm::new(2, 0.1, store.builder(&Device::Cpu)).unwrap();
    for n in [0, 1] {
        let x = SparseTensor::new(&patch(n), tensor(vec![3.0; 2 * n], (n, 2))).unwrap().0;
        let error = norm.forward(&x, true).unwrap_err().to_string();
        assert!(error.contains("at least 2 voxels") && error.contains(&format!("not {n}")), "{error}");
        let y = norm.forward(&x, false).unwrap();
        assert_eq!(y.features().dims(), [n, 2]);
        assert!(values(y.features()).iter().all(|v| (v - 3.0).abs() < 1e-4));
    }
    // What failed has left no trace.
    assert!(store.buffers().iter().all(|(name, v)| name.ends_with("var")
        || v.to_dtype(DType::F32).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() == 0.0));
    let same = SparseTensor::new(&patch(2), tensor(vec![3.0; 4], (2, 2))).unwrap().0;
    assert_eq!(values(norm.forward(&same, true).unwrap().features()), [0.0; 4]);
}

#[test]
fn no_voxel_passes_through_every_layer() {
    let store = VarStore::new(0);
    let vb = store.builder(&Device::Cpu);
    let (x, sx) = leaf(0, 3, 1);
    let conv = SparseConv3d::with_bias(3, 4, ConvSpec::new(3, 1), vb.pp("conv")).unwrap();
    let norm = BatchNorm::new(4, 0.1, vb.pp("bn")).unwrap();
    let head = Pointwise::new(8, 2, vb.pp("head")).unwrap();
    let y = norm.forward_add_relu(&conv.forward(&sx).unwrap(), &conv.forward(&sx).unwrap(), false).unwrap();
    let y = head.forward(&cat(&[&y, &relu(&y).unwrap()]).unwrap()).unwrap();
    assert_eq!(y.features().dims(), [0, 2]);
    let grads = y.features().sum_all().unwrap().backward().unwrap();
    assert_eq!(grads.get(&x).unwrap().dims(), [0, 3]);
    for (name, var) in store.trainable() {
        assert!(values(grads.get(&var).unwrap()).iter().all(|&g| g == 0.0), "{name}");
    }
}

#[test]
fn mismatches_are_errors() {
    let vb = VarStore::new(0).builder(&Device::Cpu);
    let (_, a) = leaf(10, 3, 1);
    let (_, b) = leaf(11, 3, 1);
    for result in [cat(&[&a, &b]), add(&a, &b)] {
        assert!(result.unwrap_err().to_string().contains("different coordinates"));
    }
    assert!(cat(&[]).is_err());
    assert!(Pointwise::new(4, 2, vb.pp("p")).unwrap().forward(&a).is_err());
    assert!(BatchNorm::new(4, 0.1, vb.pp("n")).unwrap().forward(&a, true).is_err());
    assert!(BatchNorm::new(3, 0.1, vb.pp("m")).unwrap().forward_add_relu(&a, &b, true).is_err());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let store = VarStore::new(5);
            let vb = store.builder(&Device::Cpu);
            let norm = BatchNorm::new(24, 0.1, vb.pp("bn")).unwrap();
            let head = Pointwise::new(48, 20, vb.pp("head")).unwrap();
            shake(&store);
            let (x, sx) = leaf(7001, 24, 1);
            let y = norm.forward_relu(&sx, true).unwrap();
            let y = norm.forward_add_relu(&y, &sx, true).unwrap();
            let y = head.forward(&cat(&[&y, &relu(&sx).unwrap()]).unwrap()).unwrap();
            let y = unit_norm(y.features()).unwrap();
            let w = Tensor::from_vec(numbers(y.elem_count(), 3), y.dims(), &Device::Cpu).unwrap();
            let grads = (&y * w).unwrap().sum_all().unwrap().backward().unwrap();
            let mut bits: Vec<u32> = values(&y).iter().map(|v| v.to_bits()).collect();
            for var in parameters(&store).into_iter().chain([x]) {
                bits.extend(values(grads.get(&var).unwrap()).iter().map(|v| v.to_bits()));
            }
            bits
        })
    };
    let one = run(1);
    assert!(one == run(2), "2 threads");
    assert!(one == run(3), "3 threads");
}
