//! Voxels against an independent implementation, for every `voxelise_` file there is.

use ppkt_geometry::voxelise;
use ppkt_testkit::{Vectors, assert_close, reference_files};

/// Means are summed in f64 and returned in f32: one rounding.
const MEAN: f64 = 1e-6;

#[test]
fn reference_voxelise() {
    for file in reference_files("voxelise_") {
        let v = Vectors::load(&file);
        let name = v.name();
        let voxel_size_m = v.json("voxel").as_f64().expect("voxel") as f32;
        let (points, batch) = (v.f32s("points"), v.i64s("batch"));
        let features = v.f32s("point_feats");
        let channels = v.shape("point_feats")[1];
        let (coords, first_row) = (v.i64s("coords"), v.i64s("first_row"));
        let (inverse, counts) = (v.i64s("inverse"), v.i64s("counts"));
        let mean = v.f64s("mean_feats");

        // The file holds a batch; its rows are sorted by batch item first, so each item is a stretch of voxels.
        let mut items: Vec<i64> = batch.clone();
        items.sort_unstable();
        items.dedup();
        let mut first_voxel = 0;
        for item in items {
            let rows: Vec<usize> = (0..batch.len()).filter(|&i| batch[i] == item).collect();
            let cloud: Vec<[f32; 3]> =
                rows.iter().map(|&i| [points[3 * i], points[3 * i + 1], points[3 * i + 2]]).collect();
            let voxels = voxelise(&cloud, voxel_size_m).expect("voxels");
            for (row, coord) in voxels.coords.iter().enumerate() {
                let global = first_voxel + row;
                let want = &coords[4 * global..][..4];
                let got = [item, coord[0].into(), coord[1].into(), coord[2].into()];
                assert_eq!(got, want, "{name}, item {item}, voxel {row}");
                assert_eq!(rows[voxels.representative[row] as usize] as i64, first_row[global], "{name}");
                assert_eq!(i64::from(voxels.counts[row]), counts[global], "{name}");
            }
            for (point, &row) in rows.iter().enumerate() {
                let got = first_voxel as i64 + i64::from(voxels.voxel_of_point[point]);
                assert_eq!(got, inverse[row], "{name}, point {row}");
            }
            let values: Vec<f32> =
                rows.iter().flat_map(|&i| features[channels * i..][..channels].iter().copied()).collect();
            let want = &mean[channels * first_voxel..][..channels * voxels.len()];
            assert_close(&name, &voxels.mean(&values, channels), want, MEAN);
            first_voxel += voxels.len();
        }
        assert_eq!(first_voxel, v.shape("coords")[0], "{name}: voxels of all items");
    }
}
