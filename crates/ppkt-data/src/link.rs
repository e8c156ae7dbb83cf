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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cloud, View};
    use image::RgbImage;
    use ppkt_geometry::{CameraModel, DepthMap, Point3, Rigid3, frame};

    const SIZE: [u32; 2] = [64, 48];

    fn camera() -> CameraModel {
        CameraModel::pinhole_opencv(SIZE[0], SIZE[1], 60.0, 60.0, 31.5, 23.5).unwrap()
    }

    fn view(x: f64, depth: Option<DepthMap>) -> View {
        View {
            image: RgbImage::new(SIZE[0], SIZE[1]),
            camera: camera(),
            world_from_camera: Rigid3::from_tum([x, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).unwrap(),
            depth,
            classes: None,
        }
    }

    /// A wall 3 m ahead of the first camera, and before its middle a board 2 m ahead.
    fn scene(views: Vec<View>) -> (Scene, u32) {
        let mut points = Vec::new();
        for (z, half) in [(3.0f32, 1.5f32), (2.0, 0.3)] {
            let n = (half / 0.02) as i32;
            for i in -n..=n {
                points.extend((-n..=n).map(|j| [i as f32 * 0.02, j as f32 * 0.02, z]));
            }
        }
        let n_wall = points.iter().filter(|p| p[2] == 3.0).count() as u32;
        let colours = vec![[0.5; 3]; points.len()];
        (Scene { name: "wall".into(), cloud: Cloud { points, colours, ..Cloud::default() }, views }, n_wall)
    }

    /// The middle of the wall, well behind the board as the first camera sees it.
    fn is_hidden(p: [f32; 3]) -> bool {
        p[2] == 3.0 && p[0].abs() < 0.38 && p[1].abs() < 0.38
    }

    #[test]
    fn pixels_are_where_the_camera_says_and_hidden_points_have_none() {
        let (scene, n_wall) = scene(vec![view(0.0, None), view(-1.0, None)]);
        let links = link(&scene, &LinkConfig::default());
        for l in &links {
            let p: Point3<frame::World> = Point3::from_f32(scene.cloud.points[l.point as usize]);
            let view = &scene.views[l.view as usize];
            let pixel = view.camera.project(view.world_from_camera.inverse() * p).unwrap();
            let off = (f64::from(l.u) - pixel.u).abs().max((f64::from(l.v) - pixel.v).abs());
            assert!(off < 1e-4, "{l:?} {pixel:?}");
        }
        let seen = |view: u32| {
            let own = links.iter().filter(move |l| l.view == view);
            own.map(|l| scene.cloud.points[l.point as usize]).collect::<Vec<_>>()
        };
        assert!(seen(0).iter().all(|&p| !is_hidden(p)), "a hidden point was linked");
        assert!(seen(1).iter().any(|&p| is_hidden(p)), "from the side, part of the hidden wall is seen");
        assert!(links.iter().filter(|l| l.view == 0 && l.point >= n_wall).count() > 500, "the board is seen");
        assert!(links.is_sorted_by_key(|l| (l.view, l.point)));
    }

    #[test]
    fn a_depth_map_decides_where_there_is_one() {
        // The sensor saw the wall everywhere, and nothing in the left half.
        let metres = (0..SIZE[0] * SIZE[1]).map(|k| if k % SIZE[0] < 32 { f32::NAN } else { 3.0 }).collect();
        let depth = DepthMap::from_metres(SIZE[0], SIZE[1], metres).unwrap();
        let (scene, n_wall) = scene(vec![view(0.0, Some(depth))]);
        let links = link(&scene, &LinkConfig::default());
        assert!(!links.is_empty());
        assert!(links.iter().all(|l| l.u >= 32.0 && l.point < n_wall));
    }

    #[test]
    fn nothing_sees_nothing() {
        let (mut scene, _) = scene(vec![view(0.0, None)]);
        scene.cloud = Cloud::default();
        assert!(link(&scene, &LinkConfig::default()).is_empty());
        scene.views.clear();
        assert!(link(&scene, &LinkConfig::default()).is_empty());
    }
}
