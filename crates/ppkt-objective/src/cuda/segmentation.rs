//! Cross-entropy and Lovász-softmax.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, int, kernels};

use super::{LANES, RowsOutcome, read_if};
use crate::segmentation::LabelledRows;

static SEGMENTATION: Kernels = kernels!("segmentation");

/// `CHUNK` of `segmentation.cu`: values of a class that one block sorts or scans.
const CHUNK: u32 = 2048;
/// Digits of a sort key, and passes of the sort, each by eight bits.
const DIGITS: usize = 256;
const SHIFTS: [i32; 4] = [0, 8, 16, 24];

/// The loss over rows whose targets the host knows.
pub(crate) fn segmentation<C: Compute>(
    gpu: &C,
    rows: &LabelledRows,
    scores: &View<'_>,
) -> Result<RowsOutcome<C>> {
    let LabelledRows { loss, classes, targets, labelled } = rows;
    let (n, n_labelled) = (targets.len(), labelled.len());
    let weight_of = |class: usize| loss.class_weights.get(class).copied().unwrap_or(1.0);
    let weights: Vec<f32> = (0..*classes).map(weight_of).collect();
    let all_weights: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let own: Vec<u32> = labelled.iter().map(|&row| u32::from(targets[row as usize]) - 1).collect();
    let of_rows: f64 = own.iter().map(|&class| f64::from(weights[class as usize])).sum();
    // Where every class present has weight zero, there is nothing to learn from.
    let scale = if of_rows > 0.0 { 1.0 / of_rows } else { 0.0 };
    let mut place = vec![0u32; n];
    labelled.iter().zip(0..).for_each(|(&row, at)| place[row as usize] = at);
    let targets: Vec<u32> = targets.iter().map(|&t| u32::from(t)).collect();

    let (targets, place, weights) = (gpu.upload(&targets)?, gpu.upload(&place)?, gpu.upload(&weights)?);
    let n_blocks = blocks(n, LANES)?;
    let mut sums = gpu.uninit::<f64>(2 * n_blocks as usize)?;
    let mut grad = gpu.uninit::<f32>(n * classes)?;
    let with_lovasz = loss.lovasz > 0.0;
    let mut p = with_lovasz.then(|| gpu.uninit::<f32>(classes * n_labelled)).transpose()?;
    let args = [
        scores.read(),
        targets.read(),
        place.read(),
        Arg::int(n)?,
        Arg::int(n_labelled)?,
        Arg::int(*classes)?,
        weights.read(),
        Arg::F64(all_weights),
        Arg::F64(loss.label_smoothing),
        Arg::F64(scale),
        sums.write(),
        p.as_mut().map_or(Arg::NONE, Memory::write),
        grad.write(),
    ];
    gpu.launch(&SEGMENTATION, "entropy_rows", (n_blocks, 1, 1), LANES, &args)?;
    let jaccard = match &p {
        None => None,
        Some(p) => {
            let lovasz = Lovasz { gpu, p, classes: *classes, own: &own, labelled };
            Some(lovasz.add(loss.lovasz, &mut grad)?)
        }
    };
    let (mut value, mut n_right) = (gpu.uninit::<f32>(1)?, gpu.uninit::<f32>(1)?);
    let args = [
        sums.read(),
        Arg::I32(n_blocks as i32),
        Arg::F64(scale),
        read_if(jaccard.as_ref()),
        Arg::int(*classes)?,
        Arg::F64(loss.lovasz),
        value.write(),
        n_right.write(),
    ];
    gpu.launch(&SEGMENTATION, "entropy_total", (1, 1, 1), LANES, &args)?;
    Ok(RowsOutcome { loss: value, n_right, grad })
}

/// The Lovász-softmax loss of probabilities.
struct Lovasz<'a, C: Compute> {
    gpu: &'a C,
    /// `[classes, labelled]`.
    p: &'a C::Memory<f32>,
    classes: usize,
    /// Class of each labelled row, from 0.
    own: &'a [u32],
    /// Rows of the scores that are labelled.
    labelled: &'a [u32],
}

