//! The kernels and their launchers, run on the processor, against its own convolution.

use candle_core::{Device, Tensor, Var};
use half::bf16;
use ppkt_device::launch::Memory;
use ppkt_testkit::{EmulatedGpu, EmulatedMemory};

use super::super::conv_plan::{PRODUCTS, WGRADS};
use super::super::map::DeviceKeys;
use super::super::samples::{gpu, narrow, wide};
use super::*;
use crate::conv::Direction;
use crate::{ConvSpec, SparseTensor, conv, conv_cat, conv_transpose};

/// Numbers in -1..1, the same for the same seed.
fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `n` voxels of a wavy sheet.
fn sheet(n: usize) -> Vec<[i32; 4]> {
    let edge = (n as f64).sqrt().ceil() as usize;
    let voxel = |i: usize| {
        let (x, y) = ((i / edge) as i32, (i % edge) as i32);
        [0, x - 3, y, (x * x + 3 * y) % 7 / 2]
    };
    (0..n).map(voxel).collect()
}

/// One convolution, on the processor and by the kernels.
struct Case {
    spec: ConvSpec,
    transposed: bool,
    sides: (usize, usize),
    cout: usize,
    bias: bool,
    voxels: usize,
}

impl Case {
    const fn new(voxels: usize, kernel: usize, sides: (usize, usize), cout: usize) -> Self {
        Self { spec: ConvSpec::new(kernel, 1), transposed: false, sides, cout, bias: false, voxels }
    }
}

/// What a convolution and its backward pass give, and what they are given.
struct Reference {
    sides: Vec<(Vec<f32>, usize)>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
    out: Vec<f32>,
    of_sides: Vec<Vec<f32>>,
    of_weight: Vec<f32>,
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// As tensors of bf16 keep them.
fn rounded(numbers: Vec<f32>, math: Math) -> Vec<f32> {
    match math {
        Math::Bf16 => numbers.into_iter().map(|v| bf16::from_f32(v).to_f32()).collect(),
        _ => numbers,
    }
}

/// The processor's results for numbers that `math` can hold, with the tables in both directions.
fn reference(case: &Case, math: Math, gpu: &EmulatedGpu) -> (Reference, [Table<EmulatedGpu>; 2]) {
    let var = |seed: u32, shape: &[usize]| {
        let all = rounded(numbers(seed, shape.iter().product()), math);
        Var::from_tensor(&Tensor::from_vec(all, shape, &Device::Cpu).unwrap()).unwrap()
    };
    let coords = sheet(case.voxels);
    let empty = Tensor::zeros((coords.len(), 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (x, _) = SparseTensor::new(&coords, empty).unwrap();
    let (manager, stride) = (x.manager().clone(), case.spec.stride as u32);
    let (fine, coarse) = (manager.coords(1).unwrap(), manager.coarser(1, case.spec.stride).unwrap());
    let (at, n) = if case.transposed { (stride, coarse.len()) } else { (1, fine.len()) };
    let mut widths = vec![case.sides.0];
    widths.extend((case.sides.1 > 0).then_some(case.sides.1));
    let vars: Vec<Var> = widths.iter().enumerate().map(|(i, &c)| var(i as u32 + 1, &[n, c])).collect();
    let on = |v: &Var| SparseTensor::on(&manager, at, v.as_tensor().clone()).unwrap();
    let w = var(5, &[case.spec.volume(), case.sides.0 + case.sides.1, case.cout]);
    let b = var(6, &[1, case.cout]);
    let y = match &vars[..] {
        [v] if case.transposed => conv_transpose(&on(v), &w, case.spec),
        [v] if case.bias => crate::conv::conv_bias(&on(v), &w, &b, case.spec),
        [v] => conv(&on(v), &w, case.spec),
        [l, r] => conv_cat(&on(l), &on(r), &w, case.spec),
        _ => unreachable!(),
    };
    let y = y.unwrap().features().clone();
    let grad = var(7, y.dims());
    let grads = y.mul(&grad.as_detached_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Var| grads.get(v).map_or_else(Vec::new, flat);
    let keys = [&fine, &coarse].map(|s| DeviceKeys::new(gpu, s.keys(), s.bias()).unwrap());
    let table = |d| {
        let (target, source) = if d == Direction::ToCoarse { (1, 0) } else { (0, 1) };
        Table::new(gpu, &keys[target], &keys[source], case.spec, d).unwrap()
    };
    let reference = Reference {
        sides: vars.iter().zip(&widths).map(|(v, &c)| (flat(v), c)).collect(),
        weight: flat(&w),
        bias: if case.bias { flat(&b) } else { Vec::new() },
        grad: flat(&grad),
        out: flat(&y),
        of_sides: vars.iter().map(of).collect(),
        of_weight: of(&w),
    };
    (reference, [table(Direction::ToCoarse), table(Direction::ToFine)])
}

/// Numbers as the kernels of `math` read them.
enum Kept {
    F32(EmulatedMemory<f32>),
    Bf16(EmulatedMemory<bf16>),
}

impl Kept {
    fn new(gpu: &EmulatedGpu, numbers: &[f32], math: Math) -> Self {
        match math {
            Math::Bf16 => Self::Bf16(gpu.array(&narrow(numbers))),
            _ => Self::F32(gpu.array(numbers)),
        }
    }

    fn rows(&self) -> Rows<'_> {
        match self {
            Self::F32(v) => Rows::F32(v.view()),
            Self::Bf16(v) => Rows::Bf16(v.view()),
        }
    }
}

fn widened(numbers: &Numbers<EmulatedGpu>) -> Vec<f32> {
    match numbers {
        Numbers::F32(v) => v.values(),
        Numbers::Bf16(v) => wide(&v.values()),
    }
}

/// ‖got - want‖ ≤ bound ‖want‖, and no number far from its own.
#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32], bound: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let size = norm(&mut want.iter().map(|&v| f64::from(v)));
    let apart = norm(&mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w)));
    assert!(apart <= bound * size, "{what}: {apart:e} apart of {size:e}");
    let typical = size / (want.len().max(1) as f64).sqrt();
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let far = f64::from((g - w).abs());
        assert!(far <= 30.0 * bound * typical.max(f64::from(w.abs())), "{what}: element {i} is {g} for {w}");
    }
}

