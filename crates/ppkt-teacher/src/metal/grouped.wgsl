// A convolution in groups with its bias, channels last; depthwise where a group is one channel.
//
// Launch: a thread for a number of the result, which it sums in the order of taps and channels. Deterministic.

struct Sizes {
    n: u32,
    height: u32,
    width: u32,
    inner: u32,
    out_height: u32,
    out_width: u32,
    outer: u32,
    groups: u32,
    // Side, stride, padding and dilation of the kernel.
    side: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
}

@group(0) @binding(0) var<uniform> p: Sizes;
// [n, height, width, inner]
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [side * side, inner / groups, outer]
@group(0) @binding(2) var<storage, read> weight: array<f32>;
// [outer]
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// [n, out_height, out_width, outer]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn grouped_conv(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    let pixel = i / p.outer;
    let o = i % p.outer;
    let column = pixel % p.out_width;
    let line = pixel / p.out_width % p.out_height;
    let image = pixel / p.out_width / p.out_height;
    if image >= p.n {
        return;
    }
    let per_group = p.inner / p.groups;
    let first = o / (p.outer / p.groups) * per_group;
    var sum = bias[o];
    for (var tap = 0u; tap < p.side * p.side; tap += 1u) {
        // With the padding still in them, since there are no numbers below zero.
        let y = line * p.stride + tap / p.side * p.dilation;
        let at = column * p.stride + tap % p.side * p.dilation;
        if y < p.padding || y >= p.height + p.padding || at < p.padding || at >= p.width + p.padding {
            continue;
        }
        let first_read = ((image * p.height + y - p.padding) * p.width + at - p.padding) * p.inner + first;
        let first_weight = tap * per_group * p.outer + o;
        for (var c = 0u; c < per_group; c += 1u) {
            sum += x[first_read + c] * weight[first_weight + c * p.outer];
        }
    }
    out[i] = sum;
}
