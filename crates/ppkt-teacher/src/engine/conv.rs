//! Convolutions and linear layers with packed weights.

#![expect(
    unsafe_code,
    reason = "tasks write disjoint rectangles of one output, and the micro-kernel takes addresses"
)]

use rayon::prelude::*;

use super::isa::{Isa, MAX_TILE};
use super::kernel::{Finish, Tile, run_tile};
use super::lines::Lines;
use super::map::{Buffers, Map};
use super::math::{gelu, gelu_tanh, quick_gelu, silu};
use super::panel::{Panel, chunks};

/// Rows of a task at most: their inputs stay in the second-level cache while the panel is walked through.
const MAX_TASK_ROWS: usize = 96;

/// Tasks that each thread should have to choose from, so that none waits long at the end.
const TASKS_PER_THREAD: usize = 8;

/// Size and placement of a square kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvGeometry {
    /// Height and width.
    pub(crate) kernel: usize,
    /// Input pixels between outputs.
    pub(crate) stride: usize,
    /// Zero pixels around the input.
    pub(crate) padding: usize,
    /// Input pixels between taps.
    pub(crate) dilation: usize,
    /// Equal parts of the input's channels, each of which makes an equal part of the output's alone.
    pub(crate) groups: usize,
}

impl ConvGeometry {
    /// A 1×1 kernel, as of a linear layer.
    pub(crate) const POINTWISE: Self = Self { kernel: 1, stride: 1, padding: 0, dilation: 1, groups: 1 };

    /// Outputs along an axis of `size` pixels.
    pub(crate) fn output(self, size: usize) -> usize {
        let reach = self.dilation * (self.kernel - 1);
        (size + 2 * self.padding).checked_sub(reach + 1).map_or(0, |room| room / self.stride + 1)
    }
}

/// What follows the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x Φ(x)`, exactly (not its tanh approximation).
    Gelu,
    /// GELU's tanh approximation.
    GeluTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
    /// `x σ(x)`.
    Silu,
}

impl Activation {
    /// What is applied to finished outputs; the others are part of the micro-kernel.
    fn afterwards(self) -> Option<fn(Isa, &mut [f32])> {
        match self {
            Self::None | Self::Relu => None,
            Self::Gelu => Some(gelu),
            Self::GeluTanh => Some(gelu_tanh),
            Self::QuickGelu => Some(quick_gelu),
            Self::Silu => Some(silu),
        }
    }
}

/// A convolution with its bias, ready to run.
pub(crate) struct Conv {
    isa: Isa,
    geometry: ConvGeometry,
    in_channels: usize,
    out_channels: usize,
    panels: Vec<Panel>,
    /// Panel after panel: `[kernel row][kernel column][input channel][panel width]`, padded with zero columns.
    weights: Lines,
    /// Padded as the last panel is.
    bias: Vec<f32>,
    /// What lies outside the image.
    zeros: Vec<f32>,
}

/// How the taps of a kernel are found in memory.
struct Walk<'a> {
    x: &'a [f32],
    /// Rows and columns of the input.
    input: (usize, usize),
    /// Rows and columns of the output.
    output: (usize, usize),
    /// Pixels that the output's origin lies before the input's.
    padding: usize,
    /// Row and column of each tap.
    taps: Vec<(usize, usize)>,
    /// Floats that a tap reads.
    run: usize,
}

/// The output, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: tasks write disjoint rectangles (row block × panel), which `Conv::run` cuts.
unsafe impl Send for Output {}
// SAFETY: as above; nothing is read that another task writes.
unsafe impl Sync for Output {}

