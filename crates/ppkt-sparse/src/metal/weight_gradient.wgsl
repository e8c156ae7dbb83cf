// Gradient of a sparse convolution by its weight: dw[k] = sum over t of source[neighbours[k, t]]^T . grad[t].
//
// A work group makes 64 input x 64 output channels of one kernel voxel over a range of tiles of 64 rows. The rows of a tile
// that have a neighbour are listed first, so that the others cost nothing; 16 of them at a time go through the group's
// memory. A thread keeps 4 x 4 sums. Ranges are added afterwards, in their order (`column_sums`).
//
// Launch: 16 x 16 threads, groups [tiles of channels, kernel voxels, ranges]. Deterministic: an element is summed by one
// thread, in the order of the rows. Any number of rows and channels.

struct Gradient {
    rows: u32,
    // Channels of the source, the first of them in the weight, and those of the whole weight.
    cin: u32,
    first: u32,
    cin_all: u32,
    cout: u32,
    volume: u32,
    // Every row meets itself: neighbours and tiles are not read.
    dense: u32,
    // Tiles of 64 rows in a range.
    range: u32,
}

@group(0) @binding(0) var<uniform> p: Gradient;
// [K, rows]
@group(0) @binding(1) var<storage, read> neighbours: array<i32>;
// [tiles of 64 rows, K]
@group(0) @binding(2) var<storage, read> occupied: array<u32>;
// [sources, cin]
@group(0) @binding(3) var<storage, read> source: array<f32>;
// [rows, cout]
@group(0) @binding(4) var<storage, read> grad: array<f32>;
// [ranges, K, cin_all, cout]
@group(0) @binding(5) var<storage, read_write> parts: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;

// [pair, channel] of a step.
var<workgroup> inputs: array<f32, 1024>;
var<workgroup> outputs: array<f32, 1024>;
// Neighbours of the tile's rows; then the pairs: source rows and target rows.
var<workgroup> met: array<i32, 64>;
var<workgroup> pair_source: array<u32, 64>;
var<workgroup> pair_target: array<u32, 64>;
var<workgroup> n_pairs: u32;

@compute @workgroup_size(16, 16)
fn weight_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_out = (p.cout + TILE - 1u) / TILE;
    let first_in = (group.x / tiles_out) * TILE;
    let first_out = (group.x % tiles_out) * TILE;
    let k = group.y;
    let n_tiles = (p.rows + TILE - 1u) / TILE;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var tile = group.z * p.range; tile < min((group.z + 1u) * p.range, n_tiles); tile += 1u) {
        if p.dense == 0u {
            if occupied[tile * p.volume + k] == 0u {
                continue;
            }
        }
        let row = tile * TILE + lane;
        if lane < TILE {
            var origin = -1;
            if row < p.rows {
                origin = i32(row);
                if p.dense == 0u {
                    origin = neighbours[k * p.rows + row];
                }
            }
            met[lane] = origin;
        }
        workgroupBarrier();
        if lane < TILE {
            var rank = 0u;
            for (var other = 0u; other < lane; other += 1u) {
                rank += select(0u, 1u, met[other] >= 0);
            }
            let origin = met[lane];
            if origin >= 0 {
                pair_source[rank] = u32(origin);
                pair_target[rank] = row;
                rank += 1u;
            }
            if lane == TILE - 1u {
                n_pairs = rank;
            }
        }
        let count = workgroupUniformLoad(&n_pairs);
        for (var first = 0u; first < count; first += DEPTH) {
            for (var i = 0u; i < 4u; i += 1u) {
                let at = lane + 256u * i;
                let pair = first + at / TILE;
                let channel = at % TILE;
                var input = 0.0;
                var output = 0.0;
                if pair < count {
                    if first_in + channel < p.cin {
                        input = source[pair_source[pair] * p.cin + first_in + channel];
                    }
                    if first_out + channel < p.cout {
                        output = grad[pair_target[pair] * p.cout + first_out + channel];
                    }
                }
                inputs[at] = input;
                outputs[at] = output;
            }
            workgroupBarrier();
            for (var pair = 0u; pair < DEPTH; pair += 1u) {
                let i = pair * TILE + local.y * 4u;
                let o = pair * TILE + local.x * 4u;
                let g = vec4<f32>(outputs[o], outputs[o + 1u], outputs[o + 2u], outputs[o + 3u]);
                sum0 += inputs[i] * g;
                sum1 += inputs[i + 1u] * g;
                sum2 += inputs[i + 2u] * g;
                sum3 += inputs[i + 3u] * g;
            }
            workgroupBarrier();
        }
    }
    let matrix = (group.z * p.volume + k) * p.cin_all;
    store(matrix, first_in + local.y * 4u, first_out + local.x * 4u, sum0);
    store(matrix, first_in + local.y * 4u + 1u, first_out + local.x * 4u, sum1);
    store(matrix, first_in + local.y * 4u + 2u, first_out + local.x * 4u, sum2);
    store(matrix, first_in + local.y * 4u + 3u, first_out + local.x * 4u, sum3);
}

fn store(matrix: u32, input: u32, output: u32, sum: vec4<f32>) {
    if input >= p.cin {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if output + i < p.cout {
            parts[(matrix + p.first + input) * p.cout + output + i] = sum[i];
        }
    }
}
