//! The launchers against the operations of the CPU, on a Vulkan device.

use ppkt_testkit::assert_close;
use ppkt_wgsl::Gpu;

use super::grouped::GROUPED;
use super::taps::TAPS;
use super::{collect, grouped_conv, read};
use crate::backend::{GroupedSizes, grouped_on_cpu};
use crate::engine::ConvGeometry;
use crate::projection::{Readers, Tap, read_cells, read_pixels};

#[test]
fn metal_text_is_what_naga_makes_of_the_wgsl() {
    ppkt_wgsl::assert_metal_is_made_of_wgsl(env!("CARGO_MANIFEST_DIR"), "src/metal", &[&GROUPED, &TAPS]);
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

#[test]
fn convolutions_in_groups_are_those_of_the_cpu() {
    let Some(gpu) = Gpu::get() else { return };
    // Depthwise and not, of odd sizes, with strides and dilations, and kernels that reach beyond the whole map.
    for (input, outer, [kernel, stride, padding, dilation, groups]) in [
        ([1, 1, 1, 1], 1, [7, 1, 3, 1, 1]),
        ([2, 5, 9, 16], 16, [7, 1, 3, 1, 16]),
        ([2, 9, 7, 64], 64, [3, 1, 1, 1, 16]),
        ([1, 9, 7, 36], 60, [3, 2, 2, 2, 3]),
        ([3, 4, 5, 9], 18, [1, 2, 0, 1, 9]),
    ] {
        let conv = ConvGeometry { kernel, stride, padding, dilation, groups };
        let [n, height, width, inner] = input;
        let output = [n, conv.output(height), conv.output(width), outer];
        let geometry = GroupedSizes { input, output, conv };
        let x: Vec<f32> = (0..n * height * width * inner).map(number).collect();
        let weight: Vec<f32> = (0..kernel * kernel * inner / groups * outer).map(|i| number(i + 5)).collect();
        let bias: Vec<f32> = (0..outer).map(|i| number(i + 11)).collect();
        let buffers = [gpu.of(&x), gpu.of(&weight), gpu.of(&bias)];
        let got = gpu.floats(&grouped_conv(gpu, &geometry, buffers.each_ref()).unwrap());
        let want = grouped_on_cpu(&geometry, &x, &weight, &bias).into_iter().map(f64::from);
        assert_close(&format!("{geometry:?}"), &got, &want.collect::<Vec<_>>(), 1e-6);
    }
}