impl Conv {
    /// Packs a kernel.
    ///
    /// # Shapes
    /// `weight` is `[out_channels, in_channels / groups, kernel, kernel]`, `bias` is `[out_channels]`.
    ///
    /// # Panics
    /// If the lengths are others, or the groups are not equal.
    pub(crate) fn new(
        isa: Isa,
        weight: &[f32],
        bias: &[f32],
        in_channels: usize,
        out_channels: usize,
        geometry: ConvGeometry,
    ) -> Self {
        let area = geometry.kernel * geometry.kernel;
        let groups = geometry.groups;
        let equal = in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups);
        assert!(groups > 0 && equal, "channels cannot be shared by the groups");
        let per_group = in_channels / groups;
        assert_eq!(
            weight.len(),
            out_channels * per_group * area,
            "weight is not [out, in / groups, kernel, kernel]"
        );
        assert_eq!(bias.len(), out_channels, "bias is not [out]");
        let (panels, padded, len) = Panel::cut_groups(isa, [out_channels, in_channels], groups, area);
        let mut packed = Lines::zeros(len);
        for panel in &panels {
            let mut row = panel.weights;
            for (tap, c) in (0..area).flat_map(|tap| panel.reads.clone().map(move |c| (tap, c))) {
                for (o, w) in (panel.first..out_channels).zip(&mut packed[row..row + panel.width]) {
                    if c / per_group == o / (out_channels / groups) {
                        *w = weight[(o * per_group + c % per_group) * area + tap];
                    }
                }
                row += panel.width;
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        // In an image with a border a tap is a whole kernel row.
        let zeros = vec![0.0; in_channels * geometry.kernel];
        Self { isa, geometry, in_channels, out_channels, panels, weights: packed, bias, zeros }
    }

    /// Zero pixels around the input.
    pub(crate) fn padding(&self) -> usize {
        self.geometry.padding
    }

    /// `activation(conv(x) + bias + residual)`.
    ///
    /// # Shapes
    /// `[n, H, W, in_channels]` in, `[n, H', W', out_channels]` out; the residual is as the output.
    ///
    /// # Panics
    /// If shapes do not fit.
    pub(crate) fn forward(
        &self,
        x: &Map,
        residual: Option<&Map>,
        activation: Activation,
        buffers: &Buffers,
    ) -> Map {
        assert_eq!(x.channels, self.in_channels, "channels");
        let g = self.geometry;
        let taps = (0..g.kernel).flat_map(|y| (0..g.kernel).map(move |x| (y * g.dilation, x * g.dilation)));
        let walk = Walk {
            x: &x.data,
            input: (x.height, x.width),
            output: (g.output(x.height), g.output(x.width)),
            padding: g.padding,
            taps: taps.collect(),
            run: self.in_channels,
        };
        self.run(&walk, x.n, residual, activation, buffers)
    }

    /// The same for an input that has its border of zeros already, so that the channels of a kernel row lie in one run:
    /// much faster where there are few of them, as in an image.
    ///
    /// # Shapes
    /// `[n, H + 2 padding, W + 2 padding, in_channels]` in, the output as of [`Self::forward`] on `[n, H, W, …]`.
    ///
    /// # Panics
    /// If shapes do not fit, or the kernel is dilated or in groups.
    pub(crate) fn forward_bordered(&self, x: &Map, activation: Activation, buffers: &Buffers) -> Map {
        assert_eq!(x.channels, self.in_channels, "channels");
        let g = self.geometry;
        assert!(g.dilation == 1 && g.groups == 1, "a kernel row is no single run");
        let g = ConvGeometry { padding: 0, ..self.geometry };
        let walk = Walk {
            x: &x.data,
            input: (x.height, x.width),
            output: (g.output(x.height), g.output(x.width)),
            padding: 0,
            taps: (0..g.kernel).map(|y| (y, 0)).collect(),
            run: self.in_channels * g.kernel,
        };
        self.run(&walk, x.n, None, activation, buffers)
    }

    fn run(
        &self,
        walk: &Walk<'_>,
        n: usize,
        residual: Option<&Map>,
        activation: Activation,
        buffers: &Buffers,
    ) -> Map {
        let mut out = Map::take(buffers, [n, walk.output.0, walk.output.1, self.out_channels]);
        let residual = residual.map(|r| {
            assert_eq!(r.data.len(), out.data.len(), "the residual is not as the output");
            &r.data[..]
        });
        let rows = out.n_pixels();
        let threads = rayon::current_num_threads();
        let wanted = (rows * self.panels.len()).div_ceil(TASKS_PER_THREAD * threads);
        // A multiple of every tile height, 6 and 8 and 4.
        let block = wanted.min(MAX_TASK_ROWS).next_multiple_of(24);
        let n_blocks = rows.div_ceil(block);
        let target = Output(out.data.as_mut_ptr());
        // Neighbouring tasks are likely to run on the same thread: they share what is larger, weights or inputs.
        let by_panel = self.weights.len() > walk.x.len();
        (0..n_blocks * self.panels.len()).into_par_iter().for_each(|task| {
            let (b, p) = if by_panel {
                (task % n_blocks, task / n_blocks)
            } else {
                (task / self.panels.len(), task % self.panels.len())
            };
            let task_rows = b * block..((b + 1) * block).min(rows);
            self.run_task(walk, &self.panels[p], task_rows, residual, activation, target);
        });
        out
    }

    /// Computes the output pixels `rows` of one panel's channels.
    fn run_task(
        &self,
        walk: &Walk<'_>,
        panel: &Panel,
        rows: std::ops::Range<usize>,
        residual: Option<&[f32]>,
        activation: Activation,
        target: Output,
    ) {
        // Bound to a variable, so that the closure above takes the wrapper and not the bare pointer.
        let Output(target) = target;
        let stride = self.out_channels;
        let height = self.isa.rows(panel.vectors);
        let table = self.addresses(walk, rows.clone(), height);
        let n_taps = walk.taps.len();
        let valid_width = panel.width.min(self.out_channels - panel.first);
        let relu = activation == Activation::Relu;
        let reads = self.reads(walk, panel);
        let chunks = chunks(n_taps, reads.len(), panel.width);
        for (i, chunk) in chunks.iter().enumerate() {
            for (t, first) in rows.clone().step_by(height).enumerate() {
                let at = first * stride + panel.first;
                let whole = first + height <= rows.end && valid_width == panel.width;
                let taps = table[t * n_taps * height..].as_ptr();
                if !whole {
                    if i == 0 {
                        let n_rows = height.min(rows.end - first);
                        let residual = residual.map(|r| &r[at..]);
                        self.run_edge(walk, panel, taps, (n_rows, valid_width), relu, residual, target, at);
                    }
                    continue;
                }
                let finish = Finish {
                    bias: self.bias[panel.first..].as_ptr(),
                    residual: residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                    residual_stride: stride,
                    relu,
                };
                // SAFETY: `isa` was detected on this processor. The tile is whole, so its `height` rows and
                // `panel.width` columns lie within the output; the residual is as large. The addresses were made by
                // `addresses`, each for `walk.run` floats, of which the chunk uses a part. The panel holds
                // `n_taps * reads * width` weights, bias is padded to whole panels. No other task writes this rectangle.
                unsafe {
                    run_tile(
                        self.isa,
                        panel.vectors,
                        &Tile {
                            taps: taps.add(chunk.taps.start * height),
                            n_taps: chunk.taps.len(),
                            skip: reads.start + chunk.channels.start,
                            run: chunk.channels.len(),
                            panel: self.weights[panel.weights
                                + (chunk.taps.start * reads.len() + chunk.channels.start) * panel.width..]
                                .as_ptr(),
                            out: target.add(at),
                            out_stride: stride,
                            resume: i > 0,
                            finish: (i + 1 == chunks.len()).then_some(finish),
                        },
                    );
                }
            }
        }
        if let Some(function) = activation.afterwards() {
            for row in rows {
                // SAFETY: these columns of this row are written by this task alone, and were written above.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(target.add(row * stride + panel.first), valid_width)
                };
                function(self.isa, out);
            }
        }
    }

