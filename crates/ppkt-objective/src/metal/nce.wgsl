// InfoNCE over a matrix of similarities that is never whole in memory.
//
// s_ij = q_i . k_j / temperature, of unit rows. First the largest and the sum of exponentials of each row, own pair left
// out; then the gradients, for which the similarities are made again: once training goes well the own probability is
// nearly 1, and 1 - (sum of the others) would leave nothing of them, so p_ii - 1 is minus their sum.
//
// Launch: `unit` and `pull_back` a group of 64 threads for a row; `scores` and `gradient` 16 x 16 threads for 64 rows and a
// range of tiles of 64 rows of the other side (and 64 channels); `merge` a thread for a row. Deterministic: ranges depend on
// the sizes alone, and are added in their order. Any number of rows and channels; a NaN makes the loss one.

struct Nce {
    rows: u32,
    dim: u32,
    // Tiles of 64 rows of the other side in a range, and ranges.
    range: u32,
    ranges: u32,
    inverse_temperature: f32,
    // 1 where the rows are keys and the other side's are queries.
    by_key: u32,
    // What gradients or losses are multiplied by, and, of `gradient`, the first part to write.
    factor: f32,
    first: u32,
}

@group(0) @binding(0) var<uniform> p: Nce;
// [rows, dim]: the side whose rows these are, and the other.
@group(0) @binding(1) var<storage, read> mine: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
// [ranges, rows, 3]: largest and sum of exponentials of the others, and the own one where the range has it.
@group(0) @binding(3) var<storage, read> seen: array<f32>;
// [rows, 3] of queries: largest of all, sum of exponentials of the others, 1 / (sum of all, temperature, rows).
@group(0) @binding(4) var<storage, read> softmax: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> out_rows: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const LOWEST: f32 = -3.4e38;
const SHORTEST: f32 = 1e-12;

var<workgroup> lanes: array<f32, 64>;

fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

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
    let sum = lanes[0];
    workgroupBarrier();
    return sum;
}

// Rows of unit length, and their lengths; numbers are scaled, so that squares neither overflow nor vanish.
@compute @workgroup_size(64)
fn unit(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    var largest = 0.0;
    for (var c = 0u; c < p.dim; c += 1u) {
        let v = abs(mine[row * p.dim + c]);
        largest = select(largest, v, v > largest);
    }
    let scale = select(1.0, largest, largest > 0.0);
    var squares = 0.0;
    for (var c = lane; c < p.dim; c += 64u) {
        let part = mine[row * p.dim + c] / scale;
        squares += part * part;
    }
    let length = scale * sqrt(sum_of(squares, lane));
    let divisor = select(length, SHORTEST, length < SHORTEST);
    for (var c = lane; c < p.dim; c += 64u) {
        out[row * p.dim + c] = mine[row * p.dim + c] / divisor;
    }
    if lane == 0u {
        out_rows[row] = length;
    }
}

// From the gradient by unit rows (`other`) to that by the raw ones: (g - y (y . g)) / length; `mine` is the unit rows, `seen`
// their lengths.
@compute @workgroup_size(64)
fn pull_back(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    var product = 0.0;
    for (var c = lane; c < p.dim; c += 64u) {
        product += mine[row * p.dim + c] * other[row * p.dim + c];
    }
    let along = sum_of(product, lane);
    let length = seen[row];
    for (var c = lane; c < p.dim; c += 64u) {
        let i = row * p.dim + c;
        out[i] = select((other[i] - mine[i] * along) / length, 0.0, length < SHORTEST);
    }
}

// [channel, row] of a step, of both sides.
var<workgroup> a: array<f32, 1024>;
var<workgroup> b: array<f32, 1024>;

// Sixteen channels of 64 rows from `first` on.
fn load(first_mine: u32, first_other: u32, depth: u32, lane: u32) {
    let row = lane / 4u;
    for (var i = 0u; i < 4u; i += 1u) {
        let channel = (lane % 4u) * 4u + i;
        var x = 0.0;
        var y = 0.0;
        if depth + channel < p.dim {
            if first_mine + row < p.rows {
                x = mine[(first_mine + row) * p.dim + depth + channel];
            }
            if first_other + row < p.rows {
                y = other[(first_other + row) * p.dim + depth + channel];
            }
        }
        a[channel * TILE + row] = x;
        b[channel * TILE + row] = y;
    }
}

