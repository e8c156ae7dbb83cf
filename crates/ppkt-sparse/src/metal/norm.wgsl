// Batch normalisation over rows, with residual and ReLU, and its gradient.
//
// Moments are made of the mean and the squared distances from it of blocks of 256 rows, merged pairwise
// (Chan, Golub and LeVeque 1983); means are counted from the first row, so that a large one costs no digits. There is no
// difference of large sums, and f32 does where the processor takes f64. The sums of the gradient are of the distance from
// the mean too.
//
// Launch: `moments`, `merge`, `grad_sums` 32 channels x 8 lanes, groups [channels / 32, blocks]; `statistics` and
// `affine_grad` a thread for a channel; `normalise` and `input_grad` a thread for a number. Deterministic: lanes and
// blocks are added in a fixed order. NaN stays NaN.

struct Norm {
    rows: u32,
    channels: u32,
    // Of `merge`: parts, and rows of all but the last.
    parts: u32,
    part_rows: u32,
    eps: f32,
    // A new batch's share in the running statistics.
    momentum: f32,
    // ReLU: 0 none; 1, whose gradient goes by the result; 2, whose gradient goes by the norm, which is worked out again.
    relu: u32,
    // Whether there is a residual, and whether the moments depend on the rows.
    residual: u32,
    batch: u32,
}

@group(0) @binding(0) var<uniform> p: Norm;
// [rows, channels]
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [3, channels]: mean, 1 / standard deviation, unbiased variance.
@group(0) @binding(2) var<storage, read> stats: array<f32>;
// [2, channels]: gamma, beta.
@group(0) @binding(3) var<storage, read> affine: array<f32>;
// [rows, channels]
@group(0) @binding(4) var<storage, read> other: array<f32>;
@group(0) @binding(5) var<storage, read> result: array<f32>;
// [2, channels]: sums of the gradient, and of the gradient times the distance from the mean.
@group(0) @binding(6) var<storage, read> sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

const BLOCK: u32 = 256u;
const LANES: u32 = 8u;

var<workgroup> lane_a: array<f32, 256>;
var<workgroup> lane_b: array<f32, 256>;

fn relu(v: f32) -> f32 {
    return select(v, 0.0, v < 0.0);
}

// [blocks, 2, channels]: mean, counted from the first row, and sum of squared distances, of blocks of rows.
@compute @workgroup_size(32, 8)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let channel = group.x * 32u + local.x;
    let slot = local.y * 32u + local.x;
    let end = min((group.y + 1u) * BLOCK, p.rows);
    var sum = 0.0;
    var start = 0.0;
    if channel < p.channels {
        start = x[channel];
        for (var row = group.y * BLOCK + local.y; row < end; row += LANES) {
            sum += x[row * p.channels + channel] - start;
        }
    }
    lane_a[slot] = sum;
    workgroupBarrier();
    var total = 0.0;
    for (var lane = 0u; lane < LANES; lane += 1u) {
        total += lane_a[lane * 32u + local.x];
    }
    let mean = total / f32(end - group.y * BLOCK);
    var squares = 0.0;
    if channel < p.channels {
        for (var row = group.y * BLOCK + local.y; row < end; row += LANES) {
            let d = (x[row * p.channels + channel] - start) - mean;
            squares += d * d;
        }
    }
    lane_b[slot] = squares;
    workgroupBarrier();
    if local.y == 0u && channel < p.channels {
        var all = 0.0;
        for (var lane = 0u; lane < LANES; lane += 1u) {
            all += lane_b[lane * 32u + local.x];
        }
        out[(group.y * 2u) * p.channels + channel] = mean;
        out[(group.y * 2u + 1u) * p.channels + channel] = all;
    }
}

struct Part {
    n: f32,
    mean: f32,
    squares: f32,
}

fn merged(a: Part, b: Part) -> Part {
    if b.n == 0.0 {
        return a;
    }
    if a.n == 0.0 {
        return b;
    }
    let n = a.n + b.n;
    let d = b.mean - a.mean;
    return Part(n, a.mean + d * (b.n / n), a.squares + b.squares + d * d * (a.n * b.n / n));
}

var<workgroup> lane_n: array<f32, 256>;

// [parts, 2, channels] to [parts / 256, 2, channels].
@compute @workgroup_size(32, 8)
fn merge(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let channel = group.x * 32u + local.x;
    let slot = local.y * 32u + local.x;
    var part = Part(0.0, 0.0, 0.0);
    if channel < p.channels {
        let end = min((group.y + 1u) * BLOCK, p.parts);
        for (var i = group.y * BLOCK + local.y; i < end; i += LANES) {
            let n = min(p.part_rows, p.rows - i * p.part_rows);
            let at = i * 2u * p.channels + channel;
            part = merged(part, Part(f32(n), x[at], x[at + p.channels]));
        }
    }
    lane_n[slot] = part.n;
    lane_a[slot] = part.mean;
    lane_b[slot] = part.squares;
    workgroupBarrier();
    if local.y == 0u && channel < p.channels {
        var all = Part(0.0, 0.0, 0.0);
        for (var lane = 0u; lane < LANES; lane += 1u) {
            let s = lane * 32u + local.x;
            all = merged(all, Part(lane_n[s], lane_a[s], lane_b[s]));
        }
        out[(group.y * 2u) * p.channels + channel] = all.mean;
        out[(group.y * 2u + 1u) * p.channels + channel] = all.squares;
    }
}

