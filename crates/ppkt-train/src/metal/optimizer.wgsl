// Norm of all gradients, and one update of a parameter in place.
//
// A step never waits for the host: what the gradients are multiplied by is worked out here, and the report is read when the
// step is done:
//   report[0]  Euclidean norm of all gradients, times their share
//   report[1]  1 where an updated parameter has no finite square, else 0
//   report[2]  what gradients are multiplied by, clipping included
// Where the norm is not finite nothing is updated. Squares are summed in f32: a gradient above 1e19 counts as infinite.
//
// Launch: `squares` a group of 256 threads for a chunk; `report` one thread; `sgd` and `adamw` a thread for a number.
// Deterministic: sums are made in a fixed order; what is written atomically is the same whoever writes it.

struct Step {
    n: u32,
    // Of `squares`: the first part that is written.
    part: u32,
    share: f32,
    clip: f32,
    // SGD: learning rate, weight decay, momentum, share of a gradient that the momentum takes up.
    // AdamW: step size, what is left of a weight, decay of both moments, root of the second's correction, addend.
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    e: f32,
    f: f32,
    nesterov: u32,
}

@group(0) @binding(0) var<uniform> p: Step;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;
@group(0) @binding(3) var<storage, read_write> report_words: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(5) var<storage, read_write> moment1: array<f32>;
@group(0) @binding(6) var<storage, read_write> moment2: array<f32>;

const CHUNK: u32 = 16384u;
const LARGEST: f32 = 3.402823466e38;
const LARGEST_ROOT: f32 = 1.844674297e19;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn squares(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let end = min((group.x + 1u) * CHUNK, p.n);
    var sum = 0.0;
    for (var i = group.x * CHUNK + lane; i < end; i += 256u) {
        sum += gradient[i] * gradient[i];
    }
    lanes[lane] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
    }
    if lane == 0u {
        parts[p.part + group.x] = lanes[0];
    }
}

// `gradient` is the sum of all squares.
@compute @workgroup_size(1)
fn report() {
    let norm = sqrt(gradient[0]) * p.share;
    var scale = p.share;
    if p.clip > 0.0 && norm > p.clip {
        scale = p.share * (p.clip / norm);
    }
    atomicStore(&report_words[0], bitcast<u32>(norm));
    atomicStore(&report_words[1], 0u);
    atomicStore(&report_words[2], bitcast<u32>(scale));
}

fn reported(i: u32) -> f32 {
    return bitcast<f32>(atomicLoad(&report_words[i]));
}

// NaN and infinity fail the comparisons.
fn look_at(value: f32) {
    if !(abs(value) <= LARGEST_ROOT) {
        atomicStore(&report_words[1], bitcast<u32>(1.0f));
    }
}

// g = s g + wd p;  v = mu v + keep g;  p -= lr (g + mu v if Nesterov, else v)
@compute @workgroup_size(256)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i >= p.n || !(reported(0u) <= LARGEST) {
        return;
    }
    let g = reported(2u) * gradient[i] + p.b * parameter[i];
    let v = p.c * moment1[i] + p.d * g;
    let value = parameter[i] - p.a * select(v, g + p.c * v, p.nesterov != 0u);
    moment1[i] = v;
    parameter[i] = value;
    look_at(value);
}

// m1, m2 = moving means of g, g^2;  p = decay p - step_size m1 / (sqrt(m2) / root2 + eps)
@compute @workgroup_size(256)
fn adamw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + lane;
    if i >= p.n || !(reported(0u) <= LARGEST) {
        return;
    }
    let g = reported(2u) * gradient[i];
    let first = p.c * moment1[i] + (1.0 - p.c) * g;
    let second = p.d * moment2[i] + (1.0 - p.d) * g * g;
    let value = p.b * parameter[i] - p.a * first / (sqrt(second) / p.e + p.f);
    moment1[i] = first;
    moment2[i] = second;
    parameter[i] = value;
    look_at(value);
}
