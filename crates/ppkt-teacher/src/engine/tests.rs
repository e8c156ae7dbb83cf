//! The engine against plain loops in f64, for every instruction set of this machine.

use ppkt_testkit::assert_close;

use super::math::{gelu, gelu_tanh, layer_norm, quick_gelu, silu, softmax};
use super::*;

/// f32 sums of a few thousand terms against f64 ones.
const TOLERANCE: f64 = 2e-6;

/// Numbers between -1 and 1 that look random.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / 2f32.powi(31) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn map(shape: [usize; 4], values: &[f32]) -> Map {
    let mut map = Map::take(&Buffers::default(), shape);
    map.data.copy_from_slice(values);
    map
}

struct Case {
    shape: [usize; 4],
    out: usize,
    geometry: ConvGeometry,
}

impl Case {
    fn new(shape: [usize; 4], out: usize, [kernel, stride, padding, dilation]: [usize; 4]) -> Self {
        Self { shape, out, geometry: ConvGeometry { kernel, stride, padding, dilation, groups: 1 } }
    }

    fn in_groups(mut self, groups: usize) -> Self {
        self.geometry.groups = groups;
        self
    }

    fn input(&self) -> Vec<f32> {
        numbers(self.shape.iter().product(), 1)
    }

    fn weight(&self) -> Vec<f32> {
        numbers(self.out * self.shape[3] / self.geometry.groups * self.geometry.kernel.pow(2), 2)
    }

    fn bias(&self) -> Vec<f32> {
        numbers(self.out, 3)
    }

    fn conv(&self, isa: Isa) -> Conv {
        Conv::new(isa, &self.weight(), &self.bias(), self.shape[3], self.out, self.geometry)
    }

    fn out_shape(&self) -> [usize; 4] {
        let g = self.geometry;
        [self.shape[0], g.output(self.shape[1]), g.output(self.shape[2]), self.out]
    }

    /// The definition, without residual and activation.
    fn naive(&self) -> Vec<f64> {
        let ([n, h, w, inner], [_, out_h, out_w, _], g) = (self.shape, self.out_shape(), self.geometry);
        let (x, weight, bias) = (self.input(), self.weight(), self.bias());
        let mut result = Vec::new();
        for index in 0..n * out_h * out_w * self.out {
            let (o, column) = (index % self.out, index / self.out % out_w);
            let (line, image) = (index / self.out / out_w % out_h, index / self.out / out_w / out_h);
            let mut sum = f64::from(bias[o]);
            for ky in 0..g.kernel {
                for kx in 0..g.kernel {
                    let y = (line * g.stride + ky * g.dilation) as isize - g.padding as isize;
                    let at_x = (column * g.stride + kx * g.dilation) as isize - g.padding as isize;
                    if y < 0 || at_x < 0 || y >= h as isize || at_x >= w as isize {
                        continue;
                    }
                    let per_group = inner / g.groups;
                    let first = o / (self.out / g.groups) * per_group;
                    for c in 0..per_group {
                        let v = x[((image * h + y as usize) * w + at_x as usize) * inner + first + c];
                        let k = weight[((o * per_group + c) * g.kernel + ky) * g.kernel + kx];
                        sum += f64::from(v) * f64::from(k);
                    }
                }
            }
            result.push(sum);
        }
        result
    }
}