// Similarities of this thread's 4 x 4 pairs: rows of `mine` down, of `other` across.
fn similarities(first_mine: u32, first_other: u32, local: vec3<u32>, lane: u32) -> mat4x4<f32> {
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    for (var depth = 0u; depth < p.dim; depth += DEPTH) {
        load(first_mine, first_other, depth, lane);
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i += 1u) {
            let r = i * TILE + local.y * 4u;
            let c = i * TILE + local.x * 4u;
            let v = vec4<f32>(b[c], b[c + 1u], b[c + 2u], b[c + 3u]);
            s0 += a[r] * v;
            s1 += a[r + 1u] * v;
            s2 += a[r + 2u] * v;
            s3 += a[r + 3u] * v;
        }
        workgroupBarrier();
    }
    let t = p.inverse_temperature;
    return mat4x4<f32>(s0 * t, s1 * t, s2 * t, s3 * t);
}

// [row, thread of the row]: largest, and sum of exponentials.
var<workgroup> tops: array<f32, 1024>;
var<workgroup> exponentials: array<f32, 1024>;
var<workgroup> own: array<f32, 64>;

@compute @workgroup_size(16, 16)
fn scores(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.x * TILE;
    let n_tiles = (p.rows + TILE - 1u) / TILE;
    var top = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    if lane < TILE {
        own[lane] = 0.0;
    }
    workgroupBarrier();
    for (var tile = group.y * p.range; tile < min((group.y + 1u) * p.range, n_tiles); tile += 1u) {
        var s = similarities(first, tile * TILE, local, lane);
        for (var r = 0u; r < 4u; r += 1u) {
            let row = first + local.y * 4u + r;
            var higher = top[r];
            for (var c = 0u; c < 4u; c += 1u) {
                let column = tile * TILE + local.x * 4u + c;
                if column == row {
                    own[local.y * 4u + r] = s[r][c];
                } else if column < p.rows {
                    higher = max(higher, s[r][c]);
                }
            }
            var total = sum[r] * exp(top[r] - higher);
            for (var c = 0u; c < 4u; c += 1u) {
                let column = tile * TILE + local.x * 4u + c;
                if column != row && column < p.rows {
                    total += exp(s[r][c] - higher);
                }
            }
            top[r] = higher;
            sum[r] = total;
        }
    }
    for (var r = 0u; r < 4u; r += 1u) {
        tops[(local.y * 4u + r) * 16u + local.x] = top[r];
        exponentials[(local.y * 4u + r) * 16u + local.x] = sum[r];
    }
    workgroupBarrier();
    let row = first + lane;
    if lane < TILE && row < p.rows {
        var largest = LOWEST;
        for (var i = 0u; i < 16u; i += 1u) {
            largest = max(largest, tops[lane * 16u + i]);
        }
        var total = 0.0;
        for (var i = 0u; i < 16u; i += 1u) {
            total += exponentials[lane * 16u + i] * exp(tops[lane * 16u + i] - largest);
        }
        let at = (group.y * p.rows + row) * 3u;
        out[at] = largest;
        out[at + 1u] = total;
        out[at + 2u] = own[lane];
    }
}

// ln(1 + x), with the digits of a small x, which a device's logarithm need not have: 2 artanh(x / (2 + x)) as a series.
fn log_1p(x: f32) -> f32 {
    if x > 1.0 {
        return log(1.0 + x);
    }
    let z = x / (2.0 + x);
    let s = z * z;
    let tail = s * (1.0 / 9.0 + s * (1.0 / 11.0 + s / 13.0));
    return 2.0 * z * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + tail))));
}

