//! Pictures of features: the photograph, and the three strongest directions of each stage as colours.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;
use image::{Rgb, RgbImage};

use super::data::{FRAME, Frames};
use super::net::{Mode, Net};

/// One row for each of some frames: photograph, layer2, layer3. The directions are shared by all frames.
pub(crate) fn write(path: &Path, net: &Net, frames: &Frames, n: usize) -> Result<()> {
    let n = n.min(frames.len());
    let mut maps = [Vec::new(), Vec::new()];
    for i in 0..n {
        let features = net.features(&frames.whole(i)?.0, Mode::Eval)?;
        maps[0].push(features.layer2.detach());
        maps[1].push(features.layer3.detach());
    }
    let (w, h) = (FRAME.0 as u32, FRAME.1 as u32);
    let mut sheet = RgbImage::new(3 * w, n as u32 * h);
    for i in 0..n {
        let photo = RgbImage::from_raw(w, h, frames.colour[i].clone()).context("a frame of another size")?;
        image::imageops::replace(&mut sheet, &photo, 0, i64::from(i as u32 * h));
    }
    for (k, maps) in maps.iter().enumerate() {
        for (i, picture) in coloured(maps)?.iter().enumerate() {
            let large = image::imageops::resize(picture, w, h, image::imageops::FilterType::Nearest);
            image::imageops::replace(
                &mut sheet,
                &large,
                i64::from((k as u32 + 1) * w),
                i64::from(i as u32 * h),
            );
        }
    }
    sheet.save(path).with_context(|| format!("cannot write {path:?}"))
}

/// The first three principal components of all cells as red, green and blue.
fn coloured(maps: &[Tensor]) -> Result<Vec<RgbImage>> {
    let (_, h, w, c) = maps[0].dims4()?;
    let cells = h * w;
    let all = Tensor::cat(maps, 0)?.reshape((maps.len() * cells, c))?;
    let centred = all.broadcast_sub(&all.mean_keepdim(0)?)?;
    let covariance = centred.t()?.matmul(&centred)?.to_vec2::<f32>()?;
    let axes = leading_axes(&covariance, 3);
    let axes = Tensor::from_vec(axes.concat(), (3, c), all.device())?;
    let values = centred.matmul(&axes.t()?)?.to_vec2::<f32>()?;
    // Two standard deviations fill the range.
    let n = values.len() as f32;
    let spread: [f32; 3] =
        std::array::from_fn(|k| (values.iter().map(|v| v[k] * v[k]).sum::<f32>() / n).sqrt().max(1e-9));
    let byte = |v: f32, s: f32| ((0.5 + 0.25 * v / s) * 255.0).clamp(0.0, 255.0) as u8;
    let picture = |rows: &[Vec<f32>]| {
        RgbImage::from_fn(w as u32, h as u32, |x, y| {
            let v = &rows[y as usize * w + x as usize];
            Rgb(std::array::from_fn(|k| byte(v[k], spread[k])))
        })
    };
    Ok(values.chunks_exact(cells).map(picture).collect())
}

/// Eigenvectors of the largest eigenvalues of a symmetric matrix, by repeated multiplication.
fn leading_axes(matrix: &[Vec<f32>], n: usize) -> Vec<Vec<f32>> {
    let c = matrix.len();
    let mut axes: Vec<Vec<f32>> = Vec::new();
    for k in 0..n {
        let mut v: Vec<f32> = (0..c).map(|i| ((i * (k + 3) + 1) as f32 * 0.7).sin()).collect();
        for _ in 0..100 {
            let mut next: Vec<f32> =
                matrix.iter().map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum()).collect();
            for axis in &axes {
                let along: f32 = axis.iter().zip(&next).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(axis).for_each(|(x, a)| *x -= along * a);
            }
            let length = next.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-20);
            v = next.into_iter().map(|x| x / length).collect();
        }
        axes.push(v);
    }
    axes
}
