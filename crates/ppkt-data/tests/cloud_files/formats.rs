//! What is in a file is what is read.

use ppkt_data::{CloudFile, CloudFileOptions, Ply, PlyColumn, PointFeature};

use crate::{columns, floats, npy, numpy, read, read_with};

const POINTS: [[f32; 3]; 3] = [[0.5, -1.25, 2.0], [3.0, 4.0, 5.0], [1e-3, 0.0, -7.0]];

fn from_numpy(name: &str) -> CloudFile {
    CloudFile::read(&numpy(name), &CloudFileOptions::default()).unwrap()
}

#[test]
fn what_numpy_writes() {
    let whole = from_numpy("compressed.npz");
    assert_eq!(whole.points, POINTS);
    let colours = whole.colours.unwrap();
    assert_eq!(colours[0], [1.0, 0.0, 0.2]);
    assert_eq!(colours[1], [0.0, 0.4, 0.8]);
    assert_eq!(whole.intensity.unwrap(), [0.0, 128.0 / 255.0, 1.0]);

    // 64-bit, big-endian, columns one after the other, under numpy's own name for what has none.
    let fortran = from_numpy("fortran.npz");
    assert_eq!(fortran.points, POINTS);
    assert_eq!((fortran.colours, fortran.intensity), (None, None));
    assert!(fortran.notes[0].contains("x, y, z"), "{:?}", fortran.notes);

    // A type with names, in an order of its own and with a text between.
    let record = from_numpy("record.npy");
    assert_eq!(record.points, [[1.5, -3.0, 9.0], [2.5, 4.0, 8.0]]);
    assert_eq!(record.colours.unwrap(), [[1.0, 0.2, 0.0], [0.0, 0.0, 1.0]]);
}

