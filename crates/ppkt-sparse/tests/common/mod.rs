//! What several tests need: numbers from a seed, random patterns, and a dense convolution in f64.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]
#![allow(dead_code, reason = "each test file uses its own part")]

use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{ConvSpec, SparseTensor};

/// Numbers in -1..1 from a seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as u32
    }

    pub(crate) fn next(&mut self) -> f32 {
        self.bits() as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.bits()) * n as u64) >> 24) as usize
    }

    pub(crate) fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }

    pub(crate) fn tensor(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(self.vec(shape.iter().product()), shape, &Device::Cpu).unwrap()
    }

    pub(crate) fn var(&mut self, shape: &[usize]) -> Var {
        Var::from_tensor(&self.tensor(shape)).unwrap()
    }

    /// Distinct voxels in random order: each of `batch` cubes of edge `edge` around the origin, filled to `share`.
    pub(crate) fn pattern(&mut self, batch: i32, edge: i32, share: f32) -> Vec<[i32; 4]> {
        let mut coords = Vec::new();
        let half = edge / 2;
        for b in 0..batch {
            for x in -half..edge - half {
                for y in -half..edge - half {
                    for z in -half..edge - half {
                        if self.next() * 0.5 + 0.5 < share {
                            coords.push([b, x, y, z]);
                        }
                    }
                }
            }
        }
        for i in (1..coords.len()).rev() {
            coords.swap(i, self.below(i + 1));
        }
        coords
    }
}

pub(crate) fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// A zero-filled box of voxels with channels, in f64.
pub(crate) struct Dense {
    low: [i32; 4],
    size: [usize; 4],
    channels: usize,
    cells: Vec<f64>,
}

impl Dense {
    /// A box that holds all `coords` and a margin.
    pub(crate) fn around(coords: &[[i32; 4]], margin: i32, channels: usize) -> Self {
        let mut low = [0; 4];
        let mut size = [1; 4];
        for a in 0..4 {
            let margin = if a == 0 { 0 } else { margin };
            low[a] = coords.iter().map(|c| c[a]).min().unwrap_or(0) - margin;
            size[a] = (coords.iter().map(|c| c[a]).max().unwrap_or(0) + margin - low[a] + 1) as usize;
        }
        Self { low, size, channels, cells: vec![0.0; size.iter().product::<usize>() * channels] }
    }

    fn index(&self, c: [i32; 4]) -> usize {
        let mut index = 0;
        for (c, (low, size)) in c.into_iter().zip(self.low.into_iter().zip(self.size)) {
            let at = usize::try_from(c - low).unwrap();
            assert!(at < size, "the margin is too small");
            index = index * size + at;
        }
        index * self.channels
    }

    pub(crate) fn cell(&self, c: [i32; 4]) -> &[f64] {
        let at = self.index(c);
        &self.cells[at..at + self.channels]
    }

    pub(crate) fn cell_mut(&mut self, c: [i32; 4]) -> &mut [f64] {
        let at = self.index(c);
        &mut self.cells[at..at + self.channels]
    }
}

/// The result and both gradients of a convolution, by loops over a dense grid.
pub(crate) struct DenseConv {
    pub(crate) out: Vec<f64>,
    pub(crate) dx: Vec<f64>,
    pub(crate) dw: Vec<f64>,
}

/// `fine` and `coarse` are in voxels of the finest grid, with strides `step` and `step * spec.stride`. Features live on
/// the fine side, or, where `transposed`, on the coarse one.
#[expect(clippy::too_many_arguments, reason = "a reference, called in one place")]
pub(crate) fn dense_conv(
    fine: &[[i32; 4]],
    coarse: &[[i32; 4]],
    step: i32,
    spec: ConvSpec,
    transposed: bool,
    x: &[f32],
    w: &[f32],
    grad: &[f32],
    (cin, cout): (usize, usize),
) -> DenseConv {
    let margin = step * (spec.kernel * spec.dilation + spec.stride) as i32 + step;
    let (from, to) = if transposed { (coarse, fine) } else { (fine, coarse) };
    // One box for both sides, so that every neighbour is in it.
    let all: Vec<[i32; 4]> = fine.iter().chain(coarse).copied().collect();
    let blank = |c: usize| Dense::around(&all, margin, c);
    let mut dense_x = blank(cin);
    for (c, row) in from.iter().zip(x.chunks(cin)) {
        dense_x.cell_mut(*c).iter_mut().zip(row).for_each(|(d, &v)| *d = f64::from(v));
    }
    let mut dense_dx = blank(cin);
    let mut dw = vec![0.0; w.len()];
    let mut out = Vec::with_capacity(to.len() * cout);
    for (target, grad) in to.iter().zip(grad.chunks(cout)) {
        let mut row = vec![0.0; cout];
        for (k, o) in spec.offsets().into_iter().enumerate() {
            let sign = if transposed { -step } else { step };
            let source =
                [target[0], target[1] + sign * o[0], target[2] + sign * o[1], target[3] + sign * o[2]];
            let input = dense_x.cell(source).to_vec();
            for (i, v) in input.into_iter().enumerate() {
                for j in 0..cout {
                    let at = (k * cin + i) * cout + j;
                    row[j] += v * f64::from(w[at]);
                    dw[at] += v * f64::from(grad[j]);
                    dense_dx.cell_mut(source)[i] += f64::from(w[at]) * f64::from(grad[j]);
                }
            }
        }
        out.extend(row);
    }
    let dx = from.iter().flat_map(|c| dense_dx.cell(*c).to_vec()).collect();
    DenseConv { out, dx, dw }
}

/// A tensor on a pattern, with a variable as features.
pub(crate) fn sparse(coords: &[[i32; 4]], channels: usize, numbers: &mut Numbers) -> (SparseTensor, Var) {
    let (x, _) = SparseTensor::new(coords, numbers.tensor(&[coords.len(), channels])).unwrap();
    let var = Var::from_tensor(x.features()).unwrap();
    (x.with_features(var.as_tensor().clone()).unwrap(), var)
}
