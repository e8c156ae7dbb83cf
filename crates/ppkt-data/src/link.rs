//! Which pixel of which photograph sees which point: geometry decides, nothing is stored.

use ppkt_geometry::{Visibility, observe, observe_with_depth};
use serde::{Deserialize, Serialize};

use crate::{DataError, Scene, setting};

/// A point and the place in a photograph where it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Which view of the scene.
    pub view: u32,
    /// Which point of the cloud.
    pub point: u32,
    /// To the right, pixels of the view's photograph; the centre of the first pixel is at 0.5.
    pub u: f32,
    /// Down, pixels of the view's photograph; the centre of the first pixel is at 0.5.
    pub v: f32,
}

/// When a point counts as seen rather than hidden behind something nearer.
///
/// A view that carries a depth map decides by it; another one by a z-buffer of the cloud itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// A point may lie behind the surface that a pixel sees by this much, metres.
    pub tolerance_m: f32,
    /// … plus this share of the surface's depth (the error of depth sensors grows with it).
    pub tolerance_share: f32,
    /// In the z-buffer a point covers a square of this many pixels to each side of its own, so that a near surface
    /// that is sampled more coarsely than the photograph hides what lies behind it.
    pub splat_px: u32,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { tolerance_m: 0.05, tolerance_share: 0.02, splat_px: 1 }
    }
}

impl LinkConfig {
    /// # Errors
    /// If a value cannot be meant.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        setting::amount("link.tolerance_m", self.tolerance_m)?;
        setting::amount("link.tolerance_share", self.tolerance_share)?;
        setting::require(self.splat_px <= 16, "link.splat_px", &self.splat_px, "at most 16")
    }
}

/// Projects every point into every view and keeps the places where it is seen, by view and then by point.
///
/// A point that several views see has several links; one that none sees has none.
pub fn link(scene: &Scene, config: &LinkConfig) -> Vec<Link> {
    let visibility = Visibility {
        absolute_m: config.tolerance_m,
        relative: config.tolerance_share,
        splat_px: config.splat_px,
    };
    let points = &scene.cloud.points;
    let mut links = Vec::new();
    for (view_idx, view) in scene.views.iter().enumerate() {
        let camera_from_world = view.world_from_camera.inverse();
        let seen = match &view.depth {
            Some(depth) => observe_with_depth(points, &camera_from_world, &view.camera, depth, &visibility),
            None => observe(points, &camera_from_world, &view.camera, Some(&visibility)),
        };
        links.extend(seen.iter().map(|o| Link {
            view: view_idx as u32,
            point: o.point,
            u: o.pixel.u as f32,
            v: o.pixel.v as f32,
        }));
    }
    links
}
