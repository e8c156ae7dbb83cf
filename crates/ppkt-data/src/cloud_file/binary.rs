//! Lists of LiDAR points without a header, as KITTI and nuScenes have them: 32-bit numbers, little-endian.

use super::{CloudFileOptions, Table, names_of_columns};
use crate::PlyColumn;

/// A kilometre is beyond every sensor's range: other numbers, or other bytes.
const FARTHEST_M: f32 = 1e3;

/// The points; `ring` says that the file is named as nuScenes' are.
pub(super) fn table(bytes: &[u8], ring: bool, options: &CloudFileOptions) -> Result<Table, String> {
    let mut notes = Vec::new();
    let usual: (&[&str], f32) = match ring {
        true => (&["x", "y", "z", "intensity", "_"], 255.0),
        false => (&["x", "y", "z", "intensity"], 1.0),
    };
    let (names, intensity_max) = if options.columns.is_empty() {
        (usual.0.iter().map(|n| (*n).to_owned()).collect(), Some(usual.1))
    } else {
        (names_of_columns(options.columns.len(), options, &mut notes)?, None)
    };
    let size = 4 * names.len();
    if !bytes.len().is_multiple_of(size) {
        return Err(format!(
            "it has {} bytes, no multiple of the {size} of a point ({}); it is cut off, or its columns are others and \
             have to be named",
            bytes.len(),
            names.join(", ")
        ));
    }
    let len = bytes.len() / size;
    let columns: Vec<(String, PlyColumn)> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| *name != "_")
        .map(|(i, name)| {
            let values = bytes.chunks_exact(size).map(|point| {
                let [a, b, c, d] = [0, 1, 2, 3].map(|k| point[4 * i + k]);
                f32::from_le_bytes([a, b, c, d])
            });
            (name.clone(), PlyColumn::F32(values.collect()))
        })
        .collect();
    for (name, column) in &columns {
        let (PlyColumn::F32(values), "x" | "y" | "z") = (column, name.as_str()) else { continue };
        if let Some(i) = values.iter().position(|v| !(-FARTHEST_M..=FARTHEST_M).contains(v)) {
            return Err(format!(
                "{name} of point {i} is {}, which no sensor sees; it is damaged, or its columns are others than {}",
                values[i],
                names.join(", ")
            ));
        }
    }
    Ok(Table { len, columns, notes, intensity_max })
}
