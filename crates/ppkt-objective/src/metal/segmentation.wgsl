// Cross-entropy of rows of scores, with class weights and label smoothing, and its gradient.
//
// Launch: `entropy` a thread for a row. Deterministic: the sums over rows are made afterwards (`column_sums`). A row
// without a label gives and gets nothing, but makes the loss infinite or NaN where it holds such a number; of equal highest
// scores the first counts.

struct Entropy {
    rows: u32,
    classes: u32,
    // epsilon, sum of all class weights, 1 / sum of the weights of the rows' classes.
    smoothing: f32,
    all_weights: f32,
    scale: f32,
    // Factor of the Lovasz loss.
    lovasz: f32,
}

@group(0) @binding(0) var<uniform> p: Entropy;
// [rows, classes]
@group(0) @binding(1) var<storage, read> scores: array<f32>;
// [rows]: 0 for no label, k for class k - 1.
@group(0) @binding(2) var<storage, read> targets: array<u32>;
// [classes]
@group(0) @binding(3) var<storage, read> weights: array<f32>;
// [rows, 2]: loss, and 1 where the own class is on top.
@group(0) @binding(4) var<storage, read_write> of_rows: array<f32>;
// [rows, classes]
@group(0) @binding(5) var<storage, read_write> grad: array<f32>;

// All ones in what is infinite or NaN.
const EXPONENT: u32 = 0x7f800000u;

@compute @workgroup_size(256)
fn entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * 256u + lane;
    if row >= p.rows {
        return;
    }
    let first = row * p.classes;
    // Zero, or what is no finite number.
    var broken = 0.0;
    for (var c = 0u; c < p.classes; c += 1u) {
        let s = scores[first + c];
        broken = select(broken, s, (bitcast<u32>(s) & EXPONENT) == EXPONENT);
    }
    if targets[row] == 0u {
        for (var c = 0u; c < p.classes; c += 1u) {
            grad[first + c] = 0.0;
        }
        of_rows[row * 2u] = broken;
        of_rows[row * 2u + 1u] = 0.0;
        return;
    }
    let own = targets[row] - 1u;
    var highest = scores[first];
    var best = 0u;
    for (var c = 1u; c < p.classes; c += 1u) {
        if scores[first + c] > highest {
            highest = scores[first + c];
            best = c;
        }
    }
    var sum = 0.0;
    for (var c = 0u; c < p.classes; c += 1u) {
        sum += exp(scores[first + c] - highest);
    }
    let log_sum = log(sum);
    let each = p.smoothing / f32(p.classes);
    let share = (1.0 - p.smoothing) * weights[own];
    // -log p of a class is `log_sum` minus its distance from the highest score.
    var loss = share * (log_sum - (scores[first + own] - highest));
    for (var c = 0u; c < p.classes; c += 1u) {
        let distance = scores[first + c] - highest;
        let probability = exp(distance) / sum;
        loss += each * weights[c] * (log_sum - distance);
        let wanted = select(0.0, share, c == own) + each * weights[c];
        grad[first + c] = p.scale * (probability * (share + each * p.all_weights) - wanted);
    }
    of_rows[row * 2u] = loss + broken;
    of_rows[row * 2u + 1u] = select(0.0, 1.0, best == own);
}

// From the sums over rows (`scores`, [2]) and the Lovasz loss (`weights`, [1]) to the loss (`of_rows`) and the number of
// rows that are right (`grad`).
@compute @workgroup_size(1)
fn finish() {
    of_rows[0] = p.scale * scores[0] + p.lovasz * weights[0];
    grad[0] = scores[1];
}
