//! A whole network with MinkowskiEngine's names against the float64 reference.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

mod common;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use ppkt_sparse::{LoadMode, SparseTensor, VarStore};
use ppkt_student::{MinkUNet, MinkUNetConfig, Plan, State};
use ppkt_testkit::{Vectors, assert_close, reference_files};

/// f32 through some twenty layers against f64.
const TOLERANCE: f64 = 1e-4;

fn eight(v: &Vectors, name: &str) -> [usize; 8] {
    let list: Vec<usize> = serde_json::from_value(v.json(name)).unwrap();
    list.try_into().unwrap()
}

fn number(v: &Vectors, name: &str) -> usize {
    v.meta(name).unwrap().parse().unwrap()
}

fn state(v: &Vectors) -> State {
    let tensors: HashMap<String, Tensor> = v
        .names()
        .into_iter()
        .filter_map(|name| {
            let key = name.strip_prefix("state.")?.to_owned();
            let t = Tensor::from_vec(v.f32s(&name), v.shape(&name), &Device::Cpu).unwrap();
            let counter = key.ends_with("num_batches_tracked");
            Some((key, if counter { t.to_dtype(DType::I64).unwrap() } else { t }))
        })
        .collect();
    State::new(tensors, v.name())
}

#[test]
fn reference_me_minkunet() {
    for file in reference_files("me_minkunet_") {
        let v = Vectors::load(&file);
        let plan = Plan {
            init_planes: number(&v, "init"),
            planes: eight(&v, "planes"),
            layers: eight(&v, "layers"),
        };
        let (cin, cout) = (v.shape("feats")[1], v.shape("out")[1]);
        let config = MinkUNetConfig {
            in_channels: cin,
            out_channels: cout,
            first_kernel: number(&v, "first_kernel"),
            ..Default::default()
        };
        let store = VarStore::new(0);
        let net = MinkUNet::with_plan(&plan, &config, store.builder(&Device::Cpu)).unwrap();

        let state = state(&v);
        let (described, _, read) = state.describe().unwrap();
        assert_eq!(described, plan, "{}", v.name());
        let of = |c: &MinkUNetConfig| (c.in_channels, c.out_channels, c.first_kernel);
        assert_eq!(of(&read), of(&config), "{}", v.name());
        let report = state.load_into(&store, LoadMode::Strict).unwrap();
        assert_eq!(report.loaded.len(), store.all().len());

        let coords: Vec<[i32; 4]> = v
            .i64s("coords")
            .chunks(4)
            .map(|c| [c[0] as i32, c[1] as i32, c[2] as i32, c[3] as i32])
            .collect();
        let features = Tensor::from_vec(v.f32s("feats"), (coords.len(), cin), &Device::Cpu).unwrap();
        let (x, order) = SparseTensor::new(&coords, features).unwrap();
        let got = common::values(net.forward(&x, false).unwrap().features());
        let out = v.f64s("out");
        let want: Vec<f64> = order
            .iter()
            .flat_map(|&r| out[r as usize * cout..(r as usize + 1) * cout].iter().copied())
            .collect();
        assert_close(&v.name(), &got, &want, TOLERANCE);
    }
}
