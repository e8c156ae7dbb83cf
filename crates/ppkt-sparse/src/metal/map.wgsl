// Kernel maps: for every target row and kernel voxel, the source row that it meets.
//
// Both sets are sorted by key, so a neighbour is found by halving: 64-bit keys as (lower, upper) words, which hold 18
// bits each of x, y and z interleaved, x lowest, and the batch index above them. A neighbour of target coordinate t lies
// at (t * multiply + sign * offset) / divide, if that is whole and within range.
//
// Launch: `neighbours` one thread for a target row and kernel voxel; `tiles` one for a tile of 64 rows and kernel voxel.
// Deterministic: every thread writes its own word. No targets, no sources: nothing is found.

struct Map {
    n_target: u32,
    n_source: u32,
    kernel: u32,
    centre: i32,
    dilation: i32,
    multiply: i32,
    divide: i32,
    sign: i32,
    target_bias: i32,
    source_bias: i32,
}

@group(0) @binding(0) var<uniform> p: Map;
@group(0) @binding(1) var<storage, read> target_keys: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> source_keys: array<vec2<u32>>;
// [K, n_target]: a source row, or -1.
@group(0) @binding(3) var<storage, read_write> found: array<i32>;

const AXIS_END: i32 = 262144;

// Every third of the lower 30 bits, side by side.
fn compact(bits: u32) -> u32 {
    var v = bits & 0x09249249u;
    v = (v | (v >> 2u)) & 0x030c30c3u;
    v = (v | (v >> 4u)) & 0x0300f00fu;
    v = (v | (v >> 8u)) & 0x030000ffu;
    return (v | (v >> 16u)) & 0x000003ffu;
}

// Undoes `compact`.
fn spread(number: u32) -> u32 {
    var v = (number | (number << 16u)) & 0x030000ffu;
    v = (v | (v << 8u)) & 0x0300f00fu;
    v = (v | (v << 4u)) & 0x030c30c3u;
    return (v | (v << 2u)) & 0x09249249u;
}

fn axis(key: vec2<u32>, shift: u32) -> i32 {
    let lower = key.x & 0x3fffffffu;
    let upper = ((key.x >> 30u) | (key.y << 2u)) & 0x00ffffffu;
    return i32(compact(lower >> shift) | (compact(upper >> shift) << 10u));
}

fn key_of(batch: u32, x: u32, y: u32, z: u32) -> vec2<u32> {
    let lower = spread(x & 0x3ffu) | (spread(y & 0x3ffu) << 1u) | (spread(z & 0x3ffu) << 2u);
    let upper = spread(x >> 10u) | (spread(y >> 10u) << 1u) | (spread(z >> 10u) << 2u);
    return vec2<u32>(lower | (upper << 30u), (upper >> 2u) | (batch << 22u));
}

// Coordinate of the neighbour along one axis, biased; -1 where there is none.
fn neighbour(place: i32, step: u32) -> i32 {
    let offset = (i32(step) - p.centre) * p.dilation * p.sign;
    let at = (place - p.target_bias) * p.multiply + offset;
    var whole = at / p.divide;
    if at < 0 && whole * p.divide != at {
        whole -= 1;
    }
    let biased = whole + p.source_bias;
    return select(-1, biased, whole * p.divide == at && biased >= 0 && biased < AXIS_END);
}

fn find(key: vec2<u32>) -> i32 {
    var low = 0u;
    var high = p.n_source;
    while low < high {
        let middle = low + (high - low) / 2u;
        let other = source_keys[middle];
        if other.y < key.y || (other.y == key.y && other.x < key.x) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    if low < p.n_source && all(source_keys[low] == key) {
        return i32(low);
    }
    return -1;
}

@compute @workgroup_size(256)
fn neighbours(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * 256u + lane;
    let k = group.y;
    if row >= p.n_target {
        return;
    }
    let key = target_keys[row];
    let x = neighbour(axis(key, 0u), k % p.kernel);
    let y = neighbour(axis(key, 1u), (k / p.kernel) % p.kernel);
    let z = neighbour(axis(key, 2u), k / (p.kernel * p.kernel));
    var source = -1;
    if x >= 0 && y >= 0 && z >= 0 {
        source = find(key_of(key.y >> 22u, u32(x), u32(y), u32(z)));
    }
    found[k * p.n_target + row] = source;
}

// [tiles, K]: whether any row of a tile of 64 meets a source row under the kernel voxel.
@group(0) @binding(4) var<storage, read_write> occupied: array<u32>;

@compute @workgroup_size(64)
fn tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = group.x * 64u + lane;
    let k = group.y;
    let volume = p.kernel * p.kernel * p.kernel;
    if tile * 64u >= p.n_target {
        return;
    }
    var any = 0u;
    for (var row = tile * 64u; row < min(tile * 64u + 64u, p.n_target); row += 1u) {
        if found[k * p.n_target + row] >= 0 {
            any = 1u;
        }
    }
    occupied[tile * volume + k] = any;
}
