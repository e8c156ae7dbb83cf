//! Names, shapes and counts of every member of the family.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::Device;
use ppkt_sparse::VarStore;
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};

fn store(arch: Arch, in_channels: usize, out_channels: usize, first_kernel: usize) -> VarStore {
    let config = MinkUNetConfig { arch, in_channels, out_channels, first_kernel, ..Default::default() };
    let store = VarStore::new(0);
    MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
    store
}

/// Trainable numbers of the published networks: architecture, channels in and out, first kernel, count.
const COUNTS: [(Arch, usize, usize, usize, usize); 20] = [
    (Arch::MinkUNet34C, 1, 64, 3, 37_849_184),
    (Arch::MinkUNet34C, 1, 17, 3, 37_844_625),
    (Arch::MinkUNet34C, 1, 20, 3, 37_844_916),
    (Arch::MinkUNet34C, 3, 20, 5, 37_856_052),
    (Arch::MinkUNet34C, 3, 32, 3, 37_847_808),
    (Arch::MinkUNet34C, 3, 128, 3, 37_857_120),
    (Arch::MinkUNet34C, 3, 128, 5, 37_866_528),
    (Arch::Res16UNet34, 3, 128, 3, 57_173_088),
    (Arch::MinkUNet34A, 3, 20, 5, 36_607_412),
    (Arch::MinkUNet34B, 3, 20, 5, 36_226_484),
    (Arch::MinkUNet18, 3, 20, 5, 21_704_244),
    (Arch::MinkUNet18A, 3, 20, 5, 15_493_172),
    (Arch::MinkUNet18B, 3, 20, 5, 17_204_660),
    (Arch::MinkUNet18D, 3, 20, 5, 79_874_484),
    (Arch::MinkUNet14, 3, 20, 5, 11_580_852),
    (Arch::MinkUNet14A, 3, 20, 5, 8_024_500),
    (Arch::MinkUNet14B, 3, 20, 5, 8_961_588),
    (Arch::MinkUNet14C, 3, 20, 5, 11_919_924),
    (Arch::MinkUNet14D, 3, 20, 5, 43_315_764),
    (Arch::MinkUNet14Tiny, 3, 128, 3, 592_400),
];

/// The number of parameters, from the plan alone: making 80 million numbers for each row would take the time.
fn counted(arch: Arch, cin: usize, cout: usize, k: usize) -> usize {
    let plan = arch.plan();
    let (p, norm) = (plan.planes, 2);
    let block = |cin: usize, c: usize| {
        let shortcut = if cin == c { 0 } else { cin * c + norm * c };
        27 * cin * c + 27 * c * c + 2 * norm * c + shortcut
    };
    let stage = |cin: usize, c: usize, n: usize| block(cin, c) + (n - 1) * block(c, c);
    let mut width = plan.init_planes;
    let mut sum = k * k * k * cin * width + norm * width;
    for (i, &out) in p[..4].iter().enumerate() {
        sum += 8 * width * width + norm * width + stage(width, out, plan.layers[i]);
        width = out;
    }
    for (i, skip) in [p[2], p[1], p[0], plan.init_planes].into_iter().enumerate() {
        let c = p[4 + i];
        sum += 8 * width * c + norm * c + stage(c + skip, c, plan.layers[4 + i]);
        width = c;
    }
    sum + width * cout + cout
}

#[test]
fn counts_are_the_published_ones() {
    for (arch, cin, cout, k, want) in COUNTS {
        assert_eq!(counted(arch, cin, cout, k), want, "{arch} {cin}->{cout} k{k}");
    }
}

#[test]
fn the_networks_have_as_many_as_their_plans_say() {
    for &arch in Arch::ALL {
        // The wide ones differ from their narrow kin in channels only, and take seconds to fill.
        if matches!(arch, Arch::MinkUNet18D | Arch::MinkUNet14D | Arch::Res16UNet18 | Arch::Res16UNet34) {
            continue;
        }
        assert_eq!(store(arch, 3, 20, 5).parameter_count(), counted(arch, 3, 20, 5), "{arch}");
    }
}

