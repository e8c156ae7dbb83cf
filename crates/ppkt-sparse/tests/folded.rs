//! Folded layers against the layers one after the other, and what they refuse.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::{Device, Tensor};
use ppkt_sparse::{
    BatchNorm, ConvSpec, Pointwise, SparseConv3d, SparseConvTranspose3d, SparseError, SparseTensor, VarStore,
    add, relu,
};

mod common;
use common::{Numbers, sparse, values};

fn assert_agree(what: &str, got: &SparseTensor, want: &SparseTensor) {
    got.check_same_coords(want, "test").unwrap();
    let (got, want) = (values(got.features()), values(want.features()));
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    assert!(got.len() == want.len() && scale > 0.1, "{what}");
    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-5 * scale), "{what}");
}

#[test]
fn each_layer_agrees_with_itself_and_its_norm() {
    let mut n = Numbers::new(5);
    let coords = n.pattern(2, 12, 0.2);
    let (x, _) = sparse(&coords, 5, &mut n);
    let store = VarStore::new(1);
    let vb = store.builder(&Device::Cpu);
    let down = SparseConv3d::with_bias(5, 20, ConvSpec::new(2, 2), vb.pp("down")).unwrap();
    let up = SparseConvTranspose3d::new(20, 20, ConvSpec::new(2, 2), vb.pp("up")).unwrap();
    let row = Pointwise::new(25, 20, vb.pp("row")).unwrap();
    let norm = BatchNorm::new(20, 0.1, vb.pp("norm")).unwrap();
    for (name, var) in store.all() {
        if name.starts_with("norm.") && !name.ends_with("tracked") {
            let about = if name.ends_with("weight") || name.ends_with("var") { 1.0 } else { 0.0 };
            let random = ((n.tensor(&[20]) * 0.5).unwrap() + about).unwrap();
            var.set(&random).unwrap();
        }
    }
    let coarse = down.forward(&x).unwrap();
    let got = down.folded(Some(&norm), false).unwrap().forward(&[&x], None).unwrap();
    assert_agree("down", &got, &norm.forward(&coarse, false).unwrap());
    let got = down.folded(None, true).unwrap().forward(&[&x], None).unwrap();
    assert_agree("down without norm", &got, &relu(&coarse).unwrap());
    let fine = up.forward(&coarse).unwrap();
    let got = up.folded(Some(&norm), true).unwrap().forward(&[&coarse], None).unwrap();
    assert_agree("up", &got, &norm.forward_relu(&fine, false).unwrap());
    let both = row.forward_cat(&fine, &x).unwrap();
    let folded = row.folded(Some(&norm), true).unwrap();
    let got = folded.forward(&[&fine, &x], Some(&fine)).unwrap();
    assert_agree("two and a residual", &got, &norm.forward_add_relu(&both, &fine, false).unwrap());
    let got = row.folded(None, false).unwrap().forward(&[&fine, &x], Some(&fine)).unwrap();
    assert_agree("a residual", &got, &add(&both, &fine).unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut n = Numbers::new(6);
    let coords = n.pattern(1, 8, 0.2);
    let ((x, _), (other, _)) = (sparse(&coords, 4, &mut n), sparse(&coords, 4, &mut n));
    let store = VarStore::new(1);
    let vb = store.builder(&Device::Cpu);
    let conv = SparseConv3d::new(4, 4, ConvSpec::new(3, 1), vb.pp("conv")).unwrap();
    let norm = BatchNorm::new(5, 0.1, vb.pp("norm")).unwrap();
    assert!(matches!(conv.folded(Some(&norm), true), Err(SparseError::Shape { .. })));
    let folded = conv.folded(None, true).unwrap();
    assert!(matches!(folded.forward(&[], None), Err(SparseError::Shape { .. })));
    assert!(matches!(folded.forward(&[&x, &x], None), Err(SparseError::Shape { .. })));
    let elsewhere = folded.forward(&[&x], Some(&other));
    assert!(matches!(elsewhere, Err(SparseError::DifferentCoordinates { .. })));
    let narrow = x.with_features(Tensor::zeros((x.len(), 3), candle_core::DType::F32, &Device::Cpu).unwrap());
    assert!(matches!(folded.forward(&[&x], Some(&narrow.unwrap())), Err(SparseError::Shape { .. })));
    let up = SparseConvTranspose3d::new(4, 4, ConvSpec::new(2, 2), vb.pp("up")).unwrap();
    let nowhere = up.folded(None, false).unwrap().forward(&[&x], None);
    assert!(matches!(nowhere, Err(SparseError::NoFinerCoordinates { .. })));
}
