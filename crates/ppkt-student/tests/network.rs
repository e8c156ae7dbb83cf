//! The network's behaviour: gradients reach everything, threads change nothing, edges are handled.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use candle_core::{Device, Tensor};
use ppkt_sparse::{SparseTensor, VarStore};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig, unit_norm};

use common::{numbers, surface, tiny, values, voxels};

fn loss(net: &MinkUNet, x: &SparseTensor) -> Tensor {
    let y = unit_norm(net.forward(x, true).unwrap().features()).unwrap();
    let target = Tensor::from_vec(numbers(y.elem_count(), 17), y.dims(), &Device::Cpu).unwrap();
    (y * target).unwrap().sum_all().unwrap()
}

#[test]
fn every_parameter_gets_a_gradient() {
    let (_, store, net) = tiny(8);
    let grads = loss(&net, &voxels(24, 2, 3)).backward().unwrap();
    for (name, var) in store.trainable() {
        let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(grad.dims(), var.dims(), "{name}");
        let g = values(grad);
        assert!(g.iter().all(|v| v.is_finite()), "{name} has a gradient that is not finite");
        assert!(g.iter().any(|&v| v != 0.0), "{name} has a gradient of zero");
    }
    for (name, var) in store.buffers() {
        assert!(grads.get(&var).is_none(), "{name} is a buffer, and has a gradient");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (_, store, net) = tiny(8);
            let x = voxels(40, 2, 3);
            let loss = loss(&net, &x);
            let grads = loss.backward().unwrap();
            let mut bits: Vec<u32> = vec![loss.to_scalar::<f32>().unwrap().to_bits()];
            for (_, var) in store.trainable() {
                bits.extend(values(grads.get(&var).unwrap()).iter().map(|v| v.to_bits()));
            }
            for (name, var) in store.buffers() {
                if !name.ends_with("num_batches_tracked") {
                    bits.extend(values(&var).iter().map(|v| v.to_bits()));
                }
            }
            bits
        })
    };
    let one = run(1);
    assert!(one == run(2), "2 threads");
    assert!(one == run(3), "3 threads");
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let (_, _, net) = tiny(4);
    let coords = surface(12, 1);
    let features = numbers(coords.len() * 3, 1);
    let n = coords.len();
    let run = |rows: &[usize]| {
        let c: Vec<_> = rows.iter().map(|&r| coords[r]).collect();
        let f: Vec<f32> = rows.iter().flat_map(|&r| features[r * 3..r * 3 + 3].to_vec()).collect();
        let (x, _) = SparseTensor::new(&c, Tensor::from_vec(f, (n, 3), &Device::Cpu).unwrap()).unwrap();
        values(net.forward(&x, false).unwrap().features())
    };
    let forwards: Vec<usize> = (0..n).collect();
    let backwards: Vec<usize> = (0..n).rev().collect();
    assert_eq!(run(&forwards), run(&backwards));
}

#[test]
fn forward_is_the_head_of_the_backbone() {
    let (config, _, net) = tiny(4);
    let x = voxels(10, 1, 3);
    let features = net.backbone(&x, false).unwrap();
    assert_eq!(features.channels(), config.arch.plan().planes[7]);
    assert_eq!(features.coords(), x.coords());
    let head = net.head(&features).unwrap();
    assert_eq!(values(head.features()), values(net.forward(&x, false).unwrap().features()));
}

#[test]
fn a_frozen_twin_agrees_and_records_nothing() {
    let (config, store, net) = tiny(4);
    let twin = MinkUNet::new(&config, store.frozen(&Device::Cpu)).unwrap();
    let x = voxels(20, 1, 3);
    net.forward(&x, true).unwrap();
    let y = twin.forward(&x, false).unwrap();
    assert_eq!(values(y.features()), values(net.forward(&x, false).unwrap().features()));
    assert!(!y.features().track_op());
}

