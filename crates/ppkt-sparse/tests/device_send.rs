//! What goes to a device comes there as it was, however much is on the way at one time.

use candle_core::{DType, Device, Tensor};
use ppkt_device::send;
use ppkt_sparse::{ConvSpec, SparseTensor};

fn numbers(n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| (i + seed).wrapping_mul(2_654_435_761) as u32).collect()
}

#[test]
fn device_many_arrays_at_once_arrive_as_they_were() {
    for device in ppkt_testkit::devices() {
        // Sizes around those of buffers; nothing is read back until all are on the way, and each outlives its source.
        let sizes = [1, 3, 16_384, 16_385, 100_000, 1_000_000];
        let sent: Vec<(usize, usize, Tensor)> = (0..8)
            .flat_map(|seed| sizes.map(|n| (n, seed)))
            .map(|(n, seed)| {
                let values = Tensor::from_vec(numbers(n, seed), n, &Device::Cpu).unwrap();
                (n, seed, send(&values, &device).unwrap())
            })
            .collect();
        for (n, seed, tensor) in sent {
            assert_eq!(tensor.to_vec1::<u32>().unwrap(), numbers(n, seed), "{:?}", device.location());
        }
    }
}

#[test]
fn device_parts_and_transposes_arrive_as_they_were() {
    for device in ppkt_testkit::devices() {
        let values = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((4, 6)).unwrap();
        for part in [
            values.clone(),
            values.narrow(0, 1, 2).unwrap(),
            values.narrow(1, 2, 3).unwrap(),
            values.t().unwrap(),
            values.narrow(0, 0, 0).unwrap(),
            values.to_dtype(DType::F64).unwrap(),
        ] {
            let sent = send(&part, &device).unwrap();
            let same = |t: &Tensor| t.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            assert!(sent.device().same_device(&device) && sent.dtype() == part.dtype());
            assert_eq!(same(&sent), same(&part), "{:?}", device.location());
        }
    }
}

#[test]
fn device_a_sparse_tensor_keeps_rows_and_maps() {
    let coords: Vec<[i32; 4]> = (0..500).map(|i| [i % 2, i * 7 % 31, i / 31, i % 5]).collect();
    let features = Tensor::arange(0f32, 1000.0, &Device::Cpu).unwrap().reshape((500, 2)).unwrap();
    let (x, _) = SparseTensor::new(&coords, features).unwrap();
    for device in ppkt_testkit::devices() {
        let y = x.send(&device).unwrap();
        assert!(y.features().device().same_device(&device) && !y.features().track_op());
        assert_eq!(y.coords(), x.coords());
        assert_eq!(y.features().to_vec2::<f32>().unwrap(), x.features().to_vec2::<f32>().unwrap());
        let spec = ConvSpec::new(3, 1);
        let maps = [&x, &y].map(|t| t.manager().kernel_map(1, spec).unwrap());
        maps[1].prepare(&device).unwrap();
        assert_eq!(maps[0].counts(), maps[1].counts());
    }
}
