// Operations on rows alone: ReLU, columns side by side and apart, merged rows, rows of length one.
//
// Launch: a thread for a number, but `unit` and `unit_grad`: a group of 64 threads for a row, whose sums are a tree.
// Deterministic. NaN stays NaN.

struct Rows {
    rows: u32,
    // Columns of the result, and of what is read.
    columns: u32,
    from_columns: u32,
    // Column of the result, or of what is read, that is the first.
    first: u32,
}

@group(0) @binding(0) var<uniform> p: Rows;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> grad: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

@compute @workgroup_size(256)
fn relu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i < p.rows * p.columns {
        let v = x[i];
        out[i] = select(v, 0.0, v < 0.0);
    }
}

// The derivative at 0 is 0.
@compute @workgroup_size(256)
fn relu_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i < p.rows * p.columns {
        out[i] = select(0.0, grad[i], y[i] > 0.0);
    }
}

// `from_columns` columns of x to columns `first..` of a wider result.
@compute @workgroup_size(256)
fn put(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i < p.rows * p.from_columns {
        out[(i / p.from_columns) * p.columns + p.first + i % p.from_columns] = x[i];
    }
}

// Columns `first..` of a wider x.
@compute @workgroup_size(256)
fn take(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i < p.rows * p.columns {
        out[i] = x[(i / p.columns) * p.from_columns + p.first + i % p.columns];
    }
}

// Rows of the result are made of rows `inputs[starts[row]..starts[row + 1]]`; `first` is 1 for their mean, 0 for the sum.
@group(0) @binding(5) var<storage, read> starts: array<u32>;
@group(0) @binding(6) var<storage, read> inputs: array<u32>;
@group(0) @binding(7) var<storage, read> row_of_input: array<u32>;

fn divisor(row: u32) -> f32 {
    return select(1.0, f32(starts[row + 1u] - starts[row]), p.first != 0u);
}

@compute @workgroup_size(256)
fn merge(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i >= p.rows * p.columns {
        return;
    }
    let row = i / p.columns;
    var sum = 0.0;
    for (var at = starts[row]; at < starts[row + 1u]; at += 1u) {
        sum += x[inputs[at] * p.columns + i % p.columns];
    }
    out[i] = sum / divisor(row);
}

// `rows` is the number of inputs.
@compute @workgroup_size(256)
fn merge_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * 256u + lane;
    if i >= p.rows * p.columns {
        return;
    }
    let row = row_of_input[i / p.columns];
    out[i] = grad[row * p.columns + i % p.columns] / divisor(row);
}

const SHORTEST: f32 = 1e-12;

var<workgroup> lanes: array<f32, 64>;

// The sum over the group, in every thread.
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

fn largest_of(value: f32, lane: u32) -> f32 {
    lanes[lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] = max(lanes[lane], lanes[lane + half]);
        }
    }
    workgroupBarrier();
    let largest = lanes[0];
    workgroupBarrier();
    return largest;
}

// Length of row `row` of x; squares of numbers as large as f32 holds do not overflow.
fn length_of(row: u32, lane: u32) -> f32 {
    var largest = 0.0;
    for (var c = lane; c < p.columns; c += 64u) {
        let v = abs(x[row * p.columns + c]);
        largest = select(largest, v, v > largest);
    }
    let scale = largest_of(largest, lane);
    var squares = 0.0;
    for (var c = lane; c < p.columns; c += 64u) {
        let v = x[row * p.columns + c];
        let part = select(v, v / scale, scale > 0.0);
        squares += part * part;
    }
    return select(1.0, scale, scale > 0.0) * sqrt(sum_of(squares, lane));
}

// x / |x|; zero where that is too short to have a direction.
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
    let length = length_of(row, lane);
    for (var c = lane; c < p.columns; c += 64u) {
        let i = row * p.columns + c;
        out[i] = select(x[i] / length, 0.0, length < SHORTEST);
    }
}

// (g - y (y . g)) / |x|.
@compute @workgroup_size(64)
fn unit_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= p.rows {
        return;
    }
    let length = length_of(row, lane);
    var product = 0.0;
    for (var c = lane; c < p.columns; c += 64u) {
        product += y[row * p.columns + c] * grad[row * p.columns + c];
    }
    let along = sum_of(product, lane);
    for (var c = lane; c < p.columns; c += 64u) {
        let i = row * p.columns + c;
        out[i] = select((grad[i] - y[i] * along) / length, 0.0, length < SHORTEST);
    }
}
