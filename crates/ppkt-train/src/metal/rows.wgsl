// Rows of a matrix by their numbers, and the way back.
//
// Launch: a thread for a number. Deterministic: every number is summed by one thread, in the order of those that read it.

struct Rows {
    // Rows that are written.
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> p: Rows;
// [any, columns]
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [rows]: which row of `x` is read, or of `out` is written.
@group(0) @binding(2) var<storage, read> which: array<u32>;
// Row i is read by rows readers[starts[i]..starts[i + 1]] of the gradient.
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read> readers: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 256u + lane;
}

@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i < p.rows * p.columns {
        out[i] = x[which[i / p.columns] * p.columns + i % p.columns];
    }
}

// Zeros everywhere.
@compute @workgroup_size(256)
fn clear(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i < p.rows * p.columns {
        out[i] = 0.0;
    }
}

// What the rows that are read at all collect of the gradient; others are left alone.
@compute @workgroup_size(256)
fn collect(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.columns {
        return;
    }
    let row = i / p.columns;
    let column = i % p.columns;
    var sum = 0.0;
    for (var k = starts[row]; k < starts[row + 1u]; k += 1u) {
        sum += x[readers[k] * p.columns + column];
    }
    out[which[row] * p.columns + column] = sum;
}
