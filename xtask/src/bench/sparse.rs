//! Section `sparse`: single operations of the sparse network library, at the sizes of a scanned room.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{
    BatchNorm, ConvSpec, CoordinateManager, Coords, SparseTensor, VarStore, conv, conv_transpose,
};

use super::case::Work;
use super::input::Noise;
use super::network::conv_work;
use super::runner::Runner;

/// Bytes of an f32.
const F32: f64 = 4.0;

/// Runs the section.
pub(super) fn run(runner: &mut Runner) -> Result<()> {
    // A room at 2 cm, or at 5 cm: the sizes of the goals.
    let set = runner.inputs.voxels(if runner.quick { 20_000 } else { 100_000 })?;
    runner.on(&set.name);
    coordinates(runner, &set.coords)?;
    let (coords, _) = Coords::new(&set.coords)?;
    let manager = CoordinateManager::new(coords);
    // Channels of the network's large levels.
    for channels in [32, 64, 128] {
        let name = format!("3×3×3 {channels}→{channels}");
        convolution(runner, &name, &manager, ConvSpec::new(3, 1), (channels, channels), false)?;
    }
    let halve = ConvSpec::new(2, 2);
    manager.coarser(1, 2)?;
    convolution(runner, "strided 2×2×2 32→64", &manager, halve, (32, 64), false)?;
    convolution(runner, "transposed 2×2×2 64→32", &manager, halve, (64, 32), true)?;
    // What follows the convolutions of the finest level.
    norm(runner, &manager, 96)
}

/// Sorting, and kernel maps.
fn coordinates(runner: &mut Runner, list: &[[i32; 4]]) -> Result<()> {
    let n = list.len() as f64;
    // A coordinate is read, its key and its sorted place are written.
    let sort = Work::new(0.0, n * (16.0 + 8.0 + 16.0 + 4.0));
    runner.alone("sort the voxels", sort, || Ok(Coords::new(list)?))?;
    let (sorted, _) = Coords::new(list)?;
    let build = |coords: Coords, spec| Ok(CoordinateManager::new(coords).kernel_map(1, spec)?.n_pairs());
    let of_map = |pairs: usize| Work::new(0.0, n * 8.0 + pairs as f64 * 5.0);
    for (name, spec) in [("27 offsets", ConvSpec::new(3, 1)), ("125 offsets", ConvSpec::new(5, 1))] {
        let map = of_map(build(sorted.clone(), spec)?);
        // The peers' maps are built from rows in any order, so ours must begin with the sort.
        runner.case(&format!("sort and kernel map, {name}"), sort + map, || {
            build(Coords::new(list)?.0, spec)
        })?;
        runner.alone(&format!("kernel map, {name}"), map, || build(sorted.clone(), spec))?;
    }
    let halve = ConvSpec::new(2, 2);
    let map = of_map(list.len());
    runner.case("sort and kernel map, stride 2", sort + map, || build(Coords::new(list)?.0, halve))
}

/// A convolution whose map is there already, forward, and forward with both gradients.
fn convolution(
    runner: &mut Runner,
    name: &str,
    manager: &std::sync::Arc<CoordinateManager>,
    spec: ConvSpec,
    (cin, cout): (usize, usize),
    transposed: bool,
) -> Result<()> {
    let map = manager.kernel_map(1, spec)?;
    let pairs = map.n_pairs();
    let stride = if transposed { spec.stride as u32 } else { 1 };
    let (n, m) = if transposed { (map.n_coarse(), map.n_fine()) } else { (map.n_fine(), map.n_coarse()) };
    let mut noise = Noise::new(1);
    let mut var = |shape: &[usize]| -> Result<Var> {
        Ok(Var::from_vec(noise.take(shape.iter().product()), shape, &Device::Cpu)?)
    };
    let (features, weight) = (var(&[n, cin])?, var(&[spec.volume(), cin, cout])?);
    let apply = |features: &Tensor, weight: &Tensor| -> Result<SparseTensor> {
        let x = SparseTensor::on(manager, stride, features.clone())?;
        Ok(if transposed { conv_transpose(&x, weight, spec)? } else { conv(&x, weight, spec)? })
    };
    let product = conv_work(pairs, (n, m), (cin, cout), spec.volume());
    let frozen = (features.as_detached_tensor(), weight.as_detached_tensor());
    runner.case(&format!("{name} forward"), product, || apply(&frozen.0, &frozen.1))?;
    runner.case(&format!("{name} forward+backward"), product * 3.0, || {
        Ok(apply(&features, &weight)?.features().backward()?)
    })
}

/// Batch norm and ReLU, with a residual and without.
fn norm(runner: &mut Runner, manager: &std::sync::Arc<CoordinateManager>, channels: usize) -> Result<()> {
    let n = manager.coarser(1, 1)?.len();
    let mut noise = Noise::new(3);
    let mut leaf = || -> Result<SparseTensor> {
        let var = Var::from_vec(noise.take(n * channels), (n, channels), &Device::Cpu)?;
        Ok(SparseTensor::on(manager, 1, var.as_tensor().clone())?)
    };
    let (x, residual) = (leaf()?, leaf()?);
    let residual = x.with_features(residual.features().clone())?;
    let norm = BatchNorm::new(channels, 0.1, VarStore::new(0).builder(&Device::Cpu))?;
    let array = (n * channels) as f64 * F32;
    // Forward: the batch is read for its moments and again to be normalised, the result is written. Backward: values
    // and gradient are read for the sums and again for the result. A residual is read once, its gradient written.
    let relu = |train| norm.forward_relu(&x, train);
    runner.alone("batch norm, ReLU, forward", Work::new(0.0, 3.0 * array), || Ok(relu(true)?))?;
    runner.alone("batch norm, ReLU, forward+backward", Work::new(0.0, 8.0 * array), || {
        Ok(relu(true)?.features().backward()?)
    })?;
    runner.alone("batch norm, add, ReLU, forward+backward", Work::new(0.0, 10.0 * array), || {
        Ok(norm.forward_add_relu(&x, &residual, true)?.features().backward()?)
    })?;
    Ok(())
}
