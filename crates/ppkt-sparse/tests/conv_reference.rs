//! Convolutions and coordinate sets against the float64 reference vectors.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{ConvSpec, CoordinateManager, Coords, SparseTensor, conv, conv_transpose};
use ppkt_testkit::{Vectors, assert_close, reference_files};

/// One layer in f32 against f64: a few times the 2e-7 that four other implementations reach.
const TOLERANCE: f64 = 2e-6;

fn rows4(v: &Vectors, name: &str) -> Vec<[i32; 4]> {
    v.i64s(name).as_chunks::<4>().0.iter().map(|c| c.map(|x| x as i32)).collect()
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// `[kx, ky, kz, cin, cout]` to `[K, cin, cout]` with x fastest.
fn to_me(v: &Vectors, name: &str) -> Vec<f32> {
    let shape = v.shape(name);
    let t = tensor(v.f32s(name), &shape).permute((2, 1, 0, 3, 4)).unwrap();
    values(&t.contiguous().unwrap())
}

/// The same for results in f64.
fn to_me_f64(v: &Vectors, name: &str) -> Vec<f64> {
    let shape = v.shape(name);
    let t = Tensor::from_vec(v.f64s(name), shape, &Device::Cpu).unwrap();
    t.permute((2, 1, 0, 3, 4)).unwrap().contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// For each coordinate of `ours`, the row of `theirs`; both must be the same set.
fn rows_in(theirs: &[[i32; 4]], ours: &[[i32; 4]]) -> Vec<usize> {
    let index: HashMap<_, _> = theirs.iter().zip(0..).map(|(c, i)| (*c, i)).collect();
    assert_eq!(theirs.len(), ours.len(), "number of voxels");
    ours.iter()
        .map(|c| *index.get(c).unwrap_or_else(|| panic!("{c:?} is not among the reference's")))
        .collect()
}

fn pick<T: Copy>(values: &[T], rows: &[usize], channels: usize) -> Vec<T> {
    rows.iter().flat_map(|&r| values[r * channels..(r + 1) * channels].iter().copied()).collect()
}

fn scaled(coords: &[[i32; 4]], s: i32) -> Vec<[i32; 4]> {
    coords.iter().map(|c| [c[0], c[1] * s, c[2] * s, c[3] * s]).collect()
}

/// Runs a file through `op`, which maps input features on sorted coordinates to a result, and compares everything.
fn check(v: &Vectors, spec: ConvSpec, transposed: bool) {
    let name = v.name();
    let (feats_shape, out_shape) = (v.shape("feats"), v.shape("out"));
    let (cin, cout) = (feats_shape[1], out_shape[1]);
    let s = spec.stride as i32;
    let (theirs_in, theirs_out) = (rows4(v, "coords"), rows4(v, "coords_out"));
    let (theirs_in, theirs_out, fine) = if transposed {
        (scaled(&theirs_in, s), theirs_out.clone(), theirs_out)
    } else {
        (theirs_in.clone(), scaled(&theirs_out, s), theirs_in)
    };
    let manager = CoordinateManager::new(Coords::new(&fine).unwrap().0);
    let coarse = manager.coarser(1, spec.stride).unwrap();
    let fine = manager.coords(1).unwrap();
    let (ours_in, ours_out) = if transposed { (&coarse, &fine) } else { (&fine, &coarse) };
    let (rows_a, rows_b) = (rows_in(&theirs_in, ours_in.coords()), rows_in(&theirs_out, ours_out.coords()));

    let feats = tensor(pick(&v.f32s("feats"), &rows_a, cin), &feats_shape);
    let feats = Var::from_tensor(&feats).unwrap();
    let me = to_me(v, "weight");
    if v.has("weight_me") {
        assert_eq!(me, v.f32s("weight_me"), "{name}: layout of the weight");
    }
    let weight = Var::from_tensor(&tensor(me, &[spec.volume(), cin, cout])).unwrap();
    let x = SparseTensor::on(&manager, ours_in.stride(), feats.as_tensor().clone()).unwrap();
    let y = if transposed { conv_transpose(&x, &weight, spec) } else { conv(&x, &weight, spec) }.unwrap();
    assert_eq!(y.stride(), ours_out.stride());
    let mut out = y.features().clone();
    let bias = v.has("bias").then(|| Var::from_tensor(&tensor(v.f32s("bias"), &[1, cout])).unwrap());
    if let Some(bias) = &bias {
        out = out.broadcast_add(bias).unwrap();
    }
    assert_close(&format!("{name}: out"), &values(&out), &pick(&v.f64s("out"), &rows_b, cout), TOLERANCE);

    let grad_out = tensor(pick(&v.f32s("grad_out"), &rows_b, cout), &out_shape);
    let grads = (out * grad_out).unwrap().sum_all().unwrap().backward().unwrap();
    let got = values(grads.get(&feats).unwrap());
    assert_close(&format!("{name}: grad_feats"), &got, &pick(&v.f64s("grad_feats"), &rows_a, cin), TOLERANCE);
    let got = values(grads.get(&weight).unwrap());
    assert_close(&format!("{name}: grad_weight"), &got, &to_me_f64(v, "grad_weight"), TOLERANCE);
    if let Some(bias) = &bias {
        let got = values(grads.get(bias).unwrap());
        assert_close(&format!("{name}: grad_bias"), &got, &v.f64s("grad_bias"), TOLERANCE);
    }

    let map = manager.kernel_map(1, spec).unwrap();
    if v.has("kmap") {
        let mut want: Vec<[u32; 3]> =
            v.i64s("kmap").as_chunks().0.iter().map(|p| p.map(|x| x as u32)).collect();
        want.sort_unstable();
        // Ours are (k, fine, coarse), theirs (k, input, output).
        let (rows_fine, rows_coarse) = if transposed { (&rows_b, &rows_a) } else { (&rows_a, &rows_b) };
        let mut got: Vec<[u32; 3]> = map
            .pairs()
            .into_iter()
            .map(|[k, f, c]| (k, rows_fine[f as usize] as u32, rows_coarse[c as usize] as u32))
            .map(|(k, f, c)| if transposed { [k, c, f] } else { [k, f, c] })
            .collect();
        got.sort_unstable();
        assert_eq!(got, want, "{name}: kmap");
    }
    if v.has("kmap_counts") {
        let want: Vec<usize> = v.i64s("kmap_counts").into_iter().map(|c| c as usize).collect();
        assert_eq!(map.counts(), want, "{name}: kmap_counts");
    }
}

/// Kernel and stride of a file; the kernel is what the weight says.
fn spec(v: &Vectors, stride: usize) -> ConvSpec {
    let number = |key: &str| v.meta(key).and_then(|m| m.parse().ok());
    let dilation = number("dilation").unwrap_or(1);
    ConvSpec::new(v.shape("weight")[0], number("stride").unwrap_or(stride)).with_dilation(dilation)
}

#[test]
fn reference_subm_forward_and_gradients() {
    for file in reference_files("subm_") {
        let v = Vectors::load(&file);
        check(&v, spec(&v, 1), false);
    }
}

#[test]
fn reference_down_forward_and_gradients() {
    for file in reference_files("down_") {
        let v = Vectors::load(&file);
        check(&v, spec(&v, 2), false);
    }
}

#[test]
fn reference_up_forward_and_gradients() {
    for file in reference_files("up_") {
        let v = Vectors::load(&file);
        check(&v, spec(&v, 2), true);
    }
}

#[test]
fn reference_voxelise_coarse_sets() {
    for file in reference_files("voxelise_") {
        let v = Vectors::load(&file);
        let (fine, _) = Coords::new(&rows4(&v, "coords")).unwrap();
        let manager = CoordinateManager::new(fine);
        for level in (1..).take_while(|l| v.has(&format!("coords_level{l}"))) {
            let half = manager.coarser(1 << (level - 1), 2).unwrap();
            assert_eq!(half.stride(), 1 << level);
            let mut got = half.coords().to_vec();
            got.sort_unstable();
            let want = scaled(&rows4(&v, &format!("coords_level{level}")), 1 << level);
            assert_eq!(got, want, "{}: level {level}", v.name());
        }
    }
}
