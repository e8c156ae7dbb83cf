//! Launchers over emulated kernels, held against the CPU's reading.

use ppkt_device::launch::Memory;
use ppkt_testkit::{EmulatedGpu, assert_close};

use crate::backend::{GroupedSizes, grouped_on_cpu};
use crate::engine::ConvGeometry;
use crate::projection::{Readers, Tap, read_cells, read_pixels};

fn noise(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn taps_read_as_on_the_cpu() {
    let Some(gpu) = EmulatedGpu::new("src/cuda") else { return };
    // No pixel; one; many that read the same cells; more values than a block has threads.
    for (n_cells, n_pixels, d) in [(6, 0, 3), (1, 1, 1), (7, 50, 5), (90, 300, 33)] {
        let weights = noise(4 * n_pixels, 3);
        let tap = |i: usize| -> Tap { ((i * 7 / 3 % n_cells) as u32, weights[i]) };
        let taps: Vec<[Tap; 4]> = (0..n_pixels).map(|p| std::array::from_fn(|t| tap(4 * p + t))).collect();
        let map = noise(n_cells * d, 1);
        let memory = gpu.array(&map);
        let got = super::taps_forward(&gpu, memory.view(), &taps, d).unwrap().values();
        let want = read_pixels(&map, &taps, d);
        assert_close("forward", &got[..want.len()], &f64s(&want), 1e-6);

        let gradient = noise(n_pixels * d, 2);
        let memory = gpu.array(&gradient);
        let readers = Readers::of(&taps, n_cells);
        let got = super::taps_backward(&gpu, memory.view(), &readers, d).unwrap().values();
        assert_close("backward", &got, &f64s(&read_cells(&gradient, &readers, d)), 1e-6);
    }
}

#[test]
fn convolutions_in_groups_are_those_of_the_cpu() {
    let Some(gpu) = EmulatedGpu::new("src/cuda") else { return };
    for geometry in geometries() {
        let GroupedSizes { input, output, conv } = geometry;
        let x = noise(input.iter().product(), 1);
        let weight = noise(conv.kernel * conv.kernel * input[3] / conv.groups * output[3], 2);
        let bias = noise(output[3], 3);
        let memory = [&x, &weight, &bias].map(|values| gpu.array(values));
        let views = memory.each_ref().map(|memory| memory.view());
        let got = super::grouped_conv(&gpu, &geometry, views).unwrap().values();
        let want = grouped_on_cpu(&geometry, &x, &weight, &bias);
        assert_close(&format!("{geometry:?}"), &got, &f64s(&want), 1e-6);
    }
}

/// Depthwise and not, of odd sizes, with strides and dilations, and kernels that reach beyond the whole map.
fn geometries() -> Vec<GroupedSizes> {
    let of = |input: [usize; 4], outer, [kernel, stride, padding, dilation, groups]: [usize; 5]| {
        let conv = ConvGeometry { kernel, stride, padding, dilation, groups };
        let output = [input[0], conv.output(input[1]), conv.output(input[2]), outer];
        GroupedSizes { input, output, conv }
    };
    vec![
        of([1, 1, 1, 1], 1, [7, 1, 3, 1, 1]),
        of([2, 5, 9, 16], 16, [7, 1, 3, 1, 16]),
        of([2, 9, 7, 64], 64, [3, 1, 1, 1, 16]),
        of([1, 9, 7, 36], 60, [3, 2, 2, 2, 3]),
        of([3, 4, 5, 9], 18, [1, 2, 0, 1, 9]),
    ]
}
