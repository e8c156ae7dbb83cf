// Losses without negatives: Euclidean distance and cosine of the rows of a pair, with their gradients.
//
// Of unit rows x and y, with c = 1 - x . y and f the factor of the loss, 1/n or 1/(n distance), the gradient of either
// loss by a raw row is f (x - y - x c) / length. As c is made of |x - y|^2, nothing is lost where the two are nearly equal.
//
// Launch: `measure` a group of 64 threads for a pair, `gradient` and `centre` a thread for a number. Deterministic: each
// number is written by one thread, and sums over rows are made elsewhere (`column_sums`).

struct Distance {
    rows: u32,
    dim: u32,
    // 1 for the distance, 0 for the cosine.
    euclidean: u32,
    // 1 / rows.
    weight: f32,
}

@group(0) @binding(0) var<uniform> p: Distance;
// [rows, dim]: the side whose rows these are, and the other.
@group(0) @binding(1) var<storage, read> mine: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
// [rows] of the raw rows.
@group(0) @binding(3) var<storage, read> lengths: array<f32>;
@group(0) @binding(4) var<storage, read> other_lengths: array<f32>;
// [rows, 3]: loss, 1 - x . y, factor.
@group(0) @binding(5) var<storage, read> measured: array<f32>;
// What is summed over rows, or read of another kernel's sums.
@group(0) @binding(6) var<storage, read> sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
@group(0) @binding(8) var<storage, read_write> hits: array<f32>;

const SHORTEST: f32 = 1e-12;
// Unit rows that are equal differ by their roundings; a difference this small has no direction.
const EQUAL: f32 = 5e-7;

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 256u + lane;
}

// x . x of a row that was brought to unit length: shorter rows than `SHORTEST` were divided by that.
fn square_of_unit(length: f32) -> f32 {
    let part = length / SHORTEST;
    return select(1.0, part * part, length < SHORTEST);
}

var<workgroup> lanes: array<f32, 64>;

@compute @workgroup_size(64)
fn measure(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.rows {
        return;
    }
    var sum = 0.0;
    for (var c = lane; c < p.dim; c += 64u) {
        let d = mine[row * p.dim + c] - other[row * p.dim + c];
        sum += d * d;
    }
    lanes[lane] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    if lane == 0u {
        let square = lanes[0];
        let distance = sqrt(square);
        let squares = square_of_unit(lengths[row]) + square_of_unit(other_lengths[row]);
        let cosine = (1.0 - 0.5 * squares) + 0.5 * square;
        var loss = cosine;
        var factor = p.weight;
        if p.euclidean != 0u {
            loss = distance;
            factor = select(p.weight / distance, 0.0, distance < EQUAL);
        }
        out[row * 3u] = loss;
        out[row * 3u + 1u] = cosine;
        out[row * 3u + 2u] = factor;
    }
}

// By the raw rows of one side, without what goes through the means; rows without a direction get none.
@compute @workgroup_size(256)
fn gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.dim {
        return;
    }
    let row = i / p.dim;
    let turned = (mine[i] - other[i]) - mine[i] * measured[row * 3u + 1u];
    out[i] = select(measured[row * 3u + 2u] * turned / lengths[row], 0.0, lengths[row] < SHORTEST);
}

// Takes the mean row off, whose sum over rows `sums` is.
@compute @workgroup_size(256)
fn centre(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i < p.rows * p.dim {
        out[i] = mine[i] - sums[i % p.dim] / f32(p.rows);
    }
}

// From the sums of `measured` (`mine`) and of the search for partners (`sums`, [2]: its losses and hits) to the loss and
// the hits.
@compute @workgroup_size(1)
fn finish() {
    out[0] = mine[0] / f32(p.rows);
    hits[0] = sums[1];
}