// From what the ranges saw to `softmax`, and [rows, 2]: loss, and 1 where the own key is nearer than all others.
@compute @workgroup_size(64)
fn merge(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= p.rows {
        return;
    }
    let tile = row / TILE;
    let s = seen[((tile / p.range) * p.rows + row) * 3u + 2u];
    var nearest = LOWEST;
    for (var i = 0u; i < p.ranges; i += 1u) {
        nearest = max(nearest, seen[(i * p.rows + row) * 3u]);
    }
    let top = max(s, nearest);
    var others = 0.0;
    for (var i = 0u; i < p.ranges; i += 1u) {
        let at = (i * p.rows + row) * 3u;
        others += seen[at + 1u] * exp(seen[at] - top);
    }
    let above = top - s;
    let sum = others + exp(-above);
    out[row * 3u] = top;
    out[row * 3u + 1u] = others;
    out[row * 3u + 2u] = p.inverse_temperature / (sum * f32(p.rows));
    var loss = above + log(sum);
    if above == 0.0 {
        loss = log_1p(others);
    }
    out_rows[row * 2u] = loss;
    out_rows[row * 2u + 1u] = select(0.0, 1.0, s > nearest);
}

// [row of mine, row of other]
var<workgroup> weights: array<f32, 4096>;

// [parts, rows, dim]: sums over a range of weight . other, where the weight is p_ij - 1 on the diagonal, and p_ij beside it.
@compute @workgroup_size(16, 16)
fn gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = group.x * TILE;
    let first_channel = group.z * TILE;
    let n_tiles = (p.rows + TILE - 1u) / TILE;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var tile = group.y * p.range; tile < min((group.y + 1u) * p.range, n_tiles); tile += 1u) {
        var s = similarities(first, tile * TILE, local, lane);
        for (var r = 0u; r < 4u; r += 1u) {
            let row = first + local.y * 4u + r;
            for (var c = 0u; c < 4u; c += 1u) {
                let column = tile * TILE + local.x * 4u + c;
                let query = select(row, column, p.by_key != 0u);
                var weight = 0.0;
                if row < p.rows && column < p.rows {
                    if row == column {
                        weight = -softmax[query * 3u + 1u] * softmax[query * 3u + 2u];
                    } else {
                        weight = exp(s[r][c] - softmax[query * 3u]) * softmax[query * 3u + 2u];
                    }
                }
                weights[(local.y * 4u + r) * TILE + local.x * 4u + c] = weight;
            }
        }
        for (var depth = 0u; depth < TILE; depth += DEPTH) {
            // [row of other, channel]
            for (var i = 0u; i < 4u; i += 1u) {
                let at = lane + 256u * i;
                let row = tile * TILE + depth + at / TILE;
                let channel = first_channel + at % TILE;
                var value = 0.0;
                if row < p.rows && channel < p.dim {
                    value = other[row * p.dim + channel];
                }
                b[at] = value;
            }
            workgroupBarrier();
            for (var i = 0u; i < DEPTH; i += 1u) {
                let c = i * TILE + local.x * 4u;
                let v = vec4<f32>(b[c], b[c + 1u], b[c + 2u], b[c + 3u]);
                let w = local.y * 4u * TILE + depth + i;
                sum0 += weights[w] * v;
                sum1 += weights[w + TILE] * v;
                sum2 += weights[w + 2u * TILE] * v;
                sum3 += weights[w + 3u * TILE] * v;
            }
            workgroupBarrier();
        }
    }
    let part = (p.first + group.y) * p.rows;
    let row = first + local.y * 4u;
    let channel = first_channel + local.x * 4u;
    store(part, row, channel, sum0);
    store(part, row + 1u, channel, sum1);
    store(part, row + 2u, channel, sum2);
    store(part, row + 3u, channel, sum3);
}

fn store(part: u32, row: u32, channel: u32, sum: vec4<f32>) {
    if row >= p.rows {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if channel + i < p.dim {
            out[(part + row) * p.dim + channel + i] = p.factor * sum[i];
        }
    }
}

// From the sums of losses and hits, of one way (`mine`) and, if symmetric, the other (`other`), to the loss (`out`) and the
// hits (`out_rows`).
@compute @workgroup_size(1)
fn finish() {
    var loss = mine[0];
    if p.by_key != 0u {
        loss += other[0];
    }
    out[0] = p.factor * loss / f32(p.rows);
    out_rows[0] = mine[1];
}
