//! The cache of feature maps: the same bits with any cache, and every fault of one.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use candle_core::{Device, Tensor};
use ppkt_teacher::{
    ByteSize, CacheError, Cached, Family, FeatureCache, FeatureMap, Images, Stage, Teacher, TeacherError,
    TeacherOptions, TeacherSpec, open,
};

const ROOMY: ByteSize = ByteSize(1_000_000_000);
/// Of the fake teacher's maps: a header of 128 bytes, then 2 by 3 cells of 4 channels in half precision.
const ENTRY: u64 = 128 + 2 * 3 * 4 * 2;

/// Sums over blocks of 16 pixels, times a number; counts the images it was asked for.
struct Fake {
    spec: TeacherSpec,
    factor: f32,
    seen: AtomicUsize,
}

impl Fake {
    fn new(factor: f32) -> Self {
        let spec = TeacherSpec {
            name: "fake".into(),
            family: Family::ResNet,
            channels: 4,
            stride: 16,
            mean: [0.0; 3],
            std: [1.0; 3],
            fingerprint: "none".into(),
        };
        Self { spec, factor, seen: AtomicUsize::new(0) }
    }
}

impl Teacher for &Fake {
    fn spec(&self) -> &TeacherSpec {
        &self.spec
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        let (h, w) = (images.height.div_ceil(16), images.width.div_ceil(16));
        let mut values = vec![0f32; images.n * h * w * 4];
        for (i, v) in images.rgb.iter().enumerate() {
            let (pixel, colour) = (i / 3, i % 3);
            let (x, row) = (pixel % images.width, pixel / images.width);
            let (image, y) = (row / images.height, row % images.height);
            let cell = ((image * h + y / 16) * w + x / 16) * 4;
            values[cell + colour] += f32::from(*v) / 300.0;
            values[cell + 3] += (x * y) as f32 * 1e-3;
        }
        values.iter_mut().for_each(|v| *v *= self.factor);
        self.seen.fetch_add(images.n, Ordering::Relaxed);
        let tokens = Tensor::from_vec(values, (images.n, h, w, 4), &Device::Cpu)?;
        Ok(FeatureMap { tokens, image_size: (images.height, images.width), stride: 16 })
    }
}

/// `n` images of 32 by 48 pixels, from number `first` on.
fn images(first: usize, n: usize) -> Images {
    let one = |k: usize| (0..32 * 48 * 3).map(move |i| ((i * 7919 + k * 104_729) % 251) as u8);
    Images::new(n, 32, 48, (first..first + n).flat_map(one).collect()).unwrap()
}

fn values(map: &FeatureMap) -> Vec<u32> {
    map.tokens.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn rounded(map: &FeatureMap) -> Vec<u32> {
    let round = |bits: u32| half::f16::from_f32(f32::from_bits(bits)).to_f32().to_bits();
    values(map).into_iter().map(round).collect()
}

/// Every entry of a cache.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut all: Vec<PathBuf> =
        shards.flat_map(|s| fs::read_dir(s).unwrap().map(|e| e.unwrap().path())).collect();
    all.sort();
    all
}

fn counts(cache: &FeatureCache) -> [u64; 4] {
    let r = cache.report();
    [r.hits, r.misses, r.damaged, r.added]
}

