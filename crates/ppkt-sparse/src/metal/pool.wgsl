// Pooling over neighbours and over batch items, and its gradients.
//
// Launch: a thread for a number of the result, [rows of the result, channels]. Deterministic: it is summed by its thread,
// in the order of kernel voxels or rows. Of equal largest values the first counts, and a NaN counts as the largest.

struct Pool {
    // Rows of the result, and its channels.
    rows: u32,
    channels: u32,
    volume: u32,
    // 0 sum, 1 mean, 2 largest.
    reduction: u32,
    // Every row meets itself.
    dense: u32,
}

@group(0) @binding(0) var<uniform> p: Pool;
@group(0) @binding(1) var<storage, read> neighbours: array<i32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
// [rows read, channels]: rows that the largest values came from.
@group(0) @binding(3) var<storage, read> came_from: array<u32>;
// [rows read]: how many neighbours they had.
@group(0) @binding(4) var<storage, read> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<storage, read_write> from_out: array<u32>;
@group(0) @binding(7) var<storage, read_write> counts_out: array<u32>;

const NOWHERE: u32 = 0xffffffffu;

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 256u + lane;
}

// Bits, not comparisons: compilers may believe that there is no NaN.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

fn is_larger(v: f32, best: f32, source: u32) -> bool {
    return source == NOWHERE || v > best || (is_nan(v) && !is_nan(best));
}

fn met(k: u32, row: u32) -> i32 {
    if p.dense != 0u {
        return i32(row);
    }
    return neighbours[k * p.rows + row];
}

@compute @workgroup_size(256)
fn pool(
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
    var best = 0.0;
    var source = NOWHERE;
    var count = 0u;
    for (var k = 0u; k < p.volume; k += 1u) {
        let other = met(k, row);
        if other >= 0 {
            let v = x[u32(other) * p.channels + c];
            count += 1u;
            sum += v;
            if is_larger(v, best, source) {
                best = v;
                source = u32(other);
            }
        }
    }
    if p.reduction == 2u {
        out[i] = best;
    } else if p.reduction == 1u {
        out[i] = sum * (1.0 / f32(max(count, 1u)));
    } else {
        out[i] = sum;
    }
    from_out[i] = source;
    if c == 0u {
        counts_out[row] = count;
    }
}

// `x` is the gradient of the result; the neighbours are those of the way back.
@compute @workgroup_size(256)
fn pool_grad(
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
    for (var k = 0u; k < p.volume; k += 1u) {
        let other = met(k, row);
        if other >= 0 {
            let at = u32(other) * p.channels + c;
            if p.reduction == 2u {
                if came_from[at] == row {
                    sum += x[at];
                }
            } else if p.reduction == 1u {
                sum += x[at] * (1.0 / f32(max(counts[u32(other)], 1u)));
            } else {
                sum += x[at];
            }
        }
    }
    out[i] = sum;
}

// First row of each batch item, and the end of the last.
@group(0) @binding(8) var<storage, read> starts: array<u32>;

// Largest of each batch item: `rows` is the number of items.
@compute @workgroup_size(256)
fn largest(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    let item = i / p.channels;
    let c = i % p.channels;
    var best = 0.0;
    var source = NOWHERE;
    for (var row = starts[item]; row < starts[item + 1u]; row += 1u) {
        let v = x[row * p.channels + c];
        if is_larger(v, best, source) {
            best = v;
            source = row;
        }
    }
    out[i] = best;
    from_out[i] = source;
}

// Sum of each batch item to the sum or mean: `x` is [items, channels].
@compute @workgroup_size(256)
fn scale_items(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.rows * p.channels {
        return;
    }
    let item = i / p.channels;
    let count = starts[item + 1u] - starts[item];
    // What no launch has written for an item without rows is not looked at.
    let sum = select(0.0, x[i], count > 0u);
    out[i] = select(sum, sum / f32(max(count, 1u)), p.reduction == 1u);
}

// Gradient of a reduction over batch items; `volume` is the number of items.
@compute @workgroup_size(256)
fn items_grad(
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
    // The last item that starts at or before the row.
    var low = 0u;
    var high = p.volume - 1u;
    while low < high {
        let middle = (low + high + 1u) / 2u;
        if starts[middle] <= row {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    let g = x[low * p.channels + c];
    if p.reduction == 2u {
        out[i] = select(0.0, g, came_from[low * p.channels + c] == row);
    } else if p.reduction == 1u {
        out[i] = g / f32(max(starts[low + 1u] - starts[low], 1u));
    } else {
        out[i] = g;
    }
}
