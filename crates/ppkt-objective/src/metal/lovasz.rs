//! Lovász-softmax on the device.

use std::mem::swap;

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

pub(crate) static LOVASZ: KernelSource = kernel_source!("lovasz");

/// Threads of a group.
const THREADS: usize = 256;
/// Rows that one group sorts or adds up.
const CHUNK: usize = 2048;
/// Digits of a key, and the first bits of each.
const DIGITS: usize = 256;
const SHIFTS: [u32; 4] = [0, 8, 16, 24];
/// The slot of a class without rows.
const NONE: u32 = u32::MAX;

/// The loss of the rows with a label.
pub(super) struct Lovasz<'a, G: Compute> {
    gpu: &'a G,
    classes: usize,
    rows: usize,
    /// Classes that have a row.
    n_slots: usize,
    /// What the gradient is multiplied by.
    factor: f64,
    which: G::Buffer,
    own: G::Buffer,
    slots: G::Buffer,
}

/// What its kernels leave.
pub(super) struct Steps<B> {
    /// One number.
    pub(super) loss: B,
    /// By the probabilities: `[classes with a row, rows]`.
    pub(super) by_probability: B,
}

impl<'a, G: Compute> Lovasz<'a, G> {
    /// `which` of all rows have a label, and which class is each one's `own`, counted from 0.
    pub(super) fn new(gpu: &'a G, classes: usize, which: &[u32], own: &[u32], factor: f64) -> Result<Self> {
        let mut rows_of = vec![0u32; classes];
        own.iter().for_each(|&class| rows_of[class as usize] += 1);
        let present: Vec<u32> = (0..classes as u32).filter(|&c| rows_of[c as usize] > 0).collect();
        let mut slots = present.clone();
        slots.extend(present.iter().map(|&c| rows_of[c as usize]));
        let mut slot_of = vec![NONE; classes];
        present.iter().zip(0..).for_each(|(&c, slot)| slot_of[c as usize] = slot);
        slots.extend(slot_of);
        Ok(Self {
            gpu,
            classes,
            rows: own.len(),
            n_slots: present.len(),
            factor,
            which: gpu.upload(which)?,
            own: gpu.upload(own)?,
            slots: gpu.upload(&slots)?,
        })
    }

    fn run(&self, entry: &'static str, shift: u32, groups: [usize; 3], buffers: &[&G::Buffer]) -> Result<()> {
        let share = 1.0 / self.n_slots as f64;
        let parameters = [
            word(self.rows),
            word(self.classes),
            word(self.n_slots),
            word(self.chunks()),
            shift,
            (share as f32).to_bits(),
            (self.factor as f32).to_bits(),
        ];
        self.gpu.run(&LOVASZ, entry, groups, buffers, &parameters)
    }

    fn chunks(&self) -> usize {
        self.rows.div_ceil(CHUNK)
    }

    /// `[classes, rows]`: the softmax of the rows with a label.
    pub(super) fn probabilities(&self, scores: &G::Buffer) -> Result<G::Buffer> {
        let out = self.gpu.buffer(self.classes * self.rows)?;
        self.run("probabilities", 0, grid(self.rows.div_ceil(THREADS)), &[scores, &self.which, &out])?;
        Ok(out)
    }

    /// The loss of these probabilities, and its gradient by them.
    pub(super) fn steps(&self, probability: &G::Buffer) -> Result<Steps<G::Buffer>> {
        let Self { gpu, n_slots, own, slots, .. } = self;
        let (chunks, groups) = (self.chunks(), [self.chunks(), *n_slots, 1]);
        let order = self.sorted(probability)?;
        let counts = gpu.buffer(n_slots * chunks)?;
        self.run("own_counts", 0, groups, &[own, slots, &order, &counts])?;
        let by_probability = gpu.buffer(n_slots * self.rows)?;
        let losses = gpu.buffer(n_slots * chunks)?;
        let buffers = [own, slots, probability, &order, &counts, &by_probability, &losses];
        self.run("steps", 0, groups, &buffers)?;
        Ok(Steps { loss: column_sums(*gpu, &losses, n_slots * chunks, 1)?, by_probability })
    }

    /// Rows by descending error, for each class that has one.
    fn sorted(&self, probability: &G::Buffer) -> Result<G::Buffer> {
        let Self { gpu, n_slots, .. } = *self;
        let (all, chunks) = (n_slots * self.rows, self.chunks());
        let (mut keys, mut order) = (gpu.buffer(all)?, gpu.buffer(all)?);
        let (mut next_keys, mut next_order) = (gpu.buffer(all)?, gpu.buffer(all)?);
        let buffers = [&self.own, &self.slots, probability, &keys, &order];
        self.run("error_keys", 0, grid(all.div_ceil(THREADS)), &buffers)?;
        let (counts, places) =
            (gpu.buffer(n_slots * DIGITS * chunks)?, gpu.buffer(n_slots * DIGITS * chunks)?);
        let groups = [chunks, n_slots, 1];
        for shift in SHIFTS {
            self.run("digit_counts", shift, groups, &[&keys, &counts])?;
            self.run("digit_places", shift, [n_slots, 1, 1], &[&counts, &places])?;
            let buffers = [&keys, &order, &places, &next_keys, &next_order];
            self.run("digit_scatter", shift, groups, &buffers)?;
            swap(&mut keys, &mut next_keys);
            swap(&mut order, &mut next_order);
        }
        Ok(order)
    }

    /// Adds the gradient by the scores, times the factor, to `grad` of all rows.
    pub(super) fn add_gradient(
        &self,
        probability: &G::Buffer,
        by_probability: &G::Buffer,
        grad: &G::Buffer,
    ) -> Result<()> {
        let buffers = [&self.which, &self.slots, probability, by_probability, grad];
        self.run("add_gradient", 0, grid(self.rows.div_ceil(THREADS)), &buffers)
    }
}
