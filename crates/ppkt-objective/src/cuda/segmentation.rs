//! Cross-entropy and Lovász-softmax.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use super::{LANES, RowsOutcome};
use crate::segmentation::LabelledRows;

static SEGMENTATION: Kernels = kernels!("segmentation");

/// `CHUNK` of `segmentation.cu`: values of a class that one block sorts or scans.
const CHUNK: usize = 2048;
/// Digits of a sort key, and passes of the sort, each by eight bits.
const DIGITS: usize = 256;
const SHIFTS: [i32; 4] = [0, 8, 16, 24];

/// The loss over rows whose targets the host knows.
pub(crate) fn segmentation<G: Gpu>(
    gpu: &G,
    rows: &LabelledRows,
    scores: View<'_, f32>,
) -> Result<RowsOutcome<G>> {
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
    let n_blocks = n.div_ceil(LANES as usize);
    let mut sums = gpu.uninit::<f64>(2 * n_blocks)?;
    let mut grad = gpu.uninit::<f32>(n * classes)?;
    let with_lovasz = loss.lovasz > 0.0;
    let mut p = with_lovasz.then(|| gpu.uninit::<f32>(classes * n_labelled)).transpose()?;
    let launch = SEGMENTATION.launch(gpu, "entropy_rows").read(scores).read(&targets).read(&place);
    let launch = launch.count(n).count(n_labelled).count(*classes).read(&weights);
    let launch = launch.value(all_weights).value(loss.label_smoothing).value(scale);
    let launch = launch.write(&mut sums).write(p.as_mut()).write(&mut grad);
    launch.run(Geometry::line(n_blocks, LANES))?;
    let jaccard = match &p {
        None => None,
        Some(p) => {
            let lovasz = Lovasz { gpu, p, classes: *classes, own: &own, labelled };
            Some(lovasz.add(loss.lovasz, &mut grad)?)
        }
    };
    let (mut value, mut n_right) = (gpu.uninit::<f32>(1)?, gpu.uninit::<f32>(1)?);
    let launch = SEGMENTATION.launch(gpu, "entropy_total").read(&sums).count(n_blocks).value(scale);
    let launch = launch.read(jaccard.as_ref()).count(*classes).value(loss.lovasz);
    launch.write(&mut value).write(&mut n_right).run(Geometry::line(1, LANES))?;
    Ok(RowsOutcome { loss: value, n_right, grad })
}

/// The Lovász-softmax loss of probabilities.
struct Lovasz<'a, G: Gpu> {
    gpu: &'a G,
    /// `[classes, labelled]`.
    p: &'a G::Memory<f32>,
    classes: usize,
    /// Class of each labelled row, from 0.
    own: &'a [u32],
    /// Rows of the scores that are labelled.
    labelled: &'a [u32],
}

impl<G: Gpu> Lovasz<'_, G> {
    /// Adds the gradient, times `factor`; gives the loss of each class.
    fn add(&self, factor: f64, grad: &mut G::Memory<f32>) -> Result<G::Memory<f64>> {
        let Self { gpu, p, classes, .. } = *self;
        let n = self.labelled.len();
        let mut of_class = vec![0u32; classes];
        self.own.iter().for_each(|&class| of_class[class as usize] += 1);
        let present = of_class.iter().filter(|&&n| n > 0).count() as f64;
        let (own, of_class, rows) =
            (gpu.upload(self.own)?, gpu.upload(&of_class)?, gpu.upload(self.labelled)?);
        let order = self.sorted(&own)?;

        let chunks = n.div_ceil(CHUNK);
        let geometry = Geometry::new([chunks, classes, 1], [LANES, 1, 1]);
        let mut count = gpu.uninit::<u32>(classes * chunks)?;
        let launch =
            SEGMENTATION.launch(gpu, "own_counts").read(&order).read(&own).count(n).write(&mut count);
        launch.run(geometry)?;
        let mut part = gpu.uninit::<f64>(classes * chunks)?;
        let mut by_p = gpu.uninit::<f32>(classes * n)?;
        let launch = SEGMENTATION.launch(gpu, "lovasz_steps").read(p).read(&order).read(&own).count(n);
        let launch = launch.read(&count).read(&of_class).value(present).write(&mut part).write(&mut by_p);
        launch.run(geometry)?;
        let mut loss = gpu.uninit::<f64>(classes)?;
        let launch = SEGMENTATION.launch(gpu, "lovasz_losses").read(&part).count(chunks).count(classes);
        launch.write(&mut loss).run(Geometry::threads(classes, LANES))?;
        let launch = SEGMENTATION.launch(gpu, "lovasz_gradient").read(p).read(&by_p).read(&rows);
        let launch = launch.count(n).count(classes).value(factor).write(grad);
        launch.run(Geometry::threads(n, LANES))?;
        Ok(loss)
    }

    /// For each class the labelled rows by descending error, `[classes, labelled]`.
    fn sorted(&self, own: &G::Memory<u32>) -> Result<G::Memory<u32>> {
        let Self { gpu, p, classes, .. } = *self;
        let n = self.labelled.len();
        let all = classes * n;
        let (mut key, mut row) = (gpu.uninit::<u32>(all)?, gpu.uninit::<u32>(all)?);
        let (mut next_key, mut next_row) = (gpu.uninit::<u32>(all)?, gpu.uninit::<u32>(all)?);
        let launch = SEGMENTATION.launch(gpu, "error_keys").read(p).read(own).count(n).count(classes);
        launch.write(&mut key).write(&mut row).run(Geometry::threads(all, LANES))?;
        let chunks = n.div_ceil(CHUNK);
        let mut count = gpu.uninit::<u32>(classes * DIGITS * chunks)?;
        let geometry = Geometry::new([chunks, classes, 1], [LANES, 1, 1]);
        for shift in SHIFTS {
            let counts = SEGMENTATION.launch(gpu, "digit_counts").read(&key).count(n).value(shift);
            counts.write(&mut count).run(geometry)?;
            let places = SEGMENTATION.launch(gpu, "digit_places").write(&mut count).count(chunks);
            places.run(Geometry::line(classes, LANES))?;
            let scatter = SEGMENTATION.launch(gpu, "digit_scatter").read(&key).read(&row).count(n);
            let scatter = scatter.value(shift).read(&count).write(&mut next_key).write(&mut next_row);
            scatter.run(geometry)?;
            std::mem::swap(&mut key, &mut next_key);
            std::mem::swap(&mut row, &mut next_row);
        }
        Ok(row)
    }
}