impl<C: Compute> Lovasz<'_, C> {
    /// Adds the gradient, times `factor`; gives the loss of each class.
    fn add(&self, factor: f64, grad: &mut C::Memory<f32>) -> Result<C::Memory<f64>> {
        let Self { gpu, p, classes, .. } = *self;
        let n = self.labelled.len();
        let mut of_class = vec![0u32; classes];
        self.own.iter().for_each(|&class| of_class[class as usize] += 1);
        let present = of_class.iter().filter(|&&n| n > 0).count() as f64;
        let (own, of_class, rows) =
            (gpu.upload(self.own)?, gpu.upload(&of_class)?, gpu.upload(self.labelled)?);
        let order = self.sorted(&own)?;

        let chunks = blocks(n, CHUNK)?;
        let grid = (chunks, int(classes)? as u32, 1);
        let mut count = gpu.uninit::<u32>(classes * chunks as usize)?;
        let args = [order.read(), own.read(), Arg::int(n)?, count.write()];
        gpu.launch(&SEGMENTATION, "own_counts", grid, LANES, &args)?;
        let mut part = gpu.uninit::<f64>(classes * chunks as usize)?;
        let mut by_p = gpu.uninit::<f32>(classes * n)?;
        let args = [
            p.read(),
            order.read(),
            own.read(),
            Arg::int(n)?,
            count.read(),
            of_class.read(),
            Arg::F64(present),
            part.write(),
            by_p.write(),
        ];
        gpu.launch(&SEGMENTATION, "lovasz_steps", grid, LANES, &args)?;
        let mut loss = gpu.uninit::<f64>(classes)?;
        let args = [part.read(), Arg::I32(chunks as i32), Arg::int(classes)?, loss.write()];
        gpu.launch(&SEGMENTATION, "lovasz_losses", (blocks(classes, LANES)?, 1, 1), LANES, &args)?;
        let args = [
            p.read(),
            by_p.read(),
            rows.read(),
            Arg::int(n)?,
            Arg::int(classes)?,
            Arg::F64(factor),
            grad.write(),
        ];
        gpu.launch(&SEGMENTATION, "lovasz_gradient", (blocks(n, LANES)?, 1, 1), LANES, &args)?;
        Ok(loss)
    }

    /// For each class the labelled rows by descending error, `[classes, labelled]`.
    fn sorted(&self, own: &C::Memory<u32>) -> Result<C::Memory<u32>> {
        let Self { gpu, p, classes, .. } = *self;
        let n = self.labelled.len();
        let all = classes * n;
        let (mut key, mut row) = (gpu.uninit::<u32>(all)?, gpu.uninit::<u32>(all)?);
        let (mut next_key, mut next_row) = (gpu.uninit::<u32>(all)?, gpu.uninit::<u32>(all)?);
        let args = [p.read(), own.read(), Arg::int(n)?, Arg::int(classes)?, key.write(), row.write()];
        gpu.launch(&SEGMENTATION, "error_keys", (blocks(all, LANES)?, 1, 1), LANES, &args)?;
        let chunks = blocks(n, CHUNK)?;
        let mut count = gpu.uninit::<u32>(classes * DIGITS * chunks as usize)?;
        let grid = (chunks, int(classes)? as u32, 1);
        for shift in SHIFTS.map(Arg::I32) {
            let args = [key.read(), Arg::int(n)?, shift, count.write()];
            gpu.launch(&SEGMENTATION, "digit_counts", grid, LANES, &args)?;
            let args = [count.write(), Arg::I32(chunks as i32)];
            gpu.launch(&SEGMENTATION, "digit_places", (int(classes)? as u32, 1, 1), LANES, &args)?;
            let args = [
                key.read(),
                row.read(),
                Arg::int(n)?,
                shift,
                count.read(),
                next_key.write(),
                next_row.write(),
            ];
            gpu.launch(&SEGMENTATION, "digit_scatter", grid, LANES, &args)?;
            std::mem::swap(&mut key, &mut next_key);
            std::mem::swap(&mut row, &mut next_row);
        }
        Ok(row)
    }
}
