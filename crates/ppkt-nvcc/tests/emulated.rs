//! Kernels on the CPU: right ones give the right numbers, wrong ones are found out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use ppkt_nvcc::{Arg, Emulated};

static LOGIC: LazyLock<Option<Emulated>> = LazyLock::new(|| Emulated::build(&["tests/kernels/logic.cu"]));

/// Runs a test, or nothing on a machine without a C++ compiler.
fn with(test: impl FnOnce(&Emulated)) {
    if let Some(kernels) = &*LOGIC {
        test(kernels);
    }
}

/// What a launch ends with.
fn complaint(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a wrong kernel passed");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_thread_for_each_element() {
    with(|k| {
        let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let mut y = [0.0f32; 100];
        let mut args = [Arg::read(&x), Arg::write(&mut y), Arg::value(3.0f32), Arg::value(100u32)];
        k.launch("scale", 4, 32, 0, &mut args);
        drop(args);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 3.0 * x));
    });
}

#[test]
fn threads_meet_at_barriers() {
    with(|k| {
        let x: Vec<i32> = (0..192).collect();
        let mut sums = [0i32; 3];
        k.launch("block_sums", 3, 64, 0, &mut [Arg::read(&x), Arg::write(&mut sums)]);
        assert_eq!(sums, [2016, 2016 + 64 * 64, 2016 + 2 * 64 * 64]);
    });
}

#[test]
fn a_missing_barrier_is_found_by_turning_the_order_round() {
    with(|k| {
        let x: Vec<i32> = (0..64).collect();
        let mut sums = [0i32; 1];
        let said =
            complaint(|| k.launch("racing_sums", 1, 64, 0, &mut [Arg::read(&x), Arg::write(&mut sums)]));
        assert!(said.contains("order of threads"), "{said}");
    });
}

#[test]
fn lanes_of_a_warp_exchange_values() {
    with(|k| {
        let mut out = vec![-1i32; 64 * 10];
        k.launch("warp", 1, 64, 0, &mut [Arg::write(&mut out)]);
        for (thread, o) in out.chunks(10).enumerate() {
            let lane = thread as i32 % 32;
            let up = if lane < 2 { lane } else { lane - 2 };
            let down = if lane < 30 { lane + 2 } else { lane };
            let thirds = (0..32).filter(|l| l % 3 == 0).fold(0u32, |s, l| s | 1 << l) as i32;
            let alike = (0..32).filter(|l| l % 4 == lane % 4).fold(0u32, |s, l| s | 1 << l) as i32;
            let half = if lane < 15 {
                lane + 1
            } else if lane == 15 {
                15
            } else {
                0
            };
            assert_eq!(o, [25, lane ^ 3, up, down, thirds, alike, 496, 0, half, 32], "lane {lane}");
        }
    });
}

fn bf16(v: f32) -> u16 {
    (v.to_bits() >> 16) as u16
}

#[test]
fn tensor_cores_multiply() {
    with(|k| {
        // Small whole numbers are exact in every format.
        let a: Vec<f32> = (0..256).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let b: Vec<f32> = (0..128).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        let product = |depth: usize| -> Vec<f32> {
            let at = |i: usize| (0..depth).map(|k| a[i / 8 * depth + k] * b[k * 8 + i % 8]).sum();
            (0..128).map(at).collect()
        };
        let narrow = |v: &[f32]| v.iter().map(|&v| bf16(v)).collect::<Vec<_>>();
        let mut d = [0.0f32; 128];
        let mut args = [Arg::read(&narrow(&a)), Arg::read(&narrow(&b)), Arg::write(&mut d)];
        k.launch("product_bf16", 1, 32, 0, &mut args);
        drop(args);
        assert_eq!(d.to_vec(), product(16));
        let mut d = [0.0f32; 128];
        k.launch(
            "product_tf32",
            1,
            32,
            0,
            &mut [Arg::read(&a[..128]), Arg::read(&b[..64]), Arg::write(&mut d)],
        );
        assert_eq!(d.to_vec(), product(8));
    });
}