#[test]
fn evaluation_changes_nothing_and_training_moves_the_statistics() {
    let (_, store, net) = tiny(4);
    let x = voxels(20, 1, 3);
    let statistics = || -> Vec<f32> {
        let kept = store.buffers().into_iter().filter(|(n, _)| !n.ends_with("num_batches_tracked"));
        kept.flat_map(|(_, v)| values(&v)).collect()
    };
    let before = statistics();
    net.forward(&x, false).unwrap();
    assert_eq!(before, statistics());
    net.forward(&x, true).unwrap();
    assert_ne!(before, statistics());
    for (name, v) in store.buffers() {
        if name.ends_with("num_batches_tracked") {
            assert_eq!(v.to_scalar::<i64>().unwrap(), 1, "{name}");
        }
    }
}

/// The momentum that is asked for reaches stem, down, up and shortcut; the blocks' own norms keep 0.1.
#[test]
fn momentum_reaches_the_norms_that_it_reaches_in_the_published_code() {
    let config = MinkUNetConfig { arch: Arch::MinkUNet14Tiny, bn_momentum: 1.0, ..Default::default() };
    let store = VarStore::new(1);
    let net = MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
    net.forward(&voxels(20, 1, 3), true).unwrap();
    for (name, v) in store.buffers() {
        if !name.ends_with("running_var") {
            continue;
        }
        // With momentum 1 nothing of the initial variance, 1, is left; with 0.1, nine tenths are.
        let inside = name.contains(".norm1.") || name.contains(".norm2.");
        let least = values(&v).into_iter().fold(f32::INFINITY, f32::min);
        assert_eq!(least >= 0.9, inside, "{name}: {least}");
    }
}

#[test]
fn empty_and_tiny_inputs() {
    let (_, _, net) = tiny(4);
    let make = |coords: &[[i32; 4]]| {
        let f = Tensor::ones((coords.len(), 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        SparseTensor::new(coords, f).unwrap().0
    };
    for coords in [vec![], vec![[0, -3, 5, 7]], vec![[0, 0, 0, 0], [3, 1, 1, 1]]] {
        let y = net.forward(&make(&coords), false).unwrap();
        assert_eq!(y.features().dims(), [coords.len(), 4]);
        assert!(values(y.features()).iter().all(|v| v.is_finite()));
    }
    let error = net.forward(&make(&[[0, 0, 0, 0]]), true).unwrap_err().to_string();
    assert!(error.contains("at least 2 voxels"), "{error}");
}

#[test]
fn other_channels_are_refused() {
    let (_, _, net) = tiny(4);
    let error = net.forward(&voxels(4, 1, 6), false).unwrap_err().to_string();
    assert!(error.contains("takes 3") && error.contains("have 6"), "{error}");
}

/// One voxel of a long line says something, to a network without any bias: it is heard within the reach, and far.
#[test]
fn nothing_is_seen_beyond_the_reach() {
    for first_kernel in [3, 5] {
        let config = MinkUNetConfig {
            arch: Arch::MinkUNet14Tiny,
            in_channels: 1,
            out_channels: 4,
            first_kernel,
            ..Default::default()
        };
        let reach = config.arch.plan().reach(first_kernel) as i32;
        let net = MinkUNet::new(&config, VarStore::new(3).builder(&Device::Cpu)).unwrap();
        let coords: Vec<[i32; 4]> = (-400..400).map(|x| [0, x, 0, 0]).collect();
        let mut farthest = 0;
        for (at, value) in [-7, 0, 8, 15].into_iter().flat_map(|at| [(at, 1e6f32), (at, -1e6)]) {
            let said: Vec<f32> = coords.iter().map(|c| if c[1] == at { value } else { 0.0 }).collect();
            let said = Tensor::from_vec(said, (coords.len(), 1), &Device::Cpu).unwrap();
            let (voxels, order) = SparseTensor::new(&coords, said).unwrap();
            let rows = net.backbone(&voxels, false).unwrap().features().to_vec2::<f32>().unwrap();
            for (&row, c) in ppkt_sparse::rows_of_input(&order).iter().zip(&coords) {
                if rows[row as usize].iter().any(|v| *v != 0.0) {
                    farthest = farthest.max((c[1] - at).abs());
                }
            }
        }
        assert!(farthest <= reach && farthest > reach / 2, "{farthest} of {reach}");
    }
}
