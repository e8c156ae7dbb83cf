//! Voxels with classes: what a network is trained on and measured by, once there are labels.

use ppkt_geometry::{Voxels, voxelise};
use serde::{Deserialize, Serialize};

use crate::augment::Augment3d;
use crate::batch::{OnDamaged, PointFeature};
use crate::frame::{check_features, check_scene, features};
use crate::labels::LabelConfig;
use crate::loader::{Loader, without_panic};
use crate::preparation::{Preparation, Slot};
use crate::random::{Purpose, stream, subset};
use crate::{Cloud, DataError, Scene, setting};

/// How clouds become batches of voxels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudConfig {
    /// Frames (scenes) in a batch.
    pub frames_per_batch: usize,
    /// Side of a voxel, metres.
    pub voxel_size_m: f32,
    /// What a voxel tells the network, in this order.
    pub features: Vec<PointFeature>,
    /// Points farther than this from every camera of the scene are left out, metres; scans without cameras are whole.
    pub max_depth_m: f32,
    /// At most this many points of a frame are used in training, drawn anew each time; 0 for all.
    pub max_points: usize,
    /// What is done to the clouds in training.
    pub augment3d: Augment3d,
    /// What happens to a frame that cannot be used in training.
    pub on_damaged: OnDamaged,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            frames_per_batch: 4,
            voxel_size_m: 0.05,
            features: vec![PointFeature::Rgb],
            max_depth_m: 10.0,
            max_points: 0,
            augment3d: Augment3d::default(),
            on_damaged: OnDamaged::default(),
        }
    }
}

impl CloudConfig {
    /// Number of features of a voxel.
    pub fn channels(&self) -> usize {
        self.features.iter().map(|f| f.channels()).sum()
    }

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// [`DataError::BadSetting`] with the first one.
    pub fn check(&self) -> Result<(), DataError> {
        use setting::require;
        require(self.frames_per_batch > 0, "batch.frames_per_batch", &self.frames_per_batch, "at least 1")?;
        let fine = self.voxel_size_m > 0.0 && self.voxel_size_m.is_finite();
        require(fine, "batch.voxel_size_m", &self.voxel_size_m, "above zero")?;
        let some = !self.features.is_empty();
        require(some, "batch.features", &self.features, "at least one of rgb, ones, xyz, height, intensity")?;
        require(self.max_depth_m > 0.0, "batch.max_depth_m", &self.max_depth_m, "above zero")?;
        self.augment3d.check()
    }
}

/// Voxels of one or more frames, with a class for each, and the way back to the points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledBatch {
    /// The step of the run this batch is for.
    pub step: u64,
    /// The voxels, each as frame, x, y, z; sorted by frame, no voxel twice.
    pub coords: Vec<[i32; 4]>,
    /// Features of the voxels, `[n_voxels, channels]`, row-major: the mean over the points of a voxel.
    pub features: Vec<f32>,
    /// Number of features of a voxel.
    pub channels: usize,
    /// Class of each voxel: the most frequent among its points whose label is used (of equals the lowest); 0 where
    /// there is none.
    pub class_of_voxel: Vec<u16>,
    /// Voxel of each point.
    pub voxel_of_point: Vec<u32>,
    /// Class of each point, 0 where unlabelled or not used.
    pub class_of_point: Vec<u16>,
    /// Positions of the points as they were voxelised, metres.
    pub points: Vec<[f32; 3]>,
    /// Colours of the points, each 0 to 1.
    pub colours: Vec<[f32; 3]>,
    /// Names of the frames.
    pub frames: Vec<String>,
    /// Names of damaged frames in whose place others were taken.
    pub skipped: Vec<String>,
}

/// A turn about the vertical axis after an optional mirroring: one of several looks at the same cloud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attitude {
    /// Turn about z, radians.
    pub yaw_rad: f32,
    /// Whether x is mirrored first.
    pub mirrored: bool,
}

impl Attitude {
    /// The cloud as it is.
    pub const PLAIN: Self = Self { yaw_rad: 0.0, mirrored: false };

