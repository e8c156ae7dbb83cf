//! What the cases are measured on: the peers' own files where there are some, else surfaces of a room made here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use safetensors::SafeTensors;

#[path = "../../../crates/ppkt-sparse/benches/room/mod.rs"]
mod room;

/// Where inputs come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    /// A folder with the files that the peers' `workloads.py` makes.
    pub(super) folder: Option<PathBuf>,
}

/// Voxels, and what they are called.
pub(super) struct VoxelSet {
    /// Distinct voxels: batch, x, y, z.
    pub(super) coords: Vec<[i32; 4]>,
    /// The file's name, or `room`.
    pub(super) name: String,
}

/// Sizes of voxel sets that the peers have a file for.
const FILES: [(usize, &str); 2] = [(20_000, "room5cm_b1_20k"), (100_000, "room2cm_b1_100k")];

impl Inputs {
    /// About so many surface voxels, in the order of their file or of no use to anyone.
    pub(super) fn voxels(&self, n: usize) -> Result<VoxelSet> {
        let file = FILES.iter().find(|(size, _)| *size == n).zip(self.folder.as_ref());
        let Some(((_, name), folder)) = file else {
            return Ok(VoxelSet { coords: room::room(n), name: "room".to_owned() });
        };
        let values = Numbers::read(&folder.join(name), "coords")?.i32s()?;
        let coords = values.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect();
        Ok(VoxelSet { coords, name: (*name).to_owned() })
    }

    /// 300,000 points, metres: those of the peers, or on the walls of a room of 6 by 5 by 3 m.
    pub(super) fn points(&self) -> Result<Vec<[f32; 3]>> {
        let Some(folder) = &self.folder else {
            let mut noise = Noise::new(2);
            let sides = [6.0, 3.0, 5.0];
            let point = |i: usize| {
                let mut p = sides.map(|side: f32| side * (0.5 + 0.5 * noise.next()));
                p[i % 3] = if i.is_multiple_of(2) { 0.0 } else { sides[i % 3] };
                p
            };
            return Ok((0..300_000).map(point).collect());
        };
        let values = Numbers::read(&folder.join("points_300k"), "points")?.f32s()?;
        Ok(values.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
    }
}

/// A tensor of a file, as bytes.
struct Numbers {
    path: PathBuf,
    dtype: safetensors::Dtype,
    bytes: Vec<u8>,
}

impl Numbers {
    /// Reads `stem.safetensors`.
    fn read(stem: &Path, tensor: &str) -> Result<Self> {
        let path = stem.with_extension("safetensors");
        let file = std::fs::read(&path).with_context(|| {
            format!("the peers' workloads.py makes this file, and it cannot be read: {path:?}")
        })?;
        let tensors =
            SafeTensors::deserialize(&file).with_context(|| format!("not a safetensors file: {path:?}"))?;
        let view = tensors.tensor(tensor).with_context(|| format!("no tensor {tensor:?}: {path:?}"))?;
        Ok(Self { dtype: view.dtype(), bytes: view.data().to_vec(), path })
    }

    fn of<const N: usize, T>(
        &self,
        dtype: safetensors::Dtype,
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        if self.dtype != dtype {
            bail!("{:?} where {dtype:?} is expected: {:?}", self.dtype, self.path);
        }
        let (values, _) = self.bytes.as_chunks::<N>();
        Ok(values.iter().map(|&v| from(v)).collect())
    }

    fn i32s(&self) -> Result<Vec<i32>> {
        self.of(safetensors::Dtype::I32, i32::from_le_bytes)
    }

    fn f32s(&self) -> Result<Vec<f32>> {
        self.of(safetensors::Dtype::F32, f32::from_le_bytes)
    }
}

/// Numbers that look random and are the same everywhere (xorshift).
pub(super) struct Noise(u64);

impl Noise {
    /// A sequence.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Between -1 and 1.
    pub(super) fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// So many of them.
    pub(super) fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs { folder: Some(folder.path().to_owned()) };
        let error = format!("{:#}", inputs.voxels(20_000).err().unwrap());
        assert!(error.contains("room5cm_b1_20k.safetensors"), "{error}");
        std::fs::write(folder.path().join("room5cm_b1_20k.safetensors"), b"nonsense").unwrap();
        let error = format!("{:#}", inputs.voxels(20_000).err().unwrap());
        assert!(error.contains("not a safetensors file"), "{error}");
    }

    #[test]
    fn rooms_have_about_the_voxels_asked_for_and_none_twice() {
        let set = Inputs::default().voxels(20_000).unwrap().coords;
        assert!(set.len().abs_diff(20_000) < 1_000, "{}", set.len());
        let distinct: std::collections::BTreeSet<_> = set.iter().collect();
        assert_eq!(distinct.len(), set.len());
    }
}
