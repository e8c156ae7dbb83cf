// Bilinear reading of a map at fixed places: for each pixel four cells with their weights; and its gradient.
//
// Launch: a thread for a number of the result. Deterministic: a cell collects from the pixels that read it in their order,
// from lists that the host makes.

struct Taps {
    // Rows of the result, and its channels.
    rows: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> p: Taps;
// [cells, channels]; or the gradient by pixel, [pixels, channels].
@group(0) @binding(1) var<storage, read> values: array<f32>;
// [rows, 4]; or readers of all cells, one cell after the other.
@group(0) @binding(2) var<storage, read> taken_from: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
// [cells + 1]: where the readers of a cell begin.
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 256u + lane;
}

@compute @workgroup_size(256)
fn read_taps(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    let row = i / p.channels;
    let c = i % p.channels;
    var sum = 0.0;
    for (var tap = 4u * row; tap < 4u * row + 4u; tap += 1u) {
        sum += weights[tap] * values[taken_from[tap] * p.channels + c];
    }
    out[i] = sum;
}

@compute @workgroup_size(256)
fn collect(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    let cell = i / p.channels;
    let c = i % p.channels;
    var sum = 0.0;
    for (var reader = starts[cell]; reader < starts[cell + 1u]; reader += 1u) {
        sum += weights[reader] * values[taken_from[reader] * p.channels + c];
    }
    out[i] = sum;
}
