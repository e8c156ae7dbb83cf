//! The folded network against the network itself, on every instruction set of the machine.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use candle_core::{DType, Device, Tensor};
use ppkt_sparse::{SparseTensor, VarStore, simd_path};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig, Plan};

use common::{numbers, values, voxels};

/// A network whose every parameter and running statistic is random: a norm as it is made changes next to nothing.
fn random(plan: &Plan, config: &MinkUNetConfig) -> (VarStore, MinkUNet) {
    let store = VarStore::new(3);
    let net = MinkUNet::with_plan(plan, config, store.builder(&Device::Cpu)).unwrap();
    for (i, (name, var)) in store.all().into_iter().enumerate() {
        let about = match name.rsplit_once('.').unwrap() {
            (_, "num_batches_tracked" | "kernel") => continue,
            (_, "weight" | "running_var") => 1.0,
            _ => 0.0,
        };
        let random = numbers(var.elem_count(), 100 + i as u64).into_iter().map(|v| about + 0.7 * v).collect();
        var.set(&Tensor::from_vec::<_, f32>(random, var.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    (store, net)
}

/// The published plans with the channels of all divided, so that each takes milliseconds; their ratios, which decide
/// where shortcuts have convolutions, stay.
fn narrow(arch: Arch, by: usize) -> Plan {
    let plan = arch.plan();
    let planes = plan.planes.map(|c| c / by);
    Plan { init_planes: plan.init_planes / by, planes, layers: plan.layers }
}

fn assert_agree(what: &str, net: &MinkUNet, x: &SparseTensor) {
    let folded = net.folded().unwrap();
    let parts = [
        (net.forward(x, false).unwrap(), folded.forward(x).unwrap()),
        (net.backbone(x, false).unwrap(), folded.backbone(x).unwrap()),
    ];
    for (want, got) in parts {
        assert_eq!(got.coords(), want.coords());
        assert_eq!(got.features().dims(), want.features().dims());
        assert!(!got.features().track_op());
        let (got, want) = (values(got.features()), values(want.features()));
        let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        assert!(want.is_empty() || scale > 1e-2, "{what}: a network that computes nothing proves nothing");
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 1e-5 * scale, "{what}: {g} for {w}, at most {scale}");
        }
    }
}

fn config(first_kernel: usize) -> MinkUNetConfig {
    MinkUNetConfig { out_channels: 7, first_kernel, ..Default::default() }
}

/// Run by [`every_instruction_set_agrees`] too, in processes whose environment it has set.
#[test]
fn every_plan_agrees() {
    // Its words, which tell the test below that the machine lacks the path.
    println!("path: {}", simd_path().unwrap_or_else(|error| panic!("{error}")));
    let x = voxels(20, 2, 3);
    for (i, &arch) in Arch::ALL.iter().enumerate() {
        let (_, net) = random(&narrow(arch, 4), &config(if i % 2 == 0 { 3 } else { 5 }));
        assert_agree(arch.name(), &net, &x);
    }
    // At full width, where results are cut into several panels.
    let (_, net) = random(&Arch::MinkUNet14A.plan(), &config(5));
    assert_agree("wide", &net, &x);
}

#[test]
fn every_instruction_set_agrees() {
    for name in ["plain", "avx2", "avx512", "neon"] {
        let mut command = ppkt_testkit::this_program();
        let command = command.args(["--exact", "every_plan_agrees", "--nocapture"]).env("PPKT_SIMD", name);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let missing = said.contains("but this machine has");
        assert!(missing && name != "plain" || output.status.success(), "{name}: {said}");
        assert!(missing || said.contains(&format!("path: {name}")), "{said}");
    }
}

#[test]
fn empty_and_tiny_inputs() {
    let (_, net) = random(&narrow(Arch::MinkUNet18, 4), &config(3));
    for coords in [vec![], vec![[0, -3, 5, 7]], vec![[0, 0, 0, 0], [3, 1, 1, 1]]] {
        let f = Tensor::ones((coords.len(), 3), DType::F32, &Device::Cpu).unwrap();
        let (x, _) = SparseTensor::new(&coords, f).unwrap();
        assert_agree("tiny", &net, &x);
        assert_eq!(net.folded().unwrap().forward(&x).unwrap().features().dims(), [coords.len(), 7]);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (_, net) = random(&Arch::MinkUNet14Tiny.plan(), &config(5));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let y = pool.install(|| net.folded().unwrap().forward(&voxels(40, 2, 3)).unwrap());
        values(y.features()).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn it_is_a_snapshot() {
    let (_, net) = random(&narrow(Arch::MinkUNet14Tiny, 2), &config(3));
    let x = voxels(20, 1, 3);
    let folded = net.folded().unwrap();
    let bits = || values(folded.forward(&x).unwrap().features());
    let before = bits();
    net.forward(&x, true).unwrap();
    assert_eq!(before, bits());
    assert_ne!(before, values(net.folded().unwrap().forward(&x).unwrap().features()));
}

#[test]
fn other_channels_are_refused() {
    let (_, net) = random(&narrow(Arch::MinkUNet14Tiny, 2), &config(3));
    let error = net.folded().unwrap().forward(&voxels(4, 1, 6)).unwrap_err().to_string();
    assert!(error.contains("takes 3") && error.contains("have 6"), "{error}");
}