/// Bounds for results of f32, and of bf16.
fn bounds(math: Math) -> (f64, f64) {
    match math {
        // What is multiplied is bf16 on both sides: sums in f32 lose nothing.
        Math::Bf16 => (1e-5, 3e-3),
        Math::Tf32 => (1e-3, 1e-3),
        Math::F32 => (1e-6, 1e-6),
    }
}

fn sides_of<'a>(kept: &'a [(Kept, usize)]) -> Sides<'a> {
    Sides { left: (kept[0].0.rows(), kept[0].1), right: kept.get(1).map(|(k, c)| (k.rows(), *c)) }
}

/// Compares product and gradients by features and by weight. `by` chooses a kernel of the product.
fn check(case: &Case, math: Math, by: Option<&Product>) {
    let Some(gpu) = gpu() else { return };
    let (r, tables) = reference(case, math, &gpu);
    let forward = Pairs::Table(&tables[usize::from(case.transposed)]);
    let symmetric = case.spec.is_symmetric();
    let backward = if symmetric { forward } else { Pairs::Table(&tables[usize::from(!case.transposed)]) };
    compare(&gpu, &r, (forward, backward, symmetric), case, math, by);
    if case.spec.is_pointwise() {
        let same = Pairs::Same(r.sides[0].0.len() / r.sides[0].1);
        compare(&gpu, &r, (same, same, true), case, math, by);
    }
}

fn compare(
    gpu: &EmulatedGpu,
    r: &Reference,
    (forward, backward, mirrored): (Pairs<'_, EmulatedGpu>, Pairs<'_, EmulatedGpu>, bool),
    case: &Case,
    math: Math,
    by: Option<&Product>,
) {
    let (in_f32, in_own) = bounds(math);
    let kept: Vec<_> = r.sides.iter().map(|(v, c)| (Kept::new(gpu, v, math), *c)).collect();
    let sides = sides_of(&kept);
    let (cin, cout) = (case.sides.0 + case.sides.1, case.cout);
    let (numbers, bias) = (gpu.array(&r.weight), gpu.array(&r.bias));
    let bias = (!r.bias.is_empty()).then_some(bias.view());
    let grad = (Kept::new(gpu, &r.grad, math), cout);
    let run = |pairs: Pairs<'_, EmulatedGpu>, sides: &Sides<'_>, back, bias: Option<View<'_, f32>>, f32| {
        let w = Weight { numbers: numbers.view(), cin, cout, back };
        let got = match by {
            Some(by) => product_by(gpu, by, pairs, sides, &w, bias, f32),
            None => product(gpu, math, pairs, sides, &w, bias, f32),
        };
        widened(&got.unwrap())
    };
    close("product", &run(forward, &sides, None, bias, true), &r.out, in_f32);
    if math == Math::Bf16 {
        close("product in bf16", &run(forward, &sides, None, bias, false), &r.out, in_own);
    }
    let mut first = 0;
    for (want, &(_, outer)) in r.of_sides.iter().zip(&r.sides) {
        let grads = Sides { left: (grad.0.rows(), cout), right: None };
        let got = run(backward, &grads, Some(Back { first, outer, mirrored }), None, true);
        close("gradient by features", &got, want, in_f32);
        first += outer;
    }
    if by.is_none() {
        let got = weight_gradient(gpu, math, forward, &sides, (grad.0.rows(), cout)).unwrap();
        close("gradient by weight", &got.values(), &r.of_weight, in_f32.max(3e-6));
    }
}

