//! candle's operations on every device against the engine: each layer by itself here, whole networks beside it.

mod layers;
mod networks;

/// Numbers between -1 and 1 that look random.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| (i.wrapping_add(seed << 16).wrapping_mul(2_654_435_761) >> 8) as f32;
    (0..n as u32).map(|i| number(i) / 8_388_608.0 - 1.0).collect()
}
