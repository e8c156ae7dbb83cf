//! The asset, and the way it is made.

use super::*;

fn asset() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ppkt-teacher/assets/tiny.safetensors")
}

/// Frames that the embedded teacher has not seen, as a batch.
fn frames() -> Frames {
    Frames::render(99, 2, Split::All, 0.0).unwrap()
}

/// Losses of a few steps on the same crops, and the file that would be written after them.
fn trained(n_steps: usize) -> (Vec<f32>, Vec<u8>) {
    let frames = Frames::render(5, 3, Split::Train, 0.3).unwrap();
    let net = Net::new(5, frames.n_classes).unwrap();
    let weights = class_weights(&frames.shares()).unwrap();
    let mut optimiser = AdamW::new_lr(net.params.values().cloned().collect(), 2e-3).unwrap();
    let mut losses = Vec::new();
    for _ in 0..n_steps {
        let (x, labels) = frames.crops(5, 0, 2).unwrap();
        let labels =
            Tensor::new(labels.into_iter().map(u32::from).collect::<Vec<_>>(), &Device::Cpu).unwrap();
        let features = net.features(&x, Mode::Train).unwrap();
        let loss =
            cross_entropy(&net.scores(&features.layer3, "head3", 4).unwrap(), &labels, &weights).unwrap();
        optimiser.backward_step(&loss).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    asset::write(&path, &net.exported().unwrap(), &BTreeMap::new()).unwrap();
    (losses, std::fs::read(path).unwrap())
}

#[test]
fn the_network_learns() {
    let (losses, _) = trained(8);
    assert!(losses[7] < 0.6 * losses[0], "{losses:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let with = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(|| trained(3));
    let (one, three) = (with(1), with(3));
    assert_eq!(
        one.0.iter().map(|l| l.to_bits()).collect::<Vec<_>>(),
        three.0.iter().map(|l| l.to_bits()).collect::<Vec<_>>()
    );
    assert!(one.1 == three.1, "the files differ");
}

#[test]
fn what_is_written_can_be_read() {
    let net = Net::new(3, 20).unwrap();
    let tensors = round(net.exported().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let metadata = BTreeMap::from([("mean".to_owned(), "[0.5, 0.5, 0.5]".to_owned())]);
    asset::write(&path, &tensors, &metadata).unwrap();
    let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(read.len(), tensors.len());
    for (name, tensor) in &tensors {
        let got = read[name].to_dtype(DType::F32).unwrap();
        assert_eq!(got.dims(), tensor.dims());
        assert_eq!(
            got.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }
}

/// The teacher that everybody uses gives what the network gave that was trained.
#[test]
fn the_asset_gives_what_was_trained() {
    let read = candle_core::safetensors::load(asset(), &Device::Cpu).unwrap();
    let net = Net::new(0, 20).unwrap();
    net.import(&read.into_iter().collect()).unwrap();
    let apart = apart_from_teacher(&asset(), &net, &frames(), 2).unwrap();
    assert!(apart < TOLERANCE, "{apart}");
}

#[test]
fn the_asset_is_small() {
    assert!(std::fs::metadata(asset()).unwrap().len() <= 1_500_000);
}
