//! Convolution, batch norm and max pooling for training on the CPU, with gradients, as candle operations.
//!
//! candle's own are several times slower: its convolution goes through NCHW, its batch norm is made of a dozen passes.
//! Here maps are `[B, H, W, C]`, images are independent and run on rayon's threads, and every sum has a fixed order,
//! so that results don't depend on the number of threads.
//!
//! Shapes in this file: B images, H × W rows and columns, C channels in, O out, K = kernel² · C.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Geometry of a square convolution or pooling window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Window {
    pub(crate) fn out(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is needed") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// The patches of one image, `[H' · W', K]`, K ordered row, column, channel of the window; zeros outside.
fn patches(image: &[f32], (h, w, c): (usize, usize, usize), window: Window) -> Vec<f32> {
    let (oh, ow) = (window.out(h), window.out(w));
    let row = window.kernel * c;
    let mut out = vec![0.0; oh * ow * window.kernel * row];
    for_each_run(h, w, window, |cell, ky, (from, to), (y, x)| {
        let target = (cell * window.kernel + ky) * row + from * c;
        let source = (y * w + x) * c;
        let n = (to - from) * c;
        out[target..target + n].copy_from_slice(&image[source..source + n]);
    });
    out
}

/// The transpose of [`patches`]: sums gradients of patches back onto the image.
fn image_of_patches(patches: &[f32], (h, w, c): (usize, usize, usize), window: Window) -> Vec<f32> {
    let row = window.kernel * c;
    let mut out = vec![0.0; h * w * c];
    for_each_run(h, w, window, |cell, ky, (from, to), (y, x)| {
        let source = (cell * window.kernel + ky) * row + from * c;
        let target = (y * w + x) * c;
        let n = (to - from) * c;
        for (o, p) in out[target..target + n].iter_mut().zip(&patches[source..source + n]) {
            *o += p;
        }
    });
    out
}

/// Calls with each output cell, row of its window, columns of the window that lie inside the image, and the pixel of
/// the first of them.
fn for_each_run(
    h: usize,
    w: usize,
    window: Window,
    mut f: impl FnMut(usize, usize, (usize, usize), (usize, usize)),
) {
    let (oh, ow) = (window.out(h), window.out(w));
    for oy in 0..oh {
        for ox in 0..ow {
            let left = ox * window.stride;
            let from = window.padding.saturating_sub(left);
            let to = (w + window.padding - left).min(window.kernel);
            for ky in 0..window.kernel {
                let y = oy * window.stride + ky;
                if y >= window.padding && y < h + window.padding && from < to {
                    f(oy * ow + ox, ky, (from, to), (y - window.padding, left + from - window.padding));
                }
            }
        }
    }
}

/// `a · b` of row-major matrices through candle's product.
fn product(a: Vec<f32>, (m, k): (usize, usize), b: &Tensor) -> Result<Vec<f32>> {
    to_vec(&Tensor::from_vec(a, (m, k), &Device::Cpu)?.matmul(b)?)
}

/// Convolution. x `[B, H, W, C]`, w `[K, O]` → `[B, H', W', O]`.
pub(crate) struct Convolution(pub(crate) Window);

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = l1.shape().dims4()?;
        let (k, o) = l2.shape().dims2()?;
        let x = floats(s1, l1)?;
        let weight = Tensor::from_slice(floats(s2, l2)?, (k, o), &Device::Cpu)?;
        let (oh, ow) = (self.0.out(h), self.0.out(w));
        let parts: Vec<Vec<f32>> = x
            .par_chunks_exact(h * w * c)
            .map(|image| product(patches(image, (h, w, c), self.0), (oh * ow, k), &weight))
            .collect::<Result<_>>()?;
        Ok((CpuStorage::F32(parts.concat()), (b, oh, ow, o).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, h, width, c) = x.dims4()?;
        let (k, o) = w.dims2()?;
        let (xs, dys) = (to_vec(&x.detach())?, to_vec(&dy.detach())?);
        let cells = self.0.out(h) * self.0.out(width);
        let w_t = w.detach().t()?.contiguous()?;
        let needs_dx = x.track_op();
        let parts: Vec<(Vec<f32>, Vec<f32>)> = xs
            .par_chunks_exact(h * width * c)
            .zip(dys.par_chunks_exact(cells * o))
            .map(|(image, dy)| {
                let columns =
                    Tensor::from_vec(patches(image, (h, width, c), self.0), (cells, k), &Device::Cpu)?;
                let dy_no = Tensor::from_slice(dy, (cells, o), &Device::Cpu)?;
                let dw = to_vec(&columns.t()?.matmul(&dy_no)?)?;
                let dx = if needs_dx {
                    image_of_patches(&to_vec(&dy_no.matmul(&w_t)?)?, (h, width, c), self.0)
                } else {
                    Vec::new()
                };
                Ok((dw, dx))
            })
            .collect::<Result<_>>()?;
        let mut dw = vec![0.0; k * o];
        for (part, _) in &parts {
            for (sum, p) in dw.iter_mut().zip(part) {
                *sum += p;
            }
        }
        let dx = if needs_dx {
            let all = parts.into_iter().flat_map(|(_, dx)| dx).collect();
            Some(Tensor::from_vec(all, (b, h, width, c), &Device::Cpu)?)
        } else {
            None
        };
        Ok((dx, Some(Tensor::from_vec(dw, (k, o), &Device::Cpu)?)))
    }
}

