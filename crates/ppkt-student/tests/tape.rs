//! The network as one operation with a tape of its own, against the same network layer by layer.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{Precision, Recompute, SparseTensor, VarStore};
use ppkt_student::{MinkUNet, MinkUNetConfig};

use common::{numbers, tiny, values, voxels};

/// Counts the bytes in use, and the most of them.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// One test at a time, so that the count is that of one.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// What a user may take from the network: its scores, or the features before the last layer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Tape,
    Layers,
}

fn forward(net: &MinkUNet, x: &SparseTensor, train: bool, form: Form) -> Tensor {
    match form {
        Form::Tape => net.forward(x, train).unwrap(),
        Form::Layers => net.forward_traced(x, train, &mut |_, _| {}).unwrap(),
    }
    .features()
    .clone()
}

fn loss(y: &Tensor) -> Tensor {
    let target = Tensor::from_vec(numbers(y.elem_count(), 17), y.dims(), &Device::Cpu).unwrap();
    (y * target).unwrap().sum_all().unwrap()
}

/// Scores, gradients and buffers of one pass.
type Pass = (Vec<f32>, BTreeMap<String, Vec<f32>>, Vec<Vec<f32>>);

/// One pass through a new network.
fn run(train: bool, form: Form) -> Pass {
    let (_, store, net) = tiny(8);
    let x = voxels(40, 2, 3);
    let features = Var::from_tensor(x.features()).unwrap();
    let x = x.with_features(features.as_tensor().clone()).unwrap();
    // Running statistics that are not the first ones.
    forward(&net, &x, true, Form::Layers);
    let y = forward(&net, &x, train, form);
    let grads = loss(&y).backward().unwrap();
    let mut all: BTreeMap<String, Vec<f32>> =
        store.trainable().into_iter().map(|(name, var)| (name, values(grads.get(&var).unwrap()))).collect();
    all.insert("features".into(), values(grads.get(&features).unwrap()));
    let buffers = store.buffers().into_iter().filter(|(n, _)| !n.ends_with("tracked"));
    (values(&y), all, buffers.map(|(_, v)| values(&v)).collect())
}

fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= tolerance * scale, "{what}: {g} and not {w}, of {scale}");
    }
}

#[test]
fn a_tape_computes_what_the_layers_compute() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for train in [true, false] {
        let (y, grads, buffers) = run(train, Form::Tape);
        let (want_y, want_grads, want_buffers) = run(train, Form::Layers);
        assert!(y == want_y, "train {train}: the scores have the same bits");
        assert!(buffers == want_buffers, "train {train}: so have the running statistics");
        for ((name, got), want) in grads.iter().zip(want_grads.values()) {
            assert_close(&format!("train {train}: {name}"), got, want, 2e-5);
        }
        assert_eq!(grads.len(), want_grads.len());
    }
}

#[test]
fn the_trunk_alone_has_the_gradients_of_its_layers() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gradients = |traced: bool| -> BTreeMap<String, Vec<f32>> {
        let (_, store, net) = tiny(8);
        let x = voxels(30, 1, 3);
        let y = if traced {
            let mut last = None;
            net.forward_traced(&x, true, &mut |name, y| {
                if name == "block8" {
                    last = Some(y.clone());
                }
            })
            .unwrap();
            last.unwrap()
        } else {
            net.backbone(&x, true).unwrap()
        };
        let grads = loss(y.features()).backward().unwrap();
        let all = store.trainable().into_iter();
        all.filter_map(|(name, var)| Some((name, values(grads.get(&var)?)))).collect()
    };
    let (got, want) = (gradients(false), gradients(true));
    assert!(got.len() > 40 && got.keys().eq(want.keys()));
    for (name, got) in &got {
        assert_close(name, got, &want[name], 2e-5);
    }
}