#[test]
fn a_map_is_the_same_bits_computed_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = FeatureCache::open(&dir.path().join("made/on/the/way"), ROOMY).unwrap();
    let fake = Fake::new(0.1);
    let teacher = Cached::new(&fake, cache.clone()).unwrap();
    let probed = fake.seen.load(Ordering::Relaxed);
    let plain = (&fake).features(&images(0, 3)).unwrap();
    assert_ne!(values(&plain), rounded(&plain), "the fake gives nothing to round");
    fake.seen.store(0, Ordering::Relaxed);
    let cold = teacher.features(&images(0, 3)).unwrap();
    let warm = teacher.features(&images(0, 3)).unwrap();
    assert_eq!((cold.image_size, cold.stride), (plain.image_size, plain.stride));
    assert_eq!(cold.tokens.dims(), plain.tokens.dims());
    assert_eq!(values(&cold), rounded(&plain));
    assert_eq!(values(&warm), values(&cold));
    assert_eq!((probed, fake.seen.load(Ordering::Relaxed)), (1, 3));
    assert_eq!(counts(&cache), [3, 3, 0, 3]);
    // Of a batch only what is new is computed, in any order, and twice the same is no fault.
    let mixed = [images(1, 1), images(7, 1), images(0, 1), images(7, 1)];
    let rgb = mixed.iter().flat_map(|i| i.rgb.iter().copied()).collect();
    let batch = teacher.features(&Images::new(4, 32, 48, rgb).unwrap()).unwrap();
    let alone: Vec<u32> = mixed.iter().flat_map(|i| rounded(&(&fake).features(i).unwrap())).collect();
    assert_eq!(values(&batch), alone);
    assert_eq!(counts(&cache), [5, 5, 0, 4]);
    let report = cache.report();
    assert_eq!((report.bytes, report.bytes_added, report.bytes_read), (4 * ENTRY, 4 * ENTRY, 5 * ENTRY));
    assert_eq!(entries(cache.folder()).len(), 4);
    assert_eq!(cache.take_notices(), Vec::<String>::new());
    // Opened again it is all there.
    let again = FeatureCache::open(cache.folder(), ROOMY).unwrap();
    assert_eq!(again.report().bytes, 4 * ENTRY);
    let teacher = Cached::new(&fake, again.clone()).unwrap();
    assert_eq!(values(&teacher.features(&images(0, 3)).unwrap()), values(&cold));
    assert_eq!(counts(&again), [3, 0, 0, 0]);
}

#[test]
fn other_images_sizes_and_teachers_have_other_entries() {
    let dir = tempfile::tempdir().unwrap();
    let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
    let (one, other) = (Fake::new(0.1), Fake::new(0.2));
    let tiny = |options: TeacherOptions| open(&"builtin:tiny".parse().unwrap(), &options).unwrap();
    let mut teachers: Vec<Box<dyn Teacher + '_>> = vec![Box::new(&one), Box::new(&other)];
    teachers.push(tiny(TeacherOptions::default()));
    teachers.push(tiny(TeacherOptions { stage: Some(Stage::Layer(2)), ..Default::default() }));
    teachers.push(tiny(TeacherOptions { mean: Some([0.4; 3]), ..Default::default() }));
    teachers.push(tiny(TeacherOptions { std: Some([0.3; 3]), ..Default::default() }));
    // The same bytes, read as an image of another size.
    let upright = Images { height: 48, width: 32, ..images(0, 1) };
    for (i, teacher) in teachers.into_iter().enumerate() {
        let wanted =
            [images(0, 1), images(1, 1), upright.clone()].map(|i| rounded(&teacher.features(&i).unwrap()));
        let teacher = Cached::new(teacher, cache.clone()).unwrap();
        for _ in 0..2 {
            let got =
                [images(0, 1), images(1, 1), upright.clone()].map(|i| values(&teacher.features(&i).unwrap()));
            assert!(got == wanted, "teacher {i}");
        }
        let n = 3 * (i as u64 + 1);
        assert_eq!(counts(&cache), [n, n, 0, n]);
    }
}