/// Statistics of a batch: mean and biased variance of each channel, and how many values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
    pub(crate) n: usize,
}

/// Batch norm with the batch's own statistics, then perhaps ReLU. x `[..., C]`, γ `[C]`, β `[C]` → as x.
pub(crate) struct Norm {
    pub(crate) eps: f32,
    pub(crate) relu: bool,
    /// Filled by the forward pass.
    pub(crate) moments: Arc<Mutex<Moments>>,
}

/// Rows that one partial sum covers. Fixed, so that sums don't depend on the number of threads.
const BLOCK: usize = 2048;

/// Sums two values a channel over all rows.
fn channel_sums(
    rows: &[f32],
    other: &[f32],
    c: usize,
    f: impl Fn(usize, f32, f32) -> (f32, f32) + Sync,
) -> Vec<(f64, f64)> {
    let parts: Vec<Vec<(f32, f32)>> = rows
        .par_chunks(BLOCK * c)
        .zip(other.par_chunks(BLOCK * c))
        .map(|(rows, other)| {
            let mut sums = vec![(0.0, 0.0); c];
            for (row, other) in rows.chunks_exact(c).zip(other.chunks_exact(c)) {
                for (i, (sum, (a, b))) in sums.iter_mut().zip(row.iter().zip(other)).enumerate() {
                    let (p, q) = f(i, *a, *b);
                    sum.0 += p;
                    sum.1 += q;
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![(0.0, 0.0); c];
    for part in parts {
        for (sum, (p, q)) in sums.iter_mut().zip(part) {
            sum.0 += f64::from(p);
            sum.1 += f64::from(q);
        }
    }
    sums
}

impl Norm {
    fn saved(&self) -> Result<Moments> {
        match self.moments.lock() {
            Ok(moments) => Ok(moments.clone()),
            Err(_) => bail!("a thread panicked in batch norm"),
        }
    }
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gamma, beta) = (floats(s1, l1)?, floats(s2, l2)?, floats(s3, l3)?);
        let c = gamma.len();
        let n = x.len() / c;
        let first = &x[..c];
        // Shifted by the first row, so that a large mean takes nothing from the variance.
        let sums = channel_sums(x, x, c, |i, v, _| (v - first[i], (v - first[i]) * (v - first[i])));
        let mut moments = Moments { n, ..Moments::default() };
        for (i, (sum, squares)) in sums.into_iter().enumerate() {
            let shift = sum / n as f64;
            moments.mean.push(first[i] + shift as f32);
            moments.variance.push((squares / n as f64 - shift * shift).max(0.0) as f32);
        }
        let scale: Vec<f32> = (0..c).map(|i| gamma[i] / (moments.variance[i] + self.eps).sqrt()).collect();
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK * c).zip(x.par_chunks(BLOCK * c)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for i in 0..c {
                    y[i] = ((x[i] - moments.mean[i]) * scale[i] + beta[i]).max(floor);
                }
            }
        });
        if let Ok(mut saved) = self.moments.lock() {
            *saved = moments;
        }
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let moments = self.saved()?;
        let (xs, ys, gammas) = (to_vec(&x.detach())?, to_vec(&y.detach())?, to_vec(&gamma.detach())?);
        let mut g = to_vec(&dy.detach())?;
        if self.relu {
            g.par_iter_mut().zip(&ys).for_each(|(g, y)| {
                if *y <= 0.0 {
                    *g = 0.0;
                }
            });
        }
        let c = gammas.len();
        let n = moments.n as f64;
        let inverse: Vec<f32> = moments.variance.iter().map(|v| 1.0 / (v + self.eps).sqrt()).collect();
        let sums = channel_sums(&g, &xs, c, |i, g, x| (g, g * (x - moments.mean[i]) * inverse[i]));
        // dx = γ/σ (dy - mean(dy) - x̂ mean(dy x̂))
        let (mean_g, mean_gx): (Vec<f32>, Vec<f32>) =
            sums.iter().map(|(a, b)| ((a / n) as f32, (b / n) as f32)).unzip();
        g.par_chunks_mut(BLOCK * c).zip(xs.par_chunks(BLOCK * c)).for_each(|(g, x)| {
            for (g, x) in g.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for i in 0..c {
                    let normed = (x[i] - moments.mean[i]) * inverse[i];
                    g[i] = gammas[i] * inverse[i] * (g[i] - mean_g[i] - normed * mean_gx[i]);
                }
            }
        });
        let dbeta: Vec<f32> = sums.iter().map(|s| s.0 as f32).collect();
        let dgamma: Vec<f32> = sums.iter().map(|s| s.1 as f32).collect();
        Ok((
            Some(Tensor::from_vec(g, x.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(dgamma, c, &Device::Cpu)?),
            Some(Tensor::from_vec(dbeta, c, &Device::Cpu)?),
        ))
    }
}

