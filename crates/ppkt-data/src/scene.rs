//! One scene: a cloud and the views that see it.

use image::RgbImage;
use ppkt_geometry::{CameraModel, DepthMap, Rigid3, frame};

/// Points with colour, and classes where the dataset has them. All lists have one entry a point.
///
/// Points are what was measured. Of a depth camera only those are in the cloud that a photograph shows: one beside the
/// picture, or hidden from the colour camera where that is not the depth camera, has no colour. Of a LiDAR all are.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// Positions in the world frame of the scene, metres. In every dataset of this crate z is up in it, as far as the
    /// data tells: frames without poses or gravity count as taken by a level camera.
    pub points: Vec<[f32; 3]>,
    /// Red, green and blue, each 0 to 1: the sRGB bytes of the photograph over 255. Mid-grey for points of a LiDAR
    /// that no photograph shows.
    pub colours: Vec<[f32; 3]>,
    /// How strongly each point sent the pulse of a LiDAR back, 0 to 1; `None` if no LiDAR measured the points.
    pub intensity: Option<Vec<f32>>,
    /// Class of each point, 0 where unlabelled; `None` if the dataset has no labels.
    pub classes: Option<Vec<u16>>,
}

impl Cloud {
    /// Keeps the points listed, in that order.
    pub(crate) fn keep(&mut self, kept: &[u32]) {
        self.points = kept.iter().map(|&i| self.points[i as usize]).collect();
        self.colours = kept.iter().map(|&i| self.colours[i as usize]).collect();
        if let Some(intensity) = &mut self.intensity {
            *intensity = kept.iter().map(|&i| intensity[i as usize]).collect();
        }
        if let Some(classes) = &mut self.classes {
            *classes = kept.iter().map(|&i| classes[i as usize]).collect();
        }
    }
}

/// One photograph with its camera and pose.
#[derive(Clone, Debug)]
pub struct View {
    /// The photograph.
    pub image: RgbImage,
    /// The camera that took it, for `image` at its size.
    pub camera: CameraModel,
    /// Pose of that camera in the world frame of the scene.
    pub world_from_camera: Rigid3<frame::World, frame::Camera>,
    /// Depth registered to *this* camera and image size, where there is one: it decides what is hidden.
    pub depth: Option<DepthMap>,
    /// Class of each pixel, row-major, 0 where unlabelled; `None` if the dataset has no labels.
    pub classes: Option<Vec<u16>>,
}

/// A cloud and its views. A single RGB-D frame is a cloud with one view, a fused scan or a LiDAR sweep has many.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Name of the frame or scan, as a user finds it on disk.
    pub name: String,
    /// What the 3D network sees.
    pub cloud: Cloud,
    /// What the 2D network sees.
    pub views: Vec<View>,
}
