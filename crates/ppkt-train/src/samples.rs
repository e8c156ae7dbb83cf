//! Clouds that a run leaves for its page: points of held-out frames, each with the colours it can be shown in.

use std::fs;
use std::path::{Path, PathBuf};

use ppkt_data::{Loader, Pair, SampleCloud};

use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::model::{Input, Model, Pass};
use crate::pca::ColourBasis;
use crate::pictures::{file_name, numbered};
use crate::run_folder::write_atomically;
use crate::validation::HeldOutFrame;

/// Clouds of a run: more make the page heavy.
const MOST_SAMPLES: usize = 4;

/// Writes a cloud as `NAME.ply` into the folder `samples` of a run, which is made if need be.
///
/// `name` is made safe for a file name. A cloud of more than [`SampleCloud::MOST_POINTS`] points is the caller's to
/// thin ([`SampleCloud::thinned`]), before it computes what they are to show.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If a list of the cloud has another length than there are points.
pub fn write_sample(folder: &Path, name: &str, cloud: &SampleCloud) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(|e| TrainError::io("make the folder of samples", folder, e))?;
    let path = folder.join(format!("{}.ply", file_name(name)));
    let bytes = cloud.to_ply().to_bytes();
    write_atomically(&path, |f| std::io::Write::write_all(f, &bytes))?;
    Ok(path)
}

/// The first frames of a pretraining: photograph, teacher's and student's features on the points that pixels see.
pub(crate) fn of_pretraining(
    folder: &Path,
    frames: &[&HeldOutFrame],
    loader: &Loader,
    model: &Model,
    basis: &ColourBasis,
) -> Result<()> {
    let student = model.inference();
    for (number, frame) in frames.iter().take(MOST_SAMPLES).enumerate() {
        let cloud = cloud(frame, loader, model, &student, basis)?;
        write_sample(folder, &numbered(number, frame), &cloud)?;
    }
    Ok(())
}

fn cloud(
    frame: &HeldOutFrame,
    loader: &Loader,
    model: &Model,
    student: &Inference,
    basis: &ColourBasis,
) -> Result<SampleCloud> {
    let (batch, points) = loader.frame_with_points(frame.index)?;
    let kept = SampleCloud::thinned(batch.pairs.len());
    let pairs: Vec<Pair> = kept.iter().map(|&i| batch.pairs[i]).collect();
    let input = Input::new(&batch, model.device())?;
    let voxels = student.forward(&input.voxels)?;
    let colours = |embeddings| -> Result<Vec<[u8; 3]>> {
        let embeddings = ppkt_student::unit_norm(&embeddings)?;
        let dimensions = embeddings.dim(1)?;
        let rows: Vec<f32> = embeddings.flatten_all()?.to_vec1()?;
        Ok(rows.chunks_exact(dimensions).map(|row| basis.colour(row)).collect())
    };
    let photo = |pair: &Pair| {
        let image = &batch.images[pair.view as usize];
        let (width, height) = image.dimensions();
        image.get_pixel((pair.u as u32).min(width - 1), (pair.v as u32).min(height - 1)).0
    };
    Ok(SampleCloud {
        points: kept.iter().map(|&i| points.positions[i]).collect(),
        viewpoint: points.viewpoint,
        colours: Some(pairs.iter().map(photo).collect()),
        teacher: Some(colours(model.at_pixels(&frame.map, &pairs, Pass::Infer)?)?),
        student: Some(colours(Model::at_points(voxels.features(), &input, &pairs)?)?),
        ..SampleCloud::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_written_under_a_safe_name() {
        let dir = tempfile::tempdir().unwrap();
        let cloud = SampleCloud { points: vec![[1.0, 2.0, 3.0]], label: Some(vec![4]), ..Default::default() };
        let path = write_sample(&dir.path().join("samples"), "room 3/../a", &cloud).unwrap();
        assert_eq!(path, dir.path().join("samples/room_3_.._a.ply"));
        assert_eq!(SampleCloud::read(&path).unwrap(), cloud);
    }
}