/// Largest value of each window. `[B, H, W, C]` → `[B, H', W', C]`. Outside of the image nothing counts.
pub(crate) struct MaxPool(pub(crate) Window);

impl MaxPool {
    /// For each output value, where its largest input lies in the image; the first of equals.
    fn winners(&self, image: &[f32], (h, w, c): (usize, usize, usize)) -> Vec<u32> {
        let cells = self.0.out(h) * self.0.out(w);
        let mut best = vec![u32::MAX; cells * c];
        for_each_run(h, w, self.0, |cell, _, (from, to), (y, x)| {
            for step in 0..to - from {
                let at = (y * w + x + step) * c;
                for (i, best) in best[cell * c..(cell + 1) * c].iter_mut().enumerate() {
                    if *best == u32::MAX || image[at + i] > image[*best as usize] {
                        *best = (at + i) as u32;
                    }
                }
            }
        });
        best
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = l.shape().dims4()?;
        let x = floats(s, l)?;
        let parts: Vec<Vec<f32>> = x
            .par_chunks_exact(h * w * c)
            .map(|image| self.winners(image, (h, w, c)).into_iter().map(|i| image[i as usize]).collect())
            .collect();
        Ok((CpuStorage::F32(parts.concat()), (b, self.0.out(h), self.0.out(w), c).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (b, h, w, c) = x.dims4()?;
        let (xs, dys) = (to_vec(&x.detach())?, to_vec(&dy.detach())?);
        let cells = self.0.out(h) * self.0.out(w);
        let parts: Vec<Vec<f32>> = xs
            .par_chunks_exact(h * w * c)
            .zip(dys.par_chunks_exact(cells * c))
            .map(|(image, dy)| {
                let mut dx = vec![0.0; h * w * c];
                for (i, g) in self.winners(image, (h, w, c)).into_iter().zip(dy) {
                    dx[i as usize] += g;
                }
                dx
            })
            .collect();
        Ok(Some(Tensor::from_vec(parts.concat(), (b, h, w, c), &Device::Cpu)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn some(shape: &[usize], key: f32) -> Var {
        let n: usize = shape.iter().product();
        // Irregular enough that no two values of a window are near each other.
        let values: Vec<f32> = (0..n).map(|i| ((i as f32 * 1.618 + key) * 12.9898).sin() * 1.5).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Compares the gradients of `f(vars)` with central differences at some elements.
    fn check(vars: &[Var], f: impl Fn() -> Tensor) {
        let weights = some(f().dims(), 0.3);
        let value = || (f() * weights.as_tensor()).unwrap().sum_all().unwrap();
        let grads = value().backward().unwrap();
        for (k, var) in vars.iter().enumerate() {
            let grad = to_vec(grads.get(var).unwrap()).unwrap();
            let original = to_vec(var).unwrap();
            let scale = grad.iter().map(|g| g.abs()).fold(0.0, f32::max);
            for i in (0..original.len()).step_by(1 + original.len() / 17) {
                let at = |d: f32| {
                    let mut moved = original.clone();
                    moved[i] += d;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    let v = f64::from(value().to_scalar::<f32>().unwrap());
                    var.set(&Tensor::from_slice(&original, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    v
                };
                let h = 2e-3;
                let expected = ((at(h) - at(-h)) / f64::from(2.0 * h)) as f32;
                assert!(
                    (grad[i] - expected).abs() < 0.01 * scale + 2e-3,
                    "variable {k}, element {i}: {} for {expected}",
                    grad[i]
                );
            }
        }
    }

    #[test]
    fn convolution_equals_candles() {
        let (x, w) = (some(&[2, 9, 7, 3], 0.0), some(&[27, 5], 1.0));
        for (stride, padding) in [(1, 1), (2, 1), (2, 0)] {
            let window = Window { kernel: 3, stride, padding };
            let ours = x.apply_op2(&w, Convolution(window)).unwrap();
            let nchw = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            let kernel =
                w.reshape((3, 3, 3, 5)).unwrap().permute((3, 2, 0, 1)).unwrap().contiguous().unwrap();
            let theirs = nchw.conv2d(&kernel, padding, stride, 1, 1).unwrap().permute((0, 2, 3, 1)).unwrap();
            assert_eq!(ours.dims(), theirs.dims());
            let difference =
                (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(difference < 1e-4, "{difference}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let window = Window { kernel: 3, stride: 2, padding: 1 };
        let (x, w) = (some(&[2, 5, 6, 3], 0.0), some(&[27, 4], 1.0));
        check(&[x.clone(), w.clone()], || x.apply_op2(&w, Convolution(window)).unwrap());
        check(std::slice::from_ref(&x), || x.apply_op1(MaxPool(window)).unwrap());
        let (gamma, beta) = (some(&[3], 2.0), some(&[3], 3.0));
        for relu in [false, true] {
            check(&[x.clone(), gamma.clone(), beta.clone()], || {
                let norm = Norm { eps: 1e-5, relu, moments: Arc::default() };
                x.apply_op3(&gamma, &beta, norm).unwrap()
            });
        }
    }

    #[test]
    fn pooling_ignores_the_border() {
        let x = Tensor::full(-1.0_f32, (1, 4, 4, 1), &Device::Cpu).unwrap();
        let y = x.apply_op1(MaxPool(Window { kernel: 3, stride: 2, padding: 1 })).unwrap();
        assert_eq!(to_vec(&y).unwrap(), [-1.0; 4]);
    }
}