/// Parameters that are no variables get no gradient, and the others the same as ever.
#[test]
fn frozen_parameters_change_no_other_gradient() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (config, store, whole) = tiny(8);
    let x = voxels(30, 1, 3);
    let grads = loss(&forward(&whole, &x, false, Form::Tape)).backward().unwrap();
    for kept in ["block7", "final", "bn0", "conv2p2s2", "block8.0.downsample"] {
        let mut tensors: std::collections::HashMap<String, Tensor> = std::collections::HashMap::new();
        for (name, var) in store.all() {
            let tensor =
                if name.starts_with(kept) { var.as_tensor().clone() } else { var.as_detached_tensor() };
            tensors.insert(name, tensor);
        }
        let vb = candle_nn::VarBuilder::from_tensors(tensors, candle_core::DType::F32, &Device::Cpu);
        let net = MinkUNet::new(&config, vb).unwrap();
        let part = loss(&forward(&net, &x, false, Form::Tape)).backward().unwrap();
        let mut found = 0;
        for (name, var) in store.trainable() {
            let got = part.get(&var).map(values);
            assert_eq!(got.is_some(), name.starts_with(kept), "{kept}: {name}");
            if let Some(got) = got {
                assert_close(&format!("{kept}: {name}"), &got, &values(grads.get(&var).unwrap()), 1e-6);
                found += 1;
            }
        }
        assert!(found > 0, "{kept}");
    }
}

#[test]
fn a_second_backward_pass_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, _, net) = tiny(4);
    let loss = loss(&forward(&net, &voxels(20, 1, 3), true, Form::Tape));
    loss.backward().unwrap();
    let error = loss.backward().err().unwrap().to_string();
    assert!(error.contains("run the network forward again"), "{error}");
}

#[test]
fn a_loss_may_be_of_some_voxels_only_or_of_none_of_the_network() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, store, net) = tiny(4);
    let y = forward(&net, &voxels(20, 1, 3), true, Form::Tape);
    let picked = y.narrow(0, 3, 5).unwrap().sum_all().unwrap();
    let grads: GradStore = picked.backward().unwrap();
    assert!(store.trainable().iter().all(|(_, var)| grads.get(var).is_some()));
    let none = (forward(&net, &voxels(20, 1, 3), true, Form::Tape).sum_all().unwrap() * 0.0).unwrap();
    let grads = none.backward().unwrap();
    assert!(
        store
            .trainable()
            .iter()
            .all(|(_, var)| grads.get(var).is_none_or(|g| values(g).iter().all(|&v| v == 0.0)))
    );
}

/// The reason for the tape.
#[test]
fn a_tape_keeps_less_than_the_graph_of_layers() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = MinkUNetConfig { out_channels: 8, ..MinkUNetConfig::default() };
    let config = MinkUNetConfig { arch: ppkt_student::Arch::MinkUNet14Tiny, ..config };
    let most = |form: Form| {
        let store = VarStore::new(11);
        let net = MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
        let x = voxels(200, 1, 3);
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let y = forward(&net, &x, true, form);
        let kept = NOW.load(Ordering::Relaxed) - before;
        let grads = loss(&y).backward().unwrap();
        drop(grads);
        (kept, MOST.load(Ordering::Relaxed) - before)
    };
    let (tape, layers) = (most(Form::Tape), most(Form::Layers));
    assert!(tape.0 * 10 < layers.0 * 6, "kept after forward: {} and {} bytes", tape.0, layers.0);
    assert!(tape.1 * 10 < layers.1 * 6, "at most: {} and {} bytes", tape.1, layers.1);
}

/// A pass takes no more than what is counted beforehand, and not much less, whatever is computed again and in which numbers; and
/// the more is computed again, the less it takes.
#[test]
fn memory_is_known_before_it_is_used() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config =
        MinkUNetConfig { arch: ppkt_student::Arch::MinkUNet18A, out_channels: 64, ..Default::default() };
    for precision in Precision::ALL {
        let store = VarStore::new(11);
        let net = MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
        let net = match net.with_precision(precision) {
            Ok(net) => net,
            Err(error) => {
                println!("without {precision}: {error}");
                continue;
            }
        };
        let x = voxels(150, 2, 3);
        let taken = Recompute::ALL.map(|recompute| {
            let want = net.training_memory(&x, recompute).unwrap();
            let before = NOW.load(Ordering::Relaxed);
            MOST.store(before, Ordering::Relaxed);
            let y = net.forward_with(&x, true, recompute).unwrap();
            let loss = y.features().sum_all().unwrap();
            let grads = ppkt_sparse::backward(&loss).unwrap();
            let most = MOST.load(Ordering::Relaxed) - before;
            drop(grads);
            println!("{precision} {recompute:?}: {want} counted, {most} taken");
            assert!(most <= want && want * 10 <= most * 12, "{precision} {recompute:?}: {want} for {most}");
            most
        });
        assert!(taken[1] * 10 < taken[0] * 9, "{precision}: {taken:?}");
    }
}