const ALL: [Math; 3] = [Math::Bf16, Math::Tf32, Math::F32];

#[test]
fn a_convolution_and_its_gradients_are_the_processors() {
    for math in ALL {
        check(&Case::new(300, 3, (32, 0), 48), math, None);
    }
}

#[test]
fn one_voxel_and_none() {
    for math in ALL {
        check(&Case::new(1, 3, (16, 0), 16), math, None);
        check(&Case::new(0, 3, (16, 0), 16), math, None);
    }
}

#[test]
fn two_inputs_side_by_side() {
    for math in ALL {
        check(&Case::new(150, 3, (40, 96), 16), math, None);
    }
}

#[test]
fn few_channels_and_odd_ones() {
    for math in ALL {
        check(&Case { bias: true, ..Case::new(140, 5, (3, 0), 40) }, math, None);
        check(&Case::new(140, 3, (13, 0), 7), math, None);
        check(&Case::new(140, 3, (9, 5), 6), math, None);
    }
}

#[test]
fn strided_and_transposed() {
    for math in ALL {
        for transposed in [false, true] {
            let spec = ConvSpec::new(2, 2);
            check(&Case { spec, transposed, ..Case::new(300, 2, (24, 0), 32) }, math, None);
        }
        check(&Case { spec: ConvSpec::new(3, 2), ..Case::new(150, 3, (16, 0), 16) }, math, None);
    }
}

#[test]
fn row_by_row_with_a_bias() {
    for math in ALL {
        check(&Case { bias: true, ..Case::new(270, 1, (96, 0), 20) }, math, None);
    }
}

#[test]
fn many_kernel_voxels() {
    check(&Case::new(200, 5, (16, 0), 16), Math::Bf16, None);
}

/// Every kernel, also those that such small inputs do not take by themselves; whole chunks and broken ones.
#[test]
fn every_kernel_of_a_product_gives_the_same() {
    let Some(gpu) = gpu() else { return };
    for math in ALL {
        let case = Case::new(260, 2, (40, 0), 136);
        let (r, tables) = reference(&case, math, &gpu);
        let kept = [(Kept::new(&gpu, &r.sides[0].0, math), 40)];
        let sides = sides_of(&kept);
        let numbers = gpu.array(&r.weight);
        let weight = Weight { numbers: numbers.view(), cin: 40, cout: 136, back: None };
        let mut first: Option<Vec<f32>> = None;
        for kernel in PRODUCTS.iter().filter(|p| p.math == math) {
            let got =
                product_by(&gpu, kernel, Pairs::Table(&tables[0]), &sides, &weight, None, true).unwrap();
            let got = widened(&got);
            close(kernel.kernel, &got, &r.out, bounds(math).0);
            let same = first.get_or_insert_with(|| got.clone());
            assert!(got == *same, "{}: other bits", kernel.kernel);
        }
    }
}

#[test]
fn every_kernel_of_a_gradient_by_the_weight_is_right() {
    let kinds: Vec<_> = WGRADS.iter().map(|w| w.kernel).collect();
    let mut seen = Vec::new();
    for (sides, cout) in [((128, 0), 128), ((96, 0), 96), ((64, 0), 40), ((20, 6), 10)] {
        for math in ALL {
            seen.push(Wgrad::choose(math, sides, cout).kernel);
            let Some(gpu) = gpu() else { return };
            let case = Case::new(260, 2, sides, cout);
            let (r, tables) = reference(&case, math, &gpu);
            let kept: Vec<_> = r.sides.iter().map(|(v, c)| (Kept::new(&gpu, v, math), *c)).collect();
            let grad = Kept::new(&gpu, &r.grad, math);
            let got =
                weight_gradient(&gpu, math, Pairs::Table(&tables[0]), &sides_of(&kept), (grad.rows(), cout));
            close(seen[seen.len() - 1], &got.unwrap().values(), &r.of_weight, bounds(math).0.max(3e-6));
        }
    }
    assert!(kinds.iter().all(|k| seen.contains(k)), "{kinds:?} of which {seen:?}");
}
