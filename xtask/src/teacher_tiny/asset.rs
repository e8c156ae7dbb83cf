//! The files that are left behind: the weights, and the README beside them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

/// Writes half-precision tensors and metadata as a safetensors file. The `safetensors` crate keeps metadata in a hash
/// map, whose order changes from run to run; here the same numbers give the same bytes.
pub(crate) fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        for value in tensor.to_dtype(DType::F16)?.flatten_all()?.to_vec1::<half::f16>()? {
            data.extend_from_slice(&value.to_le_bytes());
        }
        header.insert(
            name.clone(),
            serde_json::json!({"dtype": "F16", "shape": tensor.dims(), "data_offsets": [start, data.len()]}),
        );
    }
    let mut text = serde_json::to_vec(&header)?;
    // Data begin at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.extend(data);
    std::fs::write(path, bytes).with_context(|| format!("cannot write {path:?}"))
}

/// What a run was and what came of it.
pub(crate) struct Facts {
    pub(crate) command: String,
    pub(crate) seed: u64,
    pub(crate) n_frames: usize,
    pub(crate) n_held_out: usize,
    pub(crate) steps: u64,
    pub(crate) batch: usize,
    pub(crate) minutes: f64,
    pub(crate) accuracy: f64,
    pub(crate) mean_iou: f64,
    /// Intersection over union by class; none where the held-out frames have no such class.
    pub(crate) iou: Vec<(String, Option<f64>)>,
    pub(crate) n_parameters: usize,
    pub(crate) bytes: u64,
}

/// The README beside the weights.
pub(crate) fn readme(f: &Facts) -> String {
    let classes: Vec<String> = f
        .iou
        .iter()
        .map(|(name, iou)| iou.map_or(format!("{name} –"), |v| format!("{name} {:.0}", 100.0 * v)))
        .collect();
    format!(
        "# tiny.safetensors

The embedded teacher, `builtin:tiny`: a small residual network with torchvision's names, trained here on 2D labels of
rendered rooms. It exists so that the demo and the tests need no download. For real data take a real network.

| | |
| --- | --- |
| architecture | 7×7 stem with pooling, basic blocks 2-2-2 of 32, 64 and 128 channels; layer2 has stride 8, layer3 stride 16 |
| parameters | {} ({} bytes, f16) |
| input | RGB, `(x / 255 - 0.5) / 0.25` |
| held-out pixel accuracy | {:.1} % |
| held-out mean IoU | {:.1} % |

Measured on {} frames of rooms that it was not trained on, whole frames of 256 × 192, labels at every fourth pixel, after
rounding to f16, from layer3. IoU by class, in per cent: {}.

## Recipe

```text
{}
```

- Seed {}. Training frames: one of each of {} rooms, 256 × 192, from `Rooms::for_teacher_training`, whose random streams
  no other use of the rooms can reach: nobody else ever renders a room that this network has seen.
- {} steps of {} crops of 160 × 128 (zoom 0.5 to 1, flip, brightness, contrast, saturation, white balance), AdamW with
  weight decay, the learning rate rising linearly at first and falling as a cosine.
- Loss: cross-entropy, rare classes weighted up, of the classes at stride 4, predicted from each cell of layer3 (4 × 4
  labels a cell) and of layer2 (2 × 2): a cell must know not only what it shows but where in it. The two linear heads
  are not kept.
- It took {:.0} minutes here. The same command gives the same bytes on the same kind of processor.
",
        f.n_parameters,
        f.bytes,
        100.0 * f.accuracy,
        100.0 * f.mean_iou,
        f.n_held_out,
        classes.join(", "),
        f.command,
        f.seed,
        f.n_frames,
        f.steps,
        f.batch,
        f.minutes,
    )
}