/// Odd sizes, every stride, dilation and padding, panels of every width with and without padding columns, sums that are
/// cut into chunks between taps and within one.
fn cases() -> Vec<Case> {
    vec![
        Case::new([1, 1, 1, 1], 1, [1, 1, 0, 1]),
        Case::new([1, 5, 7, 3], 5, [3, 1, 1, 1]),
        Case::new([2, 7, 5, 8], 16, [3, 2, 1, 1]),
        Case::new([1, 9, 11, 16], 33, [3, 1, 2, 2]),
        Case::new([1, 13, 9, 4], 48, [3, 2, 4, 4]),
        Case::new([3, 6, 10, 20], 64, [1, 2, 0, 1]),
        Case::new([1, 4, 5, 130], 96, [3, 1, 1, 1]),
        Case::new([1, 3, 17, 700], 20, [1, 1, 0, 1]),
        Case::new([1, 2, 3, 300], 130, [3, 1, 1, 1]),
        Case::new([2, 11, 14, 3], 24, [7, 2, 3, 1]),
        Case::new([1, 3, 3, 5], 7, [5, 1, 2, 1]),
        Case::new([1, 40, 30, 12], 17, [3, 1, 1, 1]),
        // Groups smaller and larger than a vector, that end within one, of other widths in than out, and of one channel.
        Case::new([2, 9, 7, 64], 64, [3, 1, 1, 1]).in_groups(16),
        Case::new([1, 9, 7, 36], 60, [3, 2, 1, 1]).in_groups(3),
        Case::new([1, 6, 5, 272], 272, [3, 1, 2, 2]).in_groups(2),
        Case::new([1, 5, 5, 9], 18, [1, 1, 0, 1]).in_groups(9),
        Case::new([1, 2, 3, 1200], 80, [3, 1, 1, 1]).in_groups(2),
    ]
}

#[test]
fn convolution_is_its_definition() {
    for isa in Isa::available() {
        for case in cases() {
            let want = case.naive();
            let x = map(case.shape, &case.input());
            let got = case.conv(isa).forward(&x, None, Activation::None, &Buffers::default());
            let what = format!("{isa:?} {:?} -> {}, {:?}", case.shape, case.out, case.geometry);
            assert_eq!([got.n, got.height, got.width, got.channels], case.out_shape(), "{what}");
            assert_close(&what, &got.data, &want, TOLERANCE);

            // Residual first, ReLU last.
            let residual = numbers(want.len(), 4);
            let residual_map = map(case.out_shape(), &residual);
            let got = case.conv(isa).forward(&x, Some(&residual_map), Activation::Relu, &Buffers::default());
            let want: Vec<f64> =
                want.iter().zip(&residual).map(|(v, r)| (v + f64::from(*r)).max(0.0)).collect();
            assert_close(&what, &got.data, &want, TOLERANCE);
        }
    }
}

#[test]
fn an_input_with_its_border_gives_the_same() {
    for isa in Isa::available() {
        for case in cases().iter().filter(|c| c.geometry.dilation == 1 && c.geometry.groups == 1) {
            let ([n, h, w, c], p) = (case.shape, case.geometry.padding);
            let mut bordered = Map::take(&Buffers::default(), [n, h + 2 * p, w + 2 * p, c]);
            bordered.data.fill(0.0);
            for (row, values) in case.input().chunks_exact(w * c).enumerate() {
                let line = row / h * (h + 2 * p) + row % h + p;
                bordered.data[(line * (w + 2 * p) + p) * c..][..w * c].copy_from_slice(values);
            }
            let got = case.conv(isa).forward_bordered(&bordered, Activation::None, &Buffers::default());
            assert_close("bordered", &got.data, &case.naive(), TOLERANCE);
        }
    }
}