#[test]
fn damaged_entries_are_computed_again_counted_and_mended() {
    type Damage = fn(&Path, &Path);
    let faults: [(&str, Damage); 7] = [
        ("a flipped bit in the map", |entry, _| flip(entry, 140)),
        ("a flipped bit in the header", |entry, _| flip(entry, 45)),
        ("cut off", |entry, _| fs::write(entry, &fs::read(entry).unwrap()[..150]).unwrap()),
        ("empty", |entry, _| fs::write(entry, "").unwrap()),
        ("longer than it should be", |entry, _| {
            fs::write(entry, [&fs::read(entry).unwrap()[..], &[0; 9]].concat()).unwrap();
        }),
        ("a file of another's", |entry, _| fs::write(entry, vec![b'x'; ENTRY as usize]).unwrap()),
        ("the map of another image", |entry, other| {
            fs::copy(other, entry).unwrap();
        }),
    ];
    for (what, damage) in faults {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::new(0.1);
        // No room for a third: a full cache is mended as well.
        let limit = ByteSize(2 * ENTRY);
        let cache = FeatureCache::open(dir.path(), limit).unwrap();
        let teacher = Cached::new(&fake, cache.clone()).unwrap();
        let whole = values(&teacher.features(&images(0, 2)).unwrap());
        let all = entries(dir.path());
        let sound = fs::read(&all[0]).unwrap();
        damage(&all[0], &all[1]);
        assert_eq!(values(&teacher.features(&images(0, 2)).unwrap()), whole, "{what}");
        assert_eq!(counts(&cache), [1, 3, 1, 3], "{what}");
        let notices = cache.take_notices();
        assert!(notices.len() == 1 && notices[0].contains("damaged"), "{what}: {notices:?}");
        assert_eq!(fs::read(&all[0]).unwrap(), sound, "{what}");
        assert_eq!(cache.report().bytes, 2 * ENTRY, "{what}");
        assert_eq!(values(&teacher.features(&images(0, 2)).unwrap()), whole);
        assert_eq!(counts(&cache), [3, 3, 1, 3], "{what}");
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_in_the_place_of_an_entry_stops_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, cache) = (Fake::new(0.1), FeatureCache::open(dir.path(), ROOMY).unwrap());
    let teacher = Cached::new(&fake, cache.clone()).unwrap();
    let whole = values(&teacher.features(&images(0, 1)).unwrap());
    let entry = entries(dir.path()).remove(0);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    for _ in 0..2 {
        assert_eq!(values(&teacher.features(&images(0, 1)).unwrap()), whole);
    }
    teacher.features(&images(1, 1)).unwrap();
    assert_eq!(counts(&cache), [0, 4, 2, 2]);
    assert!(cache.accepts() && entry.is_dir());
    assert_eq!(cache.take_notices().len(), 1);
}

#[test]
fn a_full_cache_says_so_once_and_is_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, cache) = (Fake::new(0.1), FeatureCache::open(dir.path(), ByteSize(2 * ENTRY + 40)).unwrap());
    let teacher = Cached::new(&fake, cache.clone()).unwrap();
    let plain = rounded(&(&fake).features(&images(0, 5)).unwrap());
    for _ in 0..3 {
        assert_eq!(values(&teacher.features(&images(0, 5)).unwrap()), plain);
    }
    let report = cache.report();
    assert_eq!((report.hits, report.misses, report.added, report.damaged), (4, 11, 2, 0));
    assert_eq!((report.bytes, entries(dir.path()).len()), (2 * ENTRY, 2));
    assert!(!cache.accepts());
    let notices = cache.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("full") && notices[0].contains("--cache-limit"), "{notices:?}");
    // With a higher limit it goes on.
    let higher = FeatureCache::open(dir.path(), ByteSize(4 * ENTRY)).unwrap();
    let teacher = Cached::new(&fake, higher.clone()).unwrap();
    assert_eq!(values(&teacher.features(&images(0, 5)).unwrap()), plain);
    assert_eq!(counts(&higher), [2, 3, 0, 2]);
}