    /// `n` attitudes, the plain one first: turns spread evenly over the circle, every other one mirrored.
    pub fn spread(n: usize) -> Vec<Self> {
        let turn = std::f32::consts::TAU / n.max(1) as f32;
        (0..n).map(|i| Self { yaw_rad: i as f32 * turn, mirrored: i % 2 == 1 }).collect()
    }

    fn apply(self, points: &mut [[f32; 3]]) {
        if self == Self::PLAIN {
            return;
        }
        let (sin, cos) = self.yaw_rad.sin_cos();
        let side = if self.mirrored { -1.0 } else { 1.0 };
        for [x, y, _] in points {
            let (a, b) = (side * *x, *y);
            (*x, *y) = (cos * a - sin * b, sin * a + cos * b);
        }
    }
}

/// Makes labelled batches: a [`Preparation`].
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledFrames {
    /// How clouds become voxels.
    pub cloud: CloudConfig,
    /// Which points' labels are used; which frames' is a matter of the dataset ([`Subset`](crate::Subset)).
    pub labels: LabelConfig,
    /// Seed of the choice of points, the same for runs that are compared.
    pub label_seed: u64,
    /// Entries of the list of classes, "unlabelled" included: every class must be below.
    pub n_classes: usize,
}

impl LabelledFrames {
    /// One cloud in voxels; its points are neither thinned nor augmented but for `attitude`.
    ///
    /// # Errors
    /// If the scene has no labels, wrong ones, or points that cannot be placed in voxels.
    pub fn look(&self, scene: Scene, frame: usize, attitude: Attitude) -> Result<LabelledBatch, DataError> {
        let mut scene = scene;
        self.choose_labels(&mut scene, frame)?;
        attitude.apply(&mut scene.cloud.points);
        self.voxels(scene)
    }

    /// Sets the class of every point whose label is not used to 0; returns the points that are used, where it is not
    /// all of them.
    ///
    /// # Errors
    /// If the scene has no labels, or a class beyond the list.
    pub fn choose_labels(&self, scene: &mut Scene, frame: usize) -> Result<Option<Vec<u32>>, DataError> {
        check_scene(scene)?;
        let bad = |problem: String| DataError::BadScene { frame: scene.name.clone(), problem };
        let Some(classes) = &mut scene.cloud.classes else {
            return Err(bad("it has no labels, and this needs them".into()));
        };
        if let Some(class) = classes.iter().find(|&&c| usize::from(c) >= self.n_classes) {
            let last = self.n_classes.saturating_sub(1);
            return Err(bad(format!("it has the class {class}, but the classes end at {last}")));
        }
        let used = self.labels.points(classes, frame, self.label_seed);
        if let Some(used) = &used {
            let mut chosen = vec![0; classes.len()];
            used.iter().for_each(|&i| chosen[i as usize] = classes[i as usize]);
            *classes = chosen;
        }
        Ok(used)
    }

    fn voxels(&self, scene: Scene) -> Result<LabelledBatch, DataError> {
        check_features(&scene, &self.cloud.features)?;
        let Scene { name, cloud, .. } = scene;
        if cloud.points.is_empty() {
            let problem = format!("no point within {} m", self.cloud.max_depth_m);
            return Err(DataError::NoPoints { frame: name, problem });
        }
        let voxels = voxelise(&cloud.points, self.cloud.voxel_size_m).map_err(|e| DataError::BadScene {
            frame: name.clone(),
            problem: format!("{e}; is it in metres?"),
        })?;
        let features = features(&cloud, &self.cloud.features, &voxels);
        let Cloud { points, colours, classes, .. } = cloud;
        let class_of_point = classes.unwrap_or_else(|| vec![0; points.len()]);
        Ok(LabelledBatch {
            step: 0,
            coords: voxels.coords.iter().map(|&[x, y, z]| [0, x, y, z]).collect(),
            features,
            channels: self.cloud.channels(),
            class_of_voxel: majority(&voxels, &class_of_point),
            voxel_of_point: voxels.voxel_of_point,
            class_of_point,
            points,
            colours,
            frames: vec![name],
            skipped: Vec::new(),
        })
    }
}