    /// Floats of each tap's run that a panel reads.
    fn reads(&self, walk: &Walk<'_>, panel: &Panel) -> std::ops::Range<usize> {
        // Where a tap is a whole kernel row, there are no groups.
        if walk.run == self.in_channels { panel.reads.clone() } else { 0..walk.run }
    }

    /// A tile that sticks out of the output: computed beside it, then the valid part is copied. The sums are made in
    /// the same order as elsewhere.
    #[expect(clippy::too_many_arguments, reason = "private, one caller, and all of it is one tile")]
    fn run_edge(
        &self,
        walk: &Walk<'_>,
        panel: &Panel,
        taps: *const *const f32,
        (n_rows, n_columns): (usize, usize),
        relu: bool,
        residual: Option<&[f32]>,
        target: *mut f32,
        at: usize,
    ) {
        let mut tile = [0f32; MAX_TILE];
        let reads = self.reads(walk, panel);
        // SAFETY: as in `run_task`, but the tile is written to an array that holds the largest one.
        unsafe {
            run_tile(
                self.isa,
                panel.vectors,
                &Tile {
                    taps,
                    n_taps: walk.taps.len(),
                    skip: reads.start,
                    run: reads.len(),
                    panel: self.weights[panel.weights..].as_ptr(),
                    out: tile.as_mut_ptr(),
                    out_stride: panel.width,
                    resume: false,
                    finish: None,
                },
            );
        }
        for r in 0..n_rows {
            for j in 0..n_columns {
                let mut v = tile[r * panel.width + j] + self.bias[panel.first + j];
                if let Some(residual) = residual {
                    v += residual[r * self.out_channels + j];
                }
                if relu && v < 0.0 {
                    v = 0.0;
                }
                // SAFETY: the row and the column are within the output, in this task's rectangle.
                unsafe { *target.add(at + r * self.out_channels + j) = v };
            }
        }
    }

    /// Where each tap of each output pixel begins: `[tile][tap][row of the tile]`. Rows past the end of the last tile
    /// read zeros.
    fn addresses(&self, walk: &Walk<'_>, rows: std::ops::Range<usize>, height: usize) -> Vec<*const f32> {
        let zeros = self.zeros.as_ptr();
        let n_taps = walk.taps.len();
        let mut table = vec![zeros; rows.len().div_ceil(height) * n_taps * height];
        let (in_height, in_width) = walk.input;
        let (out_height, out_width) = walk.output;
        let (step, channels) = (self.geometry.stride, self.in_channels);
        let mut column = rows.start % out_width;
        let mut line = rows.start / out_width % out_height;
        let mut image = rows.start / out_width / out_height;
        for (i, _) in rows.enumerate() {
            let slots = &mut table[i / height * n_taps * height + i % height..];
            for (t, &(dy, dx)) in walk.taps.iter().enumerate() {
                // Without a border, what is before the first row or column wraps to a huge number.
                let y = (line * step + dy).wrapping_sub(walk.padding);
                let x = (column * step + dx).wrapping_sub(walk.padding);
                if y < in_height && x < in_width {
                    let at = ((image * in_height + y) * in_width + x) * channels;
                    slots[t * height] = walk.x[at..at + walk.run].as_ptr();
                }
            }
            column += 1;
            if column == out_width {
                (column, line) = (0, line + 1);
                if line == out_height {
                    (line, image) = (0, image + 1);
                }
            }
        }
        table
    }
}