#[test]
fn numbers_of_tensors_are_the_published_ones() {
    let published = [
        (Arch::MinkUNet34C, 374),
        (Arch::MinkUNet18A, 290),
        (Arch::MinkUNet14A, 194),
        (Arch::MinkUNet14Tiny, 194),
    ];
    for (arch, tensors) in published {
        let store = store(arch, 3, 128, 3);
        // The tiny network has fewer changes of width, so fewer shortcuts: six tensors each.
        let shortcuts = store.all().iter().filter(|(n, _)| n.ends_with("downsample.0.kernel")).count();
        assert_eq!(store.all().len() + (7 - shortcuts) * 6, tensors, "{arch}");
    }
}

#[test]
fn the_34c_has_the_published_names_and_shapes() {
    let store = store(Arch::MinkUNet34C, 3, 128, 3);
    let all = store.all();
    let shape = |name: &str| match all.iter().find(|(n, _)| n == name) {
        Some((_, v)) => v.dims().to_vec(),
        None => panic!("no {name}"),
    };
    assert_eq!(all.len(), 374);
    assert_eq!(store.parameter_count(), 37_857_120);
    assert_eq!(store.buffers().iter().map(|(_, v)| v.elem_count()).sum::<usize>(), 17_662);
    assert_eq!(shape("conv0p1s1.kernel"), [27, 3, 32]);
    assert_eq!(shape("conv1p1s2.kernel"), [8, 32, 32]);
    assert_eq!(shape("conv4p8s2.kernel"), [8, 128, 128]);
    assert_eq!(shape("bn4.bn.running_var"), [128]);
    assert_eq!(shape("bn0.bn.num_batches_tracked"), [0usize; 0]);
    assert_eq!(shape("block4.5.conv2.kernel"), [27, 256, 256]);
    assert_eq!(shape("block2.0.downsample.0.kernel"), [32, 64]);
    assert_eq!(shape("block2.0.downsample.1.bn.weight"), [64]);
    assert_eq!(shape("convtr4p16s2.kernel"), [8, 256, 256]);
    assert_eq!(shape("block5.0.conv1.kernel"), [27, 384, 256]);
    assert_eq!(shape("block6.0.conv1.kernel"), [27, 192, 128]);
    assert_eq!(shape("block7.0.conv1.kernel"), [27, 128, 96]);
    assert_eq!(shape("convtr7p2s2.kernel"), [8, 96, 96]);
    assert_eq!(shape("bntr7.bn.bias"), [96]);
    assert_eq!(shape("block8.0.norm1.bn.weight"), [96]);
    assert_eq!(shape("final.kernel"), [96, 128]);
    assert_eq!(shape("final.bias"), [1, 128]);
    let shortcuts: Vec<&str> =
        all.iter().map(|(n, _)| n.as_str()).filter(|n| n.ends_with("downsample.0.kernel")).collect();
    let expected: Vec<String> = (2..=8).map(|b| format!("block{b}.0.downsample.0.kernel")).collect();
    assert_eq!(shortcuts, expected);
}

#[test]
fn settings_are_checked() {
    let vb = VarStore::new(0).builder(&Device::Cpu);
    let tiny = MinkUNetConfig { arch: Arch::MinkUNet14Tiny, ..Default::default() };
    for (config, word) in [
        (MinkUNetConfig { first_kernel: 4, ..tiny }, "first_kernel"),
        (MinkUNetConfig { in_channels: 0, ..tiny }, "in_channels"),
        (MinkUNetConfig { out_channels: 0, ..tiny }, "out_channels"),
        (MinkUNetConfig { bn_momentum: f64::NAN, ..tiny }, "bn_momentum"),
    ] {
        let error = MinkUNet::new(&config, vb.clone()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
