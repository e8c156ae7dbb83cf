//! With the `rayon` feature, the number of threads changes no bit.
#![cfg(feature = "rayon")]

use ppkt_geometry::{
    CameraModel, DepthMap, Lens, Rigid3, Visibility, VoxelError, frame, observe, voxelise,
    voxelise_cylindrical,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn with_threads<T: Send>(n: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads").install(work)
}

#[test]
fn one_thread_and_many_give_the_same() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let lens = Lens::brown_conrady_opencv([-0.1, 0.01, 1e-3, 0.0, 0.0]);
    let camera = CameraModel::new(320, 240, [250.0, 250.0, 160.0, 120.0], lens).unwrap();
    let metres = (0..320 * 240).map(|_| rng.random_range(-0.2..4.0)).collect();
    let depth = DepthMap::from_metres(320, 240, metres).unwrap();
    let pose = Rigid3::<frame::Camera, frame::DepthCamera>::from_translation([0.05, 0.0, 0.1]);
    let cloud: Vec<[f32; 3]> = (0..100_000)
        .map(|_| [rng.random_range(-3.0..3.0), rng.random_range(-3.0..3.0), rng.random_range(-3.0..3.0)])
        .collect();
    let all = || {
        let lifted = depth.lift::<frame::DepthCamera>(&camera);
        let normals = depth.normals::<frame::DepthCamera>(&camera);
        let seen_by = depth.seen_by(&camera, &pose, &camera);
        let seen = observe(&cloud, &pose, &camera, Some(&Visibility::default()));
        let voxels = (voxelise(&cloud, 0.05), voxelise_cylindrical(&cloud, 0.1, 0.02, 0.1));
        (lifted, normals, seen_by, seen, voxels)
    };
    let one = with_threads(1, all);
    assert!(!one.0.is_empty() && !one.3.is_empty());
    for n in [2, 3, 8] {
        assert!(with_threads(n, all) == one, "{n} threads");
    }
    // Of several bad points the first is named, whichever thread meets one first.
    let mut bad = cloud.clone();
    bad[70_000][1] = f32::NAN;
    bad[99_999][1] = f32::NAN;
    for _ in 0..20 {
        let error = with_threads(4, || voxelise(&bad, 0.05)).unwrap_err();
        assert!(matches!(error, VoxelError::NotFinite { point: 70_000, .. }), "{error}");
    }
}
