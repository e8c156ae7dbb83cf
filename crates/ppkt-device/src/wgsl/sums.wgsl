// Sums over rows: [rows, columns] to [blocks of 256 rows, columns]; launched again on its own result until one row is left.
//
// Launch: 32 columns x 8 lanes, groups [columns / 32, blocks]. A lane adds every eighth row of its block, then the lanes
// are added in order: deterministic, and an error that grows with the logarithm of the rows.

struct Sums {
    rows: u32,
    columns: u32,
    // Row of `x` that is the first.
    first: u32,
    // Row of `out` that the first block goes to.
    out_first: u32,
}

@group(0) @binding(0) var<uniform> p: Sums;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

const BLOCK: u32 = 256u;
const LANES: u32 = 8u;

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(32, 8)
fn column_sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = group.x * 32u + local.x;
    var sum = 0.0;
    if column < p.columns {
        let end = min((group.y + 1u) * BLOCK, p.rows);
        for (var row = group.y * BLOCK + local.y; row < end; row += LANES) {
            sum += x[(p.first + row) * p.columns + column];
        }
    }
    parts[local.y * 32u + local.x] = sum;
    workgroupBarrier();
    if local.y == 0u && column < p.columns {
        var total = 0.0;
        for (var lane = 0u; lane < LANES; lane += 1u) {
            total += parts[lane * 32u + local.x];
        }
        out[(p.out_first + group.y) * p.columns + column] = total;
    }
}