/// The most frequent class of each voxel's labelled points, of equals the lowest; 0 without any.
fn majority(voxels: &Voxels, class_of_point: &[u16]) -> Vec<u16> {
    let labelled = voxels.voxel_of_point.iter().zip(class_of_point).filter(|&(_, &class)| class != 0);
    let mut votes: Vec<(u32, u16)> = labelled.map(|(&voxel, &class)| (voxel, class)).collect();
    votes.sort_unstable();
    let mut class_of_voxel = vec![0; voxels.len()];
    let mut most = vec![0u32; voxels.len()];
    for run in votes.chunk_by(|a, b| a == b) {
        let (voxel, class) = run[0];
        if run.len() as u32 > most[voxel as usize] {
            most[voxel as usize] = run.len() as u32;
            class_of_voxel[voxel as usize] = class;
        }
    }
    class_of_voxel
}

impl Preparation for LabelledFrames {
    type Batch = LabelledBatch;

    fn check(&self) -> Result<(), DataError> {
        self.cloud.check()?;
        self.labels.check()
    }

    fn frames_per_batch(&self) -> usize {
        self.cloud.frames_per_batch
    }

    fn on_damaged(&self) -> OnDamaged {
        self.cloud.on_damaged
    }

    fn plain(&self) -> Self {
        let cloud = CloudConfig { max_points: 0, augment3d: Augment3d::none(), ..self.cloud.clone() };
        Self { cloud, ..self.clone() }
    }

    fn prepare(&self, mut scene: Scene, slot: Slot) -> Result<LabelledBatch, DataError> {
        self.choose_labels(&mut scene, slot.frame)?;
        let cloud = &mut scene.cloud;
        let most = self.cloud.max_points;
        if most > 0 && cloud.points.len() > most {
            let mut rng = stream(slot.seed, Purpose::Thinning, slot.place);
            cloud.keep(&subset(&mut rng, cloud.points.len(), most));
        }
        let mut rng = stream(slot.seed, Purpose::Cloud, slot.place);
        let augment = &self.cloud.augment3d;
        if let Some(kept) = augment.draw_kept(&cloud.points, |stays| stays.contains(&true), &mut rng) {
            cloud.keep(&kept);
        }
        augment.apply(cloud, &mut rng);
        self.voxels(scene)
    }

    fn join(&self, step: u64, parts: Vec<LabelledBatch>, skipped: Vec<String>) -> LabelledBatch {
        let mut whole =
            LabelledBatch { step, channels: self.cloud.channels(), skipped, ..Default::default() };
        for part in parts {
            let (frames, voxels) = (whole.frames.len() as i32, whole.coords.len() as u32);
            whole.coords.extend(part.coords.iter().map(|&[f, x, y, z]| [f + frames, x, y, z]));
            whole.voxel_of_point.extend(part.voxel_of_point.iter().map(|v| v + voxels));
            whole.features.extend(part.features);
            whole.class_of_voxel.extend(part.class_of_voxel);
            whole.class_of_point.extend(part.class_of_point);
            whole.points.extend(part.points);
            whole.colours.extend(part.colours);
            whole.frames.extend(part.frames);
        }
        whole
    }
}

