// Sparse convolution: out[t] = start + sum over k of source[neighbours[k, t]] . weight[k].
//
// The same kernel gives the forward pass, and the gradient by the input (with the neighbours of the other direction and
// the weight read transposed); two tensors side by side are two launches, of which the second adds.
//
// A work group makes 64 rows x 64 columns; for each kernel voxel that any of its rows has, 16 inner channels at a time
// go through the group's memory: the gathered rows (zeros where there is no neighbour), and the weight. A thread keeps
// 4 x 4 sums.
//
// Launch: 16 x 16 threads, groups [tiles of rows, tiles of columns]. Deterministic: an element is summed by one thread, in the
// order of kernel voxels and channels. Any number of rows and channels, no inner channel included.

struct Product {
    rows: u32,
    inner: u32,
    outer: u32,
    volume: u32,
    // Every row meets itself: neighbours and tiles are not read.
    dense: u32,
    // Kernel voxel k of the neighbours means matrix K - 1 - k.
    mirrored: u32,
    // Elements of the weight: the first, and from one kernel voxel, inner and outer channel to the next.
    weight_first: u32,
    weight_k: u32,
    weight_inner: u32,
    weight_outer: u32,
    // What the sums start from: 0 zero, 1 the bias, 2 what is there.
    start: u32,
}

@group(0) @binding(0) var<uniform> p: Product;
// [K, rows]
@group(0) @binding(1) var<storage, read> neighbours: array<i32>;
// [tiles of 64 rows, K]
@group(0) @binding(2) var<storage, read> occupied: array<u32>;
// [sources, inner]
@group(0) @binding(3) var<storage, read> source: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
// [outer]
@group(0) @binding(5) var<storage, read> bias: array<f32>;
// [rows, outer]
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;

// [inner, row] and [inner, column] of a step.
var<workgroup> gathered: array<f32, 1024>;
var<workgroup> matrix: array<f32, 1024>;

@compute @workgroup_size(16, 16)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = group.x * TILE;
    let first_column = group.y * TILE;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    // The row that this thread loads, and the first of its four channels.
    let load_row = first_row + lane / 4u;
    let load_inner = (lane % 4u) * 4u;
    for (var k = 0u; k < p.volume; k += 1u) {
        if p.dense == 0u {
            if occupied[group.x * p.volume + k] == 0u {
                continue;
            }
        }
        var origin = -1;
        if load_row < p.rows {
            origin = i32(load_row);
            if p.dense == 0u {
                origin = neighbours[k * p.rows + load_row];
            }
        }
        var matrix_k = k;
        if p.mirrored != 0u {
            matrix_k = p.volume - 1u - k;
        }
        let first_weight = p.weight_first + matrix_k * p.weight_k;
        for (var depth = 0u; depth < p.inner; depth += DEPTH) {
            for (var i = 0u; i < 4u; i += 1u) {
                let inner = depth + load_inner + i;
                var value = 0.0;
                if origin >= 0 && inner < p.inner {
                    value = source[u32(origin) * p.inner + inner];
                }
                gathered[(load_inner + i) * TILE + lane / 4u] = value;
            }
            for (var i = 0u; i < 4u; i += 1u) {
                // Neighbouring threads read what lies side by side.
                let at = lane + 256u * i;
                var inner = at / TILE;
                var column = at % TILE;
                if p.weight_outer != 1u {
                    inner = at % DEPTH;
                    column = at / DEPTH;
                }
                var value = 0.0;
                if depth + inner < p.inner && first_column + column < p.outer {
                    value = weight[first_weight + (depth + inner) * p.weight_inner + (first_column + column) * p.weight_outer];
                }
                matrix[inner * TILE + column] = value;
            }
            workgroupBarrier();
            for (var inner = 0u; inner < DEPTH; inner += 1u) {
                let r = inner * TILE + local.y * 4u;
                let c = inner * TILE + local.x * 4u;
                let w = vec4<f32>(matrix[c], matrix[c + 1u], matrix[c + 2u], matrix[c + 3u]);
                sum0 += gathered[r] * w;
                sum1 += gathered[r + 1u] * w;
                sum2 += gathered[r + 2u] * w;
                sum3 += gathered[r + 3u] * w;
            }
            workgroupBarrier();
        }
    }
    store(first_row + local.y * 4u, first_column + local.x * 4u, sum0);
    store(first_row + local.y * 4u + 1u, first_column + local.x * 4u, sum1);
    store(first_row + local.y * 4u + 2u, first_column + local.x * 4u, sum2);
    store(first_row + local.y * 4u + 3u, first_column + local.x * 4u, sum3);
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    if row >= p.rows {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if column + i < p.outer {
            let at = row * p.outer + column + i;
            var value = sum[i];
            if p.start == 1u {
                value += bias[column + i];
            }
            if p.start == 2u {
                value += out[at];
            }
            out[at] = value;
        }
    }
}
