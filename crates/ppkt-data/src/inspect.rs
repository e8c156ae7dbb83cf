//! What a dataset is, at a glance.

use serde::Serialize;

use crate::readers::about;
use crate::{Classes, DataError, DataUri, Scene, Split};

/// The answer of [`inspect`].
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The URI, as it was understood.
    pub uri: String,
    /// The dataset's full name.
    pub title: String,
    /// What its owners are known to say about its use.
    pub licence: String,
    /// Frames for training.
    pub train: usize,
    /// Frames held out.
    pub validation: usize,
    /// Names and colours of the classes, if there are labels.
    pub classes: Option<Classes>,
    /// Digest of what the dataset is.
    pub fingerprint: String,
    /// What a user should know about how it is read.
    pub notes: Vec<String>,
    /// The first frame.
    pub first: FrameSummary,
}

/// One frame in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameSummary {
    /// Its name.
    pub name: String,
    /// Points of the cloud.
    pub points: usize,
    /// Smallest and largest coordinate of the cloud on each axis, metres.
    pub bounds_m: [[f32; 2]; 3],
    /// The views.
    pub views: Vec<ViewSummary>,
}

/// One view in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewSummary {
    /// Width and height, pixels.
    pub size: [u32; 2],
    /// fx, fy, cx, cy, pixels; the centre of the first pixel is (0.5, 0.5).
    pub intrinsics: [f64; 4],
    /// The lens model and its coefficients.
    pub lens: String,
    /// Position of the camera in the world, metres.
    pub position_m: [f64; 3],
    /// Share of the pixels with depth, if there is a depth map.
    pub depth: Option<f64>,
    /// Nearest and farthest depth, metres.
    pub depth_m: Option<[f32; 2]>,
}

/// Opens a dataset and looks at its first frame.
///
/// # Errors
/// If it cannot be opened, or the first frame cannot be read: [`crate::verify`] then says more.
pub fn inspect(uri: &DataUri) -> Result<Inspection, DataError> {
    let all = uri.open(Split::All)?;
    // An empty part is a fact here, and no error.
    let count = |split| match uri.open(split) {
        Ok(part) => Ok(part.len()),
        Err(DataError::EmptySplit { .. }) => Ok(0),
        Err(other) => Err(other),
    };
    let (title, licence) = about(uri.scheme())?;
    Ok(Inspection {
        uri: uri.to_string(),
        title,
        licence,
        train: count(Split::Train)?,
        validation: count(Split::Validation)?,
        classes: all.classes().cloned(),
        fingerprint: all.fingerprint()?,
        notes: all.notes().to_vec(),
        first: FrameSummary::of(&all.sample(0)?),
    })
}

impl FrameSummary {
    /// A scene in numbers.
    pub fn of(scene: &Scene) -> Self {
        let points = &scene.cloud.points;
        let bound = |axis: usize, start: f32, pick: fn(f32, f32) -> f32| {
            points.iter().map(|p| p[axis]).fold(start, pick)
        };
        let bounds = |axis| [bound(axis, f32::INFINITY, f32::min), bound(axis, f32::NEG_INFINITY, f32::max)];
        let views = scene.views.iter().map(|view| {
            let camera = &view.camera;
            let metres = view.depth.as_ref().map(|d| d.metres().iter().copied().filter(|m| !m.is_nan()));
            ViewSummary {
                size: view.image.dimensions().into(),
                intrinsics: [camera.fx(), camera.fy(), camera.cx(), camera.cy()],
                lens: format!("{:?}", camera.lens()),
                position_m: view.world_from_camera.to_matrix4().column(3).as_slice()[..3]
                    .try_into()
                    .unwrap_or_default(),
                depth: view.depth.as_ref().map(|d| d.n_valid() as f64 / d.metres().len().max(1) as f64),
                depth_m: metres
                    .and_then(|m| m.map(|d| [d, d]).reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])),
            }
        });
        let bounds_m = if points.is_empty() { [[0.0; 2]; 3] } else { [0, 1, 2].map(bounds) };
        Self { name: scene.name.clone(), points: points.len(), bounds_m, views: views.collect() }
    }
}