#[test]
fn sixteen_bit_floats_round_to_the_nearest_even() {
    with(|k| {
        let x =
            [1.0f32, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 65519.0, 65520.0, 3e-8, 6.2e-5, -2.5, f32::NAN];
        let n = x.len();
        let (mut b, mut h) = (vec![0u16; n], vec![0u16; n]);
        let (mut from_b, mut from_h) = (vec![0f32; n], vec![0f32; n]);
        k.launch(
            "narrow",
            1,
            4,
            0,
            &mut [
                Arg::read(&x),
                Arg::write(&mut b),
                Arg::write(&mut h),
                Arg::write(&mut from_b),
                Arg::write(&mut from_h),
                Arg::value(n as u32),
            ],
        );
        assert_eq!(b[..3], [0x3f80, 0x3f80, 0x3f82]);
        assert_eq!(from_b[..3], [1.0, 1.0, 1.015625]);
        assert_eq!(h[..8], [0x3c00, 0x3c04, 0x3c0c, 0x7bff, 0x7c00, 0x0001, 0x0410, 0xc100]);
        assert_eq!((from_h[3], from_h[4], from_h[7]), (65504.0, f32::INFINITY, -2.5));
        assert!(from_b[8].is_nan() && from_h[8].is_nan());
    });
}

#[test]
fn shared_memory_is_as_large_as_asked_for() {
    with(|k| {
        let x: Vec<i32> = (0..32).collect();
        let mut y = [0i32; 32];
        k.launch("turn", 1, 32, 128, &mut [Arg::read(&x), Arg::write(&mut y)]);
        assert!(y.iter().rev().zip(&x).all(|(a, b)| a == b));
        let said = complaint(|| k.launch("turn", 1, 32, 120, &mut [Arg::read(&x), Arg::write(&mut y)]));
        assert!(said.contains("behind its 120 bytes"), "{said}");
    });
}

#[test]
fn kernels_that_macros_make_are_kernels() {
    with(|k| {
        let mut y = [0.0f64; 6];
        k.launch("fill_f64", (3, 2), 1, 0, &mut [Arg::write(&mut y), Arg::value(2.5f64)]);
        assert_eq!(y, [2.5; 6]);
    });
}

#[test]
fn wrong_kernels_are_found_out() {
    with(|k| {
        let cases = [
            ("divergent", 32, "waits at the barrier"),
            ("two_barriers", 32, "and thread 0 at that of line"),
            ("lonely", 32, "__shfl_sync waits for lanes"),
            ("too_far", 64, "outside of argument 0"),
            ("nowhere", 1, "memory that is nobody's"),
        ];
        for (kernel, threads, reason) in cases {
            let mut y = vec![0i32; 64];
            let said = complaint(|| k.launch(kernel, 1, threads, 0, &mut [Arg::write(&mut y)]));
            assert!(said.contains(kernel) && said.contains(reason), "{said}");
        }
        let mut y = [0f32; 4];
        let said =
            complaint(|| k.launch("not_aligned", 1, 1, 0, &mut [Arg::read(&[0f32; 8]), Arg::write(&mut y)]));
        assert!(said.contains("not aligned"), "{said}");
        let mut y = [0i32; 4];
        k.launch("too_early", 1, 1, 0, &mut [Arg::read(&[1i32, 2, 3, 4]), Arg::write(&mut y)]);
        assert_ne!(y, [1, 2, 3, 4], "cp.async was not waited for");
    });
}

#[test]
fn copies_in_the_background_fill_up_with_zeros() {
    with(|k| {
        let mut y = [-1i32; 2];
        k.launch("half_there", 1, 1, 0, &mut [Arg::read(&[7i32, 8]), Arg::write(&mut y)]);
        assert_eq!(y, [8, 0]);
    });
}

#[test]
fn wrong_arguments_are_refused() {
    with(|k| {
        let mut y = [0f32; 4];
        let said = complaint(|| k.launch("fill_f32", 1, 1, 0, &mut [Arg::write(&mut y)]));
        assert!(said.contains("2 parameters, and was given 1"), "{said}");
        let said = complaint(|| k.launch("fill_f32", 1, 1, 0, &mut [Arg::write(&mut y), Arg::value(1.0f64)]));
        assert!(said.contains("argument 1 must be a number of 4 bytes"), "{said}");
        let said = complaint(|| k.launch("unknown", 1, 1, 0, &mut []));
        assert!(said.contains("no kernel \"unknown\""), "{said}");
        let said = complaint(|| k.launch("fill_f32", 1, 1025, 0, &mut [Arg::null(), Arg::value(1.0f32)]));
        assert!(said.contains("refuses this launch"), "{said}");
    });
}
