//! Whether depth and photograph fit: do edges of the one lie on edges of the other?
//!
//! Outlines of objects are steps in depth, and mostly in colour too. The mean colour gradient under the depth edges is
//! therefore highest where the two images are laid over one another rightly, and laying them over with all small
//! shifts shows where that is. A shift cannot undo a wrong focal length, but it moves too when that is wrong.

use ppkt_geometry::DepthMap;

use image::RgbImage;

use crate::Scene;
use crate::picture::depth_edges;

/// Shifts up to this are tried, pixels at 640 of width.
const REACH: i32 = 32;
/// In steps of this.
const STEP: i32 = 2;
const SIDE: usize = (2 * REACH / STEP + 1) as usize;
/// A frame with fewer depth edges says nothing.
const MIN_EDGES: usize = 400;

/// How well edges agree for every shift tried, summed over frames.
pub(crate) struct ShiftScores {
    scores: Vec<f64>,
    frames: usize,
}

impl ShiftScores {
    pub(crate) fn new() -> Self {
        Self { scores: vec![0.0; SIDE * SIDE], frames: 0 }
    }

    /// Adds a frame.
    pub(crate) fn add(&mut self, scene: &Scene) {
        let Some(view) = scene.views.first() else { return };
        let Some(depth) = &view.depth else { return };
        let edges = inner_edges(depth);
        if edges.len() < MIN_EDGES {
            return;
        }
        let (gradient, width) = (gradient(&view.image), view.image.width() as i32);
        let unit = unit(view.image.width());
        for (i, score) in self.scores.iter_mut().enumerate() {
            let [du, dv] = shift(i).map(|s| s * unit);
            let sum: f64 =
                edges.iter().map(|e| f64::from(gradient[(*e as i32 + dv * width + du) as usize])).sum();
            *score += sum / edges.len() as f64;
        }
        self.frames += 1;
    }

    /// The shift at which edges agree best, pixels at 640 of width, and how much better than without: 1 or more.
    pub(crate) fn best(&self) -> Option<([i32; 2], f64)> {
        if self.frames == 0 {
            return None;
        }
        let best = (0..self.scores.len()).max_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b]))?;
        Some((shift(best), self.scores[best] / self.scores[SIDE * SIDE / 2].max(f64::MIN_POSITIVE)))
    }

    /// How much more gradient there is under the depth edges than elsewhere: 1 is chance.
    pub(crate) fn contrast(&self) -> Option<f64> {
        let mean = self.scores.iter().sum::<f64>() / self.scores.len() as f64;
        (self.frames > 0 && mean > 0.0).then(|| self.scores[SIDE * SIDE / 2] / mean)
    }
}

fn shift(index: usize) -> [i32; 2] {
    [index % SIDE, index / SIDE].map(|i| i as i32 * STEP - REACH)
}

/// Pixels for one pixel at 640 of width.
fn unit(width: u32) -> i32 {
    (width as i32 / 640).max(1)
}

/// Depth edges that stay inside the image under every shift.
fn inner_edges(depth: &DepthMap) -> Vec<usize> {
    let (width, height) = (depth.width() as usize, depth.height() as usize);
    let margin = (REACH * unit(depth.width())) as usize + 1;
    let inner = |i: &usize| {
        let (row, col) = (i / width, i % width);
        row >= margin && col >= margin && row + margin < height && col + margin < width
    };
    depth_edges(depth).into_iter().filter(inner).collect()
}

/// Size of the colour gradient at each pixel, capped so that a few glaring edges do not decide.
fn gradient(image: &RgbImage) -> Vec<f32> {
    const CAP: f32 = 60.0;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let grey: Vec<f32> =
        image.pixels().map(|p| p.0.iter().map(|c| f32::from(*c)).sum::<f32>() / 3.0).collect();
    let mut gradient = vec![0.0; grey.len()];
    for row in 1..height.saturating_sub(1) {
        for col in 1..width.saturating_sub(1) {
            let at = row * width + col;
            let (x, y) = (grey[at + 1] - grey[at - 1], grey[at + width] - grey[at - width]);
            gradient[at] = x.hypot(y).min(CAP);
        }
    }
    gradient
}
