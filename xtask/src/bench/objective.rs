//! Section `objective`: the contrastive loss.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use ppkt_objective::{Embeddings, InfoNce, Objective};

use super::case::Work;
use super::input::Noise;
use super::runner::Runner;

/// Channels of the paper's descendants; the peers' script has the same.
const CHANNELS: usize = 64;

/// Runs the section.
pub(super) fn run(runner: &mut Runner) -> Result<()> {
    let objective = InfoNce { temperature: 0.07, symmetric: false };
    // 4,096 pairs a step is what the paper's descendants use; one size below and one above shows the growth.
    for pairs in [1024, 4096, 8192] {
        let mut noise = Noise::new(6);
        let mut var = || Var::from_vec(noise.take(pairs * CHANNELS), (pairs, CHANNELS), &Device::Cpu);
        let (point, pixel) = (var()?, var()?);
        let detached = |v: &Var| -> Tensor { v.as_detached_tensor() };
        let frozen = Embeddings { point: detached(&point), pixel: detached(&pixel) };
        let trained = Embeddings { point: point.as_tensor().clone(), pixel: pixel.as_tensor().clone() };
        runner.on(&format!("{pairs} pairs of {CHANNELS} channels"));
        // The similarities; for the gradients, one product more for each side.
        let rows = (pairs * CHANNELS) as f64;
        let product = 2.0 * rows * pairs as f64;
        let name = format!("InfoNCE, {pairs} pairs");
        runner.case(&format!("{name}, forward"), Work::new(product, 8.0 * rows), || {
            Ok(objective.loss(&frozen)?)
        })?;
        runner.case(&format!("{name}, forward+backward"), Work::new(3.0 * product, 16.0 * rows), || {
            Ok(objective.loss(&trained)?.value.backward()?)
        })?;
    }
    Ok(())
}
