//! Embeddings of points: as rows, as colours, as files.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::error::{Result, TrainError};
use crate::observer::Observer;
use crate::pca::ColourBasis;
use crate::run_folder::replace_whole;

/// Rows that principal components are found from, at most.
const FIT_ROWS: usize = 20_000;
/// Points whose rows are written between two tellings of progress.
const POINTS_AT_ONCE: usize = 1 << 16;
/// Name of the tensor in a safetensors file.
const TENSOR: &str = "features";

/// An embedding of each point of a cloud, in the order of its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// `[voxels, dimensions]`, row-major.
    pub(super) rows: Vec<f32>,
    pub(super) dimensions: usize,
    pub(super) voxel_of_point: Vec<u32>,
    /// What they were made with, for files that can hold it.
    pub(super) metadata: BTreeMap<String, String>,
}

/// Finds from the name of a file of embeddings in which format it is to be.
///
/// # Errors
/// [`TrainError::Config`] if it ends in neither `.npy` nor `.safetensors`.
pub fn check_feature_file(path: &Path) -> Result<()> {
    Format::of(path).map(|_| ())
}

enum Format {
    Npy,
    Safetensors,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            _ => Err(TrainError::Config(format!(
                "features are written as .npy or .safetensors, which the name has to end in: {path:?}"
            ))),
        }
    }
}

impl Embeddings {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.voxel_of_point.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.voxel_of_point.is_empty()
    }

    /// Numbers of a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Voxels that the points lie in.
    pub fn n_voxels(&self) -> usize {
        self.rows.len() / self.dimensions.max(1)
    }

    /// The embedding of a point.
    ///
    /// # Panics
    /// If there is no such point.
    pub fn row(&self, point: usize) -> &[f32] {
        self.of_voxel(self.voxel_of_point[point] as usize)
    }

    fn of_voxel(&self, voxel: usize) -> &[f32] {
        &self.rows[voxel * self.dimensions..][..self.dimensions]
    }

    /// A colour for each point: the first three principal components of the embeddings' directions (rows of length 1)
    /// as red, green and blue.
    ///
    /// # Errors
    /// [`TrainError::Config`] if there are too few dimensions or voxels to find components.
    pub fn colours(&self) -> Result<Vec<[u8; 3]>> {
        let unit = |voxel: usize| {
            let row = self.of_voxel(voxel);
            let length = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt().max(1e-12);
            row.iter().map(move |v| (f64::from(*v) / length) as f32)
        };
        let step = self.n_voxels().div_ceil(FIT_ROWS).max(1);
        let some: Vec<f32> = (0..self.n_voxels()).step_by(step).flat_map(unit).collect();
        let basis = ColourBasis::fit(&some, self.dimensions).ok_or_else(|| {
            TrainError::Config(format!(
                "{} dimensions of {} voxels are too few to be shown as colours; take another layer, or a larger cloud",
                self.dimensions,
                self.n_voxels()
            ))
        })?;
        let colour = |voxel| basis.colour(&unit(voxel).collect::<Vec<f32>>());
        let colours: Vec<[u8; 3]> = (0..self.n_voxels()).into_par_iter().map(colour).collect();
        Ok(self.voxel_of_point.iter().map(|&voxel| colours[voxel as usize]).collect())
    }

    /// Writes one row of 32-bit numbers a point, `[points, dimensions]`: as `.npy`, or as the tensor `features` of a
    /// `.safetensors` with what it was made with. The file appears whole or not at all, and is never in memory whole.
    ///
    /// # Errors
    /// [`TrainError::Config`] for another ending; [`TrainError::Io`].
    pub fn write(&self, path: &Path, observer: &mut dyn Observer) -> Result<()> {
        let format = Format::of(path)?;
        let written = replace_whole(path, |file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            match format {
                Format::Npy => out.write_all(&self.npy_header())?,
                Format::Safetensors => out.write_all(&self.safetensors_header()?)?,
            }
            self.write_rows(&mut out, observer)?;
            out.flush()
        });
        written.map_err(|e| TrainError::output("write the features", path, e))
    }

    /// As numpy writes it, to the letter: not every reader takes a comma after the last axis.
    fn npy_header(&self) -> Vec<u8> {
        let shape = format!("({}, {})", self.len(), self.dimensions);
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        // With the ten bytes before it and the line break a multiple of 64.
        let width = (header.len() + 11).next_multiple_of(64) - 11;
        header += &" ".repeat(width - header.len());
        header.push('\n');
        let length = (header.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes()].concat()
    }

    /// The crate `safetensors` wants all of a tensor at once, so the few bytes before it are written here.
    fn safetensors_header(&self) -> io::Result<Vec<u8>> {
        let bytes = 4 * self.len() as u64 * self.dimensions as u64;
        let tensor = serde_json::json!({
            "dtype": "F32", "shape": [self.len(), self.dimensions], "data_offsets": [0, bytes],
        });
        let header =
            BTreeMap::from([("__metadata__", serde_json::to_value(&self.metadata)?), (TENSOR, tensor)]);
        let mut header = serde_json::to_vec(&header)?;
        // The format wants the data to begin at a multiple of 8.
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes(), header.as_slice()].concat())
    }

    fn write_rows(&self, out: &mut impl Write, observer: &mut dyn Observer) -> io::Result<()> {
        const TASK: &str = "writing";
        let mut bytes = Vec::with_capacity(4 * self.dimensions);
        for (part, voxels) in self.voxel_of_point.chunks(POINTS_AT_ONCE).enumerate() {
            observer.progress(TASK, (part * POINTS_AT_ONCE) as u64, self.len() as u64);
            for &voxel in voxels {
                bytes.clear();
                self.of_voxel(voxel as usize).iter().for_each(|v| bytes.extend(v.to_le_bytes()));
                out.write_all(&bytes)?;
            }
        }
        observer.progress_done(TASK);
        Ok(())
    }
}
