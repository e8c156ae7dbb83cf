//! What named columns mean: places, colours, intensities, in the units that networks take.

use super::{CloudFile, CloudFileOptions, Table};
use crate::PlyColumn;

/// Positions farther from the origin than this lose millimetres in 32 bits, and are moved.
const FAR_M: f64 = 1e4;

/// Names that colour goes by, in the order of preference.
const COLOURS: [[&str; 3]; 4] = [
    ["red", "green", "blue"],
    ["r", "g", "b"],
    ["diffuse_red", "diffuse_green", "diffuse_blue"],
    ["scalar_R", "scalar_G", "scalar_B"],
];
/// The same for intensity.
const INTENSITY: [&str; 6] =
    ["intensity", "reflectance", "remission", "scalar_intensity", "reflectivity", "strength"];

/// The cloud of a table.
pub(super) fn cloud(table: Table, options: &CloudFileOptions) -> Result<CloudFile, String> {
    if table.len == 0 {
        return Err("it has no points".into());
    }
    let mut cloud = CloudFile { notes: table.notes.clone(), ..CloudFile::default() };
    place(&table, &mut cloud)?;
    cloud.colours = colours(&table, &mut cloud.notes)?;
    cloud.intensity = intensity(&table, options, &mut cloud.notes)?;
    Ok(cloud)
}

fn place(table: &Table, cloud: &mut CloudFile) -> Result<(), String> {
    cloud.points = vec![[0.0; 3]; table.len];
    let mut moved = false;
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let column = table.column(name).ok_or_else(|| {
            let names: Vec<&str> = table.columns.iter().map(|(n, _)| n.as_str()).collect();
            format!("its points have no {name}; they have {}", names.join(", "))
        })?;
        let values = column.to_f64();
        // A row is promised for every point, and a point without a place can have none.
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            return Err(format!("{name} of point {i} is {}; leave such points out of the file", values[i]));
        }
        let (low, high) = bounds(&values);
        if low.abs().max(high.abs()) > FAR_M {
            cloud.offset_m[axis] = ((low + high) / 2.0).round();
            moved = true;
        }
        let offset = cloud.offset_m[axis];
        cloud.points.iter_mut().zip(&values).for_each(|(point, v)| point[axis] = (v - offset) as f32);
        if high - low > 1e6 {
            return Err(format!(
                "its {name} runs from {low} to {high}; are these metres? a cloud of a thousand kilometres is none"
            ));
        }
    }
    if moved {
        let [x, y, z] = cloud.offset_m;
        cloud.notes.push(format!("its points are far from the origin and are moved by ({x}, {y}, {z}) m"));
    }
    Ok(())
}

fn colours(table: &Table, notes: &mut Vec<String>) -> Result<Option<Vec<[f32; 3]>>, String> {
    let found = COLOURS.iter().find_map(|names| {
        let [r, g, b] = names.map(|name| table.column(name));
        Some([r?, g?, b?])
    });
    let Some(channels) = found else { return Ok(None) };
    let full = match channels[0] {
        PlyColumn::U16(_) => 65_535.0,
        PlyColumn::F32(_) | PlyColumn::F64(_) => {
            let highest = channels.iter().map(|c| bounds(&c.to_f64()).1).fold(0.0, f64::max);
            let full = if highest <= 1.0 { 1.0 } else { 255.0 };
            notes.push(format!("its colours are taken to run from 0 to {full}"));
            full
        }
        _ => 255.0,
    };
    let mut colours = vec![[0.0; 3]; table.len];
    for (k, channel) in channels.into_iter().enumerate() {
        for (i, (colour, value)) in colours.iter_mut().zip(channel.to_f64()).enumerate() {
            if !(0.0..=full).contains(&value) {
                return Err(format!("the colour of point {i} is {value}, but colours go from 0 to {full}"));
            }
            // As a reader of photographs divides, so that equal bytes are equal colours.
            colour[k] = value as f32 / full as f32;
        }
    }
    Ok(Some(colours))
}

fn intensity(
    table: &Table,
    options: &CloudFileOptions,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<f32>>, String> {
    let Some(column) = INTENSITY.iter().find_map(|name| table.column(name)) else { return Ok(None) };
    let values = column.to_f64();
    let full = match (options.intensity_max.or(table.intensity_max), column) {
        (Some(full), _) => f64::from(full),
        (None, PlyColumn::U8(_)) => 255.0,
        (None, _) => {
            let (_, highest) = bounds(&values);
            let full = [1.0, 255.0, 65_535.0].into_iter().find(|full| highest <= *full).unwrap_or(f64::NAN);
            notes.push(format!("its intensities are taken to run from 0 to {full}"));
            full
        }
    };
    let outside = |v: &f64| !(0.0..=full).contains(v);
    if let Some(i) = values.iter().position(outside) {
        return Err(format!(
            "point {i} has the intensity {}, but they go from 0 to {full}; say what the largest is",
            values[i]
        ));
    }
    Ok(Some(values.iter().map(|&v| v as f32 / full as f32).collect()))
}

/// The least and the largest value.
fn bounds(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}