impl Loader<LabelledFrames> {
    /// Several looks at one whole frame, for measuring and for votes.
    ///
    /// # Errors
    /// If the frame is damaged.
    pub fn looks(&self, index: usize, attitudes: &[Attitude]) -> Result<Vec<LabelledBatch>, DataError> {
        let dataset = self.dataset();
        let work = || {
            let scene = dataset.sample(index)?;
            attitudes.iter().map(|&a| self.config().look(scene.clone(), index, a)).collect()
        };
        without_panic(work, || dataset.frame_name(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::{DataUri, Dataset, Split};

    fn rooms(n: usize) -> Arc<dyn Dataset> {
        let uri: DataUri = format!("synthetic:rooms?scenes={n}&width=48&height=36").parse().unwrap();
        Arc::from(uri.open(Split::All).unwrap())
    }

    fn frames(dataset: &dyn Dataset) -> LabelledFrames {
        LabelledFrames {
            cloud: CloudConfig { frames_per_batch: 2, voxel_size_m: 0.1, ..CloudConfig::default() },
            labels: LabelConfig::default(),
            label_seed: 1,
            n_classes: dataset.classes().unwrap().len_with_unlabelled(),
        }
    }

    fn cloud(classes: &[u16]) -> Scene {
        let points = (0..classes.len()).map(|i| [0.01 * i as f32, 0.0, 0.0]).collect::<Vec<_>>();
        let colours = vec![[0.5; 3]; points.len()];
        let cloud = Cloud { points, colours, classes: Some(classes.to_vec()), ..Cloud::default() };
        Scene { name: "few".into(), cloud, views: Vec::new() }
    }

    fn few(n_classes: usize) -> LabelledFrames {
        let cloud = CloudConfig { voxel_size_m: 0.045, ..CloudConfig::default() };
        LabelledFrames { cloud, labels: LabelConfig::default(), label_seed: 1, n_classes }
    }

    #[test]
    fn a_voxel_has_the_class_of_most_of_its_labelled_points() {
        // Voxels of 5, 4 and 5 points: by number, by number beside unlabelled ones, a tie, which the lower class wins.
        let batch =
            few(5).look(cloud(&[3, 3, 1, 1, 3, 0, 0, 0, 2, 4, 1, 4, 1, 0]), 0, Attitude::PLAIN).unwrap();
        assert_eq!(batch.class_of_voxel, [3, 2, 1]);
        assert_eq!(few(5).look(cloud(&[0; 4]), 0, Attitude::PLAIN).unwrap().class_of_voxel, [0]);
    }

    #[test]
    fn wrong_labels_are_named() {
        let fault = |scene: Scene| few(3).look(scene, 0, Attitude::PLAIN).unwrap_err().to_string();
        let message = fault(cloud(&[1, 2, 3]));
        assert!(message.contains("class 3") && message.contains("end at 2"), "{message}");
        let mut none = cloud(&[1]);
        none.cloud.classes = None;
        assert!(fault(none).contains("no labels"));
        let mut short = cloud(&[1, 2]);
        short.cloud.classes = Some(vec![1]);
        assert!(fault(short).contains("2 points"));
        assert!(fault(cloud(&[])).contains("no point"));
    }

    #[test]
    fn batches_are_a_function_of_seed_and_step() {
        let dataset = rooms(5);
        let loader = |seed| Loader::new(dataset.clone(), frames(&*dataset), seed).unwrap();
        let want: Vec<_> = (0..6).map(|s| loader(3).batch(s).unwrap()).collect();
        for workers in 0..3 {
            let got: Vec<_> = loader(3).stream(0, 6, workers).map(Result::unwrap).collect();
            assert_eq!(got, want, "{workers} workers");
        }
        assert_ne!(loader(4).batch(0).unwrap(), want[0]);
        let batch = &want[0];
        assert_eq!(batch.frames.len(), 2);
        assert_eq!(batch.class_of_voxel.len(), batch.coords.len());
        assert_eq!(batch.features.len(), 3 * batch.coords.len());
        assert!(batch.voxel_of_point.iter().all(|&v| (v as usize) < batch.coords.len()));
        assert!(batch.class_of_voxel.iter().any(|&c| c > 0));
    }

    #[test]
    fn attitudes_turn_and_mirror() {
        let mut points = [[1.0, 2.0, 3.0]];
        Attitude { yaw_rad: std::f32::consts::FRAC_PI_2, mirrored: true }.apply(&mut points);
        let [[x, y, z]] = points;
        assert!((x + 2.0).abs() < 1e-6 && (y + 1.0).abs() < 1e-6 && z == 3.0, "{points:?}");
        assert_eq!(Attitude::spread(4).len(), 4);
        assert_eq!(Attitude::spread(4)[0], Attitude::PLAIN);
        let dataset = rooms(2);
        let loader = Loader::new(dataset.clone(), frames(&*dataset), 1).unwrap();
        let looks = loader.looks(1, &Attitude::spread(3)).unwrap();
        assert_eq!(looks[0], loader.frame(1).unwrap());
        assert!(looks.iter().all(|l| l.class_of_point == looks[0].class_of_point));
        assert_ne!(looks[1].coords, looks[0].coords);
    }
}