#[test]
fn depthwise_convolution_is_its_definition() {
    // Channels that fill a vector and that do not; maps smaller than the kernel, and larger than a band and a tile.
    for shape in [[1, 1, 1, 1], [2, 5, 9, 16], [1, 7, 8, 20], [1, 33, 21, 5], [1, 3, 17, 96]] {
        let [_, h, w, channels] = shape;
        let x = numbers(shape.iter().product(), 11);
        let (weight, bias) = (numbers(channels * 49, 12), numbers(channels, 13));
        let at = |image: usize, y: isize, x_at: isize, c: usize| {
            let inside = y >= 0 && x_at >= 0 && y < h as isize && x_at < w as isize;
            let i = ((image * h + y as usize) * w + x_at as usize) * channels + c;
            if inside { f64::from(x[i]) } else { 0.0 }
        };
        let value = |i: usize| {
            let (c, column, line, image) =
                (i % channels, i / channels % w, i / channels / w % h, i / channels / w / h);
            let tap = |t: usize| {
                let (dy, dx) = (t as isize / 7 - 3, t as isize % 7 - 3);
                f64::from(weight[c * 49 + t]) * at(image, line as isize + dy, column as isize + dx, c)
            };
            f64::from(bias[c]) + (0..49).map(tap).sum::<f64>()
        };
        let want: Vec<f64> = (0..x.len()).map(value).collect();
        for isa in Isa::available() {
            let conv = Depthwise7::new(isa, &weight, &bias);
            let got = conv.forward(&map(shape, &x), &Buffers::default());
            assert_eq!([got.n, got.height, got.width, got.channels], shape);
            assert_close(&format!("{isa:?} {shape:?}"), &got.data, &want, TOLERANCE);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = Case::new([2, 23, 19, 40], 150, [3, 1, 1, 1]);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = map(case.shape, &case.input());
            let y = case.conv(Isa::detect()).forward(&x, None, Activation::Gelu, &Buffers::default());
            let depthwise = Depthwise7::new(Isa::detect(), &numbers(150 * 49, 20), &numbers(150, 21));
            let y = depthwise.forward(&y, &Buffers::default());
            let qkv = attention(Isa::detect(), &map([2, 1, 437, 150], &y.data), 5, &Buffers::default());
            [y.data.to_vec(), qkv.data.to_vec()].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}

#[test]
fn pooling_takes_the_maximum_of_what_is_in_the_image() {
    for shape in [[1, 1, 1, 3], [2, 5, 7, 4], [1, 6, 4, 2]] {
        let [n, h, w, c] = shape;
        // All negative, so that a border of zeros would win.
        let x: Vec<f32> = numbers(n * h * w * c, 5).iter().map(|v| v - 2.0).collect();
        let got = max_pool_3x3_s2(&map(shape, &x), &Buffers::default());
        assert_eq!((got.height, got.width), (h.div_ceil(2), w.div_ceil(2)));
        for (i, &got_value) in got.data.iter().enumerate() {
            let (channel, column) = (i % c, i / c % got.width);
            let (line, image) = (i / c / got.width % got.height, i / c / got.width / got.height);
            let window =
                |centre: usize, size: usize| (centre * 2).saturating_sub(1)..=(centre * 2 + 1).min(size - 1);
            let values = window(line, h)
                .flat_map(|y| window(column, w).map(move |x| (y, x)))
                .map(|(yy, xx)| x[((image * h + yy) * w + xx) * c + channel]);
            assert_eq!(got_value, values.fold(f32::NEG_INFINITY, f32::max));
        }
    }
}

#[test]
fn attention_is_its_definition() {
    // Fewer and more tokens than a block of queries; heads of odd widths, and of more than one panel.
    for (n, tokens, heads, d) in
        [(1, 1, 1, 1), (2, 50, 3, 16), (1, 197, 2, 64), (1, 100, 1, 70), (2, 7, 4, 5)]
    {
        let channels = heads * d;
        let values: Vec<f32> = numbers(n * tokens * 3 * channels, 6).iter().map(|v| 3.0 * v).collect();
        let at = |image: usize, token: usize, part: usize, head: usize, c: usize| {
            f64::from(values[(image * tokens + token) * 3 * channels + part * channels + head * d + c])
        };
        let mut want = vec![0f64; n * tokens * channels];
        for (image, query, head) in
            (0..n * tokens * heads).map(|i| (i / heads / tokens, i / heads % tokens, i % heads))
        {
            let score = |key: usize| {
                let dot: f64 =
                    (0..d).map(|c| at(image, query, 0, head, c) * at(image, key, 1, head, c)).sum();
                (dot / (d as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (0..tokens).map(score).collect();
            let total: f64 = scores.iter().sum();
            for c in 0..d {
                let mixed: f64 = (0..tokens).map(|t| scores[t] * at(image, t, 2, head, c)).sum();
                want[(image * tokens + query) * channels + head * d + c] = mixed / total;
            }
        }
        for isa in Isa::available() {
            let qkv = map([n, 1, tokens, 3 * channels], &values);
            let got = attention(isa, &qkv, heads, &Buffers::default());
            assert_close(&format!("{isa:?} {tokens} tokens, {heads} heads of {d}"), &got.data, &want, 1e-5);
        }
    }
}

/// Φ by Simpson's rule from where it is zero.
fn normal_distribution(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let (from, steps) = (-12.0, 20_000);
    let h = (x - from) / f64::from(steps);
    let inner: f64 =
        (1..steps).map(|i| density(from + f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (density(from) + inner + density(x)) * h / 3.0
}

#[test]
fn gelu_is_the_exact_one() {
    let x: Vec<f32> = (-90..=90).map(|i| i as f32 / 10.0).collect();
    for isa in Isa::available() {
        let mut got = x.clone();
        gelu(isa, &mut got);
        for (&x, &got) in x.iter().zip(&got) {
            let want = f64::from(x) * normal_distribution(f64::from(x));
            // The tanh approximation is off by 5e-4.
            assert!((f64::from(got) - want).abs() < 4e-7, "{isa:?} gelu({x}) = {got}, not {want}");
        }
        let mut nan = [f32::NAN, 1.0];
        gelu(isa, &mut nan);
        assert!(nan[0].is_nan(), "a NaN must be seen");
    }
}

#[test]
fn functions_of_the_logistic_are_their_definitions() {
    type Case = (fn(Isa, &mut [f32]), fn(f64) -> f64);
    let cases: [Case; 3] = [
        (silu, |x| x / (1.0 + (-x).exp())),
        (quick_gelu, |x| x / (1.0 + (-1.702 * x).exp())),
        (gelu_tanh, |x| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + u.tanh())
        }),
    ];
    let x: Vec<f32> = (-900..=900).map(|i| i as f32 / 10.0).collect();
    for isa in Isa::available() {
        for (ours, definition) in cases {
            let mut got = x.clone();
            ours(isa, &mut got);
            for (&x, &got) in x.iter().zip(&got) {
                let want = definition(f64::from(x));
                let tolerance = 4e-7 * want.abs().max(1.0);
                assert!((f64::from(got) - want).abs() < tolerance, "{isa:?} f({x}) = {got}, not {want}");
            }
            let mut nan = [f32::NAN];
            ours(isa, &mut nan);
            assert!(nan[0].is_nan(), "a NaN must be seen");
        }
    }
}

#[test]
fn softmax_and_layer_norm_are_their_definitions() {
    let (rows, n, stride) = (3, 37, 48);
    for isa in Isa::available() {
        let mut x: Vec<f32> = numbers(rows * stride, 7).iter().map(|v| 60.0 * v).collect();
        let before = x.clone();
        softmax(isa, &mut x, n, stride, 0.5);
        for (got, x) in x.chunks(stride).zip(before.chunks(stride)) {
            let max = x[..n].iter().fold(f64::MIN, |m, v| m.max(f64::from(*v)));
            let e: Vec<f64> = x[..n].iter().map(|v| (0.5 * (f64::from(*v) - max)).exp()).collect();
            let total: f64 = e.iter().sum();
            let want: Vec<f64> = e.iter().map(|v| v / total).collect();
            assert_close("softmax", &got[..n], &want, 1e-6);
            assert!(got[n..].iter().all(|v| *v == 0.0), "what is beyond is zero");
        }

        let (x, weight, bias) = (numbers(rows * n, 8), numbers(n, 9), numbers(n, 10));
        let mut got = vec![0f32; rows * n];
        layer_norm(isa, &x, &weight, &bias, 1e-6, &mut got);
        for (got, x) in got.chunks(n).zip(x.chunks(n)) {
            let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
            let want = x.iter().zip(weight.iter().zip(&bias)).map(|(v, (w, b))| {
                (f64::from(*v) - mean) / (variance + 1e-6).sqrt() * f64::from(*w) + f64::from(*b)
            });
            assert_close("layer norm", got, &want.collect::<Vec<_>>(), 2e-6);
        }
    }
}
