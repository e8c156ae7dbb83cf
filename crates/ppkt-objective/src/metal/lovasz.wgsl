// Lovasz-softmax: the convex extension of one minus the Jaccard index, and its gradient.
//
// For each class that has a row (a slot), the rows' errors |[own class] - probability| are sorted downwards by four passes
// of a stable radix sort, so equal errors stay in the order of rows, as on the CPU. With I rows of the class not yet passed
// and U the union so far, a row of the class raises one minus I / U by 1 / U, and another by I / (U (U + 1)): as
// differences, f32 would keep few digits of them.
//
// Launch: groups of 256 threads; over sorted or to be sorted errors the grid is [chunks of 2048, slots]. Deterministic: sums
// of floats have a fixed order, and what is added atomically is whole numbers.

struct Lovasz {
    // Rows with a label, classes, classes with a row, chunks of 2048 rows.
    rows: u32,
    classes: u32,
    slots: u32,
    chunks: u32,
    // First bit of the digit that is sorted by.
    shift: u32,
    // 1 / slots.
    share: f32,
    // What the gradient is multiplied by.
    factor: f32,
}

@group(0) @binding(0) var<uniform> p: Lovasz;
// [all rows, classes]
@group(0) @binding(1) var<storage, read> scores: array<f32>;
// [rows]: which of all rows each is, and its class, counted from 0.
@group(0) @binding(2) var<storage, read> which: array<u32>;
@group(0) @binding(3) var<storage, read> own: array<u32>;
// [slots] class, [slots] rows of the class, [classes] slot or the largest number.
@group(0) @binding(4) var<storage, read> slots: array<u32>;
// [classes, rows]: probabilities; [slots, rows]: the gradient by them.
@group(0) @binding(5) var<storage, read> probability: array<f32>;
@group(0) @binding(6) var<storage, read> by_probability: array<f32>;
// [slots, rows]: keys that ascend where errors descend, and their rows.
@group(0) @binding(7) var<storage, read> keys: array<u32>;
@group(0) @binding(8) var<storage, read> order: array<u32>;
// [slots, 256, chunks] places of digits, or [slots, chunks] rows of the own class.
@group(0) @binding(9) var<storage, read> counts: array<u32>;
@group(0) @binding(10) var<storage, read_write> out: array<f32>;
@group(0) @binding(11) var<storage, read_write> losses: array<f32>;
@group(0) @binding(12) var<storage, read_write> out_counts: array<u32>;
@group(0) @binding(13) var<storage, read_write> out_keys: array<u32>;
@group(0) @binding(14) var<storage, read_write> out_order: array<u32>;

const THREADS: u32 = 256u;
const CHUNK: u32 = 2048u;
const NONE: u32 = 0xffffffffu;

fn index(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * THREADS + lane;
}

// The softmax of each row with a label. A thread for a row.
@compute @workgroup_size(256)
fn probabilities(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = index(group, groups, lane);
    if row >= p.rows {
        return;
    }
    let first = which[row] * p.classes;
    var highest = scores[first];
    for (var c = 1u; c < p.classes; c += 1u) {
        let s = scores[first + c];
        highest = select(highest, s, s > highest);
    }
    var sum = 0.0;
    for (var c = 0u; c < p.classes; c += 1u) {
        sum += exp(scores[first + c] - highest);
    }
    for (var c = 0u; c < p.classes; c += 1u) {
        out[c * p.rows + row] = exp(scores[first + c] - highest) / sum;
    }
}

// From 0 to 1, whatever the last digit of a probability is.
fn error_of(class_of_slot: u32, row: u32) -> f32 {
    let q = probability[class_of_slot * p.rows + row];
    return clamp(select(q, 1.0 - q, own[row] == class_of_slot), 0.0, 1.0);
}

// A thread for a row of a slot. From 0 to 1 the bits of floats ascend with them.
@compute @workgroup_size(256)
fn error_keys(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = index(group, groups, lane);
    if i >= p.slots * p.rows {
        return;
    }
    let row = i % p.rows;
    out_keys[i] = ~bitcast<u32>(error_of(slots[i / p.rows], row));
    out_order[i] = row;
}

var<workgroup> bins: array<atomic<u32>, 256>;

// How often each digit occurs in a chunk.
@compute @workgroup_size(256)
fn digit_counts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
    let end = min((group.x + 1u) * CHUNK, p.rows);
    for (var i = group.x * CHUNK + lane; i < end; i += THREADS) {
        atomicAdd(&bins[(keys[group.y * p.rows + i] >> p.shift) & 255u], 1u);
    }
    workgroupBarrier();
    out_counts[(group.y * 256u + lane) * p.chunks + group.x] = atomicLoad(&bins[lane]);
}

var<workgroup> next: array<u32, 256>;

