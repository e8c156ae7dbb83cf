// Means of the unit rows of each group, and the way back from their gradient.
//
// Launch: `row_lengths` and `pull_back` a group of 64 threads for a row; `means` 32 columns x 8 lanes for a group of rows
// and 32 columns. Deterministic: the order of each sum depends on the sizes alone.

struct Pooled {
    // Rows, or groups of rows.
    rows: u32,
    dim: u32,
    // Added to a count that is divided by.
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> p: Pooled;
// [rows, dim]
@group(0) @binding(1) var<storage, read> raw: array<f32>;
// [rows]
@group(0) @binding(2) var<storage, read> lengths: array<f32>;
// [groups + 1], and the rows of group g at starts[g]..starts[g + 1].
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read> members: array<u32>;
// [rows]: the group of a row, or the largest number for none.
@group(0) @binding(5) var<storage, read> group_of: array<u32>;
// [groups, dim]
@group(0) @binding(6) var<storage, read> by_mean: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

const SHORTEST: f32 = 1e-12;
const NONE: u32 = 0xffffffffu;

var<workgroup> lanes: array<f32, 64>;

// The sum over a group of 64, in every thread.
fn sum_of(value: f32, lane: u32) -> f32 {
    lanes[lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    workgroupBarrier();
    return lanes[0];
}

// What a raw row is divided by.
fn divisor_of(row: u32) -> f32 {
    return select(lengths[row], SHORTEST, lengths[row] < SHORTEST);
}

// Numbers are scaled, so that squares neither overflow nor vanish.
@compute @workgroup_size(64)
fn row_lengths(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.rows {
        return;
    }
    var largest = 0.0;
    for (var c = 0u; c < p.dim; c += 1u) {
        let v = abs(raw[row * p.dim + c]);
        largest = select(largest, v, v > largest);
    }
    let scale = select(1.0, largest, largest > 0.0);
    var squares = 0.0;
    for (var c = lane; c < p.dim; c += 64u) {
        let part = raw[row * p.dim + c] / scale;
        squares += part * part;
    }
    let sum = sum_of(squares, lane);
    if lane == 0u {
        out[row] = scale * sqrt(sum);
    }
}

var<workgroup> parts: array<f32, 256>;

// The mean of a group's unit rows, divided by their number + epsilon. A lane adds every eighth row, sixteen at a time, so
// that an error does not grow with a group of many thousands; then the lanes are added in order.
@compute @workgroup_size(32, 8)
fn means(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let columns = (p.dim + 31u) / 32u;
    let at = group.y * groups.x + group.x;
    let which = at / columns;
    if which >= p.rows {
        return;
    }
    let column = (at % columns) * 32u + local.x;
    let first = starts[which];
    let end = starts[which + 1u];
    var sum = 0.0;
    if column < p.dim {
        for (var i = first + local.y; i < end; i += 128u) {
            var some = 0.0;
            for (var j = i; j < min(i + 128u, end); j += 8u) {
                some += raw[members[j] * p.dim + column] / divisor_of(members[j]);
            }
            sum += some;
        }
    }
    parts[local.y * 32u + local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && column < p.dim {
        var total = 0.0;
        for (var lane = 0u; lane < 8u; lane += 1u) {
            total += parts[lane * 32u + local.x];
        }
        out[which * p.dim + column] = total / (f32(end - first) + p.epsilon);
    }
}

// From the gradient by the means to that by the raw rows; rows without a group, or without a direction, get zero.
@compute @workgroup_size(64)
fn pull_back(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.rows {
        return;
    }
    let mine = group_of[row];
    if mine == NONE || lengths[row] < SHORTEST {
        for (var c = lane; c < p.dim; c += 64u) {
            out[row * p.dim + c] = 0.0;
        }
        return;
    }
    let count = f32(starts[mine + 1u] - starts[mine]) + p.epsilon;
    var product = 0.0;
    for (var c = lane; c < p.dim; c += 64u) {
        product += by_mean[mine * p.dim + c] / count * (raw[row * p.dim + c] / lengths[row]);
    }
    let along = sum_of(product, lane);
    for (var c = lane; c < p.dim; c += 64u) {
        let i = row * p.dim + c;
        out[i] = (by_mean[mine * p.dim + c] / count - raw[i] / lengths[row] * along) / lengths[row];
    }
}