// From the mean and squares of all rows, [2, channels], and the rows (`other`), of which the first is looked at, to `stats`.
@compute @workgroup_size(64)
fn statistics(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if c >= p.channels {
        return;
    }
    let squares = x[p.channels + c];
    let variance = squares / f32(p.rows);
    out[c] = other[c] + x[c];
    out[p.channels + c] = 1.0 / sqrt(variance + p.eps);
    out[2u * p.channels + c] = squares / f32(p.rows - 1u);
}

// From running mean and variance, [2, channels], to `stats`.
@compute @workgroup_size(64)
fn running(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if c >= p.channels {
        return;
    }
    let variance = other[c];
    out[c] = x[c];
    out[p.channels + c] = 1.0 / sqrt(variance + p.eps);
    out[2u * p.channels + c] = variance;
}

// Running statistics (`out`) towards those of a batch (`x`), [channels].
@compute @workgroup_size(64)
fn move_running(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.channels {
        out[id.x] = (1.0 - p.momentum) * out[id.x] + p.momentum * x[id.x];
    }
}

// One more batch: a 64-bit integer, its lower word first.
@group(0) @binding(8) var<storage, read_write> counter: array<u32>;

@compute @workgroup_size(1)
fn count() {
    counter[0] += 1u;
    if counter[0] == 0u {
        counter[p.channels] += 1u;
    }
}

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 256u + lane;
}

// (x - mean) / deviation * gamma + beta.
fn norm_at(i: u32) -> f32 {
    let c = i % p.channels;
    return (x[i] - stats[c]) * (affine[c] * stats[p.channels + c]) + affine[p.channels + c];
}

// The norm, + residual, then ReLU.
@compute @workgroup_size(256)
fn normalise(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    var y = norm_at(i);
    if p.residual != 0u {
        y += other[i];
    }
    if p.relu != 0u {
        y = relu(y);
    }
    out[i] = y;
}

// `other` is the gradient of the result, `result` the result where its sign is asked for.
fn grad_at(i: u32) -> f32 {
    let g = other[i];
    if p.relu == 1u {
        return select(0.0, g, result[i] > 0.0);
    }
    if p.relu == 2u {
        return select(0.0, g, norm_at(i) > 0.0);
    }
    return g;
}

// [blocks, 2, channels]: sums of blocks of rows.
@compute @workgroup_size(32, 8)
fn grad_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let channel = group.x * 32u + local.x;
    let slot = local.y * 32u + local.x;
    var sum = 0.0;
    var along = 0.0;
    if channel < p.channels {
        let end = min((group.y + 1u) * BLOCK, p.rows);
        let mean = stats[channel];
        for (var row = group.y * BLOCK + local.y; row < end; row += LANES) {
            let i = row * p.channels + channel;
            let g = grad_at(i);
            sum += g;
            along += g * (x[i] - mean);
        }
    }
    lane_a[slot] = sum;
    lane_b[slot] = along;
    workgroupBarrier();
    if local.y == 0u && channel < p.channels {
        sum = 0.0;
        along = 0.0;
        for (var lane = 0u; lane < LANES; lane += 1u) {
            sum += lane_a[lane * 32u + local.x];
            along += lane_b[lane * 32u + local.x];
        }
        out[(group.y * 2u) * p.channels + channel] = sum;
        out[(group.y * 2u + 1u) * p.channels + channel] = along;
    }
}

// Gradients of gamma and beta, [2, channels].
@compute @workgroup_size(64)
fn affine_grad(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x;
    if c >= p.channels {
        return;
    }
    out[c] = sums[p.channels + c] * stats[p.channels + c];
    out[p.channels + c] = sums[c];
}

// dx = gamma / deviation * (g - mean of g - x^ * mean of g x^), where the moments depend on the rows.
@compute @workgroup_size(256)
fn input_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    let c = i % p.channels;
    let inverse = stats[p.channels + c];
    let scale = affine[c] * inverse;
    var dx = scale * grad_at(i);
    if p.batch != 0u {
        let n = f32(p.rows);
        let by_distance = -scale * inverse * (sums[p.channels + c] * inverse) / n;
        dx += by_distance * (x[i] - stats[c]) - scale * sums[c] / n;
    }
    out[i] = dx;
}

// The gradient before the ReLU, which is the residual's.
@compute @workgroup_size(256)
fn residual_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i < p.rows * p.channels {
        out[i] = grad_at(i);
    }
}