// From counts to the place of the first of each digit and chunk. A group for a slot.
@compute @workgroup_size(256)
fn digit_places(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * 256u + lane) * p.chunks;
    var sum = 0u;
    for (var i = 0u; i < p.chunks; i += 1u) {
        sum += counts[first + i];
    }
    next[lane] = sum;
    workgroupBarrier();
    var place = 0u;
    for (var i = 0u; i < lane; i += 1u) {
        place += next[i];
    }
    for (var i = 0u; i < p.chunks; i += 1u) {
        out_counts[first + i] = place;
        place += counts[first + i];
    }
}

var<workgroup> digits: array<u32, 256>;

// Moves keys and rows to their places by one digit, equal digits in the order that they had.
@compute @workgroup_size(256)
fn digit_scatter(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let offset = group.y * p.rows;
    next[lane] = counts[(group.y * 256u + lane) * p.chunks + group.x];
    let end = min((group.x + 1u) * CHUNK, p.rows);
    for (var start = group.x * CHUNK; start < end; start += THREADS) {
        let i = start + lane;
        var key = 0u;
        if i < end {
            key = keys[offset + i];
        }
        let digit = (key >> p.shift) & 255u;
        digits[lane] = digit;
        workgroupBarrier();
        // Of this digit before this thread, and of the digit that this thread counts on.
        var before = 0u;
        var passed = 0u;
        for (var j = 0u; j < min(end - start, THREADS); j += 1u) {
            before += select(0u, 1u, digits[j] == digit && j < lane);
            passed += select(0u, 1u, digits[j] == lane);
        }
        if i < end {
            let to = offset + next[digit] + before;
            out_keys[to] = key;
            out_order[to] = order[offset + i];
        }
        workgroupBarrier();
        next[lane] += passed;
    }
}

var<workgroup> n_own: atomic<u32>;

// How many rows of a sorted chunk are of the slot's class.
@compute @workgroup_size(256)
fn own_counts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        atomicStore(&n_own, 0u);
    }
    workgroupBarrier();
    let end = min((group.x + 1u) * CHUNK, p.rows);
    var mine = 0u;
    for (var i = group.x * CHUNK + lane; i < end; i += THREADS) {
        mine += select(0u, 1u, own[order[group.y * p.rows + i]] == slots[group.y]);
    }
    atomicAdd(&n_own, mine);
    workgroupBarrier();
    if lane == 0u {
        out_counts[group.y * p.chunks + group.x] = atomicLoad(&n_own);
    }
}

var<workgroup> lanes: array<f32, 256>;

// A sorted chunk's share of the loss, and the gradient by the probabilities in the order of rows. Each thread takes
// neighbouring places.
@compute @workgroup_size(256)
fn steps(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let offset = group.y * p.rows;
    let class_of_slot = slots[group.y];
    let of_class = slots[p.slots + group.y];
    let end = min((group.x + 1u) * CHUNK, p.rows);
    let first = group.x * CHUNK + lane * (CHUNK / THREADS);
    let last = min(first + CHUNK / THREADS, end);
    var mine = 0u;
    for (var i = first; i < last; i += 1u) {
        mine += select(0u, 1u, own[order[offset + i]] == class_of_slot);
    }
    next[lane] = mine;
    workgroupBarrier();
    // Rows of the class before this place.
    var passed = 0u;
    for (var i = 0u; i < group.x; i += 1u) {
        passed += counts[group.y * p.chunks + i];
    }
    for (var i = 0u; i < lane; i += 1u) {
        passed += next[i];
    }
    var value = 0.0;
    for (var i = first; i < last; i += 1u) {
        let row = order[offset + i];
        let all = f32(of_class + (i - passed));
        if own[row] == class_of_slot {
            value += error_of(class_of_slot, row) / all;
            out[offset + row] = -p.share / all;
            passed += 1u;
        } else {
            let step = f32(of_class - passed) / all / (all + 1.0);
            value += error_of(class_of_slot, row) * step;
            out[offset + row] = p.share * step;
        }
    }
    lanes[lane] = value;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    if lane == 0u {
        losses[group.y * p.chunks + group.x] = p.share * lanes[0];
    }
}

// Adds the gradient by the scores, factor p_c (g_c - sum over classes of g p). A thread for a row.
@compute @workgroup_size(256)
fn add_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = index(group, groups, lane);
    if row >= p.rows {
        return;
    }
    var mean = 0.0;
    for (var s = 0u; s < p.slots; s += 1u) {
        mean += by_probability[s * p.rows + row] * probability[slots[s] * p.rows + row];
    }
    let first = which[row] * p.classes;
    for (var c = 0u; c < p.classes; c += 1u) {
        let slot = slots[2u * p.slots + c];
        var g = 0.0;
        if slot != NONE {
            g = by_probability[slot * p.rows + row];
        }
        out[first + c] += p.factor * probability[c * p.rows + row] * (g - mean);
    }
}
