//! The launcher against sums in f64, on a Vulkan device.

use ppkt_testkit::assert_close;
use ppkt_wgsl::Gpu;

use super::taps::TAPS;
use super::{collect, read};
use crate::projection::{Readers, Tap, read_cells, read_pixels};

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    ppkt_wgsl::assert_metal_is_made_of_wgsl(env!("CARGO_MANIFEST_DIR"), "src/metal", &[&TAPS]);
}

fn number(i: usize) -> f32 {
    ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0
}

#[test]
fn reading_and_its_gradient_are_those_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    let f64s = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    for (cells, pixels, channels) in [(1, 0, 3), (1, 1, 1), (35, 300, 64), (700, 1000, 5)] {
        let map: Vec<f32> = (0..cells * channels).map(number).collect();
        let tap = |i: usize| ((i * i * 7 % cells) as u32, number(i + 9));
        let taps: Vec<[Tap; 4]> = (0..pixels).map(|m| [0, 1, 2, 3].map(|t| tap(4 * m + t))).collect();
        let got = gpu.floats(&read(gpu, &gpu.of(&map), &taps, channels).unwrap());
        assert_close("read", &got, &f64s(read_pixels(&map, &taps, channels)), 1e-6);

        let grad: Vec<f32> = (0..pixels * channels).map(|i| number(i + 77)).collect();
        let readers = Readers::of(&taps, cells);
        let got = gpu.floats(&collect(gpu, &gpu.of(&grad), &readers, channels).unwrap());
        assert_close("collect", &got, &f64s(read_cells(&grad, &readers, channels)), 1e-6);
    }
}