#[test]
fn columns_without_names_are_told_by_their_number() {
    let rows = [1.0, 2.0, 3.0, 0.25, 4.0, 5.0, 6.0, 0.5];
    let cloud = read("a.npy", &npy("(2, 4)", &rows)).unwrap();
    assert_eq!(cloud.points, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(cloud.intensity.unwrap(), [0.25, 0.5]);
    let cloud = read("a.npy", &npy("(1, 6)", &[1.0, 2.0, 3.0, 255.0, 51.0, 0.0])).unwrap();
    assert_eq!(cloud.colours.unwrap(), [[1.0, 0.2, 0.0]]);
    assert!(cloud.notes.iter().any(|n| n.contains("0 to 255")), "{:?}", cloud.notes);
    // The same numbers as something else.
    let cloud = read_with("a.npy", &npy("(2, 4)", &rows), &columns("_,z,y,x")).unwrap();
    assert_eq!(cloud.points, [[0.25, 3.0, 2.0], [0.5, 6.0, 5.0]]);
    assert_eq!(cloud.intensity, None);
    let error = read("a.npy", &npy("(1, 5)", &rows[..5])).unwrap_err().to_string();
    assert!(error.contains("5 columns") && error.contains("x,y,z,red"), "{error}");
}

#[test]
fn lists_of_lidar_points() {
    let kitti = floats(&[1.0, 2.0, 3.0, 0.5, -4.0, 5.0, 6.0, 1.0]);
    let cloud = read("000007.bin", &kitti).unwrap();
    assert_eq!(cloud.points, [[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]]);
    assert_eq!(cloud.intensity.unwrap(), [0.5, 1.0]);
    // Twenty numbers are five points of KITTI's or four of nuScenes': the name decides.
    let numbers: Vec<f32> = (0..20).map(|i| i as f32).collect();
    let cloud = read("a.pcd.bin", &floats(&numbers)).unwrap();
    assert_eq!(cloud.points.len(), 4);
    assert_eq!(cloud.points[1], [5.0, 6.0, 7.0]);
    assert_eq!(cloud.intensity.unwrap()[1], 8.0 / 255.0);
    let error = read("a.bin", &floats(&numbers)).unwrap_err().to_string();
    assert!(error.contains("intensity 3"), "{error}");
    let cloud = read_with("a.bin", &floats(&numbers), &columns("x,y,z,_,_")).unwrap();
    assert_eq!((cloud.points.len(), cloud.intensity), (4, None));
}

#[test]
fn ply_of_every_usual_kind() {
    let ply = |colours: [(&str, PlyColumn); 3], axis: fn(Vec<f64>) -> PlyColumn| {
        let mut ply = Ply::new(2)
            .with("x", axis(vec![1.0, 2.0]))
            .with("y", axis(vec![-1.0, 0.5]))
            .with("z", axis(vec![0.0, 0.25]));
        for (name, column) in colours {
            ply = ply.with(name, column);
        }
        read("a.ply", &ply.to_bytes()).unwrap()
    };
    let single = |v: Vec<f64>| PlyColumn::F32(v.into_iter().map(|x| x as f32).collect());
    let [red, green, blue] = [vec![255, 0], vec![51, 0], vec![0, 102]];
    let bytes = ["red", "green", "blue"].into_iter().zip([&red, &green, &blue]);
    let of_bytes = bytes.map(|(n, v)| (n, PlyColumn::U8(v.iter().map(|&x| x as u8).collect())));
    let of_bytes = <[_; 3]>::try_from(of_bytes.collect::<Vec<_>>()).unwrap();
    let of_floats = ["r", "g", "b"].into_iter().zip([&red, &green, &blue]);
    let of_floats =
        of_floats.map(|(n, v)| (n, PlyColumn::F64(v.iter().map(|&x| f64::from(x) / 255.0).collect())));
    let of_floats = <[_; 3]>::try_from(of_floats.collect::<Vec<_>>()).unwrap();
    let wide = ["diffuse_red", "diffuse_green", "diffuse_blue"].into_iter().zip([&red, &green, &blue]);
    let wide = wide.map(|(n, v)| (n, PlyColumn::U16(v.iter().map(|&x| x as u16 * 257).collect())));
    let wide = <[_; 3]>::try_from(wide.collect::<Vec<_>>()).unwrap();
    for cloud in [ply(of_bytes, single), ply(of_floats, PlyColumn::F64), ply(wide, PlyColumn::F64)] {
        assert_eq!(cloud.points, [[1.0, -1.0, 0.0], [2.0, 0.5, 0.25]]);
        assert_eq!(cloud.colours.unwrap(), [[1.0, 0.2, 0.0], [0.0, 0.0, 0.4]]);
        assert_eq!(cloud.offset_m, [0.0; 3]);
    }
}

#[test]
fn intensities_run_from_zero_to_one() {
    let with = |column: PlyColumn, options: &CloudFileOptions| {
        let axis = || PlyColumn::F32(vec![0.0, 1.0]);
        let ply =
            Ply::new(2).with("x", axis()).with("y", axis()).with("z", axis()).with("reflectance", column);
        read_with("a.ply", &ply.to_bytes(), options).map(|cloud| cloud.intensity.unwrap())
    };
    let usual = CloudFileOptions::default();
    assert_eq!(with(PlyColumn::U8(vec![1, 255]), &usual).unwrap(), [1.0 / 255.0, 1.0]);
    assert_eq!(with(PlyColumn::F32(vec![0.5, 1.0]), &usual).unwrap(), [0.5, 1.0]);
    assert_eq!(with(PlyColumn::F32(vec![51.0, 204.0]), &usual).unwrap(), [0.2, 0.8]);
    let to_100 = CloudFileOptions { intensity_max: Some(100.0), ..usual.clone() };
    assert_eq!(with(PlyColumn::F32(vec![50.0, 100.0]), &to_100).unwrap(), [0.5, 1.0]);
    let error = with(PlyColumn::F32(vec![50.0, 101.0]), &to_100).unwrap_err().to_string();
    assert!(error.contains("point 1") && error.contains("101"), "{error}");
    assert!(with(PlyColumn::F32(vec![-0.5, 1.0]), &usual).is_err());
}

#[test]
fn points_of_a_map_keep_their_millimetres() {
    let axis = |at: f64| PlyColumn::F64(vec![at, at + 0.001, at + 40.0]);
    let ply = Ply::new(3).with("x", axis(4.5e5)).with("y", axis(5.4e6)).with("z", axis(30.0));
    let cloud = read("a.ply", &ply.to_bytes()).unwrap();
    assert_eq!(cloud.offset_m, [450_020.0, 5_400_020.0, 0.0]);
    for k in 0..2 {
        assert!((cloud.points[1][k] - cloud.points[0][k] - 0.001).abs() < 1e-5, "{:?}", cloud.points);
    }
    assert!(cloud.notes.iter().any(|n| n.contains("450020")), "{:?}", cloud.notes);
}

#[test]
fn a_network_is_told_what_a_file_lacks() {
    let cloud = read("a.npy", &npy("(1, 3)", &[1.0, 2.0, 3.0])).unwrap();
    for (feature, what) in [(PointFeature::Rgb, "colour"), (PointFeature::Intensity, "intensity")] {
        let error = cloud.to_cloud(&[PointFeature::Ones, feature]).unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains(what), "{error}");
    }
    let plain = cloud.to_cloud(&[PointFeature::Xyz]).unwrap();
    assert_eq!((plain.points.len(), plain.colours.len()), (1, 1));
}
