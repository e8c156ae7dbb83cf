//! `PPKT_SIMD`, which is read once: each value in a process of its own.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::Device;
use ppkt_sparse::{Precision, SparseError, simd_path};

/// Run by the other test, in a process whose environment it has set.
#[test]
#[ignore = "a part of the other test"]
fn child() {
    match simd_path() {
        Ok(name) => println!("path: {name}"),
        Err(SparseError::Simd { asked, available }) => println!("refused: {asked}, not of {available:?}"),
        Err(other) => panic!("{other}"),
    }
    match Precision::Bf16.check_on(&Device::Cpu) {
        Ok(()) => println!("bf16: computed"),
        Err(error) => println!("bf16: {error}"),
    }
}

fn with_variable(value: &str) -> String {
    let mut command = ppkt_testkit::this_program();
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env("PPKT_SIMD", value);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn the_variable_forces_a_path() {
    assert!(with_variable("plain").contains("path: plain"));
    let refused = with_variable("sse9");
    assert!(refused.contains("refused: sse9"), "{refused}");
    for name in ["avx2", "avx512", "neon"] {
        let said = with_variable(name);
        assert!(
            said.contains(&format!("path: {name}")) || said.contains(&format!("refused: {name}")),
            "{said}"
        );
    }
}

/// bf16 is the plain path's too, where it is asked for by name, and never another's by stealth.
#[test]
fn bf16_is_refused_where_it_would_be_slow() {
    assert!(with_variable("plain").contains("bf16: computed"));
    let said = with_variable("avx2");
    if said.contains("path: avx2") {
        assert!(
            said.contains("needs a processor with avx512_bf16, and convolutions use avx2 here"),
            "{said}"
        );
        assert!(said.contains("choose precision f32"), "{said}");
    }
}
