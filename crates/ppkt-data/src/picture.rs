//! Pictures by which a person sees whether depth and photograph fit.

use image::{Rgb, RgbImage};
use ppkt_geometry::DepthMap;

use crate::{LinkConfig, Scene, View, link};

/// A step in depth counts as an edge beyond this share of the depth, plus [`EDGE_ABSOLUTE_M`]: more than noise,
/// quantisation (39 mm in NYU) and the slope of a floor.
const EDGE_RELATIVE: f32 = 0.05;
const EDGE_ABSOLUTE_M: f32 = 0.03;

/// A step may have a hole in it this wide: sensors lose depth beside near objects.
const HOLE_PX: usize = 8;

/// Pixels at the near side of a step in depth: the outlines of objects as the depth sensor saw them.
///
/// Row-major indices. Holes by themselves make no edge.
pub(crate) fn depth_edges(depth: &DepthMap) -> Vec<usize> {
    let (width, height) = (depth.width() as usize, depth.height() as usize);
    let metres = depth.metres();
    let mut edge = vec![false; metres.len()];
    // Along a line of pixels, each measurement is compared with the one before it.
    let mut walk = |line: &mut dyn Iterator<Item = usize>| {
        let mut before: Option<(usize, usize)> = None;
        for (step, at) in line.enumerate().filter(|(_, at)| !metres[*at].is_nan()) {
            if let Some((step_before, at_before)) = before.replace((step, at))
                && step - step_before <= HOLE_PX + 1
            {
                let (x, y) = (metres[at_before], metres[at]);
                if (x - y).abs() > EDGE_ABSOLUTE_M + EDGE_RELATIVE * x.min(y) {
                    edge[if x < y { at_before } else { at }] = true;
                }
            }
        }
    };
    for row in 0..height {
        walk(&mut (row * width..(row + 1) * width));
    }
    for col in 0..width {
        walk(&mut (col..width * height).step_by(width));
    }
    (0..edge.len()).filter(|i| edge[*i]).collect()
}

/// The outlines of objects in the depth image, drawn over the photograph of the first view.
///
/// Where the two are registered, the coloured lines lie on the outlines in the photograph; lines that run beside them,
/// farther and farther towards one side, tell of a missing or wrong calibration. The photograph is drawn pale, and
/// darker where there is no depth.
///
/// For a view without depth, as a LiDAR's, the points that it sees are drawn, red near over yellow and green to blue
/// far: those on an object must lie on it in the photograph. `None` if the scene has no view.
pub fn draw_registration(scene: &Scene) -> Option<RgbImage> {
    const LINE: Rgb<u8> = Rgb([255, 40, 120]);
    let view = scene.views.first()?;
    let Some(depth) = view.depth.as_ref() else { return Some(draw_points(scene, view)) };
    let mut picture = view.image.clone();
    for (pixel, metres) in picture.pixels_mut().zip(depth.metres()) {
        let grey = pixel.0.iter().map(|c| u32::from(*c)).sum::<u32>() / 3;
        let shade = if metres.is_nan() { 45 } else { 80 };
        pixel.0 = pixel.0.map(|c| ((u32::from(c) + 2 * grey) / 3 * shade / 100 + 30).min(255) as u8);
    }
    let (width, height) = picture.dimensions();
    // Two pixels wide where there is room, to be seen on a large screen.
    let thick = if width >= 480 { 2 } else { 1 };
    for at in depth_edges(depth) {
        let (col, row) = ((at % width as usize) as u32, (at / width as usize) as u32);
        for (x, y) in (0..thick * thick).map(|i| (col + i % thick, row + i / thick)) {
            if x < width && y < height {
                picture.put_pixel(x, y, LINE);
            }
        }
    }
    Some(picture)
}

/// The points that the first view sees, over its photograph.
fn draw_points(scene: &Scene, view: &View) -> RgbImage {
    let mut picture = view.image.clone();
    picture.pixels_mut().for_each(|p| p.0 = p.0.map(|c| (u32::from(c) * 6 / 10) as u8));
    let centre = view.world_from_camera.translation();
    let distance = |p: [f32; 3]| {
        let d = [f64::from(p[0]) - centre.x, f64::from(p[1]) - centre.y, f64::from(p[2]) - centre.z];
        d.iter().map(|c| c * c).sum::<f64>().sqrt() as f32
    };
    let links = link(scene, &LinkConfig::default());
    let own = links.iter().filter(|l| l.view == 0);
    let mut dots: Vec<(f32, u32, u32)> =
        own.map(|l| (distance(scene.cloud.points[l.point as usize]), l.u as u32, l.v as u32)).collect();
    // Far ones first, so that near ones lie over them.
    dots.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (width, height) = picture.dimensions();
    for (metres, col, row) in dots {
        for (x, y) in [(col, row), (col + 1, row), (col, row + 1), (col + 1, row + 1)] {
            if x < width && y < height {
                picture.put_pixel(x, y, colour_of(metres));
            }
        }
    }
    picture
}

/// Red at 2 m over yellow and green to blue at 80 m, even steps in the logarithm.
fn colour_of(metres: f32) -> Rgb<u8> {
    let share = ((metres / 2.0).max(1e-3).ln() / 40f32.ln()).clamp(0.0, 1.0);
    let channel = |peak: f32| (255.0 * (1.5 - (4.0 * share - peak).abs()).clamp(0.0, 1.0)) as u8;
    Rgb([channel(0.5), channel(1.8), channel(3.7)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_on_the_near_side_of_a_step() {
        let nan = f32::NAN;
        let map = DepthMap::from_metres(4, 2, vec![1.0, 1.0, 2.0, nan, 1.0, 1.02, 2.0, 2.0]).unwrap();
        // The step from 1 to 2 in both rows; the hole in the first row makes none.
        assert_eq!(depth_edges(&map), [1, 5]);
        // A step with a hole in it.
        let map = DepthMap::from_metres(5, 1, vec![1.0, nan, nan, 2.0, 2.0]).unwrap();
        assert_eq!(depth_edges(&map), [0]);
        let map = DepthMap::from_metres(3, 1, vec![1.0, nan, 1.01]).unwrap();
        assert!(depth_edges(&map).is_empty());
        assert!(depth_edges(&DepthMap::empty(3, 3)).is_empty());
    }
}