#[test]
fn a_folder_that_cannot_be_written_is_read() {
    // Permissions do not bind the superuser, files in the way do: of the count, of a shard.
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(0.1);
    let teacher = Cached::new(&fake, FeatureCache::open(dir.path(), ROOMY).unwrap()).unwrap();
    let kept = values(&teacher.features(&images(0, 1)).unwrap());
    let plain = rounded(&(&fake).features(&images(0, 2)).unwrap());
    let shard = entries(dir.path())[0].parent().unwrap().to_owned();

    fs::remove_file(dir.path().join("bytes")).unwrap();
    fs::create_dir(dir.path().join("bytes")).unwrap();
    let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
    let teacher = Cached::new(&fake, cache.clone()).unwrap();
    assert_eq!(values(&teacher.features(&images(0, 1)).unwrap()), kept);
    assert_eq!(values(&teacher.features(&images(0, 2)).unwrap()), plain);
    assert_eq!(counts(&cache), [2, 1, 0, 0]);
    assert_eq!(cache.report().bytes, ENTRY);
    let notices = cache.take_notices();
    assert!(notices.len() == 1 && notices[0].contains("cannot be written"), "{notices:?}");

    fs::remove_dir(dir.path().join("bytes")).unwrap();
    for i in 0..256 {
        let other = dir.path().join(format!("{i:02x}"));
        if other != shard {
            fs::write(other, "in the way").unwrap();
        }
    }
    let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
    let teacher = Cached::new(&fake, cache.clone()).unwrap();
    assert_eq!(values(&teacher.features(&images(0, 2)).unwrap()), plain);
    let report = cache.report();
    assert_eq!((report.hits, report.added, report.bytes), (1, 0, ENTRY));
    let notices = cache.take_notices();
    assert!(notices.iter().any(|n| n.contains("cannot be written")), "{notices:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for folder in [file.clone(), file.join("below")] {
        let error = FeatureCache::open(&folder, ROOMY).unwrap_err();
        assert!(
            matches!(&error, CacheError::Folder { .. }) && error.to_string().contains("--cache"),
            "{error}"
        );
    }
}

#[test]
fn many_writers_at_once_leave_one_whole_entry_each() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(0.1);
    let plain = rounded(&(&fake).features(&images(0, 40)).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Each as a process of its own would: with its own handle.
                let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
                let teacher = Cached::new(&fake, cache.clone()).unwrap();
                assert_eq!(values(&teacher.features(&images(0, 40)).unwrap()), plain);
                assert_eq!(values(&teacher.features(&images(0, 40)).unwrap()), plain);
                assert_eq!(counts(&cache)[2], 0);
                assert_eq!(cache.take_notices(), Vec::<String>::new());
            });
        }
    });
    let all = entries(dir.path());
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|p| fs::metadata(p).unwrap().len() == ENTRY));
    assert_eq!(FeatureCache::open(dir.path(), ROOMY).unwrap().report().bytes, 40 * ENTRY);
}

#[test]
fn what_killed_writers_left_is_removed_and_the_files_of_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, young) = (dir.path().join("ab/.writing-old"), dir.path().join("ab/.writing-young"));
    let others = ["photo.jpg", "ab/notes.txt", "album/cd.map"].map(|name| dir.path().join(name));
    for path in others.iter().chain([&old, &young]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "0123456789").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
    assert!(!old.exists() && young.exists() && others.iter().all(|p| p.exists()));
    assert_eq!(cache.report().bytes, 10);
    assert!(fs::read_to_string(dir.path().join("CACHEDIR.TAG")).unwrap().starts_with("Signature: 8a477f59"));
}

#[test]
fn features_beyond_half_precision_are_refused_and_those_not_finite_are_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let cache = FeatureCache::open(dir.path(), ROOMY).unwrap();
    let large = Fake::new(1e3);
    let error = Cached::new(&large, cache.clone()).unwrap().features(&images(0, 1)).unwrap_err();
    assert!(matches!(error, TeacherError::Cache(CacheError::Range { value }) if value > 65504.0), "{error}");
    assert!(error.to_string().contains("without --cache"));
    let broken = Fake::new(f32::NAN);
    let map = Cached::new(&broken, cache.clone()).unwrap().features(&images(0, 1)).unwrap();
    assert!(values(&map).into_iter().all(|v| f32::from_bits(v).is_nan()));
    assert_eq!(entries(dir.path()).len(), 0);
    assert!(cache.accepts());
}

#[test]
fn the_report_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, cache) = (Fake::new(0.1), FeatureCache::open(dir.path(), "20GB".parse().unwrap()).unwrap());
    Cached::new(&fake, cache.clone()).unwrap().features(&images(0, 2)).unwrap();
    assert_eq!(cache.report().to_string(), "0 maps read, 2 computed, 2 added; 352 bytes of 20.0 GB");
}
